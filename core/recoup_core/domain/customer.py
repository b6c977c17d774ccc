"""How a customer is reached, and whether at all.

Payments keep what was known of their customer when they were reported; this is what holds now, for all of them.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec


class AddressState(StrEnum):
    """Whether an address may be written to."""

    USABLE = "usable"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"


BLOCKED: Final = frozenset(set(AddressState) - {AddressState.USABLE})

WISHES: Final = frozenset({AddressState.COMPLAINED, AddressState.UNSUBSCRIBED})
"""What the customer asked for: it holds for all their addresses on that channel, those told later included."""

MAX_NAME: Final = 200
MAX_ADDRESS: Final = 2000
MAX_BECAUSE: Final = 500


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One address of one customer on one channel."""

    id: UUID
    merchant_id: str
    customer_ref: str
    channel: str
    """As policies write it: `email`, `sms`, `push`, `chat`, `webhook`."""
    address: str
    state: AddressState = AddressState.USABLE
    because: str | None = None
    told_at: datetime | None = None
    """When it was last told to be the customer's; the latest on a channel is used. None: it was taken away, and stays
    known by what was sent to it."""
    created_at: datetime
    changed_at: datetime


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Of a customer's record what decisions about their cases see; nothing that names the person."""

    timezone: str | None = None
    country: str | None = None
    do_not_contact: bool = False
    vulnerable: bool = False


class CustomerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One customer of one merchant; its row's lock orders everything that is said to them."""

    merchant_id: str
    ref: str
    """The merchant's own name for the customer."""
    name: str | None = None
    """How they are addressed."""
    locale: str | None = None
    """BCP 47 (`de-AT`); else the brand's."""
    timezone: str | None = None
    country: str | None = None
    do_not_contact: bool = False
    do_not_contact_because: str | None = None
    vulnerable: bool = False
    erased_at: datetime | None = None
    """When names and addresses were erased; a later report may tell of new ones."""
    created_at: datetime
    changed_at: datetime
