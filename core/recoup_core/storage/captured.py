"""What is read when a payment that was collected elsewhere is reported: its charge, and what was told of it before."""

from uuid import UUID

import asyncpg
import msgspec

from recoup_core.ports import GatewayEvent


async def lock_charge(connection: asyncpg.Connection, gateway: str, charge_ref: str) -> None:
    """Let nobody else report the same charge until the transaction ends."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('charge ' || $1 || ' ' || $2, 0))", gateway, charge_ref
    )


async def payment_of_capture(connection: asyncpg.Connection, gateway: str, charge_ref: str) -> UUID | None:
    """Return the payment that a gateway's charge is known for."""
    found: UUID | None = await connection.fetchval(
        "SELECT payment_id FROM capture WHERE gateway = $1 AND gateway_ref = $2 LIMIT 1", gateway, charge_ref
    )
    return found


async def early_refund_news(connection: asyncpg.Connection, gateway: str, charge_ref: str) -> list[GatewayEvent]:
    """Return what the gateway told of refunds of a charge before anybody knew the charge, in the order it happened."""
    rows = await connection.fetch(
        "SELECT body::text FROM inbound_event WHERE gateway = $1 AND body #>> '{refund,charge_ref}' = $2"
        " AND state IN ('received', 'ignored') ORDER BY id",
        gateway,
        charge_ref,
    )
    events = [msgspec.json.decode(row[0], type=GatewayEvent) for row in rows]
    return sorted(events, key=lambda event: event.occurred_at)
