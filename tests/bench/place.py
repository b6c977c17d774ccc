"""Where benchmarks run: databases of their own on a real PostgreSQL, a RabbitMQ, and the product's own processes.

A server is looked for as the tests do (`RECOUP_TEST_DATABASE_URL`, `RECOUP_TEST_AMQP_URL`, or the usual local ports).
What is made here is dropped and stopped again, also when a benchmark fails.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pika

from recoup_core.settings import Settings, load_settings
from recoup_core.storage.migrate import migrate

LOCAL_POSTGRES: Final = ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql://root@127.0.0.1:5432/postgres")
LOCAL_AMQP: Final = "amqp://guest:guest@127.0.0.1:5672/%2F"
CONNECT_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 60.0
WAIT_S: Final = 0.1
SETTLE_ROUNDS: Final = 90
"""Seconds in which processes must be up."""
IDLE_CPU_S: Final = 0.08
STARTED_CPU_S: Final = 0.3
"""Importing alone takes more CPU time."""
PREFIX: Final = "recoup_bench_"

CONFIG: Final = """
allow_sandbox = true
[[gateways]]
name = "sandbox"
plugin = "sandbox"
"""


async def server_url() -> str:
    """Return the URL of a PostgreSQL that answers and on which databases may be created."""
    given = os.environ.get("RECOUP_TEST_DATABASE_URL")
    for url in (given,) if given else LOCAL_POSTGRES:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
            await connection.close()
            return url
    raise SystemExit("no PostgreSQL: start one on 127.0.0.1:5432, or set RECOUP_TEST_DATABASE_URL")


@asynccontextmanager
async def a_database(*, migrated: bool = True) -> AsyncIterator[str]:
    """Make a database, hand out its URL, and drop it."""
    server = await server_url()
    name = f"{PREFIX}{secrets.token_hex(4)}"
    url = urlsplit(server)._replace(path=f"/{name}").geturl()
    await _on(server, f'CREATE DATABASE "{name}"')
    try:
        if migrated:
            await migrate(url)
        yield url
    finally:
        await _on(server, f'DROP DATABASE IF EXISTS "{name}" (FORCE)')


async def postgres_place(url: str) -> str:
    """Return the server's version and the settings that matter, for the page."""
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    try:
        said = [f"{name} = {await connection.fetchval(f'SHOW {name}')}" for name in _TOLD]
        return f"PostgreSQL {await connection.fetchval('SHOW server_version')} ({', '.join(said)})"
    finally:
        await connection.close()


_TOLD: Final = ("shared_buffers", "fsync", "synchronous_commit")


def amqp_url() -> str:
    """Return the URL of a RabbitMQ that answers."""
    url = os.environ.get("RECOUP_TEST_AMQP_URL", LOCAL_AMQP)
    try:
        _broker(url).close()
    except (pika.exceptions.AMQPError, OSError):
        raise SystemExit("no RabbitMQ: start one on 127.0.0.1:5672, or set RECOUP_TEST_AMQP_URL") from None
    return url


def rabbit_place(url: str) -> str:
    """Return the broker's version, for the page."""
    connection = _broker(url)
    properties = connection._impl.server_properties  # the only place where pika keeps them
    connection.close()
    return f"RabbitMQ {properties['version']}, quorum queues"


@contextmanager
def a_queue_prefix(url: str) -> Iterator[str]:
    """Name queues apart from everybody else's, and delete them afterwards."""
    prefix = f"{PREFIX}{secrets.token_hex(4)}"
    try:
        yield prefix
    finally:
        connection = _broker(url)
        channel = connection.channel()
        for name in (f"{prefix}.jobs", f"{prefix}.jobs.XQ"):
            channel.queue_delete(name)
        connection.close()


def environment(folder: Path, database: str, **more: str) -> dict[str, str]:
    """Return the environment of a product process: this database, the sandbox gateway, quiet logs."""
    config = folder / "recoup.toml"
    config.write_text(CONFIG + f'options = {{path = "{folder / "bank.sqlite"}"}}\n')
    mine = {
        "RECOUP_CONFIG": str(config),
        "RECOUP_DATA_DIR": str(folder),
        "RECOUP_DATABASE_URL": database,
        "RECOUP_LOG_LEVEL": "warning",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("RECOUP_")}
    return others | mine | more


def settings_from(env: Mapping[str, str], folder: Path) -> Settings:
    """Return the settings that a process with this environment would have."""
    return load_settings(env, folder)


@contextmanager
def processes(commands: Sequence[Sequence[str]], env: Mapping[str, str], folder: Path) -> Iterator[list[int]]:
    """Start processes, hand out their ids, and stop them in good order."""
    running = [
        subprocess.Popen([sys.executable, *command], env=dict(env), cwd=folder, start_new_session=True)
        for command in commands
    ]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def until(ask: Callable[[], Any], timeout_s: float) -> float:
    """Wait until an async question is answered with yes; return the seconds it took, or raise `TimeoutError`."""
    started = time.perf_counter()
    async with asyncio.timeout(timeout_s):
        while not await ask():  # noqa: ASYNC110 # other processes do what is waited for
            await asyncio.sleep(WAIT_S)
    return time.perf_counter() - started


async def settled(pids: Sequence[int]) -> None:
    """Wait until processes have loaded all they need and wait for work, so that no start is measured."""
    for _ in range(SETTLE_ROUNDS):
        before = [cpu_s(pid) for pid in pids]
        await asyncio.sleep(1)
        if all(cpu_s(pid) - was < IDLE_CPU_S and was > STARTED_CPU_S for pid, was in zip(pids, before, strict=True)):
            return
    raise TimeoutError("the processes never came to rest")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a running process in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _on(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _broker(url: str) -> Any:
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = CONNECT_TIMEOUT_S
    return pika.BlockingConnection(parameters)
