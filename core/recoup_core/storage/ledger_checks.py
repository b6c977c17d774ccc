"""Does the ledger say what captures, refunds, disputes and payments say, row by row?

Every check reads one table in pages, each in a statement of its own: a statement sees one moment, and what belongs
together is always committed together, so a check never takes a change under way for a fault.
"""

from typing import Final
from uuid import UUID

import msgspec

from recoup_core.storage.engine import Database

CHECK_PAGE: Final = 2_000
"""Rows that one statement looks at."""

_NOWHERE: Final = UUID(int=0)

_ROWS: Final = "SELECT * FROM {table} WHERE id > $1 AND ($3::text IS NULL OR merchant_id = $3) ORDER BY id LIMIT $2"


class Check(msgspec.Struct, frozen=True):
    """One thing that must hold of every row of a table: `faults` selects id and message of rows of `page`."""

    name: str
    table: str
    faults: str
    page: str = _ROWS
    most: int = CHECK_PAGE
    """Rows of a statement, where each stands for many of another table."""


class LedgerFault(msgspec.Struct, frozen=True):
    """The first row that does not fit."""

    check: str
    table: str
    id: UUID
    message: str


class LedgerVerified(msgspec.Struct, frozen=True):
    """What a verification looked at, and the first fault if there is one."""

    rows: dict[str, int]
    """Rows by table, as far as it got."""
    fault: LedgerFault | None


_NOT_TAKEN_BACK: Final = "NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id)"


def _booked(account: str, about: str) -> str:
    """Return SQL for the balance that entries which stand have put on an account."""
    return (
        f"(SELECT coalesce(sum(p.amount_minor), 0) FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id"
        f" WHERE {about} AND {_NOT_TAKEN_BACK} AND p.account {account})"
    )


_LINES: Final = """
    SELECT g.id, format('has %s of %s lines', (SELECT count(*) FROM ledger_posting p WHERE p.entry_id = g.id), g.lines)
        AS message FROM page g
    WHERE g.lines <> (SELECT count(*) FROM ledger_posting p WHERE p.entry_id = g.id)"""

_BALANCED: Final = """
    SELECT g.id, format('is off by %s %s', sum(p.amount_minor), p.currency) AS message
    FROM page g JOIN ledger_posting p ON p.entry_id = g.id
    GROUP BY g.id, p.currency HAVING sum(p.amount_minor) <> 0"""

_REVERSALS: Final = """
    SELECT g.id, 'does not take back what it names' AS message FROM page g
    LEFT JOIN ledger_entry o ON o.id = g.reverses
    WHERE g.reverses IS NOT NULL AND (o.id IS NULL OR o.kind = 'reversal' OR o.merchant_id <> g.merchant_id
        OR EXISTS (SELECT FROM ledger_posting p WHERE p.entry_id IN (g.id, o.id)
                   GROUP BY p.account, p.currency HAVING sum(p.amount_minor) <> 0)
        OR EXISTS (SELECT FROM ledger_entry t WHERE t.reverses = o.id AND t.id <> g.id))"""

_CAPTURED: Final = f"""
    SELECT id, format('holds %s, booked is %s', wanted, booked) AS message FROM (
        SELECT g.id, CASE WHEN g.state = 'captured' THEN g.amount_minor ELSE 0 END AS wanted,
            {_booked("= 'gateway_clearing:' || g.gateway", "e.capture_id = g.id AND e.kind = 'capture'")} AS booked
        FROM page g) c WHERE wanted <> booked"""

_HELD: Final = """
    SELECT id, format('counts %s held and %s disputed, its refunds and disputes say %s and %s',
                      held_minor, disputed_minor, held, disputed) AS message FROM (
        SELECT g.*,
            (SELECT coalesce(sum(f.amount_minor), 0) FROM refund_part f
             WHERE f.payment_id = g.payment_id AND f.capture_id = g.id AND part_holds(f.state)) AS held,
            (SELECT coalesce(sum(d.amount_minor), 0) FROM dispute d
             WHERE d.payment_id = g.payment_id AND d.capture_id = g.id AND d.state IN ('open', 'lost')) AS disputed
        FROM page g) c
    WHERE (held_minor, disputed_minor, over_minor)
        <> (held, disputed, greatest(0, held + disputed - amount_minor))"""

_COLLECTED: Final = """
    SELECT id, format('counts %s captured, its captures come to %s', captured_minor, captured) AS message FROM (
        SELECT g.id, g.captured_minor, (SELECT coalesce(sum(c.amount_minor), 0) FROM capture c
            WHERE c.payment_id = g.id AND c.state = 'captured') AS captured
        FROM page g) c WHERE captured_minor <> captured"""

_CREDITED: Final = """
    SELECT id, format('counts %s of goodwill, its refunds come to %s', goodwill_minor, given) AS message FROM (
        SELECT g.id, g.goodwill_minor, (SELECT coalesce(sum(f.amount_minor), 0) FROM refund_part f
            WHERE f.payment_id = g.id AND f.capture_id IS NULL AND part_holds(f.state)) AS given
        FROM page g) c WHERE goodwill_minor <> given"""

_ITEMISED: Final = """
    SELECT g.id, format('is over %s, its lines come to %s', g.amount_minor, sum(l.amount_minor)) AS message
    FROM page g JOIN payment_line l ON l.payment_id = g.id
    GROUP BY g.id, g.amount_minor HAVING sum(l.amount_minor) <> g.amount_minor"""

_WRITTEN_OFF: Final = f"""
    SELECT id, format('has %s given up, written off is %s', wanted, booked) AS message FROM (
        SELECT g.id, CASE WHEN c.state = 'written_off' THEN greatest(0, g.amount_minor - g.captured_minor)
                     ELSE 0 END AS wanted,
            {_booked("= 'write_offs'", "e.payment_id = g.id AND e.kind = 'write_off'")} AS booked
        FROM page g LEFT JOIN recovery_case c ON c.payment_id = g.id) c WHERE wanted <> booked"""

_LINE_COUNTERS: Final = """
    SELECT id, format('counts %s pieces and %s (tax %s) asked back, its refunds say %s and %s (tax %s)',
                      held_quantity, held_minor, held_tax_minor, pieces, held, tax) AS message FROM (
        SELECT g.id, g.held_quantity, g.held_minor, g.held_tax_minor,
            coalesce(sum(l.quantity), 0) AS pieces, coalesce(sum(l.amount_minor), 0) AS held,
            coalesce(sum(l.tax_minor), 0) AS tax
        FROM page g LEFT JOIN refund_line l ON l.payment_line_id = g.id AND l.holds
        GROUP BY g.id, g.held_quantity, g.held_minor, g.held_tax_minor) c
    WHERE (held_quantity, held_minor, held_tax_minor) <> (pieces, held, tax)"""

# What a gateway paid twice is a fact, booked by its parts and put before a person; a refund counts what was asked for.
_REFUNDED: Final = """
    SELECT id, format('counts %s refunded, its parts come to %s', refunded_minor, refunded) AS message FROM (
        SELECT g.id, g.amount_minor, g.refunded_minor, (SELECT coalesce(sum(f.amount_minor), 0) FROM refund_part f
            WHERE f.refund_id = g.id AND f.state = 'succeeded') AS refunded
        FROM page g) c WHERE refunded_minor <> least(refunded, amount_minor)"""

# Lines count with the money: what parts hold of payments that have lines. Where a success is told late, others may have
# asked for its lines; then those don't count, but they are there. What others made may find too little left of them.
_SHARED_OUT: Final = """
    SELECT id, format('is over %s, its lines come to %s', held, least(counted, said)) AS message FROM (
        SELECT g.id, g.channel,
            (SELECT coalesce(sum(l.amount_minor), 0) FROM refund_line l
             WHERE l.refund_id = g.id AND l.holds) AS counted,
            (SELECT coalesce(sum(l.amount_minor), 0) FROM refund_line l WHERE l.refund_id = g.id AND l.revision =
                (SELECT max(o.revision) FROM refund_line o WHERE o.refund_id = g.id)) AS said,
            (SELECT least(coalesce(sum(f.amount_minor), 0), g.amount_minor) FROM refund_part f
             WHERE f.refund_id = g.id AND f.capture_id IS NOT NULL AND part_holds(f.state)
                AND EXISTS (SELECT FROM payment_line o WHERE o.payment_id = f.payment_id)) AS held
        FROM page g) s
    WHERE counted > held OR (said < held AND channel <> 'reported')"""

_PAID_BACK: Final = f"""
    SELECT id, format('paid back %s (tax %s), booked is %s (tax %s)', wanted, tax_wanted, booked, tax) AS message FROM (
        SELECT g.id, CASE WHEN g.state = 'succeeded' AND NOT g.void THEN g.amount_minor ELSE 0 END AS wanted,
            CASE WHEN g.state = 'succeeded' AND NOT g.void THEN g.tax_minor ELSE 0 END AS tax_wanted,
            -{
    _booked(
        "= CASE WHEN g.gateway IS NULL THEN 'store_credit' ELSE 'gateway_clearing:' || g.gateway END",
        "e.part_id = g.id AND e.kind = 'refund'",
    )
} AS booked,
            {_booked("= 'tax'", "e.part_id = g.id AND e.kind = 'tax'")} AS tax
        FROM page g) c WHERE (wanted, tax_wanted) <> (booked, tax)"""

_DISPUTED: Final = f"""
    SELECT id, format('is %s over %s, booked are %s disputed and %s lost', state, amount_minor, open, lost) AS message
    FROM (SELECT g.*, {_booked("= 'disputes'", "e.dispute_id = g.id AND e.kind = 'dispute'")} AS open,
            {_booked("= 'bad_debt'", "e.dispute_id = g.id AND e.kind = 'dispute'")} AS lost
        FROM page g) c
    WHERE (open, lost) <> (CASE WHEN state = 'open' THEN amount_minor ELSE 0 END,
                           CASE WHEN state = 'lost' THEN amount_minor ELSE 0 END)"""

# a posting names no merchant; one whose entry is gone has none
_ENTRIES_POSTED_TO: Final = """
    SELECT DISTINCT entry_id AS id FROM {table} WHERE entry_id > $1 AND $3::text IS NULL ORDER BY 1 LIMIT $2"""

_STRAY: Final = """
    SELECT g.id, 'is gone, and its postings are there' AS message FROM page g
    WHERE NOT EXISTS (SELECT FROM ledger_entry e WHERE e.id = g.id)"""

_OWN: Final = """(SELECT coalesce(sum(p.amount_minor), 0) FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
    WHERE e.settlement_line_id = {line}.id AND p.account = 'gateway_clearing:' || {line}.gateway
      AND p.currency = {currency})"""
"""What a line's own entries, those taken back included, did to the clearing account."""

# What the entry of the charge, the refund or the dispute did, and what the line's own entries did, come to what was
# settled; in another currency what was booked has left the clearing account.
_SETTLED: Final = f"""
    SELECT id, format('settled %s, its entries and those it settles come to %s', wanted, booked + own) AS message FROM (
        SELECT g.id, g.settled_minor - g.fee_minor AS wanted, g.state, g.booked_minor,
            g.currency = g.settled_currency AS same,
            CASE WHEN g.currency = g.settled_currency THEN g.booked_minor ELSE 0 END - g.fee_booked_minor AS booked,
            {_OWN.format(line="g", currency="g.settled_currency")} AS own,
            {_OWN.format(line="g", currency="g.currency")} AS sold
        FROM page g) c
    WHERE CASE WHEN state = 'waiting' THEN own <> 0
               ELSE wanted <> booked + own OR (NOT same AND sold <> -booked_minor) END"""


def _cleared(kind: str, about: str) -> str:
    """Return SQL for what the first entry of a kind about a line's subject did to the clearing account."""
    return f"""(
            SELECT p.amount_minor FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
                AND p.account = 'gateway_clearing:' || g.gateway AND p.currency = g.currency
            WHERE {about} AND e.kind = '{kind}' AND e.settlement_line_id IS NULL ORDER BY e.created_at LIMIT 1)"""


_SETTLES: Final = f"""
    SELECT id, format('settles %s, booked is %s', booked_minor, booked) AS message FROM (
        SELECT g.id, g.booked_minor, CASE
            WHEN g.capture_id IS NOT NULL THEN {_cleared("capture", "e.capture_id = g.capture_id")}
            WHEN g.part_id IS NOT NULL THEN {_cleared("refund", "e.part_id = g.part_id")}
            ELSE {_cleared("dispute", "e.dispute_id = g.dispute_id")} END
            * CASE WHEN g.kind LIKE '%returned' THEN -1 ELSE 1 END AS booked
        FROM page g WHERE g.state = 'matched' AND g.kind NOT IN ('fee', 'payout', 'other')) c
    WHERE booked_minor IS DISTINCT FROM booked"""

# Of a report whose lines are all its own and all matched, and that adds up by its own word: to the cent.
_PAID_OUT: Final = f"""
    SELECT id, format('says that %s was paid out, its lines brought %s', paid_out_minor, brought) AS message FROM (
        SELECT g.id, g.paid_out_minor, count(*) FILTER (WHERE l.state <> 'matched') AS "left",
            sum(l.fee_booked_minor * -1 + CASE WHEN l.currency = l.settled_currency THEN l.booked_minor ELSE 0 END
                + {_OWN.format(line="l", currency="l.settled_currency")}) FILTER (WHERE l.kind <> 'payout') AS brought
        FROM page g JOIN settlement_line l ON l.report_id = g.id
        WHERE g.borrowed = 0 AND g.paid_out_minor = g.earned_minor AND g.earned_minor = -g.payouts_minor
        GROUP BY g.id, g.paid_out_minor) c
    WHERE "left" = 0 AND paid_out_minor <> coalesce(brought, 0)"""

CHECKS: Final = (
    Check("lines", "ledger_entry", _LINES),
    Check("balance", "ledger_entry", _BALANCED),
    Check("reversal", "ledger_entry", _REVERSALS),
    Check("entry", "ledger_posting", _STRAY, _ENTRIES_POSTED_TO),
    Check("booked", "capture", _CAPTURED),
    Check("counters", "capture", _HELD),
    Check("captured", "payment", _COLLECTED),
    Check("goodwill", "payment", _CREDITED),
    Check("lines", "payment", _ITEMISED),
    Check("write_off", "payment", _WRITTEN_OFF),
    Check("counters", "payment_line", _LINE_COUNTERS),
    Check("refunded", "refund", _REFUNDED),
    Check("lines", "refund", _SHARED_OUT),
    Check("booked", "refund_part", _PAID_BACK),
    Check("booked", "dispute", _DISPUTED),
    Check("booked", "settlement_line", _SETTLED),
    Check("settles", "settlement_line", _SETTLES),
    Check("paid_out", "settlement_report", _PAID_OUT, most=5),
)
"""What is checked, in this order."""

_STATEMENT: Final = """
    WITH page AS MATERIALIZED ({page}),
    faults AS ({faults})
    SELECT (SELECT count(*) FROM page) AS seen, (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last, f.id, f.message
    FROM (VALUES (1)) once LEFT JOIN (SELECT * FROM faults ORDER BY id LIMIT 1) f ON true"""


async def verify_ledger(
    database: Database, page: int = CHECK_PAGE, *, merchant_id: str | None = None
) -> LedgerVerified:
    """Check every row of a merchant, of all for None, `page` rows a statement, and name the first that does not fit."""
    rows: dict[str, int] = {}
    for check in CHECKS:
        seen, fault = await _run(database, check, page, merchant_id)
        rows[check.table] = max(seen, rows.get(check.table, 0))
        if fault is not None:
            return LedgerVerified(rows, fault)
    return LedgerVerified(rows, None)


async def _run(database: Database, check: Check, page: int, merchant_id: str | None) -> tuple[int, LedgerFault | None]:
    sql = _STATEMENT.format(page=check.page.format(table=check.table), faults=check.faults)
    seen, after, most = 0, _NOWHERE, min(page, check.most)
    while True:
        async with database.connection() as connection:
            row = await connection.fetchrow(sql, after, most, merchant_id)
        seen += row["seen"]
        if row["id"] is not None:
            return seen, LedgerFault(check.name, check.table, row["id"], row["message"])
        if row["seen"] < most:
            return seen, None
        after = row["last"]
