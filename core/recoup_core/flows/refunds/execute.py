"""Approved parts leave: written down as submitted, sent once under their stored key, and their answer recorded.

As charges do it, in three steps: a transaction that submits, the gateway calls outside any transaction, and the one in
which the answers are recorded. Store credit needs no gateway and is given within the first. Kill the process anywhere:
the lease ends, and who takes the job over sees by the part's claim what was going on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.refund import (
    Destination,
    PartEvent,
    PartState,
    Purpose,
    RefundPart,
    RefundState,
)
from recoup_core.flows.context import Context
from recoup_core.flows.draft import POLICY
from recoup_core.flows.refunds.anew import decide_anew
from recoup_core.flows.refunds.cases import REFUNDED, is_collected, stop_collecting
from recoup_core.flows.refunds.draft import SEND_REFUND, LockedRefunds, RefundDraft, locked_refunds
from recoup_core.flows.refunds.guards import DISPUTED, capture_of, obstacle, overtaken, voids
from recoup_core.flows.refunds.outcomes import fail, lose, succeed
from recoup_core.flows.refunds.recorder import RefundRecorder
from recoup_core.flows.refunds.sending import SendRefund, refund_request, resubmit, send_refund
from recoup_core.storage.changes import JobRef
from recoup_core.storage.disputes import decided_under
from recoup_core.storage.refunds import refunds_of_parts

CHARGE_WAIT: Final = timedelta(minutes=15)
"""How long a part waits, again and again, for the answer to a charge of the same payment: it may still come in."""

CHARGE_PATIENCE: Final = timedelta(days=3)
"""A part that has waited for longer is put before a person; the charge has an age limit of its own."""


class _Submission:
    """What one transaction leaves to be done after it: the sends, and what a dispute has overtaken."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.sends: list[SendRefund] = []
        self.overtaken: dict[UUID, str | None] = {}
        self.refunded_payments: dict[UUID, str] = {}
        self.decided: Mapping[UUID, str] = {}
        """By refund, the dispute that its decision knew of."""


async def run_refunds(context: Context, refs: Sequence[JobRef]) -> None:
    """Send due parts; each ends in its own right, whatever becomes of the others."""
    submission = await _submit(context, refs)
    recorder = RefundRecorder(context)
    works = [send_refund(context, recorder, each) for each in submission.sends]
    works += [decide_anew(context, each, corr) for each, corr in submission.overtaken.items()]
    # what can't be written was logged by the recorder; the lease's end brings the part to settlement
    await asyncio.gather(*works, return_exceptions=True)


async def _submit(context: Context, refs: Sequence[JobRef]) -> _Submission:
    """One transaction: everything that is still to be done is written down as submitted, with its key."""
    async with context.database.connection() as connection:
        refunds = await refunds_of_parts(connection, [ref.subject_id for ref in refs])
    submission = _Submission(context)
    async with locked_refunds(context, set(refunds.values())) as locked:
        if any(account.disputes for account in locked.accounts.values()):
            submission.decided = await decided_under(locked.connection, set(refunds.values()))
        for ref in refs:
            _begin_job(submission, locked, ref, refunds.get(ref.subject_id))
        await stop_collecting(locked, submission.refunded_payments, POLICY, REFUNDED)
    return submission


def _begin_job(submission: _Submission, locked: LockedRefunds, ref: JobRef, refund_id: UUID | None) -> None:
    draft = locked.draft(refund_id, POLICY, ref.correlation_id) if refund_id else None
    part = draft.file.part(ref.subject_id) if draft else None
    if draft is None or part is None:
        locked.changes.finish(ref)
    elif part.state is PartState.SUBMITTED:
        if part.claim < ref.claim:
            lose(draft, part, "the worker that sent it never came back")
        # else a repeated message: its sender is at work
    elif part.state is not PartState.SCHEDULED or draft.file.refund.state is not RefundState.APPROVED:
        locked.changes.finish(ref)  # answered, taken back, or others are settling it
    elif part.not_before is not None and part.not_before > draft.now:
        draft.put_job(SEND_REFUND, part.id, part.not_before)
    elif not _held_up(submission, draft, part):
        _leave(submission, draft, part, ref)


def _held_up(submission: _Submission, draft: RefundDraft, part: RefundPart) -> bool:
    """Whether the part can't leave now: a charge is live, a dispute has come, or less is left than is asked back."""
    account = draft.accounts[part.payment_id]
    if account.live_attempt:
        _wait_for_charge(draft, part)
        return True
    if overtaken(draft, part, submission.decided.get(draft.file.refund.id)):
        if draft.file.unsent:
            submission.overtaken[draft.file.refund.id] = draft.correlation_id
        else:
            fail(draft, part, DISPUTED)
        return True
    gateway = submission.context.gateways.get(part.gateway or "")
    refusal = obstacle(draft, part, gateway)
    if refusal is not None:
        fail(draft, part, refusal)
        submission.context.measures.refund_outcome(part.gateway or "", "refused", str(refusal.category))
    return refusal is not None


def _wait_for_charge(draft: RefundDraft, part: RefundPart) -> None:
    """A charge of the same payment is settled first: what it brings in decides what there is to give back."""
    waits_already = part.not_before is not None and draft.now - part.not_before < CHARGE_WAIT
    until = draft.now + CHARGE_WAIT
    changed = msgspec.structs.replace(part, not_before=until)
    draft.changes.update(changed)
    draft.file = draft.file.with_part(changed)
    draft.put_job(SEND_REFUND, part.id, until)
    if not waits_already:
        draft.tell(EventKind.REFUND_WAITS, part=str(part.id), until=until.isoformat(), because="live_charge")
    since = draft.file.refund.approved_at or part.created_at
    if draft.now - since >= CHARGE_PATIENCE:
        reason = f"a charge of the same payment has been under way for over {CHARGE_PATIENCE.days} days"
        draft.ask_human(TaskKind.REFUND_WAITS, reason)


def _leave(submission: _Submission, draft: RefundDraft, part: RefundPart, ref: JobRef) -> None:
    account = draft.accounts[part.payment_id]
    draft.close_tasks({TaskKind.REFUND_WAITS}, "the charge is settled, the refund leaves")
    if draft.file.refund.purpose is Purpose.REFUND and is_collected(account):
        submission.refunded_payments[account.payment.id] = draft.correlation_id or ""
    if part.destination is Destination.STORE_CREDIT:
        _give_credit(submission.context, draft, part)
    elif part.sends > 0:  # certainly not sent before: the same part, the same key
        submission.sends.append(_send_of(draft, resubmit(draft, part, ref)))
    else:
        submission.sends.append(_send_of(draft, _submit_first(draft, part, ref)))


def _submit_first(draft: RefundDraft, part: RefundPart, ref: JobRef) -> RefundPart:
    capture = capture_of(draft, part)
    sent = draft.move_part(
        part,
        PartEvent.SUBMIT,
        void=capture is not None and voids(draft, part, capture),
        sends=1,
        claim=ref.claim,
        submitted_at=draft.now,
        last_sent_at=draft.now,
    )
    draft.tell(
        EventKind.REFUND_SUBMITTED,
        part=str(part.id),
        number=part.number,
        part_minor=part.amount_minor,
        gateway=part.gateway,
        void=sent.void,
    )
    return sent


def _give_credit(context: Context, draft: RefundDraft, part: RefundPart) -> None:
    """Nothing leaves the house: the billing system reads the event and credits the customer."""
    refund = draft.file.refund
    draft.tell(
        EventKind.STORE_CREDIT_ISSUED,
        customer_ref=refund.customer_ref,
        part=str(part.id),
        part_minor=part.amount_minor,
        purpose=str(refund.purpose),
        refund=str(refund.id),
    )
    succeed(draft, part)
    context.measures.refund_outcome("", "refunded", "")


def _send_of(draft: RefundDraft, part: RefundPart) -> SendRefund:
    assert part.gateway is not None  # only store credit has none
    return SendRefund(part.refund_id, part.gateway, refund_request(draft, part))
