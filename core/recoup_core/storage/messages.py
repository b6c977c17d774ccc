"""Messages: read under their locks by who sends them or hears what became of them, listed for people."""

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.customer import AddressState
from recoup_core.domain.message import Message, MessageState
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import read_page

MAX_FOUND: Final = 1_000
"""Messages that one delivery of feedback may be about."""

_LOCK: Final = "SELECT id FROM message WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

_FILES: Final = """
    SELECT json_build_object(
        'message', row_to_json(m),
        'payment', (SELECT state FROM payment p WHERE p.id = m.payment_id),
        'case', (SELECT state FROM recovery_case c WHERE c.id = m.case_id),
        'address', (SELECT state FROM customer_address a WHERE a.id = m.address_id AND a.told_at IS NOT NULL),
        'siblings', CASE WHEN m.step_id IS NOT NULL
            THEN (SELECT json_object_agg(s.id, s.state) FROM message s WHERE s.step_id = m.step_id)
            ELSE (SELECT json_object_agg(s.id, s.state) FROM message s WHERE s.notice_id = m.notice_id) END,
        'asked', EXISTS (SELECT FROM human_task t WHERE t.kind = 'message_undeliverable' AND t.resolved_at IS NULL
                         AND t.merchant_id = m.merchant_id
                         AND (t.case_id = m.case_id OR t.about_id = coalesce(m.notice_id, m.step_id))),
        'asked_to_speak', EXISTS (SELECT FROM human_task t WHERE t.kind = 'vulnerable_customer'
                         AND t.resolved_at IS NULL AND t.merchant_id = m.merchant_id
                         AND (t.case_id = m.case_id OR t.about_id = coalesce(m.notice_id, m.step_id)))
    )::text
    FROM message m WHERE m.id = ANY($1::uuid[]) ORDER BY m.id"""


class MessageFile(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and what decides whether it is still wanted and what its end means."""

    message: Message
    payment: PaymentState | None
    case: CaseState | None
    address: AddressState | None
    """None where it has none, or it was taken away or erased."""
    siblings: dict[UUID, MessageState] = {}
    """What was written for the same step or notice, by whatever channel; itself included."""
    asked: bool
    """Whether a person has been asked about messages that reach nobody."""
    asked_to_speak: bool = False
    """Whether a person has been asked to speak with the customer, who is vulnerable."""


class MessageKey(msgspec.Struct, frozen=True):
    """Whose a message is."""

    id: UUID
    merchant_id: str
    customer_ref: str
    payment_id: UUID | None


async def keys_of(connection: asyncpg.Connection, ids: Collection[UUID]) -> list[MessageKey]:
    """Return whose the messages are; what locks are to be taken before theirs hangs on it."""
    rows = await connection.fetch(
        "SELECT id, merchant_id, customer_ref, payment_id FROM message WHERE id = ANY($1::uuid[])", list(ids)
    )
    return [MessageKey(*row) for row in rows]


async def find_messages(
    connection: asyncpg.Connection, notifier: str, ids: Collection[UUID], provider_refs: Collection[str]
) -> dict[UUID | str, UUID]:
    """Return the messages that a notifier sent, by their ids or by its provider's names for them."""
    rows = await connection.fetch(
        "SELECT id, provider_ref FROM message WHERE notifier = $1 AND id = ANY($2::uuid[])"
        " UNION ALL SELECT id, provider_ref FROM message WHERE notifier = $1 AND provider_ref = ANY($3::text[])"
        f" LIMIT {MAX_FOUND}",
        notifier,
        list(ids),
        list(provider_refs),
    )
    found: dict[UUID | str, UUID] = {row["id"]: row["id"] for row in rows}
    return found | {row["provider_ref"]: row["id"] for row in rows if row["provider_ref"] is not None}


async def lock_messages(connection: asyncpg.Connection, ids: Collection[UUID]) -> dict[UUID, MessageFile]:
    """Take the messages' locks, in id order, and return what is known of each."""
    wanted = list(ids)
    await connection.fetch(_LOCK, wanted)
    rows = await connection.fetch(_FILES, wanted)
    files = [msgspec.json.decode(row[0], type=MessageFile) for row in rows]
    # whoever works on several of one step's messages at once sees what becomes of each
    shared = {file.message.step_id or file.message.notice_id: file.siblings for file in files}
    return {
        file.message.id: msgspec.structs.replace(file, siblings=shared[file.message.step_id or file.message.notice_id])
        for file in files
    }


async def queued_for_notices(connection: asyncpg.Connection, notice_ids: Collection[UUID]) -> list[Message]:
    """Return, under their locks, the messages of notices that have not left yet."""
    rows = await connection.fetch(
        "SELECT row_to_json(m)::text FROM message m WHERE m.notice_id = ANY($1::uuid[]) AND m.state = 'queued'"
        " ORDER BY m.id FOR NO KEY UPDATE",
        list(notice_ids),
    )
    return [msgspec.json.decode(row[0], type=Message) for row in rows]


_FILTERS: Final = {
    "id": "m.id = {}",
    "case": "m.case_id = {}",
    "customer": "m.customer_ref = {}",
    "state": "m.state = {}",
    "channel": "m.channel = {}",
    "notice": "m.notice_id = {}",
}


async def list_messages(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[Message]:
    """Return the newest messages before a key; filters: id, case, customer, state, channel, notice."""
    select = "SELECT to_jsonb(m)::text FROM message m"
    found: list[Message] = await read_page(
        database, select, "m", _FILTERS, merchant_id, filters, before, limit, Message
    )
    return found


_JOBLESS: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, m.id, $3, $3 FROM message m
    WHERE m.state IN ('queued', 'sending') AND m.created_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = m.id)
    ORDER BY m.created_at LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""


async def jobless_messages(connection: asyncpg.Connection, kind: str, before: Any, now: Any, limit: int) -> int:
    """Give a job to messages on their way that have none; return how many."""
    return len(await connection.fetch(_JOBLESS, kind, before, now, limit))


class MessageCount(msgspec.Struct, frozen=True):
    """How many messages of one template went by one channel, and what became of them."""

    template: str
    channel: str
    state: MessageState
    count: int


async def count_messages(connection: asyncpg.Connection, merchant_id: str) -> list[MessageCount]:
    """Return how many messages a merchant has, by template, channel and state; reads all of them."""
    rows = await connection.fetch(
        "SELECT template, channel, state, count(*) AS count FROM message WHERE merchant_id = $1"
        " GROUP BY template, channel, state ORDER BY count(*) DESC, template, channel, state",
        merchant_id,
    )
    return [msgspec.convert(dict(row), MessageCount) for row in rows]
