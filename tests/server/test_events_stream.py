"""The live stream, over real connections: every event once and in order, whatever is lost in between."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from litestar import Litestar

from recoup_core.domain.happened import Event, EventKind
from recoup_core.storage.changes import Changes
from recoup_core.wiring import Service
from recoup_server import stream as streams
from recoup_server.app import PREFIX, create_app

PATIENCE_S = 20.0


@pytest.fixture
def service_url(database_url: str) -> str:
    """Connections are killed and commits interleaved, so nobody else works here."""
    return database_url


@asynccontextmanager
async def serving(app: Litestar) -> AsyncIterator[str]:
    """Serve an app on this loop, as the test's service belongs to it; give its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    task = asyncio.create_task(server._serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 # uvicorn tells it by this flag only
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{PREFIX}"
    finally:
        app.state["hub"].close()
        server.should_exit = True
        await task


class Client:
    """Reads one stream into a list; keeps the last id, by which it comes back."""

    def __init__(self, url: str, secret: str, **params: Any) -> None:
        self._url, self._params = url, params
        self._headers = {"Authorization": f"Bearer {secret}"}
        self.events: list[dict[str, Any]] = []
        self.kinds: list[str] = []
        self.comments = 0
        self.last: str | None = None
        self.status: int | None = None
        self.opened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "Client":
        self.opened.clear()
        self._task = asyncio.create_task(self._read())
        return self

    async def leave(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def ended(self) -> None:
        """Wait until the server ends the stream."""
        assert self._task is not None
        await asyncio.wait_for(self._task, PATIENCE_S)

    async def _read(self) -> None:
        headers = self._headers | ({"Last-Event-ID": self.last} if self.last else {})
        async with (
            httpx.AsyncClient(timeout=PATIENCE_S) as client,
            client.stream("GET", f"{self._url}/events/stream", params=self._params, headers=headers) as answer,
        ):
            self.status = answer.status_code
            pending: str | None = None
            async for text in answer.aiter_lines():
                name, _, value = text.partition(": ")
                if name == "retry":
                    self.opened.set()
                elif name == "id":
                    pending = value
                elif name == "event":
                    self.kinds.append(value)
                elif name == "data":
                    self.events.append(msgspec.json.decode(value))
                    self.last = pending
                elif text.startswith(":"):
                    self.comments += 1

    async def has(self, count: int) -> None:
        await eventually(lambda: len(self.events) >= count)

    @property
    def names(self) -> list[str]:
        return [event["data"]["n"] for event in self.events if "n" in event["data"]]


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 # what is waited for comes over a connection
            await asyncio.sleep(0.02)


@pytest.fixture
async def url(service: Service) -> AsyncIterator[str]:
    """A served API."""
    async with serving(create_app(service)) as address:
        yield address


@pytest.fixture
def tell(service: Service, merchants: tuple[str, str]) -> Any:
    """`await tell("a", "b")` commits events of the first merchant in one transaction."""

    async def commit(*names: str, merchant: str = merchants[0], kind: EventKind = EventKind.CASE_PAUSED) -> None:
        changes = Changes()
        changes.add(*(an_event(merchant, name, service, kind) for name in names))
        async with service.database.transaction() as connection:
            await changes.write(connection)

    return commit


def an_event(merchant: str, name: str, service: Service, kind: EventKind = EventKind.CASE_PAUSED) -> Event:
    return Event(at=service.clock.now(), merchant_id=merchant, kind=kind, actor="system", data={"n": name})


async def settled(client: Client) -> Client:
    """Wait until the stream stands: what happens from here on is told."""
    await asyncio.wait_for(client.opened.wait(), PATIENCE_S)
    await asyncio.sleep(0.3)
    return client


async def test_a_stream_tells_what_happens_from_now_on(
    url: str, api: Any, other: Any, tell: Any, merchants: Any
) -> None:
    """In order, as the list of events tells it, and only one's own."""
    await tell("before")
    await api.get("/events")
    mine = await settled(Client(url, api.secret).start())
    theirs = await settled(Client(url, other.secret).start())

    await tell("a", "b")
    await tell("x", merchant=merchants[1])
    await tell("c")
    await mine.has(3)
    await theirs.has(1)

    assert (mine.names, theirs.names) == (["a", "b", "c"], ["x"])
    listed = (await api.get("/events", limit=200)).json()["items"]
    assert mine.events == listed[-3:]
    await mine.leave()
    await theirs.leave()


async def test_a_stream_is_filtered(url: str, api: Any, tell: Any) -> None:
    """By kinds and groups of them; a kind that nobody knows is refused."""
    client = await settled(Client(url, api.secret, kind=["refund.*", "case.resumed"]).start())
    for kind in (EventKind.CASE_PAUSED, EventKind.REFUND_DENIED, EventKind.CASE_RESUMED):
        await tell("a", kind=kind)
    await client.has(2)
    await client.leave()

    assert client.kinds == ["refund.denied", "case.resumed"]
    refused = await api.get("/events/stream", kind="refunds.*")
    assert (refused.status_code, refused.json()["field"]) == (400, "kind")


async def test_a_list_leads_into_the_stream(url: str, api: Any, tell: Any) -> None:
    """`next_cursor` of the list is an id to begin after, so that there is no gap between the two."""
    await tell("a")
    cursor = (await api.get("/events", limit=200)).json()["next_cursor"]
    await tell("b")
    client = Client(url, api.secret)
    client.last = cursor
    client.start()
    await client.has(1)
    await client.leave()

    assert client.names == ["b"]


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_comes_back_has_each_event_once_and_in_order(
    service: Service, api: Any, merchants: Any, tell: Any, seed: int
) -> None:
    """Writers that commit in any order, clients that leave and return by either process, a killed listener."""
    chance = random.Random(seed)
    pool = service.database.engine.pool
    assert pool is not None
    async with serving(create_app(service)) as one, serving(create_app(service)) as two:
        clients = [await settled(Client(chance.choice([one, two]), api.secret).start()) for _ in range(3)]
        for client in clients:
            await settled(client)

        async def write(name: str) -> None:
            changes = Changes()
            changes.add(an_event(merchants[0], name, service), an_event(merchants[0], f"{name}+", service))
            async with pool.acquire() as connection, connection.transaction():
                await changes.write(connection)
                await asyncio.sleep(chance.random() * 0.08)

        for n in range(12):
            await asyncio.gather(*(write(f"{n}.{k}") for k in range(2)))
            client = chance.choice(clients)
            if chance.random() < 0.4 and client.last is not None:
                await client.leave()
                client._url = chance.choice([one, two])
                client.start()
            if n == 5:
                await pool.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND query LIKE 'LISTEN%'"
                )
        for client in clients:
            await client.has(48)
            await client.leave()

    expected = [row["n"] for row in await rows(service, merchants[0])]
    assert [client.names for client in clients] == [expected] * 3


async def rows(service: Service, merchant: str) -> list[Any]:
    async with service.database.connection() as connection:
        return list(
            await connection.fetch(
                "SELECT data ->> 'n' AS n FROM event WHERE merchant_id = $1 AND data ? 'n' ORDER BY txid, id", merchant
            )
        )


async def test_a_slow_client_is_cut_off() -> None:
    """Its queue is bounded, and let go of whole; the client comes back and reads from the table."""
    one = streams.Stream("m", streams.Narrow())
    for n in range(streams.QUEUE_MAX):
        one.put(streams.Told(streams.FeedPosition(1, n), b""))
    assert not one.ended

    one.put(streams.Told(streams.FeedPosition(2, 1), b""))

    assert one.ended
    assert one.queue.qsize() == 1
    one.left()


async def test_a_revoked_key_ends_its_streams(service: Service, api: Any, make_key: Any, clock: Any) -> None:
    """Within two heartbeats, and what happens afterwards is not told."""
    app = create_app(service)
    app.state["hub"].heartbeat_s = 0.2
    async with serving(app) as url:
        secret = await make_key("viewer")
        client = await settled(Client(url, secret).start())
        await eventually(lambda: client.comments > 0)
        async with service.database.connection() as connection:
            await connection.execute("UPDATE api_key SET revoked_at = now() WHERE principal = 'tester-viewer'")
        clock.advance(timedelta(seconds=10))  # past what a process remembers of a key

        await client.ended()


async def test_a_stop_ends_streams_at_once(service: Service, api: Any) -> None:
    """A process that stops does not wait for streams, which would never end."""
    async with serving(create_app(service)) as url:
        client = await settled(Client(url, api.secret).start())
        started = asyncio.get_running_loop().time()

    await client.ended()
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_too_many_streams_are_refused(service: Service, api: Any, app: Litestar) -> None:
    """A merchant can't take all of a process's connections."""
    app.state["hub"]._open["x"] = streams.STREAMS_MAX

    refused = await api.get("/events/stream")

    assert (refused.status_code, refused.json()["code"]) == (503, "streams_full")
