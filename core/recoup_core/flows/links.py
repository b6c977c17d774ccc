"""The links in messages: signed, expiring, each for one customer and one purpose.

A link says which case (or address) it is for and until when, and carries a signature over that, its merchant and its
customer: it can't be guessed, changed, or used for anybody else. Nothing is stored for it.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.signing import SigningKeys

MAC_BYTES: Final = 20
"""160 bits of HMAC-SHA-256."""
_ID_BYTES: Final = 16
_HOUR: Final = 3600
_LENGTH: Final = 1 + _ID_BYTES + 4 + MAC_BYTES
UPDATE_PATH: Final = "/pay/"
UNSUBSCRIBE_PATH: Final = "/unsubscribe/"
UNSUBSCRIBE_LIFETIME: Final = timedelta(days=400)
"""Mails are kept, and who is tired of them must be able to say so long afterwards."""


class Purpose(Enum):
    """What a link opens."""

    UPDATE = 1
    """The page of a case where its customer pays. Subject: the case."""
    UNSUBSCRIBE = 2
    """Takes an address off its channel. Subject: the address."""
    CHARGE = 3
    """The page of an upcoming charge. Subject: the charge."""


class LinkToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a link says about itself; believe it only after `Links.genuine`."""

    purpose: Purpose
    subject_id: UUID
    expires_at: datetime
    """Aware UTC, on the hour."""
    mac: bytes

    def expired(self, now: datetime) -> bool:
        """Whether it opens nothing any more."""
        return now >= self.expires_at


class Links:
    """Makes and checks links. `base` is how the outside reaches the installation, without a slash at its end."""

    def __init__(self, base: str, keys: SigningKeys) -> None:
        self.base = base.rstrip("/")
        self._keys = keys

    def update(self, case_id: UUID, merchant_id: str, customer_ref: str, expires_at: datetime) -> str:
        """Return the address of the page where the customer of a case pays."""
        return self._url(UPDATE_PATH, Purpose.UPDATE, case_id, merchant_id, customer_ref, expires_at)

    def charge(self, charge_id: UUID, merchant_id: str, customer_ref: str, expires_at: datetime) -> str:
        """Return the address of the page where the customer of an upcoming charge renews a means of payment."""
        return self._url(UPDATE_PATH, Purpose.CHARGE, charge_id, merchant_id, customer_ref, expires_at)

    def unsubscribe(self, address_id: UUID, merchant_id: str, customer_ref: str, now: datetime) -> str:
        """Return the address that takes an address off its channel by one POST (RFC 8058)."""
        until = now + UNSUBSCRIBE_LIFETIME
        return self._url(UNSUBSCRIBE_PATH, Purpose.UNSUBSCRIBE, address_id, merchant_id, customer_ref, until)

    def read(self, text: str) -> LinkToken | None:
        """Return what a link says, or None where it is none; whether it is genuine is asked with what it is about."""
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if len(raw) != _LENGTH or _text(raw) != text:
                return None
            purpose, hours = Purpose(raw[0]), int.from_bytes(raw[1 + _ID_BYTES : 5 + _ID_BYTES])
            expires_at = datetime.fromtimestamp(hours * _HOUR, UTC)
        except (ValueError, OverflowError, OSError):
            return None
        subject = UUID(bytes=raw[1 : 1 + _ID_BYTES])
        return LinkToken(purpose=purpose, subject_id=subject, expires_at=expires_at, mac=raw[-MAC_BYTES:])

    def genuine(self, token: LinkToken, merchant_id: str, customer_ref: str) -> bool:
        """Return whether we made the link, for this customer of this merchant; in constant time."""
        mac = self._mac(token.purpose, token.subject_id, merchant_id, customer_ref, token.expires_at)
        return hmac.compare_digest(mac, token.mac)

    def _url(
        self, path: str, purpose: Purpose, subject: UUID, merchant: str, customer: str, expires_at: datetime
    ) -> str:
        on_the_hour = datetime.fromtimestamp(-(-int(expires_at.timestamp()) // _HOUR) * _HOUR, UTC)
        mac = self._mac(purpose, subject, merchant, customer, on_the_hour)
        return f"{self.base}{path}{_text(_head(purpose, subject, on_the_hour) + mac)}"

    def _mac(self, purpose: Purpose, subject: UUID, merchant: str, customer: str, expires_at: datetime) -> bytes:
        named = msgspec.json.encode((merchant, customer))
        signed = _head(purpose, subject, expires_at) + named
        return hmac.digest(self._keys.derive("links"), signed, sha256)[:MAC_BYTES]


def _head(purpose: Purpose, subject: UUID, expires_at: datetime) -> bytes:
    return bytes([purpose.value]) + subject.bytes + (int(expires_at.timestamp()) // _HOUR).to_bytes(4)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
