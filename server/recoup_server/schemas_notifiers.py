"""What the API tells of notifiers."""

from datetime import datetime
from typing import Literal

from recoup_server.schemas_out import Out


class NotifierOut(Out, frozen=True, kw_only=True):
    """A configured way to customers or staff, and how it is."""

    name: str
    channels: list[str]
    """Those that it is used for."""
    customers: bool
    """Whether messages to customers go by it; else to staff alone."""
    deduplicates: bool
    """Whether a message whose answer was lost is handed over once more; else it stays unknown."""
    html: bool
    feedback: bool
    """Whether its provider's bounces and complaints are taken at `/notifier-feedback/{name}`."""
    health: Literal["ok", "failing"]
    trouble: str | None
    """The kind of error of the last check; its text stays in the logs."""
    checked_at: datetime


class NotifierList(Out, frozen=True, kw_only=True):
    """The notifiers that serve the merchant."""

    items: list[NotifierOut]


class FeedbackOut(Out, frozen=True, kw_only=True):
    """What was taken."""

    told: int
    """Of how many messages or addresses."""
