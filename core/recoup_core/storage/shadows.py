"""What shadows have seen: how far each has followed the decisions, and where it would have decided otherwise."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.storage.engine import Database
from recoup_core.storage.listing import MAX_PAGE
from recoup_core.storage.versions import VersionText

MAX_SHADOWS: Final = 200
"""Shadows at once, over all merchants."""

OVERLAP: Final = timedelta(minutes=5)
"""How far back a shadow looks again: a decision is seen when its transaction commits, which is after its time."""


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that a shadow has not looked at; JSON texts as stored."""

    id: UUID
    merchant_id: str
    case_id: UUID
    policy_digest: str
    facts: str
    situation: str
    outcome: str
    decided_at: datetime


class ShadowDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What a shadow would have decided beside one decision."""

    version_id: UUID
    decision_id: UUID
    merchant_id: str
    case_id: UUID
    agrees: bool
    outcome: msgspec.Raw
    note: str | None = None
    """The rule that fired, or why nothing could be decided."""
    decided_at: datetime


class ShadowDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that would have come out otherwise."""

    id: int
    case_id: UUID
    decision_id: UUID
    decided_at: datetime
    rule: str
    outcome: msgspec.Raw
    shadow_rule: str | None = None
    shadow_outcome: msgspec.Raw


class ShadowSeen(msgspec.Struct, frozen=True, kw_only=True):
    """How much a shadow has looked at."""

    decided: int = 0
    differed: int = 0
    seen_until: datetime | None = None


_SHADOWS: Final = """
    SELECT (to_jsonb(v) || jsonb_build_object('source', t.source, 'body', t.body))::text
    FROM policy_version v JOIN policy_text t USING (digest) WHERE v.state = 'shadow' ORDER BY v.id LIMIT $1"""

_FOLLOW: Final = """
    SELECT d.id, d.merchant_id, d.case_id, d.policy_digest, d.facts::text, d.situation::text, d.outcome::text,
        d.decided_at
    FROM decision d
    WHERE d.kind = $2 AND d.decided_at > $3 AND d.decided_at <= $4
      AND CASE WHEN $5::text IS NULL
          THEN NOT EXISTS (SELECT FROM policy_version o WHERE o.merchant_id = d.merchant_id
                           AND o.kind = $2 AND o.name = $6 AND o.state = 'live')
          ELSE d.merchant_id = $5 END
      AND NOT EXISTS (SELECT FROM shadow_decision s WHERE s.version_id = $1 AND s.decision_id = d.id)
    ORDER BY d.decided_at, d.id LIMIT $7"""

_DIFFERENCES: Final = """
    SELECT s.id, s.case_id, s.decision_id, s.decided_at, d.rule, d.outcome::text AS outcome, s.note AS shadow_rule,
        s.outcome::text AS shadow_outcome
    FROM shadow_decision s JOIN decision d ON d.id = s.decision_id
    WHERE s.version_id = $1 AND NOT s.agrees AND ($2::text IS NULL OR s.merchant_id = $2)
      AND ($3::bigint IS NULL OR s.id < $3)
    ORDER BY s.id DESC LIMIT $4"""


async def shadow_versions(connection: asyncpg.Connection) -> list[VersionText]:
    """Return every version that is in shadow."""
    rows = await connection.fetch(_SHADOWS, MAX_SHADOWS)
    return [msgspec.json.decode(row[0], type=VersionText) for row in rows]


async def decisions_to_follow(
    connection: asyncpg.Connection, version: VersionText, until: datetime, limit: int
) -> Sequence[Followed]:
    """Return decisions of the shadow's kind and owner that it has not looked at, in the order of their times.

    A house version looks at those merchants only that have no own live version of its name.
    """
    seen = await shadow_seen(connection, version.id)
    earliest = max(version.changed_at, (seen.seen_until or version.changed_at) - OVERLAP)
    rows = await connection.fetch(
        _FOLLOW, version.id, version.kind, earliest, until, version.merchant_id, version.name, limit
    )
    return [Followed(**dict(row)) for row in rows]


async def keep_followed(
    connection: asyncpg.Connection, version_id: UUID, found: Sequence[ShadowDecision], seen_until: datetime
) -> None:
    """Store what a shadow would have decided, and how far it has come; what another process stored is left alone."""
    rows = await connection.fetch(
        "INSERT INTO shadow_decision (version_id, decision_id, merchant_id, case_id, agrees, outcome, note, decided_at)"
        " SELECT version_id, decision_id, merchant_id, case_id, agrees, outcome, note, decided_at"
        " FROM jsonb_populate_recordset(null::shadow_decision, $1::jsonb)"
        " ON CONFLICT (version_id, decision_id) DO NOTHING RETURNING agrees",
        msgspec.json.encode(found).decode(),
    )
    await connection.execute(
        "INSERT INTO policy_shadow VALUES ($1, $2, $3, $4) ON CONFLICT (version_id) DO UPDATE SET"
        " seen_until = greatest(policy_shadow.seen_until, excluded.seen_until),"
        " decided = policy_shadow.decided + excluded.decided, differed = policy_shadow.differed + excluded.differed",
        version_id,
        seen_until,
        len(rows),
        sum(1 for row in rows if not row["agrees"]),
    )


async def shadow_seen(connection: asyncpg.Connection, version_id: UUID) -> ShadowSeen:
    """Return how much a shadow has looked at, over all merchants it is for."""
    row = await connection.fetchrow(
        "SELECT decided, differed, seen_until FROM policy_shadow WHERE version_id = $1", version_id
    )
    return ShadowSeen() if row is None else ShadowSeen(**dict(row))


async def list_differences(
    database: Database, version_id: UUID, merchant_id: str | None, before: int | None, limit: int
) -> list[ShadowDifference]:
    """Return a merchant's newest differences before a key; those of all merchants for None, which is the operator."""
    async with database.connection() as connection:
        rows = await connection.fetch(_DIFFERENCES, version_id, merchant_id, before, min(limit, MAX_PAGE + 1))
    return [
        ShadowDifference(
            **{
                **dict(row),
                "outcome": msgspec.Raw(row["outcome"].encode()),
                "shadow_outcome": msgspec.Raw(row["shadow_outcome"].encode()),
            }
        )
        for row in rows
    ]
