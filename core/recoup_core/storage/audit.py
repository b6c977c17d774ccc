"""The audit chain: every event is sealed, in commit order, into a chain of hashes soon after it was written.

Sealing apart from writing keeps one chain without making every transaction wait for the one before it. An event is
sealed once no transaction older than its own is still running, so none can slip in behind (core/adr/0004).
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import asyncpg
import msgspec

from recoup_core.storage.commit_order import CERTAIN_BELOW
from recoup_core.storage.engine import Database

GENESIS: Final = bytes(32)
"""What the first seal follows."""

SEAL_BATCH: Final = 2_000
"""Events of one seal."""

SEAL_ROUNDS: Final = 50
"""Seals of one sweep."""

UNSEALED_AGE: Final = timedelta(minutes=15)
"""An event unsealed for longer means that sealing stands still, or that the event was slipped in behind the chain."""

_LOCK_KEY: Final = 0x7265636F75706175  # "recoupau"

_NEXT: Final = f"""
    SELECT e.id, e.txid::text AS txid, event_digest(e) AS digest FROM event e
    WHERE (e.txid, e.id) > ($1::text::xid8, $2) AND e.txid < {CERTAIN_BELOW}
    ORDER BY e.txid, e.id LIMIT $3"""

_UNSEALED: Final = """
    LEFT JOIN (SELECT last_txid, last_event_id FROM event_seal ORDER BY number DESC LIMIT 1) s ON true
    WHERE (s.last_txid IS NULL OR (e.txid, e.id) > (s.last_txid, s.last_event_id))"""

_INSERT: Final = """
    INSERT INTO event_seal (number, event_ids, digests, last_txid, last_event_id, previous, hash, sealed_at)
    VALUES ($1, $2, $3, $4::text::xid8, $5, $6, $7, $8)"""


class Fault(msgspec.Struct, frozen=True):
    """Where the audit trail and its seals disagree."""

    event_id: int | None
    seal: int | None
    message: str


class Verified(msgspec.Struct, frozen=True):
    """What a verification looked at, and the first fault if there is one."""

    seals: int
    events: int
    """Sealed ones."""
    fault: Fault | None
    unsealed: int = 0
    """Events so young that no seal covers them yet."""


async def seal_events(database: Database, now: datetime) -> int:
    """Seal what is ready; return how many events were sealed. One process at a time, others return 0 at once."""
    sealed = 0
    for _ in range(SEAL_ROUNDS):
        count = await _seal_once(database, now)
        sealed += count
        if count < SEAL_BATCH:
            break
    return sealed


async def _seal_once(database: Database, now: datetime) -> int:
    async with database.transaction() as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK_KEY):
            return 0
        last = await connection.fetchrow(
            "SELECT number, last_txid::text AS txid, last_event_id, hash FROM event_seal ORDER BY number DESC LIMIT 1"
        )
        number, txid, event_id, previous = (
            (last["number"], last["txid"], last["last_event_id"], last["hash"]) if last else (0, "0", 0, GENESIS)
        )
        rows = await connection.fetch(_NEXT, txid, event_id, SEAL_BATCH)
        if not rows:
            return 0
        digests = [row["digest"] for row in rows]
        await connection.execute(
            _INSERT,
            number + 1,
            [row["id"] for row in rows],
            digests,
            rows[-1]["txid"],
            rows[-1]["id"],
            previous,
            chain_hash(previous, digests),
            now,
        )
    return len(rows)


def chain_hash(previous: bytes, digests: list[bytes]) -> bytes:
    """Return the hash of a seal: the one before it and the digests of its events, in order."""
    return sha256(previous + b"".join(digests)).digest()


async def verify_audit(database: Database, now: datetime) -> Verified:
    """Walk the whole chain and name the first event or seal that does not fit."""
    async with database.transaction() as connection:
        await connection.execute(
            "SET LOCAL statement_timeout = 0"
        )  # counting tens of millions of events takes its time
        seals = events = 0
        previous = GENESIS
        async for seal in _seals(connection):
            fault = await _check_seal(connection, seal, seals, previous)
            if fault is not None:
                return Verified(seals, events, fault)
            previous, seals, events = seal["hash"], seals + 1, events + len(seal["event_ids"])
        fault = await _check_unsealed(connection, now)
        unsealed = await connection.fetchval(f"SELECT count(*) FROM event e {_UNSEALED}")
        return Verified(seals, events, fault, unsealed)


async def _seals(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Record]:
    async for row in connection.cursor("SELECT * FROM event_seal ORDER BY number", prefetch=10):
        yield row


async def _check_seal(
    connection: asyncpg.Connection, seal: asyncpg.Record, before: int, previous: bytes
) -> Fault | None:
    number, ids, digests = seal["number"], list(seal["event_ids"]), list(seal["digests"])
    if number != before + 1:
        return Fault(None, before + 1, f"seal {before + 1} is missing")
    rows = await connection.fetch(
        "SELECT e.id, event_digest(e) AS digest FROM event e WHERE e.id = ANY($1::bigint[])", ids
    )
    now_digests = {row["id"]: row["digest"] for row in rows}
    for event_id, digest in zip(ids, digests, strict=True):
        if event_id not in now_digests:
            return Fault(event_id, number, f"event {event_id} is gone")
        if now_digests[event_id] != digest:
            return Fault(event_id, number, f"event {event_id} was altered after it was sealed")
    if seal["previous"] != previous or seal["hash"] != chain_hash(previous, digests):
        return Fault(None, number, f"seal {number} was altered")
    return None


async def _check_unsealed(connection: asyncpg.Connection, now: datetime) -> Fault | None:
    stray = await connection.fetchval(f"SELECT min(e.id) FROM event e {_UNSEALED} AND e.at < $1", now - UNSEALED_AGE)
    if stray is not None:
        return Fault(stray, None, f"event {stray} has not been sealed for over {UNSEALED_AGE}")
    slipped = (
        await connection.fetchval(
            "SELECT min(e.id) FROM event e WHERE (e.txid, e.id) <= (SELECT last_txid, last_event_id FROM event_seal"
            " ORDER BY number DESC LIMIT 1) AND NOT EXISTS"
            " (SELECT FROM event_seal s WHERE s.event_ids @> ARRAY[e.id])"
        )
        if await _more_events_than_seals(connection)
        else None
    )
    if slipped is not None:
        return Fault(slipped, None, f"event {slipped} was slipped in behind the chain")
    return None


async def _more_events_than_seals(connection: asyncpg.Connection) -> bool:
    """Count before searching: the search for a slipped-in event is slow and almost never needed."""
    return bool(
        await connection.fetchval(
            "SELECT (SELECT count(*) FROM event e WHERE (e.txid, e.id) <= (SELECT last_txid, last_event_id"
            " FROM event_seal ORDER BY number DESC LIMIT 1))"
            " > (SELECT coalesce(sum(cardinality(event_ids)), 0) FROM event_seal)"
        )
    )
