"""What the engine is given: expressions without `not`, and the counts that must hold before it may see them.

Outside these bounds durable_rules 2.0.28 hangs, crashes or answers wrongly; they are measured limits with a margin
(core/adr/0001-rules-engine.md).
"""

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

MAX_RULES_PER_SHARD: Final = 500
MAX_ATOMS_PER_SHARD: Final = 2_000
"""Comparisons in one ruleset. The C code holds the GIL while it compiles one: 2,000 take it up to 40 ms, 42,000 (500 of
the largest rules) took 770 (docs/benchmarks.md, `compile`)."""
MAX_CONDITIONS_PER_PARENT: Final = 500
"""513 different conditions under one parent never finish compiling, with the GIL held."""
MAX_MATCHING_PER_PARENT: Final = 60
"""Over 64 conditions of one parent matching one fact: error 303, and the fact can leak into the next evaluation."""
MAX_IDENTICAL_CHAINS: Final = 250
"""At 256 an unrelated rule fires."""
MAX_ALTERNATIVES_PER_PARENT: Final = 100
"""`$or` and `$nex` under one parent; 129 are refused."""
MAX_GROUPS_PER_RULE: Final = 13
"""`$and` and `$or` in one rule, the outermost included; 16 are refused (error 113)."""
MAX_FIRINGS: Final = 32
"""How often one rule may be pending at once: every true branch of every `$or` multiplies."""
MAX_PLAIN: Final = 24
"""Comparisons in a row outside `$or`."""
MAX_PROPERTIES: Final = 150
"""Names that the rules of one ruleset ask about. A fact of more than 254 is refused (error 302); besides these it has
the facts of other rulesets (no kind has more than 45) and the engine's own."""
MAX_EXPRESSION_DEPTH: Final = 4
"""Nesting that was fuzzed without a mismatch."""

ANCHOR: Final = "e"
"""A property every fact carries, so that no rule is made of negative conditions only."""


class Atom(msgspec.Struct, frozen=True):
    """One property against one constant: eq, neq, lt, lte, gt, gte, ex (present) or nex (absent)."""

    name: str
    op: str
    value: str | int | bool = 1


class And(msgspec.Struct, frozen=True):
    """All parts."""

    parts: tuple["Expr", ...]


class Or(msgspec.Struct, frozen=True):
    """At least one part; `exclusive` when never two at once."""

    parts: tuple["Expr", ...]
    exclusive: bool


Expr = Atom | And | Or
Conjuncts = tuple[Expr, ...]
"""A rule's condition: all of these."""

Predicate = Callable[[Mapping[str, Any]], bool]

_TESTS: Final[Mapping[str, Callable[[Any, Any], object]]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


class EngineBounds(Exception):
    """These rules lie outside what the engine can be trusted with."""


def atoms(expr: Expr) -> Iterator[Atom]:
    """Yield every atom of an expression."""
    if isinstance(expr, Atom):
        yield expr
    else:
        for part in expr.parts:
            yield from atoms(part)


def groups(expr: Expr) -> int:
    """Count the `$and`s and `$or`s."""
    return 0 if isinstance(expr, Atom) else 1 + sum(groups(part) for part in expr.parts)


def alternatives(expr: Expr) -> int:
    """Count the `$or`s and `$nex`s."""
    if isinstance(expr, Atom):
        return int(expr.op == "nex")
    return isinstance(expr, Or) + sum(alternatives(part) for part in expr.parts)


def firings(expr: Expr) -> int:
    """Return how often the expression can be true at once, as the engine counts."""
    if isinstance(expr, Atom):
        return 1
    counts = [firings(part) for part in expr.parts]
    if isinstance(expr, And):
        product = 1
        for count in counts:
            product *= count
        return product
    return max(counts) if expr.exclusive else sum(counts)


def depth(expr: Expr) -> int:
    """Return how deeply the expression nests."""
    return 0 if isinstance(expr, Atom) else 1 + max(depth(part) for part in expr.parts)


def predicate(expr: Expr) -> Predicate:
    """Compile an expression to what the engine would say of a fact: an absent property satisfies only `nex`."""
    if isinstance(expr, Atom):
        return _atom(expr)
    if isinstance(expr, Or) and (found := _by_word(expr)) is not None:
        return _choice(*found)
    if isinstance(expr, And):
        return _every(expr)
    parts = tuple(predicate(part) for part in expr.parts)
    return lambda fact: any(part(fact) for part in parts)


def _every(expr: And) -> Predicate:
    """Hold all parts; words that one text must not be are looked up together."""
    unwanted: dict[str, set[object]] = {}
    parts: list[Predicate] = []
    for part in expr.parts:
        if isinstance(part, Atom) and part.op == "neq":
            unwanted.setdefault(part.name, set()).add(part.value)
        else:
            parts.append(predicate(part))
    parts += [_none_of(name, frozenset(values)) for name, values in unwanted.items()]
    if len(parts) == 1:
        return parts[0]

    def holds(fact: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - a loop costs half of what all() does, and this is run for every fact
            if not part(fact):
                return False
        return True

    return holds


def _none_of(name: str, values: frozenset[object]) -> Predicate:
    return lambda fact: (actual := fact.get(name)) is not None and actual not in values


def _atom(atom: Atom) -> Predicate:
    name, value = atom.name, atom.value
    if atom.op == "nex":
        return lambda fact: fact.get(name) is None
    if atom.op == "ex":
        return lambda fact: fact.get(name) is not None
    test = _TESTS[atom.op]
    return lambda fact: (actual := fact.get(name)) is not None and bool(test(actual, value))


def _by_word(expr: Or) -> tuple[str, dict[str, list[Expr]]] | None:
    """Sort alternatives by the word that one text must equal in each; None when they don't all begin with such."""
    names: set[str] = set()
    words: dict[str, list[Expr]] = {}
    for part in expr.parts:
        head, *rest = part.parts if isinstance(part, And) else (part,)
        if not isinstance(head, Atom) or head.op != "eq" or not isinstance(head.value, str):
            return None
        names.add(head.name)
        words.setdefault(head.value, []).append(And(tuple(rest)))
    return (names.pop(), words) if len(names) == 1 else None


def _choice(name: str, words: Mapping[str, Sequence[Expr]]) -> Predicate:
    """Look the text up instead of trying one alternative after the other: amounts in thirty currencies, long lists."""
    tests: Mapping[Any, Sequence[Predicate]] = {
        word: tuple(predicate(rest) for rest in rests) for word, rests in words.items()
    }
    return lambda fact: any(test(fact) for test in tests.get(fact.get(name), ()))


def to_json(expr: Expr) -> dict[str, Any]:
    """Return the expression in the engine's own notation."""
    if isinstance(expr, Atom):
        plain = {expr.name: expr.value}
        return plain if expr.op == "eq" else {f"${expr.op}": plain}
    return {"$and" if isinstance(expr, And) else "$or": [to_json(part) for part in expr.parts]}


class _Parent:
    """What hangs under one node of the engine's condition tree."""

    def __init__(self) -> None:
        self.conditions: set[Atom] = set()
        self.equal: set[str] = set()
        self.others: set[Atom] = set()
        self.alternatives = 0

    def excess(self, inner: Sequence[Atom], more: int) -> str | None:
        """Say which bound would break, counting cautiously; None when none does."""
        conditions = self.conditions.union(inner)
        equal = self.equal.union(atom.name for atom in inner if atom.op == "eq")
        others = self.others.union(atom for atom in inner if atom.op != "eq")
        if len(conditions) > MAX_CONDITIONS_PER_PARENT:
            return f"more than {MAX_CONDITIONS_PER_PARENT} conditions under one parent"
        if len(equal) + len(others) > MAX_MATCHING_PER_PARENT:
            return f"more than {MAX_MATCHING_PER_PARENT} conditions of one parent can match together"
        if self.alternatives + more > MAX_ALTERNATIVES_PER_PARENT:
            return f"more than {MAX_ALTERNATIVES_PER_PARENT} alternatives under one parent"
        return None

    def add(self, inner: Sequence[Atom], more: int) -> None:
        self.conditions.update(inner)
        self.equal.update(atom.name for atom in inner if atom.op == "eq")
        self.others.update(atom for atom in inner if atom.op != "eq")
        self.alternatives += more


class Bounds:
    """Counts rules as they are added to one ruleset and refuses the one that would break a bound."""

    def __init__(self) -> None:
        self._parents: dict[tuple[Atom, ...], _Parent] = {}
        self._chains: Counter[Conjuncts] = Counter()
        self._names: set[str] = set()
        self._rules = self._atoms = 0

    def add(self, rule: Conjuncts) -> None:
        """Count a rule; raises `EngineBounds`, then nothing has changed."""
        if self._rules >= MAX_RULES_PER_SHARD:
            raise EngineBounds(f"more than {MAX_RULES_PER_SHARD} rules")
        if self._chains[rule] >= MAX_IDENTICAL_CHAINS:
            raise EngineBounds(f"more than {MAX_IDENTICAL_CHAINS} rules with the same condition")
        names = [atom.name for part in rule for atom in atoms(part)]
        if self._atoms + len(names) > MAX_ATOMS_PER_SHARD:
            raise EngineBounds(f"more than {MAX_ATOMS_PER_SHARD} comparisons")
        if len(self._names.union(names)) > MAX_PROPERTIES:
            raise EngineBounds(f"more than {MAX_PROPERTIES} properties")
        check_rule(rule)
        loads = _loads(rule)
        for prefix, inner, more in loads:
            excess = self._parents.get(prefix, _Parent()).excess(inner, more)
            if excess:
                raise EngineBounds(excess)
        for prefix, inner, more in loads:
            self._parents.setdefault(prefix, _Parent()).add(inner, more)
        self._chains[rule] += 1
        self._rules += 1
        self._atoms += len(names)
        self._names.update(names)


def check_rule(rule: Conjuncts) -> None:
    """Raise `EngineBounds` when one rule alone is more than the engine can be trusted with."""
    plain = [part for part in rule if isinstance(part, Atom)]
    whole = And(rule)
    checks = (
        (not plain or all(atom.op in ("neq", "nex") for atom in plain), "a rule without a positive condition"),
        (any(isinstance(part, And) for part in rule), "a nested $and at the top of a rule"),
        (len(plain) > MAX_PLAIN, f"more than {MAX_PLAIN} comparisons in a row"),
        (groups(whole) > MAX_GROUPS_PER_RULE, f"more than {MAX_GROUPS_PER_RULE} $and and $or in one rule"),
        (firings(whole) > MAX_FIRINGS, f"one fact can satisfy a rule in more than {MAX_FIRINGS} ways"),
        (depth(whole) > MAX_EXPRESSION_DEPTH, f"nested deeper than {MAX_EXPRESSION_DEPTH}"),
        (sum(len(list(atoms(part))) for part in rule if part not in plain) > MAX_MATCHING_PER_PARENT, "too many atoms"),
    )
    for broken, message in checks:
        if broken:
            raise EngineBounds(message)


def _loads(rule: Conjuncts) -> list[tuple[tuple[Atom, ...], list[Atom], int]]:
    """Return what the rule adds under each parent: (path of plain atoms, atoms there, `$or`s and `$nex`s there)."""
    plain = tuple(part for part in rule if isinstance(part, Atom))
    found = [(plain[:index], [atom], alternatives(atom)) for index, atom in enumerate(plain)]
    inner = [atom for part in rule if not isinstance(part, Atom) for atom in atoms(part)]
    more = sum(alternatives(part) for part in rule if not isinstance(part, Atom))
    return [*found, (plain, inner, more)]
