"""One message to one customer by one channel: written down with what it says, then sent, and what became of it."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine


class MessageState(StrEnum):
    """What may be true of a message."""

    QUEUED = "queued"
    """Written down, certainly not sent."""
    SENDING = "sending"
    """Handed to its notifier; from here on it may have reached its reader."""
    SENT = "sent"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"
    """Certainly not sent, and never will be."""
    UNKNOWN = "unknown"
    """It may have been sent; nothing is sent again, for its reader might be told twice."""
    CANCELED = "canceled"
    """No longer wanted before it left."""


class MessageEvent(StrEnum):
    """What can happen to a message."""

    SEND = "send"
    NOT_SEND = "not_send"
    ACCEPT = "accept"
    FAIL = "fail"
    LOSE = "lose"
    CANCEL = "cancel"
    DELIVER = "deliver"
    BOUNCE = "bounce"


_S, _E = MessageState, MessageEvent

MESSAGE_TRANSITIONS: Final = {
    (_S.QUEUED, _E.SEND): _S.SENDING,
    (_S.QUEUED, _E.CANCEL): _S.CANCELED,
    (_S.QUEUED, _E.FAIL): _S.FAILED,
    (_S.SENDING, _E.SEND): _S.SENDING,  # once more with the same id, where its notifier tells doubles apart
    (_S.SENDING, _E.NOT_SEND): _S.QUEUED,
    (_S.SENDING, _E.ACCEPT): _S.SENT,
    (_S.SENDING, _E.FAIL): _S.FAILED,
    (_S.SENDING, _E.LOSE): _S.UNKNOWN,
    (_S.SENDING, _E.DELIVER): _S.DELIVERED,  # its feedback came before our own answer
    (_S.SENDING, _E.BOUNCE): _S.BOUNCED,
    (_S.SENT, _E.DELIVER): _S.DELIVERED,
    (_S.SENT, _E.BOUNCE): _S.BOUNCED,
    (_S.DELIVERED, _E.BOUNCE): _S.BOUNCED,  # some mail servers take everything and return it later
    (_S.UNKNOWN, _E.ACCEPT): _S.SENT,
    (_S.UNKNOWN, _E.DELIVER): _S.DELIVERED,
    (_S.UNKNOWN, _E.BOUNCE): _S.BOUNCED,
}

MESSAGE: Final = Machine("message", MESSAGE_TRANSITIONS)

CONTACTS: Final = frozenset(
    {
        MessageState.QUEUED,
        MessageState.SENDING,
        MessageState.SENT,
        MessageState.DELIVERED,
        MessageState.UNKNOWN,
    }
)
"""States in which a message counts towards the contact budget: it reached its reader, or may have, or will."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message; what it says is fixed when it is queued, so that a second sending is word for word the first."""

    id: UUID
    merchant_id: str
    customer_ref: str
    case_id: UUID | None = None
    payment_id: UUID | None = None
    step_id: UUID | None = None
    """The dunning step that wanted it."""
    notice_id: UUID | None = None
    """The notice of an upcoming charge that wanted it."""
    channel: str
    template: str
    locale: str
    notifier: str
    address_id: UUID | None = None
    state: MessageState = MessageState.QUEUED
    to_address: str | None
    """None once the customer was erased, as the words below."""
    subject: str | None = None
    text: str | None
    html: str | None = None
    zone: str = "UTC"
    """The customer's when it was written: quiet hours are kept in it, however late it leaves."""
    country: str | None = None
    """Whose holidays are kept."""
    latest_at: datetime | None = None
    """It says something that is no longer so afterwards; it is not sent then."""
    sends: int = 0
    provider_ref: str | None = None
    because: str | None = None
    """Why it failed, bounced, was canceled or is unknown."""
    correlation_id: str | None = None
    created_at: datetime
    sent_at: datetime | None = None
    finished_at: datetime | None = None
    complained_at: datetime | None = None
