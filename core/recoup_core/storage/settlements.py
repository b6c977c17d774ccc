"""Settlement reports as they come in: known by their content, their name and their lines' own ids."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.settlement import SettlementLine, SettlementReport
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import read_page

_REPORT: Final = "SELECT to_jsonb(r)::text FROM settlement_report r"
_REPORT_FILTERS: Final = {"id": "r.id = {}", "gateway": "r.gateway = {}", "ref": "r.report_ref = {}"}
_LINE: Final = "SELECT to_jsonb(l)::text FROM settlement_line l"
_LINE_FILTERS: Final = {
    "id": "l.id = {}",
    "report": "l.report_id = {}",
    "state": "l.state = {}",
    "payment": "l.payment_id = {}",
}

_LINE_COLUMNS: Final = ", ".join(SettlementLine.__struct_fields__)

# Of lines that came before only what they say is compared: what they were matched to is ours.
_STORE_LINES: Final = f"""
    WITH given AS MATERIALIZED (SELECT * FROM jsonb_populate_recordset(null::settlement_line, $1::jsonb)),
    stored AS (
        INSERT INTO settlement_line ({_LINE_COLUMNS}) SELECT {_LINE_COLUMNS} FROM given ORDER BY number
        ON CONFLICT (merchant_id, gateway, ref) DO NOTHING RETURNING ref)
    SELECT g.ref, g.settled_minor - g.fee_minor AS net, g.kind = 'payout' AS payout, s.ref IS NOT NULL AS fresh,
        k.id AS known_id, k.report_id AS known_report,
        (k.kind, k.amount_minor, k.currency, k.settled_minor, k.settled_currency, k.fee_minor)
            IS DISTINCT FROM
        (g.kind, g.amount_minor, g.currency, g.settled_minor, g.settled_currency, g.fee_minor) AS differs
    FROM given g LEFT JOIN stored s ON s.ref = g.ref
    LEFT JOIN settlement_line k ON k.merchant_id = g.merchant_id AND k.gateway = g.gateway AND k.ref = g.ref"""

_COVER: Final = """
    INSERT INTO settlement_coverage (gateway, merchant_id, since, seen_at, seen_id)
    SELECT $1, $2, $3, $3, '00000000-0000-0000-0000-000000000000' WHERE $3::timestamptz IS NOT NULL
    ON CONFLICT (merchant_id, gateway) DO UPDATE
    SET since = excluded.since, seen_at = excluded.since, seen_id = excluded.seen_id
    WHERE excluded.since < settlement_coverage.since"""

_LEFT: Final = """
    SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'matched') AS matched,
        count(*) FILTER (WHERE state = 'unmatched') AS unmatched
    FROM settlement_line WHERE report_id = $1"""


class StoredLines(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch of lines."""

    fresh: int
    """How many are new, and the report's own."""
    borrowed: int
    """How many another report had brought before."""
    earned_minor: int
    """What those not seen in this report before come to, payouts left out."""
    payouts_minor: int
    differing: tuple[UUID, ...]
    """Lines known before that were told differently now."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a report's lines got how far."""

    waiting: int
    matched: int
    unmatched: int


async def report_of_content(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, digest: bytes
) -> SettlementReport | None:
    """Return the report that this very content brought, None where it is new."""
    body = await connection.fetchval(
        f"{_REPORT} JOIN settlement_content c ON c.report_id = r.id WHERE c.gateway = $1 AND c.digest = $2"
        " AND c.merchant_id = $3",
        gateway,
        digest,
        merchant_id,
    )
    return None if body is None else msgspec.json.decode(body, type=SettlementReport)


async def lock_report(connection: asyncpg.Connection, report: SettlementReport) -> SettlementReport:
    """Return the report of this name under its row lock; the one given is stored where there is none yet."""
    fields = msgspec.json.encode([report]).decode()
    names = ", ".join(SettlementReport.__struct_fields__)
    await connection.execute(
        f"INSERT INTO settlement_report ({names}) SELECT {names} FROM"
        " jsonb_populate_recordset(null::settlement_report, $1::jsonb)"
        " ON CONFLICT (merchant_id, gateway, report_ref) DO NOTHING",
        fields,
    )
    body = await connection.fetchval(
        f"{_REPORT} WHERE r.merchant_id = $1 AND r.gateway = $2 AND r.report_ref = $3 FOR UPDATE",
        report.merchant_id,
        report.gateway,
        report.report_ref,
    )
    return msgspec.json.decode(body, type=SettlementReport)


async def keep_content(connection: asyncpg.Connection, report: SettlementReport, digest: bytes, now: datetime) -> None:
    """Remember that this content has been taken in."""
    await connection.execute(
        "INSERT INTO settlement_content (merchant_id, gateway, digest, report_id, received_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        report.merchant_id,
        report.gateway,
        digest,
        report.id,
        now,
    )


async def store_lines(
    connection: asyncpg.Connection, report_id: UUID, lines: Sequence[SettlementLine], *, first: bool
) -> StoredLines:
    """Insert lines that no report has told of; `first`: what other reports told of counts in this one's sums, too."""
    rows = await connection.fetch(_STORE_LINES, msgspec.json.encode(lines).decode())
    fresh = [row for row in rows if row["fresh"]]
    borrowed = [row for row in rows if not row["fresh"] and row["known_report"] not in (None, report_id)]
    counted = [*fresh, *borrowed] if first else fresh
    return StoredLines(
        fresh=len(fresh),
        borrowed=len(borrowed) if first else 0,
        earned_minor=sum(row["net"] for row in counted if not row["payout"]),
        payouts_minor=sum(row["net"] for row in counted if row["payout"]),
        differing=tuple(row["known_id"] for row in rows if row["known_id"] is not None and row["differs"]),
    )


async def extend_coverage(
    connection: asyncpg.Connection, gateway: str, merchant_id: str, since: datetime | None
) -> None:
    """Note from when on reports tell of a gateway's movements; an earlier one lets the look-through begin anew."""
    await connection.execute(_COVER, gateway, merchant_id, since)


async def find_report(connection: asyncpg.Connection, report_id: UUID) -> SettlementReport | None:
    """Return a report by its id, whosever it is."""
    body = await connection.fetchval(f"{_REPORT} WHERE r.id = $1", report_id)
    return None if body is None else msgspec.json.decode(body, type=SettlementReport)


async def report_standing(connection: asyncpg.Connection, report_id: UUID) -> Standing:
    """Return how far a report's own lines got."""
    row = await connection.fetchrow(_LEFT, report_id)
    return Standing(waiting=row["waiting"], matched=row["matched"], unmatched=row["unmatched"])


async def list_reports(
    database: Database, merchant_id: str, filters: dict[str, Any], before: UUID | None, limit: int
) -> list[SettlementReport]:
    """Return the newest reports before a key; filters: id, gateway, ref."""
    return await read_page(
        database, _REPORT, "r", _REPORT_FILTERS, merchant_id, filters, before, limit, SettlementReport
    )


async def list_lines(
    database: Database, merchant_id: str, filters: dict[str, Any], before: UUID | None, limit: int
) -> list[SettlementLine]:
    """Return lines by descending id; filters: id, report, state, payment."""
    return await read_page(database, _LINE, "l", _LINE_FILTERS, merchant_id, filters, before, limit, SettlementLine)
