"""The contact budget: when one customer may be written to next, over all channels and all their cases.

Pure: the caller passes what the customer was told lately, and does what comes out. A stricter rule never lets a
message out earlier than a looser one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from recoup_core.rules.timing import first_within, in_words, is_holiday, last_within, zone_of
from recoup_core.rules.timing.windows import day_spans, local_day

WEEK: Final = timedelta(days=7)

MAX_REST_DAYS: Final = 40
"""Days in a row that are looked at for one on which messages go out; no country rests for so long."""

MAX_MOVES: Final = 500
"""Moves on the way to a moment that every rule lets through; each passes a day, or a message that still counts."""

_DAY: Final = timedelta(days=1)
_SUNDAY: Final = 6


class ContactRules(msgspec.Struct, frozen=True, kw_only=True):
    """The contact budget of the installation; what each number means stands in `settings.ContactSettings`."""

    per_week: int = 4
    min_gap: timedelta = timedelta(hours=12)
    quiet: tuple[time, time] | None = (time(21), time(8))
    """From, to; local time of the customer; None: no quiet hours."""
    sundays: bool = True
    holidays: bool = False
    vulnerable_per_week: int = 1
    reset_on_recovery: bool = True

    def weekly(self, *, vulnerable: bool) -> int:
        """Return how many messages a customer gets in any seven days."""
        return min(self.per_week, self.vulnerable_per_week) if vulnerable else self.per_week


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """One message that reached its reader, or may have, or will."""

    at: datetime
    occasion: UUID
    """The step or notice that it was sent for: one that goes out by several channels is one occasion."""
    counts: bool = True
    """Whether the week counts it; one about a debt that is paid keeps its distance from the next, and no more."""


class Slot(msgspec.Struct, frozen=True):
    """When a message may go out, and how many at that moment."""

    at: datetime
    """Aware UTC, never before what was asked for."""
    room: int
    """Messages that still fit into the seven days up to then, at least one."""
    because: str | None = None
    """What moved it; None where it may go out at once."""


def calm_at(at: datetime, rules: ContactRules, zone: ZoneInfo, country: str | None) -> tuple[datetime, str | None]:
    """Return the first moment from `at` on outside quiet hours and days of rest, and what moved it there."""
    at, because = at.astimezone(UTC), None
    for _ in range(MAX_REST_DAYS):
        shown = first_within(at, _loud(rules), zone)
        if shown > at and rules.quiet is not None:
            at, because = shown, because or f"quiet hours ({_hours(rules.quiet)} {zone.key})"
        rests = _rests(at, rules, zone, country)
        if rests is None:
            return at, because
        at, because = _next_day(at, zone), because or rests
    return at, because


def calm_before(at: datetime, rules: ContactRules, zone: ZoneInfo, country: str | None) -> datetime:
    """Return `at` where messages go out then, else when the last hours in which they do began before it.

    For what is promised ahead of something: it rather comes early than late.
    """
    at = at.astimezone(UTC)
    for _ in range(MAX_REST_DAYS):
        at = last_within(at, _loud(rules), zone)
        if _rests(at, rules, zone, country) is None:
            return at
        at = _day_start(at, zone) - timedelta(seconds=1)
    return at


def next_slot(
    at: datetime,
    past: Sequence[Contact],
    rules: ContactRules,
    zone: ZoneInfo,
    country: str | None,
    *,
    vulnerable: bool = False,
    occasion: UUID | None = None,
) -> Slot | None:
    """Return the first moment from `at` on that every rule lets through; None where the budget allows no message.

    Messages of `occasion` itself are the same contact: no gap is kept from them, and the week counts them.
    """
    weekly = rules.weekly(vulnerable=vulnerable)
    if weekly <= 0:
        return None
    counted = sorted(each.at for each in past if each.counts)
    others = sorted(each.at for each in past if each.occasion != occasion)
    at, because = at.astimezone(UTC), None
    for _ in range(MAX_MOVES):
        at, moved = calm_at(at, rules, zone, country)
        because = because or moved
        if (free := _after_gap(at, others, rules.min_gap)) > at:
            at, because = free, because or f"less than {in_words(rules.min_gap)} after another message"
            continue
        lately = [told for told in counted if abs(at - told) < WEEK]
        if len(lately) < weekly:
            return Slot(at, weekly - len(lately), because)
        at, because = lately[-weekly] + WEEK, because or f"{weekly} messages within seven days"
    return None


def customers_zone(name: str | None, country: str | None) -> ZoneInfo:
    """Return the zone whose clock a customer lives by: their own, else their country's main one, else UTC."""
    return zone_of("customer", name, country)


def _after_gap(at: datetime, others: Sequence[datetime], gap: timedelta) -> datetime:
    near = [told for told in others if abs(at - told) < gap]
    return max(near) + gap if near else at


@lru_cache(maxsize=512)
def _loud_hours(quiet: tuple[time, time]) -> tuple[time, time]:
    return quiet[1], quiet[0]


def _loud(rules: ContactRules) -> tuple[time, time] | None:
    return None if rules.quiet is None else _loud_hours(rules.quiet)


def _rests(at: datetime, rules: ContactRules, zone: ZoneInfo, country: str | None) -> str | None:
    """Return why nobody is written to on that local day; None where they are."""
    if rules.sundays and rules.holidays:
        return None
    day = local_day(at, zone)
    if not rules.sundays and day.weekday() == _SUNDAY:
        return "it is Sunday"
    if not rules.holidays and is_holiday(day, country):
        return f"{day} is a public holiday in {country}"
    return None


def _next_day(at: datetime, zone: ZoneInfo) -> datetime:
    """Return when the next local day begins; one that a change of the calendar left out is passed over."""
    day = local_day(at, zone)
    spans = day_spans(day + _DAY, zone) or day_spans(day + 2 * _DAY, zone)
    return max(spans[0].start, at + timedelta(seconds=1))


def _day_start(at: datetime, zone: ZoneInfo) -> datetime:
    return day_spans(local_day(at, zone), zone)[0].start


def _hours(quiet: tuple[time, time]) -> str:
    return f"{quiet[0]:%H:%M}-{quiet[1]:%H:%M}"
