"""The publish gate: the engine and the plain evaluator must agree before a policy serves.

Asked are the baseline and the examples, and each of them with the boundary values of the comparisons (one below, at,
one above, missing). Those that most likely tell a difference come first: around each rule, the values of its own
comparisons. A large policy is not asked everything, for every answer costs up to all of its comparisons.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from itertools import islice
from typing import Any, Final

from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.rules.facts import Fact, FactKind, Facts
from recoup_core.rules.language.conditions import Comparison, comparisons
from recoup_core.rules.language.effort import reaches
from recoup_core.rules.language.schema import Policy

MAX_GATE_FACTS: Final = 10_000
"""Questions asked of one policy: the examples and own values of 2,000 usual rules."""

MAX_GATE_COMPARISONS: Final = 10_000_000
"""Comparisons the plain evaluator may need for its answers; some seconds for the largest policies, milliseconds for
usual ones."""

_OTHER_CURRENCIES: Final = ("EUR", "JPY", "KWD")
_Answer = Callable[[Facts], int]


def disagreement(policy: Policy, engine: _Answer, plain: _Answer) -> str | None:
    """Return what differs between the two, each answering with a rule's index, or None; lets their errors out."""
    reach, spent = reaches(rule.when for rule in policy.rules), 0
    for facts in islice(boundary_facts(policy), MAX_GATE_FACTS):
        fired, right = engine(facts), plain(facts)
        if fired != right:
            return f"the engine fires {policy.rules[fired].name!r} where {policy.rules[right].name!r} is right"
        spent += reach[right]
        if spent > MAX_GATE_COMPARISONS:
            break
    return None


def boundary_facts(policy: Policy) -> Iterator[Facts]:
    """Yield what the gate asks, the most telling first; a question may come twice."""
    vocabulary, baseline = policy.vocabulary, policy.baseline
    given = [(example.expect, example.facts(vocabulary, baseline)) for example in policy.examples]
    bases = [baseline, *(facts for _, facts in given)]
    yield from bases
    first = dict(reversed(given))
    for rule in policy.rules:
        leaves = () if rule.when is None else comparisons(rule.when)
        base = first.get(rule.name, baseline)
        for name, value in dict.fromkeys(_values(leaves)):
            yield vocabulary.with_fact(base, name, value)
    whole = (leaf for rule in policy.rules if rule.when is not None for leaf in comparisons(rule.when))
    values = dict.fromkeys(islice(_values(whole), MAX_GATE_FACTS))
    for base in bases:
        for name, value in values:
            yield vocabulary.with_fact(base, name, value)


def _values(leaves: Iterable[Comparison]) -> Iterator[tuple[str, Any]]:
    return ((leaf.fact.name, value) for leaf in leaves for value in _boundaries(leaf))


def _boundaries(leaf: Comparison) -> Iterator[Any]:
    fact = leaf.fact
    if fact.optional:
        yield None
    if fact.kind is FactKind.MONEY:
        yield from _amounts(leaf)
        return
    yield from _samples(fact)
    for value in leaf.values:
        if fact.kind is FactKind.INT:
            yield from _around(int(value), fact.low, fact.high)
        elif fact.kind is FactKind.DATE:
            yield from _days_around(str(value))
        else:
            yield value


def _amounts(leaf: Comparison) -> Iterator[Money]:
    listed = dict(leaf.money)
    yield from (Money(100, other) for other in _OTHER_CURRENCIES if other not in listed)
    for currency, bounds in leaf.money:
        yield from (Money(number, currency) for bound in bounds for number in _around(bound, 0, MAX_AMOUNT_MINOR))


def _samples(fact: Fact) -> tuple[Any, ...]:
    """Return values that are most likely in no list of the policy."""
    if fact.kind is FactKind.BOOL:
        return True, False
    if fact.kind is FactKind.INT:
        return (fact.low,)
    if fact.kind is FactKind.DATE:
        return ()
    return (*fact.choices[-1:], "something else")


def _days_around(text: str) -> Iterator[str]:
    """Yield the day before a date, itself and the day after, as far as there are such days."""
    number = date.fromisoformat(text).toordinal()
    for near in _around(number, date.min.toordinal(), date.max.toordinal()):
        yield date.fromordinal(near).isoformat()


def _around(bound: int, low: int, high: int) -> Iterator[int]:
    return (number for number in (bound - 1, bound, bound + 1) if low <= number <= high)
