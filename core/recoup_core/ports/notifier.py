"""What a notifier is asked and what it may answer: the way to customers and staff, by e-mail, SMS, chat or webhook.

A message is written down before it is handed over. Whatever a notifier raises is *unknown*: it is handed over once more
only where the notifier says that the same id reaches its reader once (`deduplicates`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

import msgspec

SEND_TIMEOUT_S: Final = 30.0
"""A notifier answers within this, in seconds; afterwards the outcome counts as unknown."""

MAX_FEEDBACK_BYTES: Final = 1024 * 1024
"""What tells of bounces and complaints may be this long."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """In whose name a message goes out."""

    name: str
    """The merchant, as its customers know it."""
    reply_to: str | None = None
    """Where answers to e-mails go, where the brand says."""


class OutgoingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one reader by one channel; the same `id` means the same message, word for word."""

    id: UUID
    """Stays the same over all sendings: e-mails carry it in their Message-ID, webhooks as their id."""
    merchant_id: str
    channel: str
    """As policies write it: `email`, `sms`, `chat`, `push`, `webhook`."""
    to: str
    """The address on that channel: an e-mail address, a number in E.164, what the notifier's channel calls for."""
    sender: Sender
    subject: str | None = None
    """A title; channels without one leave it out."""
    text: str
    html: str | None = None
    locale: str
    """BCP 47 (`de-AT`)."""
    unsubscribe_url: str | None = None
    """Takes the reader off this channel by one POST (RFC 8058); None where there is nothing to unsubscribe from."""
    data: Mapping[str, Any] = {}
    """What the message is about (ids, never amounts in words), for channels read by machines."""
    created_at: datetime


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag="accepted"):
    """It is on its way, and out of our hands."""

    provider_ref: str | None = None
    """The provider's name for it, which its feedback may use."""


class NotAccepted(msgspec.Struct, frozen=True, kw_only=True, tag="not_accepted"):
    """Certain that it is not sent, and never will be."""

    reason: str
    bad_address: bool = False
    """Whether the address itself is wrong: nothing more is sent to it."""


class NotNow(msgspec.Struct, frozen=True, kw_only=True, tag="not_now"):
    """Certain that it is not sent yet; the same message is handed over again later."""

    reason: str
    retry_after_s: float | None = None


SendOutcome = Accepted | NotAccepted | NotNow


class FeedbackKind(StrEnum):
    """What became of a message after it was accepted."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    """For good: the address is marked and nothing more is sent to it."""
    DELAYED = "delayed"
    """A bounce that may pass; told, and nothing follows from it."""
    COMPLAINED = "complained"
    """The reader called it spam: the address is marked."""
    UNSUBSCRIBED = "unsubscribed"


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider tells about one message, or one address."""

    kind: FeedbackKind
    message_id: UUID | None = None
    """The `OutgoingMessage.id`, where it is told."""
    provider_ref: str | None = None
    address: str | None = None
    channel: str = "email"
    occurred_at: datetime | None = None
    detail: str | None = None
    """The provider's own words; kept, and never shown to customers."""


class FeedbackRefused(Exception):
    """What came is not from the provider, or can't be read."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotifierCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a notifier can do; constant while it lives."""

    channels: frozenset[str]
    """The channels it serves."""
    deduplicates: bool = False
    """Whether the same id handed over twice reaches its reader once."""
    html: bool = False
    """Whether it shows HTML; without, only subject and text are handed over."""
    feedback: bool = False
    """Whether `parse_feedback` reads what the provider tells later."""
    addressed: bool = True
    """Whether each reader has an address of their own; a chat room that is set once has not."""


class Notifier(Protocol):
    """The way to readers on one or several channels."""

    @property
    def name(self) -> str:
        """The name of this instance, as settings give it."""
        ...

    @property
    def capabilities(self) -> NotifierCapabilities:
        """What it can do."""
        ...

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """Hand one message over, within `SEND_TIMEOUT_S`; what is raised counts as unknown."""
        ...

    async def health(self) -> None:
        """Raise where the provider can't be reached; send nothing."""
        ...


@runtime_checkable
class FeedbackNotifier(Protocol):
    """A notifier whose provider tells of deliveries, bounces and complaints by webhook."""

    def parse_feedback(self, headers: Mapping[str, str], body: bytes) -> Sequence[Feedback]:
        """Verify and read what a provider sent (header names in lower case); raise `FeedbackRefused` where it isn't."""
        ...
