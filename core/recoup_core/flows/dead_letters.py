"""Events that can't be applied: tried again for a day, then put before a person, who hands them in again or not."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.inbound import INBOUND_EVENT, InboundMove, InboundState
from recoup_core.domain.redact import redact
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.draft import INBOUND, SYSTEM
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.planning import TASK_AGE
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.inbound import InboundRow, lock_inbound, lock_inbound_tasks, write_inbound

TRY_WAITS: Final = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 180, 360, 720))
"""Waits between tries to apply an event; after the last one it is dead. A day is enough to mend what we broke."""

MAX_REASON: Final = 500
"""Characters in which a person says why an event is dismissed."""

log = structlog.get_logger(__name__)


async def keep_failure(context: Context, ref: JobRef, failure: Exception) -> None:
    """Write down that an event could not be applied: it is tried again later or, past the last try, it is dead."""
    told = f"{type(failure).__name__}: {redact(_text(failure))}"
    log.error("inbound_event_not_applied", inbound_id=str(ref.subject_id), error=told)
    now, changes = context.clock.now(), Changes()
    async with context.database.transaction() as connection:
        row = await lock_inbound(connection, ref.subject_id)
        if row is None or row.state is not InboundState.RECEIVED:
            changes.finish(ref)  # applied all the same: what failed came after
        else:
            tried = msgspec.structs.replace(row, tries=row.tries + 1, last_error=told)
            if tried.tries <= len(TRY_WAITS):
                again = now + TRY_WAITS[tried.tries - 1]
                changes.add(NewJob(kind=INBOUND, subject_id=row.id, due_at=again, correlation_id=ref.correlation_id))
            else:
                tried = _give_up(context, tried, ref, now, changes)
            await write_inbound(connection, tried)
        await changes.write(connection)
    count_events(context, changes)


async def apply_again(context: Context, inbound_id: UUID, by: By) -> InboundRow:
    """Hand in an event once more, with all its tries; the same call again returns its first answer.

    For what is dead, refused, dismissed, or was ignored for want of a payment. Raises `NotFound`, `IllegalTransition`
    for one that was applied or waits to be, and `IdempotencyKeyReused`.
    """
    return await _handle(context, inbound_id, by, InboundMove.TRY_AGAIN, EventKind.INBOUND_EVENT_RETRIED, None)


async def dismiss(context: Context, inbound_id: UUID, by: By, reason: str) -> InboundRow:
    """Say that an event is not to be applied, and why; the same call again returns its first answer.

    Raises `NotFound`, `IllegalTransition` where it was applied or ignored, `IdempotencyKeyReused`, `CardNumberRefused`.
    """
    refuse_card_numbers(reason, "reason")
    return await _handle(
        context, inbound_id, by, InboundMove.DISMISS, EventKind.INBOUND_EVENT_DISMISSED, reason[:MAX_REASON]
    )


def _give_up(context: Context, row: InboundRow, ref: JobRef, now: datetime, changes: Changes) -> InboundRow:
    """Return the event as dead, with the task that asks about it; one of nobody's is seen on the command line."""
    changes.finish(ref)
    merchant = row.merchant_id or context.gateway_merchants.get(row.gateway)
    dead = msgspec.structs.replace(
        row, merchant_id=merchant, state=INBOUND_EVENT.after(row.state, InboundMove.GIVE_UP), applied_at=now
    )
    if merchant is None:
        log.error("dead_letter_without_owner", inbound_id=str(row.id), gateway=row.gateway)
        return dead
    task = HumanTask(
        id=new_id(),
        merchant_id=merchant,
        kind=TaskKind.EVENT_DEAD,
        inbound_id=row.id,
        reason=f"{row.gateway} event {row.external_id} ({row.kind}), tried {row.tries} times: {row.last_error}",
        opened_at=now,
        due_at=now + TASK_AGE,
    )
    changes.add(task, task_opened(task, SYSTEM, ref.correlation_id))
    changes.add(_event(EventKind.INBOUND_EVENT_DEAD, dead, now, SYSTEM, ref.correlation_id, error=row.last_error))
    return dead


async def _handle(
    context: Context, inbound_id: UUID, by: By, move: InboundMove, kind: EventKind, reason: str | None
) -> InboundRow:
    now, changes = context.clock.now(), Changes()
    async with context.database.transaction() as connection:
        row = await lock_inbound(connection, inbound_id)
        owner = None if row is None else row.merchant_id or context.gateway_merchants.get(row.gateway)
        if row is None or owner != by.merchant_id:
            raise NotFound("inbound event", inbound_id)
        row = msgspec.structs.replace(row, merchant_id=owner)  # nobody's, until its gateway was in the settings again
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=InboundRow)
        moved = _moved(row, move, reason, now)
        _move_job(changes, row, moved, by, now)
        said = {} if reason is None else {"reason": reason}
        changes.add(_event(kind, moved, now, by.actor, by.correlation_id, was=str(row.state), **said))
        _close_tasks(changes, await lock_inbound_tasks(connection, row.id), by, now, f"the event: {moved.state}")
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(moved), now))
        await write_inbound(connection, moved)
        await changes.write(connection)
    count_events(context, changes)
    return moved


def _moved(row: InboundRow, move: InboundMove, reason: str | None, now: datetime) -> InboundRow:
    state = INBOUND_EVENT.after(row.state, move)
    if state is InboundState.RECEIVED:
        return msgspec.structs.replace(row, state=state, tries=0, note=None, applied_at=None)
    return msgspec.structs.replace(row, state=state, note=reason, applied_at=now)


def _move_job(changes: Changes, row: InboundRow, moved: InboundRow, by: By, now: datetime) -> None:
    if moved.state is InboundState.RECEIVED:
        changes.add(NewJob(kind=INBOUND, subject_id=row.id, due_at=now, correlation_id=by.correlation_id))
    else:
        changes.drop_job(INBOUND, row.id)


def _close_tasks(changes: Changes, tasks: Sequence[HumanTask], by: By, now: datetime, why: str) -> None:
    for task in tasks:
        changes.update(msgspec.structs.replace(task, resolved_at=now, resolved_by=by.actor, resolution=why))
        changes.add(
            Event(
                at=now,
                merchant_id=task.merchant_id,
                kind=EventKind.TASK_RESOLVED,
                actor=by.actor,
                correlation_id=by.correlation_id,
                data={"task": str(task.kind), "task_id": str(task.id), "resolution": why},
            )
        )


def _event(
    kind: EventKind, row: InboundRow, now: datetime, actor: str, correlation_id: str | None, **data: Any
) -> Event:
    assert row.merchant_id is not None  # the caller saw whose it is
    about = {"inbound_id": str(row.id), "gateway": row.gateway, "external_id": row.external_id, "kind": row.kind}
    return Event(
        at=now,
        merchant_id=row.merchant_id,
        kind=kind,
        actor=actor,
        correlation_id=correlation_id,
        data=about | data,
    )


def _text(failure: Exception) -> str:
    try:
        return str(failure)
    except Exception:  # whatever was raised, it must be possible to write it down
        return "(no message)"
