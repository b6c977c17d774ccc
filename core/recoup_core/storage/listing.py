"""Lists and single reads for people: always one merchant's rows, page by page, filtered only by what an index serves.

Pages are cut by key, not by offset: a page stays what it is however many rows are added before it.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.happened import Event, HumanTask
from recoup_core.domain.message import Message
from recoup_core.domain.payment import Payment
from recoup_core.domain.recovery import RecoveryCase, TimelineStep
from recoup_core.domain.subscription_request import SubscriptionRequest
from recoup_core.rules.facts import PolicyKind
from recoup_core.storage.commit_order import CERTAIN_BELOW
from recoup_core.storage.engine import Database

MAX_PAGE: Final = 200
DEFAULT_PAGE: Final = 50

EVENTS_SCANNED: Final = 5_000
"""A merchant's events that one page of its feed looks at; where few fit the filter the page is short, and goes on."""

CASE_EVENTS: Final = 1_000
"""Events of one case that are read, the newest; a case has a few dozen."""


class CaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A payment with its case and the retry that is planned or under way."""

    payment: Payment
    case: RecoveryCase
    next_step: TimelineStep | None = None


class PaymentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A payment, its case and next retry where it ever failed, and how much of it went back or still can."""

    payment: Payment
    case: RecoveryCase | None = None
    next_step: TimelineStep | None = None
    refundable_minor: int
    """What can still be asked back, over all its captures."""
    refunded_minor: int
    """What went back over its captures, as money or store credit; what was only voided never came in."""


class StoredEvent(Event, frozen=True, kw_only=True):
    """An event with the number it was stored under."""

    id: int


class _PlacedEvent(StoredEvent, frozen=True, kw_only=True):
    txid: str


class _Scan(msgspec.Struct, frozen=True, kw_only=True):
    events: list[_PlacedEvent]
    scanned: int
    txid: str | None
    event_id: int | None


class FeedPosition(msgspec.Struct, frozen=True):
    """A place in the feed: commit order first, then the order inside a transaction."""

    txid: int
    event_id: int


class FeedPage(msgspec.Struct, frozen=True):
    """Events in the order they became certain, where the next page starts, and whether it is known to hold more."""

    events: list[StoredEvent]
    position: FeedPosition
    more: bool


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored decision as it explains itself."""

    id: UUID
    kind: PolicyKind
    policy_digest: str
    rule: str
    facts: msgspec.Raw
    outcome: msgspec.Raw
    explanation: msgspec.Raw
    decided_at: datetime


class CaseStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was planned, tried, decided and told in one case."""

    payment: Payment
    case: RecoveryCase
    steps: list[TimelineStep]
    attempts: list[Attempt]
    messages: list[Message] = []
    """Without their words and addresses."""
    decisions: list[DecisionRow]
    requests: list[SubscriptionRequest] = []
    """What the billing system was asked for, oldest first."""
    events: list[StoredEvent]


_CASE_AND_STEP: Final = """
    'payment', to_jsonb(p), 'case', to_jsonb(c), 'next_step', (
        SELECT to_jsonb(s) FROM timeline_step s
        WHERE s.case_id = c.id AND s.kind = 'retry' AND s.state IN ('planned', 'running'))"""

_CASE_ROW: Final = f"""
    SELECT jsonb_build_object({_CASE_AND_STEP})::text
    FROM payment p JOIN recovery_case c ON c.payment_id = p.id"""

_PAYMENT_ROW: Final = f"""
    SELECT jsonb_build_object({_CASE_AND_STEP},
        'refundable_minor', (SELECT coalesce(sum(greatest(0, k.amount_minor - k.held_minor - k.disputed_minor)), 0)
                             FROM capture k WHERE k.payment_id = p.id AND k.state <> 'voided'),
        'refunded_minor', (SELECT coalesce(sum(f.amount_minor), 0) FROM refund_part f
                           WHERE f.payment_id = p.id AND f.state = 'succeeded' AND f.capture_id IS NOT NULL
                             AND NOT f.void))::text
    FROM payment p LEFT JOIN recovery_case c ON c.payment_id = p.id"""

_PAYMENT_FILTERS: Final = {
    "id": "p.id = {}",
    "state": "p.state = {}",
    "customer": "p.customer ->> 'ref' = {}",
    "reference": "p.reference = {}",
    "order": "p.order_ref = {}",
}
_CASE_FILTERS: Final = {"id": "c.id = {}", "state": "c.state = {}", "payment": "c.payment_id = {}"}
_ATTEMPT_FILTERS: Final = {"id": "a.id = {}", "payment": "a.payment_id = {}"}

_STORY: Final = f"""
    SELECT jsonb_build_object(
        'payment', to_jsonb(p),
        'case', to_jsonb(c),
        'steps', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.due_at, s.id), '[]')
                  FROM timeline_step s WHERE s.case_id = c.id),
        'attempts', (SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.number), '[]')
                     FROM attempt a WHERE a.payment_id = c.payment_id),
        'decisions', (SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.id), '[]')
                      FROM decision d WHERE d.case_id = c.id),
        'messages', (SELECT coalesce(jsonb_agg(to_jsonb(g) - '{{to_address,subject,text,html,provider_ref}}'::text[]
                                               || '{{"to_address": null, "text": null}}' ORDER BY g.id), '[]')
                     FROM message g WHERE g.case_id = c.id),
        'requests', (SELECT coalesce(jsonb_agg(to_jsonb(q) ORDER BY q.id), '[]')
                     FROM subscription_request q WHERE q.case_id = c.id),
        'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.id), '[]') FROM (
            SELECT * FROM event WHERE case_id = c.id ORDER BY id DESC LIMIT {CASE_EVENTS}) e)
    )::text
    FROM recovery_case c JOIN payment p ON p.id = c.payment_id
    WHERE c.id = $2 AND c.merchant_id = $1"""

_FEED: Final = f"""
    WITH scanned AS MATERIALIZED (
        SELECT txid, id, ($6::text[] IS NULL OR kind = ANY($6)) AS fits FROM event
        WHERE merchant_id = $1 AND (txid, id) > ($2::text::xid8, $3) AND txid < {CERTAIN_BELOW} {{narrower}}
        ORDER BY txid, id LIMIT $4),
    fitting AS (SELECT txid, id FROM scanned WHERE fits ORDER BY txid, id LIMIT $5),
    final AS (SELECT txid, id FROM scanned ORDER BY txid DESC, id DESC LIMIT 1)
    SELECT jsonb_build_object(
        'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('txid', e.txid::text)
                                             ORDER BY e.txid, e.id), '[]') FROM fitting f JOIN event e ON e.id = f.id),
        'scanned', (SELECT count(*) FROM scanned),
        'txid', (SELECT txid::text FROM final),
        'event_id', (SELECT id FROM final))::text"""


async def list_payments(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[PaymentRow]:
    """Return the newest payments before a key; filters: id, state, customer, reference, order."""
    return await read_page(
        database, _PAYMENT_ROW, "p", _PAYMENT_FILTERS, merchant_id, filters, before, limit, PaymentRow
    )


async def list_cases(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[CaseRow]:
    """Return the newest cases before a key; filters: id, state, payment."""
    return await read_page(database, _CASE_ROW, "c", _CASE_FILTERS, merchant_id, filters, before, limit, CaseRow)


async def list_attempts(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[Attempt]:
    """Return the newest attempts before a key; filters: id, payment."""
    select = "SELECT to_jsonb(a)::text FROM attempt a"
    return await read_page(database, select, "a", _ATTEMPT_FILTERS, merchant_id, filters, before, limit, Attempt)


async def list_open_tasks(database: Database, merchant_id: str, before: UUID | None, limit: int) -> list[HumanTask]:
    """Return the newest tasks before a key that still wait for a person."""
    select = "SELECT to_jsonb(t)::text FROM human_task t"
    return await read_page(
        database, select, "t", {}, merchant_id, {}, before, limit, HumanTask, "t.resolved_at IS NULL"
    )


async def read_page(
    database: Database,
    select: str,
    table: str,
    conditions: Mapping[str, str],
    merchant_id: str,
    filters: Mapping[str, Any],
    before: UUID | None,
    limit: int,
    shape: type[Any],
    *always: str,
) -> list[Any]:
    """Read one page by descending id; ids are time-ordered, so new rows come before the first page.

    `conditions` says per filter what must be true, with `{}` where its value stands.
    """
    given = [(conditions[name], value) for name, value in filters.items() if value is not None]
    if before is not None:
        given.append((f"{table}.id < {{}}", before))
    wanted = [*always, f"{table}.merchant_id = $1"]
    wanted += [condition.format(f"${number}") for number, (condition, _) in enumerate(given, 3)]
    sql = f"{select} WHERE {' AND '.join(wanted)} ORDER BY {table}.id DESC LIMIT $2"
    async with database.connection() as connection:
        rows = await connection.fetch(sql, merchant_id, min(limit, MAX_PAGE + 1), *(value for _, value in given))
    return [msgspec.json.decode(row[0], type=shape) for row in rows]


async def read_story(database: Database, merchant_id: str, case_id: UUID) -> CaseStory | None:
    """Return all that belongs to a case; None where the merchant has no such case."""
    async with database.connection() as connection:
        body = await connection.fetchval(_STORY, merchant_id, case_id)
    return None if body is None else msgspec.json.decode(body, type=CaseStory)


async def read_feed(
    database: Database,
    merchant_id: str,
    after: FeedPosition,
    limit: int,
    kinds: Collection[str] | None = None,
    case_id: UUID | None = None,
    refund_id: UUID | None = None,
) -> FeedPage:
    """Return the next events in commit order; whoever follows the positions misses none and sees none twice."""
    about = {"case_id": case_id, "refund_id": refund_id}
    given = {column: value for column, value in about.items() if value is not None}
    narrower = " ".join(f"AND {column} = ${number}" for number, column in enumerate(given, 7))
    values = [merchant_id, str(after.txid), after.event_id, EVENTS_SCANNED, limit + 1, kinds and list(kinds)]
    async with database.connection() as connection:
        body = await connection.fetchval(_FEED.format(narrower=narrower), *values, *given.values())
    scan = msgspec.json.decode(body, type=_Scan)
    if len(scan.events) > limit:
        final = scan.events[limit - 1]
        return FeedPage(list(scan.events[:limit]), FeedPosition(int(final.txid), final.id), more=True)
    if scan.event_id is None or scan.txid is None:
        return FeedPage([], after, more=False)
    position = FeedPosition(int(scan.txid), scan.event_id)
    return FeedPage(list(scan.events), position, more=scan.scanned == EVENTS_SCANNED)


async def feed_position(database: Database, merchant_id: str, event_id: int) -> FeedPosition | None:
    """Return where an event of the merchant stands in the feed."""
    async with database.connection() as connection:
        txid = await connection.fetchval(
            "SELECT txid::text FROM event WHERE id = $2 AND merchant_id = $1", merchant_id, event_id
        )
    return None if txid is None else FeedPosition(int(txid), event_id)


async def lock_task(connection: asyncpg.Connection, merchant_id: str, task_id: UUID) -> HumanTask | None:
    """Return a task under its row lock, the resolved ones included."""
    body = await connection.fetchval(
        "SELECT to_jsonb(t)::text FROM human_task t WHERE t.id = $2 AND t.merchant_id = $1 FOR UPDATE",
        merchant_id,
        task_id,
    )
    return None if body is None else msgspec.json.decode(body, type=HumanTask)
