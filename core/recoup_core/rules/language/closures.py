"""The plain evaluator: conditions as closures over facts, in three-valued logic.

It is the oracle that the engine is held to, the fallback when the engine can't answer, and the source of explanations.
True, False, or None for what can't be told because a fact is missing.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from recoup_core.rules.facts import FactKind, Facts
from recoup_core.rules.language.conditions import All, AnyOf, Comparison, Condition, Literal, Named, Not, Op

Verdict = bool | None
Closure = Callable[[Facts], Verdict]

_TESTS: Final[Mapping[Op, Callable[[tuple[Any, ...]], Callable[[Any], bool]]]] = {
    Op.IS: lambda values: lambda actual: bool(actual == values[0]),
    Op.IN: lambda values: frozenset(values).__contains__,
    Op.NOT: lambda values: lambda actual: bool(actual != values[0]),
    Op.NOT_IN: lambda values: lambda actual: actual not in values,
    Op.LT: lambda values: lambda actual: bool(actual < values[0]),
    Op.LTE: lambda values: lambda actual: bool(actual <= values[0]),
    Op.GT: lambda values: lambda actual: bool(actual > values[0]),
    Op.GTE: lambda values: lambda actual: bool(actual >= values[0]),
    Op.BETWEEN: lambda values: lambda actual: bool(values[0] <= actual <= values[1]),
}


def closure(condition: Condition) -> Closure:
    """Compile a condition; a rule fires only when the closure says True."""
    match condition:
        case Comparison():
            return _comparison(condition)
        case All(parts):
            return _all(tuple(closure(part) for part in parts))
        case AnyOf(parts):
            return _any(tuple(closure(part) for part in parts))
        case Not(part):
            return _not(closure(part))
        case Named(_, part):
            return closure(part)


def _comparison(leaf: Comparison) -> Closure:
    get = leaf.fact.get
    if leaf.op is Op.EXISTS:
        return lambda facts: get(facts) is not None
    if leaf.op is Op.MISSING:
        return lambda facts: get(facts) is None
    if leaf.fact.kind is FactKind.MONEY:
        return _money(leaf)
    test = _TESTS[leaf.op](leaf.values)

    def compare(facts: Facts) -> Verdict:
        actual: Literal | None = get(facts)
        return None if actual is None else test(actual)

    return compare


def _money(leaf: Comparison) -> Closure:
    get = leaf.fact.get
    tests = {currency: _TESTS[leaf.op](bounds) for currency, bounds in leaf.money}

    def compare(facts: Facts) -> Verdict:
        actual = get(facts)
        test = None if actual is None else tests.get(actual.currency)
        return None if test is None else test(actual.amount_minor)

    return compare


def _all(parts: tuple[Closure, ...]) -> Closure:
    def every(facts: Facts) -> Verdict:
        verdict: Verdict = True
        for part in parts:
            one = part(facts)
            if one is False:
                return False
            if one is None:
                verdict = None
        return verdict

    return every


def _any(parts: tuple[Closure, ...]) -> Closure:
    def some(facts: Facts) -> Verdict:
        verdict: Verdict = False
        for part in parts:
            one = part(facts)
            if one is True:
                return True
            if one is None:
                verdict = None
        return verdict

    return some


def _not(part: Closure) -> Closure:
    def inverse(facts: Facts) -> Verdict:
        verdict = part(facts)
        return None if verdict is None else not verdict

    return inverse
