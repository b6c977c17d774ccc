"""Are there facts for which these conditions hold and those do not? Decided, never guessed.

Over the cells of `rules/study/space.py` "the condition is true" and "it is not true" are formulas of and, or and "the
fact lies in these cells": the third truth value is gone, for a comparison that can't be told is in neither set. What
is left is a finite search: narrow every axis to what the formulas force, try the point nearest the baseline, else
split an axis where the point fails. It ends with facts, or with the certainty that there are none, or past its budget
as undecided.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from recoup_core.rules.facts import Facts, Vocabulary
from recoup_core.rules.language.applies import FOREVER, PAID_ON, AppliesTo
from recoup_core.rules.language.conditions import All, AnyOf, Comparison, Condition, Named, Not, Op
from recoup_core.rules.study.formulas import (
    ALWAYS,
    NEVER,
    Both,
    Budget,
    Either,
    Formula,
    In,
    OutOfBudget,
    Point,
    first_in,
    holds,
    narrow,
    nearest,
    opened,
    width,
)
from recoup_core.rules.study.space import Space


class Wanted(StrEnum):
    """What a condition shall come to."""

    TRUE = "true"
    NOT_TRUE = "not true"
    """False, or not to be told."""


class Goal(msgspec.Struct, frozen=True):
    """A condition (None: the one that is always true) and what it shall come to."""

    condition: Condition | None
    wanted: Wanted = Wanted.TRUE


class Undecided(msgspec.Struct, frozen=True):
    """The budget was used up; there may be such facts or not."""


def find(
    goals: Sequence[Goal], vocabulary: Vocabulary, only: AppliesTo | None = None, budget: Budget | None = None
) -> Facts | Undecided | None:
    """Return facts inside `only` for which every condition comes to what is wanted; None: there are none.

    They are the vocabulary's baseline (moved into `only`) with few facts changed, and valid for an example's `given`.
    """
    scope = None if only is None else scope_condition(only)
    asked = [goal.condition for goal in goals if goal.condition is not None]
    solver = Solver(Space([*asked, *([scope] if scope is not None else [])], vocabulary))
    formulas = [solver.goal(goal) for goal in (*goals, Goal(scope))]
    baseline = vocabulary.baseline if only is None else only.baseline(vocabulary.baseline)
    budget = budget or Budget()
    try:
        point = solver.search(formulas, solver.space.point(baseline), budget)
    except OutOfBudget:
        return Undecided()
    if point is None:
        return None
    near = nearer(point, solver.space.point(baseline), lambda moved: all(holds(each, moved) for each in formulas))
    return solver.space.facts(near, baseline)


def scope_condition(only: AppliesTo) -> Condition | None:
    """Return `applies_to` and `effective` as a condition; None where they leave everything free."""
    known = only.vocabulary.facts
    parts = [
        Comparison(fact=known[name], op=Op.IN, values=values, path=name, line=only.line)
        for name, values in only.only.items()
    ]
    if only.effective != FOREVER:
        dates = Comparison(fact=known[PAID_ON], op=Op.BETWEEN, values=only.effective, path=PAID_ON, line=only.line)
        parts.append(dates)
    return All(tuple(parts)) if parts else None


class Solver:
    """Answers questions over one space."""

    def __init__(self, space: Space, copied: Sequence[int] = ()) -> None:
        """Take a space; a question may also be about further values of the `copied` axes (`moved`)."""
        self.space: Final = space
        own = tuple(axis.full for axis in space.axes)
        self.full: Final = (*own, *(own[axis] for axis in copied))

    def goal(self, goal: Goal) -> Formula:
        """Return what a goal asks for."""
        if goal.condition is None:
            return ALWAYS if goal.wanted is Wanted.TRUE else NEVER
        holds = self.formula(goal.condition)
        return holds if goal.wanted is Wanted.TRUE else self.negated(holds)

    def formula(self, condition: Condition, *, truth: bool = True) -> Formula:
        """Return where a condition is true; or, with `truth=False`, where it is false (which is less than not true)."""
        match condition:
            case Comparison():
                axis = self.space.axis(condition.fact.name)
                true, false = self.space.axes[axis].where(condition)
                return self._in(axis, true if truth else false)
            case All(parts):
                inner = [self.formula(part, truth=truth) for part in parts]
                return self.both(inner) if truth else self.either(inner)
            case AnyOf(parts):
                inner = [self.formula(part, truth=truth) for part in parts]
                return self.either(inner) if truth else self.both(inner)
            case Not(part):
                return self.formula(part, truth=not truth)
            case Named(_, part):
                return self.formula(part, truth=truth)

    def negated(self, formula: Formula) -> Formula:
        """Return where a formula does not hold."""
        match formula:
            case In(axis, cells):
                return self._in(axis, self.full[axis] & ~cells)
            case Both(parts):
                return self.either([self.negated(part) for part in parts])
            case Either(parts):
                return self.both([self.negated(part) for part in parts])

    def moved(self, formula: Formula, axis: int, to: int) -> Formula:
        """Return a formula that asks about another axis in place of one."""
        match formula:
            case In(at, cells):
                return In(to if at == axis else at, cells)
            case Both(parts):
                return self.both([self.moved(part, axis, to) for part in parts])
            case Either(parts):
                return self.either([self.moved(part, axis, to) for part in parts])

    def both(self, parts: Iterable[Formula]) -> Formula:
        """Join parts that must all hold; those of one axis become one."""
        cells: dict[int, int] = {}
        rest: list[Formula] = []
        for part in opened(Both, parts):
            if isinstance(part, In):
                cells[part.axis] = cells.get(part.axis, self.full[part.axis]) & part.cells
            elif part not in rest:
                rest.append(part)
        ins = [self._in(axis, where) for axis, where in cells.items()]
        if NEVER in ins or NEVER in rest:
            return NEVER
        joined = (*ins, *rest)
        return joined[0] if len(joined) == 1 else Both(joined)

    def either(self, parts: Iterable[Formula]) -> Formula:
        """Join parts of which one must hold; those of one axis become one."""
        cells: dict[int, int] = {}
        rest: list[Formula] = []
        for part in opened(Either, parts):
            if isinstance(part, In):
                cells[part.axis] = cells.get(part.axis, 0) | part.cells
            elif part not in rest:
                rest.append(part)
        ins = [self._in(axis, where) for axis, where in cells.items()]
        if ALWAYS in ins or ALWAYS in rest:
            return ALWAYS
        joined = (*ins, *rest)
        return joined[0] if len(joined) == 1 else Either(joined)

    def _in(self, axis: int, cells: int) -> Formula:
        if not cells:
            return NEVER
        return ALWAYS if cells == self.full[axis] else In(axis, cells)

    def search(self, formulas: Sequence[Formula], home: Point, budget: Budget) -> Point | None:
        """Return a point at which all formulas hold, near `home` first; None: there is none. Raises `OutOfBudget`."""
        return next(self.points(formulas, home, budget), None)

    def points(self, formulas: Sequence[Formula], home: Point, budget: Budget) -> Generator[Point, Formula, None]:
        """Yield points at which all formulas hold, and those that are sent in answer; raises `OutOfBudget`.

        A formula that rules the last point out leads to the next one without beginning anew.
        """
        added: list[Formula] = []
        boxes: list[tuple[Point, list[Formula], int]] = [(self.full, list(formulas), 0)]
        while boxes:
            box, asked, known = boxes.pop()
            narrowed = narrow(box, [*asked, *added[known:]], budget)
            known = len(added)
            if narrowed is None:
                continue
            box, asked = narrowed
            point = tuple(nearest(cells, at) for cells, at in zip(box, home, strict=True))
            failing = [formula for formula in asked if not holds(formula, point)]
            budget.spend(1 + len(asked))
            if not failing:
                boxes.append((box, asked, known))
                added.append((yield point))
                continue
            axis, cells = first_in(min(failing, key=width))
            inside = (*box[:axis], box[axis] & cells, *box[axis + 1 :])
            outside = (*box[:axis], box[axis] & ~cells, *box[axis + 1 :])
            near, far = (inside, outside) if cells & point[axis] else (outside, inside)
            boxes += [(far, asked, known), (near, asked, known)]


def following(points: Generator[Point, Formula, None], formula: Formula) -> Point | None:
    """Return the next point, at which the formula holds, too; None: there is none."""
    try:
        return points.send(formula)
    except StopIteration:
        return None


def nearer(point: Point, home: Point, good: Callable[[Point], bool]) -> Point:
    """Return a good point with as many axes moved home as one at a time allows."""
    for axis, at in reversed(list(enumerate(home))):
        moved = (*point[:axis], at, *point[axis + 1 :])
        if point[axis] != at and good(moved):
            point = moved
    return point
