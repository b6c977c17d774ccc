"""Reads conditions from a policy's YAML: every name, operator and value is checked against the declared facts."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from recoup_core.rules.facts import Fact, FactKind, Vocabulary
from recoup_core.rules.language.conditions import All, AnyOf, Comparison, Condition, Named, Not, Op, depth, walk
from recoup_core.rules.language.constants import MAX_VALUES, ConstantReader
from recoup_core.rules.language.errors import Report, shown
from recoup_core.rules.language.written import as_condition
from recoup_core.rules.language.yamltext import Broken, Map, Node, Scalar, Seq, as_bool, as_list, as_map

MAX_COMPARISONS: Final = 100
"""Comparisons in one condition, named conditions counted at every use."""

MAX_LOGIC_DEPTH: Final = 24
"""Nesting of all, any, not and named conditions, after names are put in."""

WORDS: Final = ("all", "any", "not")


class ConditionReader:
    """Reads conditions of one file over one vocabulary; `defined` grows from top to bottom."""

    def __init__(self, report: Report, vocabulary: Vocabulary) -> None:
        self.report = report
        self.vocabulary = vocabulary
        self.constants = ConstantReader(report)
        self.defined: dict[str, Condition] = {}
        self.later: set[str] = set()
        """Names that `define` gives further below (or just now), for a helpful message."""
        self.failed: set[str] = set()
        """Names whose definition is already reported as wrong; their uses are passed over."""

    def whole(self, node: Node) -> Condition | None:
        """Read a complete condition and hold it to the size limits."""
        condition = self.read(node, "")
        if condition is None:
            return None
        if len(list(islice(walk(condition), MAX_COMPARISONS + 1))) > MAX_COMPARISONS:
            self.report.add(node, "too_many", f"the condition makes more than {MAX_COMPARISONS} comparisons")
            return None
        if depth(condition) > MAX_LOGIC_DEPTH:
            self.report.add(node, "too_deep", f"the condition nests deeper than {MAX_LOGIC_DEPTH} levels")
            return None
        return condition

    def read(self, node: Node, path: str) -> Condition | None:
        """Read one condition; a mapping means all of its entries."""
        if isinstance(node, Broken):
            return None
        if isinstance(node, Scalar):
            return self._named(node)
        if isinstance(node, Seq):
            self.report.add(node, "wrong_type", "a condition can't be a bare list", "write all: [...] or any: [...]")
            return None
        if not node.entries:
            self.report.add(node, "empty_condition", "the condition is empty")
            return None
        parts = [self._entry(key, value, _join(path, key.text)) for key, value in node.entries]
        return _all(parts)

    def _entry(self, key: Scalar, value: Node, path: str) -> Condition | None:
        word = key.text
        if word in ("all", "any"):
            return self._list(word, value, path)
        if word == "not":
            part = self.read(value, path)
            return None if part is None else Not(part)
        if word in self.vocabulary.facts:
            return self._fact(self.vocabulary.facts[word], value, path)
        if word in self.vocabulary.groups:
            return self._group(word, value, path)
        if word in self.defined:
            return self._switch(key, value)
        self._unknown(key)
        return None

    def _list(self, word: str, node: Node, path: str) -> Condition | None:
        items = as_list(node, f"`{word}`", self.report, most=MAX_COMPARISONS)
        if items is None:
            return None
        parts = [self.read(item, f"{path}[{index}]") for index, item in enumerate(items)]
        return _all(parts) if word == "all" else _gather(AnyOf, parts)

    def _named(self, node: Scalar) -> Condition | None:
        if node.text in self.defined:
            return Named(node.text, self.defined[node.text])
        if node.text in self.vocabulary.facts:
            self.report.add(
                node, "fact_alone", f"{shown(node.text)} is a fact, not a condition", f"write {{{node.text}: ...}}"
            )
            return None
        self._unknown(node, facts=False)
        return None

    def _switch(self, key: Scalar, value: Node) -> Condition | None:
        wanted = as_bool(value, f"the named condition {shown(key.text)}", self.report)
        if wanted is None:
            return None
        named = Named(key.text, self.defined[key.text])
        return named if wanted else Not(named)

    def _unknown(self, key: Scalar, facts: bool = True) -> None:
        if key.text in self.failed:
            return
        if key.text in self.later:
            self.report.add(
                key,
                "define_order",
                f"the condition {shown(key.text)} is not defined yet here",
                "a definition may use only those above it, so none can lead back to itself",
            )
            return
        known = (
            (*self.defined, *self.vocabulary.facts, *self.vocabulary.groups, *WORDS) if facts else tuple(self.defined)
        )
        what = "fact or condition" if facts else "named condition"
        self.report.add(
            key,
            "unknown_fact" if facts else "unknown_name",
            f"unknown {what} {shown(key.text)}",
            as_condition(key.text) or self.report.suggest(key.text, known),
        )

    def _group(self, group: str, node: Node, path: str) -> Condition | None:
        mapping = as_map(node, f"`{group}`", self.report)
        if mapping is None:
            return None
        if not mapping.entries:
            self.report.add(node, "empty_condition", "the condition is empty")
            return None
        parts: list[Condition | None] = []
        for key, value in mapping.entries:
            fact = self.vocabulary.facts.get(f"{group}.{key.text}")
            if fact is None:
                every = self.vocabulary.facts
                known = tuple(name.partition(".")[2] for name in every if name.startswith(f"{group}."))
                self.report.add(
                    key,
                    "unknown_fact",
                    f"unknown fact {shown(f'{group}.{key.text}')}",
                    self.report.suggest(key.text, known),
                )
            parts.append(None if fact is None else self._fact(fact, value, f"{path}.{key.text}"))
        return _all(parts)

    def _fact(self, fact: Fact, node: Node, path: str) -> Condition | None:
        """Read what one fact is held against: a value, a list of values, or a mapping of operators."""
        if isinstance(node, Map):
            if not node.entries:
                self.report.add(node, "empty_condition", "the condition is empty")
                return None
            return _all([self._operator(fact, key, value, f"{path}.{key.text}") for key, value in node.entries])
        if isinstance(node, Broken):
            return None
        if fact.kind is FactKind.MONEY:
            hint = "write {lt: {USD: 20.00, EUR: 20.00}}"
            self.report.add(node, "money_without_currency", f"`{fact.name}` needs an operator and currencies", hint)
            return None
        op = Op.IN if isinstance(node, Seq) else Op.IS
        return self._equality(fact, op, node, path)

    def _operator(self, fact: Fact, key: Scalar, node: Node, path: str) -> Condition | None:
        operators = OPERATORS[fact.kind]
        read = operators.get(key.text)
        if read is None:
            self.report.add(
                key,
                "unknown_operator",
                f"`{fact.name}` ({fact.kind.value}) has no operator {shown(key.text)}",
                self.report.suggest(key.text, tuple(operators)),
            )
            return None
        return read(self, fact, Op(key.text), node, path)

    def _equality(self, fact: Fact, op: Op, node: Node, path: str) -> Condition | None:
        if isinstance(node, Seq) and op is not Op.IS:
            values = self.constants.values(fact, node)
            op = Op.NOT_IN if op in (Op.NOT, Op.NOT_IN) else Op.IN
        elif op is Op.IN:
            as_list(node, f"`in` of `{fact.name}`", self.report, most=MAX_VALUES)
            return None
        else:
            value = self.constants.value(fact, node)
            values = None if value is None else (value,)
        if values is None:
            return None
        return Comparison(fact=fact, op=op, values=values, path=path, line=node.line)

    def _threshold(self, fact: Fact, op: Op, node: Node, path: str) -> Condition | None:
        if fact.kind is FactKind.MONEY:
            return self._money(fact, op, node, path)
        number = self.constants.value(fact, node)
        if number is None:
            return None
        if (op is Op.LT and number == fact.low) or (op is Op.GT and number == fact.high):
            self.report.add(
                node, "never_true", f"`{fact.name}` is never {'less' if op is Op.LT else 'more'} than {number}"
            )
            return None
        return Comparison(fact=fact, op=op, values=(number,), path=path, line=node.line)

    def _between(self, fact: Fact, op: Op, node: Node, path: str) -> Condition | None:
        if fact.kind is FactKind.MONEY:
            return self._money(fact, op, node, path)
        ends = self._pair(node, f"`between` of `{fact.name}`")
        if ends is None:
            return None
        low, high = (self.constants.value(fact, end) for end in ends)
        if low is None or high is None:
            return None
        if low > high:  # type: ignore[operator]  # both are of the fact's own type, a number or a date
            self.report.add(node, "never_true", f"between {low} and {high} lies nothing", "the smaller one comes first")
            return None
        return Comparison(fact=fact, op=op, values=(low, high), path=path, line=node.line)

    def _pair(self, node: Node, what: str) -> tuple[Node, Node] | None:
        if isinstance(node, Broken):
            return None
        if isinstance(node, Seq) and len(node.items) == 2:
            return node.items[0], node.items[1]
        self.report.add(node, "wrong_type", f"{what} must be a list of two: [from, to], both included")
        return None

    def _money(self, fact: Fact, op: Op, node: Node, path: str) -> Condition | None:
        hint = "write {EUR: [20.00, 50.00]}" if op is Op.BETWEEN else "write {EUR: 20.00}"
        mapping = self.constants.currencies(node, f"`{op.value}` of `{fact.name}`", hint)
        if mapping is None:
            return None
        found: list[tuple[str, tuple[int, ...]]] = []
        for key, value in mapping.entries:
            bounds = self._bounds(op, key, value)
            if bounds is not None:
                found.append((key.text, bounds))
        if len(found) < len(mapping.entries):
            return None
        return Comparison(fact=fact, op=op, money=tuple(found), path=path, line=node.line)

    def _bounds(self, op: Op, currency: Scalar, node: Node) -> tuple[int, ...] | None:
        if not self.constants.currency(currency):
            return None
        if op is not Op.BETWEEN:
            amount = self.constants.amount(currency.text, node)
            return None if amount is None else self._possible(op, amount, node)
        ends = self._pair(node, f"`between` in {currency.text}")
        if ends is None:
            return None
        low, high = (self.constants.amount(currency.text, end) for end in ends)
        if low is None or high is None:
            return None
        if low > high:
            self.report.add(node, "never_true", "between these amounts lies nothing", "the smaller one comes first")
            return None
        return low, high

    def _possible(self, op: Op, amount: int, node: Node) -> tuple[int, ...] | None:
        if op is Op.LT and amount == 0:
            self.report.add(node, "never_true", "an amount is never less than 0")
            return None
        return (amount,)

    def _presence(self, fact: Fact, op: Op, node: Node, path: str) -> Condition | None:
        wanted = as_bool(node, f"`{op.value}`", self.report)
        if wanted is None:
            return None
        other = Op.MISSING if op is Op.EXISTS else Op.EXISTS
        if not wanted:
            self.report.add(
                node, "write_positively", f"`{op.value}: false` is not allowed", f"write {other.value}: true"
            )
            return None
        if not fact.optional:
            self.report.add(node, "always_known", f"`{fact.name}` is always known; asking is pointless")
            return None
        return Comparison(fact=fact, op=op, path=path, line=node.line)


_Read = Callable[[ConditionReader, Fact, Op, Node, str], Condition | None]
_R: Final = ConditionReader
_EQUAL: Final[Mapping[str, _Read]] = {"in": _R._equality, "not": _R._equality}
_ORDER: Final[Mapping[str, _Read]] = {
    "lt": _R._threshold,
    "lte": _R._threshold,
    "gt": _R._threshold,
    "gte": _R._threshold,
    "between": _R._between,
}
_PRESENCE: Final[Mapping[str, _Read]] = {"exists": _R._presence, "missing": _R._presence}
OPERATORS: Final[Mapping[FactKind, Mapping[str, _Read]]] = {
    FactKind.CHOICE: {**_EQUAL, **_PRESENCE},
    FactKind.TEXT: {**_EQUAL, **_PRESENCE},
    FactKind.INT: {**_EQUAL, **_ORDER, **_PRESENCE},
    FactKind.BOOL: {**_PRESENCE},
    FactKind.MONEY: {**_ORDER, **_PRESENCE},
    FactKind.DATE: {**_EQUAL, **_ORDER, **_PRESENCE},
}
"""Per type of fact, how each operator's value is read."""


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _all(parts: list[Condition | None]) -> Condition | None:
    return _gather(All, parts)


def _gather(kind: type[All] | type[AnyOf], parts: list[Condition | None]) -> Condition | None:
    """Join the parts; None as soon as one could not be read (it is reported already)."""
    found = tuple(part for part in parts if part is not None)
    if len(found) < len(parts):
        return None
    return found[0] if len(found) == 1 else kind(found)
