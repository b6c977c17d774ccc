"""What requests and answers about a customer's means of payment carry; a token is taken in and never shown."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from recoup_core.domain.payment import BlockedBecause, Credential, CredentialRole, Method, Network
from recoup_core.storage.credentials import StoredLink
from recoup_server.schemas_in import Body, Short
from recoup_server.schemas_out import Out


class UpdateLinkIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page is wanted."""

    gateway: Short | None = None
    """Whose page; if not given, that of the payment's own gateway."""


class UpdateLinkOut(Out, frozen=True, kw_only=True):
    """A gateway's own page for a customer. Whoever holds its address may act for the customer: treat it like a key."""

    id: UUID
    gateway: str
    url: str
    pays: bool
    """Whether the debt can be paid there; else only the means of payment is renewed."""
    expires_at: datetime
    """When it ceases to work, as far as the gateway says; ask for another one by then."""


class CredentialOut(Out, frozen=True, kw_only=True):
    """A stored means of payment; its token is not shown."""

    id: UUID
    gateway: str
    method: Method
    network: Network | None
    role: CredentialRole
    issuer_country: str | None
    valid: bool
    """Whether it may be tried."""
    blocked_because: BlockedBecause | None
    renewed_at: datetime | None
    """When it was last given or renewed; None while only reports told of it."""
    created_at: datetime


class CredentialList(Out, frozen=True, kw_only=True):
    """What the customer has stored: in the order in which policies choose, then what is blocked."""

    items: list[CredentialOut]


def link_out(link: StoredLink) -> UpdateLinkOut:
    """Return a page as whoever asked for it sees it."""
    return msgspec.convert(link, UpdateLinkOut, from_attributes=True)


def credentials_out(credentials: Iterable[Credential]) -> CredentialList:
    """Return credentials as callers see them."""
    return CredentialList(items=[msgspec.convert(each, CredentialOut, from_attributes=True) for each in credentials])
