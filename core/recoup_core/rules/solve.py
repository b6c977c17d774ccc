"""Are there facts for which these conditions hold and those do not? Decided, never guessed.

Over the cells of `rules/space.py` "the condition is true" and "it is not true" are formulas of and, or and "the fact
lies in these cells": the third truth value is gone, for a comparison that can't be told is in neither set. What is left
is a finite search: narrow every axis to what the formulas force, try the point nearest the baseline, else split an axis
where the point fails. It ends with facts, or with the certainty that there are none, or past its budget as undecided.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from recoup_core.rules.applies import FOREVER, PAID_ON, AppliesTo
from recoup_core.rules.conditions import All, AnyOf, Comparison, Condition, Named, Not, Op
from recoup_core.rules.facts import Facts, Vocabulary
from recoup_core.rules.space import Space

MAX_STEPS: Final = 400_000
"""Looks at a part of a formula before one question is given up as undecided; about a second."""


class In(msgspec.Struct, frozen=True):
    """The fact of an axis lies in one of these cells."""

    axis: int
    cells: int


class Both(msgspec.Struct, frozen=True):
    """Every part holds."""

    parts: tuple["Formula", ...]


class Either(msgspec.Struct, frozen=True):
    """At least one part holds."""

    parts: tuple["Formula", ...]


Formula = In | Both | Either
ALWAYS: Final = Both(())
NEVER: Final = Either(())
Point = tuple[int, ...]
"""One cell, as a bit, per axis; or several: a box."""


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


class Budget:
    """How many steps may still be made; one may be shared by many questions."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take steps off; raises `OutOfBudget` when none are left."""
        self.left -= steps
        if self.left < 0:
            raise OutOfBudget


class OutOfBudget(Exception):
    """Told to callers as `Undecided`."""


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
        for part in _opened(Both, parts):
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
        for part in _opened(Either, parts):
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
        boxes: list[tuple[Point, list[Formula]]] = [(self.full, list(formulas))]
        while boxes:
            box, asked = boxes.pop()
            narrowed = narrow(box, asked, budget)
            if narrowed is None:
                continue
            box, asked = narrowed
            point = tuple(nearest(cells, at) for cells, at in zip(box, home, strict=True))
            failing = [formula for formula in asked if not holds(formula, point)]
            budget.spend(len(asked))
            if not failing:
                return point
            axis, cells = _split(min(failing, key=_width))
            inside = (*box[:axis], box[axis] & cells, *box[axis + 1 :])
            outside = (*box[:axis], box[axis] & ~cells, *box[axis + 1 :])
            near, far = (inside, outside) if cells & point[axis] else (outside, inside)
            boxes += [(far, asked), (near, asked)]
        return None


def nearer(point: Point, home: Point, good: Callable[[Point], bool]) -> Point:
    """Return a good point with as many axes moved home as one at a time allows."""
    for axis, at in reversed(list(enumerate(home))):
        moved = (*point[:axis], at, *point[axis + 1 :])
        if point[axis] != at and good(moved):
            point = moved
    return point


def holds(formula: Formula, point: Point) -> bool:
    """Return whether a formula holds at a point."""
    match formula:
        case In(axis, cells):
            return bool(cells & point[axis])
        case Both(parts):
            return all(holds(part, point) for part in parts)
        case Either(parts):
            return any(holds(part, point) for part in parts)


def narrow(box: Point, formulas: Sequence[Formula], budget: Budget) -> tuple[Point, list[Formula]] | None:
    """Return the box cut to what the formulas force, and what is still open inside it; None: nothing is left."""
    cells = list(box)
    asked = list(formulas)
    while True:
        open_now: list[Formula] = []
        moved = False
        while asked:
            left = _reduced(asked.pop(), cells, budget)
            if left == NEVER:
                return None
            if isinstance(left, In):
                cells[left.axis] &= left.cells
                moved = True
            elif isinstance(left, Both):
                asked.extend(left.parts)
            else:
                open_now.append(left)
        asked = open_now
        if not moved:
            return tuple(cells), open_now


def nearest(cells: int, home: int) -> int:
    """Return one of the cells: `home` if it is among them, else the one that stands next to it."""
    if not home or cells & home:
        return home & cells or cells & -cells
    below, above = cells & (home - 1), cells & ~(home | (home - 1))
    low = 1 << (below.bit_length() - 1) if below else 0
    high = above & -above
    if not low or not high:
        return low or high
    return low if home.bit_length() - low.bit_length() <= high.bit_length() - home.bit_length() else high


def _reduced(formula: Formula, cells: Sequence[int], budget: Budget) -> Formula:
    """Return what of a formula is still open inside the box."""
    budget.spend(1)
    if isinstance(formula, In):
        left = cells[formula.axis] & formula.cells
        if not left:
            return NEVER
        return ALWAYS if left == cells[formula.axis] else formula
    settled, neutral = (NEVER, ALWAYS) if isinstance(formula, Both) else (ALWAYS, NEVER)
    parts: list[Formula] = []
    for part in formula.parts:
        left_part = _reduced(part, cells, budget)
        if left_part == settled:
            return settled
        if left_part != neutral:
            parts.append(left_part)
    if len(parts) == 1:
        return parts[0]
    return Both(tuple(parts)) if isinstance(formula, Both) else Either(tuple(parts))


def _opened(kind: type[Both] | type[Either], parts: Iterable[Formula]) -> Iterable[Formula]:
    for part in parts:
        if isinstance(part, kind):
            yield from part.parts
        else:
            yield part


def _width(formula: Formula) -> int:
    return 1 if isinstance(formula, In) else len(formula.parts)


def _split(formula: Formula) -> tuple[int, int]:
    """Return the axis and cells of the first "lies in" of a formula; an open one has at least one."""
    while not isinstance(formula, In):
        ins = [part for part in formula.parts if isinstance(part, In)]
        formula = ins[0] if ins else formula.parts[0]
    return formula.axis, formula.cells
