"""Reads what actions of every kind are made of: waits, clock times, zones, words, names."""

import re
from collections.abc import Mapping
from datetime import time, timedelta
from functools import cache
from typing import Final
from zoneinfo import available_timezones

from recoup_core.rules.language.errors import Report, shown
from recoup_core.rules.language.yamltext import Broken, Node, Scalar, Seq, as_int, as_text

MAX_WAIT: Final = timedelta(days=180)
"""The longest wait or window: no scheme's window is longer (ACH: 180 days, reference/network_retry_limits.yaml)."""

CUSTOMER_ZONE: Final = "customer"

_DURATION: Final = re.compile(r"([0-9]{1,4})([mhdw])")
_UNITS: Final[Mapping[str, timedelta]] = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_GATEWAY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


class ValueReader:
    """Reads the values of one file's actions."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def word(self, node: Node, what: str, known: tuple[str, ...]) -> str | None:
        """Read one of a closed list of words."""
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

    def count(self, node: Node, what: str, most: int) -> int | None:
        """Read a whole number from 1 to `most`."""
        number = as_int(node, what, self.report)
        if number is None or 1 <= number <= most:
            return number
        self.report.add(node, "out_of_range", f"{what} must lie between 1 and {most}")
        return None

    def gateway(self, node: Node) -> str | None:
        """Read a gateway's name."""
        text = as_text(node, "`gateway`", self.report)
        if text is None or _GATEWAY.fullmatch(text):
            return text
        hint = "lower-case letters, digits, - and _, at most 40"
        self.report.add(node, "bad_name", f"{shown(text)} can't be a gateway's name", hint)
        return None
