"""`record_refund`: the one way every answer about a part ends, direct, by webhook, look-up or by hand.

Answers may repeat, come late and contradict each other: the state table decides. Money that moved is the truth
whenever it is told; a refusal after a success means that the gateway took it back.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.ledger import LedgerEntry
from recoup_core.domain.refund import (
    HOLDING,
    PART,
    FailureCategory,
    PartEvent,
    PartState,
    RefundFailure,
    RefundPart,
    RefundState,
)
from recoup_core.flows.guard import Unknown
from recoup_core.flows.outcomes import (
    MAX_NOT_SENT_WAIT,
    MAX_SENDS,
    NOT_SENT_WAITS,
    SETTLE_AFTER_PENDING,
    SETTLE_AFTER_UNKNOWN,
)
from recoup_core.flows.refunds.booking import book_return, book_success, book_void
from recoup_core.flows.refunds.draft import SEND_REFUND, SETTLE_REFUND, RefundDraft
from recoup_core.flows.refunds.standing import (
    ask_if_over,
    ask_if_refused,
    ask_if_twice,
    conclude,
    count,
    drop_what_is_too_much,
    hold_lines_again,
)
from recoup_core.flows.refunds.successors import next_try
from recoup_core.ports import Canceled, NotSent, Pending, Refunded, Refused, TakenBack

Outcome = Refunded | Refused | Pending | NotSent | Canceled | TakenBack | Unknown

BALANCE_RETRIES: Final = (timedelta(days=1),) * 5
"""Waits for the gateway's balance where the policy gives none: most gateways fill it with each day's payments."""

NOT_SENT: Final = RefundFailure(
    category=FailureCategory.CONFIGURATION, code="not_sent", message="the gateway could not be reached"
)
"""Given up without ever having left: certain that no money moved."""

ASKING_OUTCOME: Final = frozenset({TaskKind.REFUND_UNKNOWN, TaskKind.REFUND_PENDING_TOO_LONG})
"""Tasks that are done with as soon as it is known what became of the parts in flight."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is read beside the file before an answer is recorded."""

    booked: tuple[LedgerEntry, ...] = ()
    """The part's entries that were not taken back yet."""
    balance_retries: Sequence[timedelta] = BALANCE_RETRIES
    """The waits of the refund's own policy."""
    occurred_at: datetime | None = None
    """When it happened, where the gateway told; else now."""


NOTHING_KNOWN: Final = Known()


def record_refund(draft: RefundDraft, part_id: UUID, outcome: Outcome, known: Known = NOTHING_KNOWN) -> bool:
    """Apply an answer to a part and all that follows from it; return whether it changed anything."""
    part = draft.file.part(part_id)
    if part is None:
        return False
    outcome = _as_the_part_sees_it(part, outcome)
    match outcome:
        case Refunded():
            changed = _refunded(draft, part, outcome, known)
        case Refused():
            changed = _refused(draft, part, outcome, known)
        case TakenBack():
            changed = _taken_back(draft, part, outcome, known)
        case Canceled():
            changed = _canceled(draft, part, outcome)
        case Pending():
            changed = _pending(draft, part, outcome)
        case NotSent():
            changed = _not_sent(draft, part, outcome)
        case Unknown():
            changed = PART.allows(part.state, PartEvent.LOSE)
            if changed:
                lose(draft, part, outcome.reason)
    if changed:
        _close_answered(draft)
    return changed


def lose(draft: RefundDraft, part: RefundPart, reason: str) -> RefundPart:
    """The answer is lost: nothing of this part is sent again until it is known what happened."""
    lost = draft.move_part(part, PartEvent.LOSE)
    draft.changes.drop_job(SEND_REFUND, part.id)
    draft.put_job(SETTLE_REFUND, part.id, draft.now + SETTLE_AFTER_UNKNOWN)
    draft.tell(EventKind.REFUND_UNKNOWN, part=str(part.id), gateway=part.gateway, reason=reason)
    return lost


def fail(draft: RefundDraft, part: RefundPart, failure: RefundFailure, gateway_ref: str | None = None) -> None:
    """A part is over without money: it lets go of what it held, and a person is asked once nothing is live any more."""
    failed = draft.move_part(part, PartEvent.FAIL, failure=failure, gateway_ref=gateway_ref or part.gateway_ref)
    _tell_failed(draft, failed)
    conclude(draft)


def succeed(draft: RefundDraft, part: RefundPart, known: Known = NOTHING_KNOWN, told: Refunded | None = None) -> None:
    """Money went back for good, as store credit too: booked to the minor unit."""
    late, undecided = part.state not in HOLDING, part.state is PartState.RESERVED
    part = book_success(draft, part, told, known.occurred_at)
    draft.tell(
        EventKind.REFUND_PART_SUCCEEDED,
        part=str(part.id),
        part_minor=part.amount_minor,
        gateway=part.gateway,
        gateway_ref=part.gateway_ref,
        void=part.void,
    )
    if part.void:
        book_void(draft, part)
    closed = (late or undecided) and drop_what_is_too_much(draft, part)
    if late:
        hold_lines_again(draft, part.payment_id)
        ask_if_over(draft, part.capture_id, part.amount_minor)
        ask_if_refused(draft, part)
    ask_if_twice(draft)
    if closed:
        count(draft)
    else:
        conclude(draft)


def _as_the_part_sees_it(part: RefundPart, outcome: Outcome) -> Outcome:
    """A no after a success is money taken back; a cancellation that no one waits for is a no."""
    succeeded = part.state is PartState.SUCCEEDED
    if isinstance(outcome, Refused) and succeeded:
        return TakenBack(gateway_ref=outcome.gateway_ref or part.gateway_ref or "", failure=outcome.failure)
    if isinstance(outcome, Canceled) and part.state is not PartState.PENDING:
        failure = RefundFailure(category=FailureCategory.UNKNOWN, code="canceled", message="canceled at the gateway")
        if succeeded:
            return TakenBack(gateway_ref=outcome.gateway_ref or part.gateway_ref or "", failure=failure)
        return Refused(failure=failure, gateway_ref=outcome.gateway_ref)
    return outcome


def _refunded(draft: RefundDraft, part: RefundPart, outcome: Refunded, known: Known) -> bool:
    if outcome.amount != part.amount:
        return _another_amount(draft, part, outcome)
    if not PART.allows(part.state, PartEvent.SUCCEED):
        return False
    succeed(draft, part, known, outcome)
    return True


def _another_amount(draft: RefundDraft, part: RefundPart, outcome: Refunded) -> bool:
    """The gateway gave back another amount, as it says: nothing is guessed, nothing sent again, a person is asked."""
    if any(task.kind is TaskKind.AMOUNT_MISMATCH for task in draft.file.open_tasks):
        return False
    reason = f"{part.gateway} says that it gave back {outcome.amount} for a part of {part.amount}"
    draft.ask_human(TaskKind.AMOUNT_MISMATCH, reason)
    if PART.allows(part.state, PartEvent.LOSE):
        lose(draft, part, reason)
    elif part.state is PartState.SCHEDULED:  # it was sent by somebody; we surely don't send it as well
        failure = RefundFailure(category=FailureCategory.UNKNOWN, code="amount_mismatch", message=reason)
        fail(draft, part, failure, outcome.gateway_ref)
    return True


def _refused(draft: RefundDraft, part: RefundPart, outcome: Refused, known: Known) -> bool:
    if not PART.allows(part.state, PartEvent.FAIL):
        return False
    failed = draft.move_part(
        part, PartEvent.FAIL, failure=outcome.failure, gateway_ref=outcome.gateway_ref or part.gateway_ref
    )
    _tell_failed(draft, failed)
    _go_on(draft, failed, known)
    conclude(draft)
    return True


def _go_on(draft: RefundDraft, over: RefundPart, known: Known) -> None:
    """Schedule the part that follows one that is over, where no person is needed for it."""
    following = next_try(draft, over, known.balance_retries)
    if following is None:
        return
    draft.add_part(following)
    draft.put_job(SEND_REFUND, following.id, following.not_before or draft.now)
    if following.not_before is not None and over.failure is not None:
        draft.tell(
            EventKind.REFUND_WAITS,
            part=str(following.id),
            until=following.not_before.isoformat(),
            because=str(over.failure.category),
        )


def _taken_back(draft: RefundDraft, part: RefundPart, outcome: TakenBack, known: Known) -> bool:
    """The gateway took back what had succeeded; where that was never told, it is a refusal that cost a round trip."""
    if part.void or part.state is PartState.TAKEN_BACK:
        return False  # a voided charge has no money that could come back
    told_before = part.state is PartState.SUCCEEDED
    if not told_before:
        told = Refunded(gateway_ref=outcome.gateway_ref, amount=part.amount)
        part = book_success(draft, part, told, known.occurred_at)
    part = book_return(draft, part, outcome, known.booked, known.occurred_at)
    if not told_before:
        _go_on(draft, part, known)
    conclude(draft)
    refund, failure = draft.file.refund, outcome.failure
    if refund.state is RefundState.FAILED:
        draft.ask_human(
            TaskKind.REFUND_FAILED,
            f"{part.gateway} took back {part.amount} ({failure.category}: {failure.code}), which "
            f"{refund.requested_by} had asked for",
        )
    return True


def _canceled(draft: RefundDraft, part: RefundPart, outcome: Canceled) -> bool:
    draft.move_part(part, PartEvent.CANCEL, gateway_ref=outcome.gateway_ref or part.gateway_ref)
    draft.tell(EventKind.REFUND_PART_FAILED, part=str(part.id), part_minor=part.amount_minor, code="canceled")
    conclude(draft)
    return True


def _pending(draft: RefundDraft, part: RefundPart, outcome: Pending) -> bool:
    if not PART.allows(part.state, PartEvent.PEND):
        return False
    draft.move_part(part, PartEvent.PEND, gateway_ref=outcome.gateway_ref)
    draft.changes.drop_job(SEND_REFUND, part.id)
    draft.put_job(SETTLE_REFUND, part.id, draft.now + SETTLE_AFTER_PENDING)
    draft.tell(
        EventKind.REFUND_PENDING, part=str(part.id), part_minor=part.amount_minor, gateway_ref=outcome.gateway_ref
    )
    return True


def _not_sent(draft: RefundDraft, part: RefundPart, outcome: NotSent) -> bool:
    """Certain that nothing left: same part, same key, a little later; given up when patience runs out."""
    if not PART.allows(part.state, PartEvent.NOT_SEND):
        return False
    if part.sends >= MAX_SENDS:
        fail(draft, part, msgspec.structs.replace(NOT_SENT, message=outcome.reason))
        return True
    draft.move_part(part, PartEvent.NOT_SEND)
    asked_s = min(MAX_NOT_SENT_WAIT.total_seconds(), outcome.retry_after_s or 0)
    wait = max(NOT_SENT_WAITS[min(part.sends, len(NOT_SENT_WAITS)) - 1], timedelta(seconds=asked_s))
    draft.changes.drop_job(SETTLE_REFUND, part.id)
    draft.put_job(SEND_REFUND, part.id, draft.now + wait)
    draft.tell(EventKind.REFUND_NOT_SENT, part=str(part.id), reason=outcome.reason, again_in_s=wait.total_seconds())
    return True


def _tell_failed(draft: RefundDraft, part: RefundPart) -> None:
    assert part.failure is not None  # it was just given one
    draft.tell(
        EventKind.REFUND_PART_FAILED,
        part=str(part.id),
        part_minor=part.amount_minor,
        gateway=part.gateway,
        category=str(part.failure.category),
        code=part.failure.code,
    )


def _close_answered(draft: RefundDraft) -> None:
    if not draft.file.in_flight:
        draft.close_tasks(ASKING_OUTCOME, "the outcome is known")
    if draft.file.refund.state is RefundState.SUCCEEDED:
        draft.close_tasks({TaskKind.REFUND_FAILED}, "it went through after all")
