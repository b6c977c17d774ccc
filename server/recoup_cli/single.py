"""Everything in one process: embedded PostgreSQL, API, scheduler and worker, for `recoup up` and `recoup demo`."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from recoup_cli.refusals import MISUSED, Refused
from recoup_core.domain.ids import new_id
from recoup_core.secret import SecretUrl
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.merchants import MintedKey, Role, list_keys, mint_key
from recoup_core.wiring import Service
from recoup_workers.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, attach

POSTGRES: Final = "postgres"
"""The folder of the embedded server, below the data folder."""

DEMO: Final = "demo"
"""The folder of the demo's data, below the data folder."""

MERCHANT: Final = "default"
API_PREFIX: Final = "/api/billing/refund-retry-workflows"
DRAIN_S: Final = 5
"""How long open requests may take to end when the process stops."""

OPERATOR: Final = "operator:recoup"
"""Who the audit trail names for what the command line did."""


def sandbox(data_dir: Path) -> GatewayEntry:
    """Return the sandbox gateway whose bank keeps its books in the data folder."""
    return GatewayEntry(name="sandbox", plugin="sandbox", options={"path": str(data_dir / "sandbox-bank.sqlite3")})


def on_database(settings: Settings, url: str) -> Settings:
    """Return the settings with another database."""
    database = msgspec.structs.replace(settings.database, url=SecretUrl(url))
    return msgspec.structs.replace(settings, database=database)


@contextmanager
def with_database(settings: Settings) -> Iterator[Settings]:
    """Run the embedded PostgreSQL around the block, unless a database is configured; gives settings with its URL."""
    if settings.database.url is not None:
        yield settings
        return
    with EmbeddedPostgres(settings.data_dir / POSTGRES) as postgres:
        yield on_database(settings, postgres.url)


def bound(settings: Settings, listener: socket.socket) -> Settings:
    """Return the settings with the port that was really taken: links in messages lead to it, where 0 was asked for."""
    port = listener.getsockname()[1]
    return msgspec.structs.replace(settings, api=msgspec.structs.replace(settings.api, port=port))


def running(settings: Settings) -> Settings:
    """Return the settings of what is configured, else of what `up` or `demo` runs here; else `Refused`.

    What runs here without gateways in the settings has the sandbox of its own folder; the demo has its outbox, too.
    """
    if settings.database.url is not None:
        return settings
    for folder in (settings.data_dir, settings.data_dir / DEMO):
        with contextlib.suppress(EmbeddedPostgresError):
            found = on_database(settings, attach(folder / POSTGRES))
            return found if found.gateways else _as_it_runs(found, folder)
    raise Refused(
        "no database is configured and none runs here",
        "set RECOUP_DATABASE_URL, or start `recoup up` or `recoup demo` in this folder",
    )


def _as_it_runs(settings: Settings, folder: Path) -> Settings:
    """Return what `up` or `demo` takes where the settings say nothing."""
    from recoup_cli.demo.letters import BRAND, OUTBOX, outbox

    if (folder / OUTBOX).is_dir():
        settings = msgspec.structs.replace(settings, notifiers=(outbox(folder),), brands=(BRAND,))
    return msgspec.structs.replace(settings, environment="development", gateways=(sandbox(folder),))


def listen(host: str, port: int) -> socket.socket:
    """Take the API's port before anything else starts; `Refused` where it can't be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Refused(
            f"can't listen on {host}:{port}: {error.strerror}",
            "give another port with --port (0: any free one)",
            code=MISUSED,
        ) from None
    return listener


def stop_on_signals() -> asyncio.Event:
    """Return an event that Ctrl-C and SIGTERM set; the running loop takes the signals over."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def serve_api(
    service: Service,
    listener: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[], None],
    mounts: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Serve the API on a taken port with a service that is already open, until `stop` is set.

    `ready` is called when callers may come: who connects from then on waits at most for the first answer. `mounts`:
    other ASGI applications by the path they are served under.
    """
    import uvicorn

    from recoup_server.app import create_app

    app = create_app(service, mounts)
    config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_S)
    server = uvicorn.Server(config)
    listener.listen(config.backlog)
    ready()
    # not `serve`: that would take the signals over, and they stop more than the API here
    serving = asyncio.create_task(server._serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    app.state["hub"].close()  # streams never end by themselves
    server.should_exit = True
    stopping.cancel()
    await serving


async def first_key(service: Service) -> MintedKey | None:
    """Make an admin key where the merchant has no usable key at all; it is shown now or never."""
    now = service.clock.now()
    if any(key.usable(now) for key in await list_keys(service.database, MERCHANT)):
        return None
    return await mint_key(service.database, MERCHANT, "admin", [Role.ADMIN], now, actor=OPERATOR)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    fresh = path.with_name(f"{path.name}.{new_id().hex}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def base_url(listener: socket.socket) -> str:
    """Return the address of the API as one types it."""
    host, port = listener.getsockname()[:2]
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104 # compared, not bound
