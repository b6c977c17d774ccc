"""Business days and paydays of a country, as immutable sets that are worked out once per year and kept.

Cost, measured on holidays 0.109: about 0.3 s for the very first country (its module is imported then), under 2 ms for
each further country and year, a set look-up after that.
"""

from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

import holidays

MAX_CALENDARS: Final = 512
"""Years of countries kept in memory; some 120 dates each."""

MAX_DAYS_BACK: Final = 31
"""A payday is never moved further back than this; no country rests for a month."""

_SUBDIVISION: Final[Mapping[str, str]] = {"GB": "ENG"}
"""The library's GB knows only what all of the UK shares; Bacs follows the bank holidays of England."""

_SATURDAY: Final = 5
_LAST_DAY: Final = 31
_DECEMBER: Final = 12


def is_business_day(day: date, country: str | None) -> bool:
    """Return whether banks of the country work that day; an unknown country rests on Saturday and Sunday only."""
    return day not in _days_off((country or "").upper(), day.year)


def is_holiday(day: date, country: str | None) -> bool:
    """Return whether the day is a public holiday of the country; one that is not known keeps none."""
    return day in _holidays((country or "").upper(), day.year)


def payday_on(day: date, days: tuple[int, ...], country: str | None) -> str | None:
    """Return why the day is a payday, in words, or None.

    `days` are days of the month; 31 means the last one, and so does any number the month doesn't reach. A payday on a
    day off moves to the business day before it, because employers and banks pay early; so the 1st of next month may
    be paid in this one.
    """
    return _paydays_of_month(day.year, day.month, days, (country or "").upper()).get(day)


@lru_cache(maxsize=MAX_CALENDARS)
def _days_off(country: str, year: int) -> frozenset[date]:
    """Return weekends and public (where kept apart: also bank) holidays of the year.

    A calendar of its own per call: the library fills its objects on look-up, which is not safe between threads.
    """
    first = date(year, 1, 1)
    everyday = [first + timedelta(days=n) for n in range((date(year, 12, 31) - first).days + 1)]
    try:
        known = holidays.country_holidays(country, subdiv=_SUBDIVISION.get(country), years=year)
    except NotImplementedError:
        return frozenset(day for day in everyday if day.weekday() >= _SATURDAY)
    if holidays.BANK in known.supported_categories:
        categories = {*known.categories, holidays.BANK}
        known = holidays.country_holidays(
            country, subdiv=_SUBDIVISION.get(country), years=year, categories=tuple(sorted(categories))
        )
    return frozenset(day for day in everyday if not known.is_working_day(day))


@lru_cache(maxsize=MAX_CALENDARS)
def _holidays(country: str, year: int) -> frozenset[date]:
    try:
        return frozenset(holidays.country_holidays(country, subdiv=_SUBDIVISION.get(country), years=year))
    except NotImplementedError:
        return frozenset()


@lru_cache(maxsize=MAX_CALENDARS)
def _paydays_of_month(year: int, month: int, days: tuple[int, ...], country: str) -> Mapping[date, str]:
    """Return the month's dates on which people are paid, each with its reason; early pay of the next month included."""
    following = (year + month // _DECEMBER, month % _DECEMBER + 1)
    paid: dict[date, str] = {}
    for in_year, in_month in ((year, month), following):
        last = monthrange(in_year, in_month)[1]
        for number in days:
            nominal = date(in_year, in_month, min(max(number, 1), last))
            day = _business_day_until(nominal, country)
            if (day.year, day.month) == (year, month):
                paid.setdefault(day, _reason(number, nominal, day))
    return paid


def _reason(number: int, nominal: date, day: date) -> str:
    if number == _LAST_DAY:
        return "last business day"
    return f"day {number}" if day == nominal else f"for {nominal}, no business day"


def _business_day_until(nominal: date, country: str) -> date:
    """Return the last business day up to the date."""
    before = (nominal - timedelta(days=back) for back in range(MAX_DAYS_BACK))
    return next((day for day in before if is_business_day(day, country)), nominal)
