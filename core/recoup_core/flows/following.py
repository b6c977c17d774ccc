"""Followers: each reads every event once, in commit order, and what it makes of them is written where its place moves.

A follower is a function that adds to `changes` or writes by the connection it is given; both are committed with its
new place, so that what it does happens once, whatever is killed when. Followers have places of their own: one that
fails stays behind alone. It is given less and less at a time; the one event that it can't take, even alone and after
`TRIES`, is parked, with a task for its merchant's people, and it goes on behind it.

One process at a time moves a follower, held by its row's lock; any number may try. A follower never waits for
anything but the database, and takes no lock of payments or customers: they are all taken before its row is.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from recoup_core.domain.happened import HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.staff.noticing import notice
from recoup_core.flows.webhooks_out.spreading import spread
from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.following import (
    Place,
    PlacedEvent,
    anything_new,
    count_failure,
    enter_reader,
    move_place,
    next_events,
    park_event,
    take_place,
)
from recoup_core.storage.listing import FeedPosition, StoredEvent

BATCH: Final = 200
"""Events of one transaction: some 30 KB each way, and few enough that its locks are short."""

ROUNDS: Final = 50
"""Batches of one call; the next goes on."""

TRIES: Final = 12
"""How often a follower may fail at the same place before the event there is parked; it is given half as many each
time, so that from the ninth try on the event is alone."""

PARKED_TASK_AGE: Final = timedelta(days=3)

Take = Callable[[Context, asyncpg.Connection, Changes, Sequence[StoredEvent], datetime], Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Follower:
    """Who follows: the name its place is kept under, and what it does with a batch of events."""

    name: str
    take: Take


FOLLOWERS: Final[tuple[Follower, ...]] = (Follower("staff", notice), Follower("webhooks", spread))


async def follow(context: Context, now: datetime, followers: Sequence[Follower] = FOLLOWERS) -> bool:
    """Let each follower take what is new; return whether some failed or have more to do, so that it is worth calling
    again soon. Raises `DatabaseUnavailable` only."""
    more = False
    for follower in followers:
        try:
            more |= await _catch_up(context, follower, now)
        except DatabaseUnavailable:
            raise
        except Exception as failure:  # a fault of ours outside the follower; the others go on
            log.error("following_failed", reader=follower.name, error=repr(failure))
    return more


async def _catch_up(context: Context, follower: Follower, now: datetime) -> bool:
    for _ in range(ROUNDS):
        async with context.database.connection() as connection:
            new = await anything_new(connection, follower.name)
            if new is None:
                await enter_reader(connection, follower.name, now)
                return True
        if not new:
            context.measures.followed(follower.name, 0.0)
            return False
        if not await _step(context, follower, now):
            return False
    return True


async def _step(context: Context, follower: Follower, now: datetime) -> bool:
    """Hand over one batch; False where another process is at it, or where it is to be tried again a moment later."""
    changes, events, place = Changes(), list[PlacedEvent](), None
    try:
        async with context.database.transaction() as connection:
            place = await take_place(connection, follower.name)
            if place is None:
                return False
            events = (await next_events(connection, place.position, _size(place))).events
            if not events:
                return False
            await follower.take(context, connection, changes, events, now)
            await changes.write(connection)
            await move_place(connection, follower.name, events[-1].position, now)
    except DatabaseUnavailable:
        raise
    except Exception as failure:
        if place is None or not events:
            raise
        await _failed(context, follower.name, place, events, failure, now)
        return False
    count_events(context, changes)
    context.measures.followed(follower.name, max(0.0, (now - events[-1].at).total_seconds()))
    return True


def _size(place: Place) -> int:
    return max(1, BATCH >> place.tries)


async def _failed(
    context: Context, reader: str, place: Place, events: Sequence[PlacedEvent], failure: Exception, now: datetime
) -> None:
    """Count the failure; where it was the one event's and not the first time, leave that event out."""
    context.measures.followed(reader, max(0.0, (now - events[0].at).total_seconds()))
    alone, tries = len(events) == 1, place.tries + 1
    log.warning("follower_failed", reader=reader, after=place.position.event_id, tries=tries, error=repr(failure))
    changes = Changes()
    async with context.database.transaction() as connection:
        if not alone or tries < TRIES:
            await count_failure(connection, reader, place.position)
            return
        held = await take_place(connection, reader)
        if held is None or held.position != place.position:  # another process got further
            return
        await _park(connection, changes, reader, events[0], failure, now)
    context.measures.event_parked(reader)
    count_events(context, changes)
    log.error("event_parked", reader=reader, event_id=events[0].id, kind=events[0].kind, error=repr(failure))


async def _park(
    connection: asyncpg.Connection, changes: Changes, reader: str, event: PlacedEvent, failure: Exception, now: datetime
) -> None:
    """Keep the event aside with a task, and move on behind it."""
    await park_event(connection, reader, event.id, type(failure).__name__, now)
    task = HumanTask(
        id=new_id(),
        merchant_id=event.merchant_id,
        kind=TaskKind.EVENT_NOT_FOLLOWED,
        case_id=event.case_id,
        payment_id=event.payment_id,
        refund_id=event.refund_id,
        reason=f"the {reader} follower left out event {event.id} ({event.kind}): {type(failure).__name__}",
        opened_at=now,
        due_at=now + PARKED_TASK_AGE,
    )
    changes.add(task, task_opened(task, "system", event.correlation_id))
    await changes.write(connection)
    await move_place(connection, reader, FeedPosition(int(event.txid), event.id), now)
