"""What is out of the ordinary: counts of gateways' answers, recovery by the day cases opened, anomalies that stand."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec


class Answers(msgspec.Struct, frozen=True):
    """How one gateway answered for one merchant, in one slot or several."""

    merchant_id: str
    gateway: str
    slot: datetime
    answered: int
    failed: int


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """Cases of one merchant that opened in two stretches of days, and how many of each recovered within a week."""

    merchant_id: str
    recent: int
    recent_recovered: int
    before: int
    before_recovered: int


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Something out of the ordinary that stands, or stood."""

    id: UUID
    merchant_id: str
    kind: str
    subject: str
    numbers: Mapping[str, Any]
    detected_at: datetime
    over_at: datetime | None = None


async def count_answers(connection: asyncpg.Connection, counted: Sequence[Answers]) -> None:
    """Add to the counts of slots."""
    await connection.executemany(
        "INSERT INTO gateway_answers AS g (merchant_id, gateway, slot, answered, failed) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (merchant_id, gateway, slot) DO UPDATE"
        " SET answered = g.answered + excluded.answered, failed = g.failed + excluded.failed",
        [(each.merchant_id, each.gateway, each.slot, each.answered, each.failed) for each in counted],
    )


async def answers_since(connection: asyncpg.Connection, since: datetime) -> list[Answers]:
    """Return how each gateway has answered since a moment; `slot` is the latest one."""
    rows = await connection.fetch(
        "SELECT merchant_id, gateway, max(slot), sum(answered)::integer, sum(failed)::integer FROM gateway_answers"
        " WHERE slot >= $1 GROUP BY merchant_id, gateway ORDER BY merchant_id, gateway",
        since,
    )
    return [Answers(*row) for row in rows]


async def recovered_within(
    connection: asyncpg.Connection, since: datetime, between: datetime, until: datetime, within: timedelta
) -> list[Recovered]:
    """Return by merchant how cases opened `since`..`between` and from there to `until` recovered."""
    rows = await connection.fetch(
        """
        SELECT merchant_id,
               count(*) FILTER (WHERE opened_at >= $2) AS recent,
               count(*) FILTER (WHERE opened_at >= $2 AND won) AS recent_recovered,
               count(*) FILTER (WHERE opened_at < $2) AS before,
               count(*) FILTER (WHERE opened_at < $2 AND won) AS before_recovered
        FROM (SELECT merchant_id, opened_at, state = 'recovered' AND closed_at < opened_at + $4::interval AS won
              FROM recovery_case WHERE opened_at >= $1 AND opened_at < $3) c
        GROUP BY merchant_id ORDER BY merchant_id""",
        since,
        between,
        until,
        within,
    )
    return [Recovered(**row) for row in rows]


async def standing(connection: asyncpg.Connection, kind: str) -> dict[tuple[str, str], Anomaly]:
    """Return the anomalies of a kind that are not over, by merchant and subject, locked in order."""
    rows = await connection.fetch(
        "SELECT to_jsonb(a)::text FROM anomaly a WHERE kind = $1 AND over_at IS NULL ORDER BY id FOR UPDATE", kind
    )
    found = [msgspec.json.decode(row[0], type=Anomaly) for row in rows]
    return {(each.merchant_id, each.subject): each for each in found}


async def detect(connection: asyncpg.Connection, anomaly: Anomaly) -> bool:
    """Write down an anomaly; False where it stands already."""
    found = await connection.fetchval(
        "INSERT INTO anomaly (id, merchant_id, kind, subject, numbers, detected_at) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (merchant_id, kind, subject) WHERE over_at IS NULL DO NOTHING RETURNING true",
        anomaly.id,
        anomaly.merchant_id,
        anomaly.kind,
        anomaly.subject,
        msgspec.json.encode(anomaly.numbers).decode(),
        anomaly.detected_at,
    )
    return bool(found)


async def end_anomaly(connection: asyncpg.Connection, anomaly_id: UUID, now: datetime) -> None:
    """Write down that an anomaly is over."""
    await connection.execute("UPDATE anomaly SET over_at = $2 WHERE id = $1", anomaly_id, now)
