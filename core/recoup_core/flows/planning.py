"""What happens next in a case: decided by its own pinned policy, planned on its timeline, explained and stored."""

from datetime import datetime, timedelta
from typing import Final

from recoup_core.domain.happened import EventKind, HumanTask, TaskKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseEvent, CaseState, StepKind, StepState, TimelineStep
from recoup_core.flows.credentials.wanted import ask_for_backups
from recoup_core.flows.draft import POLICY, Draft
from recoup_core.flows.dunning import plan_dunning
from recoup_core.flows.situation import facts_of, situation_of
from recoup_core.rules.deciding.decide import Decision, Retry, Stop, decide_retry
from recoup_core.rules.engine.texts import Pinned, UnreadablePolicy
from recoup_core.rules.facts import PolicyKind, RetryFacts
from recoup_core.storage.changes import StoredDecision

TASK_AGE: Final = timedelta(days=3)
"""A task older than this is overdue on every list."""

MANUAL_REVIEW: Final = "manual_review"


def plan_next(draft: Draft, policy: Pinned, facts: RetryFacts | None = None) -> None:
    """Plan what comes next in an open case, or end it, and what accompanies it; a case that is over is left alone.

    Where the policy can't be read any more nothing is decided: a person is asked, once, and the case stays as it is.

    Called on every transition that may need it, whoever caused it, so that no answer can leave a case without a plan.
    `facts` are the file's own, where the caller has them at hand.
    """
    _decide_next(draft, policy, facts)
    accompany(draft, facts)


def accompany(draft: Draft, facts: RetryFacts | None = None) -> None:
    """Bring the dunning steps in line with how the case stands now, where it has a dunning policy."""
    if isinstance(draft.dunning, UnreadablePolicy):
        _ask_about_policy(draft, draft.dunning)
    elif draft.dunning is not None:
        plan_dunning(draft, draft.dunning, facts)


def _decide_next(draft: Draft, policy: Pinned, facts: RetryFacts | None) -> None:
    file = draft.file
    waits = file.live_attempt is not None or file.planned_retry is not None
    if file.case.state is not CaseState.OPEN or file.payment.state is not PaymentState.OWED or waits:
        return
    if isinstance(policy, UnreadablePolicy):
        _ask_about_policy(draft, policy)
        return
    facts = facts or facts_of(file, draft.now)
    situation = situation_of(file, draft.now)
    decision = decide_retry(policy, facts, situation)
    stored = draft.keep_decision(PolicyKind.RETRY, decision, facts, situation)
    if isinstance(decision.outcome, Retry):
        _plan_retry(draft, decision, decision.outcome, stored)
    else:
        _stop(draft, decision.outcome, decision.rule)
    ask_for_backups(draft, policy, facts)


def skip_planned(draft: Draft, because: str) -> None:
    """Leave out every step still to come."""
    for step in draft.file.steps:
        if step.state is StepState.PLANNED:
            draft.skip_step(step, because)


def skip_retry(draft: Draft, because: str) -> None:
    """Leave out the planned retry, if there is one; dunning steps follow with the next decision."""
    if (planned := draft.file.planned_retry) is not None:
        draft.skip_step(planned, because)


def open_task(draft: Draft, kind: TaskKind, reason: str, attempt_id: object = None, age: timedelta = TASK_AGE) -> None:
    """Ask a person about this case."""
    file = draft.file
    attempt = next((a for a in file.attempts if a.id == attempt_id), None)
    draft.ask_human(
        HumanTask(
            id=new_id(),
            merchant_id=file.payment.merchant_id,
            kind=kind,
            case_id=file.case.id,
            payment_id=file.payment.id,
            attempt_id=attempt.id if attempt else None,
            reason=reason,
            opened_at=draft.now,
            due_at=draft.now + age,
        )
    )


def _ask_about_policy(draft: Draft, policy: UnreadablePolicy) -> None:
    waiting = (*draft.file.open_tasks, *draft.changes.rows(HumanTask))
    asked = (task for task in waiting if task.resolved_at is None)  # one answered in this draft asks no more
    if any((task.kind, task.case_id) == (TaskKind.POLICY_UNREADABLE, draft.file.case.id) for task in asked):
        return
    reason = f"the policy {policy.name} ({policy.digest[:12]}) that the case keeps can't be read: {policy.because}"
    open_task(draft, TaskKind.POLICY_UNREADABLE, reason)


def plan_by_hand(draft: Draft, retry: Retry, rule: str, planned_by: str) -> TimelineStep:
    """Plan a retry that a person or the customer asked for, in place of whatever was planned."""
    skip_retry(draft, f"replaced: {rule}")
    step = _add_retry(draft, retry, rule, planned_by, None)
    accompany(draft)
    return step


def _plan_retry(draft: Draft, decision: Decision, retry: Retry, stored: StoredDecision) -> None:
    _add_retry(draft, retry, decision.rule, POLICY, stored)


def _add_retry(draft: Draft, retry: Retry, rule: str, planned_by: str, stored: StoredDecision | None) -> TimelineStep:
    file = draft.file
    step = TimelineStep(
        id=new_id(),
        merchant_id=file.payment.merchant_id,
        case_id=file.case.id,
        payment_id=file.payment.id,
        kind=StepKind.RETRY,
        due_at=retry.at,
        credential_id=retry.credential_id,
        gateway=retry.gateway,
        rule=rule,
        decision_id=stored.id if stored else None,
        planned_by=planned_by,
        created_at=draft.now,
    )
    draft.add_step(step)
    draft.tell(EventKind.STEP_PLANNED, step=str(step.id), due_at=_iso(retry.at), rule=rule, planned_by=planned_by)
    return step


def _stop(draft: Draft, stop: Stop, rule: str) -> None:
    draft.move_case(CaseEvent.EXHAUST, stop_reason=stop.reason)
    draft.tell(EventKind.CASE_EXHAUSTED, reason=stop.reason, rule=rule)
    if stop.reason == MANUAL_REVIEW:
        open_task(draft, TaskKind.MANUAL_REVIEW, f"rule {rule!r} asks for a person")


def _iso(at: datetime) -> str:
    return at.isoformat()
