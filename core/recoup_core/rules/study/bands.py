"""Bands of amounts: which amounts of a review which of its levels decides, as formulas over the space of facts."""

from collections.abc import Iterator
from typing import Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.language.actions.refund import DenySpec
from recoup_core.rules.language.actions.review import ReviewSpec
from recoup_core.rules.language.conditions import Comparison, Op
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.formulas import ALWAYS, Formula
from recoup_core.rules.study.solve import Solver
from recoup_core.rules.study.space import AMOUNT

DENIED: Final = 1_000
"""How strict a denial is: beyond any review."""


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts of one rule that the same people decide."""

    rule: int
    strictness: int
    """How many levels decide: none for an approval, `DENIED` for a denial."""
    amounts: Formula
    """Where the band is, among the amounts that the rule decides."""
    level: int | None = None
    """The level that decides alone, from 0; None: all do, or nobody."""


def strictness(rule: Rule, amount: Money) -> int:
    """Return how strict the outcome of a rule is for an amount."""
    by_limit = isinstance(rule.action, ReviewSpec) and rule.action.alone(amount) is not None
    return 1 if by_limit else _in_order(rule)


def _in_order(rule: Rule) -> int:
    """Return how strict the outcome of a rule is where no level decides alone."""
    match rule.action:
        case ReviewSpec(levels=levels):
            return len(levels)
        case DenySpec():
            return DENIED
        case _:
            return 0


def reviews(rule: Rule) -> tuple[ReviewSpec, ...]:
    """Return the reviews with limits that a rule can lead to."""
    specs = (action for action in (rule.action, rule.otherwise) if isinstance(action, ReviewSpec))
    return tuple(spec for spec in specs if spec.limits)


def limit_conditions(policy: Policy) -> tuple[Comparison, ...]:
    """Return the limits of all reviews as conditions, for the space in which bands are asked about."""
    return tuple(each for rule in policy.rules for spec in reviews(rule) for each in _conditions(spec, policy))


def bands(policy: Policy, number: int, solver: Solver) -> tuple[Band, ...]:
    """Return the bands of what a rule's action does; without limits it is one."""
    rule = policy.rules[number]
    if isinstance(rule.action, ReviewSpec) and rule.action.limits:
        return tuple(bands_of(rule.action, policy, number, solver))
    return (Band(rule=number, strictness=_in_order(rule), amounts=ALWAYS),)


def bands_of(spec: ReviewSpec, policy: Policy, number: int, solver: Solver) -> Iterator[Band]:
    """Yield the bands of a review with limits, in the order in which its levels are tried."""
    left: Formula = ALWAYS
    for level, condition in enumerate(_conditions(spec, policy)):
        within = solver.formula(condition)
        yield Band(rule=number, strictness=1, amounts=solver.both([left, within]), level=level)
        left = solver.both([left, solver.negated(within)])
    if len(spec.limits) < len(spec.levels):
        yield Band(rule=number, strictness=1, amounts=left, level=len(spec.limits))
    else:
        yield Band(rule=number, strictness=len(spec.levels), amounts=left)


def _conditions(spec: ReviewSpec, policy: Policy) -> Iterator[Comparison]:
    fact = policy.vocabulary.facts[AMOUNT]
    for limit in spec.limits:
        money = tuple((currency, (minor,)) for currency, minor in limit.items())
        yield Comparison(fact=fact, op=Op.LTE, money=money, path="limits", line=policy.applies_to.line)
