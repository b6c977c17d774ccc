"""Feedback as mail servers write it to each other: delivery reports (RFC 3464) and complaints (ARF, RFC 5965)."""

import email
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import UUID

from recoup_plugins import Feedback, FeedbackKind
from recoup_plugins.notifiers.feedback_json import uuid_in
from recoup_plugins.notifiers.mail import MESSAGE_HEADER
from recoup_plugins.notifiers.statuses import enhanced, is_dead

MAX_PARTS: Final = 200
MAX_RECIPIENTS: Final = 100
MAX_DETAIL: Final = 300

_RETURNED_TO: Final = ("X-Original-To", "Delivered-To", "Envelope-To", "To")
"""Where the address stands that a bounce was returned to: with an `envelope_from` of our kind it holds the id."""


def read_report(body: bytes) -> Sequence[Feedback]:
    """Return what a mail reports; a mail that is no report (an out-of-office note, spam) tells nothing."""
    mail = email.message_from_bytes(body)
    parts = [part for part, _ in zip(mail.walk(), range(MAX_PARTS), strict=False)]
    ours = _message_id(mail, parts)
    complaints = [part for part in parts if part.get_content_type() == "message/feedback-report"]
    if complaints:
        return list(_complaints(complaints[0], mail, ours))
    reports = [part for part in parts if part.get_content_type() == "message/delivery-status"]
    return list(_deliveries(reports[0], mail, ours)) if reports else ()


def _deliveries(report: Message, mail: Message, ours: UUID | None) -> Iterator[Feedback]:
    groups = report.get_payload()
    fields = [group for group in groups if isinstance(group, Message)] if isinstance(groups, list) else []
    about = next((uuid_in(_field(group, "Original-Envelope-Id")) for group in fields), None) or ours
    recipients = [group for group in fields if group["Final-Recipient"] or group["Original-Recipient"]]
    for group in recipients[:MAX_RECIPIENTS]:
        kind, words = _outcome(group)
        if kind is not None:
            yield Feedback(
                kind=kind,
                message_id=about,
                address=_address(group["Original-Recipient"]) or _address(group["Final-Recipient"]),
                occurred_at=_date(mail),
                detail=words[:MAX_DETAIL] or None,
            )


def _outcome(group: Message) -> tuple[FeedbackKind | None, str]:
    """A failure for another reason than a dead address (a policy, a full mailbox) marks nothing."""
    words = _field(group, "Diagnostic-Code") or _field(group, "Status")
    match _field(group, "Action").lower().split(" ")[0]:
        case "delivered":
            return FeedbackKind.DELIVERED, words
        case "delayed":
            return FeedbackKind.DELAYED, words
        case "failed":
            status = enhanced(_field(group, "Status"))
            vague = status is None or status.endswith(".0.0")  # "other": the server's own words say more
            dead = is_dead((enhanced(words) if vague else None) or status)
            return (FeedbackKind.BOUNCED if dead else FeedbackKind.DELAYED), words
    return None, words


def _complaints(report: Message, mail: Message, ours: UUID | None) -> Iterator[Feedback]:
    groups = report.get_payload()
    fields = groups[0] if isinstance(groups, list) and groups and isinstance(groups[0], Message) else report
    kind = _field(fields, "Feedback-Type").lower()
    if kind not in ("abuse", "fraud", "opt-out"):
        return
    yield Feedback(
        kind=FeedbackKind.UNSUBSCRIBED if kind == "opt-out" else FeedbackKind.COMPLAINED,
        message_id=ours,
        address=_address(fields["Original-Rcpt-To"]),
        occurred_at=_date(mail),
        detail=f"feedback report: {kind}",
    )


def _message_id(mail: Message, parts: Sequence[Message]) -> UUID | None:
    """Return our id: from the returned headers, else from the address that the report was returned to."""
    for part in parts:
        if part.get_content_type() not in ("message/rfc822", "text/rfc822-headers"):
            continue
        inner = part.get_payload()
        if isinstance(inner, list):
            original = inner[0] if inner and isinstance(inner[0], Message) else None
        else:
            text = part.get_payload(decode=True)
            original = email.message_from_bytes(text) if isinstance(text, bytes) else None
        for name in (MESSAGE_HEADER, "Message-ID") if original is not None else ():
            if original is not None and (found := uuid_in(_field(original, name))) is not None:
                return found
    return next((found for name in _RETURNED_TO if (found := uuid_in(_field(mail, name))) is not None), None)


def _field(message: Message, name: str) -> str:
    value = message[name]
    return "" if value is None else " ".join(str(value).split())


def _address(field: object) -> str | None:
    """Return the address of a field like `rfc822; anna@example.com`."""
    if field is None:
        return None
    told = str(field).rpartition(";")[2].strip().strip("<>")
    return told if "@" in told and len(told) <= 254 else None


def _date(mail: Message) -> datetime | None:
    try:
        at = parsedate_to_datetime(_field(mail, "Date"))
    except (ValueError, TypeError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
