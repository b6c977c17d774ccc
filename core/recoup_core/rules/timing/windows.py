"""Local days and daily windows as exact spans of UTC, through every change of the clock.

A span is half-open. Local times that a change skips don't exist, so a window that starts in the gap starts when the gap
ends; local times that come twice belong to the window both times, so the first one is met first.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

_DAY: Final = timedelta(days=1)
_WIDEST_OFFSET: Final = timedelta(hours=15)
"""Today's zones lie between 12 h behind and 14 h ahead of UTC (tzdata)."""

_SECOND: Final = timedelta(seconds=1)
"""Clocks change on whole seconds."""


class Span(msgspec.Struct, frozen=True):
    """A half-open piece of time: `start <= t < end`, both aware UTC."""

    start: datetime
    end: datetime

    def within(self, other: "Span") -> "Span":
        """Return what both share; empty where `start >= end`."""
        return Span(max(self.start, other.start), min(self.end, other.end))


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """Return the calendar date on a wall in the zone."""
    return instant.astimezone(zone).date()


def day_spans(day: date, zone: ZoneInfo) -> list[Span]:
    """Return the local day; more than one span only where the clock change takes time out of it at midnight."""
    return _wall_spans(datetime.combine(day, time.min), datetime.combine(day, time.min) + _DAY, zone)


def window_spans(day: date, between: tuple[time, time], zone: ZoneInfo) -> list[Span]:
    """Return when the local time of that date lies in `[from, to)`: twice where the window crosses midnight."""
    midnight = datetime.combine(day, time.min)
    opens, closes = (datetime.combine(day, each) for each in between)
    if opens < closes:
        return _wall_spans(opens, closes, zone)
    parts = (*_wall_spans(midnight, closes, zone), *_wall_spans(opens, midnight + _DAY, zone))
    return sorted(parts, key=lambda span: span.start)


def merged(spans: Iterator[Span]) -> Iterator[Span]:
    """Join spans that touch; they come in order of their start."""
    current: Span | None = None
    for span in spans:
        if current is not None and span.start <= current.end:
            current = Span(current.start, max(current.end, span.end))
            continue
        if current is not None:
            yield current
        current = span
    if current is not None:
        yield current


def _wall_spans(opens: datetime, closes: datetime, zone: ZoneInfo) -> list[Span]:
    """Return the UTC spans in which the wall clock shows `[opens, closes)`, both naive."""
    spans = (
        Span(opens.replace(tzinfo=UTC) - offset, closes.replace(tzinfo=UTC) - offset).within(piece)
        for piece, offset in _pieces(opens, closes, zone)
    )
    return list(merged(span for span in spans if span.start < span.end))


def _pieces(opens: datetime, closes: datetime, zone: ZoneInfo) -> list[tuple[Span, timedelta]]:
    """Cut the time around a wall-clock span where the zone's offset changes: at most once in so short a time."""
    low = opens.replace(tzinfo=UTC, microsecond=0) - _WIDEST_OFFSET
    high = closes.replace(tzinfo=UTC) + _WIDEST_OFFSET
    before, after = _offset(low, zone), _offset(high, zone)
    if before == after:
        return [(Span(low, high), before)]
    change = _change(low, high, before, zone)
    return [(Span(low, change), before), (Span(change, high), after)]


def _change(low: datetime, high: datetime, before: timedelta, zone: ZoneInfo) -> datetime:
    """Return the first instant with the new offset, by halving: some 18 steps for two days of seconds."""
    first, last = 0, (high - low) // _SECOND
    while first + 1 < last:
        middle = (first + last) // 2
        if _offset(low + middle * _SECOND, zone) == before:
            first = middle
        else:
            last = middle
    return low + last * _SECOND


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    if offset is None:
        raise ValueError(f"{zone.key} knows no offset at {instant}")
    return offset
