"""The human queue: what no rule may decide is put before a person, and stays until that person says what was done."""

from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.happened import Event, EventKind, HumanTask
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.listing import lock_task

RESOLUTION_MAX: Final = 500
"""Characters in which a person says what was done."""


async def resolve_task(context: Context, task_id: UUID, by: By, resolution: str) -> HumanTask:
    """Take a task out of the queue, with what was done about it; the same call again returns its first answer.

    An attempt whose outcome is still not known is settled by `resolve_attempt`; without that its task comes back.
    Raises `NotFound`, `NotAllowedNow` where somebody else resolved it, `IdempotencyKeyReused`, `CardNumberRefused`.
    """
    refuse_card_numbers(resolution, "resolution")
    now = context.clock.now()
    async with context.database.transaction() as connection:
        task = await lock_task(connection, by.merchant_id, task_id)
        if task is None:
            raise NotFound("task", task_id)
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=HumanTask)
        if task.resolved_at is not None:
            raise NotAllowedNow("the task is resolved already")
        resolved = msgspec.structs.replace(
            task, resolved_at=now, resolved_by=by.actor, resolution=resolution[:RESOLUTION_MAX]
        )
        changes = Changes()
        changes.update(resolved)
        changes.add(
            Event(
                at=now,
                merchant_id=task.merchant_id,
                kind=EventKind.TASK_RESOLVED,
                actor=by.actor,
                case_id=task.case_id,
                payment_id=task.payment_id,
                attempt_id=task.attempt_id,
                refund_id=task.refund_id,
                correlation_id=by.correlation_id,
                data={"task": str(task.kind), "task_id": str(task.id), "resolution": resolved.resolution},
            )
        )
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(resolved), now))
        await changes.write(connection)
    count_events(context, changes)
    return resolved
