"""Values that are used but never shown: neither `repr`, `str`, an f-string nor a log line tells them."""

import re
from typing import Final

SHOWN_AS: Final = "***"

_URL_PASSWORD: Final = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/?#@]*:)[^\s\"'<>]*(?=@)", re.IGNORECASE)
"""Up to the last @, not the first slash: a password that nobody encoded must not slip through."""
_QUERY_PASSWORD: Final = re.compile(r"(?P<before>[?&](?:password|sslpassword)=)[^&\s]*", re.IGNORECASE)


def hide_url_passwords(text: str) -> str:
    """Return the text with the password of every URL in it replaced by `***`."""
    hidden = _URL_PASSWORD.sub(rf"\g<before>{SHOWN_AS}", text)
    return _QUERY_PASSWORD.sub(rf"\g<before>{SHOWN_AS}", hidden)


class Secret:
    """A text that only `reveal()` tells."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself; hand it straight to whom it is for and keep no copy."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __str__(self) -> str:
        return SHOWN_AS

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class SecretUrl(Secret):
    """A URL whose password is secret; everything else of it may be shown."""

    __slots__ = ()

    def __str__(self) -> str:
        return hide_url_passwords(self._value)
