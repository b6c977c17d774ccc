"""A refund that is pending at its gateway is canceled there, where the gateway still can."""

import asyncio
import time
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.refund import IN_FLIGHT_PARTS, REFUND, UNSENT, PartEvent, PartState, RefundEvent
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.guard import Unknown, cancel_refund_guarded
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.refunds.draft import LockedRefunds, RefundDraft, locked_refunds
from recoup_core.flows.refunds.outcomes import ASKING_OUTCOME
from recoup_core.flows.refunds.recorder import count_outcome
from recoup_core.flows.refunds.refusals import RefundInFlight, RefundNotOpen
from recoup_core.flows.refunds.sending import SendRefund, refund_request
from recoup_core.flows.refunds.standing import refunded_minor
from recoup_core.flows.refunds.working import person
from recoup_core.ports import Canceled, CancelOutcome
from recoup_core.storage.calls import recall, remember

CANCELED: Final = "canceled"
"""Why a refund ended that somebody canceled."""


async def cancel_at_gateway(context: Context, refund_id: UUID, by: By, reason: str = CANCELED) -> RefundFile:
    """Ask the gateways to cancel what is pending, and close the refund once nothing of it is under way.

    What has not left is released; what went back stays. Raises `NotFound`, `RefundNotOpen`, `IdempotencyKeyReused`, and
    `RefundInFlight` where a part is neither unsent nor pending at a gateway that can cancel, or it was too late.
    """
    async with locked_refunds(context, [refund_id]) as locked:
        draft = _own(locked, refund_id, by)
        answered = await _answered(locked, by)
        if answered is not None:
            return answered
        asked = _pending(context, draft)
        _release_unsent(draft)
    answers = dict(await asyncio.gather(*(_ask(context, each) for each in asked)))
    async with locked_refunds(context, [refund_id]) as locked:
        draft = _own(locked, refund_id, by)
        for part_id, answer in answers.items():
            _record(context, draft, part_id, answer)
        in_flight = draft.file.in_flight
        if not in_flight:
            _close(draft, reason, by)
            if by.call is not None:
                draft.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(draft.file), locked.now))
    if in_flight:  # what some gateways have canceled is committed all the same
        raise RefundInFlight
    return draft.file


def _own(locked: LockedRefunds, refund_id: UUID, by: By) -> RefundDraft:
    draft = locked.draft(refund_id, by.actor, by.correlation_id)
    if draft is None or draft.file.refund.merchant_id != by.merchant_id:
        raise NotFound("refund", refund_id)
    return draft


async def _answered(locked: LockedRefunds, by: By) -> RefundFile | None:
    body = None if by.call is None else await recall(locked.connection, by.merchant_id, by.call)
    return None if body is None else msgspec.json.decode(body, type=RefundFile)


def _pending(context: Context, draft: RefundDraft) -> list[SendRefund]:
    """Return what is to be asked of gateways; one part that can't be canceled keeps the refund as it is."""
    if not REFUND.allows(draft.file.refund.state, RefundEvent.CANCEL):
        raise RefundNotOpen(draft.file.refund.state, CANCELED)
    asked: list[SendRefund] = []
    for part in draft.file.parts:
        if part.state not in IN_FLIGHT_PARTS:
            continue
        gateway = context.gateways.get(part.gateway or "")
        if part.state is not PartState.PENDING or gateway is None or not gateway.capabilities.cancels_refunds:
            raise RefundInFlight
        asked.append(SendRefund(part.refund_id, gateway.name, refund_request(draft, part)))
    return asked


def _release_unsent(draft: RefundDraft) -> None:
    """First of all nothing more leaves."""
    for part in draft.file.parts:
        if part.state in UNSENT:
            draft.move_part(part, PartEvent.CANCEL)


async def _ask(context: Context, work: SendRefund) -> tuple[UUID, CancelOutcome | Unknown]:
    started = time.perf_counter()
    answer = await cancel_refund_guarded(context.gateways[work.gateway], work.request)
    spent = time.perf_counter() - started
    context.measures.gateway_call(work.gateway, "cancel_refund", type(answer).__name__.lower(), spent)
    return work.request.part_id, answer


def _record(context: Context, draft: RefundDraft, part_id: UUID, answer: CancelOutcome | Unknown) -> None:
    """A cancellation releases the part; anything else leaves it pending, for its look-up to say what became of it."""
    part = draft.file.part(part_id)
    if isinstance(answer, Canceled) and part is not None and part.state is PartState.PENDING:
        draft.move_part(part, PartEvent.CANCEL, gateway_ref=answer.gateway_ref or part.gateway_ref)
        count_outcome(context, draft, part_id, answer)


def _close(draft: RefundDraft, reason: str, by: By) -> None:
    refund = draft.file.refund
    if not REFUND.allows(refund.state, RefundEvent.CANCEL):
        return  # it went through meanwhile, or somebody else has closed it
    draft.move(RefundEvent.CANCEL, stop_reason=CANCELED, refunded_minor=refunded_minor(draft))
    draft.tell(
        EventKind.REFUND_CANCELED,
        reason=reason,
        canceled_by=person(by),
        requested_by=refund.requested_by,
        refunded_minor=draft.file.refund.refunded_minor,
    )
    draft.close_tasks(ASKING_OUTCOME | {TaskKind.REFUND_FAILED, TaskKind.REFUND_WAITS}, "the refund was canceled")
