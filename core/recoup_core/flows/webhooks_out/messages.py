"""What is posted to an endpoint: the same bytes at every try, signed anew each time."""

import base64
import hmac
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.webhook import WebhookEndpoint
from recoup_core.signing import SigningKeys
from recoup_core.storage.listing import StoredEvent

USER_AGENT: Final = "Recoup-Webhooks/1"

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 # the specification's mark of a secret, not one

TEST_KIND: Final = "webhook.test"
"""The kind of message that only the test of an endpoint sends."""


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, and to what."""

    id: int
    """The event's number; the same as in the list of events and in the stream."""
    merchant_id: str
    actor: str
    case_id: UUID | None = None
    payment_id: UUID | None = None
    attempt_id: UUID | None = None
    refund_id: UUID | None = None
    correlation_id: str | None = None
    data: dict[str, Any] = {}
    """As the kind of event says it; amounts are whole minor units. Never holds secrets, names or addresses."""


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every outbound webhook."""

    type: str
    """The event's kind."""
    timestamp: datetime
    """When it happened; the header `webhook-timestamp` says when this try was made."""
    data: EventBody


def body_of(event: StoredEvent) -> bytes:
    """Return an event as it is sent: events never change, so neither do the bytes."""
    return msgspec.json.encode(
        WebhookBody(
            type=str(event.kind),
            timestamp=event.at,
            data=EventBody(
                id=event.id,
                merchant_id=event.merchant_id,
                actor=event.actor,
                case_id=event.case_id,
                payment_id=event.payment_id,
                attempt_id=event.attempt_id,
                refund_id=event.refund_id,
                correlation_id=event.correlation_id,
                data=dict(event.data),
            ),
        )
    )


def secret_of(endpoint: WebhookEndpoint, keys: SigningKeys, *, before: int = 0) -> str:
    """Return the secret that an endpoint verifies with, or the one so many before it."""
    return SECRET_PREFIX + base64.b64encode(_key(endpoint, keys, endpoint.generation - before)).decode()


def headers_for(
    endpoint: WebhookEndpoint, keys: SigningKeys, message_id: str, body: bytes, now: datetime
) -> dict[str, str]:
    """Return the headers of one try; while a rolled secret is still good, both sign."""
    generations = [endpoint.generation]
    if endpoint.old_secret_until is not None and now < endpoint.old_secret_until:
        generations.append(endpoint.generation - 1)
    seconds = int(now.timestamp())
    signed = f"{message_id}.{seconds}.".encode() + body
    digests = [hmac.digest(_key(endpoint, keys, generation), signed, sha256) for generation in generations]
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def _key(endpoint: WebhookEndpoint, keys: SigningKeys, generation: int) -> bytes:
    return keys.derive(f"webhook:{endpoint.id}:{generation}")
