"""The human queue: what no rule may decide is put before a person, and stays until that person says what was done."""

from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind
from recoup_core.flows.context import Context, count_events, locked_cases
from recoup_core.flows.late_success import resolve_late
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.rules.language.late import LateSuccess
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.listing import lock_task

RESOLUTION_MAX: Final = 500
"""Characters in which a person says what was done."""


async def resolve_task(
    context: Context, task_id: UUID, by: By, resolution: str, action: LateSuccess | None = None
) -> HumanTask:
    """Take a task out of the queue, with what was done about it; the same call again returns its first answer.

    An attempt whose outcome is still not known is settled by `resolve_attempt`; without that its task comes back.
    Raises `NotFound`, `NotAllowedNow` where somebody else resolved it, `IdempotencyKeyReused`, `CardNumberRefused`.
    """
    refuse_card_numbers(resolution, "resolution")
    async with context.database.connection() as connection:
        known = await lock_task(connection, by.merchant_id, task_id)
    if known is None:
        raise NotFound("task", task_id)
    if known.kind is TaskKind.LATE_SUCCESS and known.payment_id is not None:
        return await _resolve_late(context, known, by, resolution, action)
    now = context.clock.now()
    async with context.database.transaction() as connection:
        task = await _open_task(connection, task_id, by)
        if isinstance(task, _Answered):
            return task.task
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


class _Answered(msgspec.Struct, frozen=True):
    """The same call was answered before, with this."""

    task: HumanTask


async def _open_task(connection: asyncpg.Connection, task_id: UUID, by: By) -> HumanTask | _Answered:
    """Return a task under its row lock; raises `NotFound`, `NotAllowedNow` where somebody resolved it."""
    task = await lock_task(connection, by.merchant_id, task_id)
    if task is None:
        raise NotFound("task", task_id)
    answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
    if answered is not None:
        return _Answered(msgspec.json.decode(answered, type=HumanTask))
    if task.resolved_at is not None:
        raise NotAllowedNow("the task is resolved already")
    return task


async def _resolve_late(
    context: Context, known: HumanTask, by: By, resolution: str, action: LateSuccess | None
) -> HumanTask:
    """Late money is kept or goes back, as the person says; under its payment's lock, which comes before the task's."""
    assert known.payment_id is not None  # the caller looked
    async with locked_cases(context, [known.payment_id]) as locked:
        task = await _open_task(locked.connection, known.id, by)
        if isinstance(task, _Answered):
            return task.task
        if action not in (LateSuccess.ACCEPT, LateSuccess.REFUND):
            raise NotAllowedNow("say what becomes of the money: `action` is `accept` or `refund`")
        draft = locked.draft(known.payment_id, by.actor, by.correlation_id)
        assert draft is not None  # late money has a case
        resolved = resolve_late(draft, task, action, resolution[:RESOLUTION_MAX])
        if by.call is not None:
            draft.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(resolved), locked.now))
        return resolved
