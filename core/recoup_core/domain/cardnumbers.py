"""Promise 11: a Luhn-valid run of 13 to 19 digits is refused before it is stored or logged."""

import re
from collections.abc import Mapping
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

HIDDEN: Final = "[card number removed]"


def luhn_valid(digits: str) -> bool:
    """Return whether the check digit fits (ISO/IEC 7812-1)."""
    doubled = [int(d) * 2 for d in digits[-2::-2]]
    return (sum(int(d) for d in digits[-1::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def holds_card_number(text: str) -> bool:
    """Return whether any run of 13 to 19 digits in the text passes the Luhn check."""
    return _LONG.search(text) is not None and any(_is_card_number(run) for run in _RUN.finditer(text))


def hide_card_numbers(text: str) -> str:
    """Return the text with every card number in it replaced by `HIDDEN`: for logs, where nothing can be refused."""
    return _RUN.sub(lambda run: HIDDEN if _is_card_number(run) else run.group(), text)


def _is_card_number(run: re.Match[str]) -> bool:
    """Whether some neighbouring groups together are a card number: an expiry date behind it hides nothing."""
    digits = run.group("digits")
    if digits is None:
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


def refuse_card_numbers_in(values: msgspec.Struct) -> None:
    """As `refuse_card_numbers`, for a whole struct: one pass over its JSON, and a walk only where that finds any."""
    text = msgspec.json.encode(values).decode()
    if holds_card_number(text) or "\\u" in text:  # the digits of an escape would hide where a number begins
        refuse_card_numbers(msgspec.to_builtins(values))
