"""Why a decision comes out otherwise: which condition, or which part of an action, is behind it."""

from typing import Final

from recoup_core.rules.deciding.words import OPERATORS, VERDICTS
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.trace import ConditionTrace, Outcome, RuleTrace
from recoup_core.rules.facts import Facts
from recoup_core.rules.sets.simulation.judge import Judged

MAX_CONDITIONS: Final = 3
"""Conditions named of one rule."""


def why(policy: CompiledPolicy, facts: Facts, rule_before: str | None, judged: Judged) -> tuple[str, ...]:
    """Return a few lines for people; `rule_before` is the rule that fired in history, where that is known."""
    said = tuple("; ".join(each.because) for each in judged.actions)
    if rule_before == judged.rule:
        return (f"the same rule, {judged.rule!r}, comes to something else", *said)
    traces = {trace.rule: trace for trace in policy.trace(facts)}
    lines: list[str] = []
    old, new = traces.get(rule_before or ""), traces.get(judged.rule)
    if old is not None and not old.fired:
        failing = [each for each in old.conditions if each.verdict is not Outcome.TRUE]
        lines.append(f"{rule_before!r} does not fire: {_conditions(failing)}")
    elif rule_before and not any(rule.name == rule_before for rule in policy.policy.rules):
        lines.append(f"there is no rule {rule_before!r} any more")
    if new is not None:
        lines.append(_fires(new))
    return (*lines, *said)


def _fires(rule: RuleTrace) -> str:
    holding = [each for each in rule.conditions if each.verdict is Outcome.TRUE]
    return f"{rule.rule!r} fires: {_conditions(holding)}" if holding else f"{rule.rule!r} fires: nothing before it does"


def _conditions(conditions: list[ConditionTrace]) -> str:
    told = [_condition(each) for each in conditions[:MAX_CONDITIONS]]
    return "; ".join(told) or "its conditions together"


def _condition(trace: ConditionTrace) -> str:
    actual = "missing" if trace.actual is None else str(trace.actual)
    expected = "" if trace.operator in ("exists", "missing") else ", ".join(str(each) for each in trace.expected)
    asked = f"{trace.fact} {OPERATORS.get(trace.operator, trace.operator)} {expected}".rstrip()
    return f"{asked}? {VERDICTS[trace.verdict]}, it is {actual}"
