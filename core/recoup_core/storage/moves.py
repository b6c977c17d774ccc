"""Which running cases a move to another version is about, and which versions a merchant may use."""

from uuid import UUID

import asyncpg
import msgspec


class ChosenCases(msgspec.Struct, frozen=True, kw_only=True):
    """Running cases of one merchant: those named, those under one version, or all; in the order they were opened."""

    kind: str = "retry"
    """Which of the case's policies is meant: `retry` or `dunning`."""
    ids: tuple[UUID, ...] | None = None
    under_digest: str | None = None
    after: UUID | None = None
    """Only cases opened after this one: where an earlier call stopped."""


class MovableCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case that was found."""

    id: UUID
    payment_id: UUID


async def choose_cases(
    connection: asyncpg.Connection, merchant_id: str, chosen: ChosenCases, limit: int
) -> list[MovableCase]:
    """Return the chosen cases that are open or paused, or exhausted and still dunned, oldest first."""
    digest, running = "policy_digest", "state IN ('open', 'paused')"
    if chosen.kind == "dunning":
        digest, running = "dunning_digest", f"({running} OR state = 'exhausted' AND dunning_digest IS NOT NULL)"
    conditions, values = ["merchant_id = $1", running], [merchant_id, limit]
    for column, value in (
        ("id = ANY ({}::uuid[])", None if chosen.ids is None else list(chosen.ids)),
        (f"{digest} = {{}}", chosen.under_digest),
        ("id > {}", chosen.after),
    ):
        if value is not None:
            values.append(value)
            conditions.append(column.format(f"${len(values)}"))
    rows = await connection.fetch(
        f"SELECT id, payment_id FROM recovery_case WHERE {' AND '.join(conditions)} ORDER BY id LIMIT $2", *values
    )
    return [MovableCase(id=row["id"], payment_id=row["payment_id"]) for row in rows]


async def may_use(connection: asyncpg.Connection, merchant_id: str, kind: str, digest: str) -> bool:
    """Return whether the text is a version of the merchant's own or of the house's."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM policy_version WHERE digest = $3 AND kind = $2"
        " AND coalesce(merchant_id, '') IN ('', $1))",
        merchant_id,
        str(kind),
        digest,
    )
    return found
