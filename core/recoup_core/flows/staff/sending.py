"""What gathered in a topic goes out as one message: written down as *sending*, handed over, its outcome written down.

As with messages to customers, a notifier is never called inside a transaction, and where nobody knows whether a message
got through it is handed over again only by a notifier that tells doubles apart.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from recoup_core.domain.ids import new_id
from recoup_core.domain.staff import STAFF_MESSAGE, StaffEvent, StaffMessage, StaffState, Topic
from recoup_core.flows.context import Context
from recoup_core.flows.guard import Unknown
from recoup_core.flows.messaging import StaffReader
from recoup_core.flows.notifier_guard import send_guarded
from recoup_core.flows.staff.noticing import EVERY, STAFF, due_at, put_jobs
from recoup_core.flows.staff.words import MOST_LINES, body, title
from recoup_core.ports import Accepted, NotAccepted, Notifier, NotNow, OutgoingMessage, SendOutcome
from recoup_core.ports.notifier import Sender
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.staff import (
    add_message,
    drop_notes,
    lock_topic,
    open_message,
    waiting_in,
    waiting_notes,
    write_message,
    write_topics,
)

MOST_NOTES: Final = 1_000
"""Notes of one message; their lines are told up to `MOST_LINES`, the rest is a number."""

GIVE_UP_AFTER: Final = timedelta(days=2)
"""What a notifier doesn't take for so long is no news any more."""

RESEND_WITHIN: Final = timedelta(days=1)
FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(minutes=30)
SENDER: Final = Sender(name="Recoup")

log = structlog.get_logger(__name__)


class Going(msgspec.Struct, frozen=True):
    """A message that was committed as *sending*."""

    message: StaffMessage
    notifier: Notifier
    outgoing: OutgoingMessage


async def run_staff(context: Context, refs: Sequence[JobRef]) -> None:
    """Tell the readers of these topics what gathered; one that fails keeps its job, and comes back."""
    ended = await asyncio.gather(*(_run(context, ref) for ref in refs), return_exceptions=True)
    failures = [failure for failure in ended if isinstance(failure, BaseException)]
    for failure in failures:
        log.error("staff_not_told", error=repr(failure))
    if failures:
        away = next((each for each in failures if isinstance(each, DatabaseUnavailable)), failures[0])
        raise away


async def _run(context: Context, ref: JobRef) -> None:
    going = await _start(context, ref)
    if going is None:
        return
    started = monotonic()
    outcome = await send_guarded(going.notifier, going.outgoing)
    name = _OUTCOMES[type(outcome)]
    context.measures.message_sent(going.notifier.name, going.message.channel, name, monotonic() - started)
    await _record(context, ref, going.message, going.notifier, outcome)


async def _start(context: Context, ref: JobRef) -> Going | None:
    """Decide under the topic's lock whether something goes now, and commit it as *sending*."""
    now, changes = context.clock.now(), Changes()
    async with context.database.transaction() as connection:
        topic = await lock_topic(connection, ref.subject_id)
        going = None
        if topic is None:
            changes.finish(ref)
        else:
            going = await _prepared(context, connection, changes, ref, topic, now)
        await changes.write(connection)
    return going


async def _prepared(
    context: Context, connection: asyncpg.Connection, changes: Changes, ref: JobRef, topic: Topic, now: datetime
) -> Going | None:
    reader = reader_of(context, topic)
    notifier = None if reader is None else context.messaging.notifiers.get(reader.notifier)
    message = await open_message(connection, topic.id)
    if message is not None:
        refusal = _refusal(topic, message, notifier, now)
        if refusal is not None:
            await write_message(connection, refusal)
            await _go_on(connection, changes, ref, topic, now)
            return None
    elif reader is None or notifier is None or topic.quiet(now):
        await drop_notes(connection, topic.id)
        changes.finish(ref)
        return None
    else:
        message = await _composed(connection, changes, ref, topic, reader, now)
    if message is None or reader is None or notifier is None:
        return None
    message = moved(message, StaffEvent.SEND, sends=message.sends + 1)
    await write_message(connection, message)
    return Going(message, notifier, _outgoing(message, topic, reader))


def reader_of(context: Context, topic: Topic) -> StaffReader | None:
    """Return a topic's reader, as the settings know it now."""
    staff = context.messaging.staff
    return next((each for each in staff if (each.merchant, each.name) == (topic.merchant_id, topic.reader)), None)


def _refusal(topic: Topic, message: StaffMessage, notifier: Notifier | None, now: datetime) -> StaffMessage | None:
    """Return the message as it ends here; None where it goes (again)."""
    wanted = notifier is not None and not topic.quiet(now)
    if message.state is StaffState.SENDING:  # handed over before, and nobody knows what came of it
        again = wanted and notifier is not None and notifier.capabilities.deduplicates
        if again and now - message.created_at < RESEND_WITHIN:
            return None
        return moved(message, StaffEvent.LOSE, finished_at=now, because="nobody knows whether it got through")
    if not wanted:
        return moved(message, StaffEvent.CANCEL, finished_at=now, because="muted, or no longer read")
    if now - message.created_at >= GIVE_UP_AFTER:
        because = f"not taken for {GIVE_UP_AFTER.days} days: {message.because}"
        return moved(message, StaffEvent.FAIL, finished_at=now, because=because)
    return None


async def _composed(
    connection: asyncpg.Connection, changes: Changes, ref: JobRef, topic: Topic, reader: StaffReader, now: datetime
) -> StaffMessage | None:
    """Write what gathered into one message; None where nothing did, or where it is too early."""
    notes = await waiting_notes(connection, topic.id, MOST_NOTES)
    if not notes:
        changes.finish(ref)
        return None
    due = due_at(topic, notes[0].at, now)
    if due > now:
        changes.add(NewJob(kind=STAFF, subject_id=topic.id, due_at=due))
        return None
    lines = [note.line for note in notes]
    message = StaffMessage(
        id=new_id(),
        merchant_id=topic.merchant_id,
        topic_id=topic.id,
        notifier=reader.notifier,
        channel=reader.channel,
        locale=reader.locale,
        subject=title(topic.kind, len(notes), reader.locale),
        text=body(topic.kind, reader.name, lines[:MOST_LINES], len(lines[MOST_LINES:]), reader.locale),
        notes=len(notes),
        created_at=now,
    )
    await add_message(connection, message, [note.thing for note in notes])
    return message


async def _record(
    context: Context, ref: JobRef, message: StaffMessage, notifier: Notifier, outcome: SendOutcome | Unknown
) -> None:
    now, changes = context.clock.now(), Changes()
    async with context.database.transaction() as connection:
        topic = await lock_topic(connection, message.topic_id)
        current = await open_message(connection, message.topic_id)
        if topic is None or current is None or (current.id, current.sends) != (message.id, message.sends):
            return  # whoever took the job after our lease had ended has the word
        after = _after(current, outcome, deduplicates=notifier.capabilities.deduplicates, now=now)
        await write_message(connection, after)
        if after.finished_at is None:
            changes.add(NewJob(kind=STAFF, subject_id=topic.id, due_at=now + _wait(after, outcome)))
        else:
            topic = msgspec.structs.replace(topic, last_sent_at=now)
            await write_topics(connection, [topic])
            await _go_on(connection, changes, ref, topic, now)
        await changes.write(connection)
    if after.state in (StaffState.FAILED, StaffState.UNKNOWN):
        log.error("staff_message_lost", reader=topic.reader, kind=topic.kind, state=after.state, because=after.because)


def _after(message: StaffMessage, outcome: SendOutcome | Unknown, *, deduplicates: bool, now: datetime) -> StaffMessage:
    match outcome:
        case Accepted():
            return moved(message, StaffEvent.ACCEPT, sent_at=now, finished_at=now, because=None)
        case NotAccepted(reason=reason):
            return moved(message, StaffEvent.FAIL, finished_at=now, because=reason[:1000])
        case NotNow(reason=reason):
            return moved(message, StaffEvent.NOT_SEND, because=reason[:1000])
        case Unknown(reason=reason):
            if deduplicates and now - message.created_at < RESEND_WITHIN:
                return msgspec.structs.replace(message, because=reason[:1000])
            return moved(message, StaffEvent.LOSE, finished_at=now, because=reason[:1000])


def _wait(message: StaffMessage, outcome: SendOutcome | Unknown) -> timedelta:
    doubled: int = 2 ** min(message.sends - 1, 10)
    own = min(LONGEST_WAIT, FIRST_WAIT * doubled)
    asked = outcome.retry_after_s if isinstance(outcome, NotNow) else None
    return own if asked is None else max(own, timedelta(seconds=asked))


async def _go_on(connection: asyncpg.Connection, changes: Changes, ref: JobRef, topic: Topic, now: datetime) -> None:
    """Put the job for what gathered meanwhile, or be done."""
    if topic.quiet(now) or not await waiting_in(connection, [topic.id]):
        changes.finish(ref)
    elif topic.id not in await put_jobs(connection, changes, [topic], now):
        changes.add(NewJob(kind=STAFF, subject_id=topic.id, due_at=now + EVERY))


def moved(message: StaffMessage, event: StaffEvent, **fields: Any) -> StaffMessage:
    """Return the message after an event; an absent pair raises `IllegalTransition`."""
    return msgspec.structs.replace(message, state=STAFF_MESSAGE.after(message.state, event), **fields)


def _outgoing(message: StaffMessage, topic: Topic, reader: StaffReader) -> OutgoingMessage:
    return OutgoingMessage(
        id=message.id,
        merchant_id=message.merchant_id,
        channel=message.channel,
        to=reader.to,
        sender=SENDER,
        subject=message.subject,
        text=message.text,
        locale=message.locale,
        data={"kind": str(topic.kind), "notes": message.notes},
        created_at=message.created_at,
    )


_OUTCOMES: Final = {Accepted: "accepted", NotAccepted: "not_accepted", NotNow: "not_now", Unknown: "unknown"}
