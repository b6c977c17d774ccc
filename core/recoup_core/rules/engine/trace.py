"""Why a rule fired and those before it did not: every comparison with what was expected, found and concluded."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.facts import Facts
from recoup_core.rules.language.closures import Closure, closure
from recoup_core.rules.language.conditions import Comparison, Literal, comparisons
from recoup_core.rules.language.schema import Rule


class Outcome(StrEnum):
    """What a comparison or a condition came to."""

    TRUE = "true"
    FALSE = "false"
    MISSING = "missing"
    """Can't be told: the fact is missing, or the amount is in a currency that is not listed."""


class ConditionTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison. Inside a `not` (see `path`) it is shown as written, before it is turned round."""

    fact: str
    operator: str
    expected: tuple[Literal, ...]
    """The constants; amounts as texts with their currency (`20.00 USD`)."""
    actual: Literal | None
    """The fact; amounts as texts, None when missing."""
    verdict: Outcome
    path: str
    line: int


class RuleTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that was considered; `fired` on the last of them only."""

    rule: str
    line: int
    fired: bool
    verdict: Outcome
    conditions: tuple[ConditionTrace, ...]


class _Leaf(msgspec.Struct, frozen=True):
    """A comparison ready to be traced, so that a decision only looks up the fact and evaluates."""

    comparison: Comparison
    expected: tuple[Literal, ...]
    test: Closure
    get: Callable[[Facts], Any]


class TracedRule(msgspec.Struct, frozen=True):
    """A rule ready to be traced."""

    rule: Rule
    test: Closure | None
    """None: the last rule, which always fires."""
    leaves: tuple[_Leaf, ...]


def traced_rule(rule: Rule, test: Closure | None) -> TracedRule:
    """Prepare a rule with its closure, once per policy."""
    leaves = () if rule.when is None else comparisons(rule.when)
    ready = tuple(_Leaf(leaf, _expected(leaf), closure(leaf), leaf.fact.get) for leaf in leaves)
    return TracedRule(rule, test, ready)


def trace_rules(rules: Iterable[TracedRule], facts: Facts) -> tuple[RuleTrace, ...]:
    """Trace each rule up to and including the first that fires."""
    traces: list[RuleTrace] = []
    for each in rules:
        rule, test = each.rule, each.test
        verdict = _outcome(True if test is None else test(facts))
        fired = verdict is Outcome.TRUE
        conditions = tuple([_trace(leaf, facts) for leaf in each.leaves])
        traces.append(RuleTrace(rule=rule.name, line=rule.line, fired=fired, verdict=verdict, conditions=conditions))
        if fired:
            break
    return tuple(traces)


def _trace(leaf: _Leaf, facts: Facts) -> ConditionTrace:
    actual, comparison = leaf.get(facts), leaf.comparison
    return ConditionTrace(
        fact=comparison.fact.name,
        operator=comparison.op,
        expected=leaf.expected,
        actual=str(actual) if isinstance(actual, (Money, str)) else actual,
        verdict=_outcome(leaf.test(facts)),
        path=comparison.path,
        line=comparison.line,
    )


def _expected(leaf: Comparison) -> tuple[Literal, ...]:
    amounts = tuple(str(Money(bound, currency)) for currency, bounds in leaf.money for bound in bounds)
    return leaf.values or amounts


def _outcome(verdict: bool | None) -> Outcome:
    if verdict is None:
        return Outcome.MISSING
    return Outcome.TRUE if verdict else Outcome.FALSE
