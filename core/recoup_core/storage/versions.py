"""Versions of policies: what is in force, what was, and the number by which every process notices a change.

Whoever changes versions locks `policy_epoch` first, so changes come one after another and each sees a whole set.
Readers never wait for it. The database itself moves the number with every change of what is in use.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.experiment import Experiment
from recoup_core.domain.versions import PolicyVersion
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import MAX_PAGE

MAX_LIVE: Final = 5_000
"""Live versions that one change looks at, over all merchants."""

OWN_MAX: Final = 500
"""Live versions of one owner; as many as a folder may hold files."""


class VersionText(PolicyVersion, frozen=True, kw_only=True):
    """A version with its text."""

    source: str
    """What the text was called when it came in: names it in problems."""
    body: str


class LiveTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A running experiment with the version under test."""

    experiment: Experiment
    version: VersionText


class LiveSet(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force for one merchant at one moment: the house's versions and the merchant's own."""

    epoch: int
    versions: tuple[VersionText, ...]
    trials: tuple[LiveTrial, ...] = ()
    """The experiments that run."""


class AppliedFile(msgspec.Struct, frozen=True):
    """What was last put in force from the folder of files under one name."""

    kind: str
    name: str
    digest: str


_WITH_TEXT: Final = "to_jsonb(v) || jsonb_build_object('source', t.source, 'body', t.body)"
_FROM_TEXT: Final = "policy_version v JOIN policy_text t USING (digest)"

_LIVE_SET: Final = f"""
    SELECT jsonb_build_object(
        'epoch', (SELECT number FROM policy_epoch),
        'versions', (SELECT coalesce(jsonb_agg({_WITH_TEXT} ORDER BY v.kind, v.name, v.merchant_id NULLS FIRST), '[]')
                     FROM {_FROM_TEXT} WHERE v.state = 'live' AND coalesce(v.merchant_id, '') IN ('', $1)),
        'trials', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'experiment', to_jsonb(e) || jsonb_build_object('ramp', (
                           SELECT max(number) FROM policy_experiment_ramp r WHERE r.experiment_id = e.id)),
                       'version', {_WITH_TEXT}) ORDER BY e.id), '[]')
                   FROM policy_experiment e JOIN {_FROM_TEXT} ON v.id = e.version_id
                   WHERE e.stopped_at IS NULL AND coalesce(e.merchant_id, '') IN ('', $1))
    )::text"""

_FILTERS: Final = {"id": "v.id", "kind": "v.kind", "name": "v.name", "state": "v.state"}
_OWNER: Final = "coalesce(v.merchant_id, '') = coalesce($1::text, '')"
"""As the indexes have it."""
_SAME: Final = f"{_OWNER} AND v.kind = $2 AND v.name = $3"


async def lock_policies(connection: asyncpg.Connection) -> None:
    """Keep other changes of versions, and those who hold the present set, out until the transaction ends."""
    await connection.fetchval("SELECT number FROM policy_epoch FOR UPDATE")


async def hold_policies(connection: asyncpg.Connection) -> None:
    """Keep changes of versions out until the transaction ends: for who was overtaken by them again and again."""
    await connection.fetchval("SELECT number FROM policy_epoch FOR SHARE")


async def live_set(connection: asyncpg.Connection, merchant_id: str) -> LiveSet:
    """Return what is in force for a merchant, with the number it is in force under: one look, one moment."""
    return msgspec.json.decode(await connection.fetchval(_LIVE_SET, merchant_id), type=LiveSet)


async def live_versions(connection: asyncpg.Connection, kinds: Collection[str]) -> list[VersionText]:
    """Return every owner's live versions of these kinds, at most `MAX_LIVE`."""
    rows = await connection.fetch(
        f"SELECT ({_WITH_TEXT})::text FROM {_FROM_TEXT} WHERE v.state = 'live' AND v.kind = ANY ($1::text[])"
        " ORDER BY v.merchant_id NULLS FIRST, v.kind, v.name LIMIT $2",
        list(kinds),
        MAX_LIVE,
    )
    return [msgspec.json.decode(row[0], type=VersionText) for row in rows]


async def own_live(connection: asyncpg.Connection, merchant_id: str | None) -> list[PolicyVersion]:
    """Return one owner's live versions, by kind and name."""
    rows = await connection.fetch(
        f"SELECT to_jsonb(v)::text FROM policy_version v WHERE {_OWNER} AND v.state = 'live'"
        " ORDER BY v.kind, v.name LIMIT $2",
        merchant_id,
        OWN_MAX,
    )
    return [msgspec.json.decode(row[0], type=PolicyVersion) for row in rows]


async def version_of_text(connection: asyncpg.Connection, merchant_id: str | None, digest: str) -> PolicyVersion | None:
    """Return the owner's version of this text."""
    body = await connection.fetchval(
        f"SELECT to_jsonb(v)::text FROM policy_version v WHERE {_OWNER} AND v.digest = $2", merchant_id, digest
    )
    return _version(body)


async def live_version(
    connection: asyncpg.Connection, merchant_id: str | None, kind: str, name: str
) -> PolicyVersion | None:
    """Return the owner's live version of this name."""
    body = await connection.fetchval(
        f"SELECT to_jsonb(v)::text FROM policy_version v WHERE {_SAME} AND v.state = 'live'", merchant_id, kind, name
    )
    return _version(body)


async def version_before(
    connection: asyncpg.Connection, merchant_id: str | None, kind: str, name: str
) -> PolicyVersion | None:
    """Return the version that was live before the present one: of those retired, the last to go live."""
    body = await connection.fetchval(
        f"SELECT to_jsonb(v)::text FROM policy_version v WHERE {_SAME} AND v.state = 'retired'"
        " AND v.live_number IS NOT NULL ORDER BY v.live_number DESC LIMIT 1",
        merchant_id,
        kind,
        name,
    )
    return _version(body)


async def read_version(connection: asyncpg.Connection, version_id: UUID) -> VersionText | None:
    """Return a version with its text, whosever it is."""
    body = await connection.fetchval(f"SELECT ({_WITH_TEXT})::text FROM {_FROM_TEXT} WHERE v.id = $1", version_id)
    return None if body is None else msgspec.json.decode(body, type=VersionText)


async def find_versions(connection: asyncpg.Connection, merchant_id: str | None, digest: str) -> list[PolicyVersion]:
    """Return the owner's versions whose digest begins so, two at most: it is for telling whether there is just one."""
    rows = await connection.fetch(
        f"SELECT to_jsonb(v)::text FROM policy_version v WHERE {_OWNER} AND starts_with(v.digest, $2) LIMIT 2",
        merchant_id,
        digest,
    )
    return [msgspec.json.decode(row[0], type=PolicyVersion) for row in rows]


async def list_versions(
    database: Database, merchant_id: str | None, filters: Mapping[str, Any], before: UUID | None, limit: int
) -> list[PolicyVersion]:
    """Return the newest versions before a key, the merchant's own and the house's; filters: id, kind, name, state."""
    given = {f"{_FILTERS[name]} =": value for name, value in filters.items() if value is not None}
    if before is not None:
        given["v.id <"] = before
    conditions = ["(v.merchant_id IS NULL OR v.merchant_id = $1)"]
    conditions += [f"{column} ${number}" for number, column in enumerate(given, 3)]
    sql = f"SELECT to_jsonb(v)::text FROM policy_version v WHERE {' AND '.join(conditions)} ORDER BY v.id DESC LIMIT $2"
    async with database.connection() as connection:
        rows = await connection.fetch(sql, merchant_id, min(limit, MAX_PAGE + 1), *given.values())
    return [msgspec.json.decode(row[0], type=PolicyVersion) for row in rows]


async def add_version(connection: asyncpg.Connection, version: PolicyVersion) -> None:
    """Store a new version; its text is kept already."""
    await connection.execute(
        "INSERT INTO policy_version SELECT * FROM jsonb_populate_record(null::policy_version, $1::jsonb)",
        msgspec.json.encode(version).decode(),
    )


async def move_version(connection: asyncpg.Connection, version: PolicyVersion) -> None:
    """Store a version's new state."""
    await connection.execute(
        "UPDATE policy_version SET state = $2, changed_at = $3, live_since = $4, retired_at = $5 WHERE id = $1",
        version.id,
        str(version.state),
        version.changed_at,
        version.live_since,
        version.retired_at,
    )


async def applied_files(connection: asyncpg.Connection) -> list[AppliedFile]:
    """Return what was last put in force from files."""
    rows = await connection.fetch("SELECT kind, name, digest FROM policy_file ORDER BY kind, name")
    return [AppliedFile(row["kind"], row["name"], row["digest"]) for row in rows]


async def remember_file(connection: asyncpg.Connection, file: AppliedFile, now: datetime) -> None:
    """Note that this text was put in force from a file."""
    await connection.execute(
        "INSERT INTO policy_file VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (kind, name) DO UPDATE SET digest = excluded.digest, applied_at = excluded.applied_at",
        file.kind,
        file.name,
        file.digest,
        now,
    )


async def forget_file(connection: asyncpg.Connection, file: AppliedFile) -> None:
    """Note that there is no file of this name any more."""
    await connection.execute("DELETE FROM policy_file WHERE kind = $1 AND name = $2", file.kind, file.name)


def _version(body: str | None) -> PolicyVersion | None:
    return None if body is None else msgspec.json.decode(body, type=PolicyVersion)
