"""The people and machines around the demo's refunds: the shop, an agent, three approvers, and the bank's postman.

Everything they do is found from how things stand, or carries an idempotency key: a play that was killed goes on, and
what is done again is done once.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from recoup_cli.demo.orders import Ask, BankActs, Order
from recoup_cli.demo.population import GATEWAY
from recoup_cli.single import MERCHANT
from recoup_core.domain.approval import Verdict
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.refund import (
    Destination,
    Evidence,
    FailureCategory,
    Refund,
    RefundState,
    Spread,
)
from recoup_core.flows.captured import CaptureReport, report_captured
from recoup_core.flows.context import Context
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.recover import PaymentExists
from recoup_core.flows.refunds.approvals import decide_refund
from recoup_core.flows.refunds.ask import AskedLine, RefundAsk, RefundEdit
from recoup_core.flows.refunds.queue import queue
from recoup_core.flows.refunds.refusals import LineExceedsRefundable, RefundExceedsRefundable
from recoup_core.flows.refunds.requests import edit_refund, request_refund, retry_refund, submit_refund
from recoup_core.storage.calls import Call
from recoup_core.storage.listing import MAX_PAGE
from recoup_core.storage.lookups import payment_by_reference
from recoup_core.storage.refund_lists import list_disputes, list_refunds, read_refund
from recoup_plugins.gateways.sandbox_bank import SandboxBank
from recoup_plugins.gateways.sandbox_webhooks import sign

DELIVERIES: Final = 500
"""Webhooks of the bank that are taken out at a time."""

APPROVERS: Final = (("sven", "support_lead"), ("fatima", "finance"), ("diego", "finance_director"))
"""Who decides in the demo, and as what."""

EVIDENCE: Final = "photo"
"""What the reasons of the sample need."""

_SAYS: Final = {Verdict.REJECT: "the terms don't give that back", Verdict.SEND_BACK: "please say more about it"}


class Happening(msgspec.Struct, frozen=True):
    """Something that somebody does at a moment of the demo's time."""

    at: datetime
    do: Callable[[Context], Awaitable[None]]


def webhook_secret() -> str:
    """Return a secret between the demo's bank and its own endpoint, good for one start."""
    return secrets.token_urlsafe()


def by(principal: str, *approves: str, call: Call | None = None) -> By:
    """Return one of the demo's people as flows know them."""
    return By(merchant_id=MERCHANT, actor=f"key:{principal}", principal=principal, approves=approves, call=call)


class Desk:
    """Does what the orders' stories say, and has people do their part of it."""

    def __init__(self, bank: SandboxBank, secret: str) -> None:
        self._bank = bank
        self._secret = secret

    def happenings(self, orders: Sequence[Order], start: datetime, end: datetime) -> list[Happening]:
        """Return everything that is going to happen, by time."""
        found: list[Happening] = []
        for order in orders:
            found.append(Happening(order.at, _bound(self._report, order)))
            for number, ask in enumerate(order.story.asks):
                found.append(Happening(order.at + ask.after, _bound(self._ask, order, number, ask)))
            found += [Happening(order.at + act.after, _bound(self._act, order, act)) for act in order.story.acts]
        if orders:
            found += [Happening(at, self.office_hour) for at in _office_hours(start, end)]
        return sorted((each for each in found if each.at < end), key=lambda each: each.at)

    async def deliver(self, context: Context) -> None:
        """Take out the bank's webhooks; those about charges stay unread: the demo asks for those answers."""
        while deliveries := self._bank.due_deliveries(DELIVERIES):
            for delivery in deliveries:
                if _wanted(delivery.body):
                    headers = sign(self._secret, delivery.event_id, context.clock.now(), delivery.body)
                    await receive_webhook(context, GATEWAY, headers, delivery.body, delivery.event_id)
                self._bank.record_delivery(delivery, delivered=True, retry_in=None)

    async def office_hour(self, context: Context) -> None:
        """Let approvers decide what they may, and the agent see to what came back."""
        for person, role in APPROVERS:
            someone = by(person, role)
            for item in await queue(context, someone, None, MAX_PAGE):
                verdict = _verdict(item.refund, person)
                refund = item.refund
                await decide_refund(context, refund.id, someone, verdict, _SAYS.get(verdict), refund.version)
        agent = by("mia")
        for refund in await self._refunds(context, RefundState.INCOMPLETE):
            edit = RefundEdit(evidence=(Evidence(kind=EVIDENCE, ref=f"https://example.com/{refund.id.hex}.jpg"),))
            await edit_refund(context, refund.id, edit, agent, refund.version)
        for refund in await self._refunds(context, RefundState.SENT_BACK):
            await submit_refund(context, refund.id, agent, refund.version)
        for refund in await self._refunds(context, RefundState.FAILED):
            await self._pay_otherwise(context, refund, agent)

    async def _report(self, order: Order, context: Context) -> None:
        for report in order.reports:
            assert report.gateway_ref is not None  # all of the sample have one
            charged = Money(report.amount_minor, report.currency)
            self._bank.hold(report.gateway_ref, report.reference, charged)
            with suppress(PaymentExists):  # an earlier start was killed after this one
                await report_captured(context, report, "key:shop", f"demo-{report.reference}", None)

    async def _ask(self, order: Order, number: int, ask: Ask, context: Context) -> None:
        """Ask; what is no longer refundable is refused, as it should be."""
        main = order.reports[0]
        payment_id = await _payment(context, main.reference)
        asked = await _asked(context, order, ask, payment_id)
        if asked is None:
            return
        call = Call(f"demo-{main.reference}-{number}", msgspec.json.encode(asked))
        who = by("mia" if order.number % 3 else "shop", call=call)
        with suppress(RefundExceedsRefundable, LineExceedsRefundable):
            await request_refund(context, asked, who)

    async def _act(self, order: Order, act: BankActs, context: Context) -> None:
        main = order.reports[0]
        charge, amount = str(main.gateway_ref), Money(main.amount_minor, main.currency)
        dispute = await _dispute(context, main.reference)
        match act.what:
            case "inquiry" | "dispute" if dispute is None:
                standing = DisputeState.INQUIRY if act.what == "inquiry" else DisputeState.OPEN
                due = context.clock.now() + timedelta(days=9)
                self._bank.open_dispute(charge, standing=standing, reason="not as described", evidence_due_at=due)
            case "lost" | "won" if dispute is not None and dispute.state is DisputeState.OPEN:
                self._bank.move_dispute(dispute.gateway_ref, DisputeState(act.what))
            case "refund_elsewhere" if charge not in self._bank.refund_totals().by_charge:
                self._bank.refund_elsewhere(charge, Money(amount.amount_minor // 2, amount.currency))
        await self.deliver(context)

    async def _refunds(self, context: Context, state: RefundState) -> list[Refund]:
        return await list_refunds(context.database, MERCHANT, {"state": state}, None, MAX_PAGE)

    async def _pay_otherwise(self, context: Context, refund: Refund, agent: By) -> None:
        """Where the card is gone the money goes as store credit; what was taken back is left for a look at it."""
        found = await read_refund(context.database, MERCHANT, refund.id)
        assert found is not None  # it was listed a moment ago, and no refund is ever deleted
        failures = [part.failure for part in found[0].last_parts if part.failure and part.successes == 0]
        if any(failure.category is FailureCategory.METHOD_GONE for failure in failures):
            await retry_refund(context, refund.id, agent, Destination.STORE_CREDIT, refund.version)


def _bound(act: Callable[..., Awaitable[None]], *given: object) -> Callable[[Context], Awaitable[None]]:
    async def do(context: Context) -> None:
        await act(*given, context)

    return do


def _office_hours(start: datetime, end: datetime) -> list[datetime]:
    """Return the moments at which people look at what waits: twice a day."""
    first = start.replace(hour=9, minute=0, second=0, microsecond=0)
    moments = [first + timedelta(hours=6 * turn) for turn in range(4 * ((end - start).days + 2))]
    return [moment for moment in moments if start <= moment < end and moment.hour in (9, 15)]


class _Told(msgspec.Struct):
    type: str


def _wanted(body: bytes) -> bool:
    """Whether a webhook is taken in: answers to charges are asked for instead, as where webhooks get lost."""
    kind = msgspec.json.decode(body, type=_Told).type
    return not kind.startswith("charge.") or kind == "charge.captured"


def _verdict(refund: Refund, person: str) -> Verdict:
    """Decide by a hash of what was asked: the same sample comes out the same, and nobody decides like another."""
    drawn = sha256(f"{refund.customer_ref} {refund.amount_minor} {person}".encode()).digest()[0] % 12
    if drawn == 0:
        return Verdict.REJECT
    return Verdict.SEND_BACK if drawn == 1 and refund.revision == 1 else Verdict.APPROVE


async def _payment(context: Context, reference: str) -> UUID:
    async with context.database.connection() as connection:
        found = await payment_by_reference(connection, MERCHANT, reference)
    assert found is not None  # its report came before
    return found


async def _dispute(context: Context, reference: str) -> Dispute | None:
    payment_id = await _payment(context, reference)
    return next(iter(await list_disputes(context.database, MERCHANT, {"payment": payment_id}, None, 1)), None)


async def _asked(context: Context, order: Order, ask: Ask, payment_id: UUID) -> RefundAsk | None:
    """Return the request; None where it is to answer an inquiry that the bank has not made."""
    main = order.reports[0]
    dispute = await _dispute(context, main.reference) if ask.answers_inquiry else None
    if ask.answers_inquiry and dispute is None:
        return None
    amount_minor, lines = _extent(main, order, ask)
    return RefundAsk(
        payment_id=None if ask.of_the_order else payment_id,
        order_ref=main.order_ref if ask.of_the_order else None,
        spread=Spread.NEWEST_FIRST if ask.of_the_order else None,
        amount_minor=amount_minor,
        currency=main.currency,
        reason=ask.reason,
        purpose=ask.purpose,
        destination=Destination.STORE_CREDIT if ask.store_credit else Destination.ORIGINAL_METHOD,
        lines=lines,
        answers_dispute_id=None if dispute is None else dispute.id,
    )


def _extent(main: CaptureReport, order: Order, ask: Ask) -> tuple[int, tuple[AskedLine, ...]]:
    """Return how much is asked for, and of which lines."""
    items, shipping = main.lines
    match ask.what:
        case "all":
            whole = sum(report.amount_minor for report in order.reports)
            return (whole * 3 // 4 if ask.of_the_order else whole), ()
        case "piece":
            return items.amount_minor // items.quantity, (AskedLine(line=items.ref, quantity=1),)
        case "shipping":
            return shipping.amount_minor, (AskedLine(line=shipping.ref),)
        case "tax":
            return items.tax_minor, (AskedLine(line=items.ref, tax_only=True),)
        case "third":
            return main.amount_minor // 3, ()
        case "goodwill":
            return Money.from_major(str(ask.major), main.currency).amount_minor, ()
