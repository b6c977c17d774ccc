"""What requests and answers about API keys carry; a secret is in one answer only."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from recoup_core.storage.merchants import Role
from recoup_server.schemas_in import Body, Moment, Name
from recoup_server.schemas_out import Out

MAX_APPROVES: Final = 20
"""Approval roles of one key."""

ApprovalRole = Annotated[
    str,
    Meta(pattern="^[a-z][a-z0-9_]*$", min_length=1, max_length=60, description="As refund policies name it."),
]


class ApiKeyIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made, for the merchant of the key that asks."""

    principal: Name
    """The person or system behind it."""
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=len(Role))]
    approves: Annotated[tuple[ApprovalRole, ...], Meta(max_length=MAX_APPROVES)] = ()
    """The approval roles of that person, where refunds wait for them."""
    expires_at: Moment | None = None


class ApiKeyOut(Out, frozen=True, kw_only=True):
    """A key, without its secret."""

    id: UUID
    principal: str
    roles: list[Role]
    approves: list[str]
    """The approval roles of whoever holds it, as refund policies name them."""
    hint: str
    """Its last four characters."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ApiKeyList(Out, frozen=True, kw_only=True):
    """The merchant's keys, newest first."""

    items: list[ApiKeyOut]


class MintedKeyOut(Out, frozen=True, kw_only=True):
    """A new key; its secret is shown this once."""

    key: ApiKeyOut
    secret: str
