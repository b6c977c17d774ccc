"""Formulas over the cells of facts: and, or, and "the fact lies in these cells"; and what they leave of a box.

A set of cells is a number whose bits are the cells of one axis (`rules/study/space.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

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


def opened(kind: type[Both] | type[Either], parts: Iterable[Formula]) -> Iterable[Formula]:
    for part in parts:
        if isinstance(part, kind):
            yield from part.parts
        else:
            yield part


def width(formula: Formula) -> int:
    return 1 if isinstance(formula, In) else len(formula.parts)


def first_in(formula: Formula) -> tuple[int, int]:
    """Return the axis and cells of the first "lies in" of a formula; an open one has at least one."""
    while not isinstance(formula, In):
        ins = [part for part in formula.parts if isinstance(part, In)]
        formula = ins[0] if ins else formula.parts[0]
    return formula.axis, formula.cells
