"""Refunds as flows need them: payments' accounts and refund files under lock, and what was approved before."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.refundfile import PaymentAccount, RefundFile

_ACCOUNTS: Final = """
    SELECT json_build_object(
        'payment', row_to_json(p),
        'captures', (SELECT coalesce(json_agg(row_to_json(c) ORDER BY c.created_at, c.id), '[]')
                     FROM capture c WHERE c.payment_id = p.id),
        'lines', (SELECT coalesce(json_agg(row_to_json(l) ORDER BY l.number), '[]')
                  FROM payment_line l WHERE l.payment_id = p.id),
        'disputes', (SELECT coalesce(json_agg(row_to_json(d) ORDER BY d.opened_at, d.id), '[]')
                     FROM dispute d WHERE d.payment_id = p.id),
        'refunds', (SELECT count(DISTINCT r.id) FROM refund_part f JOIN refund r ON r.id = f.refund_id
                    WHERE f.payment_id = p.id AND r.state NOT IN ('denied', 'rejected', 'expired', 'canceled')),
        'case_id', k.id,
        'case_state', k.state,
        'live_attempt', EXISTS (SELECT FROM attempt a WHERE a.payment_id = p.id
                                AND a.state IN ('scheduled', 'submitted', 'pending', 'unknown'))
    )::text
    FROM payment p LEFT JOIN recovery_case k ON k.payment_id = p.id
    WHERE p.id = ANY($1::uuid[])"""

_FILES: Final = """
    SELECT json_build_object(
        'refund', row_to_json(r),
        'parts', (SELECT coalesce(json_agg(row_to_json(p) ORDER BY p.number), '[]')
                  FROM refund_part p WHERE p.refund_id = r.id),
        'lines', (SELECT coalesce(json_agg(row_to_json(l) ORDER BY l.revision, l.id), '[]')
                  FROM refund_line l WHERE l.refund_id = r.id),
        'approvals', (SELECT coalesce(json_agg(row_to_json(a) ORDER BY a.id), '[]')
                      FROM refund_approval a WHERE a.refund_id = r.id),
        'open_tasks', (SELECT coalesce(json_agg(row_to_json(t) ORDER BY t.id), '[]')
                       FROM human_task t WHERE t.refund_id = r.id AND t.resolved_at IS NULL)
    )::text
    FROM refund r WHERE r.id = ANY($1::uuid[])"""

_PAYMENTS: Final = """
    SELECT id AS refund_id, payment_id FROM refund WHERE id = ANY($1::uuid[])
    UNION SELECT refund_id, payment_id FROM refund_part WHERE refund_id = ANY($1::uuid[])"""

_HISTORY: Final = """
    SELECT json_build_object(
        'timezone', m.timezone,
        'policy_epoch', (SELECT number FROM policy_epoch),
        'refunds_before', (SELECT count(DISTINCT r.id) FROM refund_part f JOIN refund r ON r.id = f.refund_id
            WHERE f.payment_id = ANY($6::uuid[]) AND r.id <> $4
              AND r.state NOT IN ('denied', 'rejected', 'expired', 'canceled', 'failed')),
        'held_minor', (SELECT coalesce(sum(f.amount_minor), 0)::bigint FROM refund_part f
            WHERE f.payment_id = ANY($6::uuid[]) AND f.refund_id <> $4 AND f.capture_id IS NOT NULL
              AND part_holds(f.state)),
        'goodwill_minor', (SELECT coalesce(sum(f.amount_minor), 0)::bigint FROM refund_part f
            WHERE f.payment_id = ANY($6::uuid[]) AND f.refund_id <> $4 AND f.capture_id IS NULL
              AND part_holds(f.state)),
        'customer', (SELECT coalesce(json_agg(json_build_object(
                'at', e.approved_at, 'amount_minor', e.amount_minor, 'currency', e.currency)
                ORDER BY e.approved_at), '[]')
            FROM (SELECT approved_at, amount_minor, currency FROM refund
                  WHERE merchant_id = $1 AND customer_ref = $2 AND approved_at >= $3
                    AND id <> $4 AND state IN ('approved', 'succeeded', 'failed')
                  ORDER BY approved_at DESC LIMIT $5) e)
    )::text
    FROM merchant m WHERE m.id = $1"""

_TALLIES: Final = """
    SELECT agent, refunds, amount_minor::bigint AS amount_minor, currency FROM refund_tally
    WHERE merchant_id = $1 AND agent IN ('', $2) AND day = $3"""

_ADD_TALLY: Final = """
    INSERT INTO refund_tally (merchant_id, agent, day, currency, refunds, amount_minor)
    SELECT $1, agent, $2, $3, 1, $4 FROM unnest($5::text[]) agent
    ON CONFLICT (merchant_id, agent, day, currency) DO UPDATE
    SET refunds = refund_tally.refunds + 1, amount_minor = refund_tally.amount_minor + excluded.amount_minor"""

_TAKE_TALLY: Final = """
    UPDATE refund_tally SET refunds = greatest(refunds - 1, 0), amount_minor = greatest(amount_minor - $4, 0)
    WHERE merchant_id = $1 AND agent = ANY($5::text[]) AND day = $2 AND currency = $3"""


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """A refund that a customer got, or will get."""

    at: datetime
    amount_minor: int
    currency: str


class RefundHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs besides the accounts: what went before it, the calendar, the policies' number."""

    timezone: str
    """The merchant's, IANA: whose calendar says what a day is."""
    policy_epoch: int
    refunds_before: int
    """Other refunds of these payments that were not denied, rejected, expired, canceled or failed."""
    held_minor: int
    """What other refunds hold of these payments' captures."""
    goodwill_minor: int
    """What other refunds give beside these payments, as goodwill in store credit."""
    customer: tuple[Earlier, ...]
    """Oldest first; of more than were asked for, the newest."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What was approved on one day in one currency."""

    refunds: int
    amount_minor: int
    currency: str


class Tallies(msgspec.Struct, frozen=True, kw_only=True):
    """What was approved today for the merchant, and of what one agent asked for."""

    merchant: tuple[Tally, ...] = ()
    agent: tuple[Tally, ...] = ()


async def payments_of_refunds(
    connection: asyncpg.Connection, refund_ids: Collection[UUID]
) -> Mapping[UUID, frozenset[UUID]]:
    """Return per refund the payments that it goes over, or ever went over."""
    found: dict[UUID, set[UUID]] = defaultdict(set)
    for row in await connection.fetch(_PAYMENTS, list(refund_ids)):
        found[row["refund_id"]].add(row["payment_id"])
    return {refund_id: frozenset(payments) for refund_id, payments in found.items()}


async def refunds_of_parts(connection: asyncpg.Connection, part_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return part id to refund id."""
    rows = await connection.fetch("SELECT id, refund_id FROM refund_part WHERE id = ANY($1::uuid[])", list(part_ids))
    return {row["id"]: row["refund_id"] for row in rows}


async def load_accounts(connection: asyncpg.Connection, payment_ids: Collection[UUID]) -> dict[UUID, PaymentAccount]:
    """Return the payments' accounts; the caller holds the payments' locks where it decides on them."""
    rows = await connection.fetch(_ACCOUNTS, list(payment_ids))
    accounts = (msgspec.json.decode(row[0], type=PaymentAccount) for row in rows)
    return {account.payment.id: account for account in accounts}


async def load_refunds(connection: asyncpg.Connection, refund_ids: Collection[UUID]) -> dict[UUID, RefundFile]:
    """Return refund files; the caller holds the locks of their payments where it decides on them."""
    rows = await connection.fetch(_FILES, list(refund_ids))
    files = (msgspec.json.decode(row[0], type=RefundFile) for row in rows)
    return {file.refund.id: file for file in files}


async def refund_history(
    connection: asyncpg.Connection,
    merchant_id: str,
    customer_ref: str,
    since: datetime,
    *,
    payment_ids: Collection[UUID],
    but: UUID,
    limit: int,
) -> RefundHistory:
    """Return a customer's refunds since then (the newest `limit`) and what refunds hold of the payments; without the
    one that is decided on, which may be changing in this very transaction."""
    row = await connection.fetchval(_HISTORY, merchant_id, customer_ref, since, but, limit, list(payment_ids))
    return msgspec.json.decode(row, type=RefundHistory)


async def payments_of_order(connection: asyncpg.Connection, merchant_id: str, order_ref: str, limit: int) -> list[UUID]:
    """Return the payments of one order of a merchant, the newest first."""
    rows = await connection.fetch(
        "SELECT id FROM payment WHERE merchant_id = $1 AND order_ref = $2 ORDER BY id DESC LIMIT $3",
        merchant_id,
        order_ref,
        limit,
    )
    return [row["id"] for row in rows]


async def order_of_refund(connection: asyncpg.Connection, refund_id: UUID) -> tuple[str, str] | None:
    """Return merchant and order of a refund that goes over an order; None of any other, or of none."""
    row = await connection.fetchrow(
        "SELECT merchant_id, order_ref FROM refund WHERE id = $1 AND order_ref IS NOT NULL", refund_id
    )
    return None if row is None else (row["merchant_id"], row["order_ref"])


async def merchant_zone(connection: asyncpg.Connection, merchant_id: str) -> str:
    """Return the IANA name of the time zone whose calendar a merchant counts days by."""
    zone: str = await connection.fetchval("SELECT timezone FROM merchant WHERE id = $1", merchant_id)
    return zone


async def lock_bounds(connection: asyncpg.Connection, merchant_id: str) -> None:
    """Let nobody else approve within bounds for this merchant until the transaction ends; the last lock taken."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('refund bounds ' || $1, 0))", merchant_id)


async def read_tallies(connection: asyncpg.Connection, merchant_id: str, agent: str, day: date) -> Tallies:
    """Return what was approved on a day of the merchant's calendar."""
    rows = await connection.fetch(_TALLIES, merchant_id, agent, day)
    found: dict[bool, list[Tally]] = defaultdict(list)
    for row in rows:
        tally = Tally(refunds=row["refunds"], amount_minor=row["amount_minor"], currency=row["currency"])
        found[row["agent"] == ""].append(tally)
    return Tallies(merchant=tuple(found[True]), agent=tuple(found[False]))


async def add_tally(
    connection: asyncpg.Connection, merchant_id: str, agent: str, day: date, amount_minor: int, currency: str
) -> None:
    """Count an approval on the merchant's day and on the agent's."""
    await connection.execute(_ADD_TALLY, merchant_id, day, currency, amount_minor, sorted({"", agent}))


async def take_tally(
    connection: asyncpg.Connection, merchant_id: str, agent: str, day: date, amount_minor: int, currency: str
) -> None:
    """Take an approval's count back from the day on which it was given: it is decided on anew."""
    await connection.execute(_TAKE_TALLY, merchant_id, day, currency, amount_minor, sorted({"", agent}))
