"""What is known of how a customer is reached, read under the customer's lock: everything said to them waits for it."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from recoup_core.domain.customer import BLOCKED, Address, AddressState, CustomerRecord
from recoup_core.domain.message import MessageState
from recoup_core.domain.payment import Customer
from recoup_core.rules.deciding.contact import Contact, customers_zone
from recoup_core.storage.customers import CustomerFile, CustomerKey, Told, lock_customers, read_files

_NOT_SENT = (MessageState.QUEUED, MessageState.SENDING)


class ContactFile:
    """One customer's record, addresses and recent messages; knows what is said to them meanwhile."""

    def __init__(self, file: CustomerFile, now: datetime) -> None:
        self.record: CustomerRecord = file.record
        self.now = now
        self._used, self._tired = file.used, file.tired
        self._told = list(file.told)

    def address(self, channel: str) -> Address | None:
        """Return the address that is used on a channel, blocked or not."""
        return self._used.get(channel)

    def usable(self, channel: str) -> Address | None:
        """Return the address on a channel that may be written to."""
        known = self._used.get(channel)
        return None if known is None or self.blocked(channel) is not None else known

    def blocked(self, channel: str) -> AddressState | None:
        """Return why a channel may not be written to; None where it may, or has no address."""
        if channel in self._tired:
            return self._tired[channel].state
        known = self._used.get(channel)
        return known.state if known is not None and known.state in BLOCKED else None

    def contacts(self, *, reset_on_recovery: bool) -> list[Contact]:
        """Return what the budget counts: what is still to leave counts as leaving now."""
        return [
            Contact(
                at=max(told.created_at, self.now) if told.state in _NOT_SENT else told.sent_at or told.created_at,
                occasion=told.step_id or told.notice_id or told.id,
                counts=not (told.paid and reset_on_recovery),
            )
            for told in self._told
        ]

    def sent_contacts(self, but: UUID) -> list[Contact]:
        """Return the contacts that have left, for one that is about to: `but` is its own occasion."""
        left = [told for told in self._told if told.state not in _NOT_SENT]
        others = [told for told in left if (told.step_id or told.notice_id or told.id) != but]
        return [
            Contact(at=told.sent_at or told.created_at, occasion=told.step_id or told.notice_id or told.id)
            for told in others
        ]

    def remember(self, told: Told) -> None:
        """Count a message that was just written down."""
        self._told.append(told)


async def load_contacts(
    connection: asyncpg.Connection, wanted: Collection[CustomerKey], now: datetime
) -> dict[CustomerKey, ContactFile]:
    """Lock customers (merchant, name), creating the missing ones, and return what is known of each.

    Lock order: the caller holds its payments' locks already, and takes no account's lock in this transaction before.
    """
    if not wanted:
        return {}
    await lock_customers(connection, wanted, now)
    files = await read_files(connection, wanted, now)
    return {key: ContactFile(file, now) for key, file in files.items()}


def zone_of_customer(contact: ContactFile, told: Customer | None = None) -> ZoneInfo:
    """Return the customer's zone: as their record says, else as their payment told, else their country's, else UTC."""
    record = contact.record
    return customers_zone(record.timezone or (told.timezone if told else None), country_of(contact, told))


def country_of(contact: ContactFile, told: Customer | None = None) -> str | None:
    """Return the customer's country, whose holidays are kept."""
    return contact.record.country or (told.country if told else None)


def locale_of(contact: ContactFile, brand_locale: str | None, otherwise: str) -> str:
    """Return the language that a customer is written to in."""
    return contact.record.locale or brand_locale or otherwise
