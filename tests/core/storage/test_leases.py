"""A lease begins anew when work begins; a message that outlived its lease is not worked on."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.storage.jobs import JobQueue

LEASE = timedelta(seconds=120)


@pytest.fixture
async def queue(database: Any, clock: Any) -> JobQueue:
    """A queue with one due job."""
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO job (kind, subject_id, due_at, visible_at) VALUES ('collect', gen_random_uuid(), $1, $1)",
            clock.now(),
        )
    return JobQueue(database)


async def test_work_that_begins_late_has_its_whole_lease(queue: JobQueue, clock: Any) -> None:
    """The queue's waiting time is not taken off the worker's."""
    refs = await queue.claim(clock.now(), 10, LEASE)
    clock.advance(timedelta(seconds=119))

    assert await queue.renew(refs, clock.now(), LEASE) == refs
    clock.advance(timedelta(seconds=119))
    assert await queue.claim(clock.now(), 10, LEASE) == []


async def test_a_message_whose_job_was_claimed_anew_is_stale(queue: JobQueue, clock: Any) -> None:
    """Only the newest claim is worked on; otherwise its holder would take a live sender for a dead one."""
    first = await queue.claim(clock.now(), 10, LEASE)
    clock.advance(timedelta(seconds=121))
    second = await queue.claim(clock.now(), 10, LEASE)

    assert await queue.renew(first, clock.now(), LEASE) == []
    assert await queue.renew(second, clock.now(), LEASE) == second
