"""Adyen's words for methods, brands and references, and what a refusal comes to."""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from recoup_core.reference import code_named
from recoup_plugins import Decline, DeclineCategory, DeclineSource, Method, Network, Retryable, classify

ATTEMPT: Final = "recoup-attempt-"
PART: Final = "recoup-part-"
"""Our references: what Adyen signs in every webhook and prints in every report. At most 80 characters."""

MAX_REFERENCE: Final = 80
MAX_CODE: Final = 64

PSP_REFERENCE: Final = re.compile(r"[0-9A-Z]{16}")
"""Adyen's ids of payments and modifications: 16 digits until 2020, letters and digits since."""

TYPE_OF: Final[Mapping[Method, str]] = {
    Method.CARD: "scheme",
    Method.SEPA_DEBIT: "sepadirectdebit",
    Method.ACH_DEBIT: "ach",
    Method.BACS_DEBIT: "directdebit_GB",
}

_BRANDS: Final[Mapping[str, Network]] = {
    "visa": Network.VISA,
    "mc": Network.MASTERCARD,
    "maestro": Network.MASTERCARD,
    "amex": Network.AMERICAN_EXPRESS,
    "discover": Network.DISCOVER,
    "diners": Network.DISCOVER,
    "elo": Network.ELO,
    "jcb": Network.OTHER,
    "cup": Network.OTHER,
    "bcmc": Network.OTHER,
    "cartebancaire": Network.OTHER,
    "hipercard": Network.OTHER,
    "interac_card": Network.OTHER,
    "dankort": Network.OTHER,
}
"""docs.adyen.com, payment method variants; variants (`visadebit`, `mcstandardcredit`) begin with their brand."""

RESCUED: Final = "retry.rescueScheduled"
"""In `additionalData`: whether Auto Rescue is going to try this payment again."""

_NETWORK_CODE: Final = re.compile(r"\s*([0-9A-Z]{2,4})\b")
_ADVICE: Final = re.compile(r"\s*(\d{1,2})\b")


def reference_of(kind: str, ours: UUID) -> str:
    """Return the reference that brings our id back."""
    return f"{kind}{ours}"


def ours_in(kind: str, reference: str | None) -> UUID | None:
    """Return our id where a reference is one of ours of that kind."""
    if reference is None or not reference.startswith(kind):
        return None
    try:
        return UUID(reference.removeprefix(kind))
    except ValueError:
        return None


def network_of(brand: str | None) -> Network | None:
    """Return the card network of a brand or variant; None for what is no card, or not known to be one."""
    if not brand:
        return None
    known = _BRANDS.get(brand.lower())
    return known or next((network for name, network in _BRANDS.items() if brand.lower().startswith(name)), None)


def method_of(payment_method: str | None) -> Method | None:
    """Return the method that an event, a report or a stored method names; None for one that we don't collect by."""
    for method, name in TYPE_OF.items():
        if payment_method == name:
            return method
    return Method.CARD if network_of(payment_method) is not None else None


def text_in(additional: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of these fields that holds a text."""
    return next((said for name in names if isinstance(said := additional.get(name), str) and said), None)


def decline_of(code: str | None, reason: str | None, additional: Mapping[str, Any]) -> Decline:
    """Classify a refusal by Adyen's code (or its name, where only that is told), the issuer's code and the advice."""
    said = code or code_named(DeclineSource.ADYEN, reason or "") or reason or "unknown"
    raw, advice = text_in(additional, "refusalReasonRaw"), text_in(additional, "merchantAdviceCode")
    return classify(
        DeclineSource.ADYEN,
        said[:MAX_CODE],
        network=network_of(text_in(additional, "paymentMethod", "paymentMethodVariant", "cardPaymentMethod")),
        network_code=_first(_NETWORK_CODE, raw) if raw and ":" in raw else None,
        advice_code=_first(_ADVICE, advice),
        message=reason,
    )


def authentication_needed(result: str) -> Decline:
    """Return the decline of a payment that wants the shopper, who is not there."""
    return classify(DeclineSource.ADYEN, "38", message=f"Adyen wants the shopper ({result})")


def configuration_decline(code: str, message: str | None) -> Decline:
    """Return a definite no that is our fault, not the card's: a wrong key, field or currency. No money moved."""
    return Decline(
        code=re.sub(r"\W+", "_", code)[:MAX_CODE],
        source=DeclineSource.ADYEN,
        category=DeclineCategory.CONFIGURATION,
        retryable=Retryable.AFTER_CUSTOMER_ACTION,
        message=message,
    )


def _first(pattern: re.Pattern[str], text: str | None) -> str | None:
    found = pattern.match(text or "")
    return found.group(1) if found else None
