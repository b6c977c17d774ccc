"""Refunds as people and systems ask for them: request, submit again, cancel; edits, retries and previews stand beside.

Each is one transaction under the locks of the payments concerned, decided by the policies in force at that moment, and
remembered under its idempotency key.
"""

from typing import Final
from uuid import UUID

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.happened import EventKind
from recoup_core.domain.refund import UNDECIDED, UNSENT, PartEvent, RefundEvent, RefundState
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import MAX_NOTE, RefundAsk, check_ask
from recoup_core.flows.refunds.called_off import ASKING_A_PERSON
from recoup_core.flows.refunds.deciding import carry_out, decide, judge
from recoup_core.flows.refunds.draft import LockedRefunds, RefundDraft
from recoup_core.flows.refunds.edits import edit_refund, retry_refund
from recoup_core.flows.refunds.making import new_draft, payments_of, write_down
from recoup_core.flows.refunds.preview import RefundPreview, preview_refund
from recoup_core.flows.refunds.refusals import RefundInFlight, RefundInvalid, RefundNotOpen
from recoup_core.flows.refunds.timers import put_timer
from recoup_core.flows.refunds.withdraw import CANCELED, cancel_at_gateway
from recoup_core.flows.refunds.working import found, person, require_version, run, touched_by

__all__ = [
    "RefundPreview",
    "cancel_refund",
    "edit_refund",
    "preview_refund",
    "request_refund",
    "retry_refund",
    "submit_refund",
]

_SUBMITTABLE: Final = frozenset({RefundState.SENT_BACK, RefundState.INCOMPLETE})

_CLOSABLE: Final = UNDECIDED | {RefundState.APPROVED, RefundState.FAILED}


async def request_refund(context: Context, ask: RefundAsk, by: By) -> RefundFile:
    """Reserve what is asked back and decide on it; a denial is an answer and holds nothing.

    Raises `NotFound`, `RefundInvalid`, `RefundExceedsRefundable`, `GoodwillExceedsPayment`, `LineExceedsRefundable`,
    `RefundLinesDiffer`, `GatewayCannotRefund`, `RefundWindowOver`, `TooManyRefunds`, `CurrencyMismatch`,
    `UnknownCurrency`, `CardNumberRefused`, `NoPolicyApplies`, `PoliciesUnusable`, `IdempotencyKeyReused`.
    """
    check_ask(ask)
    payments = await payments_of(context, ask, by)

    async def act(locked: LockedRefunds, hold: bool) -> RefundFile:
        draft, plan = new_draft(context, locked, ask, by)
        judged = await judge(context, locked.connection, draft, hold=hold)
        write_down(draft, plan, judged)
        draft.tell(
            EventKind.REFUND_REQUESTED,
            reason=ask.reason,
            purpose=str(ask.purpose),
            destination=str(ask.destination),
            requested_by=draft.file.refund.requested_by,
            parts=len(draft.file.parts),
        )
        await carry_out(locked.connection, draft, judged)
        return draft.file

    return await run(context, by, act, payments=payments)


async def submit_refund(context: Context, refund_id: UUID, by: By, if_match: int) -> RefundFile:
    """Submit a request again that was sent back, or waits for evidence, as it is: decided anew.

    Raises `NotFound`, `VersionConflict`, `RefundNotOpen` and what a decision raises.
    """

    async def act(locked: LockedRefunds, hold: bool) -> RefundFile:
        draft = found(locked, refund_id, by)
        refund = draft.file.refund
        require_version(refund, if_match)
        if refund.state not in _SUBMITTABLE:
            raise RefundNotOpen(refund.state, "submitted")
        draft.change(touched_by=touched_by(refund, by))
        draft.tell(EventKind.REFUND_EDITED, changed=[], submitted_by=person(by))
        await decide(context, locked.connection, draft, hold=hold)
        return draft.file

    return await run(context, by, act, refunds=[refund_id])


async def cancel_refund(
    context: Context, refund_id: UUID, by: By, reason: str, if_match: int | None = None
) -> RefundFile:
    """Close a refund for good: what has not left is released, what went back stays.

    Where money waits at a gateway that can cancel, the gateway is asked. Raises `NotFound`, `VersionConflict`,
    `RefundNotOpen`, `RefundInFlight`, `RefundInvalid`, `CardNumberRefused`.
    """
    refuse_card_numbers(reason, "reason")
    if not 1 <= len(reason) <= MAX_NOTE or "\x00" in reason:
        raise RefundInvalid("reason", f"must be 1 to {MAX_NOTE} characters")

    async def act(locked: LockedRefunds, _hold: bool) -> RefundFile:
        draft = found(locked, refund_id, by)
        require_version(draft.file.refund, if_match)
        if draft.file.refund.state not in _CLOSABLE:
            raise RefundNotOpen(draft.file.refund.state, "canceled")
        if draft.file.in_flight:
            raise RefundInFlight
        _close(draft, reason, by)
        return draft.file

    try:
        return await run(context, by, act, refunds=[refund_id])
    except RefundInFlight:
        return await cancel_at_gateway(context, refund_id, by, reason)


def _close(draft: RefundDraft, reason: str, by: By) -> None:
    for part in draft.file.parts:
        if part.state in UNSENT:
            draft.move_part(part, PartEvent.CANCEL)
    draft.move(RefundEvent.CANCEL, stop_reason=CANCELED)
    draft.tell(
        EventKind.REFUND_CANCELED,
        reason=reason,
        canceled_by=person(by),
        requested_by=draft.file.refund.requested_by,
        refunded_minor=draft.file.refund.refunded_minor,
    )
    draft.close_tasks(ASKING_A_PERSON, "the refund was canceled")
    put_timer(draft)
