"""What is read when a payment that was collected elsewhere is reported: its charge, and what was told of it before."""

from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.happened import EventKind
from recoup_core.ports import GatewayEvent

MAX_EARLY: Final = 1_000
"""Events about one charge that are read; gateways tell a handful."""

_AGED: Final = """
    SELECT row_to_json(c)::text FROM capture c
    WHERE c.state = 'authorized' AND c.created_at < $1
      AND NOT EXISTS (SELECT FROM human_task t WHERE t.payment_id = c.payment_id AND t.kind = 'authorization_open'
                      AND coalesce(t.resolved_at, $2) >= $1)
    ORDER BY c.created_at LIMIT $3"""

# in the words of the index `inbound_event_early_news`
_EARLY: Final = """
    SELECT body FROM inbound_event
    WHERE gateway = $1 AND state IN ('received', 'ignored', 'dead')
      AND (jsonb_path_query_array(body, '$.*.charge_ref') || jsonb_path_query_array(body, '$.*.other_charge_refs[*]'))
          @> jsonb_build_array($2::text)
    ORDER BY id LIMIT $3"""


async def lock_charge(connection: asyncpg.Connection, gateway: str, charge_ref: str) -> None:
    """Let nobody else report the same charge until the transaction ends."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('charge ' || $1 || ' ' || $2, 0))", gateway, charge_ref
    )


async def told_returns(connection: asyncpg.Connection, gateway: str, charge_ref: str) -> list[GatewayEvent]:
    """Return what the gateway told of a charge's return before anybody knew that it had been collected, in order."""
    told = await early_news(connection, gateway, charge_ref)
    return [event for event in told if event.capture is not None and event.capture.standing is CaptureState.RETURNED]


async def was_given_up(connection: asyncpg.Connection, case_id: UUID) -> bool:
    """Return whether people had ended a case for good, and nobody has resumed it since: money may come in all the same,
    and the case then says that it recovered."""
    kinds = [EventKind.CASE_CANCELED, EventKind.CASE_WRITTEN_OFF, EventKind.CASE_RESUMED]
    last: str | None = await connection.fetchval(
        "SELECT kind FROM event WHERE case_id = $1 AND kind = ANY($2::text[]) ORDER BY id DESC LIMIT 1", case_id, kinds
    )
    return last not in (None, EventKind.CASE_RESUMED)


async def payment_of_capture(connection: asyncpg.Connection, gateway: str, charge_ref: str) -> UUID | None:
    """Return the payment that a gateway's charge is known for."""
    found: UUID | None = await connection.fetchval(
        "SELECT payment_id FROM capture WHERE gateway = $1 AND gateway_ref = $2 LIMIT 1", gateway, charge_ref
    )
    return found


async def early_news(connection: asyncpg.Connection, gateway: str, charge_ref: str) -> list[GatewayEvent]:
    """Return what the gateway told of a charge before anybody knew it (refunds, disputes, its capture or void), under
    whichever of its names, in the order in which it happened."""
    rows = await connection.fetch(_EARLY, gateway, charge_ref, MAX_EARLY)
    events = [msgspec.json.decode(row["body"], type=GatewayEvent) for row in rows]
    told = [event for event in events if _is_about(event, charge_ref)]
    return sorted(told, key=lambda event: event.occurred_at)


def _is_about(event: GatewayEvent, charge_ref: str) -> bool:
    """The index finds the name anywhere in an event; this looks where it must stand."""
    return any(
        news is not None and charge_ref in (news.charge_ref, *news.other_charge_refs)
        for news in (event.refund, event.dispute, event.capture)
    )


async def aged_authorizations(
    connection: asyncpg.Connection, before: datetime, now: datetime, limit: int
) -> list[Capture]:
    """Return charges only authorised since before then that nobody has been asked about meanwhile."""
    rows = await connection.fetch(_AGED, before, now, limit)
    return [msgspec.json.decode(row[0], type=Capture) for row in rows]
