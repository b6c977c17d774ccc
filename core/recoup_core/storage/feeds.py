"""How far each gateway was asked for its events: one row a gateway, read and written under its lock."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.ids import new_id
from recoup_core.storage.engine import Database


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """How far a gateway's events are known."""

    gateway: str
    id: UUID
    """What its job is about."""
    reached_at: datetime
    """All that happened before this is stored."""
    walk_from: datetime | None = None
    """From when on the walk that is under way asks; None while none is."""
    walk_started_at: datetime | None = None
    cursor: str | None = None
    """Where the walk goes on; None at its beginning."""
    asked_at: datetime | None = None
    """When the gateway answered last."""
    failures: int = 0
    """Times in a row that it could not be asked."""
    trouble: str | None = None
    """Why, the last time; redacted."""


async def begin_feeds(connection: asyncpg.Connection, gateways: Collection[str], now: datetime) -> list[UUID]:
    """Make the rows that are not there yet: from now on, not from the beginning of time. Return their ids."""
    rows = await connection.fetch(
        "INSERT INTO gateway_feed (gateway, id, reached_at) SELECT g, i, $3 FROM unnest($1::text[], $2::uuid[])"
        " AS n (g, i) ON CONFLICT (gateway) DO NOTHING RETURNING id",
        sorted(gateways),
        [new_id() for _ in gateways],
        now,
    )
    return [row["id"] for row in rows]


async def feeds_of(database: Database, gateways: Collection[str]) -> dict[str, Feed]:
    """Return how far these gateways' events are known, by their names."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM gateway_feed WHERE gateway = ANY($1::text[])", list(gateways))
    return {row["gateway"]: Feed(**dict(row)) for row in rows}


async def jobless_feeds(
    connection: asyncpg.Connection, kind: str, gateways: Collection[str], now: datetime
) -> list[UUID]:
    """Give a job to the feeds of these gateways that have none; return which."""
    rows = await connection.fetch(
        "INSERT INTO job (kind, subject_id, due_at, visible_at) SELECT $1, f.id, $3, $3 FROM gateway_feed f"
        " WHERE f.gateway = ANY($2::text[])"
        " AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = f.id)"
        " ON CONFLICT (kind, subject_id) DO NOTHING RETURNING subject_id",
        kind,
        sorted(gateways),
        now,
    )
    return [row["subject_id"] for row in rows]


async def lock_feed(connection: asyncpg.Connection, feed_id: UUID) -> Feed | None:
    """Return a feed under its row lock."""
    row = await connection.fetchrow("SELECT * FROM gateway_feed WHERE id = $1 FOR UPDATE", feed_id)
    return None if row is None else Feed(**dict(row))


async def write_feed(connection: asyncpg.Connection, feed: Feed) -> None:
    """Write down how far it got; the caller holds its lock."""
    await connection.execute(
        "UPDATE gateway_feed SET reached_at = $2, walk_from = $3, walk_started_at = $4, cursor = $5, asked_at = $6,"
        " failures = $7, trouble = $8 WHERE id = $1",
        feed.id,
        feed.reached_at,
        feed.walk_from,
        feed.walk_started_at,
        feed.cursor,
        feed.asked_at,
        feed.failures,
        feed.trouble,
    )
