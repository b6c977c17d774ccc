"""Stripe's amounts: mostly ISO 4217's minor unit, but not always; nothing is sent unconverted.

Source of the list and of the differences: docs.stripe.com/currencies (supported presentment currencies,
zero-decimal currencies, special cases), read in 2026.
"""

from collections.abc import Mapping
from typing import Final

from recoup_core.domain.money import Money, exponent

_DIFFERENT: Final[Mapping[str, int]] = {"ISK": 2, "UGX": 2, "MGA": 0}
"""Stripe's decimals where they are not ISO's. ISK and UGX have none in ISO but are sent with two, ending in 00;
MGA has two in ISO (a fifth, in truth) and is sent without."""

_SUPPORTED: Final = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF
    CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR
    MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
    SEK SGD SHP SLE SOS SRD SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XOF XPF
    YER ZAR ZMW
    """.split()  # noqa: SIM905 - 130 quoted codes would say less
)


class NotExpressible(ValueError):
    """The amount can't be said in Stripe's units: a currency it does not take, or a fraction of its unit."""


def to_stripe(money: Money) -> int:
    """Return the integer that Stripe wants for this money; `NotExpressible` if there is none."""
    shift = _shift(money.currency)
    if shift >= 0:
        return money.amount_minor * _ten_to(shift)
    whole, rest = divmod(money.amount_minor, _ten_to(-shift))
    if rest:
        raise NotExpressible(f"{money} has more decimals than Stripe takes for {money.currency}")
    return whole


def from_stripe(amount: int, currency: str) -> Money:
    """Return the money that Stripe's integer means; `currency` in any case, as Stripe writes it in lower case."""
    code = currency.upper()
    shift = _shift(code)
    if shift <= 0:
        return Money(amount * _ten_to(-shift), code)
    whole, rest = divmod(amount, _ten_to(shift))
    if rest:
        raise NotExpressible(f"Stripe's {amount} {code} is a fraction of the minor unit")
    return Money(whole, code)


def _shift(currency: str) -> int:
    if currency not in _SUPPORTED:
        raise NotExpressible(f"Stripe does not take {currency}")
    iso = exponent(currency)
    return _DIFFERENT.get(currency, iso) - iso


def _ten_to(power: int) -> int:
    return int(10**power)  # int() since the power of a negative exponent would be a float
