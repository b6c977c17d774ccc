"""The work that every queue is given: one row locked, one inserted, one brought to done.

Run as a program it is a process of one of the queues: `python work.py scheduler|worker|procrastinate|pgqueuer`.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from recoup_core.ports import SystemClock
from recoup_core.settings import Settings, load_settings
from recoup_core.storage.changes import Changes, JobRef
from recoup_core.storage.engine import Database
from recoup_core.storage.jobs import JobQueue
from recoup_core.storage.listening import Alarm
from recoup_workers.broker import use_uvloop
from recoup_workers.scheduler import run_scheduler
from recoup_workers.worker import run_worker

KIND: Final = "bench"
POOL: Final = 10
"""Connections for the work in each worker process: Recoup's default, the same for all."""
CONCURRENCY: Final = 16
"""Jobs that a peer's process works on at once, where it can be set: as many as Recoup's worker has threads."""
PGQUEUER_BATCH: Final = 200
"""Jobs pgqueuer takes at once; it made most of this size among 50 and 200 (measured by the team before)."""

TABLES: Final = """
    CREATE TABLE bench_action (id uuid PRIMARY KEY, state smallint NOT NULL) WITH (fillfactor = 80);
    CREATE TABLE bench_attempt (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, action_id uuid NOT NULL UNIQUE,
                                at timestamptz NOT NULL)"""

_LOCK: Final = "SELECT state FROM bench_action WHERE id = $1 FOR UPDATE"
_INSERT: Final = "INSERT INTO bench_attempt (action_id, at) VALUES ($1, clock_timestamp())"
_DONE: Final = "UPDATE bench_action SET state = 1 WHERE id = $1"

_LOCK_MANY: Final = "SELECT id FROM bench_action WHERE id = ANY($1::uuid[]) AND state + 0 = 0 ORDER BY id FOR UPDATE"
_INSERT_MANY: Final = (
    "INSERT INTO bench_attempt (action_id, at) SELECT id, clock_timestamp() FROM unnest($1::uuid[]) id"
)
_DONE_MANY: Final = "UPDATE bench_action SET state = 1 WHERE id = ANY($1::uuid[])"


async def work_on(connection: Any, action_id: UUID) -> None:
    """Do one job's work inside the caller's transaction; a second time does nothing."""
    if await connection.fetchval(_LOCK, action_id) != 0:
        return
    await connection.execute(_INSERT, action_id)
    await connection.execute(_DONE, action_id)


class WorkService:
    """A `JobService` whose jobs are that work: everything around it is the product's own."""

    def __init__(self, settings: Settings) -> None:
        assert settings.database.url is not None  # the benchmark sets it
        self.settings = settings
        self.clock = SystemClock()
        self._database = Database(settings.database.url.reveal(), pool_max=POOL)
        self.jobs = JobQueue(self._database)
        self._together = os.environ["BENCH_COMMIT"] == "together"

    async def open(self) -> None:
        """Connect."""
        await self._database.open()

    async def close(self) -> None:
        """Disconnect."""
        await self._database.close()

    async def run_jobs(self, refs: Sequence[JobRef]) -> None:
        """One transaction for the message, as the product's flows do, or one for each job."""
        if self._together:
            await self._run_together(refs)
        else:
            await asyncio.gather(*(self._run_one(ref) for ref in refs))

    async def sweep(self, now: datetime) -> None:
        """Nothing is ever stuck here."""

    async def follow(self, now: datetime) -> bool:
        """Nobody follows these jobs."""
        return False

    def listening(self, alarm: Alarm) -> AbstractAsyncContextManager[None]:
        """As nothing happens, there is nothing to hear."""
        return nullcontext()

    async def _run_together(self, refs: Sequence[JobRef]) -> None:
        changes = Changes()
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_LOCK_MANY, [ref.subject_id for ref in refs])
            open_ids = [row["id"] for row in rows]
            await connection.execute(_INSERT_MANY, open_ids)
            await connection.execute(_DONE_MANY, open_ids)
            for ref in refs:
                changes.finish(ref)
            await changes.write(connection)

    async def _run_one(self, ref: JobRef) -> None:
        changes = Changes()
        changes.finish(ref)
        async with self._database.transaction() as connection:
            await work_on(connection, ref.subject_id)
            await changes.write(connection)


def procrastinate_app(url: str, pool: Any = None) -> Any:
    """Return procrastinate's app with its one task; `pool` is the work's."""
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=POOL))

    @app.task(name=KIND)
    async def run(action_id: str) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await work_on(connection, UUID(action_id))

    return app


async def procrastinate_worker(url: str) -> None:
    """Work until told to stop, with the jobs deleted when done, which is its faster setting."""
    async with asyncpg.create_pool(url, min_size=1, max_size=POOL) as pool:
        app = procrastinate_app(url, pool)
        async with app.open_async():
            await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="successful")


async def pgqueuer_worker(url: str) -> None:
    """Work until told to stop; the queue has a connection of its own, as its documentation shows."""
    from pgqueuer import PgQueuer

    connection = await asyncpg.connect(url)
    async with asyncpg.create_pool(url, min_size=1, max_size=POOL) as pool:
        queue = PgQueuer.from_asyncpg_connection(connection)

        @queue.entrypoint(KIND)
        async def run(job: Any) -> None:
            async with pool.acquire() as own, own.transaction():
                await work_on(own, UUID(bytes=job.payload))

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queue.shutdown.set)
        await queue.run(batch_size=PGQUEUER_BATCH)
    await connection.close()


def main(role: str) -> int:
    """Be the process that was asked for."""
    settings = load_settings()
    if role == "scheduler":
        return run_scheduler(WorkService, settings)
    if role == "worker":
        return run_worker(WorkService, settings)
    assert settings.database.url is not None
    logging.basicConfig(level=logging.ERROR)
    use_uvloop()
    peer = procrastinate_worker if role == "procrastinate" else pgqueuer_worker
    asyncio.run(peer(settings.database.url.reveal()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
