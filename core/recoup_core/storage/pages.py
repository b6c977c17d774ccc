"""Whom the links in messages are for, and when their pages were opened."""

from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.customer import AddressState
from recoup_core.domain.happened import EventKind


class LinkOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose link it is, and how this customer reads."""

    merchant_id: str
    customer_ref: str
    locale: str | None = None
    """The customer's own language, where it is known."""
    timezone: str | None = None
    payment_id: UUID | None = None
    """The payment of the case."""
    case_id: UUID | None = None
    """The case that the page is about: the link's own, or the one that a charge ended in."""
    channel: str | None = None
    address_state: AddressState | None = None


_OF_CASE: Final = """
    SELECT json_build_object('merchant_id', p.merchant_id, 'customer_ref', p.customer ->> 'ref', 'payment_id', p.id,
                             'case_id', c.id, 'locale', k.locale, 'timezone', k.timezone)::text
    FROM recovery_case c JOIN payment p ON p.id = c.payment_id
    LEFT JOIN customer k ON k.merchant_id = p.merchant_id AND k.ref = p.customer ->> 'ref'
    WHERE c.id = $1"""

_OF_CHARGE: Final = """
    SELECT json_build_object('merchant_id', u.merchant_id, 'customer_ref', u.customer ->> 'ref',
                             'payment_id', c.payment_id, 'case_id', c.id,
                             'locale', k.locale, 'timezone', k.timezone)::text
    FROM upcoming_charge u
    LEFT JOIN customer k ON k.merchant_id = u.merchant_id AND k.ref = u.customer ->> 'ref'
    LEFT JOIN payment p ON p.merchant_id = u.merchant_id AND p.reference = u.reference
                       AND p.customer ->> 'ref' = u.customer ->> 'ref'
    LEFT JOIN recovery_case c ON c.payment_id = p.id
    WHERE u.id = $1"""

_OF_ADDRESS: Final = """
    SELECT json_build_object('merchant_id', a.merchant_id, 'customer_ref', a.customer_ref, 'channel', a.channel,
                             'address_state', a.state, 'locale', k.locale, 'timezone', k.timezone)::text
    FROM customer_address a JOIN customer k ON k.merchant_id = a.merchant_id AND k.ref = a.customer_ref
    WHERE a.id = $1"""


async def owner_of_case(connection: asyncpg.Connection, case_id: UUID) -> LinkOwner | None:
    """Return whom a link to a case is for; of any merchant: its signature says whether it is genuine."""
    return _owner(await connection.fetchval(_OF_CASE, case_id))


async def owner_of_charge(connection: asyncpg.Connection, charge_id: UUID) -> LinkOwner | None:
    """Return whom a link to an upcoming charge is for; with the case that followed, where the charge failed."""
    return _owner(await connection.fetchval(_OF_CHARGE, charge_id))


async def owner_of_address(connection: asyncpg.Connection, address_id: UUID) -> LinkOwner | None:
    """Return whom a link that unsubscribes an address is for."""
    return _owner(await connection.fetchval(_OF_ADDRESS, address_id))


def _owner(row: str | None) -> LinkOwner | None:
    return None if row is None else msgspec.json.decode(row, type=LinkOwner)


async def opened_since(connection: asyncpg.Connection, case_id: UUID, since: datetime) -> bool:
    """Return whether somebody opened the page of a case after `since`."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM event WHERE case_id = $1 AND kind = $2 AND at > $3)",
        case_id,
        EventKind.UPDATE_PAGE_OPENED,
        since,
    )
    return found
