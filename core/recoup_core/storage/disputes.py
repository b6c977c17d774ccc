"""Disputes as flows need them: by the gateway's name, with what they bear upon."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.dispute import Dispute
from recoup_core.domain.happened import HumanTask

_UNSENT_REFUNDS: Final = """
    SELECT r.id FROM refund r
    WHERE r.channel <> 'reported' AND r.state IN ('incomplete', 'in_review', 'sent_back', 'approved')
      AND r.id IN (SELECT refund_id FROM refund_part WHERE payment_id = $1
                   UNION SELECT id FROM refund WHERE payment_id = $1)
      AND NOT EXISTS (SELECT FROM refund_part p WHERE p.refund_id = r.id
                      AND p.state NOT IN ('reserved', 'scheduled') AND (p.sends > 0 OR p.successes > 0))"""

_AGED: Final = """
    SELECT row_to_json(d)::text FROM dispute d
    WHERE d.state IN ('inquiry', 'open') AND d.opened_at < $1
      AND NOT EXISTS (SELECT FROM human_task t WHERE t.payment_id = d.payment_id AND t.kind = 'dispute_evidence'
                      AND coalesce(t.resolved_at, $2) >= $1)
    ORDER BY d.opened_at LIMIT $3"""


async def find_dispute(connection: asyncpg.Connection, gateway: str, dispute_ref: str) -> Dispute | None:
    """Return the dispute that a gateway calls so; the caller holds its payment's lock where it decides on it."""
    row = await connection.fetchval(
        "SELECT row_to_json(d)::text FROM dispute d WHERE gateway = $1 AND gateway_ref = $2", gateway, dispute_ref
    )
    return None if row is None else msgspec.json.decode(row, type=Dispute)


async def unsent_refunds(connection: asyncpg.Connection, payment_id: UUID) -> frozenset[UUID]:
    """Return the refunds that go over a payment, may still be paid, and of which nothing has ever left."""
    return frozenset(row["id"] for row in await connection.fetch(_UNSENT_REFUNDS, payment_id))


async def aged_disputes(connection: asyncpg.Connection, before: datetime, now: datetime, limit: int) -> list[Dispute]:
    """Return disputes without an end since before then that nobody has been asked about meanwhile."""
    rows = await connection.fetch(_AGED, before, now, limit)
    return [msgspec.json.decode(row[0], type=Dispute) for row in rows]


async def decided_under(connection: asyncpg.Connection, refund_ids: Collection[UUID]) -> Mapping[UUID, str]:
    """Return per refund the dispute that its last decision knew of (the fact `dispute`); one without is left out."""
    rows = await connection.fetch(
        "SELECT r.id, d.facts ->> 'dispute' AS dispute FROM refund r JOIN decision d ON d.id = r.decision_id"
        " WHERE r.id = ANY($1::uuid[]) AND d.facts ->> 'dispute' IS NOT NULL",
        list(refund_ids),
    )
    return {row["id"]: row["dispute"] for row in rows}


async def refunds_answering(connection: asyncpg.Connection, dispute_id: UUID) -> list[UUID]:
    """Return the refunds that were asked for as the answer to an inquiry."""
    rows = await connection.fetch("SELECT id FROM refund WHERE answers_dispute_id = $1 ORDER BY id", dispute_id)
    return [row["id"] for row in rows]


async def payment_tasks(connection: asyncpg.Connection, payment_id: UUID, kind: str) -> list[HumanTask]:
    """Return the tasks of one kind that wait about a payment."""
    rows = await connection.fetch(
        "SELECT row_to_json(t)::text FROM human_task t WHERE payment_id = $1 AND kind = $2 AND resolved_at IS NULL"
        " ORDER BY id",
        payment_id,
        kind,
    )
    return [msgspec.json.decode(row[0], type=HumanTask) for row in rows]


async def fees_of_dispute(connection: asyncpg.Connection, dispute_id: UUID, currency: str) -> int:
    """Return what of a dispute's fees is booked in a currency: as told of it, and by lines of settlement reports."""
    booked: int = await connection.fetchval(
        """SELECT (SELECT coalesce(sum(p.amount_minor), 0)
                   FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
                   WHERE e.dispute_id = $1 AND e.kind = 'fee' AND p.account = 'fees' AND p.currency = $2)
                + (SELECT coalesce(sum(greatest(0, fee_minor - fee_booked_minor
                                                   - CASE WHEN kind = 'fee' THEN settled_minor ELSE 0 END)), 0)
                   FROM settlement_line WHERE dispute_id = $1 AND settled_currency = $2)""",
        dispute_id,
        currency,
    )
    return int(booked)
