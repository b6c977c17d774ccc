"""Refunds, disputes, delegations and the approval queue as people read them: one merchant's rows, page by page."""

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.approval import Delegation
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.refund import (
    Refund,
)
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import MAX_PAGE, DecisionRow, StoredEvent, read_page
from recoup_core.storage.refunds import load_accounts, load_refunds

REFUND_EVENTS: Final = 1_000
"""Events of one refund that are read, the newest; a refund has a few dozen."""

REFUND_DECISIONS: Final = 200
"""Decisions about one refund that are read, the newest; each edit makes one."""


class LineName(msgspec.Struct, frozen=True, kw_only=True):
    """What the merchant calls a line of a payment."""

    id: UUID
    payment_id: UUID
    ref: str


class Background(msgspec.Struct, frozen=True, kw_only=True):
    """What a refund's file names and does not hold."""

    reference: str
    """The merchant's name for the refund's payment."""
    references: dict[UUID, str] = {}
    """The merchant's name for each payment that it goes over, in any revision."""
    lines: tuple[LineName, ...] = ()
    """The lines of payments that it names, in any revision."""
    decision: DecisionRow | None = None
    """The one that is in force."""


class RefundStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was asked, decided, said, sent and told about one refund."""

    file: RefundFile
    background: Background
    decisions: tuple[DecisionRow, ...]
    """Oldest first."""
    events: tuple[StoredEvent, ...]
    """Oldest first."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Approval roles that somebody may use: their own, or an owner's who lent them."""

    owner: str | None = None
    """Who lent them; None for one's own."""
    roles: tuple[str, ...]


class Decidable(msgspec.Struct, frozen=True, kw_only=True):
    """A refund that the reader may decide now."""

    refund: Refund
    reference: str
    """The merchant's name for its payment."""
    own: bool
    """Whether one of the reader's own roles decides it."""
    owners: tuple[str, ...] = ()
    """On whose behalf the reader may decide it otherwise."""


_REFUND: Final = "SELECT to_jsonb(r)::text FROM refund r"
_REFUND_FILTERS: Final = {
    "state": "r.state = {}",
    "payment": """r.id IN (SELECT refund_id FROM refund_part WHERE payment_id = {0}
                           UNION SELECT id FROM refund WHERE payment_id = {0})""",
    "customer": "r.customer_ref = {}",
    "order": "r.order_ref = {}",
}
_DISPUTE: Final = "SELECT to_jsonb(d)::text FROM dispute d"
_DISPUTE_FILTERS: Final = {"id": "d.id = {}", "state": "d.state = {}", "payment": "d.payment_id = {}"}
_DELEGATION: Final = "SELECT to_jsonb(d)::text FROM delegation d"
_DELEGATION_FILTERS: Final = {"owner": "d.owner = {}", "delegate": "d.delegate = {}"}

_NAMES: Final = """
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', l.id, 'payment_id', l.payment_id, 'ref', l.ref)), '[]')
    FROM payment_line l WHERE l.id = ANY($1::uuid[])"""

_BACKGROUND: Final = f"""
    SELECT jsonb_build_object(
        'reference', p.reference,
        'references', (
            SELECT coalesce(jsonb_object_agg(o.id, o.reference), '{{}}') FROM payment o WHERE o.id = ANY($4)),
        'lines', ({_NAMES}),
        'decision', (SELECT to_jsonb(d) FROM decision d WHERE d.id = $3))::text
    FROM payment p WHERE p.id = $2"""

_TOLD: Final = f"""
    SELECT jsonb_build_object(
        'decisions', (SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.id), '[]') FROM (
            SELECT * FROM decision WHERE refund_id = $1 ORDER BY id DESC LIMIT {REFUND_DECISIONS}) d),
        'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.id), '[]') FROM (
            SELECT * FROM event WHERE refund_id = $1 ORDER BY id DESC LIMIT {REFUND_EVENTS}) e))::text"""

# What a flow decides under lock is decided there again, by the same rule: people who touched a refund, or decided a
# level of its revision, decide nothing more about it, neither in person nor through somebody who acts for them.
# The page is cut before it is written out, from the oldest on. `&&` on open_roles would have the planner take the roles
# for rare, read all that waits and sort it; the other way to say it leaves the index's order.
_QUEUE: Final = """
    SELECT jsonb_build_object('refund', to_jsonb(r), 'reference', p.reference, 'own', q.own, 'owners', q.owners)::text
    FROM (SELECT r.id, usable.own, usable.owners
          FROM refund r
          CROSS JOIN LATERAL (
              SELECT r.touched_by || array_remove(array_agg(a.principal) || array_agg(a.on_behalf_of), NULL) AS people
              FROM refund_approval a
              WHERE a.refund_id = r.id AND a.revision = r.revision AND a.verdict = 'approve') barred
          CROSS JOIN LATERAL (
              SELECT bool_or(g.owner IS NULL) AS own,
                  coalesce(jsonb_agg(g.owner ORDER BY g.owner) FILTER (WHERE g.owner IS NOT NULL), '[]') AS owners
              FROM jsonb_to_recordset($3::jsonb) g (owner text, roles text[])
              WHERE g.roles && r.open_roles AND (g.owner IS NULL OR g.owner <> ALL (barred.people))) usable
          WHERE r.merchant_id = $1 AND r.state = 'in_review' AND r.id > $5
              AND EXISTS (SELECT FROM unnest(r.open_roles) role WHERE role = ANY ($4::text[]))
              AND $2 <> ALL (barred.people) AND usable.own IS NOT NULL
          ORDER BY r.id LIMIT $6) q
    JOIN refund r ON r.id = q.id
    JOIN payment p ON p.id = r.payment_id
    ORDER BY q.id"""

_BEGINNING: Final = UUID(int=0)


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    decisions: tuple[DecisionRow, ...]
    events: tuple[StoredEvent, ...]


async def list_refunds(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[Refund]:
    """Return the newest refunds before a key; filters: state, payment (any that it goes over), customer, order."""
    return await read_page(database, _REFUND, "r", _REFUND_FILTERS, merchant_id, filters, before, limit, Refund)


async def list_disputes(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[Dispute]:
    """Return the newest disputes before a key; filters: id, state, payment."""
    return await read_page(database, _DISPUTE, "d", _DISPUTE_FILTERS, merchant_id, filters, before, limit, Dispute)


async def list_delegations(
    database: Database, merchant_id: str, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[Delegation]:
    """Return the newest delegations before a key, those that are over included; filters: owner, delegate."""
    return await read_page(
        database, _DELEGATION, "d", _DELEGATION_FILTERS, merchant_id, filters, before, limit, Delegation
    )


async def read_account(database: Database, merchant_id: str, payment_id: UUID) -> PaymentAccount | None:
    """Return what is refundable of a payment; None where the merchant has no such payment."""
    async with database.connection() as connection:
        account = (await load_accounts(connection, [payment_id])).get(payment_id)
    return account if account is not None and account.payment.merchant_id == merchant_id else None


async def read_refund(database: Database, merchant_id: str, refund_id: UUID) -> tuple[RefundFile, Background] | None:
    """Return a refund with what it names; None where the merchant has no such refund."""
    async with database.connection() as connection:
        file = (await load_refunds(connection, [refund_id])).get(refund_id)
        if file is None or file.refund.merchant_id != merchant_id:
            return None
        return file, await _background(connection, file)


async def read_background(database: Database, file: RefundFile) -> Background:
    """Return what a file names; none of it changes, so it fits an answer that was remembered, too."""
    async with database.connection() as connection:
        return await _background(connection, file)


async def read_line_names(database: Database, line_ids: Collection[UUID]) -> list[LineName]:
    """Return what the merchant calls lines of payments."""
    async with database.connection() as connection:
        body = await connection.fetchval(f"SELECT ({_NAMES})::text", list(line_ids))
    return msgspec.json.decode(body, type=list[LineName])


async def read_refund_story(database: Database, merchant_id: str, refund_id: UUID) -> RefundStory | None:
    """Return all that belongs to a refund; None where the merchant has no such refund.

    The file is read after what was told: a story may end a moment before its file, and tells nothing that it lacks.
    """
    async with database.connection() as connection:
        told = msgspec.json.decode(await connection.fetchval(_TOLD, refund_id), type=_Told)
        file = (await load_refunds(connection, [refund_id])).get(refund_id)
        if file is None or file.refund.merchant_id != merchant_id:
            return None
        background = await _background(connection, file)
    return RefundStory(file=file, background=background, decisions=told.decisions, events=told.events)


async def approval_queue(
    database: Database,
    merchant_id: str,
    principal: str,
    grants: Collection[Grant],
    after: UUID | None,
    limit: int,
    *,
    role: str | None = None,
) -> list[Decidable]:
    """Return the refunds that a principal may decide now by these roles, oldest first; `role` narrows it to one."""
    usable = {each for grant in grants for each in grant.roles if role in (None, each)}
    narrowed = [Grant(owner=grant.owner, roles=tuple(usable.intersection(grant.roles))) for grant in grants]
    async with database.connection() as connection:
        rows = await connection.fetch(
            _QUEUE,
            merchant_id,
            principal,
            msgspec.json.encode(narrowed).decode(),
            sorted(usable),
            after or _BEGINNING,
            min(limit, MAX_PAGE + 1),
        )
    return [msgspec.json.decode(row[0], type=Decidable) for row in rows]


async def _background(connection: asyncpg.Connection, file: RefundFile) -> Background:
    refund = file.refund
    lines = {line.payment_line_id for line in file.lines}
    payments = list({part.payment_id for part in file.parts})
    body = await connection.fetchval(_BACKGROUND, list(lines), refund.payment_id, refund.decision_id, payments)
    return msgspec.json.decode(body, type=Background)
