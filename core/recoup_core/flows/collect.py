"""A due retry becomes an attempt: written down, sent once, and its answer recorded.

Three steps, a batch of jobs at a time: a transaction that submits (guards, limits under lock, key), the gateway calls
outside any transaction, and the transaction in which the recorder writes the answers of all that finished together.
Kill the process anywhere: the lease ends, and who takes the job over finds out by the attempt's claim what happened.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import ATTEMPT, Attempt, AttemptEvent, AttemptState, Origin
from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Credential, Payment, PaymentState
from recoup_core.domain.recovery import CaseState, StepEvent, StepState, TimelineStep
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.draft import COLLECT, POLICY, Draft
from recoup_core.flows.guard import Unknown, charge_guarded
from recoup_core.flows.outcomes import Outcome, cancel_unsent, lose
from recoup_core.flows.planning import accompany, plan_next
from recoup_core.flows.recorder import Answer, Recorder
from recoup_core.flows.situation import history_by_account, situation_of
from recoup_core.ports import ChargeRequest, Declined, NotSent, Owned
from recoup_core.rules.deciding.decide import check_account, when_late
from recoup_core.rules.engine.texts import UnreadablePolicy
from recoup_core.storage.cases import payments_of_steps
from recoup_core.storage.changes import JobRef

BY_HAND: Final = "by hand"
"""The rule of a step that a person or the customer asked for."""

LATE: Final = timedelta(hours=1)
"""A step executed this long after its time is checked against its rule's hours again."""

CUSTOMER: Final = "customer"
"""`planned_by` of the try that follows a new credential."""

_ORIGINS: Final = {POLICY: Origin.POLICY, CUSTOMER: Origin.CUSTOMER}


class Send(msgspec.Struct, frozen=True):
    """An attempt that is committed as submitted and must now be sent, or settled, by whoever holds the claim."""

    payment_id: UUID
    gateway: str
    request: ChargeRequest


async def run_collect(context: Context, recorder: Recorder, refs: Sequence[JobRef]) -> None:
    """Execute due retry steps; each ends in its own right, whatever becomes of the others."""
    sends = await _submit(context, refs)
    # an answer that can't be written was logged by the recorder; the lease's end brings the attempt to settlement
    await asyncio.gather(*(send(context, recorder, each) for each in sends), return_exceptions=True)


async def send(context: Context, recorder: Recorder, work: Send, *, not_sent_is_sure: bool = True) -> None:
    """Call the gateway for a submitted attempt and record what it answers.

    Without `not_sent_is_sure` an earlier send of the attempt may have arrived, so what speaks of this send alone ("not
    sent", or a refusal for our own mistake, which no key remembers) leaves it unknown.
    """
    started = time.perf_counter()
    outcome: Outcome = await _charge(context, work)
    context.measures.gateway_call(work.gateway, "charge", type(outcome).__name__.lower(), time.perf_counter() - started)
    if not not_sent_is_sure and (why := _of_this_send_alone(outcome)) is not None:
        outcome = Unknown(reason=f"an earlier send may have arrived; this one did not: {why}")
    await recorder.record(
        Answer(
            payment_id=work.payment_id,
            attempt_id=work.request.attempt_id,
            outcome=outcome,
            actor=f"gateway:{work.gateway}",
            correlation_id=work.request.correlation_id,
        )
    )


def _of_this_send_alone(outcome: Outcome) -> str | None:
    """Return why this very send did nothing, where that says nothing about an earlier one."""
    if isinstance(outcome, NotSent | Owned):
        return outcome.reason
    if isinstance(outcome, Declined) and outcome.decline.category is DeclineCategory.CONFIGURATION:
        return outcome.decline.code
    return None


def charge_request(
    attempt: Attempt, credential: Credential, payment: Payment, correlation_id: str | None
) -> ChargeRequest:
    """Return the request of an attempt; the same attempt always gives the same request."""
    assert attempt.idempotency_key is not None  # only reported attempts have none, and those are never sent
    return ChargeRequest(
        idempotency_key=attempt.idempotency_key,
        attempt_id=attempt.id,
        payment_reference=payment.reference,
        amount=attempt.amount,
        method=attempt.method,
        token=credential.token,
        gateway_customer=credential.gateway_customer,
        first_sent_at=attempt.submitted_at or attempt.created_at,
        gateway_ref=attempt.gateway_ref,
        debt_ref=payment.gateway_ref if payment.gateway == attempt.gateway else None,
        number=attempt.number,
        subscription=bool(payment.subscription),
        correlation_id=correlation_id,
    )


async def _charge(context: Context, work: Send) -> Outcome:
    gateway = context.gateways.get(work.gateway)
    if gateway is None:
        return NotSent(reason=f"no gateway is named {work.gateway}")
    return await charge_guarded(gateway, work.request)


async def _submit(context: Context, refs: Sequence[JobRef]) -> list[Send]:
    """One transaction: everything that is still to be done is written down as submitted, with its key."""
    async with context.database.connection() as connection:
        payments = await payments_of_steps(connection, [ref.subject_id for ref in refs])
    sends: list[Send] = []
    async with locked_cases(context, set(payments.values()), accounts=True) as locked:
        for ref in refs:
            payment_id = payments.get(ref.subject_id)
            draft = locked.draft(payment_id, POLICY, ref.correlation_id) if payment_id else None
            step = draft.file.step(ref.subject_id) if draft else None
            if draft is None or step is None:
                locked.changes.finish(ref)
            elif (work := _begin(draft, step, locked, ref)) is not None:
                sends.append(work)
    return sends


def _begin(draft: Draft, step: TimelineStep, locked: Locked, ref: JobRef) -> Send | None:
    """Decide under lock what a due step may still do; return the send, if there is one."""
    if step.state is StepState.PLANNED:
        return _begin_planned(draft, step, locked, ref)
    attempt = draft.file.attempt_of_step(step.id)
    if step.state is not StepState.RUNNING or attempt is None:
        draft.changes.finish(ref)
        return None
    if attempt.state is AttemptState.SCHEDULED:  # certainly not sent before: the same attempt, the same key
        return _send_again(draft, attempt, locked, ref)
    if attempt.state is AttemptState.SUBMITTED and attempt.claim < ref.claim:
        lose(draft, attempt, "the worker that sent it never came back")
    elif attempt.state is not AttemptState.SUBMITTED:
        draft.changes.finish(ref)  # answered, or others are settling it
    return None  # submitted under this very claim: a repeated message; its sender is at work


def _begin_planned(draft: Draft, step: TimelineStep, locked: Locked, ref: JobRef) -> Send | None:
    if step.due_at > draft.now:
        draft.put_job(COLLECT, step.id, step.due_at)
        return None
    refusal = _guard(draft, step)
    if refusal is not None:
        draft.skip_step(step, refusal)
        plan_next(draft, locked.policy(draft))
        return None
    if _moved_because_late(draft, step, locked):
        return None
    credential = _credential(draft, step)
    assert credential is not None  # the guard saw it
    if not _within_limits(draft, step, credential, locked):
        return None
    return _submit_new(draft, step, credential, ref)


def _guard(draft: Draft, step: TimelineStep) -> str | None:
    """Return why the step must not be executed any more; facts may have changed since it was planned."""
    file = draft.file
    credential = _credential(draft, step)
    if file.payment.state is not PaymentState.OWED:
        return f"the payment is {file.payment.state}"
    if file.case.state is not CaseState.OPEN:
        return f"the case is {file.case.state}"
    if file.live_attempt is not None:
        return "another attempt is live"
    if credential is None or not credential.valid:
        return "the credential is no longer valid"
    return None


def _moved_because_late(draft: Draft, step: TimelineStep, locked: Locked) -> bool:
    """Whether the step missed its time (we were down) and waits for its rule's hours: nobody is charged at 3 a.m."""
    if step.planned_by != POLICY or draft.now - step.due_at < LATE:
        return False
    policy = locked.policy(draft)
    if isinstance(policy, UnreadablePolicy):
        draft.skip_step(step, "it missed its time, and its rule's hours can't be read any more")
        plan_next(draft, policy)
        return True
    allowed_at = when_late(policy, step.rule, situation_of(draft.file, draft.now))
    if allowed_at is None:
        draft.skip_step(step, "it missed its time, and its rule's time is over")
        plan_next(draft, policy)
    elif allowed_at > draft.now:
        _move_planned(draft, step, allowed_at, "it missed its time and waits for its rule's hours")
    else:
        return False
    return True


def _move_planned(draft: Draft, step: TimelineStep, to: datetime, because: str) -> None:
    """Plan the same step for a later time, and say why."""
    moved = draft.move_step(step, StepEvent.MOVE, due_at=to)
    draft.put_job(COLLECT, moved.id, to)
    draft.tell(EventKind.STEP_MOVED, step=str(step.id), due_at=to.isoformat(), because=because)
    accompany(draft)


def _within_limits(draft: Draft, step: TimelineStep, credential: Credential, locked: Locked) -> bool:
    """Check the network limits once more, under the accounts' locks; move or replace the step where they say no."""
    allowed_at, findings = check_account(situation_of(draft.file, draft.now), credential, draft.now)
    if allowed_at is not None and allowed_at <= draft.now:
        return True
    rules = ", ".join(sorted({finding.rule for finding in findings}))
    if allowed_at is not None and step.planned_by != POLICY:
        _move_planned(draft, step, allowed_at, f"network limits: {rules}")
        return False
    # a policy's step is planned anew, so that the new time keeps the policy's windows and is explained
    draft.skip_step(step, f"network limits: {rules}")
    plan_next(draft, locked.policy(draft))
    return False


def _submit_new(draft: Draft, step: TimelineStep, credential: Credential, ref: JobRef) -> Send:
    attempt = new_attempt(draft, step, credential, ref)
    draft.actor = step.planned_by
    draft.add_attempt(attempt)
    draft.move_step(step, StepEvent.START)
    draft.tell(EventKind.ATTEMPT_SUBMITTED, attempt.id, number=attempt.number, gateway=attempt.gateway, rule=step.rule)
    return _send_of(draft, attempt, credential)


def new_attempt(draft: Draft, step: TimelineStep, credential: Credential, ref: JobRef) -> Attempt:
    """Return the attempt that a retry step leads to, submitted just now."""
    file, attempt_id = draft.file, new_id()
    return Attempt(
        id=attempt_id,
        merchant_id=file.payment.merchant_id,
        payment_id=file.payment.id,
        case_id=file.case.id,
        step_id=step.id,
        number=1 + max((a.number for a in file.attempts), default=0),
        origin=_ORIGINS.get(step.planned_by, Origin.OPERATOR),
        gateway=step.gateway or credential.gateway,
        credential_id=credential.id,
        account_key=credential.account_key,
        method=credential.method,
        network=credential.network,
        amount_minor=file.payment.amount_minor - file.payment.captured_minor,
        currency=file.payment.currency,
        idempotency_key=f"recoup-{attempt_id}",
        state=ATTEMPT.after(AttemptState.SCHEDULED, AttemptEvent.SUBMIT),
        sends=1,
        claim=ref.claim,
        created_at=draft.now,
        submitted_at=draft.now,
        last_sent_at=draft.now,
    )


def _send_again(draft: Draft, attempt: Attempt, locked: Locked, ref: JobRef) -> Send | None:
    """Send an attempt that certainly never left, with the key it was given; unless the case has moved on."""
    credential = next((c for c in draft.file.credentials if c.id == attempt.credential_id), None)
    if draft.file.case.state is not CaseState.OPEN or credential is None or not credential.valid:
        cancel_unsent(draft, f"the case is {draft.file.case.state}")
        plan_next(draft, locked.policy(draft))
        return None
    if not limits_allow(draft, attempt, credential):
        cancel_unsent(draft, "network limits")
        plan_next(draft, locked.policy(draft))
        return None
    sent = resubmit(draft, attempt, ref)
    return _send_of(draft, sent, credential)


def limits_allow(draft: Draft, attempt: Attempt, credential: Credential) -> bool:
    """Whether an attempt written down before may leave now; the caller holds the locks of its account."""
    history = history_by_account(draft.file.account_attempts, without=attempt.id)
    situation = msgspec.structs.replace(situation_of(draft.file, draft.now), history=history)
    allowed_at, _ = check_account(situation, credential, draft.now)
    return allowed_at is not None and allowed_at <= draft.now


def resubmit(draft: Draft, attempt: Attempt, ref: JobRef) -> Attempt:
    """Write down that the same attempt leaves once more, with the same key and under this claim."""
    sent = draft.move_attempt(
        attempt, AttemptEvent.SUBMIT, sends=attempt.sends + 1, claim=ref.claim, last_sent_at=draft.now
    )
    draft.tell(EventKind.ATTEMPT_RESENT, attempt.id, sends=sent.sends)
    return sent


def _send_of(draft: Draft, attempt: Attempt, credential: Credential) -> Send:
    request = charge_request(attempt, credential, draft.file.payment, draft.correlation_id)
    return Send(draft.file.payment.id, attempt.gateway, request)


def _credential(draft: Draft, step: TimelineStep) -> Credential | None:
    return next((c for c in draft.file.credentials if c.id == step.credential_id), None)
