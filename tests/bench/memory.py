"""Memory of a worker process over many jobs of the product's own flow: it must not grow."""

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import asyncpg
from jobs import RECOUP
from place import (
    a_database,
    a_queue_prefix,
    amqp_url,
    environment,
    postgres_place,
    processes,
    rabbit_place,
    settings_from,
    settled,
)
from report import Result, Table, number, tell
from seeds import due_cases, make_due

from recoup_cli.compose import build_service

JOBS: Final = 200_000
EVERY: Final = 10_000
LOOK_S: Final = 0.5
STALL_S: Final = 120.0
"""A worker that ends no job for this long has stopped; what was seen until then is not reported."""
MIB: Final = 1024 * 1024


def run(*, quick: bool) -> Result:
    """Let one worker run the jobs and look at its memory at every tenth thousand."""
    jobs, every = (3_000, 500) if quick else (JOBS, EVERY)
    broker = amqp_url()
    seen, seconds, place = asyncio.run(_measure(jobs, every, broker))
    first_half, second_half = [seen[at] for at in _half(seen, 0)], [seen[at] for at in _half(seen, 1)]
    growth = statistics.median(second_half) - statistics.median(first_half)
    steps = sorted(seen)
    table = Table(
        title="Memory of a worker",
        method=(
            f"One `recoup worker` process runs {jobs:,} due retries of the product's own flow, through `recoup"
            f" scheduler` and RabbitMQ, against the sandbox gateway with its bank in a file; {number(jobs / seconds)}"
            f" retries/s. Resident set of the process (`VmRSS`), read when each further {every:,} retries are"
            " finished; the first, at 0, is taken before the first retry."
        ),
        head=("retries finished", "RSS, MiB"),
        rows=tuple((f"{at:,}", f"{seen[at] / MIB:.1f}") for at in steps),
        notes=(f"Median of the second half less median of the first half: {growth / MIB:+.1f} MiB.",),
    )
    return Result(tables=(table,), places=(rabbit_place(broker), place))


def _half(seen: dict[int, int], which: int) -> list[int]:
    steps = sorted(seen)[1:]  # 0 is before the work
    middle = len(steps) // 2
    return steps[middle:] if which else steps[:middle]


async def _measure(jobs: int, every: int, broker: str) -> tuple[dict[int, int], float, str]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recoup-bench-")))
        url = await stack.enter_async_context(a_database())
        prefix = stack.enter_context(a_queue_prefix(broker))
        env = environment(folder, url, RECOUP_AMQP_URL=broker, RECOUP_AMQP_QUEUE_PREFIX=prefix)
        tell(f"memory: {jobs:,} cases are made")
        service = await build_service(settings_from(env, folder)).open()
        stack.push_async_callback(service.close)
        seeded = await due_cases(service, jobs)
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        pids = stack.enter_context(processes([(*RECOUP, "worker"), (*RECOUP, "scheduler")], env, folder))
        await settled(pids)
        worker = pids[0]
        seen = {0: _rss(worker)}
        await make_due(service)
        started = time.perf_counter()
        await _watch(connection, worker, seeded, every, seen)
        return seen, time.perf_counter() - started, await postgres_place(url)


async def _watch(connection: asyncpg.Connection, worker: int, jobs: int, every: int, seen: dict[int, int]) -> None:
    done, moved_at = 0, time.monotonic()
    while done < jobs:
        await asyncio.sleep(LOOK_S)
        now = await connection.fetchval(
            "SELECT count(*) FROM attempt WHERE origin = 'policy' AND finished_at IS NOT NULL"
        )
        if now > done:
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > STALL_S:
            raise TimeoutError(f"the worker stopped at {done:,} of {jobs:,}")
        if now // every > done // every:
            seen[now // every * every] = _rss(worker)
            tell(f"memory: {now:,} done, {seen[now // every * every] / MIB:.1f} MiB")
        done = now


def _rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
