"""Money: exact, whole, of one currency; property tests over the whole range of amounts."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.errors import AmountNotExact, CurrencyMismatch, UnknownCurrency
from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money, exponent

EXPONENTS = {"JPY": 0, "KRW": 0, "EUR": 2, "USD": 2, "KWD": 3, "BHD": 3, "CLF": 4, "HRK": 2}
"""ISO 4217 List One (the kuna: List Three, withdrawn), as published by SIX."""

amounts = st.integers(-MAX_AMOUNT_MINOR, MAX_AMOUNT_MINOR)
currencies = st.sampled_from(sorted(EXPONENTS))


@pytest.mark.parametrize(("currency", "decimals"), EXPONENTS.items())
def test_decimals_are_those_of_iso_4217(currency: str, decimals: int) -> None:
    """Zero-, two-, three- and four-decimal currencies, and one that was withdrawn."""
    assert exponent(currency) == decimals


@pytest.mark.parametrize("code", ["", "EURO", "eur", "XYZ", "E1R", "€"])
def test_an_unknown_currency_is_refused(code: str) -> None:
    """No guess at how many decimals a word might have."""
    with pytest.raises(UnknownCurrency):
        exponent(code)


@given(one=amounts, other=amounts, currency=currencies)
def test_addition_and_subtraction_undo_each_other(one: int, other: int, currency: str) -> None:
    """Integer arithmetic: nothing is ever lost to rounding."""
    a, b = Money(one, currency), Money(other, currency)

    assert (a + b) - b == a
    assert a + b == b + a == Money(one + other, currency)
    assert (a < b, a <= b) == (one < other, one <= other)


@given(minor=amounts, currency=currencies)
def test_what_is_printed_reads_back_as_the_same_money(minor: int, currency: str) -> None:
    """Major units out, the same minor units in, for every exponent."""
    money = Money(minor, currency)
    text, printed_currency = str(money).split()

    assert printed_currency == currency
    assert Money.from_major(text, currency) == money
    assert Decimal(text).scaleb(EXPONENTS[currency]) == minor


@given(minor=amounts, currency=currencies, digit=st.integers(1, 9), places=st.integers(1, 60))
def test_a_decimal_too_many_is_refused_never_rounded(minor: int, currency: str, digit: int, places: int) -> None:
    """A tenth of a cent is no money, nor is a part so small that decimal arithmetic would round it away."""
    major = str(Money(minor, currency)).split()[0]
    too_fine = f"{major}{'' if '.' in major else '.'}{'0' * (places - 1)}{digit}"

    with pytest.raises(AmountNotExact):
        Money.from_major(too_fine, currency)


@pytest.mark.parametrize(
    "text", ["", "20,00", "abc", "NaN", "Infinity", "-Infinity", "1e999999999", "1e-99999", "1e60", "0x10", "sNaN"]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    """Neither a comma nor a not-a-number is an amount."""
    with pytest.raises(AmountNotExact):
        Money.from_major(text, "EUR")


@given(one=amounts, other=amounts)
def test_currencies_never_mix(one: int, other: int) -> None:
    """Neither added, subtracted nor compared, whatever the amounts are, zero included."""
    euros, yen = Money(one, "EUR"), Money(other, "JPY")
    operations: list[Any] = [lambda: euros + yen, lambda: euros - yen, lambda: euros < yen, lambda: euros <= yen]

    for operation in operations:
        with pytest.raises(CurrencyMismatch):
            operation()
    assert euros != yen
