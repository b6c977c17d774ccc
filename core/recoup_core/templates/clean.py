"""What comes from outside and goes into a message: one line of visible characters that can't pretend to be anything."""

import re
import unicodedata
from typing import Final

MAX_VALUE: Final = 300
"""Characters of one value that are shown; the longest that settings take is a postal address of 300."""

MAX_NAME: Final = 60
"""Characters of a name that is greeted by."""

MAX_SUBJECT: Final = 150
"""Characters of a subject line; phones show about 40 of them."""

_JOINERS: Final = frozenset("\u200c\u200d")
"""Persian and Indic names are written with them."""

_LOOKS_LIKE_A_LINK: Final = re.compile(r"://|//|www\.|@|\w\.\w{2,}", re.IGNORECASE)
_SPACES: Final = re.compile(r"\s+")
_LAYOUT_SPACES: Final = re.compile("[\u00a0\u2007\u2009\u202f]")


def one_line(text: str, most: int = MAX_VALUE) -> str:
    """Return the text in one line, without what can't be seen: controls, marks of direction, private characters."""
    kept = "".join(char if _shows(char) else " " for char in text[: most * 4])
    line = kept.strip()
    if "  " in line:
        line = re.sub(" {2,}", " ", line)
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _shows(char: str) -> bool:
    category = unicodedata.category(char)
    return char in _JOINERS or category[0] not in "CZ" or category == "Zs"


def name_of(text: str | None) -> str | None:
    """Return a name to greet by; None where there is none, or it would be taken for a link by the reader's program."""
    if text is None:
        return None
    name = one_line(text, MAX_NAME * 2)
    usable = 0 < len(name) <= MAX_NAME and not _LOOKS_LIKE_A_LINK.search(name)
    return name if usable else None


def as_subject(text: str) -> str:
    """Return a subject line: no line break can get into a header."""
    return one_line(_SPACES.sub(" ", _LAYOUT_SPACES.sub(" ", text)), MAX_SUBJECT)


def as_sms(text: str) -> str:
    """Return the words of an SMS with plain spaces: one that doesn't break costs every character two bytes."""
    return _SPACES.sub(" ", _LAYOUT_SPACES.sub(" ", text)).strip()


GSM_7: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The basic alphabet of SMS (3GPP TS 23.038, 6.2.1)."""

GSM_7_EXTENDED: Final = frozenset("^{}\\[~]|€")
"""Takes two places each."""


def sms_parts(text: str) -> int:
    """Return how many SMS the text takes: 160 places of seven bits each, 70 where a character needs more."""
    if all(char in GSM_7 or char in GSM_7_EXTENDED for char in text):
        places, one, several = sum(2 if char in GSM_7_EXTENDED else 1 for char in text), 160, 153
    else:
        places, one, several = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if places <= one else -(-places // several)
