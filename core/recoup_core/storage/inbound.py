"""Events that gateways told, as people see and handle them: lists, tries that failed, what is given up on."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.happened import HumanTask
from recoup_core.domain.inbound import InboundState
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import MAX_PAGE, read_page


class InboundRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored event without its body."""

    id: UUID
    merchant_id: str | None
    gateway: str
    external_id: str
    kind: str
    state: InboundState
    via: Literal["webhook", "catch_up"]
    tries: int
    """How often applying it failed since it was received, or handed in again."""
    last_error: str | None
    """Why the last try failed; redacted."""
    note: str | None
    """Why it was ignored or refused, or what the person said who dismissed it."""
    received_at: datetime
    applied_at: datetime | None
    """When it came to its present end; None while it waits to be applied."""


class InboundDetail(InboundRow, frozen=True, kw_only=True):
    """A stored event with all that the gateway said, in our words and its own."""

    body: msgspec.Raw


_COLUMNS: Final = ", ".join(f"'{name}', i.{name}" for name in InboundRow.__struct_fields__)
_ROW: Final = f"SELECT jsonb_build_object({_COLUMNS})::text FROM inbound_event i"
_DETAIL: Final = f"SELECT jsonb_build_object({_COLUMNS}, 'body', i.body)::text FROM inbound_event i"
_FILTERS: Final = {"state": "i.state = {}", "gateway": "i.gateway = {}", "kind": "i.kind = {}"}

_WAITING: Final = frozenset({InboundState.RECEIVED, InboundState.REFUSED, InboundState.DEAD, InboundState.DISMISSED})
"""The states of the index `inbound_event_waiting`."""


async def list_inbound(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[InboundRow]:
    """Return the newest events before a key; filters: state, gateway, kind."""
    # the planner uses a partial index only where the condition stands in the statement itself
    waiting = ", ".join(f"'{state}'" for state in sorted(_WAITING))
    always = [f"i.state IN ({waiting})"] if filters.get("state") in _WAITING else []
    return await read_page(database, _ROW, "i", _FILTERS, merchant_id, filters, before, limit, InboundRow, *always)


async def list_unowned(database: Database, before: UUID | None, limit: int) -> list[InboundRow]:
    """Return the newest waiting events of which nobody knows whose they are: their gateway left the settings before
    merchants were written down. For the operator only, never for a merchant."""
    sql = f"{_ROW} WHERE i.merchant_id IS NULL AND i.state IN ('received', 'dead') AND ($1::uuid IS NULL OR i.id < $1)"
    async with database.connection() as connection:
        rows = await connection.fetch(f"{sql} ORDER BY i.id DESC LIMIT $2", before, min(limit, MAX_PAGE + 1))
    return [msgspec.json.decode(row[0], type=InboundRow) for row in rows]


async def read_inbound(database: Database, merchant_id: str, inbound_id: UUID) -> InboundDetail | None:
    """Return an event with its body; None where the merchant has no such event."""
    async with database.connection() as connection:
        found = await connection.fetchval(f"{_DETAIL} WHERE i.id = $1 AND i.merchant_id = $2", inbound_id, merchant_id)
    return None if found is None else msgspec.json.decode(found, type=InboundDetail)


async def lock_inbound(connection: asyncpg.Connection, inbound_id: UUID) -> InboundRow | None:
    """Return an event under its row lock, whosever it is."""
    found = await connection.fetchval(f"{_ROW} WHERE i.id = $1 FOR UPDATE", inbound_id)
    return None if found is None else msgspec.json.decode(found, type=InboundRow)


async def write_inbound(connection: asyncpg.Connection, row: InboundRow) -> None:
    """Rewrite what may change about an event; the caller holds its lock."""
    await connection.execute(
        "UPDATE inbound_event SET merchant_id = $2, state = $3, tries = $4, last_error = $5, note = $6,"
        " applied_at = $7 WHERE id = $1",
        row.id,
        row.merchant_id,
        str(row.state),
        row.tries,
        row.last_error,
        row.note,
        row.applied_at,
    )


async def lock_inbound_tasks(connection: asyncpg.Connection, inbound_id: UUID) -> list[HumanTask]:
    """Return the open tasks about an event, locked."""
    rows = await connection.fetch(
        "SELECT to_jsonb(t)::text FROM human_task t WHERE t.inbound_id = $1 AND t.resolved_at IS NULL"
        " ORDER BY t.id FOR UPDATE",
        inbound_id,
    )
    return [msgspec.json.decode(row[0], type=HumanTask) for row in rows]
