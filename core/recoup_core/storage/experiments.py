"""Experiments between versions of policies: what runs, and how its arms came out."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.analytics.experiments import Cohort
from recoup_core.domain.experiment import Experiment
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import MAX_PAGE

MAX_RUNNING: Final = 1_000
"""Experiments running at once, over all merchants."""

_EXPERIMENT: Final = (
    "(to_jsonb(e) || jsonb_build_object('ramp', (SELECT max(number) FROM policy_experiment_ramp r"
    " WHERE r.experiment_id = e.id)))::text"
)

_FIRST_CASES: Final = """
    first AS (
        SELECT DISTINCT ON (c.merchant_id, p.customer ->> 'ref')
            c.arm, c.experiment_ramp, c.opened_at, p.currency, p.amount_minor,
            c.opened_at + e.maturity_days * interval '1 day' <= $2 AS matured,
            c.state = 'recovered' AND c.closed_at <= c.opened_at + e.maturity_days * interval '1 day' AS recovered
        FROM recovery_case c
        JOIN policy_experiment e ON e.id = c.experiment_id
        JOIN payment p ON p.id = c.payment_id
        WHERE c.experiment_id = $1 AND ($3::text IS NULL OR c.merchant_id = $3)
        ORDER BY c.merchant_id, p.customer ->> 'ref', c.id)"""
"""A customer counts with the first case; ids are in the order of time."""

_COHORTS: Final = f"""
    WITH {_FIRST_CASES}
    SELECT f.arm, f.experiment_ramp AS stratum, r.share_bp, count(*) AS opened,
        count(*) FILTER (WHERE f.matured) AS matured, count(*) FILTER (WHERE f.matured AND f.recovered) AS recovered
    FROM first f JOIN policy_experiment_ramp r ON r.experiment_id = $1 AND r.number = f.experiment_ramp
    GROUP BY f.arm, f.experiment_ramp, r.share_bp ORDER BY f.experiment_ramp, f.arm"""

_MONEY: Final = f"""
    WITH {_FIRST_CASES}
    SELECT arm, currency, sum(amount_minor)::bigint AS owed_minor,
        coalesce(sum(amount_minor) FILTER (WHERE recovered), 0)::bigint AS recovered_minor
    FROM first WHERE matured GROUP BY arm, currency ORDER BY currency, arm LIMIT 400"""


class ArmMoney(msgspec.Struct, frozen=True, kw_only=True):
    """What the matured first cases of one arm owed in one currency, and what of it was recovered in time."""

    arm: str
    currency: str
    owed_minor: int
    recovered_minor: int


async def add_experiment(connection: asyncpg.Connection, experiment: Experiment) -> None:
    """Store a new experiment and its first share."""
    await connection.execute(
        "INSERT INTO policy_experiment SELECT * FROM jsonb_populate_record(null::policy_experiment, $1::jsonb)",
        msgspec.json.encode(experiment).decode(),
    )
    await _add_ramp(connection, experiment.id, 1, experiment.share_bp, experiment.started_at)


async def ramp_experiment(connection: asyncpg.Connection, experiment: Experiment, now: datetime) -> None:
    """Store a new share; the period before it stays what it was."""
    await connection.execute(
        "UPDATE policy_experiment SET share_bp = $2 WHERE id = $1", experiment.id, experiment.share_bp
    )
    await _add_ramp(connection, experiment.id, experiment.ramp, experiment.share_bp, now)


async def _add_ramp(
    connection: asyncpg.Connection, experiment_id: UUID, number: int, share_bp: int, since: datetime
) -> None:
    await connection.execute(
        "INSERT INTO policy_experiment_ramp VALUES ($1, $2, $3, $4)", experiment_id, number, share_bp, since
    )


async def stop_experiment(connection: asyncpg.Connection, experiment: Experiment) -> None:
    """Store that it ended, why, and who won."""
    await connection.execute(
        "UPDATE policy_experiment SET stopped_at = $2, stopped_because = $3, winner = $4 WHERE id = $1",
        experiment.id,
        experiment.stopped_at,
        experiment.stopped_because,
        experiment.winner,
    )


async def mark_told(connection: asyncpg.Connection, experiment_id: UUID, verdict: str) -> None:
    """Note that a person was asked about what the stop rule said."""
    await connection.execute("UPDATE policy_experiment SET told = $2 WHERE id = $1", experiment_id, verdict)


async def read_experiment(connection: asyncpg.Connection, experiment_id: UUID) -> Experiment | None:
    """Return an experiment, whosever it is."""
    body = await connection.fetchval(f"SELECT {_EXPERIMENT} FROM policy_experiment e WHERE e.id = $1", experiment_id)
    return None if body is None else msgspec.json.decode(body, type=Experiment)


async def running_of_name(
    connection: asyncpg.Connection, merchant_id: str | None, kind: str, name: str
) -> Experiment | None:
    """Return the experiment that an owner runs on a policy."""
    body = await connection.fetchval(
        f"SELECT {_EXPERIMENT} FROM policy_experiment e WHERE e.stopped_at IS NULL"
        " AND coalesce(e.merchant_id, '') = coalesce($1::text, '') AND e.kind = $2 AND e.name = $3",
        merchant_id,
        kind,
        name,
    )
    return None if body is None else msgspec.json.decode(body, type=Experiment)


async def running_of_version(connection: asyncpg.Connection, version_id: UUID) -> Experiment | None:
    """Return the experiment that a version is in."""
    body = await connection.fetchval(
        f"SELECT {_EXPERIMENT} FROM policy_experiment e WHERE e.version_id = $1 AND e.stopped_at IS NULL", version_id
    )
    return None if body is None else msgspec.json.decode(body, type=Experiment)


async def stale_experiments(connection: asyncpg.Connection, kinds: Collection[str]) -> list[Experiment]:
    """Return the running experiments whose control is not what is in force any more: the owner's, else the house's."""
    live = "SELECT v.digest FROM policy_version v WHERE v.state = 'live' AND v.kind = e.kind AND v.name = e.name"
    rows = await connection.fetch(
        f"SELECT {_EXPERIMENT} FROM policy_experiment e WHERE e.stopped_at IS NULL AND e.kind = ANY ($1::text[])"
        f" AND e.control_digest IS DISTINCT FROM coalesce(({live} AND v.merchant_id = e.merchant_id),"
        f" ({live} AND v.merchant_id IS NULL)) ORDER BY e.id LIMIT $2",
        list(kinds),
        MAX_RUNNING,
    )
    return [msgspec.json.decode(row[0], type=Experiment) for row in rows]


async def running_experiments(connection: asyncpg.Connection) -> list[Experiment]:
    """Return every experiment that has not been stopped."""
    rows = await connection.fetch(
        f"SELECT {_EXPERIMENT} FROM policy_experiment e WHERE e.stopped_at IS NULL ORDER BY e.id LIMIT $1", MAX_RUNNING
    )
    return [msgspec.json.decode(row[0], type=Experiment) for row in rows]


async def list_experiments(
    database: Database, merchant_id: str | None, before: UUID | None, limit: int
) -> list[Experiment]:
    """Return the newest experiments before a key, the merchant's own and the house's."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"SELECT {_EXPERIMENT} FROM policy_experiment e WHERE (e.merchant_id IS NULL OR e.merchant_id = $1)"
            " AND ($2::uuid IS NULL OR e.id < $2) ORDER BY e.id DESC LIMIT $3",
            merchant_id,
            before,
            min(limit, MAX_PAGE + 1),
        )
    return [msgspec.json.decode(row[0], type=Experiment) for row in rows]


async def cohorts_of(
    connection: asyncpg.Connection, experiment_id: UUID, now: datetime, merchant_id: str | None = None
) -> list[Cohort]:
    """Count the customers of each arm and period; one merchant's, or everybody's for None."""
    rows = await connection.fetch(_COHORTS, experiment_id, now, merchant_id)
    return [msgspec.convert(dict(row), Cohort) for row in rows]


async def money_of(
    connection: asyncpg.Connection, experiment_id: UUID, now: datetime, merchant_id: str | None = None
) -> Sequence[ArmMoney]:
    """Sum up what matured cases of each arm owed and recovered, by currency; one merchant's, or all for None."""
    rows = await connection.fetch(_MONEY, experiment_id, now, merchant_id)
    return [ArmMoney(**dict(row)) for row in rows]
