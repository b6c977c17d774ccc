"""Conditions: structured YAML over declared facts, read into a typed tree.

Logic with missing values: a comparison whose fact is missing (or whose amount is in a currency it does not list) is
neither true nor false. `not` leaves that so; `all` is false when a part is false, `any` true when a part is true; a
rule fires only when its condition is true. So a missing fact never makes a rule fire, unless it asks `missing: true`.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from recoup_core.rules.facts import Fact

Literal = str | int | bool


class Op(StrEnum):
    """How a fact is compared; `not` forms mean present and different."""

    IS = "is"
    IN = "in"
    NOT = "not"
    NOT_IN = "not in"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    BETWEEN = "between"
    EXISTS = "exists"
    MISSING = "missing"


class Comparison(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact against constants."""

    fact: Fact
    op: Op
    values: tuple[Literal, ...] = ()
    """One for is, not and the thresholds; two for between (inclusive); none for exists and missing."""
    money: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """For amounts instead of `values`: the minor units per currency."""
    path: str
    """Where it stands in its condition (`any[1].attempt.lte`), for explanations."""
    line: int


class All(msgspec.Struct, frozen=True):
    """True when every part is."""

    parts: tuple["Condition", ...]


class AnyOf(msgspec.Struct, frozen=True):
    """True when at least one part is."""

    parts: tuple["Condition", ...]


class Not(msgspec.Struct, frozen=True):
    """Turns true and false round; what can't be told stays so."""

    part: "Condition"


class Named(msgspec.Struct, frozen=True):
    """A condition from `define`, put in where its name stood."""

    name: str
    part: "Condition"


Condition = Comparison | All | AnyOf | Not | Named


def comparisons(condition: Condition) -> tuple[Comparison, ...]:
    """Return every comparison of a condition in reading order."""
    return tuple(walk(condition))


def walk(condition: Condition) -> Iterator[Comparison]:
    match condition:
        case Comparison():
            yield condition
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from walk(part)
        case Not(part) | Named(_, part):
            yield from walk(part)


def depth(condition: Condition) -> int:
    """Return how deeply the condition nests."""
    match condition:
        case Comparison():
            return 1
        case All(parts) | AnyOf(parts):
            return 1 + max(depth(part) for part in parts)
        case Not(part) | Named(_, part):
            return 1 + depth(part)
