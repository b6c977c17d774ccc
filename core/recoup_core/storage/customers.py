"""Customers, their addresses and what they were told lately.

Lock order, for every writer: payments by id, then customers by merchant and name, then messages and addresses by id.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.customer import WISHES, Address, AddressState, CustomerRecord, Standing
from recoup_core.domain.message import CONTACTS, MessageState

CONTACT_HISTORY: Final = timedelta(days=10)
"""How far back messages are read for the contact budget: a week, and as long as a message may wait for its notifier."""

CONTACT_ROWS: Final = 300
"""Messages of one customer that are read; the largest budget allows for a hundred a week."""

ADDRESS_ROWS: Final = 100
"""Addresses of one customer that are read, those no longer used included, the latest told first."""

CustomerKey = tuple[str, str]
"""A merchant and its name for a customer."""

_MISSING: Final = """
    INSERT INTO customer (merchant_id, ref, created_at, changed_at)
    SELECT m, r, $3, $3 FROM unnest($1::text[], $2::text[]) w (m, r) ORDER BY m, r
    ON CONFLICT (merchant_id, ref) DO NOTHING"""

_LOCK: Final = """
    SELECT 1 FROM customer c WHERE (c.merchant_id, c.ref) IN (SELECT * FROM unnest($1::text[], $2::text[]))
    ORDER BY c.merchant_id, c.ref FOR NO KEY UPDATE"""

_ADDRESSES: Final = f"""
    SELECT coalesce(json_agg(row_to_json(a)), '[]') FROM (
        SELECT * FROM customer_address a WHERE a.merchant_id = c.merchant_id AND a.customer_ref = c.ref
        ORDER BY a.told_at DESC NULLS LAST, a.id DESC LIMIT {ADDRESS_ROWS}) a"""

_CONTACTS: Final = f"""
    SELECT coalesce(json_agg(row_to_json(r)), '[]') FROM (
        SELECT m.id, m.step_id, m.notice_id, m.state, m.created_at, m.sent_at, coalesce(p.state = 'paid', false) AS paid
        FROM message m LEFT JOIN payment p ON p.id = m.payment_id
        WHERE m.merchant_id = c.merchant_id AND m.customer_ref = c.ref
          AND m.created_at > $3 AND m.state = ANY ($4::text[])
        ORDER BY m.created_at DESC LIMIT {CONTACT_ROWS}) r"""

_FILES: Final = f"""
    SELECT json_build_object('record', row_to_json(c), 'addresses', ({_ADDRESSES}), 'told', ({_CONTACTS}))::text
    FROM customer c WHERE (c.merchant_id, c.ref) IN (SELECT * FROM unnest($1::text[], $2::text[]))"""

KNOWN_CUSTOMER: Final = f"""
    SELECT json_build_object('record', row_to_json(c), 'addresses', ({_ADDRESSES}))
    FROM customer c WHERE c.merchant_id = {{merchant}} AND c.ref = {{ref}}"""
"""SQL: a `KnownCustomer` as JSON; no row where nobody told of them."""

_LIST: Final = """
    SELECT row_to_json(c)::text FROM customer c
    WHERE c.merchant_id = $1 AND c.ref > $2 AND ($3::boolean IS NULL OR c.do_not_contact = $3)
      AND ($4::boolean IS NULL OR c.vulnerable = $4)
    ORDER BY c.ref LIMIT $5"""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the contact budget sees it."""

    id: UUID
    step_id: UUID | None
    notice_id: UUID | None
    state: MessageState
    created_at: datetime
    sent_at: datetime | None
    paid: bool
    """Whether the debt that it was about is paid."""


class KnownCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer with their addresses, the latest told first."""

    record: CustomerRecord
    addresses: tuple[Address, ...]

    @property
    def used(self) -> dict[str, Address]:
        """The address that is used on each channel, blocked or not."""
        return {each.channel: each for each in reversed(self.addresses) if each.told_at is not None}

    @property
    def tired(self) -> dict[str, Address]:
        """The channels on which the customer wants nothing any more, each with the address by which they said so."""
        return {each.channel: each for each in self.addresses if each.state in WISHES}


class CustomerFile(KnownCustomer, frozen=True, kw_only=True):
    """A customer with their addresses and what they were told lately."""

    told: tuple[Told, ...]


async def lock_customers(connection: asyncpg.Connection, wanted: Collection[CustomerKey], now: datetime) -> None:
    """Take the locks of customers in their order; one that nobody told of yet gets its row."""
    merchants, refs = _columns(wanted)
    await connection.execute(_MISSING, merchants, refs, now)
    await connection.fetch(_LOCK, merchants, refs)


async def read_files(
    connection: asyncpg.Connection, wanted: Collection[CustomerKey], now: datetime
) -> dict[CustomerKey, CustomerFile]:
    """Return what the contact budget needs to know; the caller holds the customers' locks."""
    rows = await connection.fetch(_FILES, *_columns(wanted), now - CONTACT_HISTORY, [state.value for state in CONTACTS])
    files = (msgspec.json.decode(row[0], type=CustomerFile) for row in rows)
    return {(file.record.merchant_id, file.record.ref): file for file in files}


async def read_customer(connection: asyncpg.Connection, merchant_id: str, ref: str) -> KnownCustomer | None:
    """Return a customer; None where nobody told of them."""
    sql = f"SELECT ({KNOWN_CUSTOMER.format(merchant='$1', ref='$2')})::text"
    body = await connection.fetchval(sql, merchant_id, ref)
    return None if body is None else msgspec.json.decode(body, type=KnownCustomer)


async def list_customers(
    connection: asyncpg.Connection,
    merchant_id: str,
    after: str,
    limit: int,
    *,
    do_not_contact: bool | None = None,
    vulnerable: bool | None = None,
) -> list[CustomerRecord]:
    """Return the customers after a name, by name."""
    rows = await connection.fetch(_LIST, merchant_id, after, do_not_contact, vulnerable, limit)
    return [msgspec.json.decode(row[0], type=CustomerRecord) for row in rows]


async def find_address(connection: asyncpg.Connection, address_id: UUID) -> Address | None:
    """Return an address by its id, whoever's it is."""
    body = await connection.fetchval("SELECT row_to_json(a)::text FROM customer_address a WHERE id = $1", address_id)
    return None if body is None else msgspec.json.decode(body, type=Address)


async def block_addresses(
    connection: asyncpg.Connection,
    ids: Collection[UUID],
    same: Collection[tuple[str, str, str]],
    state: AddressState,
    because: str,
    now: datetime,
) -> list[Address]:
    """Block addresses by id, and those that customers of a merchant share with them (merchant, channel, address in
    lower case); return what changed. What is blocked for a wish of the customer stays so where it only bounces."""
    rows = await connection.fetch(
        """
        WITH meant AS (
            SELECT a.id FROM customer_address a
            WHERE a.id = ANY ($1::uuid[]) OR (a.merchant_id, a.channel, lower(a.address)) IN (
                SELECT * FROM unnest($2::text[], $3::text[], $4::text[]))
            ORDER BY a.id FOR NO KEY UPDATE)
        UPDATE customer_address a SET state = $5, because = $6, changed_at = $7
        FROM meant WHERE a.id = meant.id AND a.state <> $5 AND (a.state = 'usable' OR $5 <> 'bounced')
        RETURNING row_to_json(a)::text""",
        list(ids),
        [merchant for merchant, _, _ in same],
        [channel for _, channel, _ in same],
        [address for _, _, address in same],
        state.value,
        because,
        now,
    )
    return [msgspec.json.decode(row[0], type=Address) for row in rows]


async def addresses_of(connection: asyncpg.Connection, customer: CustomerKey, channel: str) -> list[UUID]:
    """Return the ids of a customer's addresses on a channel, those no longer used included."""
    rows = await connection.fetch(
        "SELECT id FROM customer_address WHERE merchant_id = $1 AND customer_ref = $2 AND channel = $3 ORDER BY id",
        *customer,
        channel,
    )
    return [row["id"] for row in rows]


async def merchants_with(connection: asyncpg.Connection, channel: str, address: str) -> list[str]:
    """Return the merchants of which a customer has that address (in lower case) on a channel."""
    rows = await connection.fetch(
        "SELECT DISTINCT merchant_id FROM customer_address a JOIN merchant m ON m.id = a.merchant_id"
        " WHERE channel = $1 AND lower(address) = $2 ORDER BY merchant_id",
        channel,
        address,
    )
    return [row["merchant_id"] for row in rows]


async def write_customer(connection: asyncpg.Connection, record: CustomerRecord) -> None:
    """Rewrite a customer's record; the caller holds its lock."""
    await connection.execute(
        "UPDATE customer c SET name = r.name, locale = r.locale, timezone = r.timezone, country = r.country,"
        " do_not_contact = r.do_not_contact, do_not_contact_because = r.do_not_contact_because,"
        " vulnerable = r.vulnerable, erased_at = r.erased_at, changed_at = r.changed_at"
        " FROM jsonb_populate_record(null::customer, $1::jsonb) r"
        " WHERE c.merchant_id = r.merchant_id AND c.ref = r.ref",
        msgspec.json.encode(record).decode(),
    )


async def use_no_more(connection: asyncpg.Connection, ids: Collection[UUID], now: datetime) -> None:
    """Take addresses away from their customer; they stay known by what was sent to them."""
    await connection.execute(
        "WITH meant AS (SELECT id FROM customer_address WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE)"
        " UPDATE customer_address a SET told_at = NULL, changed_at = $2 FROM meant WHERE a.id = meant.id",
        list(ids),
        now,
    )


async def release_channel(
    connection: asyncpg.Connection, customer: CustomerKey, channel: str, because: str, now: datetime
) -> list[Address]:
    """Let every address of a customer on a channel be written to again; return what changed."""
    rows = await connection.fetch(
        "WITH meant AS (SELECT id FROM customer_address WHERE merchant_id = $1 AND customer_ref = $2 AND channel = $3"
        " AND state <> 'usable' ORDER BY id FOR NO KEY UPDATE)"
        " UPDATE customer_address a SET state = 'usable', because = $4, changed_at = $5"
        " FROM meant WHERE a.id = meant.id RETURNING row_to_json(a)::text",
        *customer,
        channel,
        because,
        now,
    )
    return [msgspec.json.decode(row[0], type=Address) for row in rows]


async def erase_words(connection: asyncpg.Connection, customer: CustomerKey) -> None:
    """Take the addresses of a customer and the words of every message to them out of the database for good."""
    await connection.execute(
        "WITH meant AS (SELECT id FROM message WHERE merchant_id = $1 AND customer_ref = $2"
        " AND (to_address IS NOT NULL OR text IS NOT NULL) ORDER BY id FOR NO KEY UPDATE)"
        " UPDATE message m SET to_address = NULL, subject = NULL, text = NULL, html = NULL, provider_ref = NULL"
        " FROM meant WHERE m.id = meant.id",
        *customer,
    )
    await connection.execute(
        "WITH meant AS (SELECT id FROM customer_address WHERE merchant_id = $1 AND customer_ref = $2"
        " ORDER BY id FOR UPDATE) DELETE FROM customer_address a USING meant WHERE a.id = meant.id",
        *customer,
    )


def standing_of(known: KnownCustomer | None) -> Standing:
    """Return of a customer's record what decisions about their cases see."""
    return Standing() if known is None else msgspec.convert(known.record, Standing, from_attributes=True)


def _columns(wanted: Iterable[CustomerKey]) -> tuple[list[str], list[str]]:
    keys = sorted(set(wanted))
    return [merchant for merchant, _ in keys], [ref for _, ref in keys]
