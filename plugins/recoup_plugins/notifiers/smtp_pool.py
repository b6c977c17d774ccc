"""Open connections to one relay: a few at once, used again while they are fresh, and never by two at a time."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from weakref import WeakKeyDictionary

import aiosmtplib

IDLE_S: Final = 20.0
"""How long a connection waits for its next mail; relays hang up after 30 s to 5 minutes."""
MAILS_MAX: Final = 100
"""Mails over one connection: relays count, too."""
QUIT_S: Final = 2.0

Connect = Callable[[], aiosmtplib.SMTP]


class PoolBusy(Exception):
    """All connections are taken, and none came free in time; nothing was sent."""


class Line:
    """One connection and what it was used for."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self.client = client
        self.mails = 0
        self.idle: asyncio.TimerHandle | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether one more mail may go over it."""
        return self.client.is_connected and self.mails < MAILS_MAX

    def hang_up(self) -> None:
        """Close it without a word."""
        if self.idle is not None:
            self.idle.cancel()
        with suppress(RuntimeError):  # its loop is gone already
            self.client.close()


class _Room:
    """The connections of one event loop."""

    def __init__(self, size: int) -> None:
        self.places = asyncio.Semaphore(size)
        self.waiting: list[Line] = []


class SmtpPool:
    """Lends connections; each belongs to the event loop that opened it."""

    def __init__(self, make: Connect, size: int) -> None:
        self._make, self._size = make, size
        self._rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Room] = WeakKeyDictionary()

    @asynccontextmanager
    async def line(self, *, wait_s: float) -> AsyncIterator[Line]:
        """Lend an open connection; raises `PoolBusy` and whatever connecting raises.

        Whoever got it brings it back in order by resetting `keep`; else it is closed.
        """
        room = self._rooms.setdefault(asyncio.get_running_loop(), _Room(self._size))
        try:
            async with asyncio.timeout(wait_s):
                await room.places.acquire()
        except TimeoutError:
            raise PoolBusy(f"all {self._size} connections are busy") from None
        try:
            line = await self._open(room)
            try:
                yield line
            except BaseException:
                line.hang_up()
                raise
            self._bring_back(room, line)
        finally:
            room.places.release()

    async def _open(self, room: _Room) -> Line:
        while room.waiting:
            line = room.waiting.pop()
            if line.idle is not None:
                line.idle.cancel()
            if line.is_fresh and await _answers(line.client):
                return line
            line.hang_up()
        client = self._make()
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:  # what the relay can do is asked before the first mail
                with suppress(aiosmtplib.SMTPHeloError):
                    await client.ehlo()
        except BaseException:
            client.close()
            raise
        return Line(client)

    def _bring_back(self, room: _Room, line: Line) -> None:
        if not line.is_fresh:
            line.hang_up()
            return

        def expire() -> None:
            with suppress(ValueError):
                room.waiting.remove(line)
            line.hang_up()

        line.idle = asyncio.get_running_loop().call_later(IDLE_S, expire)
        room.waiting.append(line)

    async def close(self) -> None:
        """Say goodbye on the connections that wait in this loop."""
        room = self._rooms.pop(asyncio.get_running_loop(), None)
        for line in room.waiting if room else ():
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await line.client.quit(timeout=QUIT_S)
            line.hang_up()


async def _answers(client: aiosmtplib.SMTP) -> bool:
    """Whether the relay is still there: it may have hung up meanwhile."""
    with suppress(aiosmtplib.SMTPException, OSError):
        return (await client.rset(timeout=QUIT_S)).code == aiosmtplib.SMTPStatus.completed
    return False


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return how certificates are looked at: always, by the system's authorities or the given ones alone."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
