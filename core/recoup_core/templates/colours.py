"""Colours that can be read whatever colour a brand has (WCAG 2.2, 1.4.3 and 1.4.11)."""

from typing import Final

BLACK: Final = "#000000"
WHITE: Final = "#ffffff"

SEEN: Final = 3.0
"""The least contrast of a control against what is around it (WCAG 2.2, 1.4.11)."""


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb`, from 0 (black) to 1 (white)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 (none) to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def text_on(colour: str) -> str:
    """Return black or white, whichever has more contrast: at least 4.58 on any colour, where 4.5 is asked for."""
    return max((BLACK, WHITE), key=lambda text: contrast(text, colour))


def edge_of(colour: str) -> str:
    """Return the colour of a button's edge on white: its own where that can be seen, else its text's."""
    return colour if contrast(colour, WHITE) >= SEEN else text_on(colour)
