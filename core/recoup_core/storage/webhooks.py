"""Webhook endpoints: read, locked and written; and the one job that each of them has while anything waits for it."""

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.webhook import EndpointState, WebhookEndpoint
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database

_ENDPOINT: Final = "SELECT to_jsonb(e)::text FROM webhook_endpoint e"
_COLUMNS: Final = WebhookEndpoint.__struct_fields__
_NAMES: Final = ", ".join(_COLUMNS)
_SETS: Final = ", ".join(f"{name} = r.{name}" for name in _COLUMNS if name not in ("id", "merchant_id", "created_at"))
_ROW: Final = "jsonb_populate_record(null::webhook_endpoint, $1::jsonb)"

# A job that somebody works on is left alone: two at once would break the order, and whoever holds it looks once more
# before he lets go. Its row is locked all the same (as ON CONFLICT does), so that he sees what was added.
_WAKE: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, e.id, greatest($3, e.paused_until), greatest($3, e.paused_until) FROM webhook_endpoint e
    WHERE e.id = ANY($2::uuid[]) ORDER BY e.id
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = excluded.due_at, visible_at = excluded.visible_at
    WHERE job.visible_at = job.due_at AND job.due_at > excluded.due_at"""

_REST: Final = """
    UPDATE job SET due_at = $2, visible_at = $2, claim = nextval('job_claim'), claims = 0
    WHERE id = $1 AND claim = $3"""

_JOBLESS: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, e.id, greatest($3, e.paused_until), greatest($3, e.paused_until) FROM webhook_endpoint e
    WHERE NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = e.id)
      AND EXISTS (SELECT FROM webhook_delivery d
                  WHERE d.endpoint_id = e.id AND d.state = 'waiting' AND d.due_at < $2)
    ORDER BY e.id LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""


async def read_endpoint(connection: asyncpg.Connection, endpoint_id: UUID) -> WebhookEndpoint | None:
    """Return an endpoint, whosever it is and in whatever state."""
    return _made(await connection.fetchval(f"{_ENDPOINT} WHERE e.id = $1", endpoint_id))


async def find_endpoint(database: Database, merchant_id: str, endpoint_id: UUID) -> WebhookEndpoint | None:
    """Return a merchant's endpoint, unless it was deleted."""
    async with database.connection() as connection:
        sql = f"{_ENDPOINT} WHERE e.merchant_id = $1 AND e.id = $2 AND e.state <> 'deleted'"
        return _made(await connection.fetchval(sql, merchant_id, endpoint_id))


async def lock_endpoint(
    connection: asyncpg.Connection, endpoint_id: UUID, merchant_id: str | None = None
) -> WebhookEndpoint | None:
    """Return an endpoint under its lock, before its job and its deliveries are locked; None for a deleted one.

    New deliveries can be added meanwhile: the lock is none against references to the row.
    """
    sql = f"{_ENDPOINT} WHERE e.id = $1 AND e.state <> 'deleted' AND ($2::text IS NULL OR e.merchant_id = $2)"
    return _made(await connection.fetchval(f"{sql} FOR NO KEY UPDATE", endpoint_id, merchant_id))


async def list_endpoints(database: Database, merchant_id: str, limit: int) -> list[WebhookEndpoint]:
    """Return the newest endpoints of a merchant, without those that were deleted."""
    sql = f"{_ENDPOINT} WHERE e.merchant_id = $1 AND e.state <> 'deleted' ORDER BY e.id DESC LIMIT $2"
    async with database.connection() as connection:
        rows = await connection.fetch(sql, merchant_id, limit)
    return [msgspec.json.decode(row[0], type=WebhookEndpoint) for row in rows]


async def enabled_endpoints(connection: asyncpg.Connection, merchants: Collection[str]) -> list[WebhookEndpoint]:
    """Return where events of these merchants are sent."""
    rows = await connection.fetch(
        f"{_ENDPOINT} WHERE e.merchant_id = ANY($1::text[]) AND e.state = 'enabled' ORDER BY e.id", list(merchants)
    )
    return [msgspec.json.decode(row[0], type=WebhookEndpoint) for row in rows]


async def count_endpoints(connection: asyncpg.Connection, merchant_id: str) -> int:
    """Return how many endpoints a merchant has, and keep that so until the transaction ends."""
    await connection.execute("SELECT FROM merchant WHERE id = $1 FOR NO KEY UPDATE", merchant_id)
    count: int = await connection.fetchval(
        "SELECT count(*) FROM webhook_endpoint WHERE merchant_id = $1 AND state <> $2",
        merchant_id,
        str(EndpointState.DELETED),
    )
    return count


async def add_endpoint(connection: asyncpg.Connection, endpoint: WebhookEndpoint) -> None:
    """Write down a new endpoint."""
    sql = f"INSERT INTO webhook_endpoint ({_NAMES}) SELECT {_NAMES} FROM {_ROW}"
    await connection.execute(sql, msgspec.json.encode(endpoint).decode())


async def write_endpoint(connection: asyncpg.Connection, endpoint: WebhookEndpoint) -> None:
    """Rewrite an endpoint; the caller holds its lock."""
    sql = f"UPDATE webhook_endpoint t SET {_SETS} FROM {_ROW} r WHERE t.id = r.id"
    await connection.execute(sql, msgspec.json.encode(endpoint).decode())


async def wake_endpoints(connection: asyncpg.Connection, kind: str, endpoints: Collection[UUID], now: datetime) -> None:
    """Let the jobs of endpoints be due as soon as they may send; one that is at work looks again by itself."""
    await connection.execute(_WAKE, kind, list(endpoints), now)


async def lock_job(connection: asyncpg.Connection, ref: JobRef) -> bool:
    """Lock a job and return whether it is still held by this lease."""
    sql = "SELECT FROM job WHERE id = $1 AND claim = $2 FOR UPDATE"
    return await connection.fetchrow(sql, ref.id, ref.claim) is not None


async def rest_job(connection: asyncpg.Connection, ref: JobRef, due_at: datetime | None) -> None:
    """Give a held job back until a moment, or end it; the caller has locked it before he looked what waits."""
    if due_at is None:
        await connection.execute("DELETE FROM job WHERE id = $1 AND claim = $2", ref.id, ref.claim)
    else:
        await connection.execute(_REST, ref.id, due_at, ref.claim)


async def jobless_endpoints(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give endpoints with overdue deliveries whose job was lost a new one; return how many."""
    return len(await connection.fetch(_JOBLESS, kind, before, now, limit))


def _made(body: str | None) -> WebhookEndpoint | None:
    return None if body is None else msgspec.json.decode(body, type=WebhookEndpoint)
