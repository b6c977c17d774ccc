"""Migrations: all or nothing, once, in order, whoever starts first, and never backwards."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.migrate import (
    LOCK_KEY,
    DatabaseIsNewer,
    MigrationFailed,
    MigrationLocked,
    MigrationMalformed,
    migrate,
    pending,
)

PROCESSES = 4
FIRST, SECOND, THIRD = "2030-01-01T00:00:00:000000", "2030-01-02T00:00:00:000000", "2030-01-03T00:00:00:000000"
MODULE = '''
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table

ID = "{migration_id}"


class Raw(Table):
    """Runs SQL; no table of ours."""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="storage", description="a test's own")

    async def run():
{body}

    manager.add_raw(run)
    return manager
'''

Write = Callable[..., ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """`write({id: [sql, ...]})` makes a package of throw-away migrations and imports it anew."""
    name = "throw_away_migrations"
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(statements: dict[str, list[str]], sources: dict[str, str] | None = None) -> ModuleType:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.py"):
            old.unlink()
        (folder / "__init__.py").write_text("")
        for number, (migration_id, lines) in enumerate(statements.items()):
            body = "\n".join(f"        await Raw.raw({line!r})" for line in lines or ["SELECT 1"])
            (folder / f"m{number}.py").write_text(MODULE.format(migration_id=migration_id, body=body))
        for stem, source in (sources or {}).items():
            (folder / f"{stem}.py").write_text(dedent(source))
        forget(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a rewritten module of the same second would be stale
    yield make
    forget(name)


def forget(name: str) -> None:
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


async def ask(url: str, query: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def recorded(url: str) -> list[str]:
    return list(await ask(url, "SELECT coalesce(array_agg(name ORDER BY id), '{}') FROM migration"))


async def test_migrations_apply_in_the_order_of_their_ids_and_once(empty_database_url: str, write: Write) -> None:
    """File names don't matter; a second run finds nothing to do."""
    package = write({SECOND: ["ALTER TABLE thing ADD b int"], FIRST: ["CREATE TABLE thing (a int)"]})

    assert await pending(empty_database_url, package=package) == [FIRST, SECOND]
    assert await migrate(empty_database_url, package=package) == [FIRST, SECOND]

    assert await recorded(empty_database_url) == [FIRST, SECOND]
    assert await migrate(empty_database_url, package=package) == []
    assert await pending(empty_database_url, package=package) == []


async def test_asking_what_is_pending_changes_nothing(empty_database_url: str, write: Write) -> None:
    """A health check may run with a read-only eye."""
    await pending(empty_database_url, package=write({FIRST: ["CREATE TABLE thing (a int)"]}))

    assert await ask(empty_database_url, "SELECT to_regclass('migration')") is None


async def test_a_failing_migration_leaves_nothing_half_done_and_runs_again(
    empty_database_url: str, write: Write
) -> None:
    """The migrations before it stay; its own earlier statements are undone with it."""
    broken = write(
        {
            FIRST: ["CREATE TABLE thing (a int)"],
            SECOND: ["CREATE TABLE half (a int)", "INSERT INTO thing VALUES (1)", "SELECT 1/0"],
            THIRD: ["CREATE TABLE later (a int)"],
        }
    )

    with pytest.raises(MigrationFailed, match="division by zero") as refusal:
        await migrate(empty_database_url, package=broken)

    assert refusal.value.migration_id == SECOND
    assert await recorded(empty_database_url) == [FIRST]
    assert await ask(empty_database_url, "SELECT to_regclass('half')") is None
    assert await ask(empty_database_url, "SELECT count(*) FROM thing") == 0

    mended = write({FIRST: [], SECOND: ["CREATE TABLE half (a int)"], THIRD: ["CREATE TABLE later (a int)"]})
    assert await migrate(empty_database_url, package=mended) == [SECOND, THIRD]


async def test_a_newer_database_is_refused(empty_database_url: str, write: Write) -> None:
    """Old code on a new schema could write what the new one forbids."""
    await migrate(empty_database_url, package=write({FIRST: [], SECOND: []}))
    older = write({FIRST: []})

    with pytest.raises(DatabaseIsNewer, match=SECOND):
        await migrate(empty_database_url, package=older)
    with pytest.raises(DatabaseIsNewer):
        await pending(empty_database_url, package=older)


async def test_processes_starting_at_once_apply_each_migration_once(
    empty_database_url: str, write: Write, tmp_path: Path
) -> None:
    """Every replica of a deployment may migrate at start; PICCOLO_CONF and the working directory play no part."""
    write({FIRST: ["CREATE TABLE thing (a int)", "SELECT pg_sleep(0.2)"], SECOND: ["INSERT INTO thing VALUES (1)"]})
    code = (
        "import asyncio, sys, throw_away_migrations as package; from recoup_core.storage.migrate import migrate;"
        "print(asyncio.run(migrate(sys.argv[1], package=package)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PICCOLO_CONF": "no.such.module"}

    processes = [
        subprocess.Popen(  # noqa: ASYNC220 # returns at once
            [sys.executable, "-c", code, empty_database_url],
            cwd="/",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    ends = [await asyncio.to_thread(process.communicate, timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0] * PROCESSES, ends
    assert sorted(out.strip() for out, _ in ends) == sorted([f"{[FIRST, SECOND]}"] + ["[]"] * (PROCESSES - 1))
    assert await recorded(empty_database_url) == [FIRST, SECOND]
    assert await ask(empty_database_url, "SELECT count(*) FROM thing") == 1


async def test_waiting_for_another_process_has_a_limit(empty_database_url: str, write: Write) -> None:
    """A migrating process that hangs is named instead of copied."""
    other = await asyncpg.connect(empty_database_url)
    await other.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)

    with pytest.raises(MigrationLocked):
        await migrate(empty_database_url, package=write({FIRST: []}), lock_wait_s=0.2)

    await other.close()
    assert await migrate(empty_database_url, package=write({FIRST: []})) == [FIRST]


async def test_a_migration_killed_halfway_is_undone(empty_database_url: str, write: Write) -> None:
    """kill -9 of the migrating process or a restart of the server: the next start applies it whole."""
    slow = write({FIRST: ["CREATE TABLE thing (a int)", "SELECT pg_sleep(20)"]})
    task = asyncio.create_task(migrate(empty_database_url, package=slow))
    sleeping = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(20):
        while (pid := await ask(empty_database_url, sleeping)) is None:  # noqa: ASYNC110 # the event is the server's
            await asyncio.sleep(0.02)

    await ask(empty_database_url, "SELECT pg_terminate_backend($1, 5000)", pid)
    with pytest.raises((MigrationFailed, DatabaseUnavailable)):
        await task

    assert await ask(empty_database_url, "SELECT to_regclass('thing')") is None
    assert await migrate(empty_database_url, package=write({FIRST: ["CREATE TABLE thing (a int)"]})) == [FIRST]


@pytest.mark.parametrize(
    ("forwards", "complaint"),
    [
        ("manager.drop_table('Thing', 'thing')", "drop_tables"),
        ("manager.wrap_in_transaction = False", "wrap_in_transaction"),
        ("manager.add_raw_backwards(run)", "raw_backwards"),
        ("manager.add_raw(lambda: None)", "async functions"),
        ("manager = None", "return a MigrationManager"),
    ],
)
async def test_what_would_be_passed_over_is_refused(
    empty_database_url: str, write: Write, forwards: str, complaint: str
) -> None:
    """Only raw steps run; anything else a Piccolo manager can hold must not look as if it ran."""
    source = f"""
        from piccolo.apps.migrations.auto.migration_manager import MigrationManager
        ID = "{FIRST}"
        async def run(): ...
        async def forwards():
            manager = MigrationManager(migration_id=ID, app_name="storage")
            {forwards}
            return manager
    """

    with pytest.raises(MigrationMalformed, match=complaint):
        await migrate(empty_database_url, package=write({}, {"odd": source}))

    assert await recorded(empty_database_url) == []


@pytest.mark.parametrize("source", ["X = 1", "ID = 'a'\ndef forwards(): ..."])
async def test_a_module_that_is_no_migration_is_refused(empty_database_url: str, write: Write, source: str) -> None:
    """A migration that was misspelt may not be skipped in silence."""
    with pytest.raises(MigrationMalformed, match="needs an ID"):
        await migrate(empty_database_url, package=write({}, {"odd": source}))


async def test_two_migrations_with_one_id_are_refused(empty_database_url: str, write: Write) -> None:
    """Two branches that were merged with the same stamp would hide one of them."""
    twin = f"ID = '{FIRST}'\nasync def forwards(): ..."

    with pytest.raises(MigrationMalformed, match="repeats"):
        await migrate(empty_database_url, package=write({FIRST: []}, {"twin": twin}))


async def test_the_test_databases_are_fully_migrated(database_url: str) -> None:
    """Our own migrations apply to an empty database; the template that every test copies is proof."""
    assert await pending(database_url) == []
