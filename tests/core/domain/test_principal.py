"""One person has one name, however it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.principal import canonical


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("anna", "anna"),
        ("Anna", "anna"),
        ("  anna\t", "anna"),
        ("Anna   Meier", "anna meier"),
        ("anna\u00a0meier", "anna meier"),
        ("an\u200bna", "anna"),
        ("anna\ufe0f", "anna"),
        ("an\u3164na", "anna"),
        ("\u2800anna\U000e0101", "anna"),
        ("\uff21nna", "anna"),
        ("STRA\u00dfE", "strasse"),
        ("billing-system", "billing-system"),
        ("\u200b ", ""),
        ("", ""),
    ],
)
def test_a_name_has_one_form(written: str, name: str) -> None:
    """Case, blanks and what nobody sees don't make another person."""
    assert canonical(written) == name


def test_different_names_stay_different() -> None:
    """Only what looks alike is alike."""
    assert len({canonical(name) for name in ("anna", "ana", "anna-meier", "anna meier", "annameier")}) == 5


@given(st.text())
def test_the_one_form_is_its_own(text: str) -> None:
    """What is stored in its canonical form is found by it."""
    once = canonical(text)

    assert canonical(once) == once
    assert canonical(f" {text} ") == once
