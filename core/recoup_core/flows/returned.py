"""A charge that had been collected comes back: the customer's bank takes it back, days after it had succeeded.

No dispute: nobody asks for evidence, and the debt is simply owed again. In one transaction the capture is returned, its
entry reversed, the case reopened under the policy it keeps with this decline as its latest, and what was to be
refunded of the money is called off. Told twice, early or late, it ends the same way.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.capture import CAPTURE, Capture, CaptureEvent
from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.dispute import FREEZES
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.ledger import LedgerEntry, reversal_of
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Payment, PaymentEvent, PaymentState
from recoup_core.domain.recovery import CASE, CaseEvent, CaseState, RecoveryCase
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.draft import Draft
from recoup_core.flows.planning import open_task, plan_next, skip_planned, skip_retry
from recoup_core.flows.refunds.about_payment import PaymentDraft
from recoup_core.flows.refunds.called_off import call_off_refunds
from recoup_core.flows.refunds.charges import return_charge_of
from recoup_core.flows.refunds.draft import LOCK_ROUNDS, LockedRefunds
from recoup_core.flows.subscription_requests.asking import withdraw
from recoup_core.flows.write_offs import correct_write_off
from recoup_core.rules.engine.texts import Pinned
from recoup_core.storage.captured import told_returns, was_given_up
from recoup_core.storage.changes import Changes
from recoup_core.storage.disputes import unsent_refunds
from recoup_core.storage.ledger import entry_of_charge
from recoup_core.storage.lookups import KnownCapture
from recoup_core.storage.refunds import load_accounts, load_refunds, payments_of_refunds

BECAUSE: Final = "the charge was returned"

_SOURCES: Final[Mapping[Method, DeclineSource]] = {
    Method.CARD: DeclineSource.ISO8583,
    Method.SEPA_DEBIT: DeclineSource.SEPA,
    Method.ACH_DEBIT: DeclineSource.ACH,
    Method.BACS_DEBIT: DeclineSource.BACS,
}

Finish = Callable[[Locked, bool], Awaitable[None]]
"""What else belongs into the transaction: the event or the settlement line that told it is closed."""


class ReturnedCharge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge that came back, as its gateway tells it."""

    charge: KnownCapture
    decline: Decline | None = None
    """Why; None where the gateway doesn't say: then it is not tried again unattended."""
    occurred_at: datetime
    actor: str
    correlation_id: str | None = None


async def return_charge(context: Context, told: ReturnedCharge, finish: Finish) -> bool:
    """Take in a returned charge with all that follows from it, in one transaction; False where it says nothing new.

    `finish` is called before the commit, with whether anything changed.
    """
    for _ in range(LOCK_ROUNDS):
        async with context.database.connection() as connection:
            refunds, payments = await _concerned(connection, told)
        async with locked_cases(context, payments) as locked:
            if not (await _concerned(locked.connection, told))[0] <= refunds:
                continue  # one was asked for meanwhile, perhaps over payments that are not locked
            changed = await apply_return(locked, told, refunds, payments)
            await finish(locked, changed)
            return changed
    raise RuntimeError(f"payment {told.charge.payment_id} is asked for refunds without end")


async def apply_return(
    locked: Locked, told: ReturnedCharge, refunds: Collection[UUID], payments: Collection[UUID]
) -> bool:
    """As `return_charge`, under locks that the caller holds: of the payments of every unsent refund over the charge."""
    accounts = await load_accounts(locked.connection, payments)
    files = await load_refunds(locked.connection, refunds)
    inside = LockedRefunds(locked.connection, locked.now, files, accounts, locked.changes)
    about = PaymentDraft(inside, told.charge.payment_id, told.actor, told.correlation_id)
    capture = about.account.capture(told.charge.capture_id)
    draft = locked.draft(told.charge.payment_id, told.actor, told.correlation_id)
    if capture is None or not CAPTURE.allows(capture.state, CaptureEvent.RETURN) or _told_before(draft, capture, told):
        return False
    if _disputed(about.account, capture):
        await about.ask_returned(f"{_name(capture)} came back, and is disputed as well: see where the money is")
        return True
    called_off = await call_off_refunds(inside, capture, told.actor, told.correlation_id)
    gone = Money(capture.held_minor - called_off, capture.currency)
    if gone.amount_minor > 0:
        await about.ask_returned(f"{_name(capture)} came back after {gone} of it had been sent back as refunds")
    entry = await entry_of_charge(locked.connection, capture)
    if draft is None:
        return_charge_of(about, capture, entry, told.occurred_at)
        await about.ask_returned(f"{_name(capture)} came back, and nobody collects it: it has no recovery case")
        return True
    await _write_turn(locked.connection, draft)
    given_up = await was_given_up(locked.connection, draft.file.case.id)
    take_back(draft, capture, entry, told, locked.policy(draft), rests=gone.amount_minor > 0, given_up=given_up)
    return True


async def _write_turn(connection: asyncpg.Connection, draft: Draft) -> None:
    """Write payment and case as they stand with the money, and the case as it is reopened: what becomes of them in the
    same transaction may be no legal step from where they were before it, but is one by one."""
    payment, case = draft.file.payment, draft.file.case
    turns: list[Payment | RecoveryCase] = [payment, case]
    if case.state is CaseState.RECOVERED:
        reopened = CASE.after(case.state, CaseEvent.REOPEN)
        turns.append(msgspec.structs.replace(case, state=reopened, closed_at=None, stop_reason=None))
    for row in turns:
        turn = Changes()
        turn.update(row)
        await turn.write(connection)


def take_back(
    draft: Draft,
    capture: Capture,
    entry: LedgerEntry | None,
    told: ReturnedCharge,
    policy: Pinned,
    *,
    rests: bool = False,
    given_up: bool = False,
) -> None:
    """Book that a capture came back and let its case go on; with `rests` a person says first whether it may, and so
    where people had `given_up` the debt before the money came."""
    draft.changes.update(msgspec.structs.replace(capture, state=CAPTURE.after(capture.state, CaptureEvent.RETURN)))
    if entry is not None:
        draft.changes.add(reversal_of(entry=entry, at=draft.now, occurred_at=told.occurred_at))
    decline = told.decline or _unexplained(capture.method)
    attempt = _fail(draft, capture, decline, told.occurred_at)
    draft.tell(
        EventKind.CAPTURE_RETURNED,
        attempt.id if attempt else None,
        capture=str(capture.id),
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        gateway=capture.gateway,
        gateway_ref=capture.gateway_ref,
        category=str(decline.category),
        code=decline.code,
    )
    _owe(draft, capture)
    if given_up and draft.file.case.state is CaseState.RECOVERED:
        reason = f"{_name(capture)} came back, and the debt had been given up: nobody collects it unless it is resumed"
        open_task(draft, TaskKind.CHARGE_RETURNED, reason)
    _go_on(draft, capture, policy, rests=rests or given_up)


async def take_back_early(
    connection: asyncpg.Connection, draft: Draft, gateway: str, charge_ref: str, succeeded_at: datetime, policy: Pinned
) -> None:
    """A success has just been booked of which the gateway had told before that it came back: it does so now."""
    for event in await told_returns(connection, gateway, charge_ref):
        news = event.capture
        captures: list[Capture] = [c for c in draft.changes.rows(Capture) if c.gateway_ref == charge_ref]
        if news is None or event.occurred_at < succeeded_at or not captures:
            continue
        capture = captures[-1]
        entries: list[LedgerEntry] = list(draft.changes.rows(LedgerEntry))
        entry = next((each for each in entries if each.capture_id == capture.id), None)
        told = ReturnedCharge(
            charge=KnownCapture(capture.payment_id, capture.id),
            decline=news.decline,
            occurred_at=event.occurred_at,
            actor=draft.actor,
            correlation_id=draft.correlation_id,
        )
        await _write_turn(connection, draft)
        given_up = await was_given_up(connection, draft.file.case.id)
        take_back(draft, capture, entry, told, policy, given_up=given_up)
        return


def _fail(draft: Draft, capture: Capture, decline: Decline, at: datetime) -> Attempt | None:
    """The try that had collected it counts as failed from now on: for limits, facts and what is decided next."""
    attempt = draft.file.attempt(capture.attempt_id) if capture.attempt_id else None
    if attempt is None:
        return None
    failed = msgspec.structs.replace(attempt, decline=decline, returned_at=max(min(at, draft.now), attempt.made_at))
    draft.changes.update(failed)
    draft.file = draft.file.with_attempt(failed)
    return failed


def _owe(draft: Draft, capture: Capture) -> None:
    payment = draft.file.payment
    left = payment.captured_minor - capture.amount_minor
    if payment.state is PaymentState.PAID and left < payment.amount_minor:
        draft.move_payment(PaymentEvent.RETURN, captured_minor=left, paid_at=None)
    else:
        draft.move_payment(None, captured_minor=left)
    correct_write_off(draft)


def _go_on(draft: Draft, capture: Capture, policy: Pinned, *, rests: bool) -> None:
    case = draft.file.case
    if draft.file.payment.state is PaymentState.PAID:
        return  # other money covers the debt
    if case.state is CaseState.RECOVERED:
        draft.move_case(CaseEvent.REOPEN, stop_reason=None)
        draft.tell(EventKind.CASE_REOPENED, because=BECAUSE)
        withdraw(draft, BECAUSE)
        draft.close_tasks({TaskKind.LATE_SUCCESS}, BECAUSE)
    elif case.state not in (CaseState.OPEN, CaseState.PAUSED):
        reason = f"{_name(capture)} came back, and the case is {case.state}: nobody collects it"
        open_task(draft, TaskKind.CHARGE_RETURNED, reason)
    if rests and draft.file.case.state is CaseState.OPEN:
        draft.move_case(CaseEvent.PAUSE, paused_at=draft.now)
        draft.tell(EventKind.CASE_PAUSED, because=BECAUSE)
        skip_planned(draft, "the case is paused")
    skip_retry(draft, BECAUSE)  # what was planned knew nothing of it
    plan_next(draft, policy)


def _told_before(draft: Draft | None, capture: Capture, told: ReturnedCharge) -> bool:
    """Whether this is the return of an earlier try on the same object, told again."""
    attempts = draft.file.attempts if draft else ()
    same = (a for a in attempts if (a.gateway, a.gateway_ref) == (capture.gateway, capture.gateway_ref))
    return any(a.returned_at is not None and told.occurred_at <= a.returned_at for a in same)


def _disputed(account: PaymentAccount, capture: Capture) -> bool:
    return any(each.capture_id == capture.id and each.state in FREEZES for each in account.disputes)


def _unexplained(method: Method) -> Decline:
    """A return without a reason: as an unknown code, which gets no unattended retry (promise 6)."""
    return Decline(code="returned", source=_SOURCES[method], category=DeclineCategory.UNKNOWN, retryable=Retryable.NO)


def _name(capture: Capture) -> str:
    return f"the {capture.gateway} charge {capture.gateway_ref or capture.id} of {capture.amount}"


async def _concerned(connection: asyncpg.Connection, told: ReturnedCharge) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """Return the refunds of which nothing has left that go over the payment, and every payment that they go over."""
    refunds = await unsent_refunds(connection, told.charge.payment_id)
    payments = await payments_of_refunds(connection, refunds)
    return refunds, frozenset({told.charge.payment_id}).union(*payments.values())
