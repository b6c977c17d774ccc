"""GoCardless's webhooks: verified on the raw body, then each of their events translated.

The signature is the HMAC-SHA256 of the body, in hex, and holds no time: a webhook that is delivered again days later is
a good one, and events are known by their ids. Of several secrets (two while one is changed) any may fit.
"""

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from recoup_gocardless.news import event_of
from recoup_gocardless.objects import GoEvent
from recoup_plugins import MAX_WEBHOOK_BYTES, GatewayEvent, WebhookRefused

HEADER: Final = "webhook-signature"


class _Body(msgspec.Struct):
    events: list[dict[str, Any]]


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> None:
    """Return when one of the secrets signed the body; raise `WebhookRefused` otherwise."""
    if len(body) > MAX_WEBHOOK_BYTES:
        raise WebhookRefused("the body is too long")
    told = headers.get(HEADER, "").encode("utf-8", "surrogateescape")
    fits = [hmac.compare_digest(signature(body, secret).encode(), told) for secret in secrets]
    if not any(fits):
        raise WebhookRefused("no signature fits")


def signature(body: bytes, secret: str) -> str:
    """Return what GoCardless writes into the header."""
    return hmac.new(secret.encode(), body, sha256).hexdigest()


def read_events(body: bytes) -> list[GatewayEvent]:
    """Translate a verified body; one that holds no events at all raises `WebhookRefused`."""
    try:
        raw = msgspec.json.decode(body, type=_Body).events
        return [event_of(each, msgspec.convert(each, type=GoEvent)) for each in raw]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as unreadable:
        raise WebhookRefused(f"the body holds no events ({type(unreadable).__name__})") from None
