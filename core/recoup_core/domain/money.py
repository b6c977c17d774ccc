"""Money: whole minor units of one ISO 4217 currency. No float comes near it; currencies never mix."""

from collections.abc import Mapping
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from functools import cache
from typing import Final, Self

import msgspec
from iso4217 import Currency

from recoup_core.domain.errors import AmountNotExact, CurrencyMismatch, UnknownCurrency

MAX_AMOUNT_MINOR: Final = 2**53 - 1
"""The largest amount of one payment: what the rules engine compares exactly (notes on durable_rules, 2)."""

_EXACT: Final = Context(prec=40, Emax=40, Emin=-40, traps=[InvalidOperation, Overflow, Inexact])
"""Far beyond any amount; what doesn't fit raises, where the default context would round silently."""

_WITHDRAWN_EXPONENTS: Final[Mapping[str, int]] = {"HRK": 2, "ANG": 2, "BGN": 2, "ZWL": 2, "SLL": 2, "CUC": 2}
"""Currencies that old payments may still carry though ISO 4217 has withdrawn them (its list three)."""


@cache
def exponent(currency: str) -> int:
    """Return how many decimals the currency has (ISO 4217, by the iso4217 package); unknown codes are refused."""
    try:
        known = Currency(currency).exponent
    except ValueError:
        known = _WITHDRAWN_EXPONENTS.get(currency)
    if known is None:
        raise UnknownCurrency(currency)
    return known


class Money(msgspec.Struct, frozen=True, order=False):
    """An amount in minor units (cents for EUR, yen for JPY, fils for KWD) and its currency."""

    amount_minor: int
    currency: str

    @classmethod
    def from_major(cls, text: str, currency: str) -> Self:
        """Read `"20.00"` as money; more decimals than the currency knows are refused, never rounded."""
        try:
            minor = _EXACT.scaleb(Decimal(text), exponent(currency))
        except DecimalException:
            raise AmountNotExact(text, currency) from None
        if not minor.is_finite() or minor != minor.to_integral_value():
            raise AmountNotExact(text, currency)
        return cls(int(minor), currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount_minor + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount_minor - self._same(other), self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount_minor < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.amount_minor <= self._same(other)

    def __str__(self) -> str:
        digits = exponent(self.currency)
        return f"{Decimal(self.amount_minor).scaleb(-digits):.{digits}f} {self.currency}"

    def _same(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(self.currency, other.currency)
        return other.amount_minor
