"""A case's story as one list in order: what was tried and why, what was decided, and what is still to come."""

from collections.abc import Iterator
from typing import Any

import msgspec

from recoup_core.domain.recovery import StepKind, StepState
from recoup_core.storage.listing import CaseStory, DecisionRow, StoredEvent
from recoup_server.schemas_out import (
    CaseOut,
    DecisionOut,
    EventOut,
    PaymentOut,
    StepOut,
    TimelineEntry,
    TimelineMessage,
    TimelineOut,
    attempt_out,
)
from recoup_server.schemas_subscriptions import request_out


def timeline_out(story: CaseStory) -> TimelineOut:
    """Return the story; every step, attempt and decision stands in it exactly once."""
    return TimelineOut(
        case=msgspec.convert(story.case, CaseOut, from_attributes=True),
        payment=msgspec.convert(story.payment, PaymentOut, from_attributes=True),
        entries=sorted(_entries(story), key=lambda entry: (entry.future, entry.at)),
        events=[event_out(event) for event in story.events],
    )


def event_out(event: StoredEvent) -> EventOut:
    """Return an event as callers see it."""
    return msgspec.convert(event, EventOut, from_attributes=True)


def _entries(story: CaseStory) -> Iterator[TimelineEntry]:
    of_step = {attempt.step_id: attempt for attempt in story.attempts if attempt.step_id is not None}
    reasons = {decision.id: decision for decision in story.decisions}
    for step in story.steps:
        made = of_step.pop(step.id, None)
        # a decision about dunning plans many steps: it stands by itself, and they name it
        why = reasons.pop(step.decision_id, None) if step.decision_id and step.kind is StepKind.RETRY else None
        future = step.state is StepState.PLANNED
        happened = made.submitted_at if made else step.finished_at
        yield TimelineEntry(
            at=step.due_at if future or happened is None else happened,
            kind="step",
            future=future,
            step=msgspec.convert(step, StepOut, from_attributes=True),
            attempt=attempt_out(made) if made else None,
            decision=decision_out(why) if why else None,
            messages=[
                msgspec.convert(each, TimelineMessage, from_attributes=True)
                for each in story.messages
                if each.step_id == step.id
            ],
            requests=[request_out(each) for each in story.requests if each.step_id == step.id],
        )
    for request in story.requests:
        if request.step_id is None:
            yield TimelineEntry(
                at=request.created_at,
                kind="request",
                future=False,
                step=None,
                attempt=None,
                decision=None,
                requests=[request_out(request)],
            )
    for attempt in story.attempts:
        if attempt.step_id is None or attempt.step_id in of_step:
            at = attempt.submitted_at or attempt.created_at
            yield TimelineEntry(
                at=at, kind="attempt", future=False, step=None, attempt=attempt_out(attempt), decision=None
            )
    for decision in reasons.values():
        yield TimelineEntry(
            at=decision.decided_at,
            kind="decision",
            future=False,
            step=None,
            attempt=None,
            decision=decision_out(decision),
        )


def decision_out(row: DecisionRow) -> DecisionOut:
    """Return a decision as callers see it."""

    def plain(raw: msgspec.Raw) -> dict[str, Any]:
        return msgspec.json.decode(raw, type=dict[str, Any])

    return DecisionOut(
        id=row.id,
        kind=row.kind,
        policy_digest=row.policy_digest,
        rule=row.rule,
        facts=plain(row.facts),
        outcome=plain(row.outcome),
        explanation=plain(row.explanation),
        decided_at=row.decided_at,
    )
