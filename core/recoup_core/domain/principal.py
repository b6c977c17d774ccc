"""Who somebody is: one person or system has one name, however it is written."""

import re
import unicodedata
from typing import Final

_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""What prints as nothing though it is no format character (category Cf): joiners, fillers, variation selectors. By
Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, and the empty Braille pattern."""


def canonical(name: str) -> str:
    """Return the one form of a principal's name; equal forms are one person, for four eyes and for all keys.

    Letter case, blanks around and between words, and the several ways in which Unicode writes one letter don't tell
    people apart: "Anna  Meier " and "anna meier" are one. Characters that nobody can see are left out.
    """
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _UNSEEN.sub("", visible)).casefold())
    return " ".join(folded.split())
