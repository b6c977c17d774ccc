"""What a sweep looks for: rows in a passing state that nothing drives any more."""

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

_JOBLESS_ATTEMPTS = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, a.id, $3, $3 FROM attempt a
    WHERE a.state IN ('submitted', 'pending', 'unknown') AND a.submitted_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = a.id)
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = 'collect' AND j.subject_id = a.step_id)
    ORDER BY a.submitted_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_JOBLESS_STEPS = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, s.id, greatest(s.due_at, $3), greatest(s.due_at, $3) FROM timeline_step s
    WHERE s.kind = 'retry' AND s.state IN ('planned', 'running') AND s.due_at < $2
      AND (s.state = 'planned' OR (s.state = 'running' AND EXISTS (
           SELECT FROM attempt a WHERE a.payment_id = s.payment_id AND a.step_id = s.id AND a.state = 'scheduled')))
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = s.id)
    ORDER BY s.due_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_JOBLESS_DUNNING = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, s.id, greatest(s.due_at, $3), greatest(s.due_at, $3) FROM timeline_step s
    WHERE s.kind <> 'retry' AND s.state = 'planned' AND s.due_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = s.id)
    ORDER BY s.due_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_JOBLESS_PARTS = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, p.id, greatest(p.not_before, $3), greatest(p.not_before, $3) FROM refund_part p
    WHERE p.state = 'scheduled' AND p.created_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = p.id)
    ORDER BY p.created_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_JOBLESS_IN_FLIGHT_PARTS = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, p.id, $3, $3 FROM refund_part p
    WHERE p.state IN ('submitted', 'pending', 'unknown') AND p.submitted_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind IN ($1, 'refund') AND j.subject_id = p.id)
    ORDER BY p.submitted_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_STALLED_REFUNDS = """
    SELECT r.id FROM refund r
    WHERE r.state = 'approved' AND r.approved_at < $1
      AND NOT EXISTS (SELECT FROM refund_part p WHERE p.refund_id = r.id
                      AND p.state IN ('reserved', 'scheduled', 'submitted', 'pending', 'unknown'))
    ORDER BY r.approved_at LIMIT $2"""

_FAILED_REFUNDS = """
    SELECT r.id FROM refund r
    WHERE r.state = 'failed'
      AND NOT EXISTS (SELECT FROM human_task t WHERE t.refund_id = r.id AND coalesce(t.resolved_at, $2) >= $1)
    ORDER BY r.id LIMIT $3"""

_REFUNDS_STANDING = """
    SELECT (SELECT count(*) FROM refund_part WHERE state IN ('submitted', 'pending', 'unknown')) AS in_flight,
        (SELECT min(submitted_at) FROM refund_part WHERE state = 'unknown') AS unknown_since,
        (SELECT count(*) FROM capture WHERE over_minor > 0) AS over"""

_INBOUND_WITHOUT_JOB = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, i.id, $3, $3 FROM inbound_event i
    WHERE i.state = 'received' AND i.received_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = i.id)
    ORDER BY i.received_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_PAGE_END = """
    SELECT id FROM (SELECT id FROM recovery_case WHERE state = 'open' AND id > $1 ORDER BY id LIMIT $2) page
    ORDER BY id DESC LIMIT 1"""

_PLANLESS_CASES = """
    SELECT c.payment_id FROM recovery_case c JOIN payment p ON p.id = c.payment_id
    WHERE c.state = 'open' AND c.id > $2 AND c.id <= $3 AND p.state = 'owed' AND c.opened_at < $1
      AND NOT EXISTS (SELECT FROM timeline_step s
                      WHERE s.case_id = c.id AND s.kind = 'retry' AND s.state IN ('planned', 'running'))
      AND NOT EXISTS (SELECT FROM attempt a WHERE a.payment_id = c.payment_id
                      AND a.state IN ('scheduled', 'submitted', 'pending', 'unknown'))
      AND NOT EXISTS (SELECT FROM human_task t
                      WHERE t.payment_id = c.payment_id AND t.resolved_at IS NULL
                        AND t.kind NOT IN ('dunning', 'subscription_unacknowledged', 'message_undeliverable',
                                           'vulnerable_customer'))"""

_PAUSED_CASES = """
    SELECT c.payment_id FROM recovery_case c
    WHERE c.state = 'paused' AND c.paused_at < $1
      AND NOT EXISTS (SELECT FROM human_task t
                      WHERE t.payment_id = c.payment_id AND t.resolved_at IS NULL
                        AND t.kind NOT IN ('dunning', 'subscription_unacknowledged', 'message_undeliverable',
                                           'vulnerable_customer'))
    ORDER BY c.paused_at LIMIT $2"""


async def _insert(connection: asyncpg.Connection, sql: str, *values: Any) -> int:
    return len(await connection.fetch(sql, *values))


async def jobless_attempts(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give a job to attempts in flight that have none; return how many."""
    return await _insert(connection, _JOBLESS_ATTEMPTS, kind, before, now, limit)


async def jobless_steps(connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int) -> int:
    """Give a job to overdue planned retries, and to those whose attempt is still unsent, that have none."""
    return await _insert(connection, _JOBLESS_STEPS, kind, before, now, limit)


async def jobless_dunning(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give a job to overdue planned dunning steps that have none; return how many."""
    return await _insert(connection, _JOBLESS_DUNNING, kind, before, now, limit)


async def jobless_parts(connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int) -> int:
    """Give a job to scheduled parts of refunds that have none; return how many."""
    return await _insert(connection, _JOBLESS_PARTS, kind, before, now, limit)


async def jobless_in_flight_parts(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give a job to parts of refunds in flight that have none; return how many."""
    return await _insert(connection, _JOBLESS_IN_FLIGHT_PARTS, kind, before, now, limit)


async def stalled_refunds(connection: asyncpg.Connection, before: datetime, limit: int) -> list[UUID]:
    """Return refunds approved before then of which no part is live: what became of their parts was never concluded."""
    return [row["id"] for row in await connection.fetch(_STALLED_REFUNDS, before, limit)]


async def unasked_failures(connection: asyncpg.Connection, before: datetime, now: datetime, limit: int) -> list[UUID]:
    """Return failed refunds that no person has been asked about since then: open, and nobody's."""
    return [row["id"] for row in await connection.fetch(_FAILED_REFUNDS, before, now, limit)]


class RefundsStanding(msgspec.Struct, frozen=True):
    """How all refunds stand."""

    in_flight: int
    unknown_since: datetime | None
    """Since when the part that nobody knows about for longest has been under way."""
    over: int
    """Captures that refunds and disputes exceed."""


async def refunds_standing(connection: asyncpg.Connection) -> RefundsStanding:
    """Return how all refunds stand, of every merchant."""
    row = await connection.fetchrow(_REFUNDS_STANDING)
    return RefundsStanding(row["in_flight"], row["unknown_since"], row["over"])


async def inbound_without_job(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give a job to received events that have none; return how many."""
    return await _insert(connection, _INBOUND_WITHOUT_JOB, kind, before, now, limit)


async def planless_cases(
    connection: asyncpg.Connection, before: datetime, after: UUID, limit: int
) -> tuple[list[UUID], UUID | None]:
    """Look at `limit` open cases with ids behind `after`: return the payments of those that nothing will ever move
    again, and where to go on; None at the end."""
    last: UUID | None = await connection.fetchval(_PAGE_END, after, limit)
    if last is None:
        return [], None
    rows = await connection.fetch(_PLANLESS_CASES, before, after, last)
    return [row["payment_id"] for row in rows], last


async def paused_cases(connection: asyncpg.Connection, before: datetime, limit: int) -> list[UUID]:
    """Return the payments of cases paused since before then that nobody has been asked about."""
    rows = await connection.fetch(_PAUSED_CASES, before, limit)
    return [row["payment_id"] for row in rows]


class JobSubject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a job is about: a merchant's case or refund, or an event that a gateway told."""

    merchant_id: str | None = None
    case_id: UUID | None = None
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    gateway: str | None = None


async def subject_of_job(connection: asyncpg.Connection, subject_id: UUID) -> JobSubject | None:
    """Return what a job's subject belongs to; None where it is gone.

    That is a step, an attempt, a message, a payment with its case, a refund or a part of one, an inbound event, a
    gateway's feed, a settlement report or the wish for one.
    """
    row = await connection.fetchrow(
        "SELECT merchant_id, case_id, payment_id, NULL::uuid AS refund_id, NULL AS gateway FROM timeline_step"
        " WHERE id = $1"
        " UNION ALL SELECT merchant_id, case_id, payment_id, NULL, NULL FROM attempt WHERE id = $1"
        " UNION ALL SELECT merchant_id, NULL, payment_id, refund_id, NULL FROM refund_part WHERE id = $1"
        " UNION ALL SELECT merchant_id, NULL, payment_id, id, NULL FROM refund WHERE id = $1"
        " UNION ALL SELECT merchant_id, id, payment_id, NULL, NULL FROM recovery_case WHERE payment_id = $1"
        " UNION ALL SELECT merchant_id, case_id, payment_id, NULL, NULL FROM message WHERE id = $1"
        " UNION ALL SELECT merchant_id, NULL, NULL, NULL, gateway FROM inbound_event WHERE id = $1"
        " UNION ALL SELECT merchant_id, case_id, payment_id, NULL, NULL FROM subscription_request WHERE id = $1"
        " UNION ALL SELECT merchant_id, NULL, NULL, NULL, NULL FROM upcoming_charge WHERE id = $1"
        " UNION ALL SELECT merchant_id, NULL, NULL, NULL, NULL FROM notice WHERE id = $1"
        " UNION ALL SELECT NULL, NULL, NULL, NULL, gateway FROM gateway_feed WHERE id = $1"
        " UNION ALL SELECT merchant_id, NULL, NULL, NULL, gateway FROM settlement_report WHERE id = $1"
        " UNION ALL SELECT merchant_id, NULL, NULL, NULL, NULL FROM webhook_endpoint WHERE id = $1"
        " UNION ALL SELECT NULL, NULL, NULL, NULL, gateway FROM settlement_wanted WHERE id = $1",
        subject_id,
    )
    return None if row is None else JobSubject(**dict(row))


async def task_waits(connection: asyncpg.Connection, merchant_id: str, kind: str, reason: str) -> bool:
    """Return whether a person has already been asked just this."""
    waits: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM human_task WHERE merchant_id = $1 AND kind = $2 AND reason = $3"
        " AND resolved_at IS NULL)",
        merchant_id,
        kind,
        reason,
    )
    return waits
