"""Why a rule fired and those before it did not: every comparison with what was expected, found and concluded."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.closures import Closure, closure
from recoup_core.rules.conditions import Comparison, Literal, comparisons
from recoup_core.rules.facts import FACTS, RetryFacts
from recoup_core.rules.schema import Rule


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


def trace_rules(rules: Sequence[tuple[Rule, Closure | None]], facts: RetryFacts) -> tuple[RuleTrace, ...]:
    """Trace each rule up to and including the first that fires; rules come with their closure, the last with None."""
    traces: list[RuleTrace] = []
    for rule, test in rules:
        verdict = _outcome(True if test is None else test(facts))
        leaves = () if rule.when is None else comparisons(rule.when)
        fired = verdict is Outcome.TRUE
        conditions = tuple(_trace(leaf, facts) for leaf in leaves)
        traces.append(RuleTrace(rule=rule.name, line=rule.line, fired=fired, verdict=verdict, conditions=conditions))
        if fired:
            break
    return tuple(traces)


def _trace(leaf: Comparison, facts: RetryFacts) -> ConditionTrace:
    actual = FACTS[leaf.fact].get(facts)
    return ConditionTrace(
        fact=leaf.fact,
        operator=leaf.op.value,
        expected=_expected(leaf),
        actual=str(actual) if isinstance(actual, (Money, str)) else actual,
        verdict=_outcome(closure(leaf)(facts)),
        path=leaf.path,
        line=leaf.line,
    )


def _expected(leaf: Comparison) -> tuple[Literal, ...]:
    amounts = tuple(str(Money(bound, currency)) for currency, bounds in leaf.money for bound in bounds)
    return leaf.values or amounts


def _outcome(verdict: bool | None) -> Outcome:
    if verdict is None:
        return Outcome.MISSING
    return Outcome.TRUE if verdict else Outcome.FALSE
