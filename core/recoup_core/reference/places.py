"""Where customers are and when they are usually paid: a country's main time zone and its paydays."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import msgspec

from recoup_core.reference.loading import ReferenceDataBroken, read_data, yaml_as

_ZONES_FILE: Final = "main_zones.yaml"
_PAYDAYS_FILE: Final = "paydays.yaml"
_LAST_DAY: Final = 31
UNKNOWN_ZONE: Final = "UTC"


class PaydayRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On which days of the month people of a country are usually paid."""

    days: tuple[int, ...]
    """1 to 31; 31 means the last day. A payday that is no business day moves to the business day before it."""
    grade: Literal["A", "B", "C"]
    """A primary source with a sample, B vendor's claim without a method, C second-hand."""
    source: tuple[str, ...]
    notes: str = ""


class _Paydays(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default: PaydayRule
    countries: dict[str, PaydayRule]


def paydays(country: str | None) -> PaydayRule:
    """Return the rule of the country (ISO 3166-1 alpha-2), or the default where none is known."""
    known = _paydays()
    return known.countries.get((country or "").upper(), known.default)


def main_zone(country: str) -> str:
    """Return the IANA zone in which most people of the country live; `UTC` for an unknown country.

    From `zone.tab` of the tzdata package, which puts a country's most populous zone first unless geography forbids it;
    `main_zones.yaml` says the right one for those countries.
    """
    return _main_zones().get(country.upper(), UNKNOWN_ZONE)


def parse_paydays(name: str, text: str) -> _Paydays:
    """Read a paydays file; a rule without a day, or with one outside 1 to 31, is refused by country."""
    known = yaml_as(name, text, _Paydays)
    for country, rule in {"default": known.default, **known.countries}.items():
        if not rule.days or not all(1 <= day <= _LAST_DAY for day in rule.days):
            raise ReferenceDataBroken(name, country, f"{rule.days} are no days of a month")
    return known


def join_zones(name: str, text: str, listed: Mapping[str, list[str]]) -> dict[str, str]:
    """Return each country's main zone: the first listed, unless the file names another one of the country."""
    zones = {country: names[0] for country, names in listed.items()}
    for country, zone in yaml_as(name, text, dict[str, str]).items():
        if zone not in listed.get(country, []):
            raise ReferenceDataBroken(name, country, f"{zone} is no zone of this country")
        zones[country] = zone
    return zones


@cache
def _paydays() -> _Paydays:
    return parse_paydays(_PAYDAYS_FILE, read_data(_PAYDAYS_FILE))


@cache
def _main_zones() -> Mapping[str, str]:
    listed: dict[str, list[str]] = {}
    for line in files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("ascii").splitlines():
        if line and not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            listed.setdefault(country, []).append(zone)
    return join_zones(_ZONES_FILE, read_data(_ZONES_FILE), listed)
