"""Small reads that flows make outside a case file: policies by digest, inbound events, correlation of answers."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's exact text, kept for good under its digest."""

    digest: str
    kind: str
    name: str
    source: str
    body: str
    first_used_at: datetime


class InboundEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's verified event as it was stored before anything was done about it."""

    id: UUID
    gateway: str
    external_id: str
    kind: str
    body: msgspec.Raw
    """A `GatewayEvent` as JSON."""
    state: str = "received"
    received_at: datetime


async def keep_policy_texts(connection: asyncpg.Connection, texts: Collection[PolicyText]) -> None:
    """Store policies' texts; the same text again changes nothing."""
    await connection.execute(
        "INSERT INTO policy_text SELECT * FROM jsonb_populate_recordset(null::policy_text, $1::jsonb)"
        " ON CONFLICT (digest) DO NOTHING",
        msgspec.json.encode(list(texts)).decode(),
    )


async def policy_texts(connection: asyncpg.Connection, digests: Collection[str]) -> list[PolicyText]:
    """Return the stored texts of these digests."""
    rows = await connection.fetch("SELECT * FROM policy_text WHERE digest = ANY($1::text[])", list(digests))
    return [PolicyText(**dict(row)) for row in rows]


async def store_inbound(connection: asyncpg.Connection, events: Collection[InboundEvent]) -> list[UUID]:
    """Insert events that were not seen before and return their ids; a gateway's repeats fall away."""
    rows = await connection.fetch(
        "INSERT INTO inbound_event (id, gateway, external_id, kind, body, state, received_at)"
        " SELECT id, gateway, external_id, kind, body, state, received_at"
        " FROM jsonb_populate_recordset(null::inbound_event, $1::jsonb)"
        " ON CONFLICT (gateway, external_id) DO NOTHING RETURNING id",
        msgspec.json.encode(list(events)).decode(),
    )
    return [row["id"] for row in rows]


async def open_inbound(connection: asyncpg.Connection, ids: Collection[UUID]) -> list[InboundEvent]:
    """Return the events among `ids` that were not applied yet, locked, oldest first."""
    rows = await connection.fetch(
        "SELECT id, gateway, external_id, kind, body, state, received_at FROM inbound_event"
        " WHERE id = ANY($1::uuid[]) AND state = 'received' ORDER BY id FOR UPDATE",
        list(ids),
    )
    return [InboundEvent(**{**dict(row), "body": msgspec.Raw(row["body"].encode())}) for row in rows]


async def close_inbound(
    connection: asyncpg.Connection, inbound_id: UUID, state: str, note: str | None, now: datetime
) -> None:
    """Mark a received event as applied, ignored or refused."""
    await connection.execute(
        "UPDATE inbound_event SET state = $2, note = $3, applied_at = $4 WHERE id = $1 AND state = 'received'",
        inbound_id,
        state,
        note,
        now,
    )


async def payment_of_charge(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, attempt_id: UUID | None, gateway_ref: str | None
) -> UUID | None:
    """Return the payment that an attempt id or a gateway's reference belongs to, within one merchant."""
    found: UUID | None = await connection.fetchval(
        """SELECT coalesce(
            (SELECT payment_id FROM attempt WHERE id = $3 AND merchant_id = $1 AND gateway = $2),
            (SELECT payment_id FROM attempt WHERE gateway = $2 AND gateway_ref = $4 AND merchant_id = $1 LIMIT 1),
            (SELECT id FROM payment WHERE gateway = $2 AND gateway_ref = $4 AND merchant_id = $1 LIMIT 1))""",
        merchant_id,
        gateway,
        attempt_id,
        gateway_ref,
    )
    return found


async def payment_by_reference(connection: asyncpg.Connection, merchant_id: str, reference: str) -> UUID | None:
    """Return the payment a merchant calls by this reference."""
    found: UUID | None = await connection.fetchval(
        "SELECT id FROM payment WHERE merchant_id = $1 AND reference = $2", merchant_id, reference
    )
    return found
