"""Credentials as gateways' events name them, whom they concern, and where gateways were asked for more.

Each `lock_...` takes its rows' locks by id in one statement, after any payments' locks: no two writers wait for each
other in a circle, and a credential that is rewritten is never an old copy.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.payment import Credential, CredentialRole
from recoup_core.ports import GatewayEvent
from recoup_core.storage.engine import Database

MAX_TOLD: Final = 200
"""Events about one token that are read; gateways tell a handful."""

MAX_ROWS: Final = 100
"""Rows of one token, over all customers it was reported for."""

_LOCKED: Final = """
    SELECT row_to_json(k)::text FROM credential k WHERE k.id IN ({found}) ORDER BY k.id FOR NO KEY UPDATE"""

_OF_TOKENS: Final = f"""
    SELECT c.id FROM credential c WHERE c.merchant_id = $1 AND c.gateway = $2 AND c.token = ANY ($3::text[])
    LIMIT {MAX_ROWS}"""

# the token itself, whoever else it was reported for, and the same customer's other names for the same account
_SAME_ACCOUNT: Final = f"""
    SELECT s.id FROM credential c JOIN credential s ON s.merchant_id = c.merchant_id
        AND ((s.gateway = c.gateway AND s.token = c.token)
             OR (s.account_key = c.account_key AND s.customer_ref = c.customer_ref))
    WHERE c.id = ANY ($1::uuid[]) LIMIT {MAX_ROWS}"""


async def lock_tokens(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, tokens: Collection[str]
) -> tuple[Credential, ...]:
    """Return, locked, every row of these tokens within one merchant: a customer each."""
    return _credentials(await connection.fetch(_LOCKED.format(found=_OF_TOKENS), merchant_id, gateway, list(tokens)))


async def ids_of_tokens(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, tokens: Collection[str]
) -> list[UUID]:
    """Return the ids of every row of these tokens within one merchant."""
    return [row["id"] for row in await connection.fetch(_OF_TOKENS, merchant_id, gateway, list(tokens))]


async def tokens_of_charge(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, charge_refs: Collection[str]
) -> list[str]:
    """Return the tokens that attempts with these references were made on; a charge is made on one."""
    rows = await connection.fetch(
        "SELECT DISTINCT k.token FROM attempt a JOIN credential k ON k.id = a.credential_id AND k.gateway = a.gateway"
        " WHERE a.merchant_id = $1 AND a.gateway = $2 AND a.gateway_ref = ANY ($3::text[]) LIMIT $4",
        merchant_id,
        gateway,
        list(charge_refs),
        MAX_ROWS,
    )
    return [row["token"] for row in rows]


async def lock_accounts_of(connection: asyncpg.Connection, ids: Collection[UUID]) -> tuple[Credential, ...]:
    """Return, locked, these credentials with every other name of the same means of payment at the same customer."""
    return _credentials(await connection.fetch(_LOCKED.format(found=_SAME_ACCOUNT), list(ids)))


async def credential_of_attempt(connection: asyncpg.Connection, attempt_id: UUID) -> Credential | None:
    """Return the credential that an attempt was made on; None where nobody told."""
    row = await connection.fetchval(
        "SELECT row_to_json(k)::text FROM attempt a JOIN credential k ON k.id = a.credential_id WHERE a.id = $1",
        attempt_id,
    )
    return None if row is None else msgspec.json.decode(row, type=Credential)


async def customers_at(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, gateway_customer: str
) -> list[str]:
    """Return the merchant's names of the customers that a gateway calls so; one, unless reports say otherwise."""
    rows = await connection.fetch(
        "SELECT DISTINCT customer_ref FROM credential"
        " WHERE merchant_id = $1 AND gateway = $2 AND gateway_customer = $3 ORDER BY customer_ref LIMIT $4",
        merchant_id,
        gateway,
        gateway_customer,
        MAX_ROWS,
    )
    return [row["customer_ref"] for row in rows]


async def credentials_of_customer(
    connection: asyncpg.Connection, merchant_id: str, customer_ref: str
) -> tuple[Credential, ...]:
    """Return everything a customer has stored, the oldest first."""
    rows = await connection.fetch(
        "SELECT row_to_json(k)::text FROM credential k WHERE merchant_id = $1 AND customer_ref = $2"
        " ORDER BY created_at, id",
        merchant_id,
        customer_ref,
    )
    return _credentials(rows)


async def credentials_of_case(database: Database, merchant_id: str, case_id: UUID) -> list[Credential] | None:
    """Return what a case's customer has stored: usable primaries, backups, then what is blocked, the newest first.

    None where the merchant has no such case.
    """
    async with database.connection() as connection:
        customer = await connection.fetchval(
            "SELECT p.customer ->> 'ref' FROM recovery_case c JOIN payment p ON p.id = c.payment_id"
            " WHERE c.id = $1 AND c.merchant_id = $2",
            case_id,
            merchant_id,
        )
        if customer is None:
            return None
        newest = reversed(await credentials_of_customer(connection, merchant_id, customer))
    return sorted(newest, key=lambda each: (not each.valid, each.role is not CredentialRole.PRIMARY))


async def payments_asked_for(
    connection: asyncpg.Connection, merchant_id: str, customer_refs: Collection[str], limit: int
) -> list[UUID]:
    """Return the payments that these customers are still asked for, the newest first."""
    rows = await connection.fetch(
        "SELECT p.id FROM payment p JOIN recovery_case c ON c.payment_id = p.id"
        " WHERE p.merchant_id = $1 AND p.customer ->> 'ref' = ANY ($2::text[]) AND p.state = 'owed'"
        " AND c.state IN ('open', 'paused', 'exhausted') ORDER BY p.id DESC LIMIT $3",
        merchant_id,
        list(customer_refs),
        limit,
    )
    return [row["id"] for row in rows]


async def told_of_token(connection: asyncpg.Connection, gateway: str, token: str) -> list[GatewayEvent]:
    """Return the events that a gateway sent about one token, the newest first, whatever became of them."""
    rows = await connection.fetch(
        "SELECT body FROM (SELECT id, body FROM inbound_event WHERE gateway = $1 AND body #>> '{credential,token}' = $2"
        " UNION SELECT id, body FROM inbound_event WHERE gateway = $1 AND body #>> '{credential,now,token}' = $2) told"
        " ORDER BY id DESC LIMIT $3",
        gateway,
        token,
        MAX_TOLD,
    )
    return [msgspec.json.decode(row["body"], type=GatewayEvent) for row in rows]


def _credentials(rows: Collection[asyncpg.Record]) -> tuple[Credential, ...]:
    return tuple(msgspec.json.decode(row[0], type=Credential) for row in rows)


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """How asking one gateway for a case's backups went."""

    gateway: str
    asked_at: datetime | None
    tries: int


async def searches(connection: asyncpg.Connection, case_id: UUID) -> Mapping[str, Search]:
    """Return what is known of a case's searches, by gateway."""
    rows = await connection.fetch("SELECT gateway, asked_at, tries FROM backup_search WHERE case_id = $1", case_id)
    return {row["gateway"]: Search(**dict(row)) for row in rows}


async def keep_search(connection: asyncpg.Connection, merchant_id: str, case_id: UUID, search: Search) -> None:
    """Write down how asking a gateway went."""
    await connection.execute(
        "INSERT INTO backup_search (merchant_id, case_id, gateway, asked_at, tries) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (case_id, gateway) DO UPDATE SET asked_at = excluded.asked_at, tries = excluded.tries",
        merchant_id,
        case_id,
        search.gateway,
        search.asked_at,
        search.tries,
    )


class StoredLink(msgspec.Struct, frozen=True, kw_only=True):
    """A page that a gateway made, or is being asked for; `repr` never shows its address."""

    id: UUID
    merchant_id: str
    case_id: UUID
    gateway: str
    amount_minor: int
    currency: str
    url: str | None = None
    """None until the gateway has answered."""
    pays: bool = False
    created_at: datetime
    expires_at: datetime

    def __repr__(self) -> str:
        return f"StoredLink(id={self.id}, gateway={self.gateway!r}, pays={self.pays})"


_LINK: Final = "SELECT row_to_json(l)::text FROM update_link l"


async def latest_link(
    connection: asyncpg.Connection, case_id: UUID, gateway: str, amount_minor: int
) -> StoredLink | None:
    """Return the page that was asked for last, of a case at a gateway about this amount."""
    row = await connection.fetchval(
        f"{_LINK} WHERE case_id = $1 AND gateway = $2 AND amount_minor = $3 ORDER BY id DESC LIMIT 1",
        case_id,
        gateway,
        amount_minor,
    )
    return None if row is None else msgspec.json.decode(row, type=StoredLink)


async def link_by_id(connection: asyncpg.Connection, merchant_id: str, link_id: UUID) -> StoredLink | None:
    """Return a merchant's page; None once it was deleted."""
    row = await connection.fetchval(f"{_LINK} WHERE id = $1 AND merchant_id = $2", link_id, merchant_id)
    return None if row is None else msgspec.json.decode(row, type=StoredLink)


async def add_link(connection: asyncpg.Connection, link: StoredLink) -> None:
    """Write down that a page is asked for: whoever asks again asks with the same key."""
    await connection.execute(
        "INSERT INTO update_link SELECT * FROM jsonb_populate_record(null::update_link, $1::jsonb)",
        msgspec.json.encode(link).decode(),
    )


async def fill_link(connection: asyncpg.Connection, link_id: UUID, url: str, pays: bool, expires_at: datetime) -> bool:
    """Keep what the gateway answered; return whether nobody had before."""
    done: str = await connection.execute(
        "UPDATE update_link SET url = $2, pays = $3, expires_at = $4 WHERE id = $1 AND url IS NULL",
        link_id,
        url,
        pays,
        expires_at,
    )
    return done == "UPDATE 1"


async def forget_links(connection: asyncpg.Connection, before: datetime, limit: int) -> int:
    """Delete pages that ceased to work before then; return how many."""
    done: str = await connection.execute(
        "DELETE FROM update_link WHERE id IN (SELECT id FROM update_link WHERE expires_at < $1 LIMIT $2)",
        before,
        limit,
    )
    return int(done.split()[-1])
