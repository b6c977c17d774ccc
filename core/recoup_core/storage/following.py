"""Events in commit order: how far each follower has read, and what comes next, over all merchants."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.storage.commit_order import CERTAIN_BELOW
from recoup_core.storage.listing import EVENTS_SCANNED, FeedPosition, StoredEvent


class PlacedEvent(StoredEvent, frozen=True, kw_only=True):
    """An event with its place in the order of commits."""

    txid: str

    @property
    def position(self) -> FeedPosition:
        """Where it stands."""
        return FeedPosition(int(self.txid), self.id)


class Look(msgspec.Struct, frozen=True):
    """What a look at the newest events found."""

    events: list[PlacedEvent]
    held: bool
    """Whether more is written down that can't be told yet: a transaction that began before it is still writing."""


class Place(msgspec.Struct, frozen=True):
    """How far a follower has read, and how often it failed at what comes next."""

    position: FeedPosition
    tries: int


_EVENT: Final = "to_jsonb(e) || jsonb_build_object('txid', e.txid::text)"

# Our own transaction is never among those still writing, as it sees them: what it is about to write itself would count
# as read before it is there. So it is named as the border, too, where it has a number.
_NEXT: Final = f"""
    WITH border AS MATERIALIZED (
        SELECT least({CERTAIN_BELOW}, coalesce(pg_current_xact_id_if_assigned(), {CERTAIN_BELOW})) AS txid),
    next AS (
        SELECT e.* FROM event e WHERE (e.txid, e.id) > ($1::text::xid8, $2) AND e.txid < (SELECT txid FROM border)
        ORDER BY e.txid, e.id LIMIT $3)
    SELECT jsonb_build_object(
        'events', (SELECT coalesce(jsonb_agg({_EVENT} ORDER BY e.txid, e.id), '[]') FROM next e),
        'held', EXISTS (SELECT FROM event WHERE txid >= (SELECT txid FROM border)))::text"""

_ANY: Final = f"""
    SELECT EXISTS (SELECT FROM event e WHERE (e.txid, e.id) > (r.txid, r.event_id) AND e.txid < {CERTAIN_BELOW})
    FROM event_reader r WHERE r.name = $1"""

_BETWEEN: Final = f"""
    WITH scanned AS MATERIALIZED (
        SELECT txid, id, ($7::text[] IS NULL OR kind = ANY($7)) AND ($8::uuid IS NULL OR payment_id = $8) AS fits
        FROM event WHERE merchant_id = $1
            AND (txid, id) > ($2::text::xid8, $3) AND (txid, id) <= ($4::text::xid8, $5) {{narrower}}
        ORDER BY txid, id LIMIT {EVENTS_SCANNED}),
    fitting AS (SELECT txid, id FROM scanned WHERE fits ORDER BY txid, id LIMIT $6),
    final AS (SELECT txid, id FROM scanned ORDER BY txid DESC, id DESC LIMIT 1)
    SELECT jsonb_build_object(
        'events', (SELECT coalesce(jsonb_agg({_EVENT} ORDER BY e.txid, e.id), '[]')
                   FROM fitting f JOIN event e ON e.id = f.id),
        'scanned', (SELECT count(*) FROM scanned),
        'txid', (SELECT txid::text FROM final), 'event_id', (SELECT id FROM final))::text"""


class _Scan(msgspec.Struct, frozen=True, kw_only=True):
    events: list[PlacedEvent]
    scanned: int
    txid: str | None
    event_id: int | None


class Stretch(msgspec.Struct, frozen=True):
    """A piece of what lies between two places, and where the next piece begins; None: there is none."""

    events: list[PlacedEvent]
    following: FeedPosition | None


class Narrow(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a merchant's events are wanted; None: whatever they are."""

    kinds: frozenset[str] | None = None
    case_id: UUID | None = None
    refund_id: UUID | None = None
    payment_id: UUID | None = None

    def fits(self, event: StoredEvent) -> bool:
        """Return whether an event is one of them."""
        return (
            (self.kinds is None or event.kind in self.kinds)
            and self.case_id in (None, event.case_id)
            and self.refund_id in (None, event.refund_id)
            and self.payment_id in (None, event.payment_id)
        )


async def next_events(connection: asyncpg.Connection, after: FeedPosition, limit: int) -> Look:
    """Return the next certain events after a place."""
    body = await connection.fetchval(_NEXT, str(after.txid), after.event_id, limit)
    return msgspec.json.decode(body, type=Look)


async def newest_certain(connection: asyncpg.Connection) -> FeedPosition:
    """Return the place of the newest event that can be told of; whoever starts there hears what comes."""
    row = await connection.fetchrow(
        f"SELECT txid::text AS txid, id FROM event WHERE txid < {CERTAIN_BELOW}"
        " ORDER BY event.txid DESC, id DESC LIMIT 1"
    )
    return FeedPosition(0, 0) if row is None else FeedPosition(int(row["txid"]), row["id"])


async def read_between(
    connection: asyncpg.Connection,
    merchant_id: str,
    after: FeedPosition,
    upto: FeedPosition,
    wanted: Narrow,
    limit: int,
) -> Stretch:
    """Return what of a merchant's events lies after a place and not beyond another, which is known to be certain."""
    about: Mapping[str, Any] = {"case_id": wanted.case_id, "refund_id": wanted.refund_id}
    given = {column: value for column, value in about.items() if value is not None}
    narrower = " ".join(f"AND {column} = ${number}" for number, column in enumerate(given, 9))
    kinds = None if wanted.kinds is None else sorted(wanted.kinds)
    places = (str(after.txid), after.event_id, str(upto.txid), upto.event_id)
    sql = _BETWEEN.format(narrower=narrower)
    body = await connection.fetchval(sql, merchant_id, *places, limit, kinds, wanted.payment_id, *given.values())
    scan = msgspec.json.decode(body, type=_Scan)
    if len(scan.events) == limit:
        return Stretch(scan.events, scan.events[-1].position)
    if scan.scanned < EVENTS_SCANNED or scan.txid is None or scan.event_id is None:
        return Stretch(scan.events, None)
    return Stretch(scan.events, FeedPosition(int(scan.txid), scan.event_id))


async def anything_new(connection: asyncpg.Connection, reader: str) -> bool | None:
    """Return whether there is something to follow; None where the reader has no place yet."""
    found: bool | None = await connection.fetchval(_ANY, reader)
    return found


async def enter_reader(connection: asyncpg.Connection, reader: str, now: datetime) -> None:
    """Make sure that a reader has a place: the newest one, where it is new, for old events are no news."""
    place = await newest_certain(connection)
    await connection.execute(
        "INSERT INTO event_reader (name, txid, event_id, moved_at) VALUES ($1, $2::text::xid8, $3, $4)"
        " ON CONFLICT (name) DO NOTHING",
        reader,
        str(place.txid),
        place.event_id,
        now,
    )


async def take_place(connection: asyncpg.Connection, reader: str) -> Place | None:
    """Return a reader's place under its lock; None while another process has it, or where it was never entered."""
    row = await connection.fetchrow(
        "SELECT txid::text AS txid, event_id, tries FROM event_reader WHERE name = $1 FOR UPDATE SKIP LOCKED", reader
    )
    return None if row is None else Place(FeedPosition(int(row["txid"]), row["event_id"]), row["tries"])


async def move_place(connection: asyncpg.Connection, reader: str, to: FeedPosition, now: datetime) -> None:
    """Write down that a reader has read up to a place."""
    await connection.execute(
        "UPDATE event_reader SET txid = $2::text::xid8, event_id = $3, tries = 0, moved_at = $4 WHERE name = $1",
        reader,
        str(to.txid),
        to.event_id,
        now,
    )


async def count_failure(connection: asyncpg.Connection, reader: str, at: FeedPosition) -> None:
    """Count that a reader failed at what comes after a place, unless it has got further meanwhile."""
    await connection.execute(
        "UPDATE event_reader SET tries = tries + 1 WHERE name = $1 AND (txid, event_id) = ($2::text::xid8, $3)",
        reader,
        str(at.txid),
        at.event_id,
    )


async def park_event(connection: asyncpg.Connection, reader: str, event_id: int, error: str, now: datetime) -> None:
    """Keep which event a reader left out, and why."""
    await connection.execute(
        "INSERT INTO event_parked (reader, event_id, error, parked_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (reader, event_id) DO NOTHING",
        reader,
        event_id,
        error[:500],
        now,
    )


async def gateways_of(connection: asyncpg.Connection, attempt_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return which gateway each attempt was made at."""
    rows = await connection.fetch("SELECT id, gateway FROM attempt WHERE id = ANY($1::uuid[])", list(attempt_ids))
    return {row["id"]: row["gateway"] for row in rows}


def kinds_of(patterns: Sequence[str], known: Collection[str]) -> frozenset[str]:
    """Return the kinds that patterns name (`refund.*`, `case.opened`); a `LookupError` names the one that fits none."""
    found: set[str] = set()
    for pattern in patterns:
        fitting = {kind for kind in known if kind == pattern or _begins(kind, pattern)}
        if not fitting:
            raise LookupError(pattern)
        found |= fitting
    return frozenset(found)


def _begins(kind: str, pattern: str) -> bool:
    return pattern.endswith(".*") and kind.startswith(pattern[:-1])
