"""Facts as the JSON the engine is given: only the properties a policy asks about, each of its declared type.

No text of anybody's reaches the C code: a text is either one of the policy's own constants or becomes `*`, which equals
none of them. Whatever does not fit raises `NotEncodable`, and the plain evaluator answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.rules.engine.lowering import Lowered, currency_name, day_number, property_name
from recoup_core.rules.engine.network import ANCHOR, Atom, Conjuncts, Expr, Predicate, atoms, predicate
from recoup_core.rules.facts import Fact, FactKind, Facts

OTHER: Final = "*"
"""Stands for every text the policy does not name; no constant may begin with it (`conditions`)."""

_Get = Callable[[Facts], Any]
_encode: Final = msgspec.json.Encoder().encode


class NotEncodable(Exception):
    """A fact has not the type it was declared with, or is beyond exact numbers."""


class _Computed(msgspec.Struct, frozen=True):
    """One boolean that is computed beforehand; `sent` when the ruleset's rules name it themselves."""

    name: str
    holds: Predicate
    sent: bool


class Encoder:
    """Encodes facts for one lowered policy that was cut into runs, one ruleset each."""

    def __init__(self, lowered: Lowered, runs: Sequence[Sequence[Conjuncts]]) -> None:
        predicates = {name: predicate(expr) for name, expr in lowered.hoisted}
        self._runs = tuple(_computed(lowered.hoisted, predicates, run) for run in runs)
        used = _constants(lowered)
        self._texts: list[tuple[str, _Get, Mapping[str, str]]] = []
        self._numbers: list[tuple[str, _Get]] = []
        self._flags: list[tuple[str, _Get]] = []
        for fact in lowered.facts:
            self._prepare(fact, used)

    def _prepare(self, fact: Fact, used: Mapping[str, set[Any]]) -> None:
        name, get = property_name(fact), fact.get
        if fact.kind is FactKind.MONEY:
            self._numbers.append((name, _part(get, "amount_minor")))
            words = used.get(currency_name(fact), set())
            self._texts.append((currency_name(fact), _part(get, "currency"), {word: word for word in words}))
        elif fact.kind is FactKind.INT:
            self._numbers.append((name, get))
        elif fact.kind is FactKind.DATE:
            self._numbers.append((name, _day(get)))
        elif fact.kind is FactKind.BOOL:
            self._flags.append((name, get))
        else:
            self._texts.append((name, get, {str(word): str(word) for word in used.get(name, ())}))

    def bodies(self, facts: Facts) -> Iterator[str]:
        """Yield the facts as a JSON object for one ruleset after the other, each with what its own rules ask about.

        Missing facts are left out. Raises `NotEncodable` at the first.
        """
        fact = self._plain(facts)
        plain: str | None = None
        known: dict[str, bool] = {}
        for run in self._runs:
            if run:
                yield _encode({**fact, **_sent(run, fact, known)}).decode()
            else:
                plain = plain or _encode(fact).decode()
                yield plain

    def _plain(self, facts: Facts) -> dict[str, Any]:
        fact: dict[str, Any] = {ANCHOR: 1}
        for name, get, words in self._texts:
            text = get(facts)
            if text is not None:
                fact[name] = words.get(text, OTHER)
        for name, get in self._numbers:
            number = get(facts)
            if number is not None:
                if type(number) is not int or not -MAX_AMOUNT_MINOR <= number <= MAX_AMOUNT_MINOR:
                    raise NotEncodable(name)
                fact[name] = number
        for name, get in self._flags:
            flag = get(facts)
            if flag is not None:
                if flag is not True and flag is not False:
                    raise NotEncodable(name)
                fact[name] = flag
        return fact


def _computed(
    hoisted: Sequence[tuple[str, Expr]], predicates: Mapping[str, Predicate], run: Sequence[Conjuncts]
) -> tuple[_Computed, ...]:
    """Return what must be computed for a run, in order: a later one may rest on an earlier one."""
    named = {atom.name for rule in run for part in rule for atom in atoms(part)}
    needed, found = set(named), []
    for name, expr in reversed(hoisted):
        if name in needed:
            needed.update(atom.name for atom in atoms(expr))
            found.append(_Computed(name, predicates[name], name in named))
    return tuple(reversed(found))


def _sent(run: Iterable[_Computed], fact: Mapping[str, Any], known: dict[str, bool]) -> dict[str, bool]:
    """Return the booleans that a run's rules name; each is computed once for all runs."""
    whole = {**fact, **known}
    for one in run:
        if one.name not in known:
            known[one.name] = whole[one.name] = one.holds(whole)
    return {one.name: known[one.name] for one in run if one.sent}


def _part(get: _Get, field: str) -> _Get:
    """Read one half of an amount that may be missing."""

    def part(facts: Facts) -> Any:
        money = get(facts)
        return None if money is None else getattr(money, field)

    return part


def _day(get: _Get) -> _Get:
    """Read a date as its day's number."""

    def number(facts: Facts) -> int | None:
        text = get(facts)
        try:
            return None if text is None else day_number(text)
        except (TypeError, ValueError) as error:
            raise NotEncodable("not a date") from error

    return number


def _constants(lowered: Lowered) -> dict[str, set[Any]]:
    """Return, for every property asked about, the constants it is held against."""
    used: dict[str, set[Any]] = {}
    for atom in _all_atoms(lowered):
        words = used.setdefault(atom.name, set())
        if atom.op not in ("ex", "nex"):
            words.add(atom.value)
    return used


def _all_atoms(lowered: Lowered) -> Iterable[Atom]:
    exprs: list[Expr] = [part for rule in lowered.rules for part in rule]
    exprs += [expr for _, expr in lowered.hoisted]
    return (atom for expr in exprs for atom in atoms(expr))
