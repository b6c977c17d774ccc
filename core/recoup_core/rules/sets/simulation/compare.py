"""Two outcomes of one decision, in history and under the new text, and in what they differ."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.dunning import Campaign, Quiet, WantedStep
from recoup_core.rules.deciding.refund import Approve, Deny, Incomplete, Review
from recoup_core.rules.deciding.words import moment
from recoup_core.rules.sets.simulation.report import SimulationReport

CHANGES: Final[Mapping[str, str]] = {
    "stops": "stops where history went on",
    "goes_on": "goes on where history stopped",
    "may_go_on": "may go on where history stopped",
    "other_reason": "stops for another reason",
    "earlier": "tries earlier",
    "later": "tries later",
    "other_credential": "tries another credential",
    "other_gateway": "tries through another gateway",
    "dunning_starts": "starts dunning where there was none",
    "dunning_ends": "has no dunning where there was some",
    "steps_added": "adds dunning steps",
    "steps_dropped": "drops dunning steps",
    "steps_moved": "moves dunning steps",
    "approves": "approves what history did not",
    "reviews": "asks people where history did not",
    "denies": "denies what history did not",
    "asks_for_evidence": "asks for evidence where history did not",
    "other_levels": "asks other people",
}
"""Kinds of change, in words that follow "the new text"."""

MAX_STEPS_TOLD: Final = 6
"""Dunning steps that an example names."""


class PastRetry(msgspec.Struct, frozen=True, kw_only=True, tag="retry"):
    """A retry as history has it: what isn't known is not compared."""

    at: datetime | None = None
    credential_id: UUID | None = None
    gateway: str | None = None


class PastStop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """A stop as history has it."""

    reason: str | None = None


PAST: Final[Mapping[str, Any]] = {
    "retry": msgspec.json.Decoder(PastRetry | PastStop),
    "dunning": msgspec.json.Decoder(Campaign | Quiet),
    "refund": msgspec.json.Decoder(Approve | Review | Deny | Incomplete),
}
"""How each kind's past outcome is read."""


def retry_changes(before: PastRetry | PastStop, after: PastRetry | PastStop, report: SimulationReport) -> list[str]:
    """Return the kinds of change between two retry outcomes, and count what moves."""
    if isinstance(before, PastStop) or isinstance(after, PastStop):
        report.count(report.stops, _reason(before), _reason(after))
    match before, after:
        case PastRetry(), PastStop():
            return ["stops"]
        case PastStop(), PastRetry():
            return ["goes_on" if after.at is not None else "may_go_on"]
        case PastStop(), PastStop():
            return ["other_reason"] if _known_differ(before.reason, after.reason) else []
        case PastRetry(), PastRetry():
            return _retries(before, after, report)
    raise TypeError(f"{type(before).__name__} can't be compared with {type(after).__name__}")


def _retries(before: PastRetry, after: PastRetry, report: SimulationReport) -> list[str]:
    changes: list[str] = []
    if before.at is not None and after.at is not None and before.at != after.at:
        moved = after.at - before.at
        way = "later" if after.at > before.at else "earlier"
        (report.later if way == "later" else report.earlier).add(moved)
        changes.append(way)
    if _known_differ(before.credential_id, after.credential_id):
        changes.append("other_credential")
    if _known_differ(before.gateway, after.gateway):
        changes.append("other_gateway")
    return changes


def dunning_changes(before: Campaign | Quiet, after: Campaign | Quiet, report: SimulationReport) -> list[str]:
    """Return the kinds of change between two campaigns, and count their steps."""
    report.count(report.steps, _kinds(before), _kinds(after))
    if isinstance(before, Quiet) or isinstance(after, Quiet):
        report.count(report.stops, _reason(before), _reason(after))
    match before, after:
        case Quiet(), Campaign():
            return ["dunning_starts"] if after.steps else []
        case Campaign(), Quiet():
            return ["dunning_ends"] if before.steps else []
        case Quiet(), Quiet():
            return ["other_reason"] if before.reason != after.reason else []
        case Campaign(), Campaign():
            return _campaigns(before, after, report)
    raise TypeError(f"{type(before).__name__} can't be compared with {type(after).__name__}")


def _campaigns(before: Campaign, after: Campaign, report: SimulationReport) -> list[str]:
    was, now = _by_key(before), _by_key(after)
    changes = ["steps_added"] if now.keys() - was.keys() else []
    changes += ["steps_dropped"] if was.keys() - now.keys() else []
    moved = [(was[key].at, now[key].at) for key in was.keys() & now.keys() if was[key].at != now[key].at]
    for old, new in moved:
        (report.later if new > old else report.earlier).add(new - old)
    return changes + (["steps_moved"] if moved else [])


_ANSWERS: Final[Mapping[type, str]] = {
    Approve: "approves",
    Review: "reviews",
    Deny: "denies",
    Incomplete: "asks_for_evidence",
}


_ANSWER: Final[Mapping[type, str]] = {Approve: "approve", Review: "review", Deny: "deny", Incomplete: "incomplete"}


def refund_changes(before: Any, after: Any, report: SimulationReport) -> list[str]:
    """Return the kinds of change between two answers to a refund, and count them."""
    report.count(report.answers, [_answer(before)], [_answer(after)])
    if type(before) is not type(after):
        return [_ANSWERS[type(after)]]
    match before, after:
        case Review(), Review() if _people(before) != _people(after):
            return ["other_levels"]
        case Review(), Review():
            return _reviews(before, after)
        case Deny(), Deny() if before.reason != after.reason:
            return ["other_reason"]
        case Incomplete(), Incomplete() if before.missing != after.missing:
            return ["asks_for_evidence"]
    return []


def _people(review: Review) -> object:
    """Return who may decide, whatever the order in which roles are written."""
    return tuple(frozenset(level) for level in review.levels), frozenset(review.escalate_to)


def _reviews(before: Review, after: Review) -> list[str]:
    """Return how the times of two reviews by the same people differ, as far as both are known."""
    for old, new in ((before.decide_by, after.decide_by), (before.expires_at, after.expires_at)):
        if old is not None and new is not None and old != new:
            return ["later" if new > old else "earlier"]
    return []


def outcome_words(outcome: Any) -> str:
    """Say in one line what was decided, or would be."""
    match outcome:
        case PastRetry():
            when = f"a retry at {moment(outcome.at)}" if outcome.at else "a retry"
            return f"{when}, through {outcome.gateway}" if outcome.gateway else when
        case PastStop() | Quiet() | Deny():
            word = {PastStop: "stop", Quiet: "no dunning", Deny: "denied"}[type(outcome)]
            return f"{word}: {outcome.reason.replace('_', ' ')}" if outcome.reason else word
        case Campaign():
            return _campaign_words(outcome)
        case Review():
            return "review by " + ", then ".join(" or ".join(level) for level in outcome.levels)
        case Incomplete():
            return f"evidence is missing: {', '.join(outcome.missing)}"
    return "approved"


def _campaign_words(campaign: Campaign) -> str:
    told = [f"{step.kind.replace('_', ' ')} {moment(step.at)}" for step in campaign.steps[:MAX_STEPS_TOLD]]
    more = len(campaign.steps) - len(told)
    return ", ".join([*told, *([f"{more} more"] if more else [])]) or "no step is left"


def _known_differ(before: Any, after: Any) -> bool:
    return before is not None and after is not None and before != after


def _reason(outcome: Any) -> Iterable[str]:
    return [outcome.reason or "unknown"] if isinstance(outcome, (PastStop, Quiet)) else []


def _kinds(outcome: Campaign | Quiet) -> Iterable[StepKind]:
    return Counter(step.kind for step in outcome.steps).elements() if isinstance(outcome, Campaign) else []


def _by_key(campaign: Campaign) -> dict[str, WantedStep]:
    return {step.key: step for step in campaign.steps}


def _answer(outcome: Any) -> str:
    return _ANSWER[type(outcome)]
