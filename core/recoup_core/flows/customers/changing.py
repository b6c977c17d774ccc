"""What people and billing systems change about a customer: addresses, language, whether they are written to at all.

Each is one transaction under the customer's lock, remembered under its idempotency key. Events name the fields that
changed, never what they are; a message that is still to leave is looked at once more before it does.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.customer import MAX_BECAUSE, CustomerRecord
from recoup_core.domain.happened import Event, EventKind
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.customers.telling import (
    ContactInvalid,
    address_of,
    check_address,
    check_locale,
    check_name,
    customer_changed,
)
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.rules.facts import COUNTRIES
from recoup_core.rules.timing.hours import known_zone
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.customers import (
    KnownCustomer,
    erase_words,
    lock_customers,
    read_customer,
    release_channel,
    use_no_more,
    write_customer,
)

MAX_REF: Final = 255
_TEXTS: Final = ("name", "locale", "timezone", "country")


class CustomerChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of a customer; what is unset stays as it is."""

    name: str | msgspec.UnsetType | None = msgspec.UNSET
    locale: str | msgspec.UnsetType | None = msgspec.UNSET
    timezone: str | msgspec.UnsetType | None = msgspec.UNSET
    country: str | msgspec.UnsetType | None = msgspec.UNSET
    addresses: Mapping[str, str | None] = {}
    """By channel; None takes the address away."""
    only_these: bool = False
    """Whether every other channel's address is taken away, too."""
    do_not_contact: bool | msgspec.UnsetType = msgspec.UNSET
    do_not_contact_because: str | None = None
    vulnerable: bool | msgspec.UnsetType = msgspec.UNSET


class _Desk(msgspec.Struct):
    """One customer under their lock, and what is to be written."""

    connection: asyncpg.Connection
    known: KnownCustomer
    changes: Changes
    by: By
    now: datetime

    @property
    def about(self) -> tuple[str, str]:
        """The customer's merchant and name."""
        return self.known.record.merchant_id, self.known.record.ref

    def changed(self, fields: list[str]) -> None:
        """Tell which fields changed."""
        event = customer_changed(
            self.about, fields, self.now, actor=self.by.actor, correlation_id=self.by.correlation_id
        )
        self.changes.add(event)

    def tell(self, kind: EventKind, **data: Any) -> None:
        """Add an event about the customer."""
        self.changes.add(
            Event(
                at=self.now,
                merchant_id=self.by.merchant_id,
                kind=kind,
                actor=self.by.actor,
                correlation_id=self.by.correlation_id,
                data={"customer": self.known.record.ref, **data},
            )
        )


async def change_customer(
    context: Context, ref: str, by: By, change: CustomerChange, *, make: bool = True
) -> KnownCustomer:
    """Change what is given; a customer that nobody told of yet is made, or (`make` false) not found.

    Raises `NotFound`, `ContactInvalid`, `CardNumberRefused`.
    """
    if not 0 < len(ref) <= MAX_REF:
        raise ContactInvalid("ref", f"must have 1 to {MAX_REF} characters")
    refuse_card_numbers(ref, "ref")
    _check(change)

    async def act(desk: _Desk) -> None:
        record, fields = _rewritten(desk.known.record, change)
        fields += await _readdress(desk, change)
        if fields:
            await write_customer(desk.connection, msgspec.structs.replace(record, changed_at=desk.now))
            desk.changed(fields)

    return await _on_customer(context, ref, by, act, make=make)


async def release(context: Context, ref: str, address_id: UUID, by: By, because: str) -> KnownCustomer:
    """Write to an address again, on the word of a person: with it, to the customer's whole channel.

    Raises `NotFound`, `NotAllowedNow` where nothing is blocked, `CardNumberRefused`.
    """
    refuse_card_numbers(because, "because")

    async def act(desk: _Desk) -> None:
        address = next((each for each in desk.known.addresses if each.id == address_id), None)
        if address is None:
            raise NotFound("address", address_id)
        released = await release_channel(desk.connection, desk.about, address.channel, because[:MAX_BECAUSE], desk.now)
        if not released:
            raise NotAllowedNow("no address of this customer on that channel is blocked")
        for each in released:
            desk.tell(EventKind.ADDRESS_RELEASED, address=str(each.id), channel=each.channel, because=because)

    return await _on_customer(context, ref, by, act)


async def erase(context: Context, ref: str, by: By, because: str) -> KnownCustomer:
    """Erase a customer's name and addresses, and the words of everything that was ever said to them.

    Their payments, cases and events stay: those hold ids, amounts and reasons. Whether they are contacted stays, too.
    """
    refuse_card_numbers(because, "because")

    async def act(desk: _Desk) -> None:
        await erase_words(desk.connection, desk.about)
        blank = {"name": None, "do_not_contact_because": None, "erased_at": desk.now, "changed_at": desk.now}
        await write_customer(desk.connection, msgspec.structs.replace(desk.known.record, **blank))
        desk.tell(EventKind.CUSTOMER_ERASED, because=because, addresses=len(desk.known.addresses))

    return await _on_customer(context, ref, by, act)


Act = Callable[[_Desk], Awaitable[None]]


async def _on_customer(context: Context, ref: str, by: By, act: Act, *, make: bool = False) -> KnownCustomer:
    """Run one change under the customer's lock; the same call again changes nothing more."""
    changes, now = Changes(), context.clock.now()
    async with context.database.transaction() as connection:
        if not make and await read_customer(connection, by.merchant_id, ref) is None:
            raise NotFound("customer", ref)
        await lock_customers(connection, [(by.merchant_id, ref)], now)
        known = await read_customer(connection, by.merchant_id, ref)
        assert known is not None  # its lock is held
        if by.call is not None and await recall(connection, by.merchant_id, by.call) is not None:
            return known
        await act(_Desk(connection, known, changes, by, now))
        if by.call is not None:
            # what is remembered names nobody: the answer is the customer as they are by then
            changes.add(remember(by.call, by.merchant_id, b"{}", now))
        await changes.write(connection)
        after = await read_customer(connection, by.merchant_id, ref)
    assert after is not None  # as above
    count_events(context, changes)
    return after


def _check(change: CustomerChange) -> None:
    given = {field: value for field in _TEXTS if isinstance(value := getattr(change, field), str)}
    if "name" in given:
        check_name(given["name"], "name")
        refuse_card_numbers(given["name"], "name")
    if "locale" in given:
        check_locale(given["locale"], "locale")
    if "timezone" in given and known_zone(given["timezone"]) is None:
        raise ContactInvalid("timezone", "is no time zone of the IANA database")
    if "country" in given and given["country"] not in COUNTRIES:
        raise ContactInvalid("country", "is no country of ISO 3166-1")
    for channel, address in change.addresses.items():
        if address is not None:
            check_address(channel, address, "addresses")
            refuse_card_numbers({channel: address}, "addresses")
    because = change.do_not_contact_because or ""
    refuse_card_numbers(because, "do_not_contact_because")
    if len(because) > MAX_BECAUSE:
        raise ContactInvalid("do_not_contact_because", f"has more than {MAX_BECAUSE} characters")


def _rewritten(record: CustomerRecord, change: CustomerChange) -> tuple[CustomerRecord, list[str]]:
    """Return the record as it is wanted, and which of its fields changed."""
    names = (*_TEXTS, "do_not_contact", "vulnerable")
    given = {name: value for name in names if (value := getattr(change, name)) is not msgspec.UNSET}
    if "do_not_contact" in given:
        given["do_not_contact_because"] = change.do_not_contact_because if given["do_not_contact"] else None
    fields = [name for name, value in given.items() if getattr(record, name) != value]
    return msgspec.structs.replace(record, **given), fields


async def _readdress(desk: _Desk, change: CustomerChange) -> list[str]:
    """Use the given addresses from now on; return the fields that changed."""
    used = desk.known.used
    fresh = {
        channel: address
        for channel, address in change.addresses.items()
        if address is not None and (channel not in used or used[channel].address != address)
    }
    gone = {channel for channel, address in change.addresses.items() if address is None and channel in used}
    if change.only_these:
        gone |= used.keys() - change.addresses.keys()
    if gone:
        taken = [each.id for each in desk.known.addresses if each.channel in gone and each.told_at is not None]
        await use_no_more(desk.connection, taken, desk.now)
    for channel, address in sorted(fresh.items()):
        desk.changes.add(address_of(desk.about, channel, address, desk.now))
    return [f"addresses.{channel}" for channel in sorted({*fresh, *gone})]
