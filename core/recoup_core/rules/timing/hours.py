"""Daily hours in a zone: the first moment inside them from some time on, and the last ones that began before it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from recoup_core.reference import main_zone
from recoup_core.rules.language.actions.values import CUSTOMER_ZONE
from recoup_core.rules.timing.windows import Span, local_day, merged, window_spans

MAX_ZONES: Final = 512
MAX_SPANS: Final = 8_192
"""Days of one policy's hours in one zone that are kept: a month of a hundred zones and a few windows."""

_AHEAD: Final = range(-1, 4)
_BACK: Final = range(-3, 1)
"""Days looked at around one: a window that a change of the clock swallows is there again on the next."""

_DAY: Final = timedelta(days=1)


@lru_cache(maxsize=MAX_ZONES)
def known_zone(name: str | None) -> ZoneInfo | None:
    """Return the zone of that IANA name; None where there is none."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def customers_zone(name: str | None, country: str | None) -> ZoneInfo | None:
    """Return the customer's own zone, else their country's main one."""
    return known_zone(name) or (known_zone(main_zone(country)) if country else None)


def zone_of(wanted: str, name: str | None, country: str | None) -> ZoneInfo:
    """Return the zone that a policy names; `customer` is the customer's, or UTC where theirs is not known."""
    if wanted == CUSTOMER_ZONE:
        return customers_zone(name, country) or ZoneInfo("UTC")
    return ZoneInfo(wanted)


def first_within(at: datetime, between: tuple[time, time] | None, zone: ZoneInfo) -> datetime:
    """Return the first moment from `at` on, aware UTC, at which the zone's clock shows a time in `[from, to)`."""
    at = at.astimezone(UTC)
    if between is None or _shown(at, between, zone):
        return at
    span = next((span for span in _about(at, between, zone, _AHEAD) if span.end > at), None)
    return at if span is None else max(at, span.start)


def last_within(at: datetime, between: tuple[time, time] | None, zone: ZoneInfo) -> datetime:
    """Return `at` where it lies in the hours, else when the last hours before it began."""
    at = at.astimezone(UTC)
    if between is None or _shown(at, between, zone):
        return at
    begun = [span for span in _about(at, between, zone, _BACK) if span.start <= at]
    return begun[-1].start if begun else at


def _shown(at: datetime, between: tuple[time, time], zone: ZoneInfo) -> bool:
    """Whether the clock on the wall shows one of the hours: what most questions come to, and cheap to tell."""
    wall, (start, end) = at.astimezone(zone).time(), between
    return start <= wall < end if start < end else wall >= start or wall < end


def _about(at: datetime, between: tuple[time, time], zone: ZoneInfo, around: range) -> Iterator[Span]:
    """Yield the hours of the days around, in order; joined where they touch at midnight."""
    today = local_day(at, zone)
    days = (today + ahead * _DAY for ahead in around)
    return merged(span for day in days for span in _spans(day, between, zone))


@lru_cache(maxsize=MAX_SPANS)
def _spans(day: date, between: tuple[time, time], zone: ZoneInfo) -> tuple[Span, ...]:
    return tuple(window_spans(day, between, zone))
