"""A job table in memory and a service that only notes what it was asked to do; queues that go away again."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pika
import pika.exceptions
import pytest

from recoup_core.ports import Clock, SystemClock
from recoup_core.secret import SecretUrl
from recoup_core.settings import AmqpSettings, SchedulerSettings, Settings, WorkerSettings
from recoup_core.storage.listening import Alarm
from recoup_core.telemetry import Metrics
from recoup_workers.actors import queue_name
from recoup_workers.contract import JobRef

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class MemoryJobs:
    """The job table's contract over a dict: id -> [ref, visible at]."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[JobRef, datetime]] = {}
        self.released: list[JobRef] = []
        self.claims = 0
        self.fail_with: Exception | None = None
        """Raised by every call while set: the database is away."""

    def add(self, number: int, kind: str = "collect", due_at: datetime = LONG_AGO) -> None:
        self.rows[number] = (JobRef(number, kind, UUID(int=number), 0, f"c-{number}"), due_at)

    def finish(self, number: int) -> None:
        self.rows.pop(number, None)  # a job whose lease has ended may be run twice

    async def claim(self, now: datetime, limit: int, lease: timedelta) -> list[JobRef]:
        self._check()
        self.claims += 1
        due = [ref for ref, visible_at in self.rows.values() if visible_at <= now][:limit]
        claimed = [msgspec.structs.replace(ref, claim=ref.claim + 1) for ref in due]
        self.rows.update({ref.id: (ref, now + lease) for ref in claimed})
        return claimed

    async def release(self, refs: Sequence[JobRef]) -> None:
        self._check()
        self.released.extend(refs)
        self.rows.update({ref.id: (ref, LONG_AGO) for ref in refs})

    async def next_due_at(self, now: datetime) -> datetime | None:
        self._check()
        return min((visible_at for _, visible_at in self.rows.values()), default=None)

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with


class NotingService:
    """Notes what it is asked to do; `work` stands for the flows and may be replaced by a test's own."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.jobs = MemoryJobs()
        self.batches: list[list[JobRef]] = []
        self.sweeps: list[datetime] = []
        self.opened = self.closed = self.follows = 0
        self.alarm: Alarm | None = None
        self.work: Callable[[JobRef], Awaitable[None]] | None = None

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def run_jobs(self, refs: Sequence[JobRef]) -> None:
        self.batches.append(list(refs))
        for ref in refs:
            if self.work is not None:
                await self.work(ref)
            self.jobs.finish(ref.id)

    async def sweep(self, now: datetime) -> None:
        self.sweeps.append(now)

    async def follow(self, now: datetime) -> bool:
        self.follows += 1
        return False

    @asynccontextmanager
    async def listening(self, alarm: Alarm) -> AsyncIterator[None]:
        self.alarm = alarm
        yield

    @property
    def ran(self) -> list[int]:
        """The ids of all jobs worked on, in order."""
        return [ref.id for batch in self.batches for ref in batch]


@pytest.fixture
def make_service() -> Callable[..., NotingService]:
    """Build a service in memory; keyword arguments change the worker's settings."""

    def make(*, clock: Clock | None = None, in_flight_max: int = 50, poll_ms: int = 20, **worker: Any) -> NotingService:
        settings = Settings(
            worker=WorkerSettings(**{"threads": 4, "batch": 5, **worker}),
            scheduler=SchedulerSettings(poll_ms=poll_ms, in_flight_max=in_flight_max),
        )
        return NotingService(settings, clock or SystemClock())

    return make


@pytest.fixture
def counts() -> Metrics:
    """Metrics of this test alone."""
    return Metrics()


@pytest.fixture
def rabbit_settings(amqp_url: str, queue_prefix: str) -> Iterator[Settings]:
    """Settings with a queue of this test's own, deleted afterwards."""
    yield Settings(
        amqp=AmqpSettings(url=SecretUrl(amqp_url), queue_prefix=queue_prefix),
        worker=WorkerSettings(threads=4, batch=5, lease_s=60),
        scheduler=SchedulerSettings(poll_ms=20),
    )
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    for name in (queue_name(queue_prefix), f"{queue_name(queue_prefix)}.XQ"):
        channel.queue_delete(name)
    connection.close()


@pytest.fixture
def rabbit_channel(amqp_url: str) -> Iterator[Any]:
    """A channel to look at queues with."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    yield connection.channel()
    if connection.is_open:
        connection.close()


class BrokerProxy:
    """Stands between us and the broker: can cut every connection and refuse new ones."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.swallow_answers = False
        """Take what we send but never pass an answer back."""

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and reset those there are."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._pipes):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._pipes |= {writer, there_writer}
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer, answers=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        try:
            while data := await reader.read(65536):
                if not (answers and self.swallow_answers):
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            self._pipes.discard(writer)


@pytest.fixture
def broker_proxy() -> Callable[[str], Any]:
    """Open a proxy before the broker of a URL; yields it with the URL that leads through it."""

    @asynccontextmanager
    async def proxied(url: str) -> AsyncIterator[tuple[BrokerProxy, SecretUrl]]:
        real = pika.URLParameters(url)
        proxy = BrokerProxy(real.host, real.port)
        await proxy.listen()
        yield proxy, SecretUrl(url.replace(f"{real.host}:{real.port}", f"127.0.0.1:{proxy.port}"))
        await proxy.cut()

    return proxied


async def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Wait until it holds; False when it never does."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[bool]]:
    """Wait for something to become true."""
    return eventually


@pytest.fixture
def unused_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
