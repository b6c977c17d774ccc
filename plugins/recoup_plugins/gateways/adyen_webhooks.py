"""Adyen's webhooks: every item verified, then handed on as plain values.

Standard webhooks carry a signature in each item, over eight of its fields; what is not among them (`reason`,
`eventDate`, `additionalData`) may say why, when and with what, never whether or how much. The SDK's own helper looks
only at the first item and raises six kinds of errors (notes on gateways, 4.1), so it is used item by item. Webhooks
about tokens are signed as a whole, in a header. Neither signature holds a time: Adyen delivers for 30 days, and what
comes twice is known by its id.
"""

import binascii
import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from Adyen.util import generate_notification_sig, generate_payload_sig

from recoup_plugins import MAX_WEBHOOK_BYTES, WebhookRefused
from recoup_plugins.gateways.adyen_charges import Amount

MAX_ITEMS: Final = 100
"""Adyen sends one item as JSON, and promises no number."""

ACCEPTED: Final = "[accepted]"
"""What Adyen wanted to hear until 2024; since then any 2xx does (docs.adyen.com, webhooks)."""

TOKEN_SIGNATURE: Final = "hmacsignature"  # noqa: S105 - a header's name


class Item(msgspec.Struct, frozen=True):
    """A verified `NotificationRequestItem`. The first eight fields are signed, the others are not."""

    pspReference: str
    merchantAccountCode: str
    eventCode: str
    success: str | bool
    amount: Amount
    originalReference: str | None = None
    merchantReference: str | None = None
    eventDate: Any = None
    reason: Any = None
    paymentMethod: Any = None
    additionalData: Mapping[str, Any] = {}

    @property
    def succeeded(self) -> bool:
        """Whether `success` is the string "true" (or, from old endpoints, the value)."""
        return self.success in ("true", True)

    @property
    def why(self) -> str | None:
        """Adyen's words for why; `null` as a word stands for none."""
        return self.reason if isinstance(self.reason, str) and self.reason not in ("", "null") else None

    @property
    def paid_with(self) -> str | None:
        """The brand or method."""
        return self.paymentMethod if isinstance(self.paymentMethod, str) else None

    @property
    def payment_ref(self) -> str:
        """Adyen's id of the payment, for an event about what was done to one."""
        return self.originalReference or self.pspReference


def check_login(headers: Mapping[str, str], user: str | None, password: str | None) -> None:
    """Return when the basic authentication fits, or none is configured; raise `WebhookRefused` otherwise."""
    if user is None or password is None:
        return
    wanted = b"Basic " + b64encode(f"{user}:{password}".encode())
    if not hmac.compare_digest(headers.get("authorization", "").encode("utf-8", "replace"), wanted):
        raise WebhookRefused("the user name or the password is wrong")


def read_body(body: bytes) -> dict[str, Any]:
    """Return the body's JSON object, unverified; raise `WebhookRefused` where it is none."""
    if len(body) > MAX_WEBHOOK_BYTES:
        raise WebhookRefused("the body is too long")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as unreadable:
        raise WebhookRefused(f"the body is no JSON object ({type(unreadable).__name__})") from None


def verified_items(
    envelope: Mapping[str, Any], keys: Sequence[str], *, merchant: str, live: bool
) -> list[tuple[Item, dict[str, Any]]]:
    """Return every item of a standard webhook, each one checked, with what it said; one that is wrong refuses all."""
    if str(envelope.get("live")).lower() != str(live).lower():
        raise WebhookRefused("it is of the other environment (live or test)")
    wrapped = envelope.get("notificationItems")
    if not isinstance(wrapped, list) or not 0 < len(wrapped) <= MAX_ITEMS:
        raise WebhookRefused("it holds no items, or too many")
    return [_verified(one, keys, merchant) for one in wrapped]


def _verified(wrapped: Any, keys: Sequence[str], merchant: str) -> tuple[Item, dict[str, Any]]:
    raw = wrapped.get("NotificationRequestItem") if isinstance(wrapped, dict) else None
    if not isinstance(raw, dict) or not any(_signed(raw, key) for key in keys):
        raise WebhookRefused("no signature fits")
    try:
        item = msgspec.convert(raw, type=Item)
    except msgspec.ValidationError as unreadable:
        raise WebhookRefused(f"an item can't be read ({unreadable})") from None
    if item.merchantAccountCode != merchant:
        raise WebhookRefused("it is of another merchant account")
    if ":" in f"{item.pspReference}{item.originalReference}{item.amount.currency}{item.eventCode}{item.success}":
        # signed fields are joined by colons without escaping: where only one may hold any, none can be moved
        raise WebhookRefused("a signed field holds a colon")
    return item, raw


def _signed(raw: Mapping[str, Any], key: str) -> bool:
    """Ask the SDK about one item; absent values count as empty, and `success` as the word it is signed as."""
    signed = {name: "" if value is None else value for name, value in raw.items() if name != "additionalData"}
    if isinstance(signed.get("success"), bool):
        signed["success"] = "true" if signed["success"] else "false"
    try:
        told: bytes = raw["additionalData"]["hmacSignature"].encode()
        return hmac.compare_digest(generate_notification_sig(signed, key), told)
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error):
        return False


def check_token_signature(headers: Mapping[str, str], body: bytes, keys: Sequence[str]) -> None:
    """Return when one of the keys signed the whole body; raise `WebhookRefused` otherwise."""
    told = headers.get(TOKEN_SIGNATURE, "").encode("utf-8", "replace")
    if not any(hmac.compare_digest(generate_payload_sig(body, key), told) for key in keys):
        raise WebhookRefused("no signature fits")


def time_of(said: Any, now: datetime) -> datetime:
    """Return an unsigned time as aware UTC; what can't be read, or lies in the future, is now."""
    try:
        told = datetime.fromisoformat(said)
        return min(now, told.astimezone(UTC)) if told.tzinfo is not None else now
    except (TypeError, ValueError, OverflowError):
        return now
