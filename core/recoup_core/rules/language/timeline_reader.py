"""Reads `timelines` from a policy's YAML.

A time may carry its offset (`2026-03-13T06:00:00Z`); without one it is local time in the timeline's `zone`, or UTC
where none is given.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Final
from zoneinfo import available_timezones

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.facts import COUNTRIES, PolicyKind
from recoup_core.rules.facts.stops import StopReason
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.examples import read_given
from recoup_core.rules.language.timelines import (
    FIRST_YEAR,
    LAST_YEAR,
    ON,
    QUIET,
    RETRY,
    STOP,
    Expected,
    Timeline,
    moment_of,
)
from recoup_core.rules.language.yamltext import Map, Node, Scalar, Seq, as_int, as_list, as_map, as_text

MAX_TIMELINES: Final = 200
MAX_FAILURES: Final = 60
"""Failures of one timeline; the widest network limit allows 35 tries in 30 days."""

MAX_ALL_FAILURES: Final = 2_000
"""Failures of all timelines of a file: each is a decision, of a millisecond or so."""

MAX_EXPECTED: Final = 200
MAX_NAME: Final = 120
LAST_DAY: Final = 31

SUCCESS: Final = "success"
"""In place of a decline: the retry brought the money."""

_OF_FAILURES: Final = frozenset({"attempt", "retries", "days_since_failure", "retry_planned", "stop_reason"})
TOLD: Final[Mapping[PolicyKind, tuple[frozenset[str], str]]] = {
    PolicyKind.RETRY: (_OF_FAILURES, "`failures`"),
    PolicyKind.DUNNING: (_OF_FAILURES, "`failures`"),
    PolicyKind.NOTICE: (
        frozenset({"charge_in_days", "card_expires_in_days", "card_expires_before_charge"}),
        "`start`, `charge` and `expires`",
    ),
}
"""Facts that are never given, and the keys that they follow from."""

OF_DECLINE: Final = (
    "decline",
    "decline_code",
    "decline_source",
    "retryable",
    "network_code",
    "advice_code",
    "visa_category",
)
"""Facts that one failure may tell."""

_COMMON: Final = ("name", "given", "start", "zone", "failures", "expect")
_NEEDED: Final = ("name", "start", "failures", "expect")
TIMELINE_KEYS: Final[Mapping[PolicyKind, tuple[str, ...]]] = {
    PolicyKind.RETRY: (*_COMMON, "paydays", "acquirer"),
    PolicyKind.DUNNING: (*_COMMON, "retries", "stop"),
    PolicyKind.NOTICE: ("name", "given", "start", "zone", "charge", "expires", "expect"),
}
TIMELINE_NEEDS: Final[Mapping[PolicyKind, tuple[str, ...]]] = {
    PolicyKind.RETRY: _NEEDED,
    PolicyKind.DUNNING: _NEEDED,
    PolicyKind.NOTICE: ("name", "start", "charge", "expect"),
}
TIMELINE_KINDS: Final = tuple(TIMELINE_KEYS)
"""Kinds of policies that run over time."""

TIMELINE_STEPS: Final[Mapping[PolicyKind, tuple[str, ...]]] = {
    PolicyKind.RETRY: (RETRY, STOP),
    PolicyKind.DUNNING: (
        "message",
        "task",
        "pause_subscription",
        "downgrade_subscription",
        "cancel_subscription",
        "write_off",
        QUIET,
    ),
    PolicyKind.NOTICE: ("message", "task", QUIET),
}
MAY_BE_SILENT: Final = frozenset({PolicyKind.DUNNING, PolicyKind.NOTICE})
"""Kinds whose timelines may expect nothing: it was paid, or announced, before anything was due."""
SWITCHES: Final = frozenset({"pause_subscription", "cancel_subscription", "write_off"})


def read_timelines(node: Node | None, reader: ConditionReader, rules: Collection[str]) -> tuple[Timeline, ...]:
    """Read the list of timelines of a policy with these rules; whether they come true is for `rehearsal` to see."""
    kind = reader.vocabulary.kind
    if node is None or kind not in TIMELINE_KINDS:
        return ()
    items = as_list(node, "`timelines`", reader.report, most=MAX_TIMELINES)
    read = [_TimelineReader(kind, reader).timeline(item) for item in items or ()]
    timelines = tuple(timeline for timeline in read if timeline is not None)
    if sum(len(timeline.failures) for timeline in timelines) > MAX_ALL_FAILURES:
        reader.report.add(node, "too_many", f"all timelines together have more than {MAX_ALL_FAILURES:,} failures")
    seen: dict[str, int] = {}
    for timeline in timelines:
        if timeline.name in seen:
            message = f"a timeline named {shown(timeline.name)} is already on line {seen[timeline.name]}"
            reader.report.add(timeline, "duplicate_timeline", message)
        seen.setdefault(timeline.name, timeline.line)
        for step in timeline.expect:
            if step.rule is not None and step.rule not in rules:
                hint = reader.report.suggest(step.rule, tuple(rules))
                reader.report.add(step, "unknown_rule", f"no rule is named {shown(step.rule)}", hint)
    return timelines


class _TimelineReader:
    """Reads one timeline; goes on after a mistake."""

    def __init__(self, kind: PolicyKind, reader: ConditionReader) -> None:
        self.kind = kind
        self.reader = reader
        self.report = reader.report
        self.zone: str | None = None

    def timeline(self, node: Node) -> Timeline | None:
        mapping = as_map(node, "a timeline", self.report)
        if mapping is None:
            return None
        self._keys(mapping)
        zone, self.zone = mapping.get("zone"), None
        if zone is not None:
            self.zone = self._zone(zone)
        read: dict[str, Any] = {}
        for key, value in mapping.entries:
            how = _READ.get(key.text) if key.text in TIMELINE_KEYS[self.kind] else None
            if how is not None:
                read[key.text] = how(self, value)
        needed = all(name in read for name in TIMELINE_NEEDS[self.kind])
        if not needed or None in read.values() or (zone is not None and self.zone is None):
            return None
        timeline = Timeline(**{"given": {}, **read}, zone=self.zone, line=mapping.line, column=mapping.column)
        return timeline if self._in_order(timeline, mapping) else None

    def _keys(self, mapping: Map) -> None:
        known = TIMELINE_KEYS[self.kind]
        for key, _ in mapping.entries:
            if key.text not in known:
                hint = self.report.suggest(key.text, known)
                self.report.add(key, "unknown_key", f"a timeline has no key {shown(key.text)}", hint)
        for name in TIMELINE_NEEDS[self.kind]:
            if mapping.get(name) is None:
                self.report.add(mapping, "missing_key", f"a timeline needs `{name}`")

    def _in_order(self, timeline: Timeline, mapping: Map) -> bool:
        """Hold a dunning timeline's retries to its failures, one for each but the first; a charge to its start."""
        if timeline.charge is not None and timeline.charge <= timeline.start:
            self.report.add(mapping.get("charge") or mapping, "timeline_order", "`charge` must follow `start`")
            return False
        if self.kind is not PolicyKind.DUNNING:
            return True
        times, at = (timeline.start, *timeline.retries), mapping.get("retries") or mapping
        if len(times) != len(timeline.failures):
            message = f"{len(timeline.failures)} failures need {len(timeline.failures) - 1} `retries`, one before each"
            self.report.add(at, "timeline_order", message)
            return False
        if any(second <= first for first, second in pairwise(times)):
            self.report.add(at, "timeline_order", "`retries` must follow `start` and each other")
            return False
        return True

    def name(self, node: Node) -> str | None:
        name = as_text(node, "a timeline's name", self.report)
        if name is not None and len(name) > MAX_NAME:
            self.report.add(node, "too_many", f"a timeline's name is longer than {MAX_NAME} characters")
            return None
        return name

    def given(self, node: Node) -> Mapping[str, Any] | None:
        given = read_given(node, self.reader)
        follows, where = TOLD[self.kind]
        told = sorted(follows & given.keys()) if given else []
        for name in told:
            self.report.add(node, "told_by_timeline", f"{shown(name)} follows from {where} and can't be given")
        return None if told else given

    def _zone(self, node: Node) -> str | None:
        zone = as_text(node, "`zone`", self.report)
        if zone is None or zone in available_timezones():
            return zone
        hint = self.report.suggest(zone, sorted(available_timezones()))
        self.report.add(node, "unknown_zone", f"{shown(zone)} is no time zone", hint)
        return None

    def moment(self, node: Node) -> datetime | None:
        text = as_text(node, "a time", self.report)
        if text is None:
            return None
        at = moment_of(text, self.zone)
        if at is None:
            hint = "write 2026-03-13T06:00, local in `zone`, or with Z or +01:00 behind it; not an hour the clocks skip"
            self.report.add(node, "bad_moment", f"a time can't be {shown(text)}", hint)
        return at

    def expires(self, node: Node) -> date | None:
        text = self.reader.constants.date(node, "`expires`")
        day = None if text is None else date.fromisoformat(text)
        if day is not None and not FIRST_YEAR <= day.year <= LAST_YEAR:
            self.report.add(node, "out_of_range", f"`expires` lies between {FIRST_YEAR} and {LAST_YEAR}")
            return None
        return day

    def paydays(self, node: Node) -> tuple[int, ...] | None:
        items = as_list(node, "`paydays`", self.report, most=LAST_DAY)
        days = [self._day(item) for item in items or ()]
        return None if items is None or None in days else tuple(day for day in days if day is not None)

    def _day(self, node: Node) -> int | None:
        day = as_int(node, "a day of `paydays`", self.report)
        if day is not None and not 1 <= day <= LAST_DAY:
            self.report.add(node, "out_of_range", f"a day of the month lies between 1 and {LAST_DAY}")
            return None
        return day

    def acquirer(self, node: Node) -> str | None:
        return self._word(node, "`acquirer`", COUNTRIES)

    def stop(self, node: Node) -> str | None:
        return self._word(node, "`stop`", tuple(StopReason))

    def retries(self, node: Node) -> tuple[datetime, ...] | None:
        items = as_list(node, "`retries`", self.report, most=MAX_FAILURES)
        times = [self.moment(item) for item in items or ()]
        return None if items is None or None in times else tuple(time for time in times if time is not None)

    def failures(self, node: Node) -> tuple[Mapping[str, Any] | None, ...] | None:
        items = as_list(node, "`failures`", self.report, most=MAX_FAILURES)
        found: list[Mapping[str, Any] | None] = []
        for index, item in enumerate(items or ()):
            if isinstance(item, Scalar) and item.text == SUCCESS:
                if not 0 < index == len(items or ()) - 1:
                    self.report.add(item, "timeline_order", "`success` may only stand last, after a failure")
                found.append(None)
            elif (failure := self._failure(item)) is not None:
                found.append(failure)
        return tuple(found) if items is not None and len(found) == len(items) else None

    def _failure(self, node: Node) -> Mapping[str, Any] | None:
        """Read a decline by its category, or the facts that tell of it."""
        if isinstance(node, Scalar):
            word = self._word(node, "a failure", (*DeclineCategory, SUCCESS))
            return None if word is None else {"decline": word}
        told = read_given(node, self.reader)
        for name in told or ():
            if name not in OF_DECLINE:
                hint = self.report.suggest(name, OF_DECLINE)
                self.report.add(node, "unknown_fact", f"a failure doesn't tell {shown(name)}", hint)
                return None
        return told

    def expect(self, node: Node) -> tuple[Expected, ...] | None:
        if self.kind in MAY_BE_SILENT and isinstance(node, Seq) and not node.items:
            return ()
        items = as_list(node, "`expect`", self.report, most=MAX_EXPECTED)
        steps = [self._expected(item) for item in items or ()]
        return None if items is None or None in steps else tuple(step for step in steps if step is not None)

    def _expected(self, node: Node) -> Expected | None:
        mapping = as_map(node, "an expected step", self.report)
        if mapping is None:
            return None
        words = TIMELINE_STEPS[self.kind]
        more = ("rule", "credential") if self.kind is PolicyKind.RETRY else ("rule", "at")
        for key, _ in mapping.entries:
            if key.text not in (*words, *more):
                hint = self.report.suggest(key.text, (*words, *more))
                self.report.add(key, "unknown_key", f"an expected step has no key {shown(key.text)}", hint)
        found = [(word, value) for word in words if (value := mapping.get(word)) is not None]
        if len(found) != 1:
            self.report.add(mapping, "missing_key", f"an expected step is one of {', '.join(words)}")
            return None
        rule = mapping.get("rule")
        name = None if rule is None else as_text(rule, "`rule`", self.report)
        what, value = found[0]
        fields = self._step(what, value, mapping)
        if fields is None or (rule is not None and name is None):
            return None
        return Expected(what=what, rule=name, line=mapping.line, column=mapping.column, **fields)

    def _step(self, what: str, value: Node, mapping: Map) -> dict[str, Any] | None:
        """Read what kind of step it is and when it is due."""
        if what == STOP:
            reason = self.stop(value)
            return None if reason is None else {"detail": reason}
        if what == RETRY:
            at, role = self.moment(value), mapping.get("credential")
            word = None if role is None else self._word(role, "`credential`", tuple(CredentialRole))
            return None if at is None or (role is not None and word is None) else {"at": at, "detail": word}
        due = mapping.get("at")
        if what == QUIET:
            reason = as_text(value, "`quiet`", self.report)
            if due is not None:
                self.report.add(due, "no_effect", "`quiet` has no time")
            return None if reason is None or due is not None else {"detail": reason}
        if due is None:
            self.report.add(mapping, "missing_key", f"an expected {what} needs `at`")
            return None
        at, detail = self.moment(due), as_text(value, f"`{what}`", self.report)
        if detail is not None and what in SWITCHES and detail != ON:
            self.report.add(value, "unknown_value", f"`{what}` is only ever {ON}")
            return None
        return None if at is None or detail is None else {"at": at, "detail": detail}

    def _word(self, node: Node, what: str, known: tuple[str, ...]) -> str | None:
        text = as_text(node, what, self.report)
        if text is None or text in known:
            return text
        self.report.add(node, "unknown_value", f"{what} is never {shown(text)}", self.report.suggest(text, known))
        return None


_READ: Final[Mapping[str, Callable[[_TimelineReader, Node], Any]]] = {
    "name": _TimelineReader.name,
    "given": _TimelineReader.given,
    "start": _TimelineReader.moment,
    "paydays": _TimelineReader.paydays,
    "acquirer": _TimelineReader.acquirer,
    "stop": _TimelineReader.stop,
    "retries": _TimelineReader.retries,
    "charge": _TimelineReader.moment,
    "expires": _TimelineReader.expires,
    "failures": _TimelineReader.failures,
    "expect": _TimelineReader.expect,
}
