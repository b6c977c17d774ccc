"""Adyen's amounts: mostly ISO 4217's minor unit, but not always; nothing is sent unconverted.

Source of the list and of the differences: docs.adyen.com/development-resources/currency-codes (supported currencies,
"differs from standard"), read in 2026.
"""

from collections.abc import Mapping
from typing import Any, Final

from recoup_plugins import Money

_SHIFTS: Final[Mapping[str, int]] = {"CLP": 2, "CVE": -2, "IDR": -2, "ISK": 2}
"""Adyen's decimals less ISO's: CLP and ISK are sent with two though they have none, CVE and IDR the other way round."""

_SUPPORTED: Final = frozenset(
    """
    AED ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BMD BND BOB BRL BSD BWP BYN BZD CAD CHF CLP CNY COP CRC CUP CVE
    CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD ISK JMD
    JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LKR LYD MAD MDL MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN
    NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STN SVC
    SZL THB TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW
    """.split()  # noqa: SIM905 - 140 quoted codes would say less
)
"""Without CNH, which Adyen takes and ISO 4217 does not know, and VEF, which it has withdrawn."""


class NotExpressible(ValueError):
    """The amount can't be said in Adyen's units: a currency it does not take, or a fraction of its unit."""


def to_adyen(money: Money) -> dict[str, Any]:
    """Return the `Amount` object that Adyen wants for this money; `NotExpressible` if there is none."""
    shift = _shift(money.currency)
    if shift >= 0:
        return {"currency": money.currency, "value": money.amount_minor * int(10**shift)}
    whole, rest = divmod(money.amount_minor, int(10**-shift))
    if rest:
        raise NotExpressible(f"{money} has more decimals than Adyen takes for {money.currency}")
    return {"currency": money.currency, "value": whole}


def from_adyen(value: int, currency: str) -> Money:
    """Return the money that Adyen's integer means."""
    shift = _shift(currency)
    if shift <= 0:
        return Money(value * int(10**-shift), currency)
    whole, rest = divmod(value, int(10**shift))
    if rest:
        raise NotExpressible(f"Adyen's {value} {currency} is a fraction of the minor unit")
    return Money(whole, currency)


def _shift(currency: str) -> int:
    if currency not in _SUPPORTED:
        raise NotExpressible(f"Adyen does not take {currency}")
    return _SHIFTS.get(currency, 0)
