"""The conformance kits of `recoup_plugins`, with banks that answer at once.

What the kits ask for and GoCardless doesn't have stands here with its reason: its signatures hold no time, its events
about what others made say no amount, and its disputes are lost as soon as they are there.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from gocardless_fake import FakeGoCardless
from gocardless_fake.books import CURRENCIES
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_plugins import (
    ChargeRequest,
    DisputeState,
    GatewayEvent,
    Money,
    Refunded,
    RefundRequest,
)
from recoup_plugins.conformance import GatewayConformance, Scenario, SignedWebhook, WebhookKind
from recoup_plugins.refund_conformance import RefundConformance, RefundScenario, RefundWebhook

SCHEME_OF = {currency: scheme for scheme, currency in CURRENCIES.items()}
ALL_OF_ITS_CURRENCIES = (Money(1999, "EUR"), Money(1500, "GBP"), Money(12_340, "USD"))
"""Every currency of these schemes has two decimals."""


class ChargeBench:
    decline_code = "AM04"

    def __init__(self, fake: FakeGoCardless, gateway: GoCardlessGateway, build: Callable[..., ChargeRequest]) -> None:
        self.gateway: Any = gateway
        self._fake, self._build = fake, build
        fake.books.instant = True

    def request(self, scenario: Scenario, amount: Money) -> ChargeRequest:
        word = "insufficient_funds" if scenario is Scenario.DECLINE else "approve"
        mandate = self._fake.books.mandate(word, scheme=SCHEME_OF[amount.currency])
        if scenario is Scenario.LOSE_ANSWER:
            self._fake.mode = "lose"
        if scenario is Scenario.UNREACHABLE:
            self._fake.mode = "down"
        return self._build(mandate, amount.amount_minor)

    def moved(self, request: ChargeRequest) -> Money | None:
        minor = self._fake.collected(request.payment_reference)
        return Money(minor, request.amount.currency) if minor else None

    def webhook(self, kind: WebhookKind, request: ChargeRequest, sent_at: datetime) -> SignedWebhook:
        if kind is WebhookKind.UNHEARD_OF:
            told = {"id": "EV1", "created_at": "2026-11-23T09:00:00.000Z", "resource_type": "moons", "action": "rose"}
            return self._fake.webhook([told])
        made = self._fake.payments(request.payment_reference)
        about = (
            made[0]["id"] if made else "PM1",
            made[0]["metadata"] if made else {"recoup_attempt": str(request.attempt_id), "recoup_amount": "1999 EUR"},
        )
        told = {
            "id": "EV1",
            "created_at": sent_at.isoformat(),
            "resource_type": "payments",
            "action": "confirmed",
            "links": {"payment": about[0]},
            "details": {"origin": "gocardless", "cause": "payment_confirmed"},
            "metadata": {},
            "resource_metadata": about[1],
        }
        return self._fake.webhook([told])

    def now(self) -> datetime:
        return datetime.now(UTC)


class TestCharges(GatewayConformance):
    AMOUNTS: ClassVar = ALL_OF_ITS_CURRENCIES
    SIGNS_TIME: ClassVar = False

    @pytest.fixture
    def bench(
        self, fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Callable[..., ChargeRequest]
    ) -> ChargeBench:
        return ChargeBench(fake, gateway, a_request)


class RefundsBench:
    refused_code = "failed"

    def __init__(self, fake: FakeGoCardless, gateway: GoCardlessGateway, build: Callable[..., RefundRequest]) -> None:
        self.gateway: Any = gateway
        self.fake, self._build = fake, build

    def refundable(self, scenario: RefundScenario, charged: Money) -> RefundRequest:
        refuses = scenario is RefundScenario.REFUSE
        books = self.fake.books
        mandate = books.mandate(scheme=SCHEME_OF[charged.currency])
        body = {
            "amount": charged.amount_minor,
            "currency": charged.currency,
            "links": {"mandate": mandate["id"]},
            "metadata": {
                "recoup_attempt": "01890000-0000-7000-8000-000000000001",
                "recoup_payment": "inv",
                "recoup_amount": f"{charged.amount_minor} {charged.currency}",
            },
        }
        payment = books.create_payment(body)
        books.settle()
        books.words[mandate["id"]] = ["refuses_refunds"] if refuses else ["approve"]
        books.instant = scenario is not RefundScenario.PENDING
        if scenario is RefundScenario.LOSE_ANSWER:
            self.fake.mode = "lose"
        if scenario is RefundScenario.UNREACHABLE:
            self.fake.mode = "down"
        return self._build(payment)

    def refunded(self, request: RefundRequest) -> Money | None:
        refunds = self.fake.books.rows["refunds"].values()
        gone = sum(
            each["amount"]
            for each in refunds
            if each["links"]["payment"] == request.charge_ref and each["status"] in ("created", "paid")
        )
        return Money(gone, request.charged.currency) if gone else None

    def webhook(self, kind: RefundWebhook, request: RefundRequest, sent_at: datetime) -> SignedWebhook:
        actions = {RefundWebhook.TAKEN_BACK: "bounced", RefundWebhook.DISPUTED: "charged_back"}
        ours = {
            "recoup_part": str(request.part_id),
            "recoup_charge": request.charge_ref,
            "recoup_amount": f"{request.amount.amount_minor} {request.amount.currency}",
        }
        told: dict[str, Any] = {
            "id": "EV1",
            "created_at": sent_at.isoformat(),
            "resource_type": "refunds",
            "action": actions.get(kind, "paid"),
            "links": {"refund": "RF1"},
            "details": {"origin": "bank", "cause": "refund_paid"},
            "metadata": {},
            "resource_metadata": {} if kind is RefundWebhook.ELSEWHERE else ours,
        }
        if kind is RefundWebhook.DISPUTED:
            payment = self.fake.books.rows["payments"][request.charge_ref]
            told |= {
                "resource_type": "payments",
                "links": {"payment": request.charge_ref},
                "resource_metadata": payment["metadata"],
            }
        return self.fake.webhook([told])

    def now(self) -> datetime:
        return datetime.now(UTC)


class TestRefunds(RefundConformance):
    AMOUNTS: ClassVar = ALL_OF_ITS_CURRENCIES
    SIGNS_TIME: ClassVar = False

    @pytest.fixture
    def bench(
        self, fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Callable[..., RefundRequest]
    ) -> RefundsBench:
        return RefundsBench(fake, gateway, a_refund)

    def test_a_refund_made_elsewhere_is_known_by_its_charge(self, bench: RefundsBench) -> None:
        """The webhook alone says neither charge nor amount: it is kept, and says nothing (the list of events does)."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(RefundWebhook.ELSEWHERE, request, bench.now())

        (event,) = bench.gateway.parse_event(sent.headers, sent.body)

        assert (event.kind, event.refund) == ("refunds.paid", None)

    async def test_the_list_of_events_tells_of_a_refund_made_elsewhere(self, bench: RefundsBench) -> None:
        """What the kit asks of the webhook: no part of ours, the charge, the refund and its amount."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        books = bench.fake.books
        made = books.create_refund(
            {
                "amount": 500,
                "total_amount_confirmation": 500,
                "links": {"payment": request.charge_ref},
                "metadata": {"ticket": "77"},
            }
        )

        news = [event.refund for event in await _listed(bench) if event.refund is not None]

        assert {each.refund_ref for each in news} == {made["id"]}
        assert {(each.part_id, each.charge_ref, each.amount) for each in news} == {
            (None, request.charge_ref, Money(500, "EUR"))
        }
        assert isinstance(news[-1].outcome, Refunded)

    def test_a_dispute_is_told_with_its_charge(self, bench: RefundsBench) -> None:
        """As the kit's, but lost at once: the customer may take a debit back without being asked for a reason."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(RefundWebhook.DISPUTED, request, bench.now())

        (event,) = bench.gateway.parse_event(sent.headers, sent.body)

        assert event.dispute is not None
        assert (event.dispute.charge_ref, event.dispute.amount) == (request.charge_ref, request.charged)
        assert event.dispute.standing is DisputeState.LOST
        assert event.dispute.dispute_ref


async def _listed(bench: RefundsBench) -> list[GatewayEvent]:
    """Walk through the whole list of events."""
    events: list[GatewayEvent] = []
    cursor: str | None = None
    for _ in range(20):
        page = await bench.gateway.list_events(bench.now() - timedelta(hours=1), cursor)
        events += page.events
        cursor = page.cursor
        if cursor is None:
            return events
    raise AssertionError("the list never ends")
