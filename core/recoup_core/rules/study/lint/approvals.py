"""Refund policies along the amount: gaps and overlaps between what rules of different strictness are for.

How strict an outcome is: an approval 0, a review as many as it has levels (1 where a level's limit covers the amount),
a denial beyond all. All else equal (every other fact the same, the same currency):

- `approval_overlap`, cheaper when dearer: a larger amount needs fewer levels than a smaller one. Denials don't count.
- `approval_overlap`, crossing: of two rules that ask the same of everything but the amount, some amounts make only the
  first one's condition true, some both and some only the second one's, and they are not equally strict. The bands were
  meant to follow each other; what they share goes to the rule that happens to stand first. Bands inside each other are
  the usual way to write steps.
- `approval_gap`: an amount falls through to the last rule while a smaller and a larger one are decided by rules with a
  `when`, and the last rule is stricter, or less strict, than both.

Each is decided by one question that has the amount twice or three times.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.language.as_given import given_text, minimal_given
from recoup_core.rules.language.conditions import All, walk
from recoup_core.rules.language.errors import Problem, shown
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.bands import DENIED, Band, bands, limit_conditions, strictness
from recoup_core.rules.study.formulas import ALWAYS, Budget, Formula, In, OutOfBudget, Point, holds
from recoup_core.rules.study.lint.finding import finding, named
from recoup_core.rules.study.reach import Rules
from recoup_core.rules.study.solve import Solver, nearer, scope_condition
from recoup_core.rules.study.space import AMOUNT, Space

MAX_RULES: Final = 200
"""Rules of a policy that are held against each other; more of them take too long."""

MAX_TOLD: Final = 10
"""Findings of one sort in one policy."""


class Seen(msgspec.Struct, frozen=True):
    """Amounts in order, all else equal, and what else is so."""

    amounts: tuple[Money, ...]
    rules: tuple[Rule, ...]
    given: str


def approvals(policy: Policy, budget: Budget) -> Iterator[Problem]:
    """Yield the gaps and overlaps of a refund policy along the amount."""
    if not limit_conditions(policy) and not any(AMOUNT in _facts(rule) for rule in policy.rules):
        return
    if len(policy.rules) > MAX_RULES:
        message = f"amounts of more than {MAX_RULES} rules are not held against each other"
        yield finding("lint_undecided", policy, policy.rules[MAX_RULES].line, message)
        return
    along = _Along(policy)
    try:
        yield from along.cheaper(budget)
        yield from along.crossing(budget)
        yield from along.gaps(budget)
    except OutOfBudget:
        message = "whether larger amounts need fewer levels took too long to decide"
        yield finding("lint_undecided", policy, policy.rules[0].line, message)


class _Along:
    """One policy with three amounts: those of the first, the second and the third place, in rising order."""

    def __init__(self, policy: Policy) -> None:
        scope = scope_condition(policy.applies_to)
        conditions = [rule.when for rule in policy.rules]
        asked = [each for each in (*conditions, scope, *limit_conditions(policy)) if each is not None]
        space = Space(asked, policy.vocabulary)
        self._policy = policy
        self._axis = space.axis(AMOUNT)
        self._solver = Solver(space, copied=(self._axis, self._axis))
        self._places = (self._axis, len(space.axes), len(space.axes) + 1)
        self._rules = Rules(self._solver, conditions)
        self._bands = [bands(policy, number, self._solver) for number in range(len(policy.rules))]
        self._scope = ALWAYS if scope is None else self._solver.formula(scope)
        self._home = (*space.point(policy.baseline), *(space.point(policy.baseline)[self._axis],) * 2)

    def cheaper(self, budget: Budget) -> Iterator[Problem]:
        """Yield rules that ask fewer levels for more money."""
        every = [band for each in self._bands for band in each]
        pairs = [(one, two) for two in every for one in every if two.strictness < one.strictness < DENIED]
        told: set[int] = set()
        for small, large in pairs:
            if large.rule in told or len(told) >= MAX_TOLD:
                continue
            seen = self._seen([self._fires(small, 0), self._fires(large, 1)], 2, budget)
            if seen is not None:
                told.add(large.rule)
                yield self._cheaper(seen)

    def crossing(self, budget: Budget) -> Iterator[Problem]:
        """Yield rules whose bands of amounts cut each other."""
        rules, told = self._policy.rules, 0
        besides = [self._besides(rule) for rule in rules]
        for first, second in combinations(range(len(rules)), 2):
            ladder = besides[first] is not None and besides[first] == besides[second]
            if not ladder or self._steps(first) == self._steps(second) or told >= MAX_TOLD:
                continue
            seen = self._crossed(first, second, budget)
            if seen is not None:
                told += 1
                yield self._crossing(seen, rules[first], rules[second])

    def gaps(self, budget: Budget) -> Iterator[Problem]:
        """Yield an amount between two that named rules decide, and that only the last rule is left for."""
        *others, last = self._bands
        above = [band for each in others for band in each]
        for looser in (True, False):
            found = (seen for band in last if (seen := self._gap_at(band, above, looser, budget)) is not None)
            seen = next(found, None)
            if seen is not None:
                yield self._gap(seen)

    def _gap_at(self, band: Band, above: Sequence[Band], looser: bool, budget: Budget) -> Seen | None:
        """Return an amount of the last rule's band between two that looser, or stricter, rules decide."""
        unlike = [each for each in above if each.strictness != band.strictness]
        around = [each for each in unlike if (each.strictness < band.strictness) is looser]
        if not around:
            return None
        return self._seen([self._one_of(around, 0), self._fires(band, 1), self._one_of(around, 2)], 3, budget)

    def _steps(self, number: int) -> frozenset[int]:
        """Return how strict a rule is, whatever the amount."""
        return frozenset(band.strictness for band in self._bands[number])

    def _besides(self, rule: Rule) -> Formula | None:
        """Return what a rule asks besides bounds of the amount; None: it has none, or they can't be told apart."""
        parts = rule.when.parts if isinstance(rule.when, All) else () if rule.when is None else (rule.when,)
        bounds = [part for part in parts if {leaf.fact.name for leaf in walk(part)} == {AMOUNT}]
        rest = [part for part in parts if part not in bounds]
        if not bounds or any(leaf.fact.name == AMOUNT for part in rest for leaf in walk(part)):
            return None
        return self._solver.both([self._solver.formula(part) for part in rest])

    def _crossed(self, first: int, second: int, budget: Budget) -> Seen | None:
        one, other = self._rules.holds[first], self._rules.holds[second]
        not_one, not_other = self._rules.fails(first), self._rules.fails(second)
        for low, high in (((one, not_other), (not_one, other)), ((not_one, other), (one, not_other))):
            goals = [
                *(self._at(each, 0) for each in low),
                *(self._at(each, 1) for each in (one, other)),
                *(self._at(each, 2) for each in high),
            ]
            seen = self._seen(goals, 3, budget)
            if seen is not None:
                return seen
        return None

    def _seen(self, goals: Sequence[Formula], places: int, budget: Budget) -> Seen | None:
        """Return amounts in rising order at which the goals hold; as many as there are places in use."""
        rising = [self._rising(place, place + 1) for place in range(places - 1)]
        asked = [self._scope, self._at(self._scope, 1), self._at(self._scope, 2), *goals, *rising]
        point = self._solver.search(asked, self._home, budget)
        if point is None:
            return None
        near = nearer(point, self._home, lambda moved: all(holds(each, moved) for each in asked))
        return self._told_at(near, places)

    def _told_at(self, point: Point, places: int) -> Seen:
        space, policy = self._solver.space, self._policy
        own = list(point[: len(space.axes)])
        amounts: list[Money] = []
        rules: list[Rule] = []
        for place in self._places[:places]:
            own[self._axis] = point[place]
            facts = space.facts(own, policy.baseline)
            amounts.append(facts.amount)
            rules.append(policy.rules[self._rules.first(tuple(own) + self._home[len(space.axes) :])])
        given = minimal_given(facts, policy.vocabulary, policy.baseline)
        rest = {name: value for name, value in given.items() if name != AMOUNT}
        return Seen(tuple(amounts), tuple(rules), f", all else equal ({given_text(rest)})" if rest else "")

    def _fires(self, band: Band, place: int) -> Formula:
        before = [self._rules.fails(earlier) for earlier in range(band.rule)]
        return self._at(self._solver.both([self._rules.holds[band.rule], band.amounts, *before]), place)

    def _one_of(self, several: Sequence[Band], place: int) -> Formula:
        return self._solver.either([self._fires(band, place) for band in several])

    def _at(self, formula: Formula, place: int) -> Formula:
        return self._solver.moved(formula, self._axis, self._places[place])

    def _rising(self, low: int, high: int) -> Formula:
        """Return that the amount of one place is less than that of the next, in the same currency."""
        cells = self._solver.space.axes[self._axis].cells
        steps: list[Formula] = []
        for number, cell in enumerate(cells):
            above = sum(1 << n for n, other in enumerate(cells) if other.words == cell.words and n > number)
            if above:
                below = In(self._places[low], 1 << number)
                steps.append(self._solver.both([below, In(self._places[high], above)]))
        return self._solver.either(steps)

    def _cheaper(self, seen: Seen) -> Problem:
        small, large = seen.rules
        less, more = seen.amounts
        message = (
            f"{more} needs {_needs(large, more)}, but the smaller {less} needs {_needs(small, less)}"
            f"{seen.given}: {named([small])}"
        )
        return finding("approval_overlap", self._policy, large.line, message, rule=large.name)

    def _crossing(self, seen: Seen, first: Rule, second: Rule) -> Problem:
        message = (
            f"its amounts and those of {named([first])} overlap without the ones being inside the others: "
            f"{seen.amounts[1]} is in both and goes to {shown(first.name)}{seen.given}"
        )
        return finding("approval_overlap", self._policy, second.line, message, rule=second.name)

    def _gap(self, seen: Seen) -> Problem:
        low, last, high = seen.rules
        less, amount, more = seen.amounts
        message = (
            f"{amount} falls through to this last rule ({_needs(last, amount)}), while {less} is for "
            f"{named([low])} and {more} for {named([high])}{seen.given}"
        )
        return finding("approval_gap", self._policy, last.line, message, rule=last.name)


def _needs(rule: Rule, amount: Money) -> str:
    """Say what the outcome of a rule asks for."""
    levels = strictness(rule, amount)
    if not levels:
        return "no review"
    return "a denial" if levels == DENIED else f"{levels} level{'s' if levels > 1 else ''} of review"


def _facts(rule: Rule) -> set[str]:
    return set() if rule.when is None else {leaf.fact.name for leaf in walk(rule.when)}
