"""The dunning steps of a case: decided anew at each of its turns; the timeline is brought in line with the decision."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState, StepEvent, StepState, TimelineStep
from recoup_core.flows.draft import POLICY, Draft
from recoup_core.flows.messages.placing import Placed, place
from recoup_core.flows.situation import facts_of
from recoup_core.rules.deciding.dunning import (
    Campaign,
    DeclinedRetry,
    DunningDecision,
    DunningSituation,
    PlannedRetry,
    decide_dunning,
)
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import DunningFacts, PolicyKind, RetryFacts
from recoup_core.rules.language.errors import NoPolicyApplies
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.rules.sets.trials import Assigned
from recoup_core.storage.changes import StoredDecision

REFUSED: Final = "refused"
"""In a skipped step's detail: it was tried in vain, for this reason, and is not planned again."""

_GOING_ON: Final = (CaseState.OPEN, CaseState.EXHAUSTED)
"""Exhausted cases are still owed: what follows the last retry happens then."""


def dunning_policy(book: PolicyBook, file: CaseFile, facts: RetryFacts) -> Assigned | None:
    """Return the dunning policy that a new case gets; None where none covers it, and so nobody is written to.

    A case is in one experiment at most, and that on its retries goes first: such a case gets the live version here.
    """
    seen = dunning_facts(file, facts)
    try:
        if file.case.experiment_id is not None:
            return Assigned(policy=book.choose(PolicyKind.DUNNING, seen))
        return book.assign(PolicyKind.DUNNING, seen, file.payment.merchant_id, file.payment.customer.ref)
    except NoPolicyApplies:
        return None


def dunning_facts(file: CaseFile, facts: RetryFacts) -> DunningFacts:
    """Return what dunning conditions may test: the retry policy's facts, and whether retries go on."""
    exhausted = file.case.state is CaseState.EXHAUSTED
    return DunningFacts(
        **msgspec.structs.asdict(facts),
        retry_planned=file.planned_retry is not None or file.live_attempt is not None,
        stop_reason=file.case.stop_reason if exhausted else None,
    )


def dunning_situation(file: CaseFile, now: datetime) -> DunningSituation:
    """Return what the times of steps hang on."""
    planned, declined = file.planned_retry, file.last_declined_retry
    retry = PlannedRetry(id=planned.id, at=planned.due_at) if planned else None
    last = None
    if declined is not None and declined.step_id is not None:
        last = DeclinedRetry(id=declined.step_id, at=declined.finished_at or declined.made_at)
    return DunningSituation(
        now=now,
        opened_at=file.case.opened_at,
        retry=retry,
        declined=last,
        exhausted_at=file.case.closed_at if file.case.state is CaseState.EXHAUSTED else None,
        settled=tuple(step.key for step in file.steps if step.key is not None and _had_its_turn(step)),
        customer_zone=file.customer_zone,
        country=file.country,
    )


def plan_dunning(draft: Draft, policy: CompiledPolicy, facts: RetryFacts | None = None) -> None:
    """Decide which steps are still to come and plan, move and skip until the timeline says so.

    A case that is paused or over is left alone: whoever paused or ended it has skipped its steps. A decision that
    changes nothing is not written down, except the first.
    """
    file = draft.file
    if file.case.state not in _GOING_ON or file.payment.state is not PaymentState.OWED:
        return
    seen = dunning_facts(file, facts or facts_of(file, draft.now))
    situation = dunning_situation(file, draft.now)
    decision = decide_dunning(policy, seen, situation)
    wanted = decision.outcome.steps if isinstance(decision.outcome, Campaign) else ()
    planned = {step.key: step for step in file.planned_dunning}
    at = {step.key: place(draft, step, planned.get(step.key)) for step in wanted}
    placed = {key: each for key, each in at.items() if isinstance(each, Placed)}
    fresh = [each for key, each in placed.items() if key not in planned]
    known = [(planned[key], to) for key, to in placed.items() if key in planned]
    moved = [(step, to) for step, to in known if _differs(step, to, draft.now)]
    gone = [step for key, step in planned.items() if key not in placed]
    if not (fresh or moved or gone) and any(step.key is not None for step in file.steps):
        return
    stored = draft.keep_decision(PolicyKind.DUNNING, decision, seen, situation)
    _skip(draft, gone, decision, {key: each for key, each in at.items() if isinstance(each, str)})
    for step, to in moved:
        _move(draft, step, to)
    _plan(draft, fresh, stored)


def _had_its_turn(step: TimelineStep) -> bool:
    return step.state in (StepState.DONE, StepState.RUNNING) or REFUSED in step.detail


def _differs(step: TimelineStep, to: Placed, now: datetime) -> bool:
    """Whether a planned step must change; one that is due already stays due."""
    both_due = step.due_at <= now and to.at <= now
    return not (both_due or step.due_at == to.at) or dict(step.detail) != _as_stored(to.step.detail)


def _as_stored(detail: Mapping[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in detail.items()}


def _skip(draft: Draft, gone: Iterable[TimelineStep], decision: DunningDecision, late: Mapping[str, str]) -> None:
    reasons = {**{trace.key: trace.because[-1] for trace in decision.explanation.steps}, **late}
    otherwise = f"the rule {decision.rule!r} does not want it"
    if not isinstance(decision.outcome, Campaign):
        otherwise = f"no dunning: {decision.outcome.reason}"
    for step in gone:
        hangs = "its retry is over, or replaced" if step.retry_step_id is not None else otherwise
        draft.skip_step(step, reasons.get(step.key or "", hangs))


def _move(draft: Draft, step: TimelineStep, to: Placed) -> None:
    hold = {"held_until": to.held_until, "held_because": to.held_because}
    moved = draft.move_step(step, StepEvent.MOVE, due_at=to.at, detail=_as_stored(to.step.detail), **hold)
    draft.put_job_of(moved)
    if moved.due_at != step.due_at:
        because = "the retry moved" if to.step.retry_step_id is not None else "decided anew"
        draft.tell(EventKind.STEP_MOVED, step=str(step.id), due_at=to.at.isoformat(), because=because)


def _plan(draft: Draft, fresh: Sequence[Placed], stored: StoredDecision) -> None:
    file, told = draft.file, []
    for placed in fresh:
        wanted = placed.step
        step = TimelineStep(
            id=new_id(),
            merchant_id=file.payment.merchant_id,
            case_id=file.case.id,
            payment_id=file.payment.id,
            kind=wanted.kind,
            due_at=placed.at,
            rule=stored.rule,
            decision_id=stored.id,
            planned_by=POLICY,
            key=wanted.key,
            detail=_as_stored(wanted.detail),
            retry_step_id=wanted.retry_step_id,
            held_until=placed.held_until,
            held_because=placed.held_because,
            created_at=draft.now,
        )
        draft.add_step(step)
        told.append({"step": str(step.id), "key": step.key, "kind": str(step.kind), "due_at": step.due_at.isoformat()})
    if told:
        draft.tell(EventKind.DUNNING_PLANNED, rule=stored.rule, steps=told)
