"""What settlement lines are about: charges, refunds and disputes that are known here, and what of them is settled."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.capture import Capture
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.refund import RefundPart
from recoup_core.domain.settlement import SettlementLine


class FoundAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that a line names."""

    id: UUID
    payment_id: UUID
    state: AttemptState


class FoundPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that a line names, by its reference or its gateway's."""

    id: UUID
    gateway: str
    has_case: bool


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A line and all that is known of what it is about; what is not known is None."""

    line: SettlementLine
    attempt: FoundAttempt | None = None
    capture: Capture | None = None
    part: RefundPart | None = None
    dispute: Dispute | None = None
    payment: FoundPayment | None = None
    settled: int = 0
    """Matched lines of the same kind about the same thing."""
    taken: int = 0
    """How often the ledger saw a dispute's money go."""
    returned: int = 0
    """How often the ledger saw the part's, or the dispute's, money come back."""
    fee_told_minor: int = 0
    """What was told and booked of fees of the part or the dispute, and settled by no line so far."""

    @property
    def payment_id(self) -> UUID | None:
        """The payment that its charge belongs to."""
        for known in (self.capture, self.part, self.dispute, self.attempt):
            if known is not None:
                return known.payment_id
        return self.payment.id if self.payment else None


_WAITING: Final = "l.report_id = $1 AND l.state = 'waiting' AND l.number > $2 ORDER BY l.number LIMIT $3"
_AGAIN: Final = "l.next_try_at <= $1 ORDER BY l.next_try_at LIMIT $2"

# A subquery for each of the three, so that each finds its rows by an index: a CASE inside a WHERE would read the table.
_SETTLED: Final = """CASE
            WHEN c.id IS NOT NULL AND l.kind IN ('charge', 'charge_returned') THEN (
                SELECT count(*) FROM settlement_line o WHERE o.capture_id = c.id AND o.kind = l.kind AND o.id <> l.id)
            WHEN f.id IS NOT NULL THEN (
                SELECT count(*) FROM settlement_line o WHERE o.part_id = f.id AND o.kind = l.kind AND o.id <> l.id)
            WHEN d.id IS NOT NULL THEN (
                SELECT count(*) FROM settlement_line o WHERE o.dispute_id = d.id AND o.kind = l.kind AND o.id <> l.id)
            ELSE 0 END"""


def _told(column: str, subject: str) -> str:
    """Return SQL for what was told and booked of a subject's fees, less what lines have settled of it."""
    return f"""(SELECT coalesce(sum(p.amount_minor), 0) FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
                WHERE e.{column} = {subject}.id AND e.kind = 'fee' AND e.settlement_line_id IS NULL
                  AND p.account = 'fees' AND p.currency = l.settled_currency)
            - (SELECT coalesce(sum(o.fee_booked_minor), 0) FROM settlement_line o WHERE o.{column} = {subject}.id)"""


_TOLD: Final = f"""CASE
            WHEN f.id IS NOT NULL THEN {_told("part_id", "f")}
            WHEN d.id IS NOT NULL THEN {_told("dispute_id", "d")} ELSE 0 END"""

# One object of a gateway may have been charged more than once (it came back, and was tried again): of several charges
# the first that no line has settled is meant.
# A line that names no charge is about what the payment it names was collected by, or may have been; where nothing is
# known, the charge is booked under the line's own name, and found again by it.
# Each name leads to its row by an index of its own; a gateway's and our own ids are of one merchant's account.
_FOUND: Final = f"""
    WITH page AS MATERIALIZED (
        SELECT *, CASE charge_refs WHEN '{{{{}}}}' THEN ARRAY[ref] ELSE charge_refs END AS names
        FROM settlement_line l WHERE {{which}})
    SELECT jsonb_build_object('line', to_jsonb(l), 'attempt', to_jsonb(a), 'capture', to_jsonb(c), 'part', to_jsonb(f),
        'dispute', to_jsonb(d), 'payment', to_jsonb(y), 'settled', {_SETTLED},
        'taken', coalesce(t.taken, 0), 'returned', coalesce(t.returned, 0) + coalesce(b.returned, 0),
        'fee_told_minor', {_TOLD})::text
    FROM page l
    LEFT JOIN LATERAL (
        SELECT f.* FROM refund_part f WHERE f.merchant_id = l.merchant_id AND f.gateway = l.gateway
            AND l.kind IN ('refund', 'refund_returned', 'fee')
            AND (f.id = l.part_ref OR f.gateway_ref = l.operation_ref)
        ORDER BY f.gateway_ref = l.operation_ref DESC NULLS LAST LIMIT 1) f ON true
    LEFT JOIN LATERAL (
        SELECT d.* FROM dispute d WHERE d.merchant_id = l.merchant_id AND d.gateway = l.gateway
            AND l.kind IN ('dispute', 'dispute_returned', 'fee') AND d.gateway_ref = l.operation_ref) d ON true
    LEFT JOIN LATERAL (
        SELECT c.* FROM (
            SELECT c.*, 2 AS way FROM capture c WHERE c.gateway = l.gateway AND c.gateway_ref = ANY(l.names)
            UNION ALL SELECT c.*, 0 FROM attempt a JOIN capture c ON c.attempt_id = a.id
                WHERE a.gateway = l.gateway AND a.try_ref = ANY(l.names)
            UNION ALL SELECT c.*, 1 FROM capture c WHERE c.attempt_id = l.attempt_ref
            UNION ALL SELECT c.*, 3 FROM attempt a JOIN capture c ON c.attempt_id = a.id
                WHERE a.gateway = l.gateway AND a.gateway_ref = ANY(l.names)
            UNION ALL SELECT c.*, CASE WHEN c.amount_minor = l.amount_minor THEN 4 ELSE 5 END
                FROM payment y JOIN capture c ON c.payment_id = y.id
                WHERE y.merchant_id = l.merchant_id AND y.reference = l.payment_reference AND l.charge_refs = '{{{{}}}}'
                    AND (c.amount_minor = l.amount_minor OR y.state = 'paid')) c
        WHERE c.merchant_id = l.merchant_id AND c.gateway = l.gateway
        ORDER BY EXISTS (SELECT FROM settlement_line o WHERE o.capture_id = c.id AND o.kind = l.kind), c.way, c.id
        LIMIT 1) c ON true
    LEFT JOIN LATERAL (
        SELECT a.id, a.payment_id, a.state FROM (
            SELECT a.*, 0 AS way FROM attempt a WHERE a.gateway = l.gateway AND a.try_ref = ANY(l.names)
            UNION ALL SELECT a.*, 1 FROM attempt a WHERE a.id = l.attempt_ref
            UNION ALL SELECT a.*, 2 FROM attempt a WHERE a.gateway = l.gateway AND a.gateway_ref = ANY(l.names)
            UNION ALL SELECT a.*, 3 FROM payment y JOIN attempt a ON a.payment_id = y.id
                WHERE y.merchant_id = l.merchant_id AND y.reference = l.payment_reference AND l.charge_refs = '{{{{}}}}'
                    AND a.amount_minor = l.amount_minor AND a.state IN ('submitted', 'pending', 'unknown')) a
        WHERE a.merchant_id = l.merchant_id AND a.gateway = l.gateway AND c.id IS NULL
        ORDER BY a.way, a.id LIMIT 1) a ON true
    LEFT JOIN LATERAL (
        SELECT y.id, y.gateway, EXISTS (SELECT FROM recovery_case k WHERE k.payment_id = y.id) AS has_case FROM (
            SELECT y.*, 0 AS way FROM payment y WHERE y.gateway = l.gateway AND y.gateway_ref = ANY(l.names)
            UNION ALL SELECT y.*, 1 FROM payment y
                WHERE y.merchant_id = l.merchant_id AND y.reference = l.payment_reference) y
        WHERE y.merchant_id = l.merchant_id AND c.id IS NULL AND a.id IS NULL ORDER BY y.way, y.id LIMIT 1) y ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS taken, count(r.id) AS returned
        FROM ledger_entry e LEFT JOIN ledger_entry r ON r.reverses = e.id
        WHERE e.dispute_id = d.id AND e.kind = 'dispute' AND EXISTS (SELECT FROM ledger_posting p
            WHERE p.entry_id = e.id AND p.account = 'gateway_clearing:' || l.gateway)) t ON true
    LEFT JOIN LATERAL (
        SELECT count(r.id) AS returned FROM ledger_entry e JOIN ledger_entry r ON r.reverses = e.id
        WHERE e.part_id = f.id AND e.kind = 'refund') b ON true
    ORDER BY l.number, l.id"""


async def waiting_lines(connection: asyncpg.Connection, report_id: UUID, after: int, limit: int) -> list[Found]:
    """Return a report's next lines for which nothing is booked yet, with what they are about."""
    return await _found(connection, _WAITING, report_id, after, limit)


async def lines_to_try_again(connection: asyncpg.Connection, now: datetime, limit: int) -> list[Found]:
    """Return unmatched lines whose time to be looked at again has come."""
    return await _found(connection, _AGAIN, now, limit)


async def find_lines(connection: asyncpg.Connection, line_ids: Sequence[UUID]) -> list[Found]:
    """Return lines that are not matched yet, with what they are about, and let nobody else match them meanwhile."""
    locked = await connection.fetch(
        "SELECT id FROM settlement_line WHERE id = ANY($1::uuid[]) AND state <> 'matched' ORDER BY id FOR UPDATE",
        list(line_ids),
    )
    return await _found(connection, "l.id = ANY($1::uuid[])", [row["id"] for row in locked])


async def _found(connection: asyncpg.Connection, which: str, *values: object) -> list[Found]:
    # A report's lines have just come in and the planner knows of none: it would read the whole table for each of them,
    # and spend half a second on compiling what takes a tenth of that.
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL jit = off")
        rows = await connection.fetch(_FOUND.format(which=which), *values)
    return [msgspec.json.decode(row[0], type=Found) for row in rows]
