"""The space of all facts, cut so coarsely that a set of conditions can't tell two points of a cell apart.

Every fact that the conditions ask about is an axis. Its cells are the words that are named and one for all others; for
numbers, dates and amounts (per currency) the pieces between the constants in use; and one for "missing" where the fact
may be. Every comparison is then true, false or neither on a whole cell, so whatever holds for the cells holds for all
facts: nothing is sampled. `currency` is no axis of its own, it is the currency of `amount`.

Facts are taken to be free of each other but for that: that `retries` is below `attempt`, say, is not known here.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import count, pairwise
from typing import Any, Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.facts import Fact, FactKind, Facts, Vocabulary
from recoup_core.rules.language.conditions import Comparison, Condition, Literal, Op, walk

AMOUNT: Final = "amount"
CURRENCY: Final = "currency"

_PREFERRED: Final = ("EUR", "USD", "GBP")
_ANOTHER: Final = "another"
"""Stands for a text that no condition names."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one fact that no condition tells apart; neither words nor a range: the fact is missing."""

    words: tuple[Literal, ...] = ()
    """The words; of an amount: its currencies."""
    any_other: bool = False
    """Any text but those of the other cells."""
    low: int | None = None
    high: int | None = None
    """Both included; minor units, and days since the year 1 for dates."""


class Axis:
    """One fact's cells; sets of them are the bits of a number."""

    def __init__(self, fact: Fact, cells: Sequence[Cell]) -> None:
        self.fact: Final = fact
        self.cells: Final = tuple(cells)
        self.full: Final = (1 << len(self.cells)) - 1
        gone = [1 << n for n, cell in enumerate(self.cells) if _is_missing(cell)]
        self.known: Final = self.full & ~sum(gone)
        self._words: dict[Literal, int] = {}
        self._pieces: dict[str, tuple[int, list[int]]] = {}
        self._others = 0
        for n, cell in enumerate(self.cells):
            self._enter(n, cell)

    def _enter(self, n: int, cell: Cell) -> None:
        if cell.any_other:
            self._others |= 1 << n
        for word in cell.words:
            self._words[word] = self._words.get(word, 0) | 1 << n
        if cell.low is not None:
            for currency in cell.words or ("",):
                self._pieces.setdefault(str(currency), (n, []))[1].append(cell.low)

    def where(self, leaf: Comparison) -> tuple[int, int]:
        """Return the cells on which a comparison is true, and those on which it is false."""
        if leaf.op is Op.EXISTS:
            return self.known, self.full & ~self.known
        if leaf.op is Op.MISSING:
            return self.full & ~self.known, self.known
        if leaf.money:
            listed = [self._piece(currency, leaf.op, bounds) for currency, bounds in leaf.money]
            return sum(true for true, _ in listed), sum(false for _, false in listed)
        if self._pieces and leaf.fact.name != CURRENCY:
            true, _ = self._piece("", leaf.op, [as_number(value) for value in leaf.values])
        else:
            true = 0
            for value in leaf.values:
                true |= self._words.get(value, self._others)
        if leaf.op in (Op.NOT, Op.NOT_IN):
            true = self.known & ~true
        return true, self.known & ~true

    def _piece(self, currency: str, op: Op, bounds: Sequence[int]) -> tuple[int, int]:
        """Return where an order holds and where not, among the pieces of one currency."""
        if currency not in self._pieces:
            return 0, 0
        start, lows = self._pieces[currency]
        everything = _bits(start, start + len(lows))
        if op in (Op.IS, Op.IN, Op.NOT, Op.NOT_IN):
            true = 0
            for bound in bounds:
                true |= _bits(start + bisect_left(lows, bound), start + bisect_right(lows, bound))
            return true, everything & ~true
        first = {Op.GT: bounds[0] + 1, Op.GTE: bounds[0], Op.BETWEEN: bounds[0]}.get(op, lows[0])
        last = {Op.LT: bounds[0] - 1, Op.LTE: bounds[0], Op.BETWEEN: bounds[-1]}.get(op)
        low = start + bisect_left(lows, first)
        high = start + (len(lows) if last is None else bisect_right(lows, last))
        true = _bits(low, max(low, high))
        return true, everything & ~true

    def home(self, value: Any) -> int:
        """Return the cell a value lies in, as a bit."""
        if value is None:
            return self.full & ~self.known
        if not self._pieces:
            return self._words.get(value, self._others)
        if isinstance(value, Money):
            return self._at(value.currency, value.amount_minor)
        return self._at("", as_number(value))

    def _at(self, currency: str, number: int) -> int:
        start, lows = self._pieces[currency]
        return 1 << (start + max(bisect_right(lows, number) - 1, 0))

    def value(self, bit: int, near: Any) -> Any:
        """Return a value of a cell: `near` itself where it lies there, else one close to it."""
        cell = self.cells[bit.bit_length() - 1]
        if _is_missing(cell):
            return None
        if near is not None and self.home(near) == bit:
            return near
        if cell.low is not None and cell.high is not None:
            return self._number(cell, cell.low, cell.high, near)
        return _fresh(self._words) if cell.any_other else cell.words[0]

    def _number(self, cell: Cell, low: int, high: int, near: Any) -> Any:
        kind = self.fact.kind
        wanted = near.amount_minor if isinstance(near, Money) else low if near is None else as_number(near)
        number = min(max(wanted, low), high)
        if kind is FactKind.MONEY:
            known = [word for word in _PREFERRED if word in cell.words]
            return Money(number, str(known[0] if known else cell.words[0]))
        return date.fromordinal(number).isoformat() if kind is FactKind.DATE else number


class Space:
    """The axes of a set of conditions."""

    def __init__(self, conditions: Iterable[Condition], vocabulary: Vocabulary) -> None:
        self.vocabulary: Final = vocabulary
        asked: dict[str, list[Comparison]] = {}
        for condition in conditions:
            for leaf in walk(condition):
                asked.setdefault(_axis_name(leaf.fact.name), []).append(leaf)
        self.names: Final = tuple(name for name in vocabulary.facts if name in asked)
        self.axes: Final = tuple(_axis(vocabulary, name, asked[name]) for name in self.names)
        self._index = {name: n for n, name in enumerate(self.names)}

    def axis(self, fact: str) -> int:
        """Return the number of the axis on which a fact lies."""
        return self._index[_axis_name(fact)]

    def point(self, facts: Facts) -> tuple[int, ...]:
        """Return the cell of every axis that the facts lie in."""
        return tuple(axis.home(axis.fact.get(facts)) for axis in self.axes)

    def facts(self, point: Sequence[int], baseline: Facts) -> Facts:
        """Return facts that lie in the cells; axes on which the baseline lies there already keep its value."""
        wanted = {
            axis.fact.name: axis.value(bit, axis.fact.get(baseline))
            for axis, bit in zip(self.axes, point, strict=True)
            if axis.home(axis.fact.get(baseline)) != bit
        }
        found = self.vocabulary.given(baseline, wanted)
        if self.point(found) == tuple(point):
            return found
        return self._exactly(point, baseline, wanted)

    def _exactly(self, point: Sequence[int], baseline: Facts, wanted: Mapping[str, Any]) -> Facts:
        """Put in every axis' value, where a changed fact drew others along."""
        found = baseline
        for name, value in wanted.items():
            found = self.vocabulary.with_fact(found, name, value)
        for axis, bit in zip(self.axes, point, strict=True):  # a group that now exists may have brought defaults
            if axis.home(axis.fact.get(found)) != bit:
                value = axis.value(bit, axis.fact.get(baseline))
                found = self.vocabulary.with_fact(found, axis.fact.name, value)
        return found


def as_number(value: Any) -> int:
    """Return a whole number or a date (ISO 8601) as a number."""
    return date.fromisoformat(value).toordinal() if isinstance(value, str) else int(value)


def _axis_name(fact: str) -> str:
    return AMOUNT if fact == CURRENCY else fact


def _axis(vocabulary: Vocabulary, name: str, asked: Sequence[Comparison]) -> Axis:
    fact = vocabulary.facts[name]
    missing = [Cell()] if fact.optional else []
    if fact.kind is FactKind.MONEY:
        return Axis(fact, [*_amounts(fact, vocabulary.facts[CURRENCY].choices, asked), *missing])
    if fact.kind in (FactKind.INT, FactKind.DATE):
        low, high = (1, date.max.toordinal()) if fact.kind is FactKind.DATE else (fact.low, fact.high)
        cuts = [cut for leaf in asked for cut in _cuts([as_number(value) for value in leaf.values])]
        return Axis(fact, [*_ranges(low, high, cuts), *missing])
    if fact.kind is FactKind.BOOL:
        return Axis(fact, [Cell(words=(True,)), Cell(words=(False,)), *missing])
    named = dict.fromkeys(str(value) for leaf in asked for value in leaf.values)
    cells = [Cell(words=(word,)) for word in named]
    if fact.kind is FactKind.TEXT:
        return Axis(fact, [*cells, Cell(any_other=True), *missing])
    rest = tuple(word for word in fact.choices if word not in named)
    return Axis(fact, [*cells, *([Cell(words=rest)] if rest else []), *missing])


def _amounts(fact: Fact, currencies: Sequence[str], asked: Sequence[Comparison]) -> Iterable[Cell]:
    cuts: dict[str, list[int]] = {}
    for leaf in asked:
        for currency, bounds in leaf.money:
            cuts.setdefault(currency, []).extend(_cuts(bounds))
        for value in leaf.values:  # of `currency`
            cuts.setdefault(str(value), [])
    for currency, at in cuts.items():
        yield from (msgspec.structs.replace(cell, words=(currency,)) for cell in _ranges(fact.low, fact.high, at))
    rest = tuple(currency for currency in currencies if currency not in cuts)
    if rest:
        yield Cell(words=rest, low=fact.low, high=fact.high)


def _cuts(bounds: Sequence[int]) -> Iterable[int]:
    """Yield where a new piece begins: at each constant, and behind it."""
    for bound in bounds:
        yield bound
        yield bound + 1


def _ranges(low: int, high: int, cuts: Iterable[int]) -> Iterable[Cell]:
    starts = sorted({low, *(cut for cut in cuts if low < cut <= high)})
    for first, following in pairwise((*starts, high + 1)):
        yield Cell(low=first, high=following - 1)


def _bits(start: int, end: int) -> int:
    return (1 << end) - (1 << start)


def _is_missing(cell: Cell) -> bool:
    return not cell.words and not cell.any_other and cell.low is None


def _fresh(taken: Mapping[Literal, int]) -> str:
    names = (f"{_ANOTHER}{n or ''}" for n in count())
    return next(name for name in names if name not in taken)
