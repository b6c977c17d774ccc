"""Stored means of payment at a gateway: what it keeps, what became of them, and where the customer renews them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network


class StoredCredential(msgspec.Struct, frozen=True, kw_only=True):
    """One means of payment that a gateway keeps for a customer."""

    token: str
    gateway_customer: str | None = None
    method: Method
    network: Network | None = None
    fingerprint: str | None = None
    """The gateway's name for the account behind the token: all tokens of one card share it."""
    country: str | None = None
    """Where its issuer or bank sits, ISO 3166-1 alpha-2."""
    expires_on: str | None = None
    """The month on the card (`YYYY-MM`), where it is known."""


class CredentialChange(StrEnum):
    """What became of a stored means of payment."""

    UPDATED = "updated"
    """Same token, new card behind it: a card updater or a network token renewed it."""
    REPLACED = "replaced"
    """Another token takes its place."""
    ADDED = "added"
    """The customer stored a further one."""
    REMOVED = "removed"
    """The customer or the bank took it back; it is never tried again."""
    SUSPECTED = "suspected"
    """The network warns of fraud: it is not tried again without the customer."""


class CredentialNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's event says about a stored means of payment."""

    change: CredentialChange
    token: str | None = None
    """Which one; None where the event names only a charge that was made with it."""
    gateway_customer: str | None = None
    charge_ref: str | None = None
    """The gateway's id of a charge that was made with it."""
    other_charge_refs: tuple[str, ...] = ()
    now: StoredCredential | None = None
    """As it is afterwards: for everything but `REMOVED` and `SUSPECTED`, where the event tells."""
    reason: str | None = None
    """The gateway's word for why."""


class UpdateLinkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the gateway is wanted where the customer renews a means of payment, or pays."""

    idempotency_key: str
    payment_id: UUID
    payment_reference: str
    amount: Money
    """What is still owed."""
    method: Method
    customer_ref: str
    gateway_customer: str | None = None
    debt_ref: str | None = None
    """As in `ChargeRequest`."""
    return_url: str | None = None
    """Where the gateway's page leads afterwards; None: the gateway's own option."""
    locale: str | None = None
    country: str | None = None
    expires_at: datetime
    """How long the link is wanted for; a gateway may grant less."""


class UpdateLink(msgspec.Struct, frozen=True, kw_only=True, tag="link"):
    """The gateway's page; it may pay the debt (`pays`), or only renew the means of payment."""

    url: str
    pays: bool
    expires_at: datetime | None = None
    """When it ceases to work, where the gateway says."""


class NoLink(msgspec.Struct, frozen=True, kw_only=True, tag="no_link"):
    """The gateway has no such page for this customer; says why, in words for the merchant."""

    reason: str


LinkAnswer = UpdateLink | NoLink
