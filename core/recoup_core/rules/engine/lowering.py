"""From conditions to what the engine is given: `not` pushed down to the comparisons, money split by currency.

Every comparison is false when its fact is missing, and so is its opposite; with `not` gone, all and any then agree with
the three-valued logic of `conditions` about what is true. What exceeds the engine's bounds for one rule is computed
beforehand as a named boolean (stage 1), so no valid policy is refused for the engine's sake.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from recoup_core.rules.engine.network import (
    ANCHOR,
    MAX_PLAIN,
    And,
    Atom,
    Bounds,
    Conjuncts,
    EngineBounds,
    Expr,
    Or,
    atoms,
    check_rule,
    firings,
)
from recoup_core.rules.facts import Fact, FactKind
from recoup_core.rules.language.conditions import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Literal,
    Named,
    Not,
    Op,
    comparisons,
)

CURRENCY: Final = "currency"
"""The property for the currency of `amount`, which is a fact of its own."""

_OPPOSITE: Final[Mapping[Op, Op]] = {
    Op.IS: Op.NOT,
    Op.NOT: Op.IS,
    Op.IN: Op.NOT_IN,
    Op.NOT_IN: Op.IN,
    Op.LT: Op.GTE,
    Op.GTE: Op.LT,
    Op.LTE: Op.GT,
    Op.GT: Op.LTE,
    Op.EXISTS: Op.MISSING,
    Op.MISSING: Op.EXISTS,
}
_SELECTIVE: Final = ("decline", "decline_code", "network_code", "method", "gateway", CURRENCY)
"""Equality on these comes first, so that rules share few, telling parents."""


class Lowered(msgspec.Struct, frozen=True):
    """A policy's rules in document order as the engine takes them, and the booleans computed beforehand."""

    rules: tuple[Conjuncts, ...]
    hoisted: tuple[tuple[str, Expr], ...]
    facts: tuple[Fact, ...]
    """Those that the conditions ask about."""


def property_name(fact: Fact) -> str:
    """Return a fact's flat name inside the engine, which reads dots as nesting; of an amount, that of its number."""
    flat = fact.name.replace(".", "_")
    return f"{flat}_minor" if fact.kind is FactKind.MONEY else flat


def currency_name(fact: Fact) -> str:
    """Return the property for the currency of an amount."""
    return CURRENCY if fact.name == "amount" else f"{fact.name.replace('.', '_')}_currency"


def lower(conditions: Iterable[Condition | None]) -> Lowered:
    """Lower the conditions of a policy's rules; None is the rule that always fires."""
    hoisted: dict[Expr, str] = {}
    whole = tuple(conditions)
    rules = tuple(_rule(condition, hoisted) for condition in whole)
    asked = {leaf.fact.name: leaf.fact for one in whole if one is not None for leaf in comparisons(one)}
    return Lowered(rules, tuple((name, expr) for expr, name in hoisted.items()), tuple(asked.values()))


def shards(rules: Sequence[Conjuncts]) -> tuple[tuple[Conjuncts, ...], ...]:
    """Cut the rules, in order, into runs that one ruleset can hold."""
    found: list[list[Conjuncts]] = [[]]
    bounds = Bounds()
    for rule in rules:
        try:
            bounds.add(rule)
        except EngineBounds:
            bounds = Bounds()
            bounds.add(rule)
            found.append([])
        found[-1].append(rule)
    return tuple(tuple(run) for run in found)


def _rule(condition: Condition | None, hoisted: dict[Expr, str]) -> Conjuncts:
    parts = [] if condition is None else list(_flat(And, (_expr(condition, negated=False),)))
    parts = list(dict.fromkeys(parts))
    while True:
        rule = _canonical(parts)
        try:
            check_rule(rule)
        except EngineBounds:
            parts = _hoist(parts, hoisted)
        else:
            return rule


def _hoist(parts: list[Expr], hoisted: dict[Expr, str]) -> list[Expr]:
    """Replace the weightiest part by a boolean; each call leaves one `$or`, or many plain atoms, fewer."""
    plain = sorted((part for part in parts if isinstance(part, Atom)), key=_rank)
    if len(plain) >= MAX_PLAIN:
        heavy: Expr = And(tuple(plain[MAX_PLAIN // 2 :]))
        rest = [part for part in parts if part not in plain[MAX_PLAIN // 2 :]]
    else:
        alternatives = [part for part in parts if isinstance(part, Or)]
        heavy = max(alternatives, key=lambda part: (firings(part), len(list(atoms(part)))))
        rest = [part for part in parts if part is not heavy]
    name = hoisted.setdefault(heavy, f"h{len(hoisted) + 1:04d}")
    return [*rest, Atom(name, "eq", True)]


def _canonical(parts: Sequence[Expr]) -> Conjuncts:
    """Order a rule: telling equalities first, then thresholds, then negative atoms, alternatives last."""
    plain = sorted((part for part in parts if isinstance(part, Atom)), key=_rank)
    if all(atom.op in ("neq", "nex") for atom in plain):
        plain = [Atom(ANCHOR, "eq", 1), *plain]
    return (*plain, *(part for part in parts if not isinstance(part, Atom)))


def _rank(atom: Atom) -> tuple[int, int, str, str]:
    kind = {"eq": 0, "neq": 2, "nex": 3}.get(atom.op, 1)
    first = _SELECTIVE.index(atom.name) if atom.name in _SELECTIVE else len(_SELECTIVE)
    return kind, first, atom.name, str(atom.value)


def _expr(condition: Condition, *, negated: bool) -> Expr:
    match condition:
        case Comparison():
            return _comparison(condition, negated=negated)
        case All(parts):
            return _join(And if not negated else Or, [_expr(part, negated=negated) for part in parts])
        case AnyOf(parts):
            return _join(Or if not negated else And, [_expr(part, negated=negated) for part in parts])
        case Not(part):
            return _expr(part, negated=not negated)
        case Named(_, part):
            return _expr(part, negated=negated)


def _join(kind: type[And] | type[Or], parts: Iterable[Expr], *, exclusive: bool = False) -> Expr:
    flat = tuple(dict.fromkeys(_flat(kind, parts)))
    if len(flat) == 1:
        return flat[0]
    return And(flat) if kind is And else Or(flat, exclusive)


def _flat(kind: type[And] | type[Or], parts: Iterable[Expr]) -> Iterable[Expr]:
    """Open nested groups of the same kind; exclusive alternatives stay together, they multiply less."""
    for part in parts:
        if isinstance(part, kind) and not (isinstance(part, Or) and part.exclusive):
            yield from part.parts
        else:
            yield part


def _comparison(leaf: Comparison, *, negated: bool) -> Expr:
    asks_presence = leaf.op in (Op.EXISTS, Op.MISSING)
    if leaf.fact.kind is FactKind.MONEY and not asks_presence:
        return _money(leaf, negated=negated)
    name = property_name(leaf.fact)
    if leaf.op is Op.BETWEEN:
        return _between(name, [_constant(leaf, value) for value in leaf.values], negated=negated)
    op = _OPPOSITE[leaf.op] if negated else leaf.op
    match op:
        case Op.IN:
            return _join(Or, [Atom(name, "eq", _constant(leaf, value)) for value in leaf.values], exclusive=True)
        case Op.NOT_IN:
            return _join(And, [Atom(name, "neq", _constant(leaf, value)) for value in leaf.values])
        case Op.EXISTS | Op.MISSING:
            return Atom(name, "ex" if op is Op.EXISTS else "nex")
        case _:
            return Atom(name, _ENGINE_OP[op], _constant(leaf, leaf.values[0]))


def _constant(leaf: Comparison, value: Literal) -> Literal:
    """Return a constant as the engine compares it: a date by its day's number, anything else as it is."""
    return day_number(str(value)) if leaf.fact.kind is FactKind.DATE else value


def day_number(text: str) -> int:
    """Return the proleptic Gregorian ordinal of a date like 2026-01-31; raises ValueError for anything else."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:  # 20260131 and 2026-W05-6 are read too, but the plain evaluator compares texts
        raise ValueError(text)
    return day.toordinal()


_ENGINE_OP: Final[Mapping[Op, str]] = {
    Op.IS: "eq",
    Op.NOT: "neq",
    Op.LT: "lt",
    Op.LTE: "lte",
    Op.GT: "gt",
    Op.GTE: "gte",
}


def _between(name: str, ends: Sequence[str | int | bool], *, negated: bool) -> Expr:
    low, high = ends
    if negated:
        return Or((Atom(name, "lt", low), Atom(name, "gt", high)), exclusive=True)
    return And((Atom(name, "gte", low), Atom(name, "lte", high)))


def _money(leaf: Comparison, *, negated: bool) -> Expr:
    """One alternative per listed currency; no two can hold, for an amount has one currency."""
    branches: list[Expr] = []
    number, currency_of = property_name(leaf.fact), currency_name(leaf.fact)
    for currency, bounds in leaf.money:
        if leaf.op is Op.BETWEEN:
            amount = _between(number, bounds, negated=negated)
        else:
            op = _OPPOSITE[leaf.op] if negated else leaf.op
            amount = Atom(number, _ENGINE_OP[op], bounds[0])
        branches.append(_join(And, [Atom(currency_of, "eq", currency), amount]))
    return _join(Or, branches, exclusive=True)
