"""From what happened to who is told: each event becomes one delivery for each endpoint that wants it."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from recoup_core.flows.context import Context
from recoup_core.flows.webhooks_out.sending import WEBHOOK
from recoup_core.storage.changes import Changes
from recoup_core.storage.listing import StoredEvent
from recoup_core.storage.webhook_deliveries import add_deliveries
from recoup_core.storage.webhooks import enabled_endpoints, wake_endpoints


async def spread(
    _context: Context,
    connection: asyncpg.Connection,
    _changes: Changes,
    events: Sequence[StoredEvent],
    now: datetime,
) -> None:
    """Follow the events: three statements a batch, however many events and endpoints. Spread again, nothing is added.

    No event tells of a single delivery, so nothing that is sent makes anything more to send.
    """
    endpoints = await enabled_endpoints(connection, {event.merchant_id for event in events})
    wanted = [
        (endpoint.id, event.id)
        for event in events
        for endpoint in endpoints
        if endpoint.merchant_id == event.merchant_id and event.at >= endpoint.created_at and endpoint.wants(event.kind)
    ]
    if not wanted:
        return
    await add_deliveries(connection, wanted, now)
    await wake_endpoints(connection, WEBHOOK, {endpoint_id for endpoint_id, _ in wanted}, now)
