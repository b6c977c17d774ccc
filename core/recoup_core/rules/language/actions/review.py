"""`review` of a refund policy: who decides, all levels in order or the first whose limit fits, and how long."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.language.actions.values import ValueReader
from recoup_core.rules.language.constants import ConstantReader
from recoup_core.rules.language.errors import Placed, Report, shown
from recoup_core.rules.language.reasons import token
from recoup_core.rules.language.yamltext import Map, Node, Scalar, Seq, as_list, as_map

MAX_LEVELS: Final = 5
"""Levels of one review, each decided by another person."""

MAX_LEVEL_ROLES: Final = 10
"""Roles of one level; whoever has one of them may decide it."""

MAX_REVIEW: Final = timedelta(days=60)
"""The longest that a review may take, and that a request may wait for it."""

Amounts = Mapping[str, int]
"""Minor units per currency; an amount in another currency can't be told to be within."""

_Read = TypeVar("_Read")
FieldReader = Callable[[Any, Node], Any]
"""Reads the value of one key; None where something is wrong with it."""


class ReviewSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Ask people: one level after the other, all of which must agree, or the first one whose limit fits."""

    levels: tuple[tuple[str, ...], ...]
    """Per level the roles of which one decides it."""
    limits: tuple[Amounts, ...] = ()
    """Per level the most that it may decide alone; a level behind the last of them may decide any amount alone. None
    at all: no level decides alone."""
    within: timedelta | None = None
    """How long after the request all levels shall have decided."""
    escalate_to: tuple[str, ...] = ()
    """Roles that may decide in place of any open level once `within` is over."""
    expires: timedelta | None = None
    """How long after the request it is closed if nobody has decided."""

    def alone(self, amount: Money) -> int | None:
        """Return the number, from 0, of the first level that may decide an amount alone; None: all decide, in order."""
        if not self.limits:
            return None
        numbers = range(len(self.levels))
        return next((number for number in numbers if self._may_decide(number, amount)), None)

    def limit(self, level: int, currency: str) -> Money | None:
        """Return the most that a level may decide alone; None: it lists no such currency, or has no limit."""
        minor = self.limits[level].get(currency) if level < len(self.limits) else None
        return None if minor is None else Money(minor, currency)

    def _may_decide(self, level: int, amount: Money) -> bool:
        limit = self.limit(level, amount.currency)
        return level >= len(self.limits) if limit is None else amount <= limit


class ReviewReader(ValueReader):
    """Reads the reviews of one refund policy."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.constants = ConstantReader(report)

    def review(self, node: Node) -> ReviewSpec | None:
        """Read levels of roles, what each may decide alone, and the time they have."""
        fields = self.fields(node, "review", REVIEW_FIELDS, needed=("levels",))
        if fields is None or not isinstance(node, Map):
            return None
        spec = ReviewSpec(**fields)
        found = list(_contradictions(spec, node))
        for at, code, message in found:
            self.report.add(at, code, message, _HINTS.get(code))
        return None if found else spec

    def levels(self, node: Node) -> tuple[tuple[str, ...], ...] | None:
        """Read the levels in their order."""
        items = as_list(node, "`levels`", self.report, most=MAX_LEVELS)
        return None if items is None else _whole([self._level(item) for item in items])

    def limits(self, node: Node) -> tuple[Amounts, ...] | None:
        """Read what each level may decide alone."""
        items = as_list(node, "`limits`", self.report, most=MAX_LEVELS)
        return None if items is None else _whole([self.above_zero(item, "a limit") for item in items])

    def review_time(self, node: Node) -> timedelta | None:
        """Read the time that all levels have together."""
        return self.duration(node, "`within`", MAX_REVIEW)

    def escalate_to(self, node: Node) -> tuple[str, ...] | None:
        """Read who may decide once that time is over."""
        return self._roles(node, "`escalate_to`", "leave it out")

    def expires(self, node: Node) -> timedelta | None:
        """Read how long a request waits for its review."""
        return self.duration(node, "`expires`", MAX_REVIEW)

    def above_zero(self, node: Node, what: str) -> Amounts | None:
        """Read amounts per currency, none of them nothing."""
        mapping = self.constants.currencies(node, what)
        amounts = None if mapping is None else self.constants.amounts(node, what)
        for key, value in mapping.entries if mapping is not None else ():
            if amounts is not None and amounts[key.text] == 0:
                message = f"{what} of 0 {key.text} approves nothing"
                self.report.add(value, "out_of_range", message, "leave the currency out")
        return amounts

    def fields(
        self, node: Node, what: str, table: Mapping[str, FieldReader], needed: tuple[str, ...] = ()
    ) -> dict[str, Any] | None:
        """Read a mapping by a table of keys; None where something in it is wrong."""
        mapping = as_map(node, f"`{what}`", self.report, WRITTEN.get(what))
        if mapping is None:
            return None
        found: dict[str, Any] = {}
        for key, value in mapping.entries:
            read = table.get(key.text)
            if read is None:
                hint = self.report.suggest(key.text, tuple(table))
                self.report.add(key, "unknown_key", f"`{what}` has no key {shown(key.text)}", hint)
                continue
            found[key.text] = read(self, value)
        missing = [key for key in needed if mapping.get(key) is None]
        for key_name in missing:
            self.report.add(mapping, "missing_key", f"`{what}` needs `{key_name}`")
        bad = missing or len(found) < len(mapping.entries) or any(value is None for value in found.values())
        return None if bad else found

    def _level(self, node: Node) -> tuple[str, ...] | None:
        if isinstance(node, Scalar) and node.text.strip():
            self.report.add(node, "wrong_type", "a level must be a list of roles", f"write [{node.text}]")
            return None
        return self._roles(node, "a level", "two people of one role: two levels")

    def _roles(self, node: Node, what: str, hint: str) -> tuple[str, ...] | None:
        items = as_list(node, what, self.report, most=MAX_LEVEL_ROLES)
        if items is None:
            return None
        roles = [token(item, "a role", self.report) for item in items]
        for index, role in enumerate(roles):
            if role is not None and role in roles[:index]:
                where = what.replace("a level", "the level")
                self.report.add(items[index], "duplicate_value", f"{shown(role)} stands twice in {where}", hint)
        return _whole(roles)


def _whole(read: list[_Read | None]) -> tuple[_Read, ...] | None:
    """Return what was read; None where a part of it could not be."""
    found = tuple(each for each in read if each is not None)
    return found if len(found) == len(read) else None


_Contradiction = tuple[Placed | None, str, str]
"""Where, which code, and the message."""


def _contradictions(spec: ReviewSpec, at: Map) -> Iterator[_Contradiction]:
    """Yield what the keys of one review don't allow each other."""
    if spec.limits:
        yield from _of_limits(spec, at.get("limits"))
    if spec.escalate_to:
        yield from _of_escalation(spec, at)
    if spec.expires is not None and spec.within is not None and spec.expires <= spec.within:
        message = "`expires` must be longer than `within`, else nobody is ever late"
        yield at.get("expires"), "expires_too_soon", message


def _of_limits(spec: ReviewSpec, node: Node | None) -> Iterator[_Contradiction]:
    count, levels = len(spec.limits), len(spec.levels)
    if levels == 1:
        yield node, "no_effect", "`limits` has no effect on one level: it decides any amount"
    elif count not in (levels, levels - 1):
        message = f"`limits` has {count} entr{'y' if count == 1 else 'ies'} for {levels} levels"
        yield node, "limits_and_levels", message
    else:
        yield from _lowered(spec.limits, node)


def _lowered(limits: tuple[Amounts, ...], node: Node | None) -> Iterator[_Contradiction]:
    """Yield limits below that of a level before, which could then never be why a level decides."""
    before: dict[str, int] = {}
    entries = node.items if isinstance(node, Seq) else ()
    for number, (limit, entry) in enumerate(zip(limits, entries, strict=True), 1):
        for currency, minor in limit.items():
            if minor < before.get(currency, 0):
                most = Money(before[currency], currency)
                message = f"level {number} may decide less alone than one before it, which may decide {most}"
                place = entry.get(currency) if isinstance(entry, Map) else None
                yield place or entry, "limit_lowered", message
        before |= limit


def _of_escalation(spec: ReviewSpec, at: Map) -> Iterator[_Contradiction]:
    node = at.get("escalate_to")
    if spec.within is None:
        yield node, "missing_key", "`escalate_to` needs `within`: when it begins"
    elif all(set(spec.escalate_to) <= set(level) for level in spec.levels):
        yield node, "no_effect", "`escalate_to` has no effect: whoever it names may decide every level anyway"


_HINTS: Final = {
    "limits_and_levels": "one entry for each level, or one fewer: then the last level may decide any amount alone",
    "limit_lowered": "let limits rise from level to level",
    "missing_key": "write within: 2d",
}
"""How such a mistake is mended."""

WRITTEN: Final[Mapping[str, str]] = {
    "review": "write {levels: [[support_lead]]}",
    "approve": "write `auto`, or bounds: {per_agent_day: {EUR: 500.00}}",
    "per_customer": "write {count: 3, within: 30d}",
}
"""How a mapping is written that somebody put something else for."""

REVIEW_FIELDS: Final[Mapping[str, FieldReader]] = {
    "levels": ReviewReader.levels,
    "limits": ReviewReader.limits,
    "within": ReviewReader.review_time,
    "escalate_to": ReviewReader.escalate_to,
    "expires": ReviewReader.expires,
}
"""Per key of `review`, how its value is read."""
