"""What the workers need of the service, and of the transport between scheduler and workers.

The wired service of core satisfies `JobService`; tests bring a small one of their own.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from dramatiq import Message

from recoup_core.ports import Clock
from recoup_core.settings import Settings
from recoup_core.storage.changes import JobRef  # the value that travels; this room never queries
from recoup_core.storage.listening import Alarm

__all__ = ["JobRef", "JobService", "JobSource", "Parcel", "ServiceFactory", "Transport"]


class JobSource(Protocol):
    """The job table: the truth about what is due."""

    async def claim(self, now: datetime, limit: int, lease: timedelta) -> list[JobRef]:
        """Lease up to `limit` due jobs; one whose lease ends unfinished is due again."""
        ...

    async def release(self, refs: Sequence[JobRef]) -> None:
        """Make claimed jobs due again at once: nobody will get to see these claims."""
        ...

    async def next_due_at(self, now: datetime) -> datetime | None:
        """Return when the next job can be claimed; None when there is none."""
        ...


class JobService(Protocol):
    """What runs jobs: the flows, wired."""

    @property
    def settings(self) -> Settings:
        """What this process was started with."""
        ...

    @property
    def clock(self) -> Clock:
        """The time that due dates are compared with."""
        ...

    @property
    def jobs(self) -> JobSource:
        """The job table."""
        ...

    async def open(self) -> object:
        """Connect, on the running loop; may be called again after it raised."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...

    async def run_jobs(self, refs: Sequence[JobRef]) -> None:
        """Work on claimed jobs of one kind, each in its own right; one that fails doesn't raise, its lease ends."""
        ...

    async def sweep(self, now: datetime) -> None:
        """Look after what nothing else moves: age limits, and the seals of the audit chain."""
        ...

    async def follow(self, now: datetime) -> bool:
        """Hand what happened to its followers; return whether there is more of it."""
        ...

    def listening(self, alarm: Alarm) -> AbstractAsyncContextManager[None]:
        """Ring the alarm, while the block runs, when something has happened."""
        ...


ServiceFactory = Callable[[Settings], JobService]
"""Makes the service without touching the network; it is opened on the loop that will use it."""


class Parcel(msgspec.Struct, frozen=True):
    """One message and the claimed jobs it carries."""

    message: Message[None]
    refs: tuple[JobRef, ...]


class Transport(Protocol):
    """Carries parcels to the workers; may lose them, never hides that it could not take them."""

    async def room(self) -> int:
        """Return how many parcels may be sent now: 0 while it is full or can't be reached. Never raises."""
        ...

    async def send(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Send them and return those that were surely not, or not surely, taken. Never raises."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
