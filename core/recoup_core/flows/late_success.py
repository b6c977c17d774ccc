"""Money that comes in for a debt nobody counts on any more: it is booked as what it is, and the policy says what next.

Late means: the debt was closed (written off, canceled), or its subscription was to be canceled because of it.
"""

from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.happened import EventKind, HumanTask, TaskKind
from recoup_core.domain.money import Money
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.subscription_request import Wish
from recoup_core.flows.draft import Draft
from recoup_core.flows.planning import open_task
from recoup_core.flows.subscription_requests.asking import give_back, is_taken
from recoup_core.rules.engine.texts import UnreadablePolicy
from recoup_core.rules.language.late import LateSuccess

LATE_REFUND: Final = "late_refund"
"""Job kind: ask for the refund of money that came in late. Subject: the attempt that it came in by."""


def late_because(draft: Draft) -> str | None:
    """Return why money that comes in now is late; None where it is what everybody waits for."""
    file = draft.file
    if file.payment.state is PaymentState.CLOSED:
        if file.case.state is CaseState.WRITTEN_OFF:
            return "the debt was written off"
        return f"its case was canceled ({file.case.stop_reason})"
    if file.payment.state is PaymentState.OWED and is_taken(draft, Wish.CANCEL):
        return "its subscription was canceled"
    return None


def follow_success(draft: Draft, attempt: Attempt, amount: Money, late: str | None) -> None:
    """See to what follows from booked money: the subscription given back, or what the policy says of late money."""
    paid = draft.file.payment.state is PaymentState.PAID
    if late is None:
        if paid:
            give_back(draft)
        return
    action = _action(draft)
    draft.tell(
        EventKind.LATE_SUCCESS,
        attempt.id,
        action=str(action),
        because=late,
        amount_minor=amount.amount_minor,
        currency=amount.currency,
    )
    if action is LateSuccess.ACCEPT and paid:
        give_back(draft)
    elif action is LateSuccess.REFUND:
        draft.put_job(LATE_REFUND, attempt.id, draft.now)
    elif action is LateSuccess.ASK:
        reason = f"{amount} came in late: {late}. Keep it and give back what was ended, or refund it?"
        open_task(draft, TaskKind.LATE_SUCCESS, reason, attempt.id)


def resolve_late(draft: Draft, task: HumanTask, action: LateSuccess, resolution: str) -> HumanTask:
    """A person says what becomes of late money; return the task as it is now. Its row is locked by the caller."""
    refuse_card_numbers(resolution, "resolution")
    if action is LateSuccess.REFUND and task.attempt_id is not None:
        draft.put_job(LATE_REFUND, task.attempt_id, draft.now)
    elif action is LateSuccess.ACCEPT and draft.file.payment.state is PaymentState.PAID:
        give_back(draft)
    resolved = msgspec.structs.replace(task, resolved_at=draft.now, resolved_by=draft.actor, resolution=resolution)
    draft.changes.update(resolved)
    draft.tell(
        EventKind.TASK_RESOLVED,
        task.attempt_id,
        task=str(task.kind),
        task_id=str(task.id),
        resolution=resolution,
        action=str(action),
    )
    return resolved


def refund_call(attempt_id: UUID) -> str:
    """Return the key under which the refund of late money is asked for once, however often the job runs."""
    return f"late-success-{attempt_id}"


def _action(draft: Draft) -> LateSuccess:
    """Return what the case's own policy says; one that can't be read any more leaves it to a person."""
    if isinstance(draft.retry, UnreadablePolicy):
        return LateSuccess.ASK
    if draft.retry is None:
        return LateSuccess.ACCEPT
    return draft.retry.policy.late_success
