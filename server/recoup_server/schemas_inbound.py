"""What requests and answers about gateways' events carry."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.inbound import InboundState
from recoup_core.flows.dead_letters import MAX_REASON
from recoup_core.storage.inbound import InboundDetail, InboundRow
from recoup_server.schemas_in import Body
from recoup_server.schemas_out import Out


class DismissIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an event is not to be applied."""

    reason: Annotated[str, Meta(min_length=1, max_length=MAX_REASON)]


class InboundOut(Out, frozen=True, kw_only=True):
    """One event that a gateway told, and what became of it."""

    id: UUID
    gateway: str
    external_id: str
    """The gateway's own id of the event; told again under it, it changes nothing."""
    kind: str
    """The gateway's own name of what happened."""
    state: InboundState
    via: Literal["webhook", "catch_up"]
    """Whether the gateway told it, or was asked for it."""
    tries: int
    """How often applying it failed since it was received, or handed in again."""
    last_error: str | None
    note: str | None
    """Why it was ignored or refused, or what the person said who dismissed it."""
    received_at: datetime
    closed_at: datetime | None
    """When it came to its present end; null while it waits to be applied."""


class InboundDetailOut(InboundOut, frozen=True, kw_only=True):
    """One event with what the gateway said."""

    body: Mapping[str, Any]
    """The event in our words; `payload` is what the gateway said itself, without card numbers and secrets."""


class InboundPage(Out, frozen=True, kw_only=True):
    """A page of events that gateways told, newest first."""

    items: list[InboundOut]
    next_cursor: str | None


def inbound_out(row: InboundRow) -> InboundOut:
    """Return an event as callers see it."""
    return InboundOut(**_told(row))


def inbound_detail_out(row: InboundDetail) -> InboundDetailOut:
    """Return an event with its body as callers see it."""
    return InboundDetailOut(**_told(row), body=msgspec.json.decode(row.body))


def _told(row: InboundRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "gateway": row.gateway,
        "external_id": row.external_id,
        "kind": row.kind,
        "state": row.state,
        "via": row.via,
        "tries": row.tries,
        "last_error": row.last_error,
        "note": row.note,
        "received_at": row.received_at,
        "closed_at": row.applied_at,
    }
