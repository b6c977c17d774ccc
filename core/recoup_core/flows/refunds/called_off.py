"""Refunds are called off whose money the customer's bank has taken back already."""

from typing import Final

from recoup_core.domain.capture import Capture
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.refund import UNDECIDED, UNSENT, PartEvent, RefundEvent, RefundState
from recoup_core.flows.refunds.approved import take_back_approval
from recoup_core.flows.refunds.draft import LockedRefunds, RefundDraft
from recoup_core.flows.refunds.timers import put_timer

ASKING_A_PERSON: Final = frozenset({TaskKind.REFUND_FAILED, TaskKind.REFUND_OVERDUE, TaskKind.REFUND_WAITS})
"""Tasks that are done with when the refund is closed."""

CHARGE_RETURNED: Final = "charge_returned"
"""Why a refund ended whose charge came back: what is still to be given back must be asked for anew."""


async def call_off_refunds(locked: LockedRefunds, capture: Capture, actor: str, correlation_id: str | None) -> int:
    """Cancel every refund of which nothing has left and that takes money from this charge; return how much that was."""
    called_off = 0
    for refund_id in sorted(locked.refund_ids):
        draft = locked.draft(refund_id, actor, correlation_id)
        if draft is None or not draft.file.unsent:
            continue
        if draft.file.refund.state not in UNDECIDED | {RefundState.APPROVED}:
            continue
        held = sum(p.amount_minor for p in draft.file.parts if p.state in UNSENT and p.capture_id == capture.id)
        if held:
            called_off += held
            await _call_off(locked, draft)
    return called_off


async def _call_off(locked: LockedRefunds, draft: RefundDraft) -> None:
    await take_back_approval(locked.connection, draft)
    for part in draft.file.parts:
        if part.state in UNSENT:
            draft.move_part(part, PartEvent.CANCEL)
    draft.move(RefundEvent.CANCEL, stop_reason=CHARGE_RETURNED)
    refund = draft.file.refund
    draft.tell(EventKind.REFUND_CANCELED, reason=CHARGE_RETURNED, requested_by=refund.requested_by, refunded_minor=0)
    draft.close_tasks(ASKING_A_PERSON, "the charge was returned")
    put_timer(draft)
