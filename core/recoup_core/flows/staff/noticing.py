"""The staff's follower: events become notes of whoever wants to know, and gateways' answers are counted."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from recoup_core.domain.happened import EventKind
from recoup_core.domain.staff import StaffKind, StaffNote, Topic
from recoup_core.flows.context import Context
from recoup_core.flows.messaging import StaffReader
from recoup_core.flows.staff.words import kind_of, line
from recoup_core.storage.anomalies import Answers, count_answers
from recoup_core.storage.changes import Changes, NewJob
from recoup_core.storage.following import gateways_of
from recoup_core.storage.listing import StoredEvent
from recoup_core.storage.staff import add_notes, take_topics, waiting_in

STAFF: Final = "staff"
"""Job kind: tell a reader what gathered in a topic. Subject: the topic."""

GATHER: Final = timedelta(minutes=1)
"""How long the first note waits for those that come with it."""

EVERY: Final = timedelta(minutes=15)
"""A reader gets one message of a kind in this time at most: five hundred tasks are one message, or two."""

SLOT_S: Final = 600
"""Seconds over which gateways' answers are counted together."""

_ANSWERED: Final = frozenset({EventKind.ATTEMPT_SUCCEEDED, EventKind.ATTEMPT_DECLINED, EventKind.ATTEMPT_PENDING})
_FAILED: Final = frozenset({EventKind.ATTEMPT_UNKNOWN, EventKind.ATTEMPT_NOT_SENT})

Note = tuple[StaffReader, StaffKind, str, str]
"""Who is told what of which kind: the thing's name, by which it is told once, and the line."""


async def notice(
    context: Context, connection: asyncpg.Connection, changes: Changes, events: Sequence[StoredEvent], now: datetime
) -> None:
    """Note what the staff wants to know of these events; each is noted once, whoever runs this how often."""
    await _count(connection, events)
    notes = [
        (reader, kind, f"event:{event.id}", line(event, reader.locale))
        for event in events
        if (kind := kind_of(event)) is not None
        for reader in readers_of(context, event.merchant_id, kind)
    ]
    await gather(connection, changes, notes, now)


async def gather(connection: asyncpg.Connection, changes: Changes, notes: Collection[Note], now: datetime) -> None:
    """Keep notes in their topics, muted ones aside, and see to it that they are sent."""
    if not notes:
        return
    topics = await take_topics(connection, {(reader.merchant, reader.name, kind) for reader, kind, _, _ in notes})
    kept = [
        StaffNote(topic_id=topic.id, thing=thing, line=text, at=now)
        for reader, kind, thing, text in notes
        if not (topic := topics[reader.merchant, reader.name, kind]).quiet(now)
    ]
    if kept:
        await add_notes(connection, kept)
        await put_jobs(connection, changes, topics.values(), now)


async def put_jobs(
    connection: asyncpg.Connection, changes: Changes, topics: Collection[Topic], now: datetime
) -> set[UUID]:
    """Put the job of each topic in which something waits and no message is under way; return which those are."""
    waiting = await waiting_in(connection, [topic.id for topic in topics])
    ready = {topic.id for topic in topics if topic.id in waiting and not waiting[topic.id].busy}
    for topic in topics:
        if topic.id in ready:
            changes.add(NewJob(kind=STAFF, subject_id=topic.id, due_at=due_at(topic, waiting[topic.id].since, now)))
    return ready


def due_at(topic: Topic, since: datetime, now: datetime) -> datetime:
    """Return when a topic is sent: counted from its first note, so that a steady trickle never puts it off."""
    rested = now if topic.last_sent_at is None else topic.last_sent_at + EVERY
    return max(since + GATHER, rested)


def readers_of(context: Context, merchant_id: str, kind: StaffKind) -> list[StaffReader]:
    """Return who of a merchant's staff wants to be told of a kind of thing."""
    staff = context.messaging.staff
    return [reader for reader in staff if reader.merchant == merchant_id and (not reader.about or kind in reader.about)]


async def _count(connection: asyncpg.Connection, events: Sequence[StoredEvent]) -> None:
    """Count how gateways answered; what a gateway failed at is told apart from what it declined."""
    told = [event for event in events if event.kind in _ANSWERED | _FAILED and event.attempt_id is not None]
    if not told:
        return
    gateways = await gateways_of(connection, {event.attempt_id for event in told if event.attempt_id is not None})
    answered: Counter[tuple[str, str, datetime]] = Counter()
    failed: Counter[tuple[str, str, datetime]] = Counter()
    for event in told:
        gateway = gateways.get(event.attempt_id) if event.attempt_id is not None else None
        if gateway is not None:
            counted = failed if event.kind in _FAILED else answered
            counted[event.merchant_id, gateway, slot_of(event.at)] += 1
    await count_answers(
        connection,
        [Answers(*key, answered=answered[key], failed=failed[key]) for key in sorted(answered.keys() | failed.keys())],
    )


def slot_of(at: datetime) -> datetime:
    """Return the beginning of the ten minutes that a moment lies in."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % SLOT_S, at.tzinfo)
