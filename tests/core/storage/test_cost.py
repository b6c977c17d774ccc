"""What a transaction costs the database: round trips and plans, not time."""

from typing import Any
from uuid import UUID

import pytest

from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import Database

WAITING = 3_000
"""Jobs in the table: so few that a planner who is told nothing reads all of them."""


@pytest.fixture
async def one_connection(database_url: str) -> Any:
    """A database whose every borrower gets the same connection."""
    opened = Database(database_url, pool_max=1, application_name="recoup-test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def said(one_connection: Database) -> list[Any]:
    """Every statement sent from now on."""
    statements: list[Any] = []
    async with one_connection.connection() as connection:
        connection.add_query_logger(statements.append)
    return statements


async def test_giving_a_connection_back_sends_nothing(one_connection: Database, said: list[Any]) -> None:
    """A reset would be one more round trip for every statement."""
    async with one_connection.connection() as connection:
        await connection.fetchval("SELECT 1")
    async with one_connection.connection() as connection:
        await connection.fetchval("SELECT 2")

    assert [each.query for each in said] == ["SELECT 1", "SELECT 2"]


async def test_a_transaction_left_open_ends_with_its_borrower(one_connection: Database) -> None:
    """What one caller left behind never belongs to the next."""
    async with one_connection.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("SET LOCAL statement_timeout = 7")

    async with one_connection.connection() as connection:
        left = await connection.fetchval("SHOW statement_timeout")
        inside = connection.is_in_transaction()

    assert (left, inside) == ("30s", False)


async def test_a_few_rows_are_looked_up_by_their_keys(one_connection: Database, said: list[Any]) -> None:
    """A handful of changes must not read a table of thousands."""
    async with one_connection.connection() as connection:
        await connection.execute(
            "INSERT INTO job (kind, subject_id, due_at, visible_at)"
            " SELECT 'collect', gen_random_uuid(), now(), now() FROM generate_series(1, $1::integer)",
            WAITING,
        )
        await connection.execute("ANALYZE job")
    changes = Changes()
    changes.drop_job("collect", UUID(int=1))

    async with one_connection.transaction() as connection:
        await changes.write(connection)

    written = next(each for each in said if "DELETE FROM job" in each.query)
    async with one_connection.connection() as connection:
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {written.query}", *written.args))
    assert "Index Scan using job_kind_subject_id_key" in plan
    assert "Seq Scan on job" not in plan
