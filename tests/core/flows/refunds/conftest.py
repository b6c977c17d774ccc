"""A shop whose payments came in: with lines, or several of one order; refund policies in force, and its people."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.capture import Capture, LineKind
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.domain.refund import (
    Destination,
    FailureCategory,
    PartEvent,
    Purpose,
    RefundFailure,
)
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.flows.captured import CaptureReport, ReportedLine, report_captured
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.approvals import decide_refund
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.draft import SEND_REFUND, locked_refunds
from recoup_core.flows.refunds.outcomes import record_refund
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.ports import Refunded, Refused
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.storage.calls import Call
from recoup_core.storage.refunds import load_accounts, load_refunds
from recoup_core.wiring import shipped_policies


class Till:
    """Payments that came in, and requests to give them back."""

    lines = (
        ReportedLine(ref="shirt", quantity=3, amount_minor=5950, tax_minor=950),
        ReportedLine(ref="socks", quantity=1, amount_minor=1190, tax_minor=190),
        ReportedLine(ref="shipping", kind=LineKind.SHIPPING, amount_minor=490, tax_minor=78),
    )
    """76.30 in all, 12.18 of it tax."""

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self.context = shop.context
        self._count = 0

    def report(self, amount_minor: int = 4900, **fields: Any) -> CaptureReport:
        """A payment that came in an hour ago."""
        self._count += 1
        known: dict[str, Any] = {
            "merchant_id": "default",
            "reference": f"order-{self._count}",
            "customer": Customer(ref=f"cus-{self._count}", country="DE"),
            "currency": "EUR",
            "gateway": "sandbox",
            "gateway_ref": f"ch_{self._count}",
            "method": Method.CARD,
            "network": Network.VISA,
            "captured_at": self.shop.clock.now() - timedelta(hours=1),
        }
        return CaptureReport(amount_minor=amount_minor, **(known | fields))

    async def captured(self, amount_minor: int = 4900, **fields: Any) -> PaymentAccount:
        """Report a payment that came in, and return its account."""
        return await report_captured(self.context, self.report(amount_minor, **fields), "key:shop", "corr-1")

    async def with_lines(self, **fields: Any) -> PaymentAccount:
        """A payment of 76.30 with three lines."""
        return await self.captured(7630, lines=self.lines, **fields)

    async def order(self, *amounts: int, order_ref: str = "order-a", **fields: Any) -> list[PaymentAccount]:
        """The payments of one order of one customer, each an hour after the one before."""
        customer = Customer(ref=f"cus-{order_ref}", country="DE")
        start = self.shop.clock.now() - timedelta(hours=len(amounts))
        return [
            await self.captured(
                amount,
                **({"order_ref": order_ref, "customer": customer, "captured_at": start + timedelta(hours=n)} | fields),
            )
            for n, amount in enumerate(amounts)
        ]

    def ask(self, account: PaymentAccount | None, amount_minor: int, **fields: Any) -> RefundAsk:
        """What is asked back of a payment, because the customer wants it."""
        known: dict[str, Any] = {
            "payment_id": account.payment.id if account else None,
            "currency": account.payment.currency if account else "EUR",
            "reason": "requested_by_customer",
        }
        return RefundAsk(amount_minor=amount_minor, **(known | fields))

    def goodwill(self, account: PaymentAccount, amount_minor: int, **fields: Any) -> RefundAsk:
        """A gesture in store credit, which no capture stands behind."""
        gesture = {
            "purpose": Purpose.GOODWILL,
            "destination": Destination.STORE_CREDIT,
            "reason": "late_delivery",
        }
        return self.ask(account, amount_minor, **(gesture | fields))

    async def request(
        self, account: PaymentAccount | None, amount_minor: int, by: By | None = None, **fields: Any
    ) -> RefundFile:
        """Ask for a refund."""
        return await request_refund(self.context, self.ask(account, amount_minor, **fields), by or self.by())

    async def verdict(self, file: RefundFile, person: str, role: str, verdict: Verdict = Verdict.APPROVE) -> RefundFile:
        """Have a person decide the refund as it is now."""
        refund = (await self.file(file.refund.id)).refund
        by, comment = self.by(person, role), None if verdict is Verdict.APPROVE else "see below"
        return await decide_refund(self.context, refund.id, by, verdict, comment, refund.version)

    async def answered(self, file: RefundFile, outcome: Any, place: int = -1) -> RefundFile:
        """Have one part leave and its gateway answer, each in a transaction of its own."""
        part_id = file.parts[place].id
        async with locked_refunds(self.context, [file.refund.id]) as locked:
            draft = locked.draft(file.refund.id, "gateway:sandbox", None)
            assert draft is not None
            sent = {"sends": 1, "submitted_at": locked.now, "last_sent_at": locked.now}
            draft.move_part(draft.file.parts[place], PartEvent.SUBMIT, **sent)
            draft.changes.drop_job(SEND_REFUND, part_id)
        async with locked_refunds(self.context, [file.refund.id]) as locked:
            draft = locked.draft(file.refund.id, "gateway:sandbox", None)
            assert draft is not None
            record_refund(draft, part_id, outcome)
        return await self.file(file.refund.id)

    async def refused(self, file: RefundFile, place: int = -1) -> RefundFile:
        """Have the gateway refuse a part for good."""
        failure = RefundFailure(category=FailureCategory.METHOD_GONE, code="expired_card")
        return await self.answered(file, Refused(failure=failure), place)

    async def paid(self, file: RefundFile, place: int = -1) -> RefundFile:
        """Have a part go back."""
        part = file.parts[place]
        return await self.answered(file, Refunded(gateway_ref=f"re_{part.id}", amount=part.amount), place)

    async def account(self, account: PaymentAccount) -> PaymentAccount:
        """The payment's account as it is by now."""
        async with self.shop.service.database.connection() as connection:
            return (await load_accounts(connection, [account.payment.id]))[account.payment.id]

    async def capture(self, account: PaymentAccount) -> Capture:
        """The payment's only capture as it is by now."""
        (capture,) = (await self.account(account)).captures
        return capture

    async def file(self, refund_id: UUID) -> RefundFile:
        """The refund's file as it is by now."""
        async with self.shop.service.database.connection() as connection:
            return (await load_refunds(connection, [refund_id]))[refund_id]

    async def told(self, refund_id: UUID) -> list[str]:
        """The kinds of what happened to a refund, in order."""
        rows = await self.shop.rows("SELECT kind FROM event WHERE refund_id = $1 ORDER BY id", refund_id)
        return [row["kind"] for row in rows]

    def by(self, principal: str = "anna", *approves: str, key: str | None = None, **fields: Any) -> By:
        """A person with these approval roles; `key` makes the call one that is remembered."""
        call = None if key is None else Call(key, b"POST /refunds")
        known: dict[str, Any] = {"merchant_id": "default", "actor": f"key:{principal}", "call": call}
        return By(principal=principal, approves=approves, **(known | fields))


@pytest.fixture(scope="session")
def shipped_book() -> PolicyBook:
    """All shipped policies, compiled once: here it is the refund policies that decide."""
    return PolicyBook.load(shipped_policies())


@pytest.fixture
def till(shop: Any) -> Till:
    """The till of a shop under the shipped policies."""
    return Till(shop)


@pytest.fixture
async def till_under(shop_under: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Till]]:
    """Opens tills under one refund policy: `await till_under(rules)`, each a rule with what its example is given."""

    async def under(*rules: tuple[str, str, str], applies_to: str = "{}", more: str = "") -> Till:
        read = "\n".join(f"  - {{name: {name}, {rule}}}" for name, rule, _ in rules)
        examples = "\n".join(f"  - {{given: {given}, expect: {name}}}" for name, _, given in rules)
        text = f"kind: refund\nname: shop\napplies_to: {applies_to}\n{more}\nrules:\n{read}\nexamples:\n{examples}\n"
        return Till(await shop_under(text))

    return under
