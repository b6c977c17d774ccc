"""What shadows have seen: how far each has followed the decisions, and where it would have decided otherwise."""

from collections import Counter
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
"""Shadows of one round, over all merchants; those that are furthest behind go first."""

OVERLAP: Final = timedelta(minutes=5)
"""How long a decision may take to be seen: its transaction commits after its time."""

FIRST: Final = UUID(int=0)
"""Before every id."""


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that a shadow has not looked at; JSON texts as stored."""

    id: UUID
    merchant_id: str
    case_id: UUID | None = None
    refund_id: UUID | None = None
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
    case_id: UUID | None = None
    refund_id: UUID | None = None
    agrees: bool
    outcome: msgspec.Raw
    note: str | None = None
    """The rule that fired, or why nothing could be decided."""
    decided_at: datetime


class ShadowDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that would have come out otherwise."""

    id: int
    case_id: UUID | None = None
    refund_id: UUID | None = None
    charge_id: UUID | None = None
    """What the decision was about: a case, a refund, or an upcoming charge."""
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
    """Every decision before was looked at; of later ones, some."""


class Place(msgspec.Struct, frozen=True):
    """A place in the order of decisions; those of one moment, which a batch shares, are in the order of their ids."""

    at: datetime
    id: UUID = FIRST


_SHADOWS: Final = """
    SELECT (to_jsonb(v) || jsonb_build_object('source', t.source, 'body', t.body))::text
    FROM policy_version v JOIN policy_text t USING (digest) LEFT JOIN policy_shadow s ON s.version_id = v.id
    WHERE v.state = 'shadow' ORDER BY s.seen_until NULLS FIRST, v.id LIMIT $1"""

_FOLLOW: Final = """
    SELECT d.id, d.merchant_id, d.case_id, d.refund_id, d.policy_digest, d.facts::text, d.situation::text,
        d.outcome::text, d.decided_at
    FROM decision d
    WHERE d.kind = $2 AND (d.decided_at, d.id) > ($3, $8) AND d.decided_at <= $4
      AND CASE WHEN $5::text IS NULL
          THEN NOT EXISTS (SELECT FROM policy_version o WHERE o.merchant_id = d.merchant_id
                           AND o.kind = $2 AND o.name = $6 AND o.state = 'live')
          ELSE d.merchant_id = $5 END
      AND NOT EXISTS (SELECT FROM shadow_decision s WHERE s.version_id = $1 AND s.decision_id = d.id)
    ORDER BY d.decided_at, d.id LIMIT $7"""

_DIFFERENCES: Final = """
    SELECT s.id, s.case_id, s.refund_id, d.charge_id, s.decision_id, s.decided_at, d.rule, d.outcome::text AS outcome,
        s.note AS shadow_rule, s.outcome::text AS shadow_outcome
    FROM shadow_decision s JOIN decision d ON d.id = s.decision_id
    WHERE s.version_id = $1 AND NOT s.agrees AND ($2::text IS NULL OR s.merchant_id = $2)
      AND ($3::bigint IS NULL OR s.id < $3)
    ORDER BY s.id DESC LIMIT $4"""


async def shadow_versions(connection: asyncpg.Connection) -> list[VersionText]:
    """Return every version that is in shadow."""
    rows = await connection.fetch(_SHADOWS, MAX_SHADOWS)
    return [msgspec.json.decode(row[0], type=VersionText) for row in rows]


async def place_of(connection: asyncpg.Connection, version: VersionText) -> Place:
    """Return where a shadow goes on; one that just became a shadow looks at what is decided from now on."""
    seen_until = await connection.fetchval("SELECT seen_until FROM policy_shadow WHERE version_id = $1", version.id)
    return Place(max(version.changed_at, seen_until or version.changed_at))


async def decisions_to_follow(
    connection: asyncpg.Connection, version: VersionText, after: Place, until: datetime, limit: int
) -> Sequence[Followed]:
    """Return decisions of the shadow's kind and owner that it has not decided beside, in the order of their times.

    A house version looks at those merchants only that have no own live version of its name.
    """
    rows = await connection.fetch(
        _FOLLOW, version.id, version.kind, after.at, until, version.merchant_id, version.name, limit, after.id
    )
    return [Followed(**dict(row)) for row in rows]


async def keep_followed(
    connection: asyncpg.Connection,
    version: VersionText,
    found: Sequence[ShadowDecision],
    until: datetime,
    now: datetime,
) -> None:
    """Store what a shadow would have decided, and how far it has come; what another process stored is left alone.

    `until` is the time of the last decision looked at. What lies less than `OVERLAP` back is looked at again: decisions
    of that time may still come to light.
    """
    rows = await connection.fetch(
        "INSERT INTO shadow_decision"
        " (version_id, decision_id, merchant_id, case_id, refund_id, agrees, outcome, note, decided_at)"
        " SELECT version_id, decision_id, merchant_id, case_id, refund_id, agrees, outcome, note, decided_at"
        " FROM jsonb_populate_recordset(null::shadow_decision, $1::jsonb)"
        " ON CONFLICT (version_id, decision_id) DO NOTHING RETURNING merchant_id, agrees",
        msgspec.json.encode(found).decode(),
    )
    await connection.execute(
        "INSERT INTO policy_shadow VALUES ($1, $2) ON CONFLICT (version_id) DO UPDATE SET"
        " seen_until = greatest(policy_shadow.seen_until, excluded.seen_until)",
        version.id,
        max(version.changed_at, min(until, now - OVERLAP)),
    )
    decided = Counter(row["merchant_id"] for row in rows)
    differed = Counter(row["merchant_id"] for row in rows if not row["agrees"])
    await connection.executemany(
        "INSERT INTO policy_shadow_count VALUES ($1, $2, $3, $4) ON CONFLICT (version_id, merchant_id) DO UPDATE SET"
        " decided = policy_shadow_count.decided + excluded.decided,"
        " differed = policy_shadow_count.differed + excluded.differed",
        [(version.id, merchant, count, differed[merchant]) for merchant, count in sorted(decided.items())],
    )


async def shadow_seen(connection: asyncpg.Connection, version_id: UUID, merchant_id: str | None) -> ShadowSeen:
    """Return how much of a merchant's decisions a shadow has looked at; of everybody's for None."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(decided), 0)::bigint AS decided, coalesce(sum(differed), 0)::bigint AS differed,"
        " (SELECT seen_until FROM policy_shadow WHERE version_id = $1) AS seen_until"
        " FROM policy_shadow_count WHERE version_id = $1 AND ($2::text IS NULL OR merchant_id = $2)",
        version_id,
        merchant_id,
    )
    return ShadowSeen(**dict(row))


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
