"""What the commands that look into the database share: one short-lived connection to the one that is configured."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from recoup_cli.compose import database_url
from recoup_cli.single import running
from recoup_core.settings import Settings, load_settings
from recoup_core.storage.engine import Database
from recoup_core.storage.tables import bind_tables

WAIT_S: Final = 5.0
"""How long a command waits for a database that does not answer."""

T = TypeVar("T")


def with_open_database(work: Callable[[Database, Settings], Awaitable[T]]) -> T:
    """Run work on the configured or running database and close it; raises `Refused` and `DatabaseUnavailable`.

    The settings it is given are those of the installation that was found, its gateways included.
    """
    settings = running(load_settings())

    async def run() -> T:
        database = Database(database_url(settings), pool_max=2, application_name="recoup-cli")
        await database.open(WAIT_S)
        bind_tables(database.engine)
        try:
            return await work(database, settings)
        finally:
            await database.close()

    return asyncio.run(run())
