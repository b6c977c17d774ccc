"""Promise 11: a Luhn-valid run of 13 to 19 digits is refused before it is stored or logged."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from recoup_core.domain.errors import CardNumberRefused

_UUID: Final = r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"
"""One random UUID in 500 holds a Luhn-valid run by chance; in this exact shape it is no card number."""

_GROUPS: Final = r"(?<!\d)\d(?:[ -]?\d){12,}(?!\d)"
"""Groups of digits with a single blank or hyphen between them, as people write card numbers."""

_RUN: Final = re.compile(rf"{_UUID}|(?P<digits>{_GROUPS})")
_LONG: Final = re.compile(r"\d(?:[ -]?\d){12}")
"""What most texts don't have, found out quickly."""

SHORTEST: Final = 13
LONGEST: Final = 19
"""Digits of a card number (ISO/IEC 7812-1)."""

REFERENCES: Final = frozenset(
    {
        "gateway_ref", "charge_ref", "other_charge_refs", "refund_ref", "dispute_ref", "debt_ref", "try_ref",
        "operation_ref", "report_ref", "payout_ref", "external_id", "token",
    }
)  # fmt: skip
"""Fields that hold a gateway's own name of something, stored means of payment among them. Some gateways name by digits
alone (Adyen: 16 of them), and one such name in ten passes the Luhn check."""

_NO_CARD: Final = re.compile(r"(?!81|82|8600|9704|9792|9860)[789]\d*")
"""How no payment card's number begins. Card networks have 1 to 6 (ISO/IEC 7812-1, annex B: 7 is petroleum, 8 health
care and telecommunications, 9 national use), and of the rest UnionPay and RuPay 81 and 82, UzCard 8600, Napas 9704,
Troy 9792 and Humo 9860."""

PHONES: Final = frozenset({"phone", "sms", "address"})
"""Fields that may hold a phone number. One in ten of those with 13 digits and more passes the Luhn check."""

_PHONE: Final = re.compile(r"\+[1-9]\d{6,14}")
"""A phone number as ITU-T E.164 writes it; no card number is written with a plus, and most are longer."""

HIDDEN: Final = "[card number removed]"


def luhn_valid(digits: str) -> bool:
    """Return whether the check digit fits (ISO/IEC 7812-1)."""
    doubled = [int(d) * 2 for d in digits[-2::-2]]
    return (sum(int(d) for d in digits[-1::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def holds_card_number(text: str, *, reference: bool = False) -> bool:
    """Return whether any run of 13 to 19 digits in the text passes the Luhn check.

    In a gateway's own reference a run in one piece that begins as no card's number does is none.
    """
    return _LONG.search(text) is not None and any(_is_card_number(run, reference) for run in _RUN.finditer(text))


def hide_card_numbers(text: str, *, reference: bool = False) -> str:
    """Return the text with every card number in it replaced by `HIDDEN`: for logs, where nothing can be refused."""
    return _RUN.sub(lambda run: HIDDEN if _is_card_number(run, reference) else run.group(), text)


def _is_card_number(run: re.Match[str], reference: bool) -> bool:
    """Whether some neighbouring groups together are a card number: an expiry date behind it hides nothing."""
    digits = run.group("digits")
    if digits is None or (reference and _NO_CARD.fullmatch(digits)):
        return False
    groups = re.split(r"[ -]", digits)
    for first in range(len(groups)):
        joined = ""
        for group in groups[first:]:
            joined += group
            if len(joined) > LONGEST:
                break
            if len(joined) >= SHORTEST and luhn_valid(joined):
                return True
    return False


def refuse_card_numbers(value: Any, field: str = "$", known: Collection[str] = (), *, reference: bool = False) -> None:
    """Walk strings, numbers, lists and mappings; raise `CardNumberRefused` naming the field, never the value.

    `known` are references that a gateway has told under its signature: a text that is just one of them is none.
    """
    if isinstance(value, str):
        if value not in known and holds_card_number(value, reference=reference):
            raise CardNumberRefused(field)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if value > 10**12 and holds_card_number(str(value)):
            raise CardNumberRefused(field)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            refuse_card_numbers(str(key), f"{field}.<key>")
            if key in PHONES and isinstance(inner, str) and _PHONE.fullmatch(inner):
                continue
            refuse_card_numbers(inner, f"{field}.{key}", known, reference=key in REFERENCES)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            refuse_card_numbers(inner, f"{field}[{index}]", known, reference=reference)


def references_in(value: Any) -> frozenset[str]:
    """Return the references that a value holds in the fields made for them, as far as they can't be card numbers."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, inner in value.items():
            told = inner if isinstance(inner, (list, tuple)) else [inner]
            if key in REFERENCES:
                found |= {
                    each for each in told if isinstance(each, str) and not holds_card_number(each, reference=True)
                }
            found |= references_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            found |= references_in(inner)
    return frozenset(found)


def refuse_card_numbers_in(values: msgspec.Struct) -> None:
    """As `refuse_card_numbers`, for a whole struct: one pass over its JSON, and a walk only where that finds any."""
    text = msgspec.json.encode(values).decode()
    if holds_card_number(text) or "\\u" in text:  # the digits of an escape would hide where a number begins
        refuse_card_numbers(msgspec.to_builtins(values))
