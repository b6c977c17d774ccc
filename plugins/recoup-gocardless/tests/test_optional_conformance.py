"""The conformance kits of what a gateway need not have: mandates, pages, lists of events, payouts, own debts."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from gocardless_fake import SECRET, TOKEN, FakeGoCardless
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_gocardless.making import make_gocardless
from recoup_plugins import (
    ChargeRequest,
    GatewaySettings,
    Method,
    Money,
    UpdateLinkRequest,
    WebhookAnswer,
)
from recoup_plugins.optional_conformance import (
    BrokenReport,
    CredentialConformance,
    EventListConformance,
    Happened,
    LinkConformance,
    SameObjectConformance,
    SettlementConformance,
    WebhookAnswerConformance,
)

EXPORT = """\
resources.type,resources.created_at,resources.status,gross_amount,net_amount,currency,payouts.id,payments.id,refunds.id
payment,2026-11-20,paid_out,50.00,49.80,EUR,PO1,PM1,
payment,2026-11-20,failed,-10.00,-9.80,EUR,PO1,PM2,
payment,2026-11-20,charged_back,-5.00,-5.00,EUR,PO1,PM3,
refund,2026-11-20,paid,-3.00,-3.00,EUR,PO1,PM4,RF4
"""


class Bench:
    """Everything that these kits ask for, before one fake whose clock the test moves."""

    wanted = WebhookAnswer(status=204, body="", refused_status=498)
    per_page = 4

    def __init__(self, build: Callable[..., ChargeRequest]) -> None:
        self._now = datetime(2026, 11, 23, 9, tzinfo=UTC)
        self.fake = FakeGoCardless(lambda: self._now)
        self.fake.page_size = self.per_page
        options = {
            "access_token": TOKEN,
            "environment": "sandbox",
            "api_base": self.fake.url,
            "webhook_secrets": [SECRET],
        }
        self.gateway: GoCardlessGateway = make_gocardless(
            GatewaySettings(name="gocardless", plugin="gocardless", options=options)
        )
        self._build = build

    def away(self) -> None:
        self.fake.mode = "down"

    # --- mandates and pages

    def customer(self, stored: int) -> tuple[str, list[str]]:
        tokens = []
        for _ in range(stored):
            self._now += timedelta(seconds=1)
            tokens.append(self.fake.books.mandate(customer="CU7")["id"])
        return "CU7", tokens[::-1]

    def unknown_customer(self) -> str:
        return "CU404"

    def link_request(self, *, possible: bool) -> UpdateLinkRequest:
        return UpdateLinkRequest(
            idempotency_key=f"link-{uuid4()}",
            payment_id=uuid4(),
            payment_reference="inv-1",
            amount=Money(1999, "EUR"),
            method=Method.SEPA_DEBIT,
            customer_ref="cust-1",
            gateway_customer="CU7" if possible else None,
            expires_at=datetime.now(UTC) + timedelta(days=7),
        )

    # --- events

    def happen(self, count: int) -> Happened:
        self._now += timedelta(minutes=1)
        since, before = self._now, len(self.fake.books.events)
        for _ in range(count):
            self._now += timedelta(seconds=1)
            self.fake.books.end_mandate(self.fake.books.mandate()["id"])
        return Happened(since, self.fake.webhooks(before))

    # --- payouts

    def report(self) -> bytes:
        return EXPORT.encode()

    def broken_report(self) -> BrokenReport:
        return BrokenReport(EXPORT.replace("-9.80", "nine").encode(), 3)

    # --- debts

    def debt(self, amount: Money, *, declines: int) -> ChargeRequest:
        self.fake.books.instant = True
        words = ["insufficient_funds"] * (1 + declines) + ["approve"]
        mandate = self.fake.books.mandate(*words)
        payment = self.fake.books.failed_payment(mandate, amount.amount_minor)
        return self._build(mandate, amount.amount_minor, debt_ref=payment["id"])

    def next_try(self, request: ChargeRequest) -> ChargeRequest:
        attempt_id = uuid4()
        return msgspec.structs.replace(request, attempt_id=attempt_id, idempotency_key=f"key-{attempt_id}")

    def payable(self, request: ChargeRequest) -> int:
        return len(self._payments(request))

    def moved(self, request: ChargeRequest) -> Money | None:
        came_in = [each["amount"] for each in self._payments(request) if each["status"] == "confirmed"]
        return Money(sum(came_in), "EUR") if came_in else None

    def _payments(self, request: ChargeRequest) -> list[dict[str, Any]]:
        rows = self.fake.books.rows["payments"].values()
        return [each for each in rows if each["links"]["mandate"] == request.token]


class _Benched:
    @pytest.fixture
    def bench(self, a_request: Callable[..., ChargeRequest]) -> Iterator[Bench]:
        bench = Bench(a_request)
        yield bench
        bench.fake.stop()


class TestMandates(_Benched, CredentialConformance):
    pass


class TestPages(_Benched, LinkConformance):
    pass


class TestEvents(_Benched, EventListConformance):
    pass


class TestPayouts(_Benched, SettlementConformance):
    pass


class TestWebhookAnswer(_Benched, WebhookAnswerConformance):
    pass


class TestDebts(_Benched, SameObjectConformance):
    pass
