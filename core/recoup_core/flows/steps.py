"""A due dunning step is done: written down together with what it asks for, so that it happens once or not at all.

Nothing leaves the house from here: billing systems read the events that ask them for something, people their tasks.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.payment import PaymentEvent, PaymentState
from recoup_core.domain.recovery import CaseEvent, CaseState, StepEvent, StepKind, StepState, TimelineStep
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.draft import POLICY, Draft
from recoup_core.flows.messages.contacts import ContactFile, load_contacts
from recoup_core.flows.messages.stepping import say_step
from recoup_core.flows.messaging import Messaging
from recoup_core.flows.outcomes import WHILE_OWED, cancel_unsent
from recoup_core.flows.planning import accompany, open_task, skip_planned
from recoup_core.flows.subscription_requests.asking import WISHES, ask_for_step
from recoup_core.flows.write_offs import write_off
from recoup_core.rules.deciding.dunning import LATE
from recoup_core.storage.cases import payments_of_steps
from recoup_core.storage.changes import Changes, JobRef
from recoup_core.storage.customers import CustomerKey

ANSWER_WAIT: Final = timedelta(hours=1)
"""How long a due step waits, again and again, for the answer to an attempt in flight: it may have paid the debt.
The attempt itself has an age limit, past which a person is asked."""

WRITTEN_OFF: Final = "written_off"


async def run_steps(context: Context, refs: Sequence[JobRef]) -> None:
    """Do due dunning steps, each once: the step is done and its event told in one transaction."""
    async with context.database.connection() as connection:
        payments = await payments_of_steps(connection, [ref.subject_id for ref in refs])
    async with locked_cases(context, set(payments.values())) as locked:
        drafts = {
            ref.id: locked.draft(payments[ref.subject_id], POLICY, ref.correlation_id)
            for ref in refs
            if ref.subject_id in payments
        }
        voice = await _voice(context, locked, refs, [draft for draft in drafts.values() if draft is not None])
        for ref in refs:
            draft = drafts.get(ref.id)
            if draft is None:
                locked.changes.finish(ref)
            else:
                draft.correlation_id = ref.correlation_id
                run_due(draft, ref, locked.changes, voice)


class Voice(msgspec.Struct, frozen=True):
    """By what customers are reached, and what is known of those in this batch, under their locks."""

    messaging: Messaging
    contacts: Mapping[CustomerKey, ContactFile]

    def say(self, draft: Draft, step: TimelineStep) -> None:
        """Say what a due step wants said."""
        payment = draft.file.payment
        say_step(draft, step, self.messaging, self.contacts[payment.merchant_id, payment.customer.ref])


async def _voice(context: Context, locked: Locked, refs: Sequence[JobRef], drafts: Sequence[Draft]) -> Voice:
    due = {ref.subject_id for ref in refs}
    wanted = {
        (draft.file.payment.merchant_id, draft.file.payment.customer.ref)
        for draft in drafts
        if any(step.kind is StepKind.MESSAGE and step.id in due for step in draft.file.planned_dunning)
    }
    return Voice(context.messaging, await load_contacts(locked.connection, wanted, locked.now))


def run_due(draft: Draft, ref: JobRef, changes: Changes, voice: Voice) -> None:
    """Do what a due step says, put it off, or leave it out for a reason; forecasts play it the same way."""
    step = _still_to_do(draft, ref)
    if step is None:
        changes.finish(ref)
    elif step.due_at > draft.now:
        draft.put_job_of(step)
    elif refusal := _guard(draft):
        draft.skip_step(step, refusal)
    elif draft.file.live_attempt is not None:
        draft.put_job_of(step, draft.now + ANSWER_WAIT)
    elif step.kind is StepKind.MESSAGE:
        voice.say(draft, step)
    else:
        _do(draft, step)


def _still_to_do(draft: Draft, ref: JobRef) -> TimelineStep | None:
    """Return the step where it is still planned; one that is late, or hangs on a retry, is decided anew first."""
    step = draft.file.step(ref.subject_id)
    if step is None or step.state is not StepState.PLANNED:
        return None
    late = draft.now - step.due_at >= LATE
    if late or step.retry_step_id is not None:
        accompany(draft)
        step = draft.file.step(ref.subject_id)
    return step if step is not None and step.state is StepState.PLANNED else None


def _guard(draft: Draft) -> str | None:
    """Return why the step must not be done any more; whoever ended the case should have skipped it."""
    file = draft.file
    if file.payment.state is not PaymentState.OWED:
        return f"the payment is {file.payment.state}"
    if file.case.state not in (CaseState.OPEN, CaseState.EXHAUSTED):
        return f"the case is {file.case.state}"
    return None


def _do(draft: Draft, step: TimelineStep) -> None:
    draft.move_step(step, StepEvent.FINISH)
    if step.kind is StepKind.HUMAN_TASK:
        open_task(draft, TaskKind.DUNNING, str(step.detail.get("text", "")))
    elif step.kind is StepKind.WRITE_OFF:
        _write_off(draft, step)
    else:
        ask_for_step(draft, step)


def _write_off(draft: Draft, step: TimelineStep) -> None:
    """Give the debt up: nothing more is tried or said. Money that still comes in is booked all the same.

    What billing was to be told before it is told now, where another worker holds that step's job.
    """
    for earlier in draft.file.planned_dunning:
        if earlier.kind in WISHES and earlier.due_at <= step.due_at:
            _do(draft, earlier)
    because = f"rule {step.rule!r} writes the debt off"
    draft.move_case(CaseEvent.WRITE_OFF, stop_reason=WRITTEN_OFF)
    draft.tell(EventKind.CASE_WRITTEN_OFF, step=str(step.id), rule=step.rule)
    skip_planned(draft, "the debt is written off")
    cancel_unsent(draft, "the debt is written off")
    draft.close_tasks(WHILE_OWED, "the debt is written off")
    draft.move_payment(PaymentEvent.CLOSE)
    write_off(draft)
    draft.tell(EventKind.PAYMENT_CLOSED, reason=because)
