"""Claim time: how long it takes to lease 100 due jobs while ten thousand or ten million wait.

Between claims, untimed, the claimed jobs are finished and as many new ones arrive, as in a service that runs.
"""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from place import a_database, postgres_place
from report import Result, Table, number, ratio, tell

from recoup_core.storage.engine import Database
from recoup_core.storage.jobs import JobQueue

CLAIM: Final = 100
CLAIMS: Final = 200
WARM_UP: Final = 20
LEASE: Final = timedelta(seconds=120)
SPAN_S: Final = 30 * 86_400
"""Half of the jobs fell due within the last 30 days, half will within the next."""
FILL_TIMEOUT_S: Final = 1_800.0

# Ids grow with time, as ours do (UUIDv7); the order of `due_at` is what differs.
_FILL: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT 'collect', (lpad(to_hex(g), 12, '0') || '70008000000000000000')::uuid, t.at, t.at
    FROM generate_series($1::bigint, $2::bigint) g
    CROSS JOIN LATERAL (SELECT $3::timestamptz + {offset} * interval '1 second' AS at) t"""

_ORDERS: Final = {
    "in the order they fall due": "((g - $1) * {span} / ($2 - $1 + 1.0))",
    "in random order": "((random() + 0 * g) * {span})",
}


async def _measure(sizes: tuple[int, ...], offset: str, claims: int) -> tuple[dict[int, list[float]], str]:
    """Claim in turns from tables of every size, so that whatever else the machine does disturbs all alike."""
    now = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        tables: list[_Waiting] = []
        for size in sizes:
            tell(f"claims: {size:,} jobs")
            url = await stack.enter_async_context(a_database())
            await _fill(url, size, offset, now - timedelta(seconds=SPAN_S))
            database = Database(url, pool_max=2)
            await database.open()
            stack.push_async_callback(database.close)
            tables.append(_Waiting(database, size, now))
        for _ in range(claims + WARM_UP):
            for table in tables:
                await table.claim()
        return {table.size: table.times[WARM_UP:] for table in tables}, await postgres_place(url)


async def _fill(url: str, size: int, offset: str, start: datetime) -> None:
    connection = await asyncpg.connect(url, command_timeout=FILL_TIMEOUT_S)
    try:
        await connection.execute("ALTER TABLE job DROP CONSTRAINT job_kind_subject_id_key; DROP INDEX job_visible")
        spread = offset.format(span=2 * SPAN_S)
        await connection.execute(_FILL.format(offset=spread), 1, size, start, timeout=FILL_TIMEOUT_S)
        await connection.execute(
            "ALTER TABLE job ADD CONSTRAINT job_kind_subject_id_key UNIQUE (kind, subject_id);"
            " CREATE INDEX job_visible ON job (visible_at)",
            timeout=FILL_TIMEOUT_S,
        )
        await connection.execute("VACUUM ANALYZE job", timeout=FILL_TIMEOUT_S)
        await connection.execute("CHECKPOINT", timeout=FILL_TIMEOUT_S)
    finally:
        await connection.close()


class _Waiting:
    """One table of waiting jobs, and how long claims from it took."""

    def __init__(self, database: Database, size: int, now: datetime) -> None:
        self._database = database
        self._jobs = JobQueue(database)
        self._now = now
        self.size = size
        self.times: list[float] = []

    async def claim(self) -> None:
        """Claim once; then, untimed, finish what was claimed and let as many new ones arrive."""
        started = time.perf_counter()
        refs = await self._jobs.claim(self._now, CLAIM, LEASE)
        self.times.append(time.perf_counter() - started)
        assert len(refs) == CLAIM, len(refs)
        first = self.size + 1 + len(self.times) * CLAIM
        # they fall due behind everything that is due already
        due_at = self._now - timedelta(seconds=1 - len(self.times) / 1_000)
        async with self._database.transaction() as connection:
            await connection.execute("DELETE FROM job WHERE id = ANY($1::bigint[])", [ref.id for ref in refs])
            await connection.execute(_FILL.format(offset="0"), first, first + CLAIM - 1, due_at)


def run(*, quick: bool) -> Result:
    """Measure both sizes in both orders."""
    sizes = (10_000, 200_000 if quick else 10_000_000)
    claims = 50 if quick else CLAIMS
    rows, places = [], []
    for order, offset in _ORDERS.items():
        measured, place = asyncio.run(_measure(sizes, offset, claims))
        places.append(place)
        base = measured[sizes[0]]
        for size, times in measured.items():
            middle, tail = statistics.median(times), _p95(times)
            against = ratio(middle, statistics.median(base)), ratio(tail, _p95(base))
            rows.append(
                (order, f"{size:,}", number(middle * 1000), number(tail * 1000), number(CLAIM / middle), *against)
            )
    table = Table(
        title=f"Time to claim {CLAIM} due jobs",
        method=(
            f"`JobQueue.claim` of {CLAIM}, {claims} times after {WARM_UP} that don't count, half of the waiting jobs"
            " due; the sizes in turns; between two claims, untimed, the claimed jobs are finished and as many new"
            " ones arrive. The index is complete, the table vacuumed, a checkpoint just done. Ratios to ten thousand"
            " jobs of the same order."
        ),
        head=("jobs were written", "jobs", "median ms", "p95 ms", "jobs/s", "median ratio", "p95 ratio"),
        rows=tuple(rows),
    )
    return Result(tables=(table,), places=tuple(dict.fromkeys(places)))


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]
