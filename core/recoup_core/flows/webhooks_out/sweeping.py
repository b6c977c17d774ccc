"""No delivery is stuck, and none is kept for ever."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from recoup_core.flows.context import Context
from recoup_core.flows.webhooks_out.sending import WEBHOOK
from recoup_core.storage.webhook_deliveries import forget_deliveries
from recoup_core.storage.webhooks import jobless_endpoints

DELIVERED_KEPT: Final = timedelta(days=30)
OTHERS_KEPT: Final = timedelta(days=90)
"""How long failed and dropped deliveries, and their tries, stay in the log."""

log = structlog.get_logger(__name__)


async def sweep_webhooks(context: Context, now: datetime, orphan_age: timedelta, limit: int) -> None:
    """One round: endpoints whose job was lost get it back, and deliveries that ended long ago are forgotten."""
    async with context.database.connection() as connection:
        found = await jobless_endpoints(connection, WEBHOOK, now - orphan_age, now, limit)
        await forget_deliveries(connection, now - DELIVERED_KEPT, now - OTHERS_KEPT, limit)
    if found:
        log.warning("jobs_given_back", kind=WEBHOOK, count=found)
