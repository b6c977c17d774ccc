"""What approvals need to know: who has lent whom which roles, what was decided on, and who has waited since when."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.approval import Delegation
from recoup_core.storage.calls import Call, recall, remember

LENT_MOST: Final = 1_000
"""Delegations to one person that are looked at, the newest first."""

# FOR SHARE: whoever revokes one waits for the decisions that use it, and none is used once its end is committed.
_LENT: Final = """
    SELECT id, merchant_id, owner, delegate, roles, starts_at, ends_at, created_by, created_at, revoked_at
    FROM delegation
    WHERE merchant_id = $1 AND delegate = $2 AND ends_at > $3 AND starts_at <= $3 AND revoked_at IS NULL
    ORDER BY id DESC LIMIT $4 FOR SHARE"""

_OWNED: Final = """
    SELECT principal, array_agg(DISTINCT role ORDER BY role) AS roles FROM api_key, unnest(approves) role
    WHERE merchant_id = $1 AND principal = ANY($2::text[])
      AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)
    GROUP BY principal"""

_DELEGATION: Final = """
    SELECT id, merchant_id, owner, delegate, roles, starts_at, ends_at, created_by, created_at, revoked_at
    FROM delegation WHERE merchant_id = $1 AND id = $2 FOR UPDATE"""

_WAITING: Final = """
    SELECT w.id, w.since, EXISTS (
        SELECT FROM event e WHERE e.refund_id = w.id AND e.kind = 'task.opened' AND e.data ->> 'task' = $2
            AND e.at >= w.since) AS asked
    FROM (SELECT r.id, greatest(d.decided_at, (
              SELECT max(a.decided_at) FROM refund_approval a WHERE a.refund_id = r.id AND a.verdict = 'send_back'))
              AS since
          FROM refund r JOIN decision d ON d.id = r.decision_id WHERE r.id = ANY($1::uuid[])) w"""

_UNTIMED: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT $1, r.id, $3, $3 FROM refund r
    WHERE r.state IN ('incomplete', 'in_review', 'sent_back') AND r.created_at < $2
      AND NOT EXISTS (SELECT FROM job j WHERE j.kind = $1 AND j.subject_id = r.id)
    ORDER BY r.id LIMIT $4
    ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id"""


class Lent(msgspec.Struct, frozen=True, kw_only=True):
    """A delegation, and what its owner may decide at this moment: without it the delegation is worth nothing."""

    delegation: Delegation
    owned: tuple[str, ...]
    """Approval roles of the owner's usable keys."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a refund waits for its requester, and whether a person was asked about it since."""

    since: datetime
    asked: bool


async def lent_to(connection: asyncpg.Connection, merchant_id: str, delegate: str, now: datetime) -> list[Lent]:
    """Return the delegations to a principal that are valid now, the newest first, `LENT_MOST` at most.

    They are held until the transaction ends, so that one that is being revoked is not used any more.
    """
    rows = await connection.fetch(_LENT, merchant_id, delegate, now, LENT_MOST)
    found = [_delegation(row) for row in rows]
    owned = await approval_roles(connection, merchant_id, {each.owner for each in found}, now)
    return [Lent(delegation=each, owned=owned.get(each.owner, ())) for each in found]


async def approval_roles(
    connection: asyncpg.Connection, merchant_id: str, principals: Collection[str], now: datetime
) -> Mapping[str, tuple[str, ...]]:
    """Return per principal the approval roles of their usable keys together; whoever has none is left out."""
    if not principals:
        return {}
    rows = await connection.fetch(_OWNED, merchant_id, sorted(principals), now)
    return {row["principal"]: tuple(row["roles"]) for row in rows}


async def lock_delegations(connection: asyncpg.Connection, merchant_id: str) -> None:
    """Let nobody else make delegations for this merchant until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('delegations ' || $1, 0))", merchant_id)


async def open_delegations(connection: asyncpg.Connection, merchant_id: str, owner: str, now: datetime) -> int:
    """Return how many of a principal's delegations are neither over nor revoked."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM delegation WHERE merchant_id = $1 AND owner = $2 AND ends_at > $3 AND revoked_at IS NULL",
        merchant_id,
        owner,
        now,
    )
    return count


async def lock_delegation(connection: asyncpg.Connection, merchant_id: str, delegation_id: UUID) -> Delegation | None:
    """Return a delegation of the merchant and hold it; None where there is no such."""
    row = await connection.fetchrow(_DELEGATION, merchant_id, delegation_id)
    return None if row is None else _delegation(row)


async def decided_dispute(connection: asyncpg.Connection, decision_id: UUID | None) -> str | None:
    """Return the dispute that a decision was made under (the fact `dispute`); None: there was none, or no decision."""
    told: str | None = await connection.fetchval("SELECT facts ->> 'dispute' FROM decision WHERE id = $1", decision_id)
    return told


async def waiting(
    connection: asyncpg.Connection, refund_ids: Collection[UUID], task_kind: str
) -> Mapping[UUID, Waiting]:
    """Return since when refunds are as they are: decided on, or sent back after that; asked by a task of this kind."""
    rows = await connection.fetch(_WAITING, list(refund_ids), task_kind)
    return {row["id"]: Waiting(since=row["since"], asked=row["asked"]) for row in rows}


async def open_call(connection: asyncpg.Connection, merchant_id: str, call: Call, now: datetime) -> None:
    """Take an idempotency key for a call that answers from several transactions; the same call may take it again.

    Raises `IdempotencyKeyReused` where the key was used for another request.
    """
    row = remember(call, merchant_id, b"{}", now)
    await connection.execute(
        "INSERT INTO idempotent_call (merchant_id, key, request_hash, status, body, created_at)"
        " VALUES ($1, $2, $3::text::bytea, $4, $5, $6) ON CONFLICT (merchant_id, key) DO NOTHING",
        row.merchant_id,
        row.key,
        row.request_hash,
        row.status,
        row.body,
        row.created_at,
    )
    await recall(connection, merchant_id, call)


async def untimed_refunds(
    connection: asyncpg.Connection, kind: str, before: datetime, now: datetime, limit: int
) -> int:
    """Give undecided refunds that have none a timer, which finds out by itself what is due; return how many."""
    return len(await connection.fetch(_UNTIMED, kind, before, now, limit))


def _delegation(row: asyncpg.Record) -> Delegation:
    return msgspec.convert(dict(row), Delegation)
