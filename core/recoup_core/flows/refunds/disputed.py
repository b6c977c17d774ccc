"""What a dispute does once it is told: stored, booked, and decisive for everything that has not left.

The moment it takes money, and in the same transaction, every refund of the payment of which nothing has left is decided
anew, nobody asks the customer for the rest of the debt, and what the charge was made with is tried for no other debt:
no one is paid back twice, and no one charged again who has just objected.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import DISPUTE, FREEZES, Dispute, DisputeEvent, DisputeState
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import dispute_entries
from recoup_core.domain.money import Money
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.context import Context
from recoup_core.flows.credentials.blocking import Told, block_disputed
from recoup_core.flows.refunds.about_payment import PaymentDraft
from recoup_core.flows.refunds.anew import decide_locked
from recoup_core.flows.refunds.cases import DISPUTED, is_collected, stop_collecting
from recoup_core.flows.refunds.draft import LOCK_ROUNDS, LockedRefunds, locked_refunds
from recoup_core.flows.refunds.lastword import last_standing
from recoup_core.ports import CaptureNews, DisputeNews, RefundNews
from recoup_core.storage.changes import Changes
from recoup_core.storage.disputes import fees_of_dispute, find_dispute, refunds_answering, unsent_refunds
from recoup_core.storage.ledger import entries_of_dispute
from recoup_core.storage.lookups import KnownCapture, told_of_dispute
from recoup_core.storage.refunds import load_accounts, load_refunds

log = structlog.get_logger(__name__)

ENDED: Final = frozenset({DisputeState.WON, DisputeState.LOST, DisputeState.CLOSED})

_TOLD: Final = {
    DisputeState.INQUIRY: EventKind.DISPUTE_OPENED,
    DisputeState.OPEN: EventKind.DISPUTE_OPENED,
    DisputeState.WON: EventKind.DISPUTE_WON,
    DisputeState.LOST: EventKind.DISPUTE_LOST,
    DisputeState.CLOSED: EventKind.DISPUTE_CLOSED,
}

Finish = Callable[[LockedRefunds, Dispute | None], Awaitable[None]]
"""What else belongs into the transaction: the event that told it is closed, the call's answer remembered."""


class DisputeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute as it is known to stand, who says so, and what charge it is about."""

    merchant_id: str
    gateway: str
    capture: KnownCapture
    news: DisputeNews
    actor: str
    correlation_id: str | None = None
    occurred_at: datetime | None = None
    """When it happened, where an event told it: then all that was told about the dispute says how it stands."""


def charge_refs(news: RefundNews | DisputeNews | CaptureNews) -> tuple[str, ...]:
    """Return every name by which the gateway calls the charge that its news is about."""
    return (*(() if news.charge_ref is None else (news.charge_ref,)), *news.other_charge_refs)


async def store_dispute(context: Context, told: DisputeFacts, finish: Finish) -> Dispute | None:
    """Store a dispute with all that follows from it, in one transaction; None where what was told can't be taken in.

    Where the policies in force can't decide, the dispute is stored all the same: each refund is checked once more
    before it leaves.
    """

    async def deciding(hold: bool) -> Dispute | None:
        return await _store(context, told, finish, hold=hold)

    try:
        return await context.policies.in_force(told.merchant_id, deciding)
    except DomainError as refusal:
        log.error("refunds_not_decided_anew", dispute=told.news.dispute_ref, code=refusal.code, error=str(refusal))
        return await _store(context, told, finish, hold=None)


async def _store(context: Context, told: DisputeFacts, finish: Finish, *, hold: bool | None) -> Dispute | None:
    """Lock, store, decide; `hold` None stores without deciding."""
    payment_id = told.capture.payment_id
    for _ in range(LOCK_ROUNDS):
        async with context.database.connection() as connection:
            refunds = await unsent_refunds(connection, payment_id)
        async with locked_refunds(context, refunds, more_payments=[payment_id]) as locked:
            if not await unsent_refunds(locked.connection, payment_id) <= refunds:
                continue  # one was asked for meanwhile, perhaps over payments that are not locked
            dispute, freezes = await apply_dispute(locked, told)
            if dispute is not None and freezes:
                await _react(context, locked, told, refunds, hold)
            await finish(locked, dispute)
            return dispute
    raise RuntimeError(f"payment {payment_id} is asked for refunds without end")


async def apply_dispute(locked: LockedRefunds, told: DisputeFacts) -> tuple[Dispute | None, bool]:
    """Bring the stored dispute to where it stands; say whether it has just taken, or lost, the money."""
    told = await _in_order(locked, told)
    payment = PaymentDraft(locked, told.capture.payment_id, told.actor, told.correlation_id)
    known = await find_dispute(locked.connection, told.gateway, told.news.dispute_ref)
    refusal = _refusal(payment.account, known, told)
    if refusal is not None:
        await payment.ask_amount(refusal)
        return None, False
    before = known.state if known else None
    dispute = await _brought(locked, told, known)
    dispute = await _booked(locked, told, dispute)
    if dispute.state is not before:
        answered_by = [str(each) for each in await refunds_answering(locked.connection, dispute.id)]
        payment.tell_dispute(_TOLD[dispute.state], dispute, answered_by=answered_by)
    elif known is not None and _dated(known) != _dated(dispute):
        payment.tell_dispute(EventKind.DISPUTE_CHANGED, dispute)
    await payment.ask_evidence(dispute)
    return dispute, dispute.state in FREEZES and dispute.state is not before


async def _in_order(locked: LockedRefunds, told: DisputeFacts) -> DisputeFacts:
    """Return what was told with how the dispute stands after every event about it: under the lock, so that none that
    is applied at the same moment is overlooked."""
    if told.occurred_at is None:
        return told
    events = await told_of_dispute(locked.connection, told.gateway, told.news.dispute_ref)
    standing = last_standing(events) or told.news.standing
    return msgspec.structs.replace(told, news=msgspec.structs.replace(told.news, standing=standing))


def _refusal(account: PaymentAccount, known: Dispute | None, told: DisputeFacts) -> str | None:
    """Return why what was told can't be taken in: it contradicts the charge, or what was told first."""
    news, capture = told.news, account.capture(told.capture.capture_id)
    name = f"{told.gateway} dispute {news.dispute_ref}"
    if capture is None or news.amount.amount_minor <= 0:
        return f"{name}: {news.amount} can't be disputed"
    if news.amount.currency != capture.currency:
        return f"{name}: {news.amount} for a charge of {capture.amount}"
    if known is None:
        gone = capture.state is CaptureState.RETURNED and news.standing in (DisputeState.OPEN, DisputeState.LOST)
        return f"{name}: its charge had come back before; see where the money is" if gone else None
    if known.capture_id != capture.id:
        return f"{name}: told first of another charge"
    return None if known.amount == news.amount else f"{name}: {news.amount} now, {known.amount} before"


async def _brought(locked: LockedRefunds, told: DisputeFacts, known: Dispute | None) -> Dispute:
    """Write the dispute as it stands, over every state in between: each is a legal step of its own."""
    news = told.news
    if known is None:
        dispute = Dispute(
            id=new_id(),
            merchant_id=told.merchant_id,
            payment_id=told.capture.payment_id,
            capture_id=told.capture.capture_id,
            gateway=told.gateway,
            gateway_ref=news.dispute_ref,
            amount_minor=news.amount.amount_minor,
            currency=news.amount.currency,
            state=news.standing,
            reason=news.reason,
            evidence_due_at=news.evidence_due_at,
            opened_at=locked.now,
            closed_at=locked.now if news.standing in ENDED else None,
        )
        await _write(locked, dispute, new=True)
        return dispute
    dispute = msgspec.structs.replace(
        known, reason=news.reason or known.reason, evidence_due_at=news.evidence_due_at or known.evidence_due_at
    )
    for state in path(known.state, news.standing):
        begins = state in FREEZES and dispute.state not in FREEZES
        dispute = msgspec.structs.replace(
            dispute,
            state=state,
            opened_at=locked.now if begins else dispute.opened_at,
            closed_at=locked.now if state in ENDED else None,
        )
        await _write(locked, dispute)
    return dispute


async def _write(locked: LockedRefunds, dispute: Dispute, *, new: bool = False) -> None:
    """Write at once: what is decided next must see it, and so must the counters of its charge."""
    changes = Changes()
    if new:
        changes.add(dispute)
    else:
        changes.update(dispute)
    await changes.write(locked.connection)


async def _booked(locked: LockedRefunds, told: DisputeFacts, dispute: Dispute) -> Dispute:
    counted = msgspec.structs.replace(dispute, turns=dispute.turns + 1)
    entries = dispute_entries(
        dispute=counted,
        booked=await entries_of_dispute(locked.connection, dispute.id),
        fee=await _more_of(told.news.fee, locked, dispute),
        at=locked.now,
        occurred_at=told.occurred_at,
    )
    if not entries:
        locked.changes.update(dispute)
        return dispute
    locked.changes.update(counted)
    locked.changes.add(*entries)
    return counted


async def _more_of(fee: Money | None, locked: LockedRefunds, dispute: Dispute) -> Money | None:
    """Return what of a dispute's fees is not booked yet: each event tells all of them so far, and a report may have
    settled them before."""
    if fee is None:
        return None
    more = fee.amount_minor - await fees_of_dispute(locked.connection, dispute.id, fee.currency)
    return Money(more, fee.currency) if more > 0 else None


async def _react(
    context: Context, locked: LockedRefunds, told: DisputeFacts, refunds: Collection[UUID], hold: bool | None
) -> None:
    """Nothing more is asked of the customer, and nothing more leaves without having been decided with the dispute."""
    payment_id = told.capture.payment_id
    accounts = await load_accounts(locked.connection, locked.accounts.keys())
    if is_collected(accounts[payment_id]):
        await stop_collecting(locked, {payment_id: told.correlation_id or ""}, told.actor, DISPUTED)
    by = Told(
        merchant_id=told.merchant_id,
        actor=told.actor,
        now=locked.now,
        correlation_id=told.correlation_id,
        payment_id=payment_id,
    )
    await block_disputed(locked, told.capture.capture_id, by)
    files = await load_refunds(locked.connection, refunds)
    anew = LockedRefunds(locked.connection, locked.now, files, accounts, locked.changes)
    if hold is not None:
        for refund_id in sorted(refunds):
            await decide_locked(context, anew, refund_id, told.correlation_id, hold=hold)
    await PaymentDraft(anew, payment_id, told.actor, told.correlation_id).ask_if_over(told.capture.capture_id)


def path(state: DisputeState, target: DisputeState) -> tuple[DisputeState, ...]:
    """Return the legal steps from one state to another, the fewest; none where there is no way or nothing to do."""
    ways: list[tuple[DisputeState, ...]] = [()]
    seen = {state}
    for way in ways:
        at = way[-1] if way else state
        if at is target:
            return way
        for event in DisputeEvent:
            if DISPUTE.allows(at, event) and (following := DISPUTE.after(at, event)) not in seen:
                seen.add(following)
                ways.append((*way, following))
    return ()


def _dated(dispute: Dispute) -> tuple[str | None, datetime | None]:
    return dispute.reason, dispute.evidence_due_at
