"""What every test may ask for: a fresh database, a broker, a clock that stands still.

Services are looked for once per run, by the process that is not an xdist worker, and handed down. What is missing is
left out, counted and named at the end of the run; with RECOUP_REQUIRE_SERVICES=1 it is a failure instead.
A room's own fixtures live in `tests/<room>/conftest.py`.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import asyncpg
import pika
import pika.exceptions
import pytest

from recoup_core.storage.engine import Database
from recoup_core.storage.migrate import migrate
from recoup_workers.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

LOCAL_POSTGRES = ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql://root@127.0.0.1:5432/postgres")
LOCAL_AMQP = "amqp://guest:guest@127.0.0.1:5672/%2F"
POSTGRES_AT_LEAST = 150000
"""PostgreSQL 15, the oldest that the schema is tested with, as `server_version_num` writes it."""
PROBE_TIMEOUT_S = 2.0
TEST_POOL_MAX = 5
"""Several runs share one server's 100 connections."""
STALE_AFTER_S = 6 * 3600
"""Databases of a run that was killed are dropped by a later run."""
NAME_PREFIX = "recoup_test_"
LEFT_OUT = "left out: needs "


# --- services -------------------------------------------------------------------------------------------------------


def in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """Run async work from a synchronous fixture on a loop of its own, whatever loop the tests use."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def on_server(url: str, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
    """Do something on one connection that is closed afterwards."""
    connection = await asyncpg.connect(url, timeout=PROBE_TIMEOUT_S)
    try:
        return await work(connection)
    finally:
        await connection.close()


def named(url: str, database: str) -> str:
    """Return the URL of another database on the same server."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


class PostgresServer:
    """The server of this run, with a migrated template that every test's database is copied from."""

    def __init__(self) -> None:
        self.run = f"{NAME_PREFIX}{int(time.time())}_{secrets.token_hex(3)}"
        self.url = ""
        self.trouble = ""
        self._embedded: EmbeddedPostgres | None = None
        self._root = Path()

    @property
    def template(self) -> str:
        return f"{self.run}_template"

    def start(self) -> None:
        """Find or start a server and migrate the template; what goes wrong is kept for the tests that need it."""
        try:
            self.url = self._find() or self._embed()
            in_thread(on_server(self.url, self._sweep))
            in_thread(on_server(self.url, lambda c: c.execute(f'CREATE DATABASE "{self.template}"')))
            in_thread(migrate(named(self.url, self.template)))
        except EmbeddedPostgresError as error:
            self.trouble = (
                f"{LEFT_OUT}PostgreSQL: set RECOUP_TEST_DATABASE_URL, or start it on 127.0.0.1:5432 ({error})"
            )
        except Exception as error:  # told by each test that needs a database, not by the whole run
            self.trouble = f"no test database: {type(error).__name__}: {error} {error.__cause__ or ''}"

    def stop(self) -> None:
        """Drop what this run made."""
        if self._embedded is not None:
            self._embedded.stop()
            shutil.rmtree(self._root, ignore_errors=True)
        elif self.url and not self.trouble:
            in_thread(on_server(self.url, lambda c: c.execute(f'DROP DATABASE IF EXISTS "{self.template}" (FORCE)')))

    def _find(self) -> str | None:
        given = os.environ.get("RECOUP_TEST_DATABASE_URL")
        if given:
            return given
        for url in LOCAL_POSTGRES:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if int(in_thread(on_server(url, lambda c: c.fetchval("SHOW server_version_num")))) >= POSTGRES_AT_LEAST:
                    return url
        return None

    def _embed(self) -> str:
        self._root = Path(tempfile.mkdtemp(prefix="recoup-test-postgres-"))
        self._root.chmod(0o755)  # as root the server runs as nobody, who has to get here
        self._embedded = EmbeddedPostgres(self._root)
        return self._embedded.start()

    @staticmethod
    async def _sweep(connection: asyncpg.Connection) -> None:
        names = await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", NAME_PREFIX)
        for (name,) in names:
            started = name.removeprefix(NAME_PREFIX).partition("_")[0]
            if started.isdigit() and int(started) < time.time() - STALE_AFTER_S:
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" (FORCE)')


SERVER = pytest.StashKey[PostgresServer]()


def pytest_configure(config: pytest.Config) -> None:
    """Make this process's view of the server; with xdist the controller starts it before the workers."""
    server = config.stash[SERVER] = PostgresServer()
    handed_down = getattr(config, "workerinput", {}).get("recoup_postgres")
    if handed_down is not None:
        server.run, server.url, server.trouble = handed_down
    elif config.getoption("numprocesses", None):
        server.start()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the server down to an xdist worker."""
    server = node.config.stash[SERVER]
    node.workerinput["recoup_postgres"] = (server.run, server.url, server.trouble)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clean up in the process that started the server."""
    server = config.stash.get(SERVER, None)
    if server is not None and not hasattr(config, "workerinput"):
        server.stop()


# --- left out -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def leave_out() -> Callable[[str, str], NoReturn]:
    """`leave_out("RabbitMQ", "start one on ...")` skips the test, or fails it when services are required."""

    def leave(kind: str, how: str) -> NoReturn:
        absent(f"{LEFT_OUT}{kind}: {how}")

    return leave


def absent(text: str) -> NoReturn:
    """Skip what may be left out; fail for any other trouble, and for all of it when services are required."""
    if not text.startswith(LEFT_OUT):
        pytest.fail(text, pytrace=False)
    if os.environ.get("RECOUP_REQUIRE_SERVICES") == "1":
        pytest.fail(f"RECOUP_REQUIRE_SERVICES=1, but it {text.removeprefix('left out: ')}", pytrace=False)
    pytest.skip(text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line each what was left out and how to have it."""
    counts = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple | list)
    )
    for reason, count in sorted(counts.items()):
        kind, _, how = reason.removeprefix(LEFT_OUT).partition(": ")
        if reason.startswith(LEFT_OUT):
            tests = "1 test that needs" if count == 1 else f"{count} tests that need"
            terminalreporter.write_line(f"left out {tests} {kind}: {how}", yellow=True)


# --- fixtures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> PostgresServer:
    """The run's server; without xdist it is only started when a test asks."""
    server = pytestconfig.stash[SERVER]
    if not server.url and not server.trouble:
        server.start()
    if server.trouble:
        absent(server.trouble)
    return server


@pytest.fixture(scope="session")
def make_database(postgres_server: PostgresServer, worker_name: str) -> Callable[[str], str]:
    """`make_database("template1")` creates an empty database and returns its URL; whoever makes it drops it."""
    made = iter(range(10**9))

    def make(template: str) -> str:
        name = f"{postgres_server.run}_{worker_name}_{next(made)}"
        create = f'CREATE DATABASE "{name}" TEMPLATE "{template}"'
        in_thread(on_server(postgres_server.url, lambda c: c.execute(create)))
        return named(postgres_server.url, name)

    return make


@pytest.fixture(scope="session")
def drop_database(postgres_server: PostgresServer) -> Callable[[str], None]:
    """Drop a database by its URL, whoever is still connected."""

    def drop(url: str) -> None:
        name = urlsplit(url).path.removeprefix("/")
        in_thread(on_server(postgres_server.url, lambda c: c.execute(f'DROP DATABASE IF EXISTS "{name}" (FORCE)')))

    return drop


@pytest.fixture(scope="session")
def worker_name() -> str:
    """`main`, or the xdist worker's own name."""
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture
def database_url(
    postgres_server: PostgresServer, make_database: Callable[[str], str], drop_database: Callable[[str], None]
) -> Iterator[str]:
    """A database of this test's own, migrated."""
    url = make_database(postgres_server.template)
    yield url
    drop_database(url)


@pytest.fixture
def empty_database_url(make_database: Callable[[str], str], drop_database: Callable[[str], None]) -> Iterator[str]:
    """A database of this test's own without any table."""
    url = make_database("template1")
    yield url
    drop_database(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The test's own database, open on the test's loop."""
    opened = Database(database_url, pool_max=TEST_POOL_MAX, application_name="recoup-test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def amqp_url(leave_out: Callable[[str, str], NoReturn]) -> str:
    """A RabbitMQ server that answers; tests that use it are marked `rabbitmq`."""
    given = os.environ.get("RECOUP_TEST_AMQP_URL")
    parameters = pika.URLParameters(given or LOCAL_AMQP)
    parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = PROBE_TIMEOUT_S
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        if given:
            pytest.fail(f"RECOUP_TEST_AMQP_URL does not answer: {type(error).__name__}", pytrace=False)
        leave_out("RabbitMQ", "start one on 127.0.0.1:5672 or set RECOUP_TEST_AMQP_URL")
    return given or LOCAL_AMQP


@pytest.fixture
def queue_prefix(worker_name: str) -> str:
    """Names this test's queues apart from everybody else's on a shared broker; the test deletes its queues."""
    return f"{NAME_PREFIX}{worker_name}_{secrets.token_hex(4)}_"


class FakeClock:
    """A `Clock` that moves only when told to."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move on and return the new time."""
        self._now += by
        return self._now

    def set(self, to: datetime) -> None:
        """Jump to an aware time, also backwards, as a real clock may."""
        if to.utcoffset() is None:
            raise ValueError("the clock tells aware times only")
        self._now = to.astimezone(UTC)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands at 2026-11-23 09:00 UTC, a Monday."""
    return FakeClock(datetime(2026, 11, 23, 9, tzinfo=UTC))
