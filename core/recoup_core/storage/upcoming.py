"""Charges that are to come, with everything that decisions about their notices need: lock first, then load.

Lock order, for every writer: upcoming charges by id, then customers; nobody takes a payment's lock behind them.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.upcoming import ChargeFile, UpcomingCharge
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import read_page

_LOCK: Final = "SELECT id FROM upcoming_charge WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

_BESIDE: Final = """
    'standing', coalesce((SELECT json_build_object('timezone', x.timezone, 'country', x.country,
                              'do_not_contact', x.do_not_contact, 'vulnerable', x.vulnerable)
                          FROM customer x WHERE x.merchant_id = {merchant} AND x.ref = {customer}), '{{}}'::json),
    'has_backup', EXISTS (SELECT FROM credential k WHERE k.merchant_id = {merchant} AND k.customer_ref = {customer}
                          AND k.valid AND k.role = 'backup'),
    'renewed', (SELECT json_build_object('at', coalesce(k.renewed_at, k.created_at), 'expires_on', k.expires_on)
                FROM credential k WHERE k.merchant_id = {merchant} AND k.customer_ref = {customer} AND k.valid
                  AND k.role = 'primary' AND k.gateway = {gateway}
                ORDER BY coalesce(k.renewed_at, k.created_at) DESC, k.id DESC LIMIT 1),
    'failed', EXISTS (SELECT FROM payment p WHERE p.merchant_id = {merchant} AND p.reference = {reference}
                      AND p.first_failed_at IS NOT NULL)"""

_OF_CHARGE: Final = _BESIDE.format(
    merchant="u.merchant_id", customer="u.customer ->> 'ref'", gateway="u.gateway", reference="u.reference"
)
_OF_NEW: Final = _BESIDE.format(merchant="$1", customer="$2", gateway="$3", reference="$4")

_LOAD: Final = f"""
    SELECT json_build_object(
        'charge', row_to_json(u),
        'notices', (SELECT coalesce(json_agg(row_to_json(n) ORDER BY n.due_at, n.id), '[]')
                    FROM notice n WHERE n.charge_id = u.id),
        {_OF_CHARGE})::text
    FROM upcoming_charge u WHERE u.id = ANY($1::uuid[])"""

_CHARGE: Final = "SELECT to_jsonb(u)::text FROM upcoming_charge u"
_FILTERS: Final = {
    "id": "u.id = {}",
    "state": "u.state = {}",
    "customer": "u.customer ->> 'ref' = {}",
    "reference": "u.reference = {}",
}

_JOBLESS_NOTICES: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, n.id, $3, $3 FROM notice n
    WHERE n.state = 'planned' AND n.due_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = n.id)
    ORDER BY n.due_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""

_JOBLESS_CHARGES: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, u.id, $3, $3 FROM upcoming_charge u
    WHERE u.state = 'announced' AND u.charge_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = u.id)
    ORDER BY u.charge_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""


async def lock_charges(connection: asyncpg.Connection, charge_ids: Collection[UUID]) -> dict[UUID, ChargeFile]:
    """Lock charges in the order of their ids and return their files."""
    await connection.fetch(_LOCK, list(charge_ids))
    return await load_charges(connection, charge_ids)


async def load_charges(connection: asyncpg.Connection, charge_ids: Collection[UUID]) -> dict[UUID, ChargeFile]:
    """Return charges' files by id, without locks: for readers."""
    rows = await connection.fetch(_LOAD, list(charge_ids))
    files = (msgspec.json.decode(row[0], type=ChargeFile) for row in rows)
    return {file.charge.id: file for file in files}


async def file_of(connection: asyncpg.Connection, charge: UpcomingCharge) -> tuple[ChargeFile, int]:
    """Return the file of a charge that is not stored yet, and the number of the policies in force."""
    row = await connection.fetchrow(
        f"SELECT json_build_object({_OF_NEW})::text AS known, (SELECT number FROM policy_epoch) AS epoch",
        charge.merchant_id,
        charge.customer.ref,
        charge.gateway,
        charge.reference,
    )
    known: dict[str, msgspec.Raw] = msgspec.json.decode(row["known"], type=dict[str, msgspec.Raw])
    body = msgspec.json.encode({"charge": charge, **known})
    return msgspec.json.decode(body, type=ChargeFile), row["epoch"]


async def charges_of_notices(connection: asyncpg.Connection, notice_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return notice id to charge id."""
    rows = await connection.fetch("SELECT id, charge_id FROM notice WHERE id = ANY($1::uuid[])", list(notice_ids))
    return {row["id"]: row["charge_id"] for row in rows}


async def digests_of(connection: asyncpg.Connection, charge_ids: Collection[UUID]) -> set[str]:
    """Return the policy texts that charges keep; a charge keeps its own for good."""
    rows = await connection.fetch(
        "SELECT DISTINCT policy_digest FROM upcoming_charge WHERE id = ANY($1::uuid[]) AND policy_digest IS NOT NULL",
        list(charge_ids),
    )
    return {row["policy_digest"] for row in rows}


async def charge_by_reference(connection: asyncpg.Connection, merchant_id: str, reference: str) -> UUID | None:
    """Return the id of the charge that a merchant calls so."""
    found: UUID | None = await connection.fetchval(
        "SELECT id FROM upcoming_charge WHERE merchant_id = $1 AND reference = $2", merchant_id, reference
    )
    return found


async def announced_to(
    connection: asyncpg.Connection, merchant_id: str, customers: Collection[str], limit: int
) -> list[UUID]:
    """Return the charges that are to come for customers, the next ones first."""
    rows = await connection.fetch(
        "SELECT id FROM upcoming_charge WHERE merchant_id = $1 AND customer ->> 'ref' = ANY($2::text[])"
        " AND state = 'announced' ORDER BY charge_at LIMIT $3",
        merchant_id,
        list(customers),
        limit,
    )
    return [row["id"] for row in rows]


async def list_charges(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[UpcomingCharge]:
    """Return the newest charges before a key; filters: id, state, customer, reference."""
    return await read_page(database, _CHARGE, "u", _FILTERS, merchant_id, filters, before, limit, UpcomingCharge)


async def jobless_notices(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give a job to overdue notices that have none; return how many."""
    return len(await connection.fetch(_JOBLESS_NOTICES, kind, before, now, limit))


async def jobless_charges(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give a job to charges whose time is over and that have none; return how many."""
    return len(await connection.fetch(_JOBLESS_CHARGES, kind, before, now, limit))
