"""What somebody probably meant who wrote a condition or a number as other languages do, for hints."""

import re
from typing import Final

_SIGNS: Final = {
    "<": "lt",
    "<=": "lte",
    "=<": "lte",
    ">": "gt",
    ">=": "gte",
    "=>": "gte",
    "!=": "not",
    "=": "",
    "==": "",
}
_COMPARISON: Final = re.compile(r"([a-z_.]{0,60}) ?([<>=!]{1,2}) ?([A-Za-z0-9_.]{1,40})")
_JOINED: Final = {"and": "all", "or": "any"}
_LOOSE: Final = re.compile(r"[-+]?[0-9][0-9_]*|0[xob][0-9a-fA-F_]+|[0-9]+(:[0-9]+)+")
_WITH_UNIT: Final = re.compile(r"([0-9]{1,6}) ?[a-z]{1,10}")
_MAX_TEXT: Final = 120
"""A longer text is no slip of the pen."""


def as_condition(text: str) -> str | None:
    """Show how `attempt > 3`, `> 3`, `and` and `or` are written here; None for anything else."""
    if joined := _JOINED.get(text.lower()):
        return f"write {joined}: [...]"
    match = _COMPARISON.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None or match[2] not in _SIGNS:
        return None
    sign = _SIGNS[match[2]]
    value = f"{{{sign}: {match[3]}}}" if sign else match[3]
    return f"write {{{match[1]}: {value}}}" if match[1] else f"write {value}"


def as_number(text: str) -> str | None:
    """Show how a number is written that came with a sign, a unit, underscores or quotes."""
    if len(text) > _MAX_TEXT:
        return None
    if _LOOSE.fullmatch(text):
        return "write it in plain digits, without quotes, underscores, colons or leading zeros"
    if match := _WITH_UNIT.fullmatch(text):
        return f"write {int(match[1])}"
    return as_condition(text)
