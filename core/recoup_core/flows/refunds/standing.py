"""How a refund stands once something became of one of its parts, and what facts from outside have made too much."""

from typing import Final
from uuid import UUID

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.money import Money
from recoup_core.domain.refund import (
    HOLDING,
    UNDECIDED,
    UNSENT,
    FailureCategory,
    PartEvent,
    PartState,
    RefundEvent,
    RefundFailure,
    RefundLine,
    RefundPart,
    RefundState,
)
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.flows.refunds.successors import chain

_NO: Final = frozenset({RefundState.DENIED, RefundState.REJECTED, RefundState.EXPIRED})

LIVE_PARTS: Final = HOLDING - {PartState.SUCCEEDED}
"""Parts that something is still to become of."""

PAID_AFTER_ALL: Final = "paid_after_all"
"""Why a request was closed by an earlier part's late success."""


def conclude(draft: RefundDraft) -> None:
    """Bring the refund in line with its parts: succeeded once all of it went back, failed once nothing is live."""
    refund = draft.file.refund
    all_back = draft.file.succeeded_minor >= refund.amount_minor
    live = any(part.state in LIVE_PARTS for part in draft.file.parts)
    if live or refund.state not in _CONCLUDED:
        count(draft)
    elif all_back and refund.state is not RefundState.SUCCEEDED:
        draft.move(RefundEvent.SUCCEED, refunded_minor=refunded_minor(draft), stop_reason=None)
        draft.tell(EventKind.REFUND_SUCCEEDED, refunded_minor=draft.file.refund.refunded_minor)
    elif not all_back and (refund.state in _REOPENED or _came_back(draft)):
        _fail(draft)
    else:
        count(draft)


_CONCLUDED: Final = frozenset({RefundState.APPROVED, RefundState.SUCCEEDED, RefundState.FAILED, RefundState.CANCELED})
_REOPENED: Final = frozenset({RefundState.APPROVED, RefundState.SUCCEEDED})


def drop_what_is_too_much(draft: RefundDraft, late: RefundPart) -> bool:
    """A success that was told late stands; what has not left, and would now go back twice, is taken out.

    That is what follows the late part, and all that has not left where it is too much all the same. A request that
    nobody had decided on is closed once nothing of it is left to decide; returns whether that was so.
    """
    for part in _unsent(draft):
        if late in chain(draft.file, part):
            draft.move_part(part, PartEvent.CANCEL)
    holding = sum(part.amount_minor for part in draft.file.parts if part.state in HOLDING)
    if holding > draft.file.refund.amount_minor:
        for part in _unsent(draft):
            draft.move_part(part, PartEvent.CANCEL)
    if _unsent(draft) or draft.file.refund.state not in UNDECIDED:
        return False
    draft.move(RefundEvent.CANCEL, stop_reason=PAID_AFTER_ALL)
    draft.tell(EventKind.REFUND_CANCELED, reason=PAID_AFTER_ALL, requested_by=draft.file.refund.requested_by)
    return True


def ask_if_twice(draft: RefundDraft) -> None:
    """Put before a person more than was asked for, also where the charge has room for it: somebody got it twice."""
    refund, paid = draft.file.refund, draft.file.succeeded_minor
    if paid > refund.amount_minor:
        back = Money(paid, refund.currency)
        draft.ask_human(TaskKind.OVER_REFUNDED, f"{back} went back for a refund of {refund.amount}")


def ask_if_refused(draft: RefundDraft, part: RefundPart) -> None:
    """Put before a person money that went back for a request that was denied, rejected or expired meanwhile."""
    state = draft.file.refund.state
    if state in _NO:
        draft.ask_human(
            TaskKind.OVER_REFUNDED, f"{part.amount} went back by {part.gateway} although the request is {state}"
        )


def hold_lines_again(draft: RefundDraft, payment_id: UUID) -> None:
    """Lines that were let go of count again where money went back after all, unless others have asked for them."""
    own = {line.id for line in draft.accounts[payment_id].lines}
    lines = [line for line in draft.file.current_lines if line.payment_line_id in own and not line.holds]
    if all(_has_room(draft, line) for line in lines):
        draft.hold_lines(payment_id)


def ask_if_over(draft: RefundDraft, capture_id: UUID | None, more_minor: int) -> None:
    """Put before a person what exceeds a capture once so much more counts against it; nobody is paid twice unseen."""
    account = next((each for each in draft.accounts.values() if each.capture(capture_id) is not None), None)
    capture = account.capture(capture_id) if account else None
    if account is None or capture is None:
        return
    parts: list[RefundPart] = list(draft.changes.rows(RefundPart))
    released = sum(p.amount_minor for p in parts if p.capture_id == capture.id and p.state is PartState.CANCELED)
    over = capture.held_minor + capture.disputed_minor + more_minor - released - capture.amount_minor
    if over > 0:
        draft.ask_human(
            TaskKind.OVER_REFUNDED,
            f"refunds and disputes of {account.payment.reference} exceed the charge "
            f"{capture.gateway_ref or capture.id} by {Money(over, capture.currency)}",
        )


def last_failure(draft: RefundDraft) -> RefundFailure:
    """Return why the part that was tried last did not go through."""
    failures = [part.failure for part in draft.file.parts if part.failure is not None]
    return failures[-1] if failures else RefundFailure(category=FailureCategory.UNKNOWN, code="canceled")


def _fail(draft: RefundDraft) -> None:
    failure, taken_back = last_failure(draft), _came_back(draft)
    draft.move(RefundEvent.FAIL, refunded_minor=refunded_minor(draft), stop_reason=str(failure.category))
    if taken_back:
        return  # told and asked about as such
    refund = draft.file.refund
    draft.tell(
        EventKind.REFUND_FAILED,
        requested_by=refund.requested_by,
        category=str(failure.category),
        code=failure.code,
        refunded_minor=refund.refunded_minor,
    )
    draft.ask_human(
        TaskKind.REFUND_FAILED, f"the refund of {refund.amount} did not go through: {failure.category}, {failure.code}"
    )


def _came_back(draft: RefundDraft) -> bool:
    """Whether this very transaction took a part back."""
    parts: list[RefundPart] = list(draft.changes.rows(RefundPart))
    mine = (part for part in parts if part.refund_id == draft.file.refund.id)
    return any(part.state is PartState.TAKEN_BACK for part in mine)


def count(draft: RefundDraft) -> None:
    """Bring what went back for good in line with the parts."""
    refunded = refunded_minor(draft)
    if refunded != draft.file.refund.refunded_minor:
        draft.change(refunded_minor=refunded)


def refunded_minor(draft: RefundDraft) -> int:
    """Return what went back, as far as it was asked for; what exceeds it stands with the charge, and a task tells."""
    return min(draft.file.refund.amount_minor, draft.file.succeeded_minor)


def _unsent(draft: RefundDraft) -> list[RefundPart]:
    return [part for part in draft.file.parts if part.state in UNSENT]


def _has_room(draft: RefundDraft, line: RefundLine) -> bool:
    for account in draft.accounts.values():
        for known in account.lines:
            if known.id == line.payment_line_id:
                return (
                    known.held_quantity + line.quantity <= known.quantity
                    and known.held_minor + line.amount_minor <= known.amount_minor
                    and known.held_tax_minor + line.tax_minor <= known.tax_minor
                )
    return False
