"""Due jobs executed per second, end to end: Recoup through RabbitMQ beside two queues that live in PostgreSQL."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from place import (
    a_database,
    a_queue_prefix,
    amqp_url,
    cpu_s,
    environment,
    postgres_place,
    processes,
    rabbit_place,
    settings_from,
    settled,
    until,
)
from report import Result, Table, number, ratio, tell
from seeds import due_cases, make_due
from work import CONCURRENCY, KIND, PGQUEUER_BATCH, POOL, TABLES, procrastinate_app

from recoup_cli.compose import build_service

JOBS: Final = 20_000
FEWER_JOBS: Final = 5_000
"""For a queue that would take minutes."""
WARM_UP: Final = 1_000
COLLECTS: Final = 6_000
ROUNDS: Final = 3
TIMEOUT_S: Final = 300.0
WORK: Final = str(Path(__file__).with_name("work.py"))
RECOUP: Final = ("-c", "from recoup_cli.main import main; main()")

Enqueue = Callable[[asyncpg.Connection, str, Sequence[UUID]], Awaitable[Any]]


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """One queue in one arrangement."""

    name: str
    roles: tuple[str, ...]
    """Its processes."""
    enqueue: Enqueue
    prepare: Callable[[str], Awaitable[Any]] | None = None
    commit: str = "each"
    jobs: int = JOBS


class Measured(msgspec.Struct, frozen=True):
    """What one round came to."""

    rate: float
    cpu_ms: float
    """CPU time of the queue's Python processes per job."""


async def _enqueue_recoup(connection: asyncpg.Connection, _: str, ids: Sequence[UUID]) -> None:
    await connection.execute(
        "INSERT INTO job (kind, subject_id, due_at, visible_at) SELECT $1, id, now(), now() FROM unnest($2::uuid[]) id",
        KIND,
        ids,
    )


async def _enqueue_procrastinate(_: asyncpg.Connection, url: str, ids: Sequence[UUID]) -> None:
    app = procrastinate_app(url)
    async with app.open_async():
        await app.tasks[KIND].batch_defer_async(*({"action_id": str(one)} for one in ids))


async def _enqueue_pgqueuer(connection: asyncpg.Connection, _: str, ids: Sequence[UUID]) -> None:
    from pgqueuer import AsyncpgDriver, Queries

    queries = Queries(AsyncpgDriver(connection))
    await queries.enqueue([KIND] * len(ids), [one.bytes for one in ids], [0] * len(ids))


async def _prepare_procrastinate(url: str) -> None:
    app = procrastinate_app(url)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def _prepare_pgqueuer(url: str) -> None:
    from pgqueuer import AsyncpgDriver, Queries

    connection = await asyncpg.connect(url)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


_RECOUP: Final = ("scheduler", "worker", "worker")


def _contestants() -> list[Contestant]:
    procrastinate: dict[str, Any] = {
        "enqueue": _enqueue_procrastinate,
        "prepare": _prepare_procrastinate,
        "jobs": FEWER_JOBS,
    }
    pgqueuer: dict[str, Any] = {"enqueue": _enqueue_pgqueuer, "prepare": _prepare_pgqueuer}
    return [
        Contestant(
            name="recoup, a message's jobs in one transaction",
            roles=_RECOUP,
            enqueue=_enqueue_recoup,
            commit="together",
        ),
        Contestant(name="recoup, one transaction a job", roles=_RECOUP, enqueue=_enqueue_recoup),
        Contestant(name="procrastinate, 2 workers", roles=("procrastinate",) * 2, **procrastinate),
        Contestant(name="procrastinate, 3 workers", roles=("procrastinate",) * 3, **procrastinate),
        Contestant(name="pgqueuer, 2 workers", roles=("pgqueuer",) * 2, **pgqueuer),
        Contestant(name="pgqueuer, 3 workers", roles=("pgqueuer",) * 3, **pgqueuer),
    ]


def run(*, quick: bool) -> Result:
    """Measure the queues in turn, round by round, then the product's own flow."""
    broker = amqp_url()
    most, rounds = (2_000, 1) if quick else (JOBS, ROUNDS)
    found: dict[str, list[Measured]] = {}
    places: list[str] = [rabbit_place(broker)]
    for _ in range(rounds):
        for contestant in _contestants():
            tell(f"jobs: {contestant.name}")
            measured, place = asyncio.run(_measure(contestant, min(most, contestant.jobs), broker))
            found.setdefault(contestant.name, []).append(measured)
            places.append(place)
    collects = 1_000 if quick else COLLECTS
    collected = [asyncio.run(collect_rate(collects, broker, workers=2)) for _ in range(rounds)]
    return Result(tables=(_queues(found), _collects(collected, collects)), places=tuple(dict.fromkeys(places)))


def _queues(found: dict[str, list[Measured]]) -> Table:
    base = statistics.median(each.rate for each in next(iter(found.values())))
    rows = []
    for name, measured in found.items():
        rate = statistics.median(each.rate for each in measured)
        cpu_ms = statistics.median(each.cpu_ms for each in measured)
        slowest, fastest = min(each.rate for each in measured), max(each.rate for each in measured)
        rows.append((name, number(rate), f"{number(slowest)} - {number(fastest)}", ratio(base, rate), number(cpu_ms)))
    return Table(
        title="Due jobs executed per second, beside other queues",
        method=(
            f"{JOBS:,} jobs a round ({FEWER_JOBS:,} for procrastinate), {len(next(iter(found.values())))} interleaved"
            " rounds, median; a fresh database each. A job's work: select for update, insert a row, update a row to"
            f" done. Counted from the first job done to the last, after {WARM_UP:,} jobs of warm-up, all jobs enqueued"
            " at once. Recoup: the product's scheduler, RabbitMQ, Dramatiq actor and settings (20 jobs a message, 16"
            " threads, 10 connections a worker), with this work in place of its flows: in one transaction a message,"
            " as its flows commit, and in one a job. The job's row goes in the same transaction. Peers: uvloop,"
            f" {POOL} connections for the work of each process; procrastinate with concurrency {CONCURRENCY} and"
            f" psycopg's C module; pgqueuer with batches of {PGQUEUER_BATCH}. Recoup has a scheduler beside its two"
            ' workers, so peers are shown with two and with three. "x": how many times as fast the first row is.'
        ),
        head=("queue", "jobs/s", "slowest - fastest", "x", "CPU ms a job, Python"),
        rows=tuple(rows),
    )


def _collects(measured: Sequence[Measured], count: int) -> Table:
    rates = [each.rate for each in measured]
    cpu_ms = statistics.median(each.cpu_ms for each in measured)
    return Table(
        title="Due retries executed per second, the product's own flow",
        method=(
            f"{count:,} open cases whose retry is due, {len(rates)} rounds: `recoup scheduler` and two `recoup"
            " worker` processes with their default settings, sandbox gateway. A retry here is: claim, message, case"
            " file under locks, network limits, attempt written as submitted, charge at the sandbox's own SQLite bank"
            " (shared by both workers, not waiting for the disk), outcome, ledger or next decision with its"
            " explanation, events. One in three succeeds, two are planned anew. Counted from the first tenth"
            " finished to the last."
        ),
        head=("flow", "retries/s", "slowest - fastest", "CPU ms a retry, Python"),
        rows=(
            (
                "collect",
                number(statistics.median(rates)),
                f"{number(min(rates))} - {number(max(rates))}",
                number(cpu_ms),
            ),
        ),
    )


async def _measure(contestant: Contestant, jobs: int, broker: str) -> tuple[Measured, str]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recoup-bench-")))
        url = await stack.enter_async_context(a_database())
        prefix = stack.enter_context(a_queue_prefix(broker))
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        await connection.execute(TABLES)
        if contestant.prepare is not None:
            await contestant.prepare(url)
        more = {"RECOUP_AMQP_URL": broker, "RECOUP_AMQP_QUEUE_PREFIX": prefix, "BENCH_COMMIT": contestant.commit}
        env = environment(folder, url, **more)
        pids = stack.enter_context(processes([(WORK, role) for role in contestant.roles], env, folder))
        await settled(pids)
        await _do(contestant, connection, url, WARM_UP)
        before = sum(map(cpu_s, pids))
        first, last = await _do(contestant, connection, url, jobs)
        spent = sum(map(cpu_s, pids)) - before
        return Measured(jobs / (last - first), spent / jobs * 1000), await postgres_place(url)


async def _do(contestant: Contestant, connection: asyncpg.Connection, url: str, jobs: int) -> tuple[float, float]:
    """Enqueue jobs, wait until all are done, and return when the first and the last were, as the database saw it."""
    made = await connection.fetch(
        "INSERT INTO bench_action (id, state) SELECT gen_random_uuid(), 0 FROM generate_series(1, $1::integer)"
        " RETURNING id",
        jobs,
    )
    mark = await connection.fetchval("SELECT coalesce(max(id), 0) FROM bench_attempt")
    await connection.execute("VACUUM ANALYZE bench_action, bench_attempt")
    await contestant.enqueue(connection, url, [row["id"] for row in made])

    async def done() -> bool:
        count: int = await connection.fetchval("SELECT count(*) FROM bench_attempt WHERE id > $1", mark)
        return count == jobs

    await until(done, TIMEOUT_S)
    times = await connection.fetchrow("SELECT min(at), max(at) FROM bench_attempt WHERE id > $1", mark)
    return times[0].timestamp(), times[1].timestamp()


async def collect_rate(count: int, broker: str, workers: int) -> Measured:
    """Seed due cases and let the product's own processes run them."""
    tell("jobs: the collect flow")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recoup-bench-")))
        url = await stack.enter_async_context(a_database())
        prefix = stack.enter_context(a_queue_prefix(broker))
        env = environment(folder, url, RECOUP_AMQP_URL=broker, RECOUP_AMQP_QUEUE_PREFIX=prefix)
        service = await build_service(settings_from(env, folder)).open()
        stack.push_async_callback(service.close)
        seeded = await due_cases(service, count)
        with ExitStack() as running:
            commands = [(*RECOUP, role) for role in ("scheduler", *["worker"] * workers)]
            pids = running.enter_context(processes(commands, env, folder))
            await settled(pids)
            await make_due(service)
            await until(lambda: _finished(service, count // 10), TIMEOUT_S)
            done, before, started = await _progress(service), sum(map(cpu_s, pids)), time.perf_counter()
            await until(lambda: _finished(service, seeded), TIMEOUT_S)
            spent = time.perf_counter() - started
            cpu = sum(map(cpu_s, pids)) - before
        ran = seeded - done
        return Measured(ran / spent, cpu / ran * 1000)


async def _finished(service: Any, count: int) -> bool:
    return await _progress(service) >= count


async def _progress(service: Any) -> int:
    async with service.database.connection() as connection:
        sql = "SELECT count(*) FROM attempt WHERE origin = 'policy' AND finished_at IS NOT NULL"
        return int(await connection.fetchval(sql))
