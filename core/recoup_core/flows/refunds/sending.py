"""A part on its way to its gateway: what is asked, how it is asked, and where the answer goes."""

import time
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.happened import EventKind
from recoup_core.domain.refund import FailureCategory, PartEvent, RefundPart
from recoup_core.flows.context import Context
from recoup_core.flows.guard import Unknown, refund_guarded
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.flows.refunds.guards import capture_of
from recoup_core.flows.refunds.outcomes import Outcome
from recoup_core.flows.refunds.recorder import RefundAnswer, RefundRecorder
from recoup_core.ports import NotSent, RefundReason, RefundRequest, Refused
from recoup_core.storage.changes import JobRef

REASONS: Final[Mapping[str, RefundReason]] = {
    "duplicate": RefundReason.DUPLICATE,
    "fraudulent": RefundReason.FRAUDULENT,
    "requested_by_customer": RefundReason.REQUESTED_BY_CUSTOMER,
    "withdrawal": RefundReason.REQUESTED_BY_CUSTOMER,
    "cancellation": RefundReason.REQUESTED_BY_CUSTOMER,
}
"""What gateways are told for merchants' reasons; any other is `other`. Only the merchant's own word says fraud."""


class SendRefund(msgspec.Struct, frozen=True):
    """A part that is committed as submitted and must now be sent, or settled, by whoever holds the claim."""

    refund_id: UUID
    gateway: str
    request: RefundRequest


async def send_refund(
    context: Context, recorder: RefundRecorder, work: SendRefund, *, not_sent_is_sure: bool = True
) -> None:
    """Call the gateway for a submitted part and record what it answers.

    Without `not_sent_is_sure` an earlier send of the part may have arrived, so what speaks of this send alone ("not
    sent", or a refusal for our own mistake, which no key remembers) leaves it unknown.
    """
    started = time.perf_counter()
    outcome = await _refund(context, work)
    spent = time.perf_counter() - started
    context.measures.gateway_call(work.gateway, "refund", type(outcome).__name__.lower(), spent)
    if not not_sent_is_sure and (why := _of_this_send_alone(outcome)) is not None:
        outcome = Unknown(reason=f"an earlier send may have arrived; this one did not: {why}")
    await recorder.record(
        RefundAnswer(
            refund_id=work.refund_id,
            part_id=work.request.part_id,
            outcome=outcome,
            actor=f"gateway:{work.gateway}",
            correlation_id=work.request.correlation_id,
        )
    )


def _of_this_send_alone(outcome: Outcome) -> str | None:
    """Return why this very send did nothing, where that says nothing about an earlier one."""
    if isinstance(outcome, NotSent):
        return outcome.reason
    if isinstance(outcome, Refused) and outcome.failure.category is FailureCategory.CONFIGURATION:
        return outcome.failure.code
    return None


def refund_request(draft: RefundDraft, part: RefundPart) -> RefundRequest:
    """Return the request of a part that has left, or leaves now; the same part always gives the same request."""
    capture = capture_of(draft, part)
    assert capture is not None  # only goodwill as store credit has none
    assert capture.gateway_ref is not None  # the guard saw it
    return RefundRequest(
        # a refund made elsewhere has no key of ours; it is only looked up, never sent
        idempotency_key=part.idempotency_key or str(part.id),
        part_id=part.id,
        payment_reference=draft.accounts[part.payment_id].payment.reference,
        charge_ref=capture.gateway_ref,
        charged=capture.amount,
        amount=part.amount,
        void=part.void,
        method=capture.method,
        reason=REASONS.get(draft.file.refund.reason, RefundReason.OTHER),
        first_sent_at=part.submitted_at or part.created_at,
        gateway_ref=part.gateway_ref,
        correlation_id=draft.correlation_id,
    )


def resubmit(draft: RefundDraft, part: RefundPart, ref: JobRef) -> RefundPart:
    """Write down that the same part leaves once more, with the same key and under this claim."""
    sent = draft.move_part(part, PartEvent.SUBMIT, sends=part.sends + 1, claim=ref.claim, last_sent_at=draft.now)
    draft.tell(EventKind.REFUND_RESENT, part=str(part.id), sends=sent.sends)
    return sent


async def _refund(context: Context, work: SendRefund) -> Outcome:
    gateway = context.gateways.get(work.gateway)
    if gateway is None:
        return NotSent(reason=f"no gateway is named {work.gateway}")
    return await refund_guarded(gateway, work.request)
