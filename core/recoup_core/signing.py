"""What links and webhooks are signed with: one key for the installation, and others derived from it by purpose.

The key comes from the settings, or was made at the first start and stands in the database. No derived key is stored.
"""

import hmac
from hashlib import sha256
from typing import Final

KEY_BYTES: Final = 32


class NoKey(RuntimeError):
    """Something was to be signed before the service was opened."""


class SigningKeys:
    """Derives keys by purpose; `load` comes first, once."""

    def __init__(self) -> None:
        self._key: bytes | None = None

    def load(self, key: bytes) -> None:
        """Take the installation's key."""
        self._key = key

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes that belong to this purpose alone; the same ones for ever."""
        if self._key is None:
            raise NoKey("the service is not open: there is no key yet")
        return hmac.digest(self._key, b"recoup\x00" + purpose.encode(), sha256)

    def __repr__(self) -> str:
        return "SigningKeys(***)"
