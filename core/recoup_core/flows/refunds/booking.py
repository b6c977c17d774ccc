"""What a part's success, its return and a void mean for the books: states, counters and ledger move together."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from recoup_core.domain.capture import CAPTURE, CaptureEvent, CaptureState
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.ledger import LedgerEntry, refund_entries, taken_back
from recoup_core.domain.refund import PartEvent, RefundPart
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.ports import Refunded, TakenBack


def book_success(
    draft: RefundDraft, part: RefundPart, told: Refunded | None, occurred_at: datetime | None
) -> RefundPart:
    """Money went back: counted as a success, booked with its tax and the gateway's fee; `told` None: store credit."""
    part = draft.move_part(
        part,
        PartEvent.SUCCEED,
        gateway_ref=told.gateway_ref if told else part.gateway_ref,
        failure=None,
        successes=part.successes + 1,
        submitted_at=part.submitted_at or draft.now,
    )
    fee = told.fee if told else None
    refund, at = draft.file.refund, draft.now
    draft.changes.add(*refund_entries(part=part, refund=refund, fee=fee, at=at, occurred_at=occurred_at))
    return part


def book_return(
    draft: RefundDraft,
    part: RefundPart,
    outcome: TakenBack,
    booked: Sequence[LedgerEntry],
    occurred_at: datetime | None,
) -> RefundPart:
    """Money came back: what was booked (before, or in this transaction) is reversed, and whoever asked is told."""
    entries: Sequence[LedgerEntry] = draft.changes.rows(LedgerEntry)
    just_booked = [entry for entry in entries if entry.part_id == part.id and entry.reverses is None]
    draft.changes.add(*taken_back((*booked, *just_booked), at=draft.now, occurred_at=occurred_at))
    refund, failure = draft.file.refund, outcome.failure
    part = draft.move_part(
        part, PartEvent.TAKE_BACK, failure=failure, gateway_ref=outcome.gateway_ref or part.gateway_ref
    )
    draft.tell(
        EventKind.REFUND_TAKEN_BACK,
        part=str(part.id),
        part_minor=part.amount_minor,
        gateway=part.gateway,
        requested_by=refund.requested_by,
        customer_ref=refund.customer_ref,
        category=str(failure.category),
        code=failure.code,
    )
    return part


def book_void(draft: RefundDraft, part: RefundPart) -> None:
    """The authorisation is gone: nothing of it can be asked back any more, and no money has moved.

    One that was captured, as its gateway says as well, is put before a person: the customer may not have got it back.
    """
    capture = draft.accounts[part.payment_id].capture(part.capture_id)
    if capture is not None and capture.state is CaptureState.CAPTURED:
        reason = (
            f"{capture.gateway} voided the charge {capture.gateway_ref} of {capture.amount}, and captured it before"
        )
        draft.ask_human(TaskKind.AMOUNT_MISMATCH, reason)
    elif capture is not None and CAPTURE.allows(capture.state, CaptureEvent.VOID):
        draft.changes.update(msgspec.structs.replace(capture, state=CAPTURE.after(capture.state, CaptureEvent.VOID)))
        draft.tell(EventKind.CAPTURE_VOIDED, capture=str(capture.id), gateway_ref=capture.gateway_ref)
