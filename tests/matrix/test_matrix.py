"""Every scenario before every gateway: both sides' books say the same in the end."""

from collections.abc import Awaitable, Callable
from itertools import product

import pytest
from tests.matrix.columns import HEADINGS, NOT_THERE, PROVIDERS
from tests.matrix.scenarios import SCENARIOS, Scenario
from tests.matrix.shop import Shop
from tests.matrix.table import DOCUMENT, render

CELLS = [
    (column, scenario) for column, scenario in product(PROVIDERS, SCENARIOS) if (column, scenario.name) not in NOT_THERE
]


@pytest.mark.parametrize(("column", "scenario"), CELLS, ids=[f"{column}-{each.name}" for column, each in CELLS])
async def test_the_scenario_ends_as_it_must(
    column: str, scenario: Scenario, shop_at: Callable[[str], Awaitable[Shop]]
) -> None:
    """Money moved once, the same on both sides, and the case stands as the table says."""
    await scenario.play(await shop_at(column))


def test_the_document_shows_this_very_table() -> None:
    """A tick in `docs/gateways.md` is a scenario that was played (`python -m tests.matrix.table` writes it)."""
    assert render() in DOCUMENT.read_text("utf-8")


def test_every_column_is_shown() -> None:
    """Neither a column without tests nor tests without a column."""
    assert set(HEADINGS) == set(PROVIDERS)
    assert {column for column, _ in NOT_THERE} <= set(PROVIDERS)
    assert {name for _, name in NOT_THERE} <= {scenario.name for scenario in SCENARIOS}
