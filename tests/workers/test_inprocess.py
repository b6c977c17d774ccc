"""Scheduler, memory broker and workers end to end inside one loop."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import dramatiq.asyncio

from recoup_core.telemetry import Metrics
from recoup_workers.contract import JobRef
from recoup_workers.inprocess import InProcess

SOON_S = 5.0


async def test_due_jobs_run_on_the_applications_loop(make_service: Any, counts: Metrics) -> None:
    """One loop, one pool, one service: what the API opened is what the jobs use."""
    service = make_service()
    loops = set()

    async def note(_: JobRef) -> None:
        loops.add(asyncio.get_running_loop())

    service.work = note
    for number in range(23):
        service.jobs.add(number)
    runner = InProcess(service, counts)
    await runner.start()

    drained = await runner.drain(SOON_S)
    await runner.stop()

    assert drained
    assert sorted(service.ran) == list(range(23))
    assert loops == {asyncio.get_running_loop()}
    assert service.opened == service.closed == 0


async def test_drain_follows_jobs_that_make_jobs(make_service: Any, counts: Metrics) -> None:
    """A retry that plans a message is not done before the message is sent."""
    service = make_service()

    async def make_next(ref: JobRef) -> None:
        await asyncio.sleep(0.01)
        if ref.id < 10:
            service.jobs.add(ref.id + 1)

    service.work = make_next
    service.jobs.add(1)
    runner = InProcess(service, counts)
    await runner.start()

    drained = await runner.drain(SOON_S)
    left = dict(service.jobs.rows)
    await runner.stop()

    assert drained
    assert service.ran == list(range(1, 11))
    assert left == {}


async def test_drain_leaves_the_future_alone(make_service: Any, counts: Metrics, clock: Any) -> None:
    """The demo moves its clock only when all that is due has been done."""
    service = make_service(clock=clock)
    service.jobs.add(1, due_at=clock.now())
    service.jobs.add(2, due_at=clock.now() + timedelta(days=3))
    runner = InProcess(service, counts)
    await runner.start()

    assert await runner.drain(SOON_S)
    before = list(service.ran)
    clock.advance(timedelta(days=3))
    assert await runner.drain(SOON_S)
    await runner.stop()

    assert (before, service.ran) == ([1], [1, 2])


async def test_drain_says_when_it_took_too_long(make_service: Any, counts: Metrics) -> None:
    """A bounded wait, whatever the jobs do."""
    service = make_service()
    leave = asyncio.Event()

    async def hang(_: JobRef) -> None:
        await leave.wait()

    service.work = hang
    service.jobs.add(1)
    runner = InProcess(service, counts)
    await runner.start()

    drained = await runner.drain(0.2)
    busy = not runner.idle()
    leave.set()
    await runner.stop()

    assert (drained, busy) == (False, True)


async def test_memory_holds_no_more_than_allowed(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """The table waits, not the memory: nothing is claimed while `in_flight_max` messages are unfinished."""
    service = make_service(in_flight_max=3, batch=1, threads=1)
    leave = asyncio.Event()

    async def hang(_: JobRef) -> None:
        await leave.wait()

    service.work = hang
    for number in range(20):
        service.jobs.add(number)
    runner = InProcess(service, counts)
    await runner.start()
    await eventually(lambda: len(service.ran) == 1)
    await asyncio.sleep(0.1)

    claimed = sum(ref.claim for ref, _ in service.jobs.rows.values())
    leave.set()
    drained = await runner.drain(SOON_S)
    await runner.stop()

    assert claimed == 3
    assert drained


async def test_a_batch_that_raises_costs_no_worker(make_service: Any, counts: Metrics) -> None:
    """There are no retries in the broker: the job's lease ends, and it is due again."""
    service = make_service(batch=1)

    async def fail_first_claim(ref: JobRef) -> None:
        if ref.claim == 1:
            raise RuntimeError("a defect")

    service.work = fail_first_claim
    service.jobs.add(1)
    runner = InProcess(service, counts)
    await runner.start()

    assert await runner.drain(SOON_S)
    service.jobs.rows[1] = (service.jobs.rows[1][0], service.clock.now())  # its lease has ended
    assert await runner.drain(SOON_S)
    await runner.stop()

    assert [(ref.id, ref.claim) for batch in service.batches for ref in batch] == [(1, 1), (1, 2)]


async def test_a_stop_lets_running_jobs_finish(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """A gateway call in progress gets its answer written down."""
    service = make_service()
    finished = []

    async def slow(ref: JobRef) -> None:
        await asyncio.sleep(0.3)
        finished.append(ref.id)

    service.work = slow
    service.jobs.add(1)
    runner = InProcess(service, counts)
    await runner.start()
    await eventually(lambda: service.ran == [1])

    await runner.stop()

    assert finished == [1]
    assert dramatiq.asyncio.get_event_loop_thread() is None


async def test_another_can_run_after_one_has_stopped(make_service: Any, counts: Metrics) -> None:
    """Nothing of the first is left behind that the second would stumble over."""
    for number in (1, 2):
        service = make_service()
        service.jobs.add(number)
        runner = InProcess(service, counts)
        await runner.start()
        assert await runner.drain(SOON_S)
        await runner.stop()
        assert service.ran == [number]

    names = [thread.name for thread in threading.enumerate() if "WorkerThread" in type(thread).__name__]
    assert names == []


async def test_wake_saves_the_wait_for_the_next_poll(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """An API call that made a job due need not wait for the poll."""
    service = make_service(poll_ms=60_000)
    runner = InProcess(service, counts)
    await runner.start()
    await eventually(runner.idle)

    service.jobs.add(1)
    runner.wake()

    assert await eventually(lambda: service.ran == [1])
    await runner.stop()


async def test_a_batch_that_outlives_its_lease_is_canceled(make_service: Any, counts: Metrics) -> None:
    """Somebody else may have its jobs by then; the thread goes on to other work."""
    service = make_service(lease_s=1, threads=1, batch=1)
    canceled = []

    async def hang_at_first(ref: JobRef) -> None:
        try:
            await asyncio.sleep(30 if (ref.id, ref.claim) == (1, 1) else 0)
        except asyncio.CancelledError:
            canceled.append((ref.id, ref.claim))
            raise

    service.work = hang_at_first
    service.jobs.add(1)
    service.jobs.add(2)
    runner = InProcess(service, counts)
    await runner.start()

    assert await runner.drain(SOON_S)
    await runner.stop()

    assert canceled == [(1, 1)]
    assert set(service.ran) == {1, 2}
