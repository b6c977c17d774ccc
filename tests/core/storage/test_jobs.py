"""The job table: everyone claims, nobody gets what another holds, and what is lost comes back."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.ids import new_id
from recoup_core.storage.changes import Changes, NewJob
from recoup_core.storage.engine import Database
from recoup_core.storage.jobs import STUCK_CLAIMS, JobQueue

LEASE = timedelta(seconds=60)
MANY, CLAIMERS = 2_000, 8


@pytest.fixture
def queue(shelf: Any) -> JobQueue:
    """The queue of the test's database."""
    return JobQueue(shelf.database)


def jobs(records: Any, count: int, **fields: Any) -> list[NewJob]:
    return [
        NewJob(**{"kind": "collect", "subject_id": new_id(), "due_at": records.now + timedelta(seconds=n), **fields})
        for n in range(count)
    ]


async def test_concurrent_claims_are_disjoint_and_complete(shelf: Any, records: Any, database_url: str) -> None:
    """Eight schedulers on connections of their own share 2,000 jobs: each job once, none left."""
    await shelf.write(*jobs(records, MANY))
    now = records.now + timedelta(hours=1)
    queues = [Database(database_url, pool_max=1) for _ in range(CLAIMERS)]
    for each in queues:
        await each.open()

    async def take_all(database: Database) -> list[int]:
        taken: list[int] = []
        while refs := await JobQueue(database).claim(now, 37, LEASE):
            taken += [ref.id for ref in refs]
        return taken

    taken = await asyncio.gather(*(take_all(each) for each in queues))
    for each in queues:
        await each.close()

    everything = [job for one in taken for job in one]
    assert len(everything) == MANY
    assert len(set(everything)) == MANY


async def test_a_claim_takes_the_longest_due_first_and_no_more_than_asked(queue: Any, shelf: Any, records: Any) -> None:
    """What waits longest goes first; what is not due is left."""
    made = jobs(records, 5)
    await shelf.write(*reversed(made))

    first = await queue.claim(records.now + timedelta(seconds=3), 3, LEASE)
    second = await queue.claim(records.now + timedelta(seconds=3), 3, LEASE)

    assert [ref.subject_id for ref in first] == [job.subject_id for job in made[:3]]
    assert [ref.subject_id for ref in second] == [made[3].subject_id]


async def test_a_lost_lease_comes_back_to_somebody_else(queue: Any, shelf: Any, records: Any) -> None:
    """Invisible while leased, visible when the lease ends; the earlier holder can't finish it any more."""
    await shelf.write(*jobs(records, 1))
    (lost,) = await queue.claim(records.now, 10, LEASE)

    meanwhile = await queue.claim(records.now + LEASE - timedelta(microseconds=1), 10, LEASE)
    (again,) = await queue.claim(records.now + LEASE, 10, LEASE)
    stale = Changes()
    stale.finish(lost)
    await shelf.write(changes=stale)

    assert meanwhile == []
    assert (again.id, again.claim > lost.claim) == (lost.id, True)
    assert await shelf.one("SELECT count(*) FROM job") == 1


async def test_a_later_claim_has_the_higher_number_whoever_makes_it(
    shelf: Any, records: Any, database_url: str
) -> None:
    """Flows tell by the number whether a sender died: sessions must not hand out numbers from stocks of their own."""
    await shelf.write(*jobs(records, 1))
    sessions = [Database(database_url, pool_max=1) for _ in range(3)]
    for each in sessions:
        await each.open()

    claims = []
    for turn in range(6):
        now = records.now + turn * LEASE
        claims += [ref.claim for ref in await JobQueue(sessions[turn % 3]).claim(now, 1, LEASE)]
    for each in sessions:
        await each.close()

    assert len(claims) == 6
    assert claims == sorted(set(claims))


async def test_a_released_job_is_free_at_once_and_was_not_tried(queue: Any, shelf: Any, records: Any) -> None:
    """Giving back what was never handed over costs no claim."""
    await shelf.write(*jobs(records, 1))
    held = await queue.claim(records.now, 10, LEASE)

    await queue.release(held)

    assert await shelf.one("SELECT claims FROM job") == 0
    assert [ref.id for ref in await queue.claim(records.now, 10, LEASE)] == [held[0].id]


async def test_a_stale_release_leaves_the_new_holder_alone(queue: Any, shelf: Any, records: Any) -> None:
    """Whoever lost the lease can't give it away."""
    await shelf.write(*jobs(records, 1))
    stale = await queue.claim(records.now, 10, LEASE)
    later = records.now + LEASE
    await queue.claim(later, 10, LEASE)

    await queue.release(stale)

    assert await queue.claim(later, 10, LEASE) == []


async def test_it_tells_when_the_next_job_is_due(queue: Any, shelf: Any, records: Any) -> None:
    """None without jobs, never before now, leases included."""
    nothing = await queue.next_due_at(records.now)
    (job,) = jobs(records, 1, due_at=records.now + timedelta(days=2))
    await shelf.write(job)

    assert nothing is None
    assert await queue.next_due_at(records.now) == job.due_at
    assert await queue.next_due_at(job.due_at + LEASE) == job.due_at + LEASE
    await queue.claim(job.due_at, 1, LEASE)
    assert await queue.next_due_at(job.due_at) == job.due_at + LEASE


async def test_a_job_that_never_ends_is_parked_and_named(queue: Any, shelf: Any, records: Any) -> None:
    """Claimed to the limit without an end: put aside for a day, told once, then it gets its chance again."""
    (job,) = jobs(records, 1)
    await shelf.write(job)
    now = records.now
    for _ in range(STUCK_CLAIMS):
        assert await queue.park_stuck(now) == []
        assert len(await queue.claim(now, 10, LEASE)) == 1
        assert await queue.park_stuck(now) == []  # it is held: whoever holds it may yet finish
        now += LEASE

    parked = await queue.park_stuck(now)

    assert [ref.subject_id for ref in parked] == [job.subject_id]
    assert await queue.park_stuck(now) == []
    assert await queue.claim(now, 10, LEASE) == []
    assert len(await queue.claim(now + timedelta(days=1), 10, LEASE)) == 1
