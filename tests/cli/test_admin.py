"""`recoup keys` and `recoup audit`."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import asyncpg

from recoup_core.flows.recover import Opened
from recoup_core.storage.audit import seal_events
from recoup_core.storage.engine import Database

SEAL_LIMIT_S = 30.0


def on_database(url: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work()).result()


def seal_all(url: str) -> int:
    """Seal every event; others' transactions on the same server may have to end first."""

    async def work() -> int:
        database = Database(url, pool_max=1)
        await database.open()
        try:
            async with database.connection() as connection:
                events: int = await connection.fetchval("SELECT count(*) FROM event")
            sealed = 0
            async with asyncio.timeout(SEAL_LIMIT_S):
                while sealed < events:
                    sealed += await seal_events(database, datetime.now(UTC))
                    await asyncio.sleep(0.02)
            return sealed
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work()).result()


def test_a_key_lives_from_create_to_revoke(configured: str, recoup: Callable[..., Any]) -> None:
    """The secret is printed alone, listed never, and revoking shows."""
    made = recoup("keys", "create", "--principal", "billing", "--role", "agent", "--role", "viewer", "--days", "9")
    key_id = made.err.split()[1]

    listed = recoup("keys", "list")
    revoked = recoup("keys", "revoke", key_id)
    after = recoup("keys", "list")

    assert (made.code, revoked.code) == (0, 0)
    assert made.out.startswith("rk_")
    assert made.out.strip() not in listed.out
    assert "usable" in listed.out
    assert "[agent, viewer]" in listed.out
    assert "revoked" in after.out


def test_revoking_what_is_not_there_fails(configured: str, recoup: Callable[..., Any]) -> None:
    """A typing error in an id is told."""
    done = recoup("keys", "revoke", "00000000-0000-0000-0000-000000000000")

    assert done.code == 1
    assert "has no key" in done.err


def test_a_key_for_no_merchant_is_refused(configured: str, recoup: Callable[..., Any]) -> None:
    """A mistyped merchant does not become one."""
    done = recoup("keys", "create", "--principal", "me", "--role", "admin", "--merchant", "defualt")

    assert done.code == 1
    assert "no merchant defualt" in done.err


def test_an_untouched_trail_verifies(reported: Opened, configured: str, recoup: Callable[..., Any]) -> None:
    """All events are sealed and fit."""
    sealed = seal_all(configured)

    done = recoup("audit", "verify")

    assert done.code == 0
    assert f"{sealed} events in" in done.out


def test_an_altered_event_is_named(reported: Opened, configured: str, recoup: Callable[..., Any]) -> None:
    """Somebody with all rights changes history; the first altered row is named and the exit code says so."""
    seal_all(configured)
    on_database(
        configured,
        "ALTER TABLE event DISABLE TRIGGER ALL",
        "UPDATE event SET actor = 'nobody' WHERE id = 2",
    )

    done = recoup("audit", "verify")

    assert done.code == 1
    assert "event 2 was altered" in done.err
