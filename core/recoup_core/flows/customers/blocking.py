"""Addresses that nothing is sent to any more: they bounced, or their reader complained or unsubscribed."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.customer import MAX_BECAUSE, Address, AddressState
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.message import Message
from recoup_core.flows.context import Context, count_events
from recoup_core.storage.changes import Changes
from recoup_core.storage.customers import addresses_of, block_addresses, find_address

UNSUBSCRIBED: Final = "its reader unsubscribed"


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an address, by whom it was told, and when."""

    state: AddressState
    because: str
    """In words; names no address."""
    actor: str
    now: datetime
    correlation_id: str | None = None


async def block(connection: asyncpg.Connection, changes: Changes, messages: Collection[Message], why: Why) -> None:
    """Block the addresses that messages went to, for every customer of the merchant who has them."""
    same = [(m.merchant_id, m.channel, m.to_address.lower()) for m in messages if m.to_address]
    await block_some(connection, changes, [m.address_id for m in messages if m.address_id is not None], same, why)


async def block_some(
    connection: asyncpg.Connection,
    changes: Changes,
    ids: Sequence[UUID],
    same: Sequence[tuple[str, str, str]],
    why: Why,
) -> None:
    """Block addresses by id, or by merchant, channel and address in lower case; those blocked so already stay."""
    if not ids and not same:
        return
    for address in await block_addresses(connection, ids, same, why.state, why.because[:MAX_BECAUSE], why.now):
        changes.add(_blocked(address, why))


async def unsubscribe(context: Context, address_id: UUID, by: str) -> Address | None:
    """Take a customer off a channel, as the link in a message asks; None where there is no such address any more.

    It is the customer who is tired of the channel, not the address: every address of theirs on it is blocked, and each
    customer of the merchant who has this one. Once more changes nothing.
    """
    changes = Changes()
    async with context.database.transaction() as connection:
        address = await find_address(connection, address_id)
        if address is None:
            return None
        ids = await addresses_of(connection, (address.merchant_id, address.customer_ref), address.channel)
        now = context.clock.now()
        why = Why(state=AddressState.UNSUBSCRIBED, because=UNSUBSCRIBED, actor=by, now=now)
        same = [(address.merchant_id, address.channel, address.address.lower())]
        await block_some(connection, changes, ids, same, why)
        await changes.write(connection)
    count_events(context, changes)
    return msgspec.structs.replace(address, state=AddressState.UNSUBSCRIBED, because=UNSUBSCRIBED)


def _blocked(address: Address, why: Why) -> Event:
    return Event(
        at=why.now,
        merchant_id=address.merchant_id,
        kind=EventKind.ADDRESS_BLOCKED,
        actor=why.actor,
        correlation_id=why.correlation_id,
        data={
            "customer": address.customer_ref,
            "address": str(address.id),
            "channel": address.channel,
            "state": why.state.value,
            "because": why.because,
        },
    )
