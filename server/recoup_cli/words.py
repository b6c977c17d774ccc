"""Decisions in words: which rule fired and why not those before it, what the action came to, what the limits said."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from recoup_core.rules.decide import ActionTrace, Explanation, Retry, Stop
from recoup_core.rules.limits import Finding
from recoup_core.rules.trace import ConditionTrace, Outcome, RuleTrace

VERDICTS: Final = {Outcome.TRUE: "yes", Outcome.FALSE: "no", Outcome.MISSING: "can't be told"}
OPERATORS: Final = {
    "eq": "is",
    "ne": "is not",
    "in": "is one of",
    "not_in": "is none of",
    "lt": "is below",
    "lte": "is at most",
    "gt": "is above",
    "gte": "is at least",
    "between": "is between",
    "exists": "is known",
    "missing": "is missing",
}


def moment(at: datetime) -> str:
    """Return a time as people read it; always UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def outcome_words(outcome: Retry | Stop) -> str:
    """Say in one line what was decided."""
    if isinstance(outcome, Stop):
        return f"stop: {str(outcome.reason).replace('_', ' ')}"
    return f"try again at {moment(outcome.at)}, through {outcome.gateway}"


def explanation_lines(explanation: Explanation, *, full: bool = True) -> Iterator[str]:
    """Yield the explanation, the rules in the file's order; unless `full`, those that did not fire are only counted."""
    passed_over = sum(1 for rule in explanation.rules if not rule.fired)
    if passed_over and not full:
        yield f"no     {passed_over} rule{'s' if passed_over > 1 else ''} before it (--why shows them)"
    for rule in explanation.rules:
        if full or rule.fired:
            yield from _rule_lines(rule)
    for action in explanation.actions:
        yield from _action_lines(action)


def _rule_lines(rule: RuleTrace) -> Iterator[str]:
    yield f"{'fires' if rule.fired else 'no':<6} {rule.rule}  (line {rule.line})"
    for condition in rule.conditions:
        yield f"         {_condition_words(condition)}"


def _condition_words(condition: ConditionTrace) -> str:
    words = OPERATORS.get(condition.operator, condition.operator)
    expected = _listed(condition.expected) if condition.operator not in ("exists", "missing") else ""
    asked = f"{condition.fact} {words} {expected}".rstrip()
    actual = "missing" if condition.actual is None else str(condition.actual)
    inside = " (inside a `not`)" if "not" in condition.path.split(".") else ""
    return f"{asked}?  {VERDICTS[condition.verdict]}, it is {actual}{inside}"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)


def _action_lines(action: ActionTrace) -> Iterator[str]:
    yield f"{action.action}: {'' if action.applied else 'does not apply: '}{'; '.join(action.because)}"
    for finding in action.limits:
        yield f"         limit {_finding_words(finding)}"


def _finding_words(finding: Finding) -> str:
    until = f", not before {moment(finding.until)}" if finding.until else ""
    return f"{finding.rule}: {finding.message}{until}"
