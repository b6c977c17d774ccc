"""Standard Webhooks (github.com/standard-webhooks): how bodies are signed, and how a signature is looked at."""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

PREFIX: Final = "whsec_"
TOLERANCE_S: Final = 300
"""The specification's own."""
KEY_MIN: Final = 24
KEY_MAX: Final = 64
"""Bytes; the specification's own."""


class NotSigned(Exception):
    """A body that nobody who knows the secret has signed, or not lately."""


class BadSecret(ValueError):
    """No secret of Standard Webhooks; the text does not repeat it."""


def read_secret(secret: str) -> bytes:
    """Return the key of a secret like `whsec_<base64>`; raises `BadSecret`."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret("must be whsec_ and base64") from None
    if not KEY_MIN <= len(key) <= KEY_MAX:
        raise BadSecret(f"must hold {KEY_MIN} to {KEY_MAX} bytes")
    return key


def signed(keys: Sequence[bytes], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery; several keys sign while they are rolled."""
    stamp = str(int(at.timestamp()))
    signatures = (f"v1,{_signature(key, message_id, stamp, body)}" for key in keys)
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Raise `NotSigned` unless one of the keys signed this body within the last five minutes; in constant time."""
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise NotSigned("it has no webhook-id, or no webhook-timestamp")
    given = [part.partition(",") for part in headers.get("webhook-signature", "").split()[:16]]
    candidates = [signature.encode() for version, _, signature in given if version == "v1"]
    wanted = [_signature(key, message_id, stamp, body).encode() for key in keys]
    if not any(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in candidates):
        raise NotSigned("its signature is not ours")
    if abs(now.timestamp() - int(stamp)) > TOLERANCE_S:
        raise NotSigned("it was signed too long ago, or too early")


def _signature(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    content = message_id.encode() + b"." + stamp.encode() + b"." + body
    return base64.b64encode(hmac.digest(key, content, sha256)).decode()
