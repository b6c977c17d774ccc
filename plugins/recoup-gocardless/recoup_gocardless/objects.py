"""GoCardless's objects, as much of them as we read (developer.gocardless.com/api-reference)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_plugins import DeclineSource, Method, Money, StoredCredential

ATTEMPT_KEY: Final = "recoup_attempt"
PAYMENT_KEY: Final = "recoup_payment"
PART_KEY: Final = "recoup_part"
CHARGE_KEY: Final = "recoup_charge"
AMOUNT_KEY: Final = "recoup_amount"
"""Our metadata. Events carry it back and say neither amount nor currency: so both stand in it (`1999 EUR`). An object
takes three keys, of 50 and 500 characters at most."""

MAX_METADATA: Final = 500

SCHEMES: Final[Mapping[Method, str]] = {
    Method.SEPA_DEBIT: "sepa_core",
    Method.BACS_DEBIT: "bacs",
    Method.ACH_DEBIT: "ach",
}
METHODS: Final[Mapping[str, Method]] = {scheme: method for method, scheme in SCHEMES.items()}

SOURCES: Final[Mapping[Method, DeclineSource]] = {
    Method.SEPA_DEBIT: DeclineSource.SEPA,
    Method.BACS_DEBIT: DeclineSource.BACS,
    Method.ACH_DEBIT: DeclineSource.ACH,
}
"""Whose codes the banks of a scheme answer with."""

USABLE_MANDATES: Final = ("active", "submitted", "pending_submission")
"""Mandates that payments can be made on without the customer; the best first."""


class Links(msgspec.Struct, frozen=True):
    """What an object or an event is about."""

    payment: str | None = None
    refund: str | None = None
    mandate: str | None = None
    payout: str | None = None
    customer: str | None = None
    customer_bank_account: str | None = None
    new_mandate: str | None = None


class _Marked(msgspec.Struct, frozen=True):
    """Something with metadata."""

    metadata: Mapping[str, Any] | None = None

    def marked(self, key: str) -> str | None:
        """Return what the metadata say under a key."""
        value = (self.metadata or {}).get(key)
        return value if isinstance(value, str) and value else None


class GoPayment(_Marked, frozen=True, kw_only=True):
    """A payment: collected by bank debit, up to four times until it succeeds."""

    id: str
    amount: int
    currency: str
    status: str
    amount_refunded: int = 0
    created_at: datetime
    scheme: str | None = None
    retry_if_possible: bool | None = None
    links: Links = Links()

    @property
    def money(self) -> Money:
        """What it collects. Every currency that GoCardless takes has two decimals, there and in ISO 4217."""
        return Money(self.amount, self.currency)

    @property
    def attempt_id(self) -> UUID | None:
        """The attempt of ours that made it."""
        return uuid_of(self.marked(ATTEMPT_KEY))


class GoRefund(_Marked, frozen=True, kw_only=True):
    """A refund of a payment."""

    id: str
    amount: int
    currency: str
    status: str | None = None
    created_at: datetime
    links: Links = Links()

    @property
    def money(self) -> Money:
        """What goes back."""
        return Money(self.amount, self.currency)

    @property
    def part_id(self) -> UUID | None:
        """The part of ours that made it."""
        return uuid_of(self.marked(PART_KEY))


class GoMandate(msgspec.Struct, frozen=True, kw_only=True):
    """The customer's permission to debit an account."""

    id: str
    status: str
    scheme: str
    created_at: datetime
    links: Links = Links()

    @property
    def credential(self) -> StoredCredential | None:
        """As Recoup knows it; None for a scheme that it does not."""
        method = METHODS.get(self.scheme)
        if method is None:
            return None
        return StoredCredential(
            token=self.id,
            gateway_customer=self.links.customer,
            method=method,
            fingerprint=self.links.customer_bank_account,
        )


class Details(msgspec.Struct, frozen=True):
    """Why something happened."""

    origin: str | None = None
    cause: str | None = None
    description: str | None = None
    scheme: str | None = None
    reason_code: str | None = None
    will_attempt_retry: bool | None = None


class GoEvent(_Marked, frozen=True, kw_only=True):
    """Something that happened; it says to what, and not how much."""

    id: str
    created_at: datetime
    resource_type: str
    action: str
    links: Links = Links()
    details: Details = Details()
    resource_metadata: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        """Its name in full."""
        return f"{self.resource_type}.{self.action}"

    def about(self, key: str) -> str | None:
        """Return what the metadata of the object say that it is about."""
        value = (self.resource_metadata or {}).get(key)
        return value if isinstance(value, str) and value else None


class GoPayout(msgspec.Struct, frozen=True, kw_only=True):
    """Money sent to the merchant's bank."""

    id: str
    amount: int
    currency: str
    status: str
    created_at: datetime
    arrival_date: str | None = None


class GoPayoutItem(msgspec.Struct, frozen=True, kw_only=True):
    """What a payout is made of; `amount` is signed, in minor units, with one decimal (fees may come to half a cent)."""

    type: str
    amount: str
    links: Links = Links()


def uuid_of(text: str | None) -> UUID | None:
    """Read one of our ids; None for what is none."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def money_text(money: Money) -> str:
    """Write money as our metadata hold it."""
    return f"{money.amount_minor} {money.currency}"


def money_of(text: str | None) -> Money | None:
    """Read money as our metadata hold it; None for what is none."""
    minor, _, currency = (text or "").partition(" ")
    if not (minor.isascii() and minor.isdigit() and len(minor) <= len(str(2**53)) and len(currency) == len("EUR")):
        return None
    return Money(int(minor), currency)
