"""Decisions in words: which rule fired and why not those before it, what the action came to, what the limits said."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from recoup_core.rules.deciding.decide import ActionTrace, Explanation, Retry, Stop
from recoup_core.rules.deciding.dunning import Campaign, DunningExplanation, Quiet, WantedStep
from recoup_core.rules.deciding.limits import Finding
from recoup_core.rules.deciding.notice import NoticeExplanation, Notices, WantedNotice
from recoup_core.rules.deciding.notice import Quiet as NoNotice
from recoup_core.rules.deciding.refund import Approve, Deny, Incomplete, ReasonTrace, RefundExplanation, Review
from recoup_core.rules.engine.trace import ConditionTrace, Outcome, RuleTrace
from recoup_core.rules.facts import PolicyKind

VERDICTS: Final = {Outcome.TRUE: "yes", Outcome.FALSE: "no", Outcome.MISSING: "can't be told"}
OPERATORS: Final = {
    "is": "is",
    "not": "is not",
    "in": "is one of",
    "not in": "is none of",
    "lt": "is below",
    "lte": "is at most",
    "gt": "is above",
    "gte": "is at least",
    "between": "is between",
    "exists": "is known",
    "missing": "is missing",
}


_REASONS: Final = {
    "waits_used_up": "all waits of `after` are used up",
    "max_reached": "`max` retries were made",
    "window_closed": "the next allowed time comes after `within` has ended, or never",
    "blocked_by_limits": "the limits allow no retry at all",
    "no_time_within_limits": "the limits allow none while the rule does",
}

AnyOutcome = Retry | Stop | Campaign | Quiet | Notices | NoNotice | Approve | Review | Deny | Incomplete
AnyExplanation = Explanation | DunningExplanation | NoticeExplanation | RefundExplanation


_STORED: Final[Mapping[PolicyKind, tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]]] = {
    PolicyKind.RETRY: (msgspec.json.Decoder(Retry | Stop), msgspec.json.Decoder(Explanation)),
    PolicyKind.DUNNING: (msgspec.json.Decoder(Campaign | Quiet), msgspec.json.Decoder(DunningExplanation)),
    PolicyKind.NOTICE: (msgspec.json.Decoder(Notices | NoNotice), msgspec.json.Decoder(NoticeExplanation)),
    PolicyKind.REFUND: (
        msgspec.json.Decoder(Approve | Review | Deny | Incomplete),
        msgspec.json.Decoder(RefundExplanation),
    ),
}


def stored_words(
    kind: PolicyKind, outcome: bytes | msgspec.Raw, explanation: bytes | msgspec.Raw, *, full: bool = True
) -> tuple[str, ...]:
    """Return a decision as it was stored, in words: its outcome first, then how it came about."""
    of_outcome, of_explanation = _STORED[kind]
    lines = explanation_lines(of_explanation.decode(explanation), full=full)
    return (outcome_words(of_outcome.decode(outcome)), *lines)


def moment(at: datetime) -> str:
    """Return a time as people read it; always UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def outcome_words(outcome: AnyOutcome) -> str:
    """Say in one line what was decided."""
    match outcome:
        case Retry():
            return f"try again at {moment(outcome.at)}, through {outcome.gateway}"
        case Stop():
            return f"stop: {_plain(outcome.reason)}"
        case Campaign():
            return f"{_counted('dunning step', outcome.steps)} to come{_first(outcome.steps)}"
        case Quiet():
            return f"no dunning: {_plain(outcome.reason)}"
        case Notices():
            return f"{_counted('notice', outcome.steps)} to come{_first(outcome.steps)}"
        case NoNotice():
            return f"no notice: {_plain(outcome.reason)}"
        case Approve():
            return "approve"
        case Review():
            return f"review: {''.join(_review_words(outcome))}"
        case Deny():
            return f"deny: {_plain(outcome.reason)}"
        case Incomplete():
            return f"incomplete: {', '.join(map(_plain, outcome.missing))} needed"


def _counted(what: str, steps: Sequence[WantedStep | WantedNotice]) -> str:
    return f"{len(steps)} {what}{'s' if len(steps) != 1 else ''}"


def _first(steps: Sequence[WantedStep | WantedNotice]) -> str:
    return f", the first one at {moment(steps[0].at)}" if steps else ""


def _review_words(review: Review) -> Iterator[str]:
    yield ", then ".join(" or ".join(level) for level in review.levels)
    if review.limit is not None:
        yield f", who may decide up to {review.limit} alone"
    if review.decide_by is not None:
        yield f", by {moment(review.decide_by)}"
    if review.escalate_to:
        yield f", after that also {' or '.join(review.escalate_to)}"
    if review.expires_at is not None:
        yield f", closed at {moment(review.expires_at)}"


def explanation_lines(explanation: AnyExplanation, *, full: bool = True) -> Iterator[str]:
    """Yield the explanation, the rules in the file's order; unless `full`, those that did not fire are only counted."""
    if isinstance(explanation, RefundExplanation):
        yield _reason_words(explanation.reason)
    passed_over = sum(1 for rule in explanation.rules if not rule.fired)
    if passed_over and not full:
        yield f"no     {passed_over} rule{'s' if passed_over > 1 else ''} before it (--why shows them)"
    for rule in explanation.rules:
        if full or rule.fired:
            yield from _rule_lines(rule)
    if isinstance(explanation, DunningExplanation | NoticeExplanation):
        for step in explanation.steps:
            when = moment(step.at) if step.at else "not planned"
            yield f"{step.key.partition('#')[0]}: {when}: {'; '.join(step.because)}"
        return
    for action in explanation.actions:
        yield from _action_lines(action)


def _reason_words(reason: ReasonTrace) -> str:
    if reason.listed is None:
        return f"reason {_plain(reason.given)}: any will do"
    if not reason.listed:
        return f"reason {_plain(reason.given)}: not in the policy's list, which is {', '.join(reason.allowed)}"
    needed = f", needs {', '.join(map(_plain, reason.evidence))}" if reason.evidence else ""
    missing = f", still missing: {', '.join(map(_plain, reason.missing))}" if reason.missing else ""
    return f"reason {_plain(reason.given)}: in the policy's list{needed}{missing}"


def _plain(word: str) -> str:
    return str(word).replace("_", " ")


def _rule_lines(rule: RuleTrace) -> Iterator[str]:
    yield f"{'fires' if rule.fired else 'no':<6} {rule.rule}  (line {rule.line})"
    for condition in rule.conditions:
        yield f"         {_condition_words(condition)}"


def _condition_words(condition: ConditionTrace) -> str:
    words = OPERATORS.get(condition.operator, condition.operator)
    expected = _listed(condition.expected) if condition.operator not in ("exists", "missing") else ""
    asked = f"{condition.fact} {words} {expected}".rstrip()
    actual = "missing" if condition.actual is None else _value(condition.actual)
    inside = " (inside a `not`)" if "not" in condition.path.split(".")[:-1] else ""
    return f"{asked}?  {VERDICTS[condition.verdict]}, it is {actual}{inside}"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(_value(value) for value in values)


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _action_lines(action: ActionTrace) -> Iterator[str]:
    because = "; ".join(in_plain_words(each.removeprefix("stop: ")) for each in action.because)
    yield f"{action.action}: {'' if action.applied else 'does not apply: '}{because}"
    for finding in action.limits:
        yield f"         limit {finding_words(finding)}"


def in_plain_words(because: str) -> str:
    """Say what a reason of `DoesNotApply` means; decisions keep the code, other reasons are words already."""
    return _REASONS.get(because, because)


def finding_words(finding: Finding) -> str:
    """Say in one line what a limit said."""
    until = f", not before {moment(finding.until)}" if finding.until else ""
    return f"{finding.rule}: {finding.message}{until}"
