"""What the staff is told: topics under their locks, notes that wait, messages, and what is out of the ordinary."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.staff import StaffKind, StaffMessage, StaffNote, Topic, topic_id
from recoup_core.storage.changes import columns

_MESSAGE: Final = ", ".join(columns(StaffMessage))
_SETS: Final = ", ".join(f"{name} = r.{name}" for name in columns(StaffMessage) if name != "id")
_ROWS: Final = "jsonb_populate_recordset(null::{}, $1::jsonb)"


class Waiting(msgspec.Struct, frozen=True):
    """What gathers in a topic: since when, and whether a message of it is under way."""

    since: datetime
    busy: bool


async def take_topics(
    connection: asyncpg.Connection, wanted: Collection[tuple[str, str, StaffKind]]
) -> dict[tuple[str, str, StaffKind], Topic]:
    """Return topics by merchant, reader and kind under their locks, taken in order; missing ones are made."""
    rows = sorted(
        [Topic(id=topic_id(*each), merchant_id=each[0], reader=each[1], kind=each[2]) for each in set(wanted)],
        key=lambda topic: topic.id,
    )
    found = await connection.fetch(
        "INSERT INTO staff_topic AS t (id, merchant_id, reader, kind)"
        f" SELECT id, merchant_id, reader, kind FROM {_ROWS.format('staff_topic')} ORDER BY id"
        " ON CONFLICT (merchant_id, reader, kind) DO UPDATE SET reader = t.reader RETURNING to_jsonb(t)::text",
        msgspec.json.encode(rows).decode(),
    )
    topics = [msgspec.json.decode(row[0], type=Topic) for row in found]
    return {(topic.merchant_id, topic.reader, topic.kind): topic for topic in topics}


async def lock_topic(connection: asyncpg.Connection, key: UUID) -> Topic | None:
    """Return a topic under its lock."""
    body = await connection.fetchval("SELECT to_jsonb(t)::text FROM staff_topic t WHERE id = $1 FOR UPDATE", key)
    return None if body is None else msgspec.json.decode(body, type=Topic)


async def read_topics(connection: asyncpg.Connection, merchant_id: str, readers: Sequence[str]) -> list[Topic]:
    """Return the topics of a merchant's readers."""
    rows = await connection.fetch(
        "SELECT to_jsonb(t)::text FROM staff_topic t WHERE merchant_id = $1 AND reader = ANY($2) ORDER BY reader, kind",
        merchant_id,
        list(readers),
    )
    return [msgspec.json.decode(row[0], type=Topic) for row in rows]


async def write_topics(connection: asyncpg.Connection, topics: Sequence[Topic]) -> None:
    """Write down whether topics are muted and when they were last sent."""
    await connection.execute(
        "UPDATE staff_topic t SET muted = r.muted, muted_until = r.muted_until, muted_by = r.muted_by,"
        f" last_sent_at = r.last_sent_at FROM {_ROWS.format('staff_topic')} r WHERE t.id = r.id",
        msgspec.json.encode(topics).decode(),
    )


async def add_notes(connection: asyncpg.Connection, notes: Sequence[StaffNote]) -> None:
    """Keep notes; what a topic knows of already is left as it is."""
    await connection.execute(
        f"INSERT INTO staff_note (topic_id, thing, line, at) SELECT topic_id, thing, line, at"
        f" FROM {_ROWS.format('staff_note')} ON CONFLICT (topic_id, thing) DO NOTHING",
        msgspec.json.encode(notes).decode(),
    )


async def known_things(connection: asyncpg.Connection, wanted: Collection[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
    """Return which of these things (topic, thing) their readers were told of, or are about to be."""
    rows = await connection.fetch(
        "SELECT n.topic_id, n.thing FROM unnest($1::uuid[], $2::text[]) w(topic_id, thing)"
        " JOIN staff_note n USING (topic_id, thing)",
        [topic for topic, _ in wanted],
        [thing for _, thing in wanted],
    )
    return {(row["topic_id"], row["thing"]) for row in rows}


async def muted_topics(connection: asyncpg.Connection, topics: Collection[UUID], now: datetime) -> set[UUID]:
    """Return which of these topics are muted at a moment."""
    rows = await connection.fetch(
        "SELECT id FROM staff_topic WHERE id = ANY($1::uuid[]) AND muted AND coalesce(muted_until > $2, true)",
        list(topics),
        now,
    )
    return {row["id"] for row in rows}


async def waiting_in(connection: asyncpg.Connection, topics: Collection[UUID]) -> dict[UUID, Waiting]:
    """Return what waits in topics; one where nothing does is left out."""
    rows = await connection.fetch(
        "SELECT n.topic_id, min(n.at) AS since, EXISTS (SELECT FROM staff_message m WHERE m.topic_id = n.topic_id"
        " AND m.state IN ('queued', 'sending')) AS busy FROM staff_note n"
        " WHERE n.message_id IS NULL AND n.topic_id = ANY($1::uuid[]) GROUP BY n.topic_id",
        list(topics),
    )
    return {row["topic_id"]: Waiting(row["since"], row["busy"]) for row in rows}


async def waiting_notes(connection: asyncpg.Connection, topic: UUID, limit: int) -> list[StaffNote]:
    """Return a topic's notes that are in no message yet, oldest first."""
    rows = await connection.fetch(
        "SELECT topic_id, thing, line, at FROM staff_note WHERE topic_id = $1 AND message_id IS NULL"
        " ORDER BY at, thing LIMIT $2",
        topic,
        limit,
    )
    return [StaffNote(**row) for row in rows]


async def drop_notes(connection: asyncpg.Connection, topic: UUID) -> None:
    """Forget what waits in a topic: it is muted, or nobody reads it any more."""
    await connection.execute("DELETE FROM staff_note WHERE topic_id = $1 AND message_id IS NULL", topic)


async def add_message(connection: asyncpg.Connection, message: StaffMessage, things: Sequence[str]) -> None:
    """Keep a new message with the notes that it tells of."""
    await connection.execute(
        f"INSERT INTO staff_message ({_MESSAGE}) SELECT {_MESSAGE} FROM {_ROWS.format('staff_message')}",
        msgspec.json.encode([message]).decode(),
    )
    await connection.execute(
        "UPDATE staff_note SET message_id = $2 WHERE topic_id = $1 AND thing = ANY($3)",
        message.topic_id,
        message.id,
        list(things),
    )


async def open_message(connection: asyncpg.Connection, topic: UUID) -> StaffMessage | None:
    """Return the topic's message that is under way; callers hold the topic's lock."""
    body = await connection.fetchval(
        "SELECT to_jsonb(m)::text FROM staff_message m WHERE topic_id = $1 AND state IN ('queued', 'sending')", topic
    )
    return None if body is None else msgspec.json.decode(body, type=StaffMessage)


async def write_message(connection: asyncpg.Connection, message: StaffMessage) -> None:
    """Rewrite a message by its id."""
    await connection.execute(
        f"UPDATE staff_message t SET {_SETS} FROM {_ROWS.format('staff_message')} r WHERE t.id = r.id",
        msgspec.json.encode([message]).decode(),
    )


async def jobless_topics(connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int) -> int:
    """Give topics their job back in which something waits, or is under way, since before; return how many."""
    return int(
        await connection.fetchval(
            """
            WITH lost AS (
                SELECT topic_id FROM staff_note WHERE message_id IS NULL AND at < $2
                UNION SELECT topic_id FROM staff_message WHERE state IN ('queued', 'sending') AND created_at < $2
                LIMIT $4),
            given AS (
                INSERT INTO job (kind, subject_id, due_at, visible_at)
                SELECT $1, topic_id, $3, $3 FROM lost
                WHERE NOT EXISTS (SELECT FROM job WHERE kind = $1 AND subject_id = topic_id)
                ON CONFLICT (kind, subject_id) DO NOTHING RETURNING 1)
            SELECT count(*) FROM given""",
            kind,
            before,
            now,
            limit,
        )
    )


async def forget_notes(connection: asyncpg.Connection, before: datetime, limit: int) -> None:
    """Forget notes that were sent long ago, and counts of answers; messages are kept."""
    await connection.execute(
        "DELETE FROM staff_note WHERE (topic_id, thing) IN"
        " (SELECT topic_id, thing FROM staff_note WHERE message_id IS NOT NULL AND at < $1 LIMIT $2)",
        before,
        limit,
    )
    await connection.execute("DELETE FROM gateway_answers WHERE slot < $1", before)
