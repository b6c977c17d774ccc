"""Examples: facts and the rule that must fire for them. They are a policy's tests and run whenever it is read."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.facts import AnyFacts, Fact, FactKind, PolicyKind, Vocabulary
from recoup_core.rules.language.actions.review import ReviewReader
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.yamltext import Broken, Map, Node, as_bool, as_map, as_text

MAX_EXAMPLES: Final = 4_000
REVIEW: Final = "review"
ANSWERS: Final = ("approve", REVIEW, "deny")
"""What an example of a refund policy may expect beside the rule."""

_KEYS: Final = ("given", "expect")
_REFUND_KEYS: Final = (*_KEYS, "answer", "levels")


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """What is given, and the name of the rule expected to fire."""

    given: Mapping[str, Any]
    """Facts that differ from the baseline, by dotted name; None makes one missing."""
    expect: str
    answer: str | None = None
    """One of `ANSWERS`, for refunds: what the rule comes to within or beyond its bounds; None: not tested."""
    levels: tuple[tuple[str, ...], ...] | None = None
    """Who must decide where the answer is a review, level by level; None: not tested."""
    line: int
    column: int

    def facts(self, vocabulary: Vocabulary, baseline: AnyFacts) -> AnyFacts:
        """Return the baseline with what is given, and what follows from it."""
        return vocabulary.given(baseline, self.given)


def read_example(node: Node, reader: ConditionReader) -> Example | None:
    """Read one example; whether its rule exists and fires is checked by the caller."""
    mapping = as_map(node, "an example", reader.report)
    if mapping is None:
        return None
    for key, _ in mapping.entries:
        if key.text not in example_keys(reader.vocabulary.kind):
            hint = reader.report.suggest(key.text, example_keys(reader.vocabulary.kind))
            reader.report.add(key, "unknown_key", f"an example has no key {shown(key.text)}", hint)
    expect = _required(mapping, "expect", reader)
    given = _required(mapping, "given", reader)
    name = None if expect is None else as_text(expect, "`expect`", reader.report)
    facts = None if given is None else read_given(given, reader)
    answer = _answer(mapping.get("answer"), reader)
    levels = _levels(mapping, answer, reader)
    if name is None or facts is None:
        return None
    return Example(given=facts, expect=name, answer=answer, levels=levels, line=node.line, column=node.column)


def example_keys(kind: PolicyKind) -> tuple[str, ...]:
    """Return what an example of a kind may say."""
    return _REFUND_KEYS if kind is PolicyKind.REFUND else _KEYS


def _answer(node: Node | None, reader: ConditionReader) -> str | None:
    text = None if node is None else as_text(node, "`answer`", reader.report)
    if node is None or text is None or text in ANSWERS or reader.vocabulary.kind is not PolicyKind.REFUND:
        return text
    hint = reader.report.suggest(text, ANSWERS)
    reader.report.add(node, "unknown_value", f"`answer` is never {shown(text)}", hint)
    return None


def _levels(mapping: Map, answer: str | None, reader: ConditionReader) -> tuple[tuple[str, ...], ...] | None:
    node = mapping.get("levels")
    if node is None or reader.vocabulary.kind is not PolicyKind.REFUND:
        return None
    if mapping.get("answer") is None:
        reader.report.add(node, "missing_key", "`levels` needs `answer: review`")
    elif answer not in (REVIEW, None):
        reader.report.add(node, "no_effect", f"`levels` has no effect beside `answer: {answer}`")
    return ReviewReader(reader.report).levels(node)


def _required(mapping: Map, key: str, reader: ConditionReader) -> Node | None:
    node = mapping.get(key)
    if node is None:
        reader.report.add(mapping, "missing_key", f"an example needs `{key}`")
    return node


def read_given(node: Node, reader: ConditionReader) -> dict[str, Any] | None:
    """Read facts with their values, by dotted name; None where something is wrong."""
    mapping = as_map(node, "`given`", reader.report)
    if mapping is None:
        return None
    given: dict[str, Any] = {}
    good = True
    facts, groups = reader.vocabulary.facts, reader.vocabulary.groups
    known = tuple(name for name in facts if name != "currency")
    for key, value in mapping.entries:
        inner = as_map(value, f"`{key.text}`", reader.report) if key.text in groups else None
        entries = [(f"{key.text}.{name.text}", name, one) for name, one in inner.entries] if inner else []
        if key.text not in groups:
            entries = [(key.text, key, value)]
        for name, place, one in entries:
            if name not in known:
                hint = "give `amount: {EUR: 15.00}`" if name == "currency" else reader.report.suggest(name, known)
                reader.report.add(place, "unknown_fact", f"{shown(name)} can't be given", hint)
                good = False
                continue
            if name in given:
                reader.report.add(place, "duplicate_key", f"{shown(name)} is given twice")
            read, given[name] = _value(facts[name], one, reader)
            good = good and read
    return given if good else None


def _value(fact: Fact, node: Node, reader: ConditionReader) -> tuple[bool, Any]:
    """Return whether the value could be read, and the value; `{missing: true}` reads as None."""
    if isinstance(node, Broken):
        return False, None
    if fact.kind is FactKind.MONEY:
        if fact.optional and isinstance(node, Map) and node.get("missing") is not None:
            return _is_missing(fact, node, reader), None
        money = _money(fact, node, reader)
        return money is not None, money
    if isinstance(node, Map):
        return _is_missing(fact, node, reader), None
    value = reader.constants.value(fact, node)
    return value is not None, value


def _is_missing(fact: Fact, node: Map, reader: ConditionReader) -> bool:
    missing = node.get("missing") if len(node.entries) == 1 else None
    if missing is None or not fact.optional:
        what = "a value or {missing: true}" if fact.optional else "a value"
        reader.report.add(node, "wrong_type", f"an example gives `{fact.name}` {what}, not conditions")
        return False
    said = as_bool(missing, "`missing`", reader.report)
    if said is False:
        reader.report.add(node, "write_positively", "`missing: false` says nothing", f"give `{fact.name}` a value")
    return bool(said)


def _money(fact: Fact, node: Node, reader: ConditionReader) -> Money | None:
    if not isinstance(node, Map) or len(node.entries) != 1:
        reader.report.add(node, "wrong_type", f"an example gives `{fact.name}` in one currency: {{EUR: 15.00}}")
        return None
    currency, value = node.entries[0]
    if not reader.constants.currency(currency):
        return None
    minor = reader.constants.amount(currency.text, value)
    return None if minor is None else Money(minor, currency.text)
