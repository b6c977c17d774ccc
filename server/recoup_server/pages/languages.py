"""Which language a page is in: the customer's own, else the browser's, else the brand's, else the installation's."""

from collections.abc import Iterator
from typing import Final

import msgspec
from babel import Locale

from recoup_core.templates.formats import locale_of
from recoup_server.pages.words import WORDS, Words

MAX_HEADER: Final = 300
"""Characters of Accept-Language that are looked at."""


class Tongue(msgspec.Struct, frozen=True):
    """The words of a page, and how their reader writes amounts and dates."""

    tag: str
    """For the `lang` attribute (`de-AT`)."""
    words: Words
    locale: Locale


def tongue(*wanted: str | None, browser: str = "", fallback: str | None = None) -> Tongue:
    """Return the first wanted language that there are words in; where there is none, one that the browser asks for."""
    for tag in (*wanted, *_asked_for(browser[:MAX_HEADER]), fallback, "en"):
        locale = None if tag is None else locale_of(tag)
        if locale is not None and locale.language in WORDS:
            return Tongue(str(locale).replace("_", "-"), WORDS[locale.language], locale)
    raise AssertionError("English is always there")


def _asked_for(header: str) -> Iterator[str]:
    """Yield the languages of an Accept-Language header (RFC 9110, 12.5.4), the most wanted first."""
    ranked: list[tuple[float, int, str]] = []
    for place, part in enumerate(header.split(",")):
        tag, _, weight = part.strip().partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if 0 < quality <= 1 and tag.strip() not in ("", "*"):
            ranked.append((-quality, place, tag.strip()))
    yield from (tag for _, _, tag in sorted(ranked))
