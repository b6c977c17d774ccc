"""The job table: outbox and timer in one. The broker only carries ids; what is due is decided here."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database

STUCK_CLAIMS: Final = 20
"""A job claimed this often without ever finishing waits for a person."""

# A claimed job becomes visible again when its lease ends: whoever died holding it loses it, nothing else is needed.
_CLAIM: Final = """
    WITH due AS MATERIALIZED (
        SELECT id FROM job WHERE visible_at <= $1 ORDER BY visible_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    UPDATE job j SET visible_at = $1 + $3::interval, claim = nextval('job_claim'), claims = claims + 1
    FROM due WHERE j.id = due.id
    RETURNING j.id, j.kind, j.subject_id, j.claim, j.correlation_id, j.due_at"""

_RELEASE: Final = """
    UPDATE job j SET visible_at = j.due_at, claims = j.claims - 1
    FROM unnest($1::bigint[], $2::bigint[]) AS r (id, claim) WHERE j.id = r.id AND j.claim = r.claim"""

_RENEW: Final = """
    UPDATE job j SET visible_at = $3 FROM unnest($1::bigint[], $2::bigint[]) AS r (id, claim)
    WHERE j.id = r.id AND j.claim = r.claim RETURNING j.id"""

_STUCK: Final = """
    UPDATE job SET visible_at = $1 + interval '1 day', claims = 0 WHERE claims >= $2 AND visible_at <= $1
    RETURNING id, kind, subject_id, claim, correlation_id"""


# A job whose `visible_at` is no longer its `due_at` is at work, or will be when a dead holder's lease ends.
_HURRY: Final = """
    UPDATE job SET due_at = $3, visible_at = $3, hurried_at = $3
    WHERE kind = $1 AND subject_id = ANY($2::uuid[]) AND visible_at = due_at AND due_at > $3
      AND (hurried_at IS NULL OR hurried_at <= $3 - $4::interval) RETURNING id"""


async def hurry_jobs(
    connection: asyncpg.Connection, kind: str, subjects: Collection[UUID], now: datetime, every: timedelta
) -> int:
    """Let jobs that wait for later be due now, each at most once in `every`; return how many it was done to."""
    return len(await connection.fetch(_HURRY, kind, list(subjects), now, every))


class JobQueue:
    """Claims, gives back and looks ahead. Any number of schedulers may use it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, now: datetime, limit: int, lease: timedelta) -> list[JobRef]:
        """Lease up to `limit` due jobs, the longest due first; each comes back when its lease ends unfinished."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_CLAIM, now, limit, lease)
        rows.sort(key=lambda row: row["due_at"])
        return [JobRef(r["id"], r["kind"], r["subject_id"], r["claim"], r["correlation_id"], r["due_at"]) for r in rows]

    async def release(self, refs: Sequence[JobRef]) -> None:
        """Give back jobs that were never handed over; a job whose lease has passed to another stays theirs."""
        async with self._database.connection() as connection:
            await connection.execute(_RELEASE, [ref.id for ref in refs], [ref.claim for ref in refs])

    async def renew(self, refs: Sequence[JobRef], now: datetime, lease: timedelta) -> list[JobRef]:
        """Begin the lease anew as work begins, and return the jobs still held: others have taken over the rest.

        A message may have waited in the queue for longer than its lease; working on it then would look to the new
        holder like a sender that died.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_RENEW, [r.id for r in refs], [r.claim for r in refs], now + lease)
        held = {row["id"] for row in rows}
        return [ref for ref in refs if ref.id in held]

    async def next_due_at(self, now: datetime) -> datetime | None:
        """Return when the next job becomes visible, `now` at the earliest; None when there is none."""
        async with self._database.connection() as connection:
            earliest = await connection.fetchval("SELECT min(visible_at) FROM job")
        return None if earliest is None else max(earliest, now)

    async def park_stuck(self, now: datetime) -> list[JobRef]:
        """Put aside for a day, and return, jobs that were claimed `STUCK_CLAIMS` times without an end."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_STUCK, now, STUCK_CLAIMS)
        return [JobRef(r["id"], r["kind"], r["subject_id"], r["claim"], r["correlation_id"]) for r in rows]
