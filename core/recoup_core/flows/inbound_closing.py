"""How a stored event ends: applied, ignored or refused, or looked at once more."""

from datetime import datetime, timedelta
from typing import Final

from recoup_core.domain.happened import HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.draft import INBOUND
from recoup_core.flows.planning import TASK_AGE
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.lookups import (
    InboundEvent,
    close_inbound,
)

EARLY_WAIT: Final = timedelta(minutes=2)
"""A success may come before its payment: whoever opens the case later reads it from the store, and who was about to
when it was stored has committed by then (longer than any transaction lives). Else a paid debt would be collected."""


async def look_again(context: Context, ref: JobRef, stored: InboundEvent, at: datetime) -> None:
    """Look at the event once more: whoever is opening its case right now may have read before it was stored."""
    again = NewJob(kind=INBOUND, subject_id=stored.id, due_at=at, correlation_id=ref.correlation_id)
    async with context.database.transaction() as connection:
        changes = Changes()
        changes.add(again)
        await changes.write(connection)


async def refuse(context: Context, ref: JobRef, stored: InboundEvent, merchant: str, why: str) -> None:
    """Close an event that breaks a rule and put it before a person: a failed payment is behind it."""
    now = context.clock.now()
    task = HumanTask(
        id=new_id(),
        merchant_id=merchant,
        kind=TaskKind.EVENT_REFUSED,
        inbound_id=stored.id,
        reason=f"{stored.gateway} event {stored.external_id} ({stored.kind}): {why}",
        opened_at=now,
        due_at=now + TASK_AGE,
    )
    async with context.database.transaction() as connection:
        await close_inbound(connection, ref.subject_id, "refused", why, now)
        changes = Changes()
        changes.finish(ref)
        changes.add(task, task_opened(task, f"gateway:{stored.gateway}", ref.correlation_id))
        await changes.write(connection)
    count_events(context, changes)


async def close(context: Context, ref: JobRef, state: str, note: str | None) -> None:
    async with context.database.transaction() as connection:
        await close_inbound(connection, ref.subject_id, state, note, context.clock.now())
        changes = Changes()
        changes.finish(ref)
        await changes.write(connection)
