"""The month on a card, as providers tell it and as Recoup keeps it."""

from typing import Final

CENTURY: Final = 2000


def month_on_card(year: int | str | None, month: int | str | None) -> str | None:
    """Return `YYYY-MM`, or None where it is not told or is no month; a year may have two digits or four."""
    said = f"{'' if year is None else year}", f"{'' if month is None else month}"
    if not all(one.isascii() and one.isdigit() and len(one) <= 4 for one in said):
        return None
    full, number = int(said[0]) + (CENTURY if len(said[0]) <= 2 else 0), int(said[1])
    return f"{full}-{number:02}" if CENTURY <= full < CENTURY + 1000 and 1 <= number <= 12 else None
