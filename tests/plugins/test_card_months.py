"""The month on a card: as many ways to write it as there are providers, and one of ours."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.flows.credentials.asking import MONTH
from recoup_plugins.gateways.card_months import month_on_card


@pytest.mark.parametrize(
    ("year", "month", "kept"),
    [
        (2030, 3, "2030-03"),
        ("2030", "03", "2030-03"),
        ("30", "3", "2030-03"),
        (2030, 12, "2030-12"),
        (None, 3, None),
        (2030, None, None),
        ("", "", None),
        (2030, 0, None),
        (2030, 13, None),
        (1999, 1, None),
        ("\u00b2\u00b2", "1", None),
        ("20301", "1", None),
        (-30, 1, None),
    ],
)
def test_a_month_is_kept_or_unknown(year: Any, month: Any, kept: str | None) -> None:
    """Never an exception, and never a guess."""
    assert month_on_card(year, month) == kept


@given(st.none() | st.integers() | st.text(max_size=6), st.none() | st.integers() | st.text(max_size=6))
def test_what_is_told_can_be_stored(year: Any, month: Any) -> None:
    """The core refuses anything else, with all that came along."""
    kept = month_on_card(year, month)

    assert kept is None or MONTH.fullmatch(kept)
