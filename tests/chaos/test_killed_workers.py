"""kill -9 of a worker at each point of a charge: nobody pays twice, and no debt is forgotten."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest
from tests.chaos.conftest import Chaos
from tests.stories.client import eventually
from tests.stories.installation import Process

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

WITHIN_S = 30.0
SUBMITTED = "SELECT count(*) FROM attempt WHERE state = 'submitted'"
WRITTEN_DOWN = "SELECT count(*) FROM attempt WHERE origin <> 'reported'"
WAITING_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

Point = Callable[[Chaos], AbstractAsyncContextManager[Process]]
"""Starts a worker and a scheduler and yields the worker, held at one point of its work."""


@asynccontextmanager
async def before_it_is_written_down(chaos: Chaos) -> AsyncIterator[Process]:
    """The worker has its message and waits for the payments' locks."""
    async with _payments_locked(chaos):
        worker = _start(chaos)
        await eventually(lambda: _some(chaos, WAITING_FOR_A_LOCK), "the worker to wait for the locks")
        assert not await _some(chaos, WRITTEN_DOWN)
        yield worker


@asynccontextmanager
async def before_the_call(chaos: Chaos) -> AsyncIterator[Process]:
    """The attempt is committed as submitted; the bank, whose books we hold, has not heard of it."""
    assert not await _moved(chaos)  # makes the bank's file
    books = sqlite3.connect(chaos.house.folder / "bank.sqlite", isolation_level=None)
    books.execute("BEGIN IMMEDIATE")
    try:
        worker = _start(chaos)
        await eventually(lambda: _some(chaos, SUBMITTED), "the worker to write the attempts down")
        yield worker
    finally:
        books.close()
    assert not await _moved(chaos)


@asynccontextmanager
async def after_the_call(chaos: Chaos) -> AsyncIterator[Process]:
    """The bank has moved the money; its answer is on the way (the token delays it)."""
    worker = _start(chaos)
    await eventually(lambda: _moved(chaos), "the bank to move money")
    yield worker
    assert await _some(chaos, SUBMITTED)


@asynccontextmanager
async def before_the_commit(chaos: Chaos) -> AsyncIterator[Process]:
    """The worker has the answer and waits for the payments' locks to write it down."""
    worker = _start(chaos)
    await eventually(lambda: _moved(chaos), "the bank to move money")
    async with _payments_locked(chaos):
        await eventually(lambda: _some(chaos, WAITING_FOR_A_LOCK), "the worker to wait for the locks")
        yield worker
    assert await _some(chaos, SUBMITTED)


@pytest.mark.parametrize(
    ("held_at", "token"),
    [
        (before_it_is_written_down, "tok_approve"),
        (before_the_call, "tok_approve"),
        (after_the_call, "tok_delay:20s+approve"),
        (before_the_commit, "tok_delay:2s+approve"),
    ],
)
async def test_a_worker_killed_in_the_midst_of_its_work_charges_nobody_twice(
    chaos: Chaos, held_at: Point, token: str
) -> None:
    """Promise 2: the attempt is written down before it is sent, so who takes over finds out what happened."""
    await chaos.seed(*[token] * 10, "tok_insufficient_funds|insufficient_funds|approve", "tok_stolen_card")

    async with held_at(chaos) as worker:
        worker.kill()
    chaos.house.start("worker")
    await chaos.until_ended(WITHIN_S)

    await chaos.all_is_well()


async def test_the_books_tell_a_double_charge(chaos: Chaos) -> None:
    """The comparison can fail: money that moved behind our back is seen."""
    await chaos.seed("tok_approve")
    chaos.house.start("worker", "scheduler")
    await chaos.until_ended(WITHIN_S)
    await chaos.all_is_well()

    books = sqlite3.connect(chaos.house.folder / "bank.sqlite")
    books.execute("UPDATE charge SET amount_minor = amount_minor + 1")
    books.commit()
    books.close()

    with pytest.raises(AssertionError):
        await chaos.all_is_well()


def _start(chaos: Chaos) -> Process:
    worker, _ = chaos.house.start("worker", "scheduler")
    return worker


@asynccontextmanager
async def _payments_locked(chaos: Chaos) -> AsyncIterator[None]:
    connection = await asyncpg.connect(chaos.house.database_url)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT id FROM payment FOR UPDATE")
            yield
    finally:
        await connection.close()


async def _some(chaos: Chaos, sql: str) -> bool:
    return bool(await chaos.house.value(sql))


async def _moved(chaos: Chaos) -> bool:
    totals = await asyncio.to_thread(chaos.house.bank.totals)
    return any(total.charges for total in totals.values())
