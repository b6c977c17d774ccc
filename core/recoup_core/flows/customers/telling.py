"""What a report tells of how its customer is reached: checked, and kept where it is news."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from babel import Locale, UnknownLocaleError

from recoup_core.domain.customer import MAX_ADDRESS, MAX_NAME, Address
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.storage.changes import Changes, ToldCustomer
from recoup_core.storage.customers import KnownCustomer

EMAIL: Final = "email"
SMS: Final = "sms"
MAX_CHANNELS: Final = 10
"""Channels of one customer."""

_CHANNEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_EMAIL: Final = re.compile(r"[^\s@<>()\[\]\\,;:\"]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{0,61}[^\W_]")
"""One address and nothing else (no display name, no list, no line break); whether anybody reads it is told by a bounce.
Local part and domain may be in any script (RFC 6531)."""
_EMAIL_CHARS: Final = 254
"""RFC 5321 4.5.3.1.3, the two brackets left out."""
_PHONE: Final = re.compile(r"\+[1-9]\d{6,14}")


class ContactInvalid(DomainError):
    """How a customer is reached can't be as it was told; names the field, never the value."""

    code = "contact_invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class ReportedContact(msgspec.Struct, frozen=True, kw_only=True):
    """How a customer is reached, as far as a report tells; nothing of it is stored with the payment."""

    name: str | None = None
    locale: str | None = None
    addresses: Mapping[str, str] = {}
    """By channel."""

    @property
    def nothing(self) -> bool:
        """Whether nothing is told."""
        return self.name is None and self.locale is None and not self.addresses


def check_contact(contact: ReportedContact, field: str = "customer") -> None:
    """Raise `ContactInvalid` for the first thing that can't be."""
    if contact.name is not None:
        check_name(contact.name, f"{field}.name")
    if contact.locale is not None:
        check_locale(contact.locale, f"{field}.locale")
    if len(contact.addresses) > MAX_CHANNELS:
        raise ContactInvalid(f"{field}.addresses", f"has more than {MAX_CHANNELS} channels")
    for channel, address in contact.addresses.items():
        check_address(channel, address, f"{field}.addresses")


def check_name(name: str, field: str) -> None:
    """Refuse a name that is empty, too long, or could break a line of a mail's header."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ContactInvalid(field, f"must have 1 to {MAX_NAME} printable characters")


def check_locale(locale: str, field: str) -> None:
    """Refuse what is no language that dates and amounts can be written in."""
    try:
        Locale.parse(locale, sep="-")
    except (UnknownLocaleError, ValueError, TypeError):
        raise ContactInvalid(field, "is no locale (BCP 47, like en, de-AT or pt-BR)") from None


def check_address(channel: str, address: str, field: str) -> None:
    """Refuse an address that nothing can be sent to on its channel."""
    if _CHANNEL.fullmatch(channel) is None:
        raise ContactInvalid(field, "has a channel that is no name (small letters, digits, - and _)")
    where = f"{field}.{channel}"
    if channel == EMAIL and (len(address) > _EMAIL_CHARS or _EMAIL.fullmatch(address) is None):
        raise ContactInvalid(where, "is no e-mail address")
    if channel == SMS and _PHONE.fullmatch(address) is None:
        raise ContactInvalid(where, "is no phone number as E.164 writes it: + and 7 to 15 digits, no blanks")
    if not address or len(address) > MAX_ADDRESS or not address.isprintable() or address != address.strip():
        raise ContactInvalid(where, f"must have 1 to {MAX_ADDRESS} printable characters")


def take_contact(
    changes: Changes,
    known: KnownCustomer | None,
    told: ReportedContact,
    about: tuple[str, str],
    now: datetime,
    **event: Any,
) -> None:
    """Keep what is news of a customer (`about`: merchant and name), at no further round trip; `event` says who told it.

    What a report leaves out stays. An address that is told is used from now on; one that is blocked stays blocked, and
    so does a channel that the customer is tired of.
    """
    merchant, ref = about
    record = known.record if known else None
    fields = [
        field
        for field in ("name", "locale")
        if (given := getattr(told, field)) is not None and given != getattr(record, field, None)
    ]
    used = {channel: address.address for channel, address in (known.used if known else {}).items()}
    fresh = {channel: address for channel, address in told.addresses.items() if used.get(channel) != address}
    if not fields and not fresh:
        return
    changes.add(
        ToldCustomer(merchant_id=merchant, ref=ref, name=told.name, locale=told.locale, created_at=now, changed_at=now)
    )
    for channel, address in sorted(fresh.items()):
        changes.add(address_of(about, channel, address, now))
    changes.add(
        customer_changed(about, [*fields, *(f"addresses.{channel}" for channel in sorted(fresh))], now, **event)
    )


def address_of(about: tuple[str, str], channel: str, address: str, now: datetime) -> Address:
    """Return an address as it is stored when it is told."""
    return Address(
        id=new_id(),
        merchant_id=about[0],
        customer_ref=about[1],
        channel=channel,
        address=address,
        told_at=now,
        created_at=now,
        changed_at=now,
    )


def customer_changed(about: tuple[str, str], fields: list[str], now: datetime, **event: Any) -> Event:
    """Return the event that names which fields of a customer changed, and never what they are."""
    return Event(
        at=now,
        merchant_id=about[0],
        kind=EventKind.CUSTOMER_CHANGED,
        data={"customer": about[1], "fields": fields},
        **event,
    )
