"""Migrations: brings a database to the shape this code expects; forward only, each in one transaction.

A migration is a module of `recoup_core.storage.migrations` with an `ID` and an async `forwards()` that returns a
Piccolo `MigrationManager` holding raw steps. What ran stands in Piccolo's own `migration` table, written in the same
transaction as the change (Piccolo itself writes it afterwards). An advisory lock lets any number of processes start
at once; neither PICCOLO_CONF nor the working directory matters. Piccolo's tables name one engine per process, so one
process migrates one database at a time.
"""

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from types import ModuleType
from typing import Any, Final

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration
from piccolo.table import Table

from recoup_core.storage import migrations
from recoup_core.storage.engine import Database, DatabaseUnavailable, bind

APP_NAME: Final = "storage"
"""Piccolo's name for the owner of these migrations, written beside each of them."""
MIGRATION_TIMEOUT_S: Final = 1800.0
"""A single statement of a migration may take this long: an index on a large table does."""
LOCK_KEY: Final = 0x5245434F_5550
"""The advisory lock of migrations ("RECOUP" in ASCII); advisory locks are per database."""
LOCK_WAIT_S: Final = 300.0
LOCK_POLL_S: Final = 0.1

_RAW_ONLY: Final = frozenset({"migration_id", "app_name", "description", "raw"})


class DatabaseIsNewer(Exception):
    """The database has migrations that this code doesn't know: it was migrated by a newer version."""

    def __init__(self, unknown: list[str]) -> None:
        super().__init__(
            f"the database was migrated by a newer version of recoup (it has {', '.join(unknown)}); update this one"
        )
        self.unknown = unknown


class MigrationFailed(Exception):
    """A migration raised; nothing of it stayed, and it may be run again. The cause is chained."""

    def __init__(self, migration_id: str, cause: Exception) -> None:
        super().__init__(f"the migration {migration_id} failed and was undone: {cause}")
        self.migration_id = migration_id


class MigrationLocked(Exception):
    """Another process kept migrating this database for longer than `LOCK_WAIT_S`."""


class MigrationMalformed(Exception):
    """A migration module can't be run safely; the message says what is wrong with it."""


async def migrate(
    database_url: str, *, package: ModuleType = migrations, lock_wait_s: float = LOCK_WAIT_S
) -> list[str]:
    """Apply what is missing, in the order of the ids, and return the ids applied now.

    Safe from any number of processes at once. Raises `DatabaseIsNewer`, `MigrationFailed`, `MigrationLocked` after
    `lock_wait_s` seconds, and `DatabaseUnavailable`; earlier migrations of the same call stay applied.
    """
    modules = _modules(package)
    async with _database(database_url) as database, _lock(database_url, lock_wait_s):
        await Migration.create_table(if_not_exists=True)
        missing = _missing(modules, await Migration.get_migrations_which_ran(APP_NAME))
        return [each for each in missing if await _apply(database, each, modules[each])]


async def pending(database_url: str, *, package: ModuleType = migrations) -> list[str]:
    """Return the ids of the migrations that the database lacks; changes nothing. Raises `DatabaseIsNewer`."""
    async with _database(database_url):
        ran = await Migration.get_migrations_which_ran(APP_NAME) if await Migration.table_exists() else []
        return _missing(_modules(package), ran)


def _modules(package: ModuleType) -> dict[str, ModuleType]:
    """Import the package's modules and return them by id, in order."""
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        migration_id = getattr(module, "ID", None)
        if not isinstance(migration_id, str) or not inspect.iscoroutinefunction(getattr(module, "forwards", None)):
            raise MigrationMalformed(f"{info.name} needs an ID and an async forwards()")
        if migration_id in found:
            raise MigrationMalformed(f"{info.name} repeats the id {migration_id}")
        found[migration_id] = module
    return dict(sorted(found.items()))


def _missing(modules: Mapping[str, ModuleType], ran: list[str]) -> list[str]:
    if unknown := sorted(set(ran) - set(modules)):
        raise DatabaseIsNewer(unknown)
    return [each for each in modules if each not in ran]


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_max=1, application_name="recoup-migrate", statement_timeout_s=MIGRATION_TIMEOUT_S)
    await database.open()
    try:
        bind([Migration], database.engine)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _lock(url: str, wait_s: float) -> AsyncIterator[None]:
    """Hold the lock on a connection of its own: the pool lets go of advisory locks when it takes a connection back.

    Asking again and again, rather than waiting inside the server, holds no snapshot that others would wait for.
    """
    holder = Database(url, pool_max=1, application_name="recoup-migrate-lock")
    await holder.open()
    try:
        async with holder.connection() as connection:
            deadline = asyncio.get_running_loop().time() + wait_s
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                if asyncio.get_running_loop().time() > deadline:
                    raise MigrationLocked(f"another process has been migrating this database for {wait_s} s")
                await asyncio.sleep(LOCK_POLL_S)
            yield
    finally:
        await holder.close()


async def _apply(database: Database, migration_id: str, module: ModuleType) -> bool:
    """Run one migration and write it down, in one transaction; False when another process was faster."""
    classes = [each for each in vars(module).values() if inspect.isclass(each)]
    bind([each for each in classes if issubclass(each, Table) and each is not Table], database.engine)
    steps = _steps(migration_id, await module.forwards())
    try:
        async with database.transaction() as connection:
            # Should the lock's connection have died, this still keeps two processes apart.
            await connection.execute("LOCK TABLE migration IN SHARE ROW EXCLUSIVE MODE")
            if migration_id in await Migration.get_migrations_which_ran(APP_NAME):
                return False
            for step in steps:
                await step()
            await Migration.insert(Migration(name=migration_id, app_name=APP_NAME))
    except DatabaseUnavailable:
        raise
    except Exception as error:
        raise MigrationFailed(migration_id, error) from error
    return True


def _steps(migration_id: str, manager: Any) -> list[Callable[[], Awaitable[None]]]:
    """Return the raw steps. Anything else a manager can hold would be passed over in silence here, so it is refused."""
    if not isinstance(manager, MigrationManager):
        raise MigrationMalformed(f"forwards() of {migration_id} has to return a MigrationManager")
    empty = MigrationManager()
    held = [f.name for f in fields(manager) if f.name not in _RAW_ONLY]
    if extra := [name for name in held if getattr(manager, name) != getattr(empty, name)]:
        raise MigrationMalformed(f"{migration_id} may only add_raw(), but uses {', '.join(extra)}")
    if not all(inspect.iscoroutinefunction(step) for step in manager.raw):
        raise MigrationMalformed(f"the steps of {migration_id} have to be async functions")
    return list(manager.raw)
