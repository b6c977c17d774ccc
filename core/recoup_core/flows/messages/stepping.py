"""A dunning step that says something: what it says is gathered from the case file, and the step follows what came."""

from typing import Final

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.recovery import StepEvent, StepKind, StepState, TimelineStep
from recoup_core.domain.subscription_request import Wish
from recoup_core.flows.draft import Draft
from recoup_core.flows.dunning import REFUSED
from recoup_core.flows.messages.contacts import ContactFile, country_of, zone_of_customer
from recoup_core.flows.messages.placing import latest_of
from recoup_core.flows.messages.queueing import Held, NotSaid, Queued, Unsaid, Wanted, say
from recoup_core.flows.messaging import Messaging
from recoup_core.flows.planning import open_task
from recoup_core.templates.variables import Debt, MessageData, NextChange

_WISHES: Final = {
    StepKind.PAUSE_SUBSCRIPTION: Wish.PAUSE,
    StepKind.DOWNGRADE_SUBSCRIPTION: Wish.DOWNGRADE,
    StepKind.CANCEL_SUBSCRIPTION: Wish.CANCEL,
}

_ASKS: Final = {
    Unsaid.UNREACHABLE: TaskKind.MESSAGE_UNDELIVERABLE,
    Unsaid.NO_TEMPLATE: TaskKind.MESSAGE_UNDELIVERABLE,
    Unsaid.VULNERABLE: TaskKind.VULNERABLE_CUSTOMER,
}
"""What a person is asked where nothing is said; the others are as somebody wished."""


def say_step(draft: Draft, step: TimelineStep, messaging: Messaging, contact: ContactFile) -> None:
    """Say what a due step wants said: it is done, moved to when the budget lets it out, or left out for a reason."""
    said = say(messaging, contact, draft.changes, _wanted(draft, step, messaging, contact), draft.now)
    match said:
        case Queued():
            draft.move_step(step, StepEvent.FINISH)
        case Held():
            hold = {"due_at": said.until, "held_until": said.until, "held_because": said.because}
            draft.put_job_of(draft.move_step(step, StepEvent.MOVE, **hold))
            draft.tell(EventKind.STEP_MOVED, step=str(step.id), due_at=said.until.isoformat(), because=said.because)
        case NotSaid():
            draft.skip_step(step, said.because, detail={**step.detail, REFUSED: said.because})
            if said.why in _ASKS:
                ask_once(draft, _ASKS[said.why], f"{step.detail.get('template')}: {said.because}")


def ask_once(draft: Draft, kind: TaskKind, reason: str) -> None:
    """Put a task before a person, unless one of that kind waits already for this case."""
    if not any(task.kind is kind for task in draft.file.open_tasks):
        open_task(draft, kind, reason)


def _wanted(draft: Draft, step: TimelineStep, messaging: Messaging, contact: ContactFile) -> Wanted:
    file = draft.file
    return Wanted(
        merchant_id=file.payment.merchant_id,
        customer_ref=file.payment.customer.ref,
        template=str(step.detail.get("template", "")),
        channels=tuple(step.detail.get("channels", ())),
        data=data_of(draft, messaging, contact),
        country=country_of(contact, file.payment.customer),
        vulnerable=file.payment.customer.vulnerable,
        case_id=file.case.id,
        payment_id=file.payment.id,
        step_id=step.id,
        latest=latest_of(draft, step.retry_step_id),
        correlation_id=draft.correlation_id,
        actor=draft.actor,
    )


def data_of(draft: Draft, messaging: Messaging, contact: ContactFile) -> MessageData:
    """Return what a message about this case may say, as of now."""
    file = draft.file
    payment, failed, retry = file.payment, file.last_declined, file.planned_retry
    plan = payment.subscription.get("plan")
    return MessageData(
        brand=messaging.brand_of(payment.merchant_id),
        customer_name=contact.record.name,
        zone=zone_of_customer(contact, payment.customer).key,
        now=draft.now,
        debt=Debt(
            reference=payment.reference,
            amount=payment.outstanding,
            method=payment.method,
            failed_at=payment.failing_since,
            reason=failed.decline.category if failed is not None and failed.decline is not None else None,
            plan=plan if isinstance(plan, str) else None,
        ),
        next_retry=None if retry is None else retry.due_at,
        next_change=_next_change(draft),
        update_url=messaging.links.update(
            file.case.id, payment.merchant_id, payment.customer.ref, draft.now + messaging.link_lifetime
        ),
    )


def _next_change(draft: Draft) -> NextChange | None:
    """Return what becomes of the subscription next, as far as it is planned."""
    planned = (s for s in draft.file.steps if s.kind in _WISHES and s.state is StepState.PLANNED)
    first = min(planned, key=lambda step: (step.due_at, step.id), default=None)
    if first is None:
        return None
    plan = first.detail.get("plan")
    return NextChange(wish=_WISHES[first.kind], at=first.due_at, plan=plan if isinstance(plan, str) else None)
