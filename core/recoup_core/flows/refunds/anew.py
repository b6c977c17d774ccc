"""A refund of which nothing has left is decided anew when facts from outside change: a dispute came."""

from uuid import UUID

from recoup_core.domain.refund import UNDECIDED, RefundState
from recoup_core.flows.context import Context
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.refunds.deciding import decide
from recoup_core.flows.refunds.draft import LockedRefunds, locked_refunds
from recoup_core.storage.lookups import merchant_of_refund


async def decide_anew(context: Context, refund_id: UUID, correlation_id: str | None) -> None:
    """Decide one refund anew, in a transaction of its own; one that has left meanwhile goes on to its end."""

    async def act(hold: bool) -> None:
        async with locked_refunds(context, [refund_id]) as locked:
            await decide_locked(context, locked, refund_id, correlation_id, hold=hold)

    merchant = await _merchant(context, refund_id)
    if merchant is not None:
        await context.policies.in_force(merchant, act)


async def decide_locked(
    context: Context, locked: LockedRefunds, refund_id: UUID, correlation_id: str | None, *, hold: bool
) -> None:
    """Decide one refund anew under locks that are held, where it may still change; may raise `PoliciesMoved`."""
    draft = locked.draft(refund_id, SYSTEM, correlation_id)
    if draft is None or not draft.file.unsent:
        return
    if draft.file.refund.state in UNDECIDED | {RefundState.APPROVED}:
        await decide(context, locked.connection, draft, hold=hold)


async def _merchant(context: Context, refund_id: UUID) -> str | None:
    async with context.database.connection() as connection:
        return await merchant_of_refund(connection, refund_id)
