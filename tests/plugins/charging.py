"""A process of its own that charges at a sandbox's bank: python charging.py BANK_FILE COUNT."""

import asyncio
import sys
from datetime import UTC, datetime
from uuid import UUID

from recoup_plugins import ChargeRequest, GatewaySettings, Method, Money
from recoup_plugins.gateways.sandbox import make_sandbox


async def charge_many(path: str, count: int) -> None:
    """Charge the payments `inv-0` to `inv-<count - 1>` once each, always with the same keys."""
    sandbox = make_sandbox(GatewaySettings(name="sandbox", plugin="sandbox", options={"path": path}))
    for number in range(count):
        await sandbox.charge(
            ChargeRequest(
                idempotency_key=f"key-{number}",
                attempt_id=UUID(int=number + 1),
                payment_reference=f"inv-{number}",
                amount=Money(100, "EUR"),
                method=Method.CARD,
                token="tok_approve",
                first_sent_at=datetime.now(UTC),
            )
        )


if __name__ == "__main__":
    asyncio.run(charge_many(sys.argv[1], int(sys.argv[2])))
