"""Amounts, dates and times, as a language and its country write them; always in the customer's own zone."""

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import NumberPattern, parse_pattern

from recoup_core.domain.money import Money, exponent

_UTC: Final = ZoneInfo("UTC")


@lru_cache(maxsize=256)
def locale_of(tag: str) -> Locale | None:
    """Return what is known of a BCP 47 language tag (`de`, `de-AT`, `zh-Hant-TW`); None: nothing is."""
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError, TypeError):
        return None


def is_right_to_left(locale: Locale) -> bool:
    """Return whether the language is written from right to left."""
    return str(locale.text_direction) == "rtl"


@lru_cache(maxsize=512)
def _pattern(locale: Locale, decimals: int) -> NumberPattern:
    """Return how the locale writes money with that many decimals.

    ISO 4217 says how many a currency has: CLDR shows some (IQD, UGX) with fewer, which would round what is owed.
    """
    pattern = parse_pattern(locale.currency_formats["standard"].pattern)
    pattern.frac_prec = (decimals, decimals)
    return pattern


def money_text(money: Money, locale: Locale) -> str:
    """Return the amount to its last minor unit, with the currency's sign."""
    decimals = exponent(money.currency)
    value = Decimal(money.amount_minor).scaleb(-decimals)
    return str(_pattern(locale, decimals).apply(value, locale, currency=money.currency, currency_digits=False))


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone; UTC where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return _UTC


def day_text(at: date | datetime, zone: str, locale: Locale) -> str:
    """Return the date, with its month written out; a moment's date is the one that it is in the zone."""
    day = at.astimezone(zone_of(zone)).date() if isinstance(at, datetime) else at
    text = format_date(day, format="long", locale=locale)
    if locale.language == "fr" and day.day == 1:
        return f"1er{text[1:]}"  # the first of a month alone is an ordinal in French; CLDR doesn't know
    return text


def clock_text(at: datetime, zone: str, locale: Locale) -> str:
    """Return the time of day, to the minute."""
    return format_time(at.astimezone(zone_of(zone)), format="short", locale=locale)
