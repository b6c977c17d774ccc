"""Money that came in late, as the flow that refunds it needs it."""

from typing import Final
from uuid import UUID

import asyncpg
import msgspec

_LATE: Final = """
    SELECT a.merchant_id, a.payment_id, a.case_id, k.currency,
           greatest(0, k.amount_minor - k.held_minor - k.disputed_minor) AS free_minor
    FROM attempt a JOIN capture k ON k.attempt_id = a.id
    WHERE a.id = $1 AND k.state = 'captured'"""


class LateMoney(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt brought in."""

    merchant_id: str
    payment_id: UUID
    case_id: UUID
    currency: str
    free_minor: int
    """What of it can still go back."""


async def late_money(connection: asyncpg.Connection, attempt_id: UUID) -> LateMoney | None:
    """Return what an attempt brought in; None where it was taken back since."""
    row = await connection.fetchrow(_LATE, attempt_id)
    return None if row is None else LateMoney(**dict(row))
