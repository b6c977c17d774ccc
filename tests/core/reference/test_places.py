"""A country's main time zone and usual paydays."""

from zoneinfo import ZoneInfo

import pytest

from recoup_core.reference import ReferenceDataBroken, main_zone, paydays
from recoup_core.reference.places import join_zones, parse_paydays

RULE = "{days: [1], grade: B, source: [s]}"


@pytest.mark.parametrize(
    ("country", "zone"),
    [
        ("DE", "Europe/Berlin"),
        ("de", "Europe/Berlin"),
        ("US", "America/New_York"),
        ("GB", "Europe/London"),
        ("BR", "America/Sao_Paulo"),
        ("AU", "Australia/Sydney"),
        ("CA", "America/Toronto"),
        ("RU", "Europe/Moscow"),
        ("ES", "Europe/Madrid"),
        ("PT", "Europe/Lisbon"),
        ("CN", "Asia/Shanghai"),
        ("XX", "UTC"),
        ("", "UTC"),
    ],
)
def test_the_main_zone_is_the_most_populous(country: str, zone: str) -> None:
    """Where most people live; UTC for a country nobody knows."""
    assert main_zone(country) == zone
    assert ZoneInfo(main_zone(country)).key == zone


def test_a_zone_of_another_country_is_refused() -> None:
    """`main_zones.yaml` can only choose among the country's own zones."""
    listed = {"DE": ["Europe/Berlin", "Europe/Busingen"]}

    assert join_zones("zones.yaml", "DE: Europe/Busingen", listed) == {"DE": "Europe/Busingen"}
    with pytest.raises(ReferenceDataBroken) as refusal:
        join_zones("zones.yaml", "DE: Europe/Paris", listed)

    assert refusal.value.where == "DE"


@pytest.mark.parametrize(
    ("country", "days"),
    [("US", (1, 15, 31)), ("gb", (25, 28, 31)), ("DE", (1, 31)), ("FR", (1, 15, 31)), (None, (1, 15, 31))],
)
def test_paydays_are_the_countrys_or_the_default(country: str | None, days: tuple[int, ...]) -> None:
    """A prior with a grade, never without a source."""
    rule = paydays(country)

    assert rule.days == days
    assert rule.source


@pytest.mark.parametrize("days", ["[]", "[0]", "[32]", "[1, -1]"])
def test_days_outside_a_month_are_refused_by_country(days: str) -> None:
    """31 is the last day a month may have."""
    text = f"default: {RULE}\ncountries:\n  GB: {RULE.replace('[1]', days)}\n"

    with pytest.raises(ReferenceDataBroken) as refusal:
        parse_paydays("paydays.yaml", text)

    assert refusal.value.where == "GB"
