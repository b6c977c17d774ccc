"""Deliveries of events to webhook endpoints: added once each, found when due, written with their tries, listed."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.ids import new_id
from recoup_core.domain.webhook import WebhookDelivery, WebhookEndpoint, WebhookTry
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import StoredEvent, read_page

EVENTS_A_REPLAY: Final = 5_000
"""Events that one step of a replay looks at."""

TRIES_SHOWN: Final = 100
"""Tries of one delivery that are read, the newest; a round has 55 at most."""

CLOCK_SLACK: Final = timedelta(hours=1)
"""How far the order of events' numbers and that of their times may differ: clocks of processes, long transactions."""

_SEARCH_STEPS: Final = 64
"""Halvings until a number of 63 bits is found."""

_DELIVERY: Final = "SELECT to_jsonb(d)::text FROM webhook_delivery d"
_FILTERS: Final = {
    "endpoint": "d.endpoint_id = {}",
    "id": "d.id = {}",
    "state": "d.state = {}",
    "kind": "d.event_kind = {}",
    "event": "d.event_id = {}",
}
_TRY_NAMES: Final = ", ".join(WebhookTry.__struct_fields__)

_ADD: Final = """
    INSERT INTO webhook_delivery
        (id, merchant_id, endpoint_id, event_id, event_txid, event_kind, event_at, state, due_at, created_at)
    SELECT w.id, e.merchant_id, w.endpoint_id, e.id, e.txid, e.kind, e.at, 'waiting', $4, $4
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS w (id, endpoint_id, event_id) JOIN event e ON e.id = w.event_id
    ON CONFLICT (endpoint_id, event_id) DO NOTHING"""

_DUE: Final = """
    SELECT jsonb_build_object('delivery', to_jsonb(d), 'event', to_jsonb(e))::text
    FROM webhook_delivery d JOIN event e ON e.id = d.event_id
    WHERE d.endpoint_id = $1 AND d.state = 'waiting' AND d.due_at <= $2
    ORDER BY d.due_at, d.event_txid, d.event_id LIMIT $3"""

_HEAD: Final = """
    SELECT jsonb_build_object('delivery', to_jsonb(d), 'event', to_jsonb(e))::text
    FROM webhook_delivery d JOIN event e ON e.id = d.event_id
    WHERE d.endpoint_id = $1 AND d.state = 'waiting' ORDER BY d.event_txid, d.event_id LIMIT 1"""

_NEXT_DUE: Final = "SELECT min(due_at) FROM webhook_delivery WHERE endpoint_id = $1 AND state = 'waiting'"
_NEXT_HEAD: Final = """
    SELECT due_at FROM webhook_delivery WHERE endpoint_id = $1 AND state = 'waiting'
    ORDER BY event_txid, event_id LIMIT 1"""

_WRITE: Final = """
    UPDATE webhook_delivery t
    SET state = r.state, tries = r.tries, due_at = r.due_at, because = r.because, replayed = r.replayed,
        finished_at = r.finished_at
    FROM jsonb_populate_recordset(null::webhook_delivery, $1::jsonb) r WHERE t.id = r.id AND t.state = 'waiting'"""

_DROP: Final = """
    UPDATE webhook_delivery SET state = 'dropped', because = $3, finished_at = $2
    WHERE id IN (SELECT id FROM webhook_delivery WHERE endpoint_id = $1 AND state = 'waiting' LIMIT $4)"""

_REPLAY_ONE: Final = """
    UPDATE webhook_delivery SET state = 'waiting', tries = 0, due_at = $2, because = NULL, finished_at = NULL,
        replayed = replayed + 1 WHERE id = $1 RETURNING id"""

_SCAN: Final = "SELECT id, kind, at FROM event WHERE merchant_id = $1 AND id > $2 ORDER BY id LIMIT $3"

_REPLAY: Final = _ADD.replace(
    "DO NOTHING",
    """DO UPDATE SET state = 'waiting', tries = 0, due_at = $4, because = NULL, finished_at = NULL,
        replayed = webhook_delivery.replayed + 1
    WHERE webhook_delivery.state IN ('failed', 'dropped') OR ($5 AND webhook_delivery.state = 'delivered')""",
)


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery with the event that it carries."""

    delivery: WebhookDelivery
    event: StoredEvent


class ReplayStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of a replay came to."""

    put: int
    """Deliveries that go out (again)."""
    after: int | None
    """The event to go on after; None: that was all."""


async def add_deliveries(connection: asyncpg.Connection, wanted: Sequence[tuple[UUID, int]], now: datetime) -> None:
    """Write down which events (by number) go to which endpoints; one that is written down already stays as it is."""
    ids = [new_id() for _ in wanted]
    await connection.execute(_ADD, ids, [pair[0] for pair in wanted], [pair[1] for pair in wanted], now)


async def due_deliveries(
    connection: asyncpg.Connection, endpoint: WebhookEndpoint, now: datetime, limit: int
) -> list[Outgoing]:
    """Return what is to be sent now: the longest due first; where order counts, the first of all if it is due."""
    if endpoint.ordered:
        rows = await connection.fetch(_HEAD, endpoint.id)
    else:
        rows = await connection.fetch(_DUE, endpoint.id, now, limit)
    found = [msgspec.json.decode(row[0], type=Outgoing) for row in rows]
    return [each for each in found if each.delivery.due_at <= now]


async def next_due(connection: asyncpg.Connection, endpoint: WebhookEndpoint) -> datetime | None:
    """Return when something is to be sent next; None: nothing waits."""
    due: datetime | None = await connection.fetchval(_NEXT_HEAD if endpoint.ordered else _NEXT_DUE, endpoint.id)
    return due


async def write_tries(
    connection: asyncpg.Connection, deliveries: Sequence[WebhookDelivery], tries: Sequence[WebhookTry]
) -> None:
    """Write what became of deliveries, and the tries that say so."""
    await connection.execute(_WRITE, msgspec.json.encode(deliveries).decode())
    await connection.execute(
        f"INSERT INTO webhook_try ({_TRY_NAMES}) SELECT {_TRY_NAMES}"
        " FROM jsonb_populate_recordset(null::webhook_try, $1::jsonb)",
        msgspec.json.encode(tries).decode(),
    )


async def failed_tries(connection: asyncpg.Connection, endpoint_id: UUID, since: datetime, limit: int) -> int:
    """Return how many tries there were since a moment, counted up to a limit; for one since when all failed."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM (SELECT FROM webhook_try WHERE endpoint_id = $1 AND at >= $2 LIMIT $3) t",
        endpoint_id,
        since,
        limit,
    )
    return count


async def hurry_deliveries(connection: asyncpg.Connection, endpoint_id: UUID, now: datetime) -> None:
    """Let all that waits for an endpoint be due now."""
    await connection.execute(
        "UPDATE webhook_delivery SET due_at = $2 WHERE endpoint_id = $1 AND state = 'waiting' AND due_at > $2",
        endpoint_id,
        now,
    )


async def drop_deliveries(
    connection: asyncpg.Connection, endpoint_id: UUID, now: datetime, because: str, limit: int
) -> int:
    """Drop up to `limit` deliveries that wait for an endpoint; return how many."""
    done: str = await connection.execute(_DROP, endpoint_id, now, because, limit)
    return int(done.split()[-1])


async def lock_delivery(connection: asyncpg.Connection, endpoint_id: UUID, delivery_id: UUID) -> WebhookDelivery | None:
    """Return a delivery of an endpoint under its lock."""
    sql = f"{_DELIVERY} WHERE d.endpoint_id = $1 AND d.id = $2 FOR UPDATE"
    body = await connection.fetchval(sql, endpoint_id, delivery_id)
    return None if body is None else msgspec.json.decode(body, type=WebhookDelivery)


async def replay_one(connection: asyncpg.Connection, delivery_id: UUID, now: datetime) -> None:
    """Send a delivery anew, from now on."""
    await connection.execute(_REPLAY_ONE, delivery_id, now)


async def replay_since(
    connection: asyncpg.Connection,
    endpoint: WebhookEndpoint,
    after: int,
    since: datetime,
    until: datetime,
    now: datetime,
    *,
    delivered: bool,
) -> ReplayStep:
    """Send what did not get there of the events of a time, and what was never sent; one bounded step of it."""
    scanned = await connection.fetch(_SCAN, endpoint.merchant_id, after, EVENTS_A_REPLAY)
    events = [row["id"] for row in scanned if since <= row["at"] < until and endpoint.wants(row["kind"])]
    ids = [new_id() for _ in events]
    done: str = await connection.execute(_REPLAY, ids, [endpoint.id] * len(ids), events, now, delivered)
    more = len(scanned) == EVENTS_A_REPLAY and scanned[-1]["at"] < until + CLOCK_SLACK
    return ReplayStep(put=int(done.split()[-1]), after=scanned[-1]["id"] if more else None)


async def last_event_before(connection: asyncpg.Connection, moment: datetime) -> int:
    """Return an event's number that everything since the moment lies beyond.

    Found by halving: an index over the times of all events would cost more, at every event, than it would give.
    """
    low, high = 0, await connection.fetchval("SELECT coalesce(max(id), 0) FROM event")
    for _ in range(_SEARCH_STEPS):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        at = await connection.fetchval("SELECT at FROM event WHERE id >= $1 ORDER BY id LIMIT 1", middle)
        if at is not None and at < moment - CLOCK_SLACK:
            low = middle
        else:
            high = middle
    return int(low)


async def list_deliveries(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[WebhookDelivery]:
    """Return the newest deliveries before a key; filters: endpoint, id, state, kind, event."""
    # the planner uses a partial index only where its condition stands in the statement itself
    always = ["d.state <> 'delivered'"] if filters.get("state") not in (None, "delivered") else []
    return await read_page(
        database, _DELIVERY, "d", _FILTERS, merchant_id, filters, before, limit, WebhookDelivery, *always
    )


async def list_tries(database: Database, delivery_id: UUID) -> list[WebhookTry]:
    """Return the newest tries of a delivery."""
    sql = "SELECT to_jsonb(t)::text FROM webhook_try t WHERE t.delivery_id = $1 ORDER BY t.id DESC LIMIT $2"
    async with database.connection() as connection:
        rows = await connection.fetch(sql, delivery_id, TRIES_SHOWN)
    return [msgspec.json.decode(row[0], type=WebhookTry) for row in rows]


async def forget_deliveries(
    connection: asyncpg.Connection, delivered_before: datetime, others_before: datetime, limit: int
) -> int:
    """Delete up to `limit` deliveries that ended long ago, with their tries; return how many went."""
    done: str = await connection.execute(
        "DELETE FROM webhook_delivery WHERE id IN (SELECT id FROM webhook_delivery WHERE finished_at < $1"
        " AND (state = 'delivered' OR finished_at < $2) ORDER BY finished_at LIMIT $3)",
        delivered_before,
        others_before,
        limit,
    )
    return int(done.split()[-1])
