"""Feedback as JSON: our own generic form, Mailgun's and Postmark's webhooks."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_plugins import Feedback, FeedbackKind, FeedbackRefused
from recoup_plugins.notifiers.statuses import enhanced, is_blocking

MAX_EVENTS: Final = 1_000
MAX_DETAIL: Final = 300

_UUID: Final = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)


def uuid_in(text: object) -> UUID | None:
    """Return the first id in a text: a Message-ID, an address with one in it."""
    found = _UUID.search(text[:1_000]) if isinstance(text, str) else None
    return UUID(found[0]) if found else None


class _Generic(msgspec.Struct, frozen=True):
    events: list[Feedback]


def read_generic(body: bytes) -> Sequence[Feedback]:
    """`{"events": [{"kind": "bounced", "message_id": ..., "address": ..., "occurred_at": ...}]}`."""
    events = msgspec.json.decode(body, type=_Generic).events
    if len(events) > MAX_EVENTS:
        raise FeedbackRefused(f"it has more than {MAX_EVENTS} events")
    return [msgspec.structs.replace(event, occurred_at=_aware(event.occurred_at)) for event in events]


def read_mailgun(body: bytes, signed: Callable[[str, str, str], None]) -> Sequence[Feedback]:
    """Mailgun's webhook (documentation.mailgun.com: webhooks, event structure); `signed` raises where it is not."""
    told = msgspec.json.decode(body, type=dict[str, Any])
    signature = _part(told, "signature")
    signed(*(str(signature.get(field, "")) for field in ("timestamp", "token", "signature")))
    event = _part(told, "event-data")
    status = _part(event, "delivery-status")
    words = str(status.get("description") or status.get("message") or event.get("reason") or "")
    kind = _mailgun_kind(event, status, words)
    if kind is None:
        return ()
    headers = _part(_part(event, "message"), "headers")
    named = _part(event, "user-variables").get("recoup_message")
    return [
        Feedback(
            kind=kind,
            message_id=uuid_in(named) or uuid_in(headers.get("message-id")),
            address=_text(event.get("recipient")),
            occurred_at=_since_epoch(event.get("timestamp")),
            detail=words[:MAX_DETAIL] or None,
        )
    ]


def _mailgun_kind(event: Mapping[str, Any], status: Mapping[str, Any], words: str) -> FeedbackKind | None:
    match event.get("event"):
        case "delivered":
            return FeedbackKind.DELIVERED
        case "complained":
            return FeedbackKind.COMPLAINED
        case "unsubscribed":
            return FeedbackKind.UNSUBSCRIBED
        case "failed" if event.get("severity") == "permanent":
            code = _text(status.get("enhanced-code")) or enhanced(words)
            return FeedbackKind.DELAYED if is_blocking(code) else FeedbackKind.BOUNCED
        case "failed":
            return FeedbackKind.DELAYED
    return None


_POSTMARK_DEAD: Final = frozenset({"HardBounce", "BadEmailAddress", "ManuallyDeactivated"})
"""postmarkapp.com/developer/api/bounce-api: bounce types; others are soft, or say nothing about the address."""


def read_postmark(body: bytes) -> Sequence[Feedback]:
    """Postmark's webhooks: Bounce, Delivery, SpamComplaint, SubscriptionChange."""
    told = msgspec.json.decode(body, type=dict[str, Any])
    kind = _postmark_kind(told)
    if kind is None:
        return ()
    words = _text(told.get("Details")) or _text(told.get("Description"))
    at = next((told[name] for name in ("BouncedAt", "DeliveredAt", "ChangedAt") if told.get(name)), None)
    return [
        Feedback(
            kind=kind,
            message_id=uuid_in(_part(told, "Metadata").get("recoup-message")),
            address=_text(told.get("Email")) or _text(told.get("Recipient")),
            occurred_at=_aware(msgspec.convert(at, datetime)) if isinstance(at, str) else None,
            detail=words[:MAX_DETAIL] if words else None,
        )
    ]


def _postmark_kind(told: Mapping[str, Any]) -> FeedbackKind | None:
    match told.get("RecordType"), told.get("Type"):
        case "Delivery", _:
            return FeedbackKind.DELIVERED
        case ("SpamComplaint", _) | ("Bounce", "SpamComplaint"):
            return FeedbackKind.COMPLAINED
        case "Bounce", "Unsubscribe":
            return FeedbackKind.UNSUBSCRIBED
        case "Bounce", "Subscribe" | "OpenRelayTest" | "AutoResponder" | "AddressChange":
            return None
        case "Bounce", of:
            return FeedbackKind.BOUNCED if of in _POSTMARK_DEAD else FeedbackKind.DELAYED
        case "SubscriptionChange", _ if told.get("SuppressSending") is True:
            why = told.get("SuppressionReason")
            return {"HardBounce": FeedbackKind.BOUNCED, "SpamComplaint": FeedbackKind.COMPLAINED}.get(
                str(why), FeedbackKind.UNSUBSCRIBED
            )
    return None


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object inside another one; providers leave them out, or send null."""
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _since_epoch(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
