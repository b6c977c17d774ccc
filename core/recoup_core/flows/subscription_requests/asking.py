"""Asking the billing system: it owns the subscription, and reads from signed events what is to become of it.

A request is written down in the transaction that wants it, once per step, and told until it is answered.
"""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.happened import EventKind, HumanTask, TaskKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.recovery import StepKind, TimelineStep
from recoup_core.domain.subscription_request import REQUEST, RequestEvent, RequestState, SubscriptionRequest, Wish
from recoup_core.flows.draft import Draft
from recoup_core.flows.planning import TASK_AGE

SUBSCRIPTION: Final = "subscription"
"""Job kind: tell a request to the billing system once more. Subject: the request."""

WAITS: Final = (
    timedelta(hours=1),  # a restart, or a deployment
    timedelta(hours=5),  # an outage
    timedelta(hours=18),  # a night without anybody on duty: a day since it was asked first
    timedelta(days=1),  # two days
    timedelta(days=1),  # three: whoever reads these events does not, and a person must know
)
"""How long an answer is waited for after each telling; behind the last one a person is asked."""

WISHES: Final = {
    StepKind.PAUSE_SUBSCRIPTION: Wish.PAUSE,
    StepKind.DOWNGRADE_SUBSCRIPTION: Wish.DOWNGRADE,
    StepKind.CANCEL_SUBSCRIPTION: Wish.CANCEL,
}
"""The steps of a timeline that ask the billing system for something."""

_ASKED_FOR: Final = {
    Wish.PAUSE: EventKind.SUBSCRIPTION_PAUSE_REQUESTED,
    Wish.DOWNGRADE: EventKind.SUBSCRIPTION_DOWNGRADE_REQUESTED,
    Wish.CANCEL: EventKind.SUBSCRIPTION_CANCEL_REQUESTED,
    Wish.RESTORE: EventKind.SUBSCRIPTION_RESTORE_REQUESTED,
}

OPEN: Final = frozenset({RequestState.ASKED, RequestState.OVERDUE})
"""States in which the billing system still has to answer."""


def ask_for_step(draft: Draft, step: TimelineStep) -> None:
    """Ask for what a due step wants; the table refuses a second request of one step."""
    plan = step.detail.get("plan")
    _ask(draft, WISHES[step.kind], step_id=step.id, plan=None if plan is None else str(plan))


def give_back(draft: Draft) -> None:
    """The debt is paid: what is not done yet is no longer wanted, and what was taken away is given back.

    A request without an answer may have been carried out all the same, so it counts: nobody who has paid stays locked
    out. One that was refused took nothing away.
    """
    owed = _takes_back(draft.file.requests)
    withdraw(draft, "the payment is paid")
    if owed:
        _ask(draft, Wish.RESTORE)


def withdraw(draft: Draft, because: str) -> None:
    """Take back every request that is not answered yet, and close what people were asked about them."""
    for request in draft.file.requests:
        if request.state in OPEN:
            move_request(draft, request, RequestEvent.WITHDRAW, finished_at=draft.now)
            draft.tell(
                EventKind.SUBSCRIPTION_REQUEST_WITHDRAWN,
                request=str(request.id),
                wish=str(request.wish),
                because=because,
            )
    draft.close_tasks({TaskKind.SUBSCRIPTION_UNACKNOWLEDGED}, because)


def tell_request(draft: Draft, request: SubscriptionRequest) -> None:
    """Tell the billing system what is to become of the subscription, and have it told again unless it answers."""
    payment = draft.file.payment
    step = draft.file.step(request.step_id) if request.step_id else None
    more: dict[str, Any] = {} if step is None else {"step": str(step.id), "rule": step.rule}
    if request.plan is not None:
        more["plan"] = request.plan
    draft.tell(
        _ASKED_FOR[request.wish],
        request=str(request.id),
        asked=request.asked,
        payment=payment.reference,
        customer=payment.customer.ref,
        subscription=request.subscription,
        **more,
    )
    draft.put_job(SUBSCRIPTION, request.id, draft.now + WAITS[min(request.asked, len(WAITS)) - 1])


def move_request(draft: Draft, request: SubscriptionRequest, event: RequestEvent, **fields: Any) -> SubscriptionRequest:
    """Apply an event to a request; one that needs no more telling drops its job."""
    moved = msgspec.structs.replace(request, state=REQUEST.after(request.state, event), **fields)
    if moved.state is not RequestState.ASKED:
        draft.changes.drop_job(SUBSCRIPTION, request.id)
    keep_request(draft, moved)
    return moved


def keep_request(draft: Draft, request: SubscriptionRequest) -> None:
    """Write down how a request is now."""
    draft.changes.update(request)
    draft.file = draft.file.with_request(request)


def ask_person(draft: Draft, request: SubscriptionRequest, reason: str) -> None:
    """Put a request before a person."""
    file = draft.file
    draft.ask_human(
        HumanTask(
            id=new_id(),
            merchant_id=file.payment.merchant_id,
            kind=TaskKind.SUBSCRIPTION_UNACKNOWLEDGED,
            case_id=file.case.id,
            payment_id=file.payment.id,
            about_id=request.id,
            reason=reason,
            opened_at=draft.now,
            due_at=draft.now + TASK_AGE,
        )
    )


def close_tasks_about(draft: Draft, about_id: UUID, resolution: str) -> None:
    """Take what people were asked about one request out of the queue."""
    for task in draft.file.open_tasks:
        if task.about_id == about_id:
            draft.changes.update(
                msgspec.structs.replace(task, resolved_at=draft.now, resolved_by=draft.actor, resolution=resolution)
            )
            draft.tell(EventKind.TASK_RESOLVED, task=str(task.kind), task_id=str(task.id))
    left = tuple(task for task in draft.file.open_tasks if task.about_id != about_id)
    draft.file = msgspec.structs.replace(draft.file, open_tasks=left)


def is_taken(draft: Draft, wish: Wish) -> bool:
    """Whether something of this kind was asked for, as far as is known done, and not given back since."""
    counted = [r for r in draft.file.requests if r.state not in (RequestState.REFUSED, RequestState.WITHDRAWN)]
    last = next((r.wish for r in reversed(counted) if r.wish in (wish, Wish.RESTORE)), None)
    return last is wish


def _takes_back(requests: tuple[SubscriptionRequest, ...]) -> bool:
    """Whether anything was asked for since the last request to restore that was not taken back itself."""
    for request in reversed(requests):
        if request.wish is Wish.RESTORE:
            if request.state is not RequestState.WITHDRAWN:
                return False
        elif request.state is not RequestState.REFUSED:
            return True
    return False


def _ask(draft: Draft, wish: Wish, step_id: UUID | None = None, plan: str | None = None) -> None:
    payment, case = draft.file.payment, draft.file.case
    request = SubscriptionRequest(
        id=new_id(),
        merchant_id=payment.merchant_id,
        case_id=case.id,
        payment_id=payment.id,
        step_id=step_id,
        wish=wish,
        plan=plan,
        subscription=payment.subscription,
        asked_at=draft.now,
        created_at=draft.now,
    )
    draft.changes.add(request)
    draft.file = draft.file.with_request(request)
    tell_request(draft, request)
