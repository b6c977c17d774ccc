# ruff: noqa: PT012 # the block that raises is the transaction under test, body and all
"""The hardened engine against a real PostgreSQL: what the stock one loses, this one keeps or tells."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from piccolo.columns import Integer, Text
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from recoup_core.storage import transaction
from recoup_core.storage.engine import (
    CommitUnknown,
    Database,
    DatabaseUnavailable,
    TransactionMisused,
    TransactionRolledBack,
    bind,
)


class Note(Table, tablename="note"):
    """A table of these tests' own."""

    id = Integer(primary_key=True)
    body = Text()


SCHEMA = """
CREATE TABLE note (id int PRIMARY KEY, body text NOT NULL DEFAULT '');
CREATE TABLE child (note_id int REFERENCES note DEFERRABLE INITIALLY DEFERRED)
"""


@pytest.fixture
async def single(empty_database_url: str) -> AsyncIterator[Database]:
    """A database whose pool has one place, so that a leaked connection is noticed at once."""
    database = Database(empty_database_url, pool_max=1, application_name="single")
    await database.open()
    async with database.connection() as connection:
        await connection.execute(SCHEMA)
    bind([Note], database.engine)
    yield database
    await database.close()


@pytest.fixture
async def outsider(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second connection that sees only what is committed, and may end others."""
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def kill_all_but(outsider: asyncpg.Connection) -> None:
    await outsider.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def notes(connection: asyncpg.Connection) -> list[int]:
    return [row["id"] for row in await connection.fetch("SELECT id FROM note ORDER BY id")]


async def assert_usable(database: Database, outsider: asyncpg.Connection) -> None:
    """The pool has its place back and a new transaction really commits."""
    async with asyncio.timeout(5), database.transaction() as connection:
        await connection.execute("INSERT INTO note VALUES (99)")
    assert 99 in await notes(outsider)


# --- construction and opening ---------------------------------------------------------------------------------------


def test_construction_and_import_do_no_io() -> None:
    """An import never connects, so a command like --help works without a database."""
    code = """
import sys
def refuse(event, arguments):
    if event == "socket.connect":
        raise SystemExit("connected")
sys.addaudithook(refuse)
from recoup_core.storage.engine import Database
Database("postgresql://nobody:secret@127.0.0.1:1/none")
"""

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_construction_works_on_a_running_loop() -> None:
    """Piccolo runs coroutines while an engine is made; inside a running loop that must not fail either."""
    database = Database("postgresql://127.0.0.1:1/none")

    assert isinstance(database.engine, PostgresEngine)


async def test_an_unreachable_server_is_told_after_the_wait_and_without_the_password() -> None:
    """A start-up script sees which database is meant and never a secret."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        database = Database(f"postgresql://recoup:hunter2@127.0.0.1:{port}/shop")
        started = time.monotonic()

        with pytest.raises(DatabaseUnavailable) as refusal:
            await database.open(wait_s=0.6)

    assert 0.25 < time.monotonic() - started < 5
    assert f"127.0.0.1:{port}/shop" in str(refusal.value)
    assert "hunter2" not in f"{refusal.value} {database!r}"


async def test_a_database_that_does_not_exist_is_believed_at_once(empty_database_url: str) -> None:
    """Waiting does not make a wrong name right."""
    started = time.monotonic()

    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        await Database(empty_database_url + "_nope").open(wait_s=30)

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("url", ["sqlite:///hunter2.db", "hunter2", "postgresql://u:hun/ter2@host/db"])
def test_a_malformed_url_is_refused_without_repeating_it(url: str) -> None:
    """What looks like a wrong URL may well hold a password."""
    with pytest.raises(ValueError, match="database URL") as refusal:
        Database(url)

    assert "ter2" not in str(refusal.value)


async def test_a_closed_database_is_unavailable_and_can_be_opened_again(empty_database_url: str) -> None:
    """A draining process answers "unavailable", it does not crash."""
    database = Database(empty_database_url)
    await database.open()
    await database.close()
    await database.close()

    with pytest.raises(DatabaseUnavailable, match="not open"):
        async with database.transaction():
            pass

    await database.open()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_the_server_knows_the_limits_and_the_name(single: Database) -> None:
    """A forgotten statement or an idle transaction is ended by the server itself."""
    names = ("application_name", "statement_timeout", "idle_in_transaction_session_timeout", "TimeZone")

    async with single.connection() as connection:
        settings = [await connection.fetchval("SELECT current_setting($1)", name) for name in names]

    assert settings == ["single", "30s", "1min", "UTC"]


async def test_jsonb_stays_text(single: Database) -> None:
    """msgspec decodes it once, where the type is known."""
    async with single.connection() as connection:
        assert await connection.fetchval("""SELECT '{"a": 1}'::jsonb""") == '{"a": 1}'


# --- commit and rollback --------------------------------------------------------------------------------------------


async def test_a_piccolo_query_joins_the_transaction_and_its_rollback(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """Models and raw SQL are one unit of work; with one connection in the pool a second one could not even run."""
    with pytest.raises(LookupError):
        async with single.transaction() as connection:
            await Note.insert(Note(id=1, body="piccolo"))
            await connection.execute("INSERT INTO note VALUES (2, 'raw')")
            assert await Note.count() == 2
            raise LookupError

    assert await notes(outsider) == []

    async with single.transaction():
        await Note.insert(Note(id=3, body="kept"))
    assert await notes(outsider) == [3]
    assert await Note.count() == 1  # and afterwards it is on its own again


async def test_piccolo_without_a_transaction_uses_the_pool(single: Database, outsider: asyncpg.Connection) -> None:
    """No hidden second way to the database exists."""
    await Note.insert(Note(id=4, body=""))

    assert await notes(outsider) == [4]
    assert await Note.select(Note.id) == [{"id": 4}]


async def test_batch_is_refused(single: Database) -> None:
    """Piccolo's batch() swallows every error of its body and connects outside the pool."""
    with pytest.raises(TransactionMisused, match="batch"):
        await Note.select().batch(batch_size=1)


async def test_a_failed_commit_raises_and_gives_the_place_back(single: Database, outsider: asyncpg.Connection) -> None:
    """Case 1 of the stock defects: a deferred constraint fails at COMMIT."""
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
            await connection.execute("INSERT INTO child VALUES (777)")

    assert await notes(outsider) == []
    await assert_usable(single, outsider)


async def test_concurrent_statements_in_a_transaction_do_not_poison_later_ones(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """Case 2: with the stock engine every later transaction of this task would silently write nothing."""
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseUnavailable)):
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
            await asyncio.gather(connection.execute("SELECT pg_sleep(0.2)"), connection.execute("SELECT 1/0"))

    await assert_usable(single, outsider)
    assert await notes(outsider) == [99]


async def test_a_nested_transaction_is_a_savepoint(single: Database, outsider: asyncpg.Connection) -> None:
    """Case 4: an error caught around the inner block undoes the inner block, and only it."""
    async with single.transaction() as connection:
        await connection.execute("INSERT INTO note VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with single.transaction() as inner:
                assert inner is connection
                await inner.execute("INSERT INTO note VALUES (2)")
                await inner.execute("INSERT INTO note VALUES (1)")
        async with single.transaction():
            await Note.insert(Note(id=3, body=""))

    assert await notes(outsider) == [1, 3]


async def test_a_swallowed_error_is_not_taken_for_a_commit(single: Database, outsider: asyncpg.Connection) -> None:
    """PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no error; the caller has to know."""
    with pytest.raises(TransactionRolledBack):
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await connection.execute("INSERT INTO note VALUES (1)")

    assert await notes(outsider) == []
    await assert_usable(single, outsider)


async def test_a_cancelled_transaction_leaves_nothing(single: Database, outsider: asyncpg.Connection) -> None:
    """A request that times out holds neither locks nor a place in the pool."""
    inserted = asyncio.Event()

    async def work() -> None:
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
            inserted.set()
            await connection.execute("SELECT pg_sleep(20)")

    task = asyncio.create_task(work())
    await inserted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await assert_usable(single, outsider)
    assert await notes(outsider) == [99]


async def test_waiting_for_the_pool_has_a_limit(empty_database_url: str) -> None:
    """An exhausted pool is an answer, not a hang."""
    database = Database(empty_database_url, pool_max=1, acquire_timeout_s=0.1)
    await database.open()

    async with database.connection():
        with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
            async with database.transaction():
                pass

    await database.close()


# --- misuse ---------------------------------------------------------------------------------------------------------


async def test_a_second_connection_inside_a_transaction_is_refused(single: Database) -> None:
    """Transactions that wait for second connections would empty the pool and wait for one another."""
    async with single.transaction():
        with pytest.raises(TransactionMisused):
            single.connection()


async def test_a_task_may_not_join_the_transaction_it_was_started_in(single: Database) -> None:
    """Two tasks on one transaction would mix their savepoints and errors."""

    async def join() -> None:
        async with single.transaction():
            pass

    async with single.transaction():
        task = asyncio.create_task(join())
        with pytest.raises(TransactionMisused):
            await task


async def test_a_task_that_outlives_its_transaction_starts_one_of_its_own(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """Case 6: a background task started inside a transaction works once that is over."""
    over = asyncio.Event()

    async def later() -> None:
        await over.wait()
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (5)")

    async with single.transaction():
        task = asyncio.create_task(later())
    over.set()
    await task

    assert await notes(outsider) == [5]


# --- lost connections -----------------------------------------------------------------------------------------------


async def test_connections_killed_between_transactions_are_replaced(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """A restarted PostgreSQL costs an idle process nothing."""
    await kill_all_but(outsider)

    await assert_usable(single, outsider)


async def test_a_connection_that_died_unnoticed_is_replaced_before_anything_is_done(
    single: Database, outsider: asyncpg.Connection, empty_database_url: str
) -> None:
    """The loop was busy while the server went away, so the pool still hands the dead connection out."""

    async def kill() -> None:
        connection = await asyncpg.connect(empty_database_url)
        await kill_all_but(connection)
        await connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, kill()).result()  # blocks our loop on purpose

    async with single.transaction() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_piccolo_queries_survive_a_restart_too(single: Database, outsider: asyncpg.Connection) -> None:
    """Autocommit queries outside a transaction take a live connection as well."""
    await kill_all_but(outsider)
    await asyncio.sleep(0.05)  # the loop notices the closed socket

    assert await Note.count() == 0


async def test_a_backend_killed_inside_a_transaction_is_unavailable(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """Case 3: the caller learns that nothing was committed and may try again."""
    with pytest.raises(DatabaseUnavailable) as refusal:
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
            await kill_all_but(outsider)
            await connection.execute("INSERT INTO note VALUES (2)")

    assert not isinstance(refusal.value, CommitUnknown)
    await assert_usable(single, outsider)
    assert await notes(outsider) == [99]


async def test_a_backend_killed_during_a_statement_is_unavailable(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """The server's farewell in the middle of a query is told the same way."""

    async def kill_soon() -> None:
        await asyncio.sleep(0.1)
        await kill_all_but(outsider)

    killer = asyncio.create_task(kill_soon())
    with pytest.raises(DatabaseUnavailable):
        async with single.transaction() as connection:
            await connection.execute("SELECT pg_sleep(20)")
    await killer

    await assert_usable(single, outsider)


async def test_a_connection_lost_before_commit_was_not_committed(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """The loss was noticed before COMMIT was sent, so the work may simply be done again."""
    with pytest.raises(DatabaseUnavailable) as refusal:
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
            await kill_all_but(outsider)
            await asyncio.sleep(0.1)

    assert not isinstance(refusal.value, CommitUnknown)
    assert await notes(outsider) == []
    await assert_usable(single, outsider)


async def test_a_connection_lost_during_commit_is_commit_unknown(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """Nobody can say whether it happened; a caller who simply redid it could move money twice."""
    await outsider.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(20); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION slow()"
    )

    async def kill_soon() -> None:
        await asyncio.sleep(0.2)
        await kill_all_but(outsider)

    killer = asyncio.create_task(kill_soon())
    with pytest.raises(CommitUnknown):
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
    await killer

    await outsider.execute("DROP TRIGGER slow ON note")
    await assert_usable(single, outsider)


async def test_an_error_of_the_caller_is_never_hidden_by_a_lost_connection(
    single: Database, outsider: asyncpg.Connection
) -> None:
    """A refusal stays the refusal it is."""
    with pytest.raises(LookupError):
        async with single.transaction() as connection:
            await connection.execute("INSERT INTO note VALUES (1)")
            await kill_all_but(outsider)
            raise LookupError

    await assert_usable(single, outsider)


async def test_many_tasks_survive_killed_backends(empty_database_url: str, outsider: asyncpg.Connection) -> None:
    """Every transaction either commits once or says it did not; the pool never runs dry."""
    database = Database(empty_database_url, pool_max=3)
    await database.open()
    await outsider.execute(SCHEMA)
    committed: list[int] = []
    unknown: list[int] = []

    async def write(number: int) -> None:
        try:
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO note VALUES ($1)", number)
                await connection.execute("SELECT pg_sleep(0.01)")
            committed.append(number)
        except CommitUnknown:
            unknown.append(number)
        except DatabaseUnavailable:
            pass

    writers = [asyncio.create_task(write(number)) for number in range(60)]
    for _ in range(5):
        await asyncio.sleep(0.03)
        await kill_all_but(outsider)
    await asyncio.gather(*writers)
    stored = set(await notes(outsider))
    await assert_usable(database, outsider)
    await database.close()

    assert committed
    assert set(committed) <= stored <= set(committed) | set(unknown)


def test_the_limits_are_in_order() -> None:
    """A rollback is given up before the next caller stops waiting for the connection."""
    from recoup_core.storage import engine

    assert transaction.ROLLBACK_TIMEOUT_S < engine.ACQUIRE_TIMEOUT_S
