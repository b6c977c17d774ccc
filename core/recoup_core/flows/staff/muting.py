"""Who of the staff is told what: looked at, muted for a time or for good, unmuted, and tried out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.staff import StaffKind, Topic
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.guard import Unknown
from recoup_core.flows.messaging import StaffReader
from recoup_core.flows.notifier_guard import send_guarded
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.staff.sending import SENDER
from recoup_core.ports import OutgoingMessage, SendOutcome
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.staff import drop_notes, read_topics, take_topics, write_topics

TEST: Final = {
    "en": ("A test", "This is a test of how Recoup reaches you. Nothing is wrong."),
    "de": ("Ein Test", "So erreicht Recoup Sie. Es ist nur ein Test."),
}


class MuteInvalid(DomainError):
    """The moment until which somebody is to hear nothing is over already."""

    code = "mute_invalid"
    field = "until"

    def __init__(self) -> None:
        super().__init__("until: must lie ahead")


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of thing that a reader may be told of."""

    kind: StaffKind
    muted: bool = False
    muted_until: datetime | None = None
    """None while muted: until somebody unmutes it."""
    muted_by: str | None = None
    last_sent_at: datetime | None = None


class ReaderView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the staff and what they are told of; their address is nobody else's business."""

    name: str
    notifier: str
    channel: str
    locale: str
    timezone: str
    kinds: list[Heard]


async def list_staff(context: Context, merchant_id: str) -> list[ReaderView]:
    """Return a merchant's readers by name, with what each is told of and what is muted."""
    readers = sorted((r for r in context.messaging.staff if r.merchant == merchant_id), key=lambda r: r.name)
    async with context.database.connection() as connection:
        topics = await read_topics(connection, merchant_id, [reader.name for reader in readers])
    now = context.clock.now()
    return [_view(reader, [topic for topic in topics if topic.reader == reader.name], now) for reader in readers]


async def mute(context: Context, name: str, kind: StaffKind | None, until: datetime | None, by: By) -> ReaderView:
    """Tell a reader nothing of a kind (None: of any), until a moment or until it is unmuted; what waits is dropped.

    Raises `NotFound`, `MuteInvalid`. The same call again changes nothing more.
    """
    now = context.clock.now()
    if until is not None and until <= now:
        raise MuteInvalid
    return await _set(context, name, kind, by, muted=True, until=until)


async def unmute(context: Context, name: str, kind: StaffKind | None, by: By) -> ReaderView:
    """Tell a reader again of a kind (None: of every one) what happens from now on. Raises `NotFound`."""
    return await _set(context, name, kind, by, muted=False, until=None)


async def send_test(context: Context, merchant_id: str, name: str) -> SendOutcome | Unknown:
    """Hand a test over to a reader's notifier, muted or not, and return what came of it. Raises `NotFound`."""
    reader = _reader(context, merchant_id, name)
    notifier = context.messaging.notifiers.get(reader.notifier)
    if notifier is None:
        raise NotFound("notifier", reader.notifier)
    subject, text = TEST.get(reader.locale.partition("-")[0], TEST["en"])
    message = OutgoingMessage(
        id=new_id(),
        merchant_id=reader.merchant,
        channel=reader.channel,
        to=reader.to,
        sender=SENDER,
        subject=subject,
        text=text,
        locale=reader.locale,
        data={"kind": "test"},
        created_at=context.clock.now(),
    )
    return await send_guarded(notifier, message)


async def _set(
    context: Context, name: str, kind: StaffKind | None, by: By, *, muted: bool, until: datetime | None
) -> ReaderView:
    now, changes = context.clock.now(), Changes()
    reader = _reader(context, by.merchant_id, name)
    kinds = told_of(reader) if kind is None else [kind]
    async with context.database.transaction() as connection:
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=ReaderView)
        topics = await take_topics(connection, {(reader.merchant, name, each) for each in kinds})
        actor = by.actor if muted else None
        after = [
            msgspec.structs.replace(topic, muted=muted, muted_until=until, muted_by=actor) for topic in topics.values()
        ]
        await write_topics(connection, after)
        if muted:
            for topic in after:
                await drop_notes(connection, topic.id)
        changes.add(_told(reader, kinds, by, now, muted=muted, until=until))
        view = _view(reader, await read_topics(connection, by.merchant_id, [name]), now)
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(view), now))
        await changes.write(connection)
    count_events(context, changes)
    return view


def told_of(reader: StaffReader) -> list[StaffKind]:
    """Return the kinds that a reader is told of, in their order."""
    return [kind for kind in StaffKind if not reader.about or kind in reader.about]


def _reader(context: Context, merchant_id: str, name: str) -> StaffReader:
    staff = context.messaging.staff
    found = next((each for each in staff if (each.merchant, each.name) == (merchant_id, name)), None)
    if found is None:
        raise NotFound("staff reader", name)
    return found


def _view(reader: StaffReader, topics: Sequence[Topic], now: datetime) -> ReaderView:
    known = {topic.kind: topic for topic in topics}
    heard = [
        Heard(kind=kind)
        if (topic := known.get(kind)) is None
        else Heard(
            kind=kind,
            muted=topic.quiet(now),
            muted_until=topic.muted_until if topic.quiet(now) else None,
            muted_by=topic.muted_by if topic.quiet(now) else None,
            last_sent_at=topic.last_sent_at,
        )
        for kind in told_of(reader)
    ]
    return ReaderView(
        name=reader.name,
        notifier=reader.notifier,
        channel=reader.channel,
        locale=reader.locale,
        timezone=reader.timezone,
        kinds=heard,
    )


def _told(
    reader: StaffReader, kinds: Sequence[StaffKind], by: By, now: datetime, *, muted: bool, until: datetime | None
) -> Event:
    data = {"reader": reader.name, "kinds": [str(kind) for kind in kinds]}
    if until is not None:
        data["until"] = until.isoformat()
    return Event(
        at=now,
        merchant_id=reader.merchant,
        kind=EventKind.STAFF_MUTED if muted else EventKind.STAFF_UNMUTED,
        actor=by.actor,
        correlation_id=by.correlation_id,
        data=data,
    )
