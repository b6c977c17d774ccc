"""The numbers of the daily digest, of one merchant and one day. Each is defined where it is read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

# $1 merchant, $2 and $3 the day's beginning and end, $4 now
_DIGEST: Final = """
    WITH risk AS (
        -- what is owed in cases that are open or paused now
        SELECT p.currency, sum(p.amount_minor)::bigint AS minor
        FROM recovery_case c JOIN payment p ON p.id = c.payment_id
        WHERE c.merchant_id = $1 AND c.state IN ('open', 'paused') GROUP BY p.currency),
    won AS (
        -- what is owed in cases that were closed as recovered on the day
        SELECT p.currency, sum(p.amount_minor)::bigint AS minor, count(*) AS cases
        FROM recovery_case c JOIN payment p ON p.id = c.payment_id
        WHERE c.merchant_id = $1 AND c.state = 'recovered' AND c.closed_at >= $2 AND c.closed_at < $3
        GROUP BY p.currency),
    happened AS (
        SELECT kind, count(*) AS count FROM event
        WHERE merchant_id = $1 AND at >= $2 AND at < $3 AND kind = ANY($5)
          AND id >= coalesce((SELECT id FROM event WHERE merchant_id = $1 AND at < $2 - interval '1 day'
                              ORDER BY id DESC LIMIT 1), 0) GROUP BY kind)
    SELECT jsonb_build_object(
        'at_risk', (SELECT coalesce(jsonb_object_agg(currency, minor), '{}') FROM risk),
        'recovered', (SELECT coalesce(jsonb_object_agg(currency, minor), '{}') FROM won),
        'recovered_cases', (SELECT coalesce(sum(cases), 0)::bigint FROM won),
        'open_cases', (SELECT count(*) FROM recovery_case WHERE merchant_id = $1 AND state IN ('open', 'paused')),
        'happened', (SELECT coalesce(jsonb_object_agg(kind, count), '{}') FROM happened),
        'approvals_waiting', (SELECT count(*) FROM refund WHERE merchant_id = $1 AND state = 'in_review'),
        'tasks_open', (SELECT count(*) FROM human_task WHERE merchant_id = $1 AND resolved_at IS NULL),
        'tasks_overdue', (SELECT count(*) FROM human_task
                          WHERE merchant_id = $1 AND resolved_at IS NULL AND due_at < $4),
        'anomalies', (SELECT count(*) FROM anomaly WHERE merchant_id = $1 AND over_at IS NULL))::text"""

COUNTED: Final = ("attempt.submitted", "attempt.succeeded", "refund.requested", "refund.succeeded", "refund.failed")
"""Events of the day that are counted."""


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """One merchant's day, and how it stands at the moment."""

    at_risk: Mapping[str, int]
    """Owed in cases that are open or paused now, in minor units by currency."""
    recovered: Mapping[str, int]
    """Owed in cases that were closed as recovered on the day."""
    recovered_cases: int
    open_cases: int
    happened: Mapping[str, int]
    approvals_waiting: int
    tasks_open: int
    tasks_overdue: int
    anomalies: int


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of one kind that are past their due time."""

    kind: str
    count: int
    oldest: datetime


async def read_digest(
    connection: asyncpg.Connection, merchant_id: str, begins: datetime, ends: datetime, now: datetime
) -> Digest:
    """Return the numbers of one day of a merchant."""
    body = await connection.fetchval(_DIGEST, merchant_id, begins, ends, now, list(COUNTED))
    return msgspec.json.decode(body, type=Digest)


async def overdue_tasks(connection: asyncpg.Connection, merchant_id: str, now: datetime) -> list[Overdue]:
    """Return a merchant's open tasks that are past their due time, by kind, those with the most first."""
    rows = await connection.fetch(
        "SELECT kind, count(*) AS count, min(due_at) AS oldest FROM human_task"
        " WHERE merchant_id = $1 AND resolved_at IS NULL AND due_at < $2 GROUP BY kind ORDER BY count(*) DESC, kind",
        merchant_id,
        now,
    )
    return [Overdue(**row) for row in rows]
