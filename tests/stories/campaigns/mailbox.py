"""Readers as a mail server knows them: the same message handed over twice lies in the mailbox once."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from recoup_core.ports import Accepted, NotifierCapabilities, NotNow, OutgoingMessage, SendOutcome

CHANNELS: Final = frozenset({"email", "sms"})


class Crash(BaseException):
    """The process dies here, as by kill -9: nothing catches it, nothing is written down after it."""


class Mailbox:
    """A notifier that keeps what reached its readers, with the time; it can be down, and its callers can die."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.name = "post"
        self.capabilities = NotifierCapabilities(channels=CHANNELS, deduplicates=True, html=True)
        self.received: dict[UUID, tuple[datetime, OutgoingMessage]] = {}
        self.handed_over = 0
        """How often anything came, doubles and refusals included."""
        self.down: Callable[[datetime], bool] = lambda _: False
        self.crash_before: set[int] = set()
        self.crash_after: set[int] = set()
        """Numbers of calls at which the caller dies: before the server has the message, or right after."""
        self._clock = clock

    def forgets_ids(self) -> None:
        """From now on it shows a message as often as it is handed over, and says so."""
        self.capabilities = NotifierCapabilities(channels=CHANNELS, html=True)

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """Take it, unless down."""
        self.handed_over += 1
        if self.handed_over in self.crash_before:
            raise Crash("before it was handed over")
        if self.down(self._clock()):
            return NotNow(reason="connection refused")
        known = self.received.setdefault(message.id, (self._clock(), message))[1]
        assert known == message, "the same id came with other words"
        if self.handed_over in self.crash_after:
            raise Crash("after it was handed over")
        return Accepted(provider_ref=f"q-{len(self.received)}")

    async def health(self) -> None:
        """It is there."""
