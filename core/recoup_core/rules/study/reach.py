"""Which facts does a rule get? Those for which it is the first of its policy whose condition is true."""

from collections.abc import Generator, Iterator, Sequence
from typing import Final

import msgspec

from recoup_core.rules.facts import Facts
from recoup_core.rules.language.conditions import Condition
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.study.formulas import ALWAYS, Both, Budget, Formula, In, OutOfBudget, Point, holds, narrow
from recoup_core.rules.study.solve import Goal, Solver, Undecided, following, nearer, scope_condition
from recoup_core.rules.study.space import Space

LAZY_ROUNDS: Final = 24

MAX_INDEXED: Final = 64
"""Sets of more cells than this tell too little to look rules up by."""

Earlier = tuple["Rules", int]
"""The rules of a policy before that one."""


class Rules:
    """A policy's rules in order, over a space that may be shared with another policy."""

    def __init__(self, solver: Solver, conditions: Sequence[Condition | None]) -> None:
        self.holds: Final = tuple(solver.goal(Goal(condition)) for condition in conditions)
        self._solver = solver
        self._fails: dict[int, Formula] = {}
        everyone = (1 << len(self.holds)) - 1
        self._free = [everyone] * len(solver.full)
        self._by_cell: list[dict[int, int]] = [{} for _ in solver.full]
        for number, formula in enumerate(self.holds):
            self._enter(number, formula)

    def fails(self, number: int) -> Formula:
        """Return where a rule's condition is not true."""
        if number not in self._fails:
            self._fails[number] = self._solver.negated(self.holds[number])
        return self._fails[number]

    def first(self, point: Point) -> int:
        """Return the rule that fires at a point; as many as there are rules when none does."""
        waiting = (1 << len(self.holds)) - 1
        for axis, bit in enumerate(point):
            waiting &= self._free[axis] | self._by_cell[axis].get(bit, 0)
        while waiting:
            lowest = waiting & -waiting
            number = lowest.bit_length() - 1
            if holds(self.holds[number], point):
                return number
            waiting ^= lowest
        return len(self.holds)

    def possible(self, formula: Formula, before: int, budget: Budget) -> tuple[int, ...]:
        """Return the rules before that one that may be true where a formula holds; none that can be is left out."""
        narrowed = narrow(self._solver.full, [formula], budget)
        if narrowed is None:
            return ()
        left = (1 << before) - 1
        for axis, cells in enumerate(narrowed[0]):
            if cells == self._solver.full[axis] or cells.bit_count() > MAX_INDEXED:
                continue
            here = self._free[axis]
            for bit in _each(cells):
                here |= self._by_cell[axis].get(bit, 0)
            left &= here
        return tuple(number for number in range(before) if left >> number & 1)

    def _enter(self, number: int, formula: Formula) -> None:
        """Note where the rule may fire, axis by axis."""
        for part in formula.parts if isinstance(formula, Both) else (formula,):
            if not isinstance(part, In) or part.cells.bit_count() > MAX_INDEXED:
                continue
            self._free[part.axis] &= ~(1 << number)
            for bit in _each(part.cells):
                self._by_cell[part.axis][bit] = self._by_cell[part.axis].get(bit, 0) | 1 << number


def _each(cells: int) -> Iterator[int]:
    """Yield the cells of a set."""
    while cells:
        bit = cells & -cells
        yield bit
        cells ^= bit


def _every(earlier: Sequence[Earlier]) -> Iterator[tuple[int, int]]:
    for which, (_, before) in enumerate(earlier):
        yield from ((which, number) for number in range(before))


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a search past earlier rules."""

    facts: Facts | None
    """None: there are none."""
    takers: tuple[tuple[int, int], ...] = ()
    """Where there are none: earlier rules that leave nothing, as (which of the given `Earlier`, rule's number)."""


class Reach:
    """Searches for facts past earlier rules; the space is that of all conditions asked about."""

    def __init__(self, solver: Solver, baseline: Facts) -> None:
        self.solver: Final = solver
        self.baseline: Final = baseline
        self.home: Final = solver.space.point(baseline)

    def find(self, goals: Sequence[Formula], earlier: Sequence[Earlier], budget: Budget) -> Reached | Undecided:
        """Return facts for which the goals hold and none of the earlier rules is true, near the baseline."""
        taken: list[tuple[int, int]] = []
        try:
            point = next(self.points(goals, earlier, budget, taken), None)
        except OutOfBudget:
            return Undecided()
        if point is None:
            return Reached(facts=None, takers=tuple(taken))
        near = nearer(
            point,
            self.home,
            lambda moved: all(holds(goal, moved) for goal in goals) and self._taker(moved, earlier) is None,
        )
        return Reached(facts=self.solver.space.facts(near, self.baseline))

    def points(
        self, goals: Sequence[Formula], earlier: Sequence[Earlier], budget: Budget, taken: list[tuple[int, int]]
    ) -> Generator[Point, Formula, None]:
        """Yield points past the earlier rules, at which what is sent in answer holds, too; raises `OutOfBudget`.

        The first `LAZY_ROUNDS` earlier rules are taken in one by one, each where a try fell to it, then all the others
        at once; they are noted in `taken`.
        """
        found = self.solver.points(goals, self.home, budget)
        point = next(found, None)
        while point is not None:
            taker = self._taker(point, earlier)
            if taker is None:
                point = following(found, (yield point))
                continue
            more = [taker]
            if len(taken) >= LAZY_ROUNDS:
                known = set(taken)
                more = [each for each in _every(earlier) if each not in known]
            taken.extend(more)
            point = following(found, Both(tuple(earlier[which][0].fails(number) for which, number in more)))

    def smallest(
        self, goals: Sequence[Formula], earlier: Sequence[Earlier], takers: Sequence[tuple[int, int]], budget: Budget
    ) -> tuple[tuple[int, int], ...]:
        """Return takers of which none can be left out; fewer are left out when the budget ends."""
        kept = list(takers)
        size = max(len(kept) // 2, 1)
        while kept:
            start = 0
            while start < len(kept):
                fewer = kept[:start] + kept[start + size :]
                fails = [earlier[which][0].fails(number) for which, number in fewer]
                try:
                    covered = self.solver.search([*goals, *fails], self.home, budget) is None
                except OutOfBudget:
                    return tuple(sorted(kept))
                if covered:
                    kept = fewer
                else:
                    start += size
            if size == 1:
                break
            size = max(size // 2, 1)
        return tuple(sorted(kept))

    def _taker(self, point: Point, earlier: Sequence[Earlier]) -> tuple[int, int] | None:
        for which, (rules, before) in enumerate(earlier):
            number = rules.first(point)
            if number < before:
                return which, number
        return None


class OnePolicy:
    """One policy's rules in a space of their own."""

    def __init__(self, policy: Policy, also: Sequence[Condition] = ()) -> None:
        """Take a policy, and further conditions that will be asked about."""
        scope = scope_condition(policy.applies_to)
        conditions = [rule.when for rule in policy.rules]
        asked = [each for each in (*conditions, scope, *also) if each is not None]
        self.policy: Final = policy
        self.solver: Final = Solver(Space(asked, policy.vocabulary))
        self.rules: Final = Rules(self.solver, conditions)
        self.scope: Final = ALWAYS if scope is None else self.solver.formula(scope)
        self.reach: Final = Reach(self.solver, policy.baseline)

    def reached(self, number: int, formula: Formula, budget: Budget) -> Reached | Undecided:
        """Return facts inside `applies_to` past the rules before that one for which a formula holds."""
        return self.reach.find([self.scope, formula], [(self.rules, number)], budget)

    def takers(self, number: int, formula: Formula, reached: Reached, budget: Budget) -> tuple[int, ...]:
        """Return the numbers of earlier rules that leave such a formula nothing; none can be left out."""
        earlier = [(self.rules, number)]
        found = self.reach.smallest([self.scope, formula], earlier, reached.takers, budget)
        return tuple(taker for _, taker in found)
