"""What requests and answers about customers and messages carry. Links in shown messages are masked: they are keys."""

import re
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from recoup_core.domain.customer import MAX_ADDRESS, MAX_BECAUSE, AddressState, CustomerRecord
from recoup_core.domain.message import Message, MessageState
from recoup_core.flows.customers.changing import MAX_REF, CustomerChange
from recoup_core.flows.links import UNSUBSCRIBE_PATH, UPDATE_PATH
from recoup_core.storage.customers import KnownCustomer
from recoup_server.schemas_in import Body, Country, Name
from recoup_server.schemas_out import Out

MASKED: Final = "…"
_TOKEN: Final = re.compile(rf"({re.escape(UPDATE_PATH)}|{re.escape(UNSUBSCRIBE_PATH)})[\w-]{{20,}}")

Because = Annotated[str, Meta(min_length=1, max_length=MAX_BECAUSE)]
Locale = Annotated[str, Meta(min_length=2, max_length=35, description="BCP 47 (`de-AT`).")]
Zone = Annotated[str, Meta(min_length=1, max_length=64, description="IANA name (`Europe/Berlin`).")]
AddressText = Annotated[str, Meta(min_length=1, max_length=MAX_ADDRESS)]


class CustomerPatch(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays, null takes it away."""

    name: Name | UnsetType | None = UNSET
    """How they are addressed."""
    locale: Locale | UnsetType | None = UNSET
    timezone: Zone | UnsetType | None = UNSET
    country: Country | UnsetType | None = UNSET
    addresses: Annotated[dict[str, AddressText | None], Meta(max_length=10)] = msgspec.field(default_factory=dict)
    """By channel (`email`, `sms`, ...); null takes the address away."""
    do_not_contact: bool | UnsetType = UNSET
    """Nothing is said to them by any channel; what is still to leave is canceled."""
    do_not_contact_because: Because | None = None
    vulnerable: bool | UnsetType = UNSET
    """They get fewer messages, and policies may treat their debts apart."""

    def change(self) -> CustomerChange:
        """Return the change as flows know it."""
        return CustomerChange(**msgspec.structs.asdict(self))


class CustomerPut(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer as a whole: what is left out is taken away."""

    ref: Annotated[str, Meta(min_length=1, max_length=MAX_REF)]
    """Your own name for the customer, as payments carry it."""
    name: Name | None = None
    locale: Locale | None = None
    timezone: Zone | None = None
    country: Country | None = None
    addresses: Annotated[dict[str, AddressText], Meta(max_length=10)] = msgspec.field(default_factory=dict)
    do_not_contact: bool = False
    do_not_contact_because: Because | None = None
    vulnerable: bool = False

    def change(self) -> CustomerChange:
        """Return the change as flows know it."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "ref"}
        return CustomerChange(**given, only_these=True)


class BecauseIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is done."""

    because: Because


class AddressOut(Out, frozen=True, kw_only=True):
    """One address of a customer."""

    id: UUID
    channel: str
    address: str
    used: bool
    """Whether messages on this channel go there; others are known by what was sent to them."""
    state: AddressState
    because: str | None
    created_at: datetime
    changed_at: datetime


class CustomerOut(Out, frozen=True, kw_only=True):
    """How a customer is reached, and whether at all."""

    ref: str
    name: str | None
    locale: str | None
    timezone: str | None
    country: str | None
    do_not_contact: bool
    do_not_contact_because: str | None
    vulnerable: bool
    erased_at: datetime | None
    created_at: datetime
    changed_at: datetime


class CustomerDetail(CustomerOut, frozen=True, kw_only=True):
    """A customer with their addresses, the latest told first."""

    addresses: list[AddressOut]


class CustomerPage(Out, frozen=True, kw_only=True):
    """A page of customers, by name."""

    items: list[CustomerOut]
    next_cursor: str | None


class MessageOut(Out, frozen=True, kw_only=True):
    """One message by one channel, and what became of it; the address it went to stands with the customer."""

    id: UUID
    customer_ref: str
    case_id: UUID | None
    payment_id: UUID | None
    step_id: UUID | None
    notice_id: UUID | None
    channel: str
    template: str
    locale: str
    notifier: str
    address_id: UUID | None
    state: MessageState
    because: str | None
    """Why it failed, came back, was canceled, or waits."""
    sends: int
    created_at: datetime
    sent_at: datetime | None
    finished_at: datetime | None
    complained_at: datetime | None


class MessageDetail(MessageOut, frozen=True, kw_only=True):
    """A message with its words; the keys in its links are masked. None once the customer was erased."""

    subject: str | None
    text: str | None
    html: str | None


class MessagePage(Out, frozen=True, kw_only=True):
    """A page of messages, newest first."""

    items: list[MessageOut]
    next_cursor: str | None


def customer_out(record: CustomerRecord) -> CustomerOut:
    """Return a customer as lists show it."""
    return msgspec.convert(record, CustomerOut, from_attributes=True)


def customer_detail(known: KnownCustomer) -> CustomerDetail:
    """Return a customer with their addresses."""
    used = {address.id for address in known.used.values()}
    addresses = [
        msgspec.convert({**msgspec.structs.asdict(each), "used": each.id in used}, AddressOut)
        for each in known.addresses
    ]
    return CustomerDetail(**msgspec.structs.asdict(customer_out(known.record)), addresses=addresses)


def message_out(message: Message) -> MessageOut:
    """Return a message as lists show it."""
    return msgspec.convert(message, MessageOut, from_attributes=True)


def message_detail(message: Message) -> MessageDetail:
    """Return a message with its words."""
    shown = msgspec.structs.replace(
        message, subject=masked(message.subject), text=masked(message.text), html=masked(message.html)
    )
    return msgspec.convert(shown, MessageDetail, from_attributes=True)


def masked(words: str | None) -> str | None:
    """Return words without the keys in their links: whoever reads them here is not the customer."""
    return None if words is None else _TOKEN.sub(rf"\1{MASKED}", words)
