"""Requests to billing systems: by id, and as lists for people and for billing systems that poll."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from recoup_core.domain.subscription_request import SubscriptionRequest
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import read_page

_REQUEST: Final = "SELECT to_jsonb(q)::text FROM subscription_request q"
_FILTERS: Final = {
    "id": "q.id = {}",
    "state": "q.state = {}",
    "wish": "q.wish = {}",
    "case": "q.case_id = {}",
    "payment": "q.payment_id = {}",
}

_JOBLESS: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, q.id, $3, $3 FROM subscription_request q
    WHERE q.state = 'asked' AND q.asked_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = q.id)
    ORDER BY q.asked_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""


async def payments_of_requests(connection: asyncpg.Connection, request_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return request id to payment id."""
    rows = await connection.fetch(
        "SELECT id, payment_id FROM subscription_request WHERE id = ANY($1::uuid[])", list(request_ids)
    )
    return {row["id"]: row["payment_id"] for row in rows}


async def list_requests(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[SubscriptionRequest]:
    """Return the newest requests before a key; filters: id, state, wish, case, payment."""
    return await read_page(database, _REQUEST, "q", _FILTERS, merchant_id, filters, before, limit, SubscriptionRequest)


async def jobless_requests(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give a job to requests without an answer that have none; return how many."""
    return len(await connection.fetch(_JOBLESS, kind, before, now, limit))
