"""What waits for one person's yes or no, by their own approval roles and by those that others have lent them."""

from uuid import UUID

from recoup_core.domain.principal import canonical
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.people import usable_roles
from recoup_core.storage.approvals import lent_to
from recoup_core.storage.refund_lists import Decidable, Grant, approval_queue


async def queue(
    context: Context, by: By, after: UUID | None, limit: int, *, role: str | None = None
) -> list[Decidable]:
    """Return the refunds that the caller may decide now, oldest first; `role` narrows it to one role's.

    Whoever decides one is asked again under lock, by the same rule (`people.seat_of`).
    """
    person, now = canonical(by.principal), context.clock.now()
    async with context.database.connection() as connection:
        lent = await lent_to(connection, by.merchant_id, person, now)
    grants = [Grant(roles=by.approves)]
    grants += [
        Grant(owner=canonical(one.delegation.owner), roles=tuple(usable_roles(one, person, now))) for one in lent
    ]
    return await approval_queue(context.database, by.merchant_id, person, grants, after, limit, role=role)
