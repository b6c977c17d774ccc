"""Hears that events were committed: one connection of its own, kept open, and never silently deaf.

What is heard only says that looking is worth while: whoever is woken reads the table, and looks every `POLL_S` all the
same. So a lost notification, a killed connection or a restarted database costs half a second, and never an event.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from recoup_core.storage.engine import Database
from recoup_core.storage.transaction import terminate

CHANNEL: Final = "recoup_event"
POLL_S: Final = 0.5
"""How often a reader looks that heard nothing. What was committed beside a transaction that did notify is found by it
(migration 2026_11_23t22_20_00 says why not every transaction does)."""
ECHO_S: Final = 0.05
"""How soon a reader looks again that was woken, or has seen that something can't be told yet."""
GATHER_S: Final = 0.02
"""How long a reader waits once it was woken: at two hundred commits a second it reads fifty times, not two hundred."""

PROBE_EVERY_S: Final = 20.0
"""How often the connection is asked for a sign of life: a cut cable closes nothing by itself."""
PROBE_TIMEOUT_S: Final = 5.0
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0

log = logging.getLogger(__name__)


class Alarm:
    """Wakes one reader, which then looks; used on one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something may be new."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until it rings, at most so long; return whether it rang, for what comes close behind counts in."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        await asyncio.sleep(GATHER_S)
        self._rung.clear()
        return True


class Pace:
    """How long a reader waits between looks: shortly after it was woken, else until the next poll."""

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm
        self._echoes = 0

    async def rest(self, *, held: bool) -> None:
        """Wait for the next look; `held`: the last one saw what can't be told yet."""
        soon = held or self._echoes > 0
        if await self._alarm.wait(ECHO_S if soon else POLL_S):
            self._echoes = 2
        elif self._echoes:
            self._echoes -= 1


@asynccontextmanager
async def listening(database: Database, alarm: Alarm) -> AsyncIterator[None]:
    """Ring the alarm at each notification while the block runs, however often the connection is lost meanwhile."""
    task = asyncio.create_task(_listen(database, alarm))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _listen(database: Database, alarm: Alarm) -> None:
    pause_s = BACKOFF_FIRST_S
    while True:
        try:
            async with _connected(database) as (connection, ended):
                await connection.add_listener(CHANNEL, lambda *_: alarm.ring())
                pause_s = BACKOFF_FIRST_S
                alarm.ring()  # what was committed while nobody listened
                await _until_lost(connection, ended)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as failure:
            log.warning("the listener lost its connection: %s", type(failure).__name__)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, BACKOFF_MAX_S)


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[tuple[Any, asyncio.Event]]:
    ended = asyncio.Event()
    arguments = {name: value for name, value in database.engine.config.items() if name != "command_timeout"}
    connection = await asyncpg.connect(**arguments, command_timeout=PROBE_TIMEOUT_S)
    connection.add_termination_listener(lambda _: ended.set())
    try:
        yield connection, ended
    finally:
        terminate(connection)


async def _until_lost(connection: Any, ended: asyncio.Event) -> None:
    while not ended.is_set():
        try:
            async with asyncio.timeout(PROBE_EVERY_S):
                await ended.wait()
        except TimeoutError:
            await connection.execute("SELECT 1")
    raise ConnectionResetError
