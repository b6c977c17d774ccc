"""The ledger read back: entries of one thing, pages of them, and what every account came to at a moment.

Two times count entries: when they were booked, by which nothing that is over ever changes, and when the money moved.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.capture import Capture
from recoup_core.domain.chart import Side
from recoup_core.domain.ledger import EntryKind, LedgerEntry
from recoup_core.storage.engine import Database

ENTRIES_SCANNED: Final = 5_000
"""Entries one page looks at; where few of them fit the filter the page is short and the cursor goes on."""

STREAM_PAGE: Final = 1_000
"""Entries that an export reads at a time, each page in a statement of its own."""


class Basis(StrEnum):
    """Which of an entry's two times counts."""

    BOOKED = "booked"
    OCCURRED = "occurred"


_COLUMN: Final = {Basis.BOOKED: "created_at", Basis.OCCURRED: "occurred_at"}

_POSTINGS: Final = """jsonb_build_object('postings', (
    SELECT jsonb_agg(jsonb_build_object('account', p.account, 'amount_minor', p.amount_minor, 'currency', p.currency)
                     ORDER BY p.line) FROM ledger_posting p WHERE p.entry_id = e.id))"""

_NOT_TAKEN_BACK: Final = "NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id)"

_STANDING: Final = f"""
    SELECT (to_jsonb(e) || {_POSTINGS})::text FROM ledger_entry e
    WHERE e.{{column}} = $1 AND e.kind <> 'reversal' AND {_NOT_TAKEN_BACK}
    ORDER BY e.turn, e.id"""

_STANDING_OF_LINES: Final = f"""
    SELECT (to_jsonb(e) || {_POSTINGS})::text FROM ledger_entry e
    WHERE e.settlement_line_id = ANY($1::uuid[]) AND e.kind <> 'reversal' AND {_NOT_TAKEN_BACK}
    ORDER BY e.created_at, e.id"""

_OF_CAPTURE: Final = f"""
    SELECT (to_jsonb(e) || {_POSTINGS})::text FROM ledger_entry e
    WHERE e.payment_id = $1 AND e.capture_id = $2 AND e.kind = 'capture' AND {_NOT_TAKEN_BACK}"""

STANDING_WRITE_OFF: Final = f"""
    SELECT to_jsonb(e) || {_POSTINGS} FROM ledger_entry e
    WHERE e.payment_id = p.id AND e.kind = 'write_off' AND {_NOT_TAKEN_BACK}"""
"""What is written off of the payment `p` of an outer query; at most one entry of a payment stands."""

_BALANCES: Final = """
    SELECT p.account, p.currency,
        coalesce(sum(p.amount_minor) FILTER (WHERE p.amount_minor > 0), 0) AS debited,
        coalesce(-sum(p.amount_minor) FILTER (WHERE p.amount_minor < 0), 0) AS credited
    FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
    WHERE e.merchant_id = $1 AND ($2::timestamptz IS NULL OR e.{column} < $2)
    GROUP BY p.account, p.currency ORDER BY p.account, p.currency"""

_PAGE: Final = f"""
    WITH scanned AS MATERIALIZED (
        SELECT e.* FROM ledger_entry e WHERE e.merchant_id = $1 {{narrower}}
        ORDER BY e.{{column}} DESC, e.id DESC LIMIT {ENTRIES_SCANNED}),
    fitting AS (
        SELECT e.* FROM scanned e WHERE ($3::text IS NULL OR e.kind = $3) AND ($4::text IS NULL OR EXISTS (
            SELECT FROM ledger_posting p WHERE p.entry_id = e.id
                AND (p.account = $4 OR starts_with(p.account, $4 || ':'))))
        ORDER BY e.{{column}} DESC, e.id DESC LIMIT $2)
    SELECT json_build_object(
        'entries', (SELECT coalesce(json_agg(to_jsonb(e) || {_POSTINGS} ORDER BY e.{{column}} DESC, e.id DESC), '[]')
                    FROM fitting e),
        'scanned', (SELECT count(*) FROM scanned),
        'last', (SELECT json_build_object('at', e.{{column}}, 'id', e.id) FROM scanned e
                 ORDER BY e.{{column}}, e.id LIMIT 1))::text"""

_STREAM: Final = f"""
    SELECT (to_jsonb(e) || {_POSTINGS} || jsonb_build_object('reference', coalesce(y.reference, r.report_ref)))::text
    FROM ledger_entry e LEFT JOIN payment y ON y.id = e.payment_id
    LEFT JOIN settlement_line l ON l.id = e.settlement_line_id LEFT JOIN settlement_report r ON r.id = l.report_id
    WHERE e.merchant_id = $1 AND ($2::timestamptz IS NULL OR e.{{column}} >= $2) AND e.{{column}} < $3
      AND ($4::timestamptz IS NULL OR (e.{{column}}, e.id) > ($4, $5::uuid))
    ORDER BY e.{{column}}, e.id LIMIT {STREAM_PAGE}"""

_FILTERS: Final = {
    "payment": "e.payment_id = {}",
    "refund": "e.refund_id = {}",
    "since": "e.{column} >= {}",
    "before": "e.{column} < {}",
}


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What one account came to in one currency, in minor units."""

    account: str
    currency: str
    debited_minor: int
    """All debits together; never negative."""
    credited_minor: int
    """All credits together; never negative."""

    @property
    def balance_minor(self) -> int:
        """Debits less credits: positive is a debit balance."""
        return self.debited_minor - self.credited_minor

    @property
    def side(self) -> Side:
        """The side that the balance is on."""
        return Side.CREDIT if self.balance_minor < 0 else Side.DEBIT


class Place(msgspec.Struct, frozen=True):
    """Where a page of entries ends."""

    at: datetime
    id: UUID


class EntryPage(msgspec.Struct, frozen=True):
    """Entries, newest first, and where the next page goes on; None where there is none."""

    entries: list[LedgerEntry]
    after: Place | None


class ReferencedEntry(LedgerEntry, frozen=True, kw_only=True):
    """An entry with the merchant's own name for its payment; without one, the gateway's for its settlement report."""

    reference: str


class _Scan(msgspec.Struct, frozen=True, kw_only=True):
    entries: list[LedgerEntry]
    scanned: int
    last: Place | None


def time_of(entry: LedgerEntry, basis: Basis) -> datetime:
    """Return the time that counts."""
    return entry.created_at if basis is Basis.BOOKED else entry.occurred_at


async def entries_of_part(connection: asyncpg.Connection, part_id: UUID) -> list[LedgerEntry]:
    """Return what is booked for a refund part and not taken back, oldest first."""
    return await _standing(connection, "part_id", part_id)


async def entries_of_dispute(connection: asyncpg.Connection, dispute_id: UUID) -> list[LedgerEntry]:
    """Return what is booked for a dispute and not taken back, oldest first."""
    return await _standing(connection, "dispute_id", dispute_id)


async def entries_of_lines(connection: asyncpg.Connection, line_ids: Collection[UUID]) -> list[LedgerEntry]:
    """Return what is booked by lines of settlement reports and not taken back, oldest first."""
    rows = await connection.fetch(_STANDING_OF_LINES, list(line_ids))
    return [msgspec.json.decode(row[0], type=LedgerEntry) for row in rows]


async def entry_of_charge(connection: asyncpg.Connection, capture: Capture) -> LedgerEntry | None:
    """Return the entry that booked a capture and stands; None where nothing is booked for it."""
    row = await connection.fetchval(_OF_CAPTURE, capture.payment_id, capture.id)
    return None if row is None else msgspec.json.decode(row, type=LedgerEntry)


async def _standing(connection: asyncpg.Connection, column: str, subject_id: UUID) -> list[LedgerEntry]:
    rows = await connection.fetch(_STANDING.format(column=column), subject_id)
    return [msgspec.json.decode(row[0], type=LedgerEntry) for row in rows]


async def zone_of(database: Database, merchant_id: str) -> str | None:
    """Return the time zone of a merchant's calendar, None where there is no such merchant."""
    async with database.connection() as connection:
        name: str | None = await connection.fetchval("SELECT timezone FROM merchant WHERE id = $1", merchant_id)
    return name


async def read_balances(
    database: Database, merchant_id: str, before: datetime | None, basis: Basis = Basis.BOOKED
) -> list[Balance]:
    """Return a merchant's accounts, by name and currency, as they were before a moment; None: as they are."""
    async with database.connection() as connection:
        rows = await connection.fetch(_BALANCES.format(column=_COLUMN[basis]), merchant_id, before)
    return [
        Balance(
            account=row["account"],
            currency=row["currency"],
            debited_minor=int(row["debited"]),
            credited_minor=int(row["credited"]),
        )
        for row in rows
    ]


async def list_entries(
    database: Database,
    merchant_id: str,
    filters: Mapping[str, Any],
    after: Place | None,
    limit: int,
    *,
    basis: Basis = Basis.BOOKED,
    kind: EntryKind | None = None,
    account: str | None = None,
) -> EntryPage:
    """Return the newest entries beyond a place; filters: payment, refund, since, before (its moment excluded).

    `account` is a posting's account, or `gateway_clearing` for those of all gateways. Of few entries that fit among
    many that don't, a page may be short or empty while there are more.
    """
    column = _COLUMN[basis]
    given = [(_FILTERS[name], value) for name, value in filters.items() if value is not None]
    wanted = [f"AND {text.format(f'${number}', column=column)}" for number, (text, _) in enumerate(given, 5)]
    values = [value for _, value in given]
    if after is not None:
        first = 5 + len(values)
        wanted.append(f"AND (e.{column}, e.id) < (${first}, ${first + 1})")
        values += [after.at, after.id]
    sql = _PAGE.format(column=column, narrower=" ".join(wanted))
    async with database.connection() as connection:
        body = await connection.fetchval(sql, merchant_id, limit + 1, kind, account, *values)
    scan = msgspec.json.decode(body, type=_Scan)
    if len(scan.entries) > limit:
        last = scan.entries[limit - 1]
        return EntryPage(scan.entries[:limit], Place(time_of(last, basis), last.id))
    return EntryPage(scan.entries, scan.last if scan.scanned == ENTRIES_SCANNED else None)


async def stream_entries(
    database: Database, merchant_id: str, since: datetime | None, before: datetime, basis: Basis = Basis.BOOKED
) -> AsyncIterator[ReferencedEntry]:
    """Give a merchant's entries of a time, oldest first, `before` excluded; holds no connection between pages."""
    sql = _STREAM.format(column=_COLUMN[basis])
    after: Place | None = None
    while True:
        place = (None, None) if after is None else (after.at, after.id)
        async with database.connection() as connection:
            rows = await connection.fetch(sql, merchant_id, since, before, *place)
        entries = [msgspec.json.decode(row[0], type=ReferencedEntry) for row in rows]
        for entry in entries:
            yield entry
        if len(entries) < STREAM_PAGE:
            return
        after = Place(time_of(entries[-1], basis), entries[-1].id)
