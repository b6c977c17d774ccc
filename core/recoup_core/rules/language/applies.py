"""Which payments a policy is for (`applies_to`, `effective`), and when one policy is strictly narrower than another."""

from collections.abc import Mapping
from typing import Final

import msgspec

from recoup_core.rules.facts import AnyFacts, Fact, Facts, Vocabulary
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.yamltext import Map, Node, Scalar, Seq, as_list, as_map

MAX_SCOPE_VALUES: Final = 200
PAID_ON: Final = "paid_on"
"""The fact that `effective` is held against."""

FOREVER: Final = ("0001-01-01", "9999-12-31")


class AppliesTo(msgspec.Struct, frozen=True, kw_only=True):
    """Per fact the allowed values; facts not named are free. A missing fact is in no list."""

    vocabulary: Vocabulary
    only: Mapping[str, tuple[str, ...]]
    effective: tuple[str, str] = FOREVER
    """First and last date of payment that are covered, ISO 8601."""
    line: int
    column: int

    def covers(self, facts: Facts) -> bool:
        """Return whether the payment is one of those the policy is for."""
        known = self.vocabulary.facts
        if not all(known[name].get(facts) in values for name, values in self.only.items()):
            return False
        return self.effective == FOREVER or self.effective[0] <= known[PAID_ON].get(facts) <= self.effective[1]

    def narrower(self, other: "AppliesTo") -> bool:
        """Return whether everything covered here is covered there, and not the other way round."""
        return self._inside(other) and not other._inside(self)

    def overlaps(self, other: "AppliesTo") -> bool:
        """Return whether one payment can be covered by both."""
        if self.effective[0] > other.effective[1] or other.effective[0] > self.effective[1]:
            return False
        return all(not set(values).isdisjoint(other.only.get(name, values)) for name, values in self.only.items())

    def _inside(self, other: "AppliesTo") -> bool:
        dated = other.effective[0] <= self.effective[0] and self.effective[1] <= other.effective[1]
        return dated and all(
            name in self.only and set(self.only[name]) <= set(values) for name, values in other.only.items()
        )

    def baseline(self, facts: AnyFacts) -> AnyFacts:
        """Return the facts moved to the first value of every list, so that they are covered."""
        moved = {
            name: values[0]
            for name, values in self.only.items()
            if self.vocabulary.facts[name].get(facts) not in values
        }
        if self.effective != FOREVER:
            paid_on = self.vocabulary.facts[PAID_ON].get(facts)
            moved[PAID_ON] = min(max(paid_on, self.effective[0]), self.effective[1])
        return self.vocabulary.given(facts, moved)


def read_applies_to(node: Node, effective: Node | None, reader: ConditionReader) -> AppliesTo | None:
    """Read `applies_to`: facts that stay as they are, each with a value or a list of values; and `effective`."""
    mapping = as_map(node, "`applies_to`", reader.report, "write {method: card}, or {} for every payment")
    dates = FOREVER if effective is None else _effective(effective, reader)
    if mapping is None or dates is None:
        return None
    only = _only(mapping, reader)
    if only is None:
        return None
    return AppliesTo(vocabulary=reader.vocabulary, only=only, effective=dates, line=node.line, column=node.column)


def _only(mapping: Map, reader: ConditionReader) -> dict[str, tuple[str, ...]] | None:
    only: dict[str, tuple[str, ...]] = {}
    good = True
    for key, name, value in _flat(mapping, reader):
        fact = reader.vocabulary.facts.get(name)
        if fact is None or not fact.scope:
            known = "can't be used in `applies_to`" if fact else "is no fact"
            hint = reader.report.suggest(name, reader.vocabulary.scope_facts)
            reader.report.add(key, "unknown_fact", f"{shown(name)} {known}", hint)
            good = False
            continue
        if name in only:
            reader.report.add(key, "duplicate_key", f"{shown(name)} is given twice")
        values = _values(fact, value, reader)
        good = good and values is not None
        only[name] = values or ()
    return only if good else None


def _flat(mapping: Map, reader: ConditionReader) -> list[tuple[Scalar, str, Node]]:
    found: list[tuple[Scalar, str, Node]] = []
    groups = reader.vocabulary.groups
    for key, value in mapping.entries:
        inner = as_map(value, f"`{key.text}`", reader.report) if key.text in groups else None
        if inner is not None:
            found += [(name, f"{key.text}.{name.text}", one) for name, one in inner.entries]
        elif key.text not in groups:
            found.append((key, key.text, value))
    return found


def _values(fact: Fact, node: Node, reader: ConditionReader) -> tuple[str, ...] | None:
    items: tuple[Node, ...] | None = (node,)
    if isinstance(node, Seq):
        items = as_list(node, f"the list of `{fact.name}`", reader.report, most=MAX_SCOPE_VALUES)
    if items is None:
        return None
    values = [reader.constants.value(fact, item) for item in items]
    found = tuple(value for value in values if isinstance(value, str))
    return found if len(found) == len(values) else None


def _effective(node: Node, reader: ConditionReader) -> tuple[str, str] | None:
    """Read the first and the last date of payment; one of them may be left out."""
    mapping = as_map(node, "`effective`", reader.report)
    if mapping is None:
        return None
    read: dict[str, str | None] = {}
    for key, value in mapping.entries:
        if key.text in ("from", "until"):
            read[key.text] = reader.constants.date(value, f"`{key.text}` of `effective`")
        else:
            hint = reader.report.suggest(key.text, ("from", "until"))
            reader.report.add(key, "unknown_key", f"`effective` has no key {shown(key.text)}", hint)
    if not mapping.entries:
        reader.report.add(node, "missing_key", "`effective` needs `from`, `until` or both")
    first, last = read.get("from", FOREVER[0]), read.get("until", FOREVER[1])
    if first is None or last is None or len(read) < len(mapping.entries):
        return None
    if first > last:
        reader.report.add(node, "never_true", "`effective` ends before it begins; no payment was made then")
        return None
    return first, last
