"""What comes once a day, at eight in each reader's zone: the digest of the day before, and tasks that wait too long.

It is asked for at every sweep and made by the first that comes after eight; if nobody swept at eight, it comes later.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from recoup_core.domain.money import Money
from recoup_core.domain.staff import StaffKind, topic_id
from recoup_core.flows.context import Context
from recoup_core.flows.messaging import StaffReader
from recoup_core.flows.staff.noticing import Note, gather
from recoup_core.flows.staff.words import language
from recoup_core.storage.changes import Changes
from recoup_core.storage.digests import Digest, Overdue, overdue_tasks, read_digest
from recoup_core.storage.staff import known_things, muted_topics

AT: Final = time(8)
DAILY: Final = (StaffKind.DAILY_DIGEST, StaffKind.TASKS_AGING)

_WORDS: Final = {
    "en": (
        "{day}",
        "at risk now: {risk} in {open_cases} cases",
        "recovered on that day: {won} in {recovered_cases} cases",
        "charges sent: {submitted}, of which succeeded: {succeeded}",
        "refunds asked for: {asked}, paid: {paid}, failed: {failed}",
        "waiting now: {approvals_waiting} approvals, {tasks_open} tasks, {tasks_overdue} of them overdue",
        "out of the ordinary now: {anomalies}",
    ),
    "de": (
        "{day}",
        "jetzt offen: {risk} in {open_cases} Fällen",
        "an dem Tag eingezogen: {won} in {recovered_cases} Fällen",
        "Abbuchungen versucht: {submitted}, davon gelungen: {succeeded}",
        "Erstattungen angefragt: {asked}, ausgezahlt: {paid}, gescheitert: {failed}",
        "jetzt wartend: {approvals_waiting} Freigaben, {tasks_open} Aufgaben, davon {tasks_overdue} überfällig",
        "jetzt ungewöhnlich: {anomalies}",
    ),
}
_OVERDUE: Final = {
    "en": "{count} of {kind}, the oldest due since {since}",
    "de": "{count} der Art {kind}, die älteste fällig seit {since}",
}


async def tell_the_day(context: Context, now: datetime) -> None:
    """Note for each reader what comes once a day, where it is past eight there and was not noted yet."""
    wanted = [
        (reader, kind, f"day:{today(reader, now)}")
        for reader in context.messaging.staff
        for kind in DAILY
        if (not reader.about or kind in reader.about) and now.astimezone(ZoneInfo(reader.timezone)).time() >= AT
    ]
    if not wanted:
        return
    keys = {(_topic(reader, kind), day) for reader, kind, day in wanted}
    async with context.database.connection() as connection:
        known = await known_things(connection, keys)
        muted = await muted_topics(connection, {topic for topic, _ in keys}, now)
    fresh = [
        each for each in wanted if (topic := _topic(each[0], each[1])) not in muted and (topic, each[2]) not in known
    ]
    for reader, kind, day in fresh:
        changes = Changes()
        async with context.database.transaction() as connection:
            notes = await _notes(connection, reader, kind, day, now)
            await gather(connection, changes, notes, now)
            await changes.write(connection)


def today(reader: StaffReader, now: datetime) -> str:
    """Return the reader's calendar day."""
    return str(now.astimezone(ZoneInfo(reader.timezone)).date())


def day_before(reader: StaffReader, now: datetime) -> tuple[datetime, datetime]:
    """Return the reader's day before, from midnight to midnight: 23 or 25 hours where the clock is changed."""
    zone = ZoneInfo(reader.timezone)
    ends = datetime.combine(now.astimezone(zone).date(), time(), zone)
    return datetime.combine(ends.date() - timedelta(days=1), time(), zone), ends


def _topic(reader: StaffReader, kind: StaffKind) -> UUID:
    return topic_id(reader.merchant, reader.name, kind)


async def _notes(
    connection: asyncpg.Connection, reader: StaffReader, kind: StaffKind, day: str, now: datetime
) -> list[Note]:
    if kind is StaffKind.DAILY_DIGEST:
        begins, ends = day_before(reader, now)
        digest = await read_digest(connection, reader.merchant, begins, ends, now)
        return [(reader, kind, day, digest_text(digest, str(begins.date()), reader.locale))]
    overdue = await overdue_tasks(connection, reader.merchant, now)
    return [(reader, kind, day, overdue_text(overdue, reader.locale))] if overdue else []


def digest_text(digest: Digest, day: str, locale: str) -> str:
    """Return the digest's lines."""
    counts = {name: digest.happened.get(kind, 0) for name, kind in _COUNTED.items()}
    values = {
        "day": day,
        "risk": _sums(digest.at_risk),
        "won": _sums(digest.recovered),
        **{name: getattr(digest, name) for name in _STANDING},
        **counts,
    }
    return "\n".join(text.format(**values) for text in _WORDS[language(locale)])


_COUNTED: Final = {
    "submitted": "attempt.submitted",
    "succeeded": "attempt.succeeded",
    "asked": "refund.requested",
    "paid": "refund.succeeded",
    "failed": "refund.failed",
}
_STANDING: Final = ("open_cases", "recovered_cases", "approvals_waiting", "tasks_open", "tasks_overdue", "anomalies")


def overdue_text(overdue: Sequence[Overdue], locale: str) -> str:
    """Return one line for each kind of task that waits past its due time."""
    words = _OVERDUE[language(locale)]
    return "\n".join(words.format(count=each.count, kind=each.kind, since=each.oldest.date()) for each in overdue)


def _sums(minor: Mapping[str, int]) -> str:
    """Return sums by currency; sums may exceed what one payment may be, so they are only formatted."""
    return ", ".join(str(Money(amount, currency)) for currency, amount in sorted(minor.items())) or "0"
