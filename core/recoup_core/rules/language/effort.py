"""What a policy costs to read, compile and try out, counted before anybody pays it.

A short text can say much: a named condition counts again wherever it is used. The limits here are far beyond what
people write and low enough that no text keeps a thread busy for minutes (docs/benchmarks.md, `compile`).
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from recoup_core.rules.language.conditions import Condition, walk

MAX_CONSTANTS: Final = 100_000
"""Values that all rules' conditions together compare with, named conditions counted at every use."""

MAX_EXAMPLE_COMPARISONS: Final = 20_000_000
"""Comparisons it may take to run all examples: some four seconds. A full file of plain rules needs a third of them."""


def constants(condition: Condition | None) -> int:
    """Return how many values a condition compares with; an amount counts in each of its currencies."""
    leaves = () if condition is None else walk(condition)
    return sum(max(1, len(leaf.values) + sum(len(bounds) for _, bounds in leaf.money)) for leaf in leaves)


def reaches(conditions: Iterable[Condition | None]) -> Sequence[int]:
    """Return, for each rule in order, how many comparisons are made at most until it fires."""
    return tuple(accumulate(0 if when is None else sum(1 for _ in walk(when)) for when in conditions))
