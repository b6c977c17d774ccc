"""Small reads that flows make outside a case file: policies by digest, inbound events, correlation of answers."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.happened import HumanTask
from recoup_core.domain.inbound import InboundState
from recoup_core.ports import GatewayEvent

MAX_TOLD: Final = 200
"""Events about one refund or dispute that are read; gateways tell a handful."""


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
    merchant_id: str | None
    """Whose account the gateway was at that moment; None only for what was stored before that was written down."""
    gateway: str
    external_id: str
    kind: str
    body: msgspec.Raw
    """A `GatewayEvent` as JSON."""
    state: InboundState = InboundState.RECEIVED
    via: Literal["webhook", "catch_up"] = "webhook"
    """Whether the gateway told it, or was asked for it."""
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
        "INSERT INTO inbound_event (id, merchant_id, gateway, external_id, kind, body, state, via, received_at)"
        " SELECT id, merchant_id, gateway, external_id, kind, body, state, via, received_at"
        " FROM jsonb_populate_recordset(null::inbound_event, $1::jsonb)"
        " ON CONFLICT (gateway, external_id) DO NOTHING RETURNING id",
        msgspec.json.encode(list(events)).decode(),
    )
    return [row["id"] for row in rows]


async def open_inbound(connection: asyncpg.Connection, ids: Collection[UUID]) -> list[InboundEvent]:
    """Return the events among `ids` that were not applied yet, locked, oldest first."""
    rows = await connection.fetch(
        "SELECT id, merchant_id, gateway, external_id, kind, body, state, via, received_at FROM inbound_event"
        " WHERE id = ANY($1::uuid[]) AND state = 'received' ORDER BY id FOR UPDATE",
        list(ids),
    )
    return [_inbound(row) for row in rows]


def _inbound(row: asyncpg.Record) -> InboundEvent:
    return InboundEvent(**{**dict(row), "body": msgspec.Raw(row["body"].encode()), "state": InboundState(row["state"])})


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


async def told_failures(connection: asyncpg.Connection, gateway: str, reference: str) -> list[GatewayEvent]:
    """Return the failures that a gateway told of one debt, the newest first, whatever became of the events."""
    rows = await connection.fetch(
        "SELECT body FROM inbound_event WHERE gateway = $1 AND body #>> '{failure,payment_reference}' = $2"
        " ORDER BY id DESC LIMIT $3",
        gateway,
        reference,
        MAX_TOLD,
    )
    return [msgspec.json.decode(row["body"], type=GatewayEvent) for row in rows]


async def tasks_asking(connection: asyncpg.Connection, merchant_id: str, kind: str, reason: str) -> list[HumanTask]:
    """Return the tasks that wait for a person with just this question, about no payment that is known."""
    rows = await connection.fetch(
        "SELECT row_to_json(t)::text FROM human_task t WHERE merchant_id = $1 AND kind = $2 AND reason = $3"
        " AND payment_id IS NULL AND resolved_at IS NULL ORDER BY id",
        merchant_id,
        kind,
        reason,
    )
    return [msgspec.json.decode(row[0], type=HumanTask) for row in rows]


class OwnPart(msgspec.Struct, frozen=True):
    """A part of one of our refunds."""

    refund_id: UUID
    part_id: UUID


class KnownCapture(msgspec.Struct, frozen=True):
    """What a gateway's charge is to us."""

    payment_id: UUID
    capture_id: UUID
    state: CaptureState = CaptureState.CAPTURED


async def part_of_refund(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, part_id: UUID | None, refund_ref: str
) -> OwnPart | None:
    """Return the part that a gateway's refund is: the one it names, unless that went back as another refund already."""
    row = await connection.fetchrow(
        """SELECT refund_id, id FROM refund_part
           WHERE merchant_id = $1 AND gateway = $2 AND (gateway_ref = $4
             OR (id = $3 AND (gateway_ref IS NULL OR state NOT IN ('succeeded', 'taken_back'))))
           ORDER BY gateway_ref = $4 DESC NULLS LAST LIMIT 1""",
        merchant_id,
        gateway,
        part_id,
        refund_ref,
    )
    return None if row is None else OwnPart(row["refund_id"], row["id"])


async def capture_of_charge(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, charge_refs: Sequence[str]
) -> KnownCapture | None:
    """Return the capture that a gateway calls so, within one merchant; by its attempt where only that was told.

    A charge may have several names at its gateway; any of them finds it. One name may stand for several captures: what
    came back was collected again, or less was captured than authorised. The one that holds money is meant, else the
    last.
    """
    row = await connection.fetchrow(
        """SELECT payment_id, id, state FROM (
               SELECT payment_id, id, state, created_at FROM capture
               WHERE merchant_id = $1 AND gateway = $2 AND gateway_ref = ANY($3::text[])
               UNION ALL
               SELECT c.payment_id, c.id, c.state, c.created_at FROM attempt a JOIN capture c ON c.attempt_id = a.id
               WHERE a.merchant_id = $1 AND a.gateway = $2 AND a.gateway_ref = ANY($3::text[])) c
           ORDER BY state = 'captured' DESC, state = 'authorized' DESC, created_at DESC, id LIMIT 1""",
        merchant_id,
        gateway,
        list(charge_refs),
    )
    return None if row is None else KnownCapture(row["payment_id"], row["id"], CaptureState(row["state"]))


async def charge_is_live(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, charge_refs: Sequence[str]
) -> bool:
    """Return whether an attempt on a gateway's charge has not ended yet."""
    found: bool = await connection.fetchval(
        """SELECT EXISTS (SELECT FROM attempt
               WHERE merchant_id = $1 AND gateway = $2 AND gateway_ref = ANY($3::text[])
               AND state IN ('submitted', 'pending', 'unknown'))""",
        merchant_id,
        gateway,
        list(charge_refs),
    )
    return found


async def told_of_refund(connection: asyncpg.Connection, gateway: str, refund_ref: str) -> list[GatewayEvent]:
    """Return the events that a gateway sent about one of its refunds, the newest first, whatever became of them."""
    rows = await connection.fetch(
        "SELECT body FROM inbound_event WHERE gateway = $1 AND body #>> '{refund,refund_ref}' = $2"
        " ORDER BY id DESC LIMIT $3",
        gateway,
        refund_ref,
        MAX_TOLD,
    )
    return [msgspec.json.decode(row["body"], type=GatewayEvent) for row in rows]


async def told_of_dispute(connection: asyncpg.Connection, gateway: str, dispute_ref: str) -> list[GatewayEvent]:
    """Return the events that a gateway sent about one of its disputes, the newest first, whatever became of them."""
    rows = await connection.fetch(
        "SELECT body FROM inbound_event WHERE gateway = $1 AND body #>> '{dispute,dispute_ref}' = $2"
        " ORDER BY id DESC LIMIT $3",
        gateway,
        dispute_ref,
        MAX_TOLD,
    )
    return [msgspec.json.decode(row["body"], type=GatewayEvent) for row in rows]


async def policies_of_refunds(connection: asyncpg.Connection, refund_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return per refund the digest of the policy that decided it; those made elsewhere have none and are left out."""
    rows = await connection.fetch(
        "SELECT id, policy_digest FROM refund WHERE id = ANY($1::uuid[]) AND policy_digest IS NOT NULL",
        list(refund_ids),
    )
    return {row["id"]: row["policy_digest"] for row in rows}


async def merchant_of_refund(connection: asyncpg.Connection, refund_id: UUID) -> str | None:
    """Return whose refund it is; None where there is none."""
    found: str | None = await connection.fetchval("SELECT merchant_id FROM refund WHERE id = $1", refund_id)
    return found


async def answerless_part(connection: asyncpg.Connection, capture_id: UUID, amount_minor: int) -> bool:
    """Return whether a part over this capture, of just this amount, has left and is not known to its gateway yet."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM refund_part WHERE capture_id = $1 AND amount_minor = $2 AND gateway_ref IS NULL"
        " AND state IN ('submitted', 'unknown'))",
        capture_id,
        amount_minor,
    )
    return found


async def voids_under_way(connection: asyncpg.Connection, capture_id: UUID) -> list[OwnPart]:
    """Return the parts that are voiding a charge right now."""
    rows = await connection.fetch(
        "SELECT refund_id, id FROM refund_part WHERE capture_id = $1 AND void"
        " AND state IN ('submitted', 'pending', 'unknown')",
        capture_id,
    )
    return [OwnPart(row["refund_id"], row["id"]) for row in rows]
