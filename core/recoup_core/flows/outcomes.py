"""`record_outcome`: the one way every answer ends, whether it came directly, by webhook, look-up or by hand."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from recoup_core.domain.attempt import ATTEMPT, Attempt, AttemptEvent, AttemptState, Origin
from recoup_core.domain.capture import Capture
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import entry_of_capture
from recoup_core.domain.money import Money
from recoup_core.domain.payment import PaymentEvent, PaymentState
from recoup_core.domain.recovery import CASE, CaseEvent, StepEvent, StepState
from recoup_core.flows.draft import COLLECT, SETTLE, Draft
from recoup_core.flows.guard import Unknown
from recoup_core.flows.late_success import follow_success, late_because
from recoup_core.flows.planning import open_task, plan_next, skip_planned
from recoup_core.flows.write_offs import correct_write_off
from recoup_core.ports import Declined, NotSent, Owned, Pending, Succeeded
from recoup_core.rules.engine.texts import Pinned

MAX_SENDS: Final = 8
"""How often one attempt may leave us with its key before a person is asked, or it is given up as never sent."""

NOT_SENT_WAITS: Final = tuple(timedelta(seconds=s) for s in (30, 60, 300, 900, 1800, 3600, 3600))
"""Waits after a certain "not sent": the gateway is unreachable or busy, the same key goes again."""

MAX_NOT_SENT_WAIT: Final = timedelta(hours=6)
"""The longest wait a gateway may ask for: meanwhile the attempt holds the payment's lease."""

SETTLE_AFTER_UNKNOWN: Final = timedelta(seconds=30)
"""A lost answer may still be on its way; the first look-up waits this long."""

SETTLE_AFTER_PENDING: Final = timedelta(hours=1)
"""A pending charge is told by webhook; the look-up is for the webhook that never comes."""

ASKING_OUTCOME: Final = frozenset({TaskKind.UNKNOWN_OUTCOME, TaskKind.PENDING_TOO_LONG})
"""Tasks that are done with as soon as the attempt's outcome is known, however it became known."""

ASKING_WHAT_NEXT: Final = frozenset(
    {
        TaskKind.MANUAL_REVIEW,
        TaskKind.TWO_OWNERS,
        TaskKind.STUCK_JOB,
        TaskKind.PAUSED_TOO_LONG,
        TaskKind.POLICY_UNREADABLE,
    }
)
"""Tasks that are done with when the case goes on or is over."""

WHILE_OWED: Final = ASKING_WHAT_NEXT | {
    TaskKind.DUNNING,
    TaskKind.MESSAGE_UNDELIVERABLE,
    TaskKind.VULNERABLE_CUSTOMER,
}
"""Tasks that are done with when the debt is paid, or is no longer asked for."""

Outcome = Succeeded | Declined | Pending | NotSent | Owned | Unknown


def record_outcome(draft: Draft, attempt_id: UUID, outcome: Outcome, policy: Pinned) -> bool:
    """Apply an answer to an attempt and everything that follows from it; return whether it changed anything.

    Answers may repeat, come late and contradict each other: the state table decides. A success is the truth whenever
    it comes; a failure never takes one back.
    """
    attempt = draft.file.attempt(attempt_id)
    if attempt is None:
        return False
    if isinstance(outcome, Succeeded) and _is_another_success(attempt, outcome):
        return paid_elsewhere(draft, draft.now, outcome, attempt.gateway)
    if not ATTEMPT.allows(attempt.state, _event_of(outcome)):
        return False
    if isinstance(outcome, Succeeded) and (other := _counted_before(draft, attempt, outcome)) is not None:
        return _collected_by(draft, attempt, other, policy)
    match outcome:
        case Succeeded():
            _succeed(draft, attempt, outcome)
        case Declined():
            _decline(draft, attempt, outcome, policy)
        case Pending():
            _pend(draft, attempt, outcome)
        case NotSent():
            _not_send(draft, attempt, outcome, policy)
        case Owned():
            _leave_to_owner(draft, attempt, outcome)
        case Unknown():
            lose(draft, attempt, outcome.reason)
    return True


def _is_another_success(attempt: Attempt, outcome: Succeeded) -> bool:
    """Whether money came in twice for one attempt: the gateway names two tries, and both collected."""
    known = attempt.try_ref if attempt.state is AttemptState.SUCCEEDED else None
    return None not in (known, outcome.try_ref) and known != outcome.try_ref


def _counted_before(draft: Draft, attempt: Attempt, outcome: Succeeded) -> Attempt | None:
    """Return the attempt by which this very money was booked: our try ran into one that had been told first."""
    for other in draft.file.attempts:
        if other.id != attempt.id and _same_success(other, attempt.gateway, draft.now, outcome):
            named = None not in (other.try_ref, outcome.try_ref)
            if named or other.amount_minor == outcome.amount.amount_minor:
                return other
    return None


def _collected_by(draft: Draft, attempt: Attempt, other: Attempt, policy: Pinned) -> bool:
    """The gateway answers with money that another try brought in: ours moved none, and nothing is booked twice."""
    reason = f"attempt {other.number} had collected it"
    if ATTEMPT.allows(attempt.state, AttemptEvent.GIVE_UP):
        give_up(draft, attempt, reason, policy)
    elif ATTEMPT.allows(attempt.state, AttemptEvent.LOSE):
        lose(draft, attempt, reason)  # what had been under way: the next look-up tells whether anything is left of it
    else:
        return False
    return True


def lose(draft: Draft, attempt: Attempt, reason: str) -> Attempt:
    """The answer is lost: nobody charges this payment again until it is known what happened."""
    lost = draft.move_attempt(attempt, AttemptEvent.LOSE)
    draft.changes.drop_job(COLLECT, attempt.step_id or attempt.id)
    draft.put_job(SETTLE, attempt.id, draft.now + SETTLE_AFTER_UNKNOWN)
    draft.tell(EventKind.ATTEMPT_UNKNOWN, attempt.id, reason=reason)
    return lost


def give_up(draft: Draft, attempt: Attempt, reason: str, policy: Pinned) -> None:
    """It is certain that the attempt never arrived, and it is not sent again; the case goes on without it."""
    draft.move_attempt(attempt, AttemptEvent.GIVE_UP, finished_at=draft.now)
    draft.tell(EventKind.ATTEMPT_NOT_SENT, attempt.id, reason=reason, given_up=True)
    _finish(draft, attempt)
    plan_next(draft, policy)


def _event_of(outcome: Outcome) -> AttemptEvent:
    match outcome:
        case Succeeded():
            return AttemptEvent.SUCCEED
        case Declined():
            return AttemptEvent.DECLINE
        case Pending():
            return AttemptEvent.PEND
        case NotSent() | Owned():
            return AttemptEvent.NOT_SEND
        case Unknown():
            return AttemptEvent.LOSE


def _succeed(draft: Draft, attempt: Attempt, outcome: Succeeded) -> None:
    # after a decline it may have been another try of the same object: the name of the one that failed is not its name
    known = None if attempt.state is AttemptState.DECLINED else attempt.try_ref
    attempt = draft.move_attempt(
        attempt,
        AttemptEvent.SUCCEED,
        gateway_ref=outcome.gateway_ref,
        try_ref=outcome.try_ref or known,
        finished_at=draft.now,
        submitted_at=attempt.submitted_at or draft.now,
    )
    _finish(draft, attempt)
    collected(draft, attempt, outcome.amount)


def collected(draft: Draft, attempt: Attempt, amount: Money) -> None:
    """Money came in by this attempt, ours or somebody else's: booked to the minor unit, and the case ends if it is all.

    What doesn't add up (another currency, another amount, a payment that was paid before) is booked as far as it can
    be and put before a person; nothing is guessed and nothing is hidden.
    """
    already_paid, late = draft.file.payment.state is PaymentState.PAID, late_because(draft)
    draft.tell(
        EventKind.ATTEMPT_SUCCEEDED,
        attempt.id,
        amount_minor=amount.amount_minor,
        currency=amount.currency,
        gateway_ref=attempt.gateway_ref,
    )
    if amount.currency != draft.file.payment.currency or amount.amount_minor <= 0:
        open_task(draft, TaskKind.AMOUNT_MISMATCH, f"{amount} was collected for {attempt.amount}", attempt.id)
        return
    _book(draft, attempt, amount.amount_minor)
    owed, captured = draft.file.payment.amount_minor, draft.file.payment.captured_minor
    if already_paid or captured > owed:
        open_task(draft, TaskKind.OVERCOLLECTED, f"{amount} was collected beyond what was owed", attempt.id)
    elif captured < owed:
        open_task(draft, TaskKind.AMOUNT_MISMATCH, f"{amount} was collected for {attempt.amount}", attempt.id)
    if captured >= owed and not already_paid:
        end_paid(draft, via=f"attempt {attempt.number}")
    if not already_paid:
        follow_success(draft, attempt, amount, late)


def paid_elsewhere(draft: Draft, at: datetime, outcome: Succeeded, gateway: str | None = None) -> bool:
    """Somebody else collected this payment: booked as a reported success, and the case is over.

    `gateway` is where the money came in; None: the payment's own.
    """
    file = draft.file
    gateway = gateway or file.payment.gateway
    if any(_same_success(a, gateway, at, outcome) for a in file.attempts):
        return False
    attempt = Attempt(
        id=new_id(),
        merchant_id=file.payment.merchant_id,
        payment_id=file.payment.id,
        case_id=file.case.id,
        number=1 + max((a.number for a in file.attempts), default=0),
        origin=Origin.REPORTED,
        gateway=gateway,
        method=file.payment.method,
        amount_minor=outcome.amount.amount_minor,
        currency=outcome.amount.currency,
        gateway_ref=outcome.gateway_ref,
        try_ref=outcome.try_ref,
        state=AttemptState.SUCCEEDED,
        claim=0,
        created_at=draft.now,
        submitted_at=min(at, draft.now),
        finished_at=draft.now,
    )
    draft.add_attempt(attempt)
    collected(draft, attempt, outcome.amount)
    return True


def _same_success(known: Attempt, gateway: str, at: datetime, outcome: Succeeded) -> bool:
    """Whether a success was counted before: the same try, or the same object unless that has come back since."""
    if known.state is not AttemptState.SUCCEEDED or known.gateway != gateway:
        return False
    if known.try_ref is not None and outcome.try_ref is not None:
        return known.try_ref == outcome.try_ref
    came_back_before = known.returned_at is not None and known.returned_at < at
    return known.gateway_ref == outcome.gateway_ref and not came_back_before


def _book(draft: Draft, attempt: Attempt, amount_minor: int) -> None:
    payment = draft.file.payment
    draft.move_payment(None, captured_minor=payment.captured_minor + amount_minor)
    capture = Capture(
        id=new_id(),
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        attempt_id=attempt.id,
        gateway=attempt.gateway,
        gateway_ref=attempt.gateway_ref,
        method=attempt.method,
        network=attempt.network,
        amount_minor=amount_minor,
        currency=payment.currency,
        captured_at=draft.now,
        created_at=draft.now,
    )
    draft.changes.add(capture, entry_of_capture(capture, at=draft.now))
    correct_write_off(draft)


def end_paid(draft: Draft, via: str) -> None:
    """The debt is paid, by whatever route: the case is over at once and nothing more is tried."""
    draft.move_payment(PaymentEvent.SETTLE, paid_at=draft.now)
    draft.tell(EventKind.PAYMENT_PAID, via=via, left_open=_left_open(draft))
    if CASE.allows(draft.file.case.state, CaseEvent.RECOVER):
        draft.move_case(CaseEvent.RECOVER, stop_reason=None)
        draft.tell(EventKind.CASE_RECOVERED, via=via)
    skip_planned(draft, "the payment is paid")
    cancel_unsent(draft, "the payment is paid")
    draft.close_tasks(WHILE_OWED, "the payment is paid")


def _left_open(draft: Draft) -> list[dict[str, str]]:
    """Return the gateways' objects of this debt that nothing was collected on: a customer may still pay them."""
    file, tried = draft.file, [a for a in draft.file.attempts if a.gateway_ref is not None]
    paid = {(a.gateway, a.gateway_ref) for a in tried if a.state is AttemptState.SUCCEEDED and not a.failed}
    objects = [(file.payment.gateway, file.payment.gateway_ref), *((a.gateway, a.gateway_ref) for a in tried)]
    left = dict.fromkeys(each for each in objects if each not in paid)
    return [{"gateway": gateway, "gateway_ref": ref} for gateway, ref in left if ref is not None]


def cancel_unsent(draft: Draft, because: str) -> None:
    """Take back an attempt that is written down and certainly not sent; one that may have left is never touched."""
    attempt = draft.file.live_attempt
    if attempt is None or not ATTEMPT.allows(attempt.state, AttemptEvent.CANCEL):
        return
    draft.move_attempt(attempt, AttemptEvent.CANCEL, finished_at=draft.now)
    draft.changes.drop_job(SETTLE, attempt.id)
    step = draft.file.step(attempt.step_id) if attempt.step_id else None
    if step is not None and step.state is StepState.RUNNING:
        draft.skip_step(step, because)


def _decline(draft: Draft, attempt: Attempt, outcome: Declined, policy: Pinned) -> None:
    decline = outcome.decline
    draft.move_attempt(
        attempt,
        AttemptEvent.DECLINE,
        decline=decline,
        finished_at=draft.now,
        gateway_ref=outcome.gateway_ref or attempt.gateway_ref,
        try_ref=outcome.try_ref or attempt.try_ref,
    )
    draft.tell(
        EventKind.ATTEMPT_DECLINED,
        attempt.id,
        category=str(decline.category),
        code=decline.code,
        network_code=decline.network_code,
        advice_code=decline.advice_code,
    )
    _finish(draft, attempt)
    plan_next(draft, policy)


def _pend(draft: Draft, attempt: Attempt, outcome: Pending) -> None:
    ref, try_ref = outcome.gateway_ref, outcome.try_ref or attempt.try_ref
    draft.move_attempt(attempt, AttemptEvent.PEND, gateway_ref=ref, try_ref=try_ref)
    draft.changes.drop_job(COLLECT, attempt.step_id or attempt.id)
    draft.put_job(SETTLE, attempt.id, draft.now + SETTLE_AFTER_PENDING)
    draft.tell(EventKind.ATTEMPT_PENDING, attempt.id, gateway_ref=outcome.gateway_ref)


def _not_send(draft: Draft, attempt: Attempt, outcome: NotSent, policy: Pinned) -> None:
    """Certain that nothing left: same attempt, same key, a little later; given up when patience runs out."""
    if attempt.sends >= MAX_SENDS:
        give_up(draft, attempt, f"{outcome.reason}; sent {attempt.sends} times in vain", policy)
        return
    draft.move_attempt(attempt, AttemptEvent.NOT_SEND)
    wait = NOT_SENT_WAITS[min(attempt.sends, len(NOT_SENT_WAITS)) - 1]
    asked_s = min(MAX_NOT_SENT_WAIT.total_seconds(), outcome.retry_after_s or 0)
    wait = max(wait, timedelta(seconds=asked_s))
    draft.tell(EventKind.ATTEMPT_NOT_SENT, attempt.id, reason=outcome.reason, again_in_s=wait.total_seconds())
    draft.changes.drop_job(SETTLE, attempt.id)
    draft.put_job(COLLECT, attempt.step_id or attempt.id, draft.now + wait)


def _leave_to_owner(draft: Draft, attempt: Attempt, outcome: Owned) -> None:
    """Nothing left, and nothing will: somebody else tries this debt. The case rests until a person says who goes on."""
    draft.move_attempt(attempt, AttemptEvent.GIVE_UP, finished_at=draft.now)
    draft.changes.drop_job(SETTLE, attempt.id)
    draft.tell(EventKind.ATTEMPT_NOT_SENT, attempt.id, reason=outcome.reason, given_up=True, owned=True)
    step = draft.file.step(attempt.step_id) if attempt.step_id else None
    if step is not None and step.state is StepState.RUNNING:
        draft.skip_step(step, outcome.reason)  # the policy has not used one of its retries
    until = f", next at {outcome.next_attempt_at.isoformat()}" if outcome.next_attempt_at else ""
    open_task(draft, TaskKind.TWO_OWNERS, f"{attempt.gateway} retries this debt itself{until}: {outcome.reason}")
    if CASE.allows(draft.file.case.state, CaseEvent.PAUSE):
        draft.move_case(CaseEvent.PAUSE, paused_at=draft.now)
        draft.tell(EventKind.CASE_PAUSED, because="two owners")
        skip_planned(draft, "the case is paused")


def _finish(draft: Draft, attempt: Attempt) -> None:
    """The attempt is over: its step is done and nobody needs to find out anything more."""
    draft.changes.drop_job(SETTLE, attempt.id)
    draft.close_tasks(ASKING_OUTCOME, "the outcome is known", attempt.id)
    step = draft.file.step(attempt.step_id) if attempt.step_id else None
    if step is not None and step.state is StepState.RUNNING:
        draft.move_step(step, StepEvent.FINISH)
