"""Rounds over a job table in memory and a transport that can be full, away or choosy."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.telemetry import Metrics
from recoup_workers.contract import Parcel
from recoup_workers.scheduler import Scheduler


class Desk:
    """A transport that takes what it is told to take."""

    def __init__(self, room: int = 100) -> None:
        self.free = room
        self.sent: list[Parcel] = []
        self.refuse: Callable[[Parcel], bool] = lambda _: False

    async def room(self) -> int:
        return self.free

    async def send(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        refused = [parcel for parcel in parcels if self.refuse(parcel)]
        self.sent += [parcel for parcel in parcels if parcel not in refused]
        return refused

    async def close(self) -> None:
        return


async def run_for(scheduler: Scheduler, until: Callable[[], bool], eventually: Any) -> bool:
    stop = asyncio.Event()
    running = asyncio.create_task(scheduler.run(stop))
    reached = await eventually(until)
    stop.set()
    await running
    return bool(reached)


async def test_due_jobs_are_claimed_and_sent_by_kind(make_service: Any, counts: Metrics) -> None:
    """A message holds jobs of one kind, at most a batch of them."""
    service, desk = make_service(batch=3), Desk()
    for number in range(7):
        service.jobs.add(number, kind="collect" if number % 2 == 0 else "settle")

    done = await Scheduler(service, desk, counts).round()

    assert done.claimed == 7
    assert [[(ref.id, ref.kind) for ref in parcel.refs] for parcel in desk.sent] == [
        [(0, "collect"), (2, "collect"), (4, "collect")],
        [(6, "collect")],
        [(1, "settle"), (3, "settle"), (5, "settle")],
    ]


async def test_jobs_that_are_not_due_are_left_alone(make_service: Any, counts: Metrics, clock: Any) -> None:
    """Long waits stay in the table."""
    service, desk = make_service(clock=clock), Desk()
    service.jobs.add(1, due_at=clock.now() + timedelta(microseconds=1))

    done = await Scheduler(service, desk, counts).round()

    assert (done.claimed, desk.sent) == (0, [])


async def test_nothing_is_claimed_without_room(make_service: Any, counts: Metrics) -> None:
    """A job that can't be sent must not lose lease time."""
    service, desk = make_service(), Desk(room=0)
    service.jobs.add(1)

    done = await Scheduler(service, desk, counts).round()

    assert done.blocked
    assert service.jobs.claims == 0


async def test_no_more_is_claimed_than_fits(make_service: Any, counts: Metrics) -> None:
    """Room for two messages of five jobs is room for ten jobs."""
    service, desk = make_service(batch=5), Desk(room=2)
    for number in range(30):
        service.jobs.add(number)

    done = await Scheduler(service, desk, counts).round()

    assert done.claimed == 10


async def test_what_was_surely_not_sent_is_given_back_at_once(make_service: Any, counts: Metrics) -> None:
    """Its lease would only be lost time."""
    service, desk = make_service(batch=1), Desk()
    service.jobs.add(1)
    service.jobs.add(2)
    desk.refuse = lambda parcel: parcel.refs[0].id == 2

    done = await Scheduler(service, desk, counts).round()

    assert done.released == 1
    assert [(ref.id, ref.claim) for ref in service.jobs.released] == [(2, 1)]
    assert counts.registry.get_sample_value("recoup_jobs_released_total") == 1


async def test_a_busy_table_is_emptied_without_pauses(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """The poll interval is for idle times only."""
    service, desk = make_service(batch=1, in_flight_max=1), Desk(room=1)
    for number in range(40):
        service.jobs.add(number)
    started = asyncio.get_running_loop().time()

    reached = await run_for(Scheduler(service, desk, counts), lambda: len(desk.sent) == 40, eventually)

    assert reached
    assert asyncio.get_running_loop().time() - started < 40 * 0.020


async def test_an_idle_scheduler_looks_again(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """What becomes due later is found without anybody telling."""
    service, desk = make_service(), Desk()
    scheduler = Scheduler(service, desk, counts)
    stop = asyncio.Event()
    running = asyncio.create_task(scheduler.run(stop))
    await eventually(lambda: service.jobs.claims > 1)

    service.jobs.add(1)

    assert await eventually(lambda: len(desk.sent) == 1)
    stop.set()
    await running


async def test_a_lost_database_is_waited_for(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """PostgreSQL may be away for a while; the scheduler must be there when it is back."""
    service, desk = make_service(), Desk()
    service.jobs.add(1)
    service.jobs.fail_with = ConnectionError("gone")
    stop = asyncio.Event()
    running = asyncio.create_task(Scheduler(service, desk, counts).run(stop))
    failed = "recoup_scheduler_failures_total"
    assert await eventually(lambda: (counts.registry.get_sample_value(failed, {"part": "round"}) or 0) >= 2)

    service.jobs.fail_with = None

    assert await eventually(lambda: len(desk.sent) == 1)
    stop.set()
    await running


async def test_a_failed_release_does_not_end_the_scheduler(make_service: Any, counts: Metrics) -> None:
    """The leases bring the jobs back."""
    service, desk = make_service(), Desk()
    service.jobs.add(1)

    def lose_database(_: Parcel) -> bool:
        service.jobs.fail_with = ConnectionError("gone")
        return True

    desk.refuse = lose_database

    done = await Scheduler(service, desk, counts).round()

    assert (done.claimed, done.released) == (1, 1)


async def test_sweeps_go_on_whatever_becomes_of_one(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """Age limits are watched for as long as a scheduler runs."""
    service = make_service()
    note = service.sweep

    async def fail_first(now: Any) -> None:
        await note(now)
        if len(service.sweeps) == 1:
            raise ConnectionError("gone")

    service.sweep = fail_first

    reached = await run_for(
        Scheduler(service, Desk(), counts, sweep_every_s=0.01), lambda: len(service.sweeps) >= 3, eventually
    )

    assert reached
    assert counts.registry.get_sample_value("recoup_scheduler_failures_total", {"part": "sweep"}) == 1


async def test_a_stop_finishes_the_round(make_service: Any, counts: Metrics, eventually: Any) -> None:
    """A claimed job is still sent, or it would wait for its lease."""
    service, desk = make_service(), Desk()
    service.jobs.add(1)
    entered, leave = asyncio.Event(), asyncio.Event()
    send = desk.send

    async def slow(parcels: Sequence[Parcel]) -> list[Parcel]:
        entered.set()
        await leave.wait()
        return await send(parcels)

    desk.send = slow  # type: ignore[method-assign]  # a fake of this test's own
    stop = asyncio.Event()
    running = asyncio.create_task(Scheduler(service, desk, counts).run(stop))
    await entered.wait()

    stop.set()
    await asyncio.sleep(0.02)
    leave.set()
    await running

    assert len(desk.sent) == 1


@pytest.mark.parametrize("schedulers", [2, 5])
async def test_many_schedulers_share_the_work(
    make_service: Any, counts: Metrics, eventually: Any, schedulers: int
) -> None:
    """Any number may run; each job is sent once."""
    service, desk = make_service(batch=1), Desk()
    for number in range(100):
        service.jobs.add(number)
    stop = asyncio.Event()
    running = [asyncio.create_task(Scheduler(service, desk, counts).run(stop)) for _ in range(schedulers)]

    assert await eventually(lambda: len(desk.sent) >= 100)
    stop.set()
    await asyncio.gather(*running)

    assert sorted(parcel.refs[0].id for parcel in desk.sent) == list(range(100))
