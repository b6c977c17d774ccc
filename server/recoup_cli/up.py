"""`recoup up`: the whole service in one process with nothing installed beside it."""

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

from recoup_cli.compose import build_service
from recoup_cli.single import (
    API_PREFIX,
    base_url,
    bound,
    first_key,
    listen,
    sandbox,
    serve_api,
    stop_on_signals,
    with_database,
)
from recoup_core.settings import Settings, load_settings
from recoup_core.storage.merchants import MintedKey

DEFAULTS: Final = {"RECOUP_ENVIRONMENT": "development", "RECOUP_LOG_FORMAT": "console"}
"""What `up` sets unless the environment says otherwise."""


@click.command(
    epilog="Examples: recoup up --port 9000   |   RECOUP_DATABASE_URL=postgresql://... recoup up",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the API (default: RECOUP_API_PORT, 8460).")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the database and the sandbox keep their files (default: RECOUP_DATA_DIR, .recoup).",
)
def up(port: int | None, data_dir: Path | None) -> None:
    """Run API, scheduler and worker in one process, on an embedded PostgreSQL and without a broker.

    For development and small installations: nothing has to be installed or set. Without gateways in recoup.toml there
    is one, the sandbox, which moves no money. The first start makes an admin key and prints it once.

    Ctrl-C stops everything cleanly; the next start goes on where this one ended.
    """
    from recoup_core.telemetry import configure_logging
    from recoup_workers.broker import use_uvloop

    settings = _settings(port, data_dir)
    configure_logging(settings.log.level, settings.log.format)
    listener = listen(settings.api.host, settings.api.port)
    use_uvloop()
    with listener, with_database(bound(settings, listener)) as connected:
        asyncio.run(_run(connected, listener))
    click.echo("stopped")


def _settings(port: int | None, data_dir: Path | None) -> Settings:
    settings = load_settings(DEFAULTS | os.environ)
    if data_dir is not None:
        settings = msgspec.structs.replace(settings, data_dir=data_dir.absolute())
    if port is not None:
        settings = msgspec.structs.replace(settings, api=msgspec.structs.replace(settings.api, port=port))
    if not settings.gateways:
        settings = msgspec.structs.replace(settings, gateways=(sandbox(settings.data_dir),))
    return settings


async def _run(settings: Settings, listener: socket.socket) -> None:
    from recoup_cli.compose import database_url
    from recoup_core.storage.migrate import migrate
    from recoup_workers.inprocess import InProcess

    stop = stop_on_signals()
    await migrate(database_url(settings))
    service = build_service(settings)
    await service.open()
    try:
        minted = await first_key(service)
        work = InProcess(service)
        await work.start()
        try:
            await serve_api(service, listener, stop, partial(_tell, base_url(listener), minted))
        finally:
            await work.stop()
    finally:
        await service.close()


def _tell(url: str, minted: MintedKey | None) -> None:
    click.echo(f"Recoup is up at {url}{API_PREFIX}   (Ctrl-C stops it)")
    click.echo(f"  API description   {url}/schema/openapi.json")
    known = "was shown at the first start; `recoup keys create` makes another"
    click.echo(f"  admin key         {f'{minted.secret}   (shown this once)' if minted else known}")
