"""Facts as the JSON the engine is given: only the properties a policy asks about, each of its declared type.

No text of anybody's reaches the C code: a text is either one of the policy's own constants or becomes `*`, which equals
none of them. Whatever does not fit raises `NotEncodable`, and the plain evaluator answers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.rules.facts import FACTS, FactKind, RetryFacts
from recoup_core.rules.lowering import AMOUNT, Lowered, property_name
from recoup_core.rules.network import ANCHOR, Atom, Expr, atoms, holds

OTHER: Final = "*"
"""Stands for every text the policy does not name; no constant may begin with it (`conditions`)."""

_Get = Callable[[RetryFacts], Any]
_encode: Final = msgspec.json.Encoder().encode


class NotEncodable(Exception):
    """A fact has not the type it was declared with, or is beyond exact numbers."""


class Encoder:
    """Encodes facts for one lowered policy."""

    def __init__(self, lowered: Lowered) -> None:
        self._hoisted = lowered.hoisted
        used = _constants(lowered)
        self._texts: list[tuple[str, _Get, Mapping[str, str]]] = []
        self._numbers: list[tuple[str, _Get]] = []
        self._flags: list[tuple[str, _Get]] = []
        for fact in FACTS.values():
            name = property_name(fact.name)
            if name not in used:
                continue
            if fact.kind is FactKind.MONEY:
                self._numbers.append((AMOUNT, lambda facts: facts.amount.amount_minor))
            elif fact.kind is FactKind.INT:
                self._numbers.append((name, fact.get))
            elif fact.kind is FactKind.BOOL:
                self._flags.append((name, fact.get))
            else:
                words = {str(word): str(word) for word in used[name]}
                self._texts.append((name, fact.get, words))

    def body(self, facts: RetryFacts) -> str:
        """Return the facts as a JSON object; missing ones are left out. Raises `NotEncodable`."""
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
        for name, expr in self._hoisted:  # in order: a later one may rest on an earlier one
            fact[name] = holds(expr, fact)
        return _encode(fact).decode()


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
