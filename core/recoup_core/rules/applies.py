"""Which payments a policy is for: `applies_to`, and when one policy is strictly narrower than another."""

from collections.abc import Mapping
from typing import Final

import msgspec

from recoup_core.rules.condition_reader import ConditionReader
from recoup_core.rules.errors import shown
from recoup_core.rules.facts import FACTS, GROUPS, Fact, RetryFacts, with_fact
from recoup_core.rules.yamltext import Map, Node, Scalar, Seq, as_list, as_map

MAX_SCOPE_VALUES: Final = 200
SCOPE_FACTS: Final = tuple(name for name, fact in FACTS.items() if fact.scope)
"""Facts that do not change while a case runs."""


class AppliesTo(msgspec.Struct, frozen=True, kw_only=True):
    """Per fact the allowed values; facts not named are free. A missing fact is in no list."""

    only: Mapping[str, tuple[str, ...]]
    line: int
    column: int

    def covers(self, facts: RetryFacts) -> bool:
        """Return whether the payment is one of those the policy is for."""
        return all(FACTS[name].get(facts) in values for name, values in self.only.items())

    def narrower(self, other: "AppliesTo") -> bool:
        """Return whether everything covered here is covered there, and not the other way round."""
        return self._inside(other) and not other._inside(self)

    def overlaps(self, other: "AppliesTo") -> bool:
        """Return whether one payment can be covered by both."""
        return all(not set(values).isdisjoint(other.only.get(name, values)) for name, values in self.only.items())

    def _inside(self, other: "AppliesTo") -> bool:
        return all(name in self.only and set(self.only[name]) <= set(values) for name, values in other.only.items())

    def baseline(self, facts: RetryFacts) -> RetryFacts:
        """Return the facts moved to the first value of every list, so that they are covered."""
        for name, values in self.only.items():
            if FACTS[name].get(facts) not in values:
                facts = with_fact(facts, name, values[0])
        return facts


def read_applies_to(node: Node, reader: ConditionReader) -> AppliesTo | None:
    """Read `applies_to`: facts that stay as they are, each with a value or a list of values."""
    mapping = as_map(node, "`applies_to`", reader.report)
    if mapping is None:
        return None
    only: dict[str, tuple[str, ...]] = {}
    good = True
    for key, name, value in _flat(mapping, reader):
        fact = FACTS.get(name)
        if fact is None or not fact.scope:
            known = "can't be used in `applies_to`" if fact else "is no fact"
            reader.report.add(key, "unknown_fact", f"{shown(name)} {known}", reader.report.suggest(name, SCOPE_FACTS))
            good = False
            continue
        if name in only:
            reader.report.add(key, "duplicate_key", f"{shown(name)} is given twice")
        values = _values(fact, value, reader)
        good = good and values is not None
        only[name] = values or ()
    return AppliesTo(only=only, line=node.line, column=node.column) if good else None


def _flat(mapping: Map, reader: ConditionReader) -> list[tuple[Scalar, str, Node]]:
    found: list[tuple[Scalar, str, Node]] = []
    for key, value in mapping.entries:
        inner = as_map(value, f"`{key.text}`", reader.report) if key.text in GROUPS else None
        if inner is not None:
            found += [(name, f"{key.text}.{name.text}", one) for name, one in inner.entries]
        elif key.text not in GROUPS:
            found.append((key, key.text, value))
    return found


def _values(fact: Fact, node: Node, reader: ConditionReader) -> tuple[str, ...] | None:
    items: tuple[Node, ...] | None = (node,)
    if isinstance(node, Seq):
        items = as_list(node, f"the list of `{fact.name}`", reader.report, most=MAX_SCOPE_VALUES)
    if items is None:
        return None
    values = [reader.value(fact, item) for item in items]
    found = tuple(value for value in values if isinstance(value, str))
    return found if len(found) == len(values) else None
