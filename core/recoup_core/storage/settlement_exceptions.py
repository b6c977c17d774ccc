"""Settlement exceptions, the oldest first; what the ledger has and no report tells of; reports that are wanted."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.happened import HumanTask
from recoup_core.domain.ledger import EntryKind
from recoup_core.domain.settlement import SettlementException, WantedReport
from recoup_core.storage.engine import Database

_EXCEPTION: Final = "SELECT to_jsonb(x)::text FROM settlement_exception x"
_FILTERS: Final = {
    "id": "x.id = {}",
    "gateway": "x.gateway = {}",
    "kind": "x.kind = {}",
    "owner": "x.owner = {}",
    "report": "x.report_id = {}",
}

# An entry that was taken back needs no line: gateways net out what never was.
_UNTOLD: Final = """
    SELECT e.id, e.created_at, e.kind, e.payment_id, p.amount_minor, p.currency,
        coalesce('charge:' || (CASE WHEN e.kind = 'capture' THEN e.capture_id END), 'refund:' || e.part_id,
                 'dispute:' || e.dispute_id) AS subject,
        e.occurred_at >= $7 AND NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id) AND NOT CASE e.kind
            WHEN 'capture' THEN EXISTS (
                SELECT FROM settlement_line l WHERE l.capture_id = e.capture_id AND l.kind = 'charge')
            WHEN 'refund' THEN EXISTS (SELECT FROM settlement_line l WHERE l.part_id = e.part_id AND l.kind = 'refund')
            ELSE EXISTS (SELECT FROM settlement_line l WHERE l.dispute_id = e.dispute_id AND l.kind = 'dispute')
            END AS missing
    FROM (SELECT * FROM ledger_entry e WHERE e.merchant_id = $1 AND (e.created_at, e.id) > ($2, $3::uuid)
          AND e.created_at < $4 ORDER BY e.created_at, e.id LIMIT $5) e
    LEFT JOIN ledger_posting p ON p.entry_id = e.id AND p.account = 'gateway_clearing:' || $6
        AND e.kind IN ('capture', 'refund', 'dispute') AND e.settlement_line_id IS NULL
    ORDER BY e.created_at, e.id"""

_PUT: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, w.id, $3, $3 FROM settlement_wanted w
    WHERE w.fetched_at IS NULL AND w.tries < $5 AND w.wanted_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = w.id)
    ORDER BY w.wanted_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_JOBLESS: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT DISTINCT $1, l.report_id, $3::timestamptz, $3::timestamptz FROM settlement_line l
    JOIN settlement_report r ON r.id = l.report_id
    WHERE l.state = 'waiting' AND r.received_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = l.report_id)
    LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """From when on a gateway's reports tell of its movements, and how far the ledger was held against them."""

    gateway: str
    merchant_id: str
    since: datetime
    seen_at: datetime
    seen_id: UUID


class Untold(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ledger that moved a gateway's clearing account."""

    id: UUID
    created_at: datetime
    kind: EntryKind
    payment_id: UUID | None
    amount_minor: int | None
    """None: it is not about this gateway, or about nothing that a report would tell."""
    currency: str | None
    subject: str | None
    missing: bool
    """Whether no line of a report tells of it."""


async def exceptions_about(
    connection: asyncpg.Connection, subjects: Collection[str]
) -> dict[str, list[SettlementException]]:
    """Return all exceptions about these subjects, the resolved ones included; a subject without one has none."""
    rows = await connection.fetch(f"{_EXCEPTION} WHERE x.subject = ANY($1::text[]) ORDER BY x.id", list(subjects))
    found: dict[str, list[SettlementException]] = {subject: [] for subject in subjects}
    for row in rows:
        exception = msgspec.json.decode(row[0], type=SettlementException)
        found[exception.subject].append(exception)
    return found


async def lock_exception(
    connection: asyncpg.Connection, merchant_id: str, exception_id: UUID
) -> SettlementException | None:
    """Return an exception under its row lock, the resolved ones included."""
    body = await connection.fetchval(
        f"{_EXCEPTION} WHERE x.merchant_id = $1 AND x.id = $2 FOR UPDATE", merchant_id, exception_id
    )
    return None if body is None else msgspec.json.decode(body, type=SettlementException)


async def open_exceptions(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, *, without: Collection[UUID]
) -> bool:
    """Return whether exceptions of a gateway wait besides these."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM settlement_exception WHERE merchant_id = $1 AND gateway = $2"
        " AND resolved_at IS NULL AND id <> ALL($3::uuid[]))",
        merchant_id,
        gateway,
        list(without),
    )
    return found


async def waiting_tasks(connection: asyncpg.Connection, merchant_id: str, kind: str, reason: str) -> list[HumanTask]:
    """Return the tasks of just this wording that wait."""
    rows = await connection.fetch(
        "SELECT to_jsonb(t)::text FROM human_task t WHERE merchant_id = $1 AND kind = $2 AND reason = $3"
        " AND resolved_at IS NULL ORDER BY id",
        merchant_id,
        kind,
        reason,
    )
    return [msgspec.json.decode(row[0], type=HumanTask) for row in rows]


async def list_exceptions(
    database: Database,
    merchant_id: str,
    filters: Mapping[str, Any],
    after: tuple[datetime, UUID] | None,
    limit: int,
    *,
    resolved: bool = False,
) -> list[SettlementException]:
    """Return exceptions, the oldest first, beyond a place; filters: id, gateway, kind, owner, report."""
    given = [(_FILTERS[name], value) for name, value in filters.items() if value is not None]
    wanted = ["x.merchant_id = $1", "x.resolved_at IS NOT NULL" if resolved else "x.resolved_at IS NULL"]
    if "id" in filters:
        wanted.pop()
    wanted += [text.format(f"${number}") for number, (text, _) in enumerate(given, 3)]
    values = [value for _, value in given]
    if after is not None:
        wanted.append(f"(x.opened_at, x.id) > (${len(values) + 3}, ${len(values) + 4})")
        values += after
    sql = f"{_EXCEPTION} WHERE {' AND '.join(wanted)} ORDER BY x.opened_at, x.id LIMIT $2"
    async with database.connection() as connection:
        rows = await connection.fetch(sql, merchant_id, limit, *values)
    return [msgspec.json.decode(row[0], type=SettlementException) for row in rows]


async def find_wanted(connection: asyncpg.Connection, wanted_id: UUID) -> WantedReport | None:
    """Return a report that is to be fetched, under its row lock; None where it was."""
    row = await connection.fetchrow(
        "SELECT id, gateway, report_ref, wanted_at, tries FROM settlement_wanted WHERE id = $1 AND fetched_at IS NULL",
        wanted_id,
    )
    return None if row is None else WantedReport(**dict(row))


async def note_fetched(connection: asyncpg.Connection, wanted_id: UUID, now: datetime) -> None:
    """Note that a wanted report is there."""
    await connection.execute("UPDATE settlement_wanted SET fetched_at = $2 WHERE id = $1", wanted_id, now)


async def note_not_fetched(connection: asyncpg.Connection, wanted_id: UUID, trouble: str) -> None:
    """Note that a report could not be fetched, and why."""
    await connection.execute(
        "UPDATE settlement_wanted SET tries = tries + 1, trouble = $2 WHERE id = $1", wanted_id, trouble
    )


async def coverages(connection: asyncpg.Connection) -> list[Coverage]:
    """Return the gateways that have ever sent a report."""
    rows = await connection.fetch("SELECT * FROM settlement_coverage ORDER BY merchant_id, gateway")
    return [Coverage(**dict(row)) for row in rows]


async def untold_entries(
    connection: asyncpg.Connection, coverage: Coverage, before: datetime, limit: int
) -> Sequence[Untold]:
    """Return the next entries of a merchant beyond the coverage's place, booked before a moment, oldest first."""
    rows = await connection.fetch(
        _UNTOLD,
        coverage.merchant_id,
        coverage.seen_at,
        coverage.seen_id,
        before,
        limit,
        coverage.gateway,
        coverage.since,
    )
    return [Untold(**{**dict(row), "kind": EntryKind(row["kind"])}) for row in rows]


async def note_seen(connection: asyncpg.Connection, coverage: Coverage, last: Untold) -> None:
    """Note how far the ledger was held against a gateway's reports, unless that began anew meanwhile."""
    await connection.execute(
        "UPDATE settlement_coverage SET seen_at = $2, seen_id = $3 WHERE gateway = $1 AND since = $4"
        " AND merchant_id = $5",
        coverage.gateway,
        last.created_at,
        last.id,
        coverage.since,
        coverage.merchant_id,
    )


async def reports_without_job(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give reports with waiting lines whose job was lost a new one; return how many."""
    return len(await connection.fetch(_JOBLESS, kind, before, now, limit))


async def wanted_without_job(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int, tries: int
) -> int:
    """Give wanted reports whose job was lost a new one while they have tries left; return how many."""
    return len(await connection.fetch(_PUT, kind, before, now, limit, tries))
