"""Live streams of events: each process reads every event once and spreads it to the streams that want it.

A stream is a bounded queue. Whoever does not keep up is cut off, comes back with the id of the last event it has, and
is brought up to date from the table; so memory stays bounded, and nobody waits for the slowest. Where a stream begins
(or begins again) it first reads pages of the table, as fast as its client takes them, and joins the live ones only for
what is left, so that nothing is missed and nothing told twice.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Final

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.storage.engine import Database, DatabaseUnavailable
from recoup_core.storage.following import Narrow, PlacedEvent, newest_certain, next_events, read_between
from recoup_core.storage.listening import POLL_S, Alarm, Pace, listening
from recoup_core.storage.listing import FeedPosition
from recoup_core.telemetry import get_logger, metrics
from recoup_server.reading import seal_cursor
from recoup_server.timeline import event_out

STREAMS_MAX: Final = 300
"""Open streams of one process: of the 1,000 connections it holds, most are left for requests."""
MERCHANT_MAX: Final = 50
"""Open streams of one merchant in one process."""
QUEUE_MAX: Final = 1_000
"""Events that wait for one client, some 600 KB; who is further behind is cut off and resumes from the table."""
CUT_AFTER_S: Final = 5.0
"""How long a stream that was ended may take to say so to its client; then its connection is closed."""
READ_MAX: Final = 500
"""Events read from the table at once."""
HEARTBEAT_S: Final = 15.0
"""How often a quiet stream says that it lives: proxies close what is silent for 30 to 60 seconds. The key is looked at
as often, so that a revoked one ends its streams within seconds."""
RETRY_MS: Final = 2_000
"""What clients wait before they come back."""

log = get_logger(__name__)


class TooManyStreams(DomainError):
    """The merchant has as many streams open here as it may have."""

    code = "too_many_streams"

    def __init__(self) -> None:
        super().__init__(f"a merchant has at most {MERCHANT_MAX} streams open at once; share one, or close some")


class StreamsFull(DomainError):
    """This process holds as many streams as it can."""

    code = "streams_full"

    def __init__(self) -> None:
        super().__init__("too many streams are open; try again later")


class Told(msgspec.Struct, frozen=True):
    """One event as a client gets it."""

    position: FeedPosition
    frame: bytes


class Stream:
    """One client's queue."""

    def __init__(self, merchant_id: str, wanted: Narrow) -> None:
        self.merchant_id = merchant_id
        self.wanted = wanted
        self.queue: asyncio.Queue[Told | None] = asyncio.Queue()
        self.ended = False
        self._task = asyncio.current_task()
        self._cut: asyncio.TimerHandle | None = None

    def put(self, told: Told) -> None:
        """Add an event; a queue that is full is dropped whole, and the stream ends."""
        if self.ended:
            return
        if self.queue.qsize() >= QUEUE_MAX:
            self.end("slow")
        else:
            self.queue.put_nowait(told)

    def end(self, because: str) -> None:
        """Let go of what waits, and wake whoever reads."""
        if self.ended:
            return
        self.ended = True
        metrics().streams_cut.labels(because).inc()
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)
        if self._task is not None:  # it may be stuck in handing over to a client that reads no more
            self._cut = asyncio.get_running_loop().call_later(CUT_AFTER_S, self._task.cancel)

    def left(self) -> None:
        """Nobody reads any more, and nobody need be cut off."""
        if self._cut is not None:
            self._cut.cancel()


class Hub:
    """Reads what happens and spreads it; one a process, on its event loop. Reads nothing while nobody listens."""

    def __init__(self, database: Database, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._database = database
        self.heartbeat_s = heartbeat_s
        self._streams: set[Stream] = set()
        self._open: Counter[str] = Counter()
        self._position: FeedPosition | None = None
        self._alarm = Alarm()
        self._moved = asyncio.Event()
        self._wanted = asyncio.Event()
        self.closed = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Spread events while the block runs."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def close(self) -> None:
        """End all streams at once, and let none begin: the process is about to stop."""
        self.closed = True
        self._moved.set()
        for stream in list(self._streams):
            stream.end("stopping")

    def admit(self, merchant_id: str) -> None:
        """Raise `TooManyStreams` or `StreamsFull` where no further stream may begin."""
        if self.closed or self._open.total() >= STREAMS_MAX:
            raise StreamsFull
        if self._open[merchant_id] >= MERCHANT_MAX:
            raise TooManyStreams

    @contextmanager
    def _entered(self, merchant_id: str) -> Iterator[None]:
        """Count a stream in, for as long as the block runs."""
        self._open[merchant_id] += 1
        metrics().streams.inc()
        self._wanted.set()
        try:
            yield
        finally:
            self._open[merchant_id] -= 1
            self._open += Counter()  # forgets who has none
            metrics().streams.dec()
            if not self._open:
                self._wanted.clear()
                self._position = None

    async def tell(
        self, merchant_id: str, wanted: Narrow, after: FeedPosition | None, allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """Yield what a client is sent: from after a place on, or from now; ends where it is no longer allowed."""
        yield b"retry: %d\n\n" % RETRY_MS
        with self._entered(merchant_id):
            async with aclosing(self._followed(merchant_id, wanted, after, allowed)) as frames:
                async for frame in frames:
                    yield frame

    async def _followed(
        self, merchant_id: str, wanted: Narrow, after: FeedPosition | None, allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[bytes]:
        here = await self._here()
        if here is None:
            return
        at = after or here
        async for told in self._past(merchant_id, wanted, at, here):
            yield told.frame
        stream = Stream(merchant_id, wanted)
        joined = self._position  # no other task runs from here to the next await: nothing falls in between
        self._streams.add(stream)
        try:
            if joined is None or self.closed:
                return
            async for told in self._past(merchant_id, wanted, max(at, here, key=_order), joined):
                yield told.frame
            at = max(at, joined, key=_order)
            async for frame in self._live(stream, at, allowed):
                yield frame
        finally:
            self._streams.discard(stream)
            stream.left()

    async def _here(self) -> FeedPosition | None:
        """Return how far the hub has read, once it has found out; None where it is being stopped."""
        while self._position is None and not self.closed:
            self._moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._moved.wait()
        return None if self.closed else self._position

    async def _past(
        self, merchant_id: str, wanted: Narrow, after: FeedPosition, upto: FeedPosition
    ) -> AsyncIterator[Told]:
        following: FeedPosition | None = after
        while following is not None and _order(following) < _order(upto) and not self.closed:
            async with self._database.connection() as connection:
                found = await read_between(connection, merchant_id, following, upto, wanted, READ_MAX)
            for event in found.events:
                yield _told(event)
            following = found.following

    async def _live(
        self, stream: Stream, after: FeedPosition, allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while not stream.ended:
            told: Told | None = None
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, checked + self.heartbeat_s - loop.time())):
                    told = await stream.queue.get()
                    if told is None:
                        return
            if told is not None and _order(told.position) > _order(after):
                yield told.frame
            if loop.time() - checked >= self.heartbeat_s:
                checked = loop.time()
                if not await allowed():
                    stream.end("key")
                    return
                if told is None:
                    yield b": here\n"  # one line of comment, which no parser takes for an event

    async def _run(self) -> None:
        pace = Pace(self._alarm)
        async with listening(self._database, self._alarm):
            while True:
                await self._wanted.wait()
                try:
                    await pace.rest(held=await self._read())
                except DatabaseUnavailable as away:
                    log.warning("streams_wait_for_the_database", error=str(away))
                    await asyncio.sleep(POLL_S)
                except Exception as failure:
                    log.error("streams_not_fed", error=repr(failure))
                    await asyncio.sleep(POLL_S)

    async def _read(self) -> bool:
        """Spread what is new; return whether something is written that can't be told yet."""
        while True:
            before = self._position
            async with self._database.connection() as connection:
                if before is None:
                    self._position = await newest_certain(connection)
                    self._moved.set()
                    return False
                look = await next_events(connection, before, READ_MAX)
            if self._position is not before:  # the last stream left meanwhile, and a new one came
                continue
            for event in look.events:
                self._spread(event)
            if look.events:
                self._position = look.events[-1].position
            if len(look.events) < READ_MAX:
                return look.held
            await asyncio.sleep(0)

    def _spread(self, event: PlacedEvent) -> None:
        told: Told | None = None
        for stream in self._streams:
            if stream.merchant_id == event.merchant_id and stream.wanted.fits(event):
                told = told or _told(event)
                stream.put(told)


def _told(event: PlacedEvent) -> Told:
    """Write an event as a client gets it; JSON holds no line break, so `data` is one line."""
    position = event.position
    cursor = seal_cursor("events", position.txid, position.event_id)
    body = msgspec.json.encode(event_out(event))
    return Told(position, b"id: %s\nevent: %s\ndata: %s\n\n" % (cursor.encode(), str(event.kind).encode(), body))


def _order(position: FeedPosition) -> tuple[int, int]:
    return position.txid, position.event_id
