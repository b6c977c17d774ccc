"""What the notifiers' conformance kit needs of a plugin's tests: the notifier, and what its provider's readers saw."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from recoup_plugins import FeedbackKind, Notifier, OutgoingMessage

if TYPE_CHECKING:
    from recoup_plugins.conformance import SignedWebhook  # imports pytest, which only the kit needs


class Reader(StrEnum):
    """Whom a message is for, and so what the provider does with it."""

    REACHED = "reached"
    NOBODY = "nobody"
    """An address that the provider, or the notifier itself, knows to be wrong."""
    LOST_ANSWER = "lost_answer"
    """The provider takes it and breaks the connection instead of answering, once."""
    SLOW = "slow"
    """The provider takes it and answers after a second."""


class Seen(NamedTuple):
    """What one reader saw once; what its mail program, or whatever it is, hides as a double is not seen."""

    to: str
    shown: str
    """Everything that is shown: title and text."""


class NotifierBench(Protocol):
    """For `NotifierConformance`."""

    notifier: Notifier

    def address(self, reader: Reader) -> str:
        """Return an address that the provider treats so; fresh ones, or always the same."""
        ...

    def seen(self) -> list[Seen]:
        """Return what all readers of the provider saw until now."""
        ...

    def away(self) -> None:
        """Let the provider refuse connections from now on."""
        ...


class FeedbackBench(Protocol):
    """For `FeedbackConformance`."""

    notifier: Notifier

    def feedback(self, kind: FeedbackKind, message: OutgoingMessage, sent_at: datetime) -> "SignedWebhook | None":
        """Return what the provider sends about a message, signed at that time; None: it never tells of such a thing."""
        ...

    def now(self) -> datetime:
        """Return the notifier's clock."""
        ...
