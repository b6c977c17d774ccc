"""Promise 11: a Luhn-valid run of 13 to 19 digits is refused before it is stored or logged."""

import re
from collections.abc import Mapping
from typing import Any, Final

from recoup_core.domain.errors import CardNumberRefused

_RUN: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
"""Digits, single blanks or hyphens between them allowed, as people write card numbers."""


def luhn_valid(digits: str) -> bool:
    """Return whether the check digit fits (ISO/IEC 7812-1)."""
    doubled = [int(d) * 2 for d in digits[-2::-2]]
    return (sum(int(d) for d in digits[-1::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def holds_card_number(text: str) -> bool:
    """Return whether any run of 13 to 19 digits in the text passes the Luhn check."""
    return any(luhn_valid(re.sub(r"[ -]", "", run.group())) for run in _RUN.finditer(text))


def refuse_card_numbers(value: Any, field: str = "$") -> None:
    """Walk strings, numbers, lists and mappings; raise `CardNumberRefused` naming the field, never the value."""
    if isinstance(value, str):
        if holds_card_number(value):
            raise CardNumberRefused(field)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if value > 10**12 and holds_card_number(str(value)):
            raise CardNumberRefused(field)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            refuse_card_numbers(str(key), f"{field}.<key>")
            refuse_card_numbers(inner, f"{field}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            refuse_card_numbers(inner, f"{field}[{index}]")
