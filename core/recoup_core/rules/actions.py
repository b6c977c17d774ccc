"""What a rule does: plan a retry within bounds, or stop for a reason. Times and waits are read and checked here."""

import re
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final
from zoneinfo import available_timezones

import msgspec

from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.errors import Report, shown
from recoup_core.rules.yamltext import Broken, Map, Node, Scalar, Seq, as_int, as_list, as_map, as_text

MAX_WAITS: Final = 40
"""Waits in one `after`; the widest network limit allows 35 tries in 30 days (reference/network_retry_limits.yaml)."""

MAX_RETRIES: Final = 40
MAX_WAIT: Final = timedelta(days=180)
"""The longest wait or window: no scheme's window is longer (ACH: 180 days, reference/network_retry_limits.yaml)."""

MAX_JITTER: Final = timedelta(hours=24)

_DURATION: Final = re.compile(r"([0-9]{1,4})([mhdw])")
_UNITS: Final[Mapping[str, timedelta]] = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_GATEWAY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
CUSTOMER_ZONE: Final = "customer"


class StopReason(StrEnum):
    """Why no further unattended retry is made."""

    EXHAUSTED = "exhausted"
    NOT_RETRYABLE = "not_retryable"
    NEEDS_CUSTOMER = "needs_customer"
    NEEDS_AUTHENTICATION = "needs_authentication"
    MANUAL_REVIEW = "manual_review"


class Day(StrEnum):
    """Which days a retry may fall on."""

    PAYDAY = "payday"
    BUSINESS_DAY = "business_day"


class StopSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Make no further retry."""

    reason: StopReason


class RetrySpec(msgspec.Struct, frozen=True, kw_only=True):
    """When and with what to try again; `rules/timing.py` turns it into an instant."""

    after: tuple[timedelta, ...] = ()
    """The i-th retry made under this rule waits after[i]; once the list is used up the action does not apply."""
    on: str | None = None
    """None, "payday" or "business_day"."""
    between: tuple[time, time] | None = None
    """Local window [from, to); may cross midnight."""
    zone: str = "UTC"
    """"customer" or an IANA name; what `between` is read in. `on` is a matter of the customer's own calendar."""
    jitter: timedelta = timedelta()
    """Up to this much is added, the same for the same case and attempt."""
    within: timedelta | None = None
    """The retry must lie within this of the first failure, else the action does not apply."""
    max: int | None = None
    """At most this many retries under this rule."""
    credential: str = CredentialRole.PRIMARY.value
    gateway: str | None = None
    """A gateway by its name in the settings; None means the credential's own."""


Action = RetrySpec | StopSpec


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


class ActionReader:
    """Reads the actions of one file."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def stop(self, node: Node) -> StopSpec | None:
        """Read the reason of a `stop`."""
        reasons = tuple(reason.value for reason in StopReason)
        word = self._word(node, "`stop`", reasons)
        return None if word is None else StopSpec(reason=StopReason(word))

    def retry(self, node: Node) -> RetrySpec | None:
        """Read a `retry`; a retry that could go on for ever, or never happen, is refused."""
        mapping = as_map(node, "`retry`", self.report)
        if mapping is None:
            return None
        fields: dict[str, Any] = {}
        for key, value in mapping.entries:
            read = _FIELDS.get(key.text)
            if read is None:
                hint = self.report.suggest(key.text, tuple(_FIELDS))
                self.report.add(key, "unknown_key", f"`retry` has no key {shown(key.text)}", hint)
                continue
            fields[key.text] = read(self, value)
        if len(fields) < len(mapping.entries) or any(value is None for value in fields.values()):
            return None
        spec = RetrySpec(**fields)
        return spec if self._sensible(spec, mapping) else None

    def _sensible(self, spec: RetrySpec, at: Map) -> bool:
        problems = tuple(_contradictions(spec, at))
        for key, code, message in problems:
            self.report.add(at.get(key) or at, code, message)
        return not problems

    def _word(self, node: Node, what: str, known: tuple[str, ...]) -> str | None:
        text = as_text(node, what, self.report)
        if text is None or text in known:
            return text
        self.report.add(node, "unknown_value", f"{what} is never {shown(text)}", self.report.suggest(text, known))
        return None

    def duration(self, node: Node, what: str, most: timedelta) -> timedelta | None:
        """Read `30m`, `6h`, `10d` or `2w`: more than nothing and at most `most`."""
        text = as_text(node, what, self.report)
        if text is None:
            return None
        match = _DURATION.fullmatch(text)
        if match is None:
            hint = "a whole number and one of m, h, d, w: 30m, 6h, 10d, 2w"
            self.report.add(node, "bad_duration", f"{what} can't be {shown(text)}", hint)
            return None
        length = int(match[1]) * _UNITS[match[2]]
        if timedelta() < length <= most:
            return length
        limit = "nothing" if not length else f"more than {most.days} days"
        self.report.add(node, "bad_duration", f"{what} can't be {limit} ({text})")
        return None

    def after(self, node: Node) -> tuple[timedelta, ...] | None:
        """Read the list of waits."""
        items = as_list(node, "`after`", self.report, most=MAX_WAITS)
        if items is None:
            return None
        waits = [self.duration(item, "a wait of `after`", MAX_WAIT) for item in items]
        found = tuple(wait for wait in waits if wait is not None)
        return found if len(found) == len(waits) else None

    def on(self, node: Node) -> str | None:
        """Read which days are allowed."""
        return self._word(node, "`on`", tuple(day.value for day in Day))

    def between(self, node: Node) -> tuple[time, time] | None:
        """Read a local window of two different clock times."""
        if isinstance(node, Broken):
            return None
        if not isinstance(node, Seq) or len(node.items) != 2:
            self.report.add(node, "wrong_type", '`between` must be a list of two clock times: ["06:00", "10:00"]')
            return None
        start, end = (self._clock(item) for item in node.items)
        if start is None or end is None:
            return None
        if start == end:
            self.report.add(node, "empty_window", "`between` starts and ends at the same time; no time lies between")
            return None
        return start, end

    def _clock(self, node: Node) -> time | None:
        match = _CLOCK.fullmatch(node.text) if isinstance(node, Scalar) else None
        if match is not None:
            return time(int(match[1]), int(match[2]))
        if not isinstance(node, Broken):
            hint = "two digits, a colon, two digits, from 00:00 to 23:59"
            text = shown(node.text) if isinstance(node, Scalar) else "a list or mapping"
            self.report.add(node, "bad_time", f"a clock time can't be {text}", hint)
        return None

    def zone(self, node: Node) -> str | None:
        """Read `customer` or an IANA time zone."""
        text = as_text(node, "`zone`", self.report)
        if text is None or text == CUSTOMER_ZONE or text in _zones():
            return text
        hint = self.report.suggest(text, (CUSTOMER_ZONE, *sorted(_zones())))
        self.report.add(node, "unknown_zone", f"{shown(text)} is neither `customer` nor a time zone", hint)
        return None

    def jitter(self, node: Node) -> timedelta | None:
        """Read the jitter."""
        return self.duration(node, "`jitter`", MAX_JITTER)

    def within(self, node: Node) -> timedelta | None:
        """Read the window from the first failure."""
        return self.duration(node, "`within`", MAX_WAIT)

    def max(self, node: Node) -> int | None:
        """Read the number of retries under the rule."""
        number = as_int(node, "`max`", self.report)
        if number is None or 1 <= number <= MAX_RETRIES:
            return number
        self.report.add(node, "out_of_range", f"`max` must lie between 1 and {MAX_RETRIES}")
        return None

    def credential(self, node: Node) -> str | None:
        """Read which credential is tried."""
        return self._word(node, "`credential`", tuple(role.value for role in CredentialRole))

    def gateway(self, node: Node) -> str | None:
        """Read a gateway's name."""
        text = as_text(node, "`gateway`", self.report)
        if text is None or _GATEWAY.fullmatch(text):
            return text
        hint = "lower-case letters, digits, - and _, at most 40"
        self.report.add(node, "bad_name", f"{shown(text)} can't be a gateway's name", hint)
        return None


_Field = Callable[[ActionReader, Node], Any]
_FIELDS: Final[Mapping[str, _Field]] = {
    "after": ActionReader.after,
    "on": ActionReader.on,
    "between": ActionReader.between,
    "zone": ActionReader.zone,
    "jitter": ActionReader.jitter,
    "within": ActionReader.within,
    "max": ActionReader.max,
    "credential": ActionReader.credential,
    "gateway": ActionReader.gateway,
}


def _contradictions(spec: RetrySpec, at: Map) -> list[tuple[str, str, str]]:
    """Return (key, code, message) for combinations that go on for ever, never happen or have no effect."""
    found: list[tuple[str, str, str]] = []
    if not spec.after and spec.on is None:
        found.append(("", "no_time", "`retry` needs `after`, `on`, or both"))
    elif not spec.after and spec.max is None and spec.within is None:
        found.append(("", "unbounded", "without `after`, `retry` needs `max` or `within`, else it never ends"))
    if spec.after and spec.max is not None and spec.max > len(spec.after):
        found.append(("max", "unreachable_max", f"`after` has only {len(spec.after)} waits; `max` is never reached"))
    if spec.within is not None and sum(spec.after, timedelta()) > spec.within:
        found.append(("within", "unreachable_wait", "the waits of `after` add up to more than `within`"))
    if spec.between is None and spec.on is None and at.get("zone") is not None:
        found.append(("zone", "no_effect", "`zone` has no effect without `between` or `on`"))
    if spec.between is not None and spec.jitter >= _length(spec.between):
        found.append(("jitter", "jitter_too_long", "`jitter` must be shorter than the window of `between`"))
    return found


def _length(window: tuple[time, time]) -> timedelta:
    start, end = (timedelta(hours=clock.hour, minutes=clock.minute) for clock in window)
    return (end - start) % timedelta(days=1)
