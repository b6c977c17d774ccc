"""Followers: each event once, in commit order, whatever fails; one that fails holds up nobody else."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from recoup_core.domain.happened import Event, EventKind
from recoup_core.flows.context import Context
from recoup_core.flows.following import FOLLOWERS, TRIES, Follower, follow
from recoup_core.storage.changes import Changes
from recoup_core.storage.listing import StoredEvent

PATIENCE = 400


class Notes:
    """A follower that writes down what it was given, in the transaction that moves it on."""

    def __init__(self, name: str = "notes", poison: str | None = None, echo: bool = False) -> None:
        self.follower = Follower(name, self.take)
        self.poison, self.echo = poison, echo

    async def take(
        self, _: Context, connection: asyncpg.Connection, changes: Changes, events: Sequence[StoredEvent], now: datetime
    ) -> None:
        await connection.executemany(
            "INSERT INTO noted VALUES ($1, $2, $3)",
            [(self.follower.name, event.id, event.data.get("n")) for event in events],
        )
        if any(event.data.get("n") == self.poison for event in events if self.poison):
            raise ValueError("can't be taken")
        if self.echo and any(event.kind == EventKind.CASE_PAUSED for event in events):
            changes.add(event("echo", now))


def event(n: str, at: datetime, kind: EventKind = EventKind.CASE_RESUMED) -> Event:
    return Event(at=at, merchant_id="default", kind=kind, actor="system", data={"n": n})


@pytest.fixture
async def tell(shop: Any) -> Any:
    """`await tell("a", "b")` commits events in one transaction; the followers' notes have a table."""
    await shop.rows("CREATE TABLE noted (reader text, event_id bigint, n text)")

    async def commit(*names: str, kind: EventKind = EventKind.CASE_RESUMED) -> None:
        changes = Changes()
        changes.add(*(event(name, shop.clock.now(), kind) for name in names))
        async with shop.service.database.transaction() as connection:
            await changes.write(connection)

    return commit


async def until_read(shop: Any, *followers: Follower) -> None:
    """Follow until every follower is at the end; other databases' writers may hold the end back for moments."""
    for _ in range(PATIENCE):
        await follow(shop.context, shop.clock.now(), followers)
        behind = await shop.rows(
            "SELECT FROM event_reader r JOIN event e ON (e.txid, e.id) > (r.txid, r.event_id)"
            " WHERE r.name = ANY($1) LIMIT 1",
            [each.name for each in followers],
        )
        if not behind:
            return
    raise AssertionError("the followers never got to the end")


async def noted(shop: Any, reader: str = "notes") -> list[str]:
    return [row["n"] for row in await shop.rows("SELECT n FROM noted WHERE reader = $1 ORDER BY ctid", reader)]


async def test_each_event_is_taken_once_in_the_order_of_commits(shop: Any, tell: Any) -> None:
    """A transaction that took its numbers early and commits late is neither overtaken nor missed."""
    notes = Notes()
    await tell("before")
    await follow(shop.context, shop.clock.now(), [notes.follower])  # a new reader begins at the newest event
    await until_read(shop, notes.follower)

    pool = shop.service.database.engine.pool
    async with pool.acquire() as slow:
        late = slow.transaction()
        await late.start()
        changes = Changes()
        changes.add(event("late", shop.clock.now()))
        await changes.write(slow)
        await tell("early")
        await follow(shop.context, shop.clock.now(), [notes.follower])
        meanwhile = await noted(shop)
        await late.commit()
    await until_read(shop, notes.follower)

    assert "early" not in meanwhile
    assert [n for n in await noted(shop) if n != "before"] == ["late", "early"]


async def test_what_happened_since_the_migration_is_followed_from_the_first_start(shop: Any, tell: Any) -> None:
    """The shipped followers have their places before any process starts: a fresh installation loses nothing."""
    rows = await shop.rows("SELECT name FROM event_reader WHERE event_id = 0")

    assert {row["name"] for row in rows} >= {follower.name for follower in FOLLOWERS}


async def test_an_event_that_cannot_be_taken_is_parked_and_holds_up_nobody(shop: Any, tell: Any) -> None:
    """Its neighbours are taken, once each; the other follower never waits; a person is asked."""
    bad, good = Notes("bad", poison="p"), Notes("good")
    await follow(shop.context, shop.clock.now(), [bad.follower, good.follower])
    await tell("a", "b")
    await tell("p", "c")

    await until_read(shop, bad.follower, good.follower)

    assert [n for n in await noted(shop, "bad") if n] == ["a", "b", "c"]
    assert [n for n in await noted(shop, "good") if n] == ["a", "b", "p", "c"]
    parked = await shop.rows("SELECT reader, error FROM event_parked")
    assert [tuple(row) for row in parked] == [("bad", "ValueError")]
    tasks = await shop.rows("SELECT kind FROM human_task")
    assert [row["kind"] for row in tasks] == ["event_not_followed"]


async def test_a_follower_that_gets_well_again_misses_nothing(shop: Any, tell: Any) -> None:
    """A fault that passes in time parks nothing."""
    notes = Notes(poison="a")
    await follow(shop.context, shop.clock.now(), [notes.follower])
    await tell("a", "b")
    for _ in range(TRIES // 2):
        await follow(shop.context, shop.clock.now(), [notes.follower])

    notes.poison = None
    await until_read(shop, notes.follower)

    assert [n for n in await noted(shop) if n] == ["a", "b"]
    assert not await shop.rows("SELECT FROM event_parked")


async def test_what_a_follower_tells_itself_is_followed_too(shop: Any, tell: Any) -> None:
    """Its own transaction counts as still writing, although its snapshot does not show it."""
    notes = Notes(echo=True)
    await follow(shop.context, shop.clock.now(), [notes.follower])
    for n in range(5):
        await tell(f"p{n}", kind=EventKind.CASE_PAUSED)
        await until_read(shop, notes.follower)

    assert (await noted(shop)).count("echo") == 5


async def test_the_lag_is_measured(shop: Any, tell: Any) -> None:
    """A follower at the end has none; one that fails shows how old the event is that it stands at."""
    notes = Notes(poison="a")
    await follow(shop.context, shop.clock.now(), [notes.follower])
    await tell("a")
    shop.clock.advance(timedelta(seconds=90))
    lag = shop.context.measures.follow_lag_seconds.labels("notes")
    for _ in range(PATIENCE):
        await follow(shop.context, shop.clock.now(), [notes.follower])
        if lag._value.get() >= 90:
            break

    assert lag._value.get() >= 90
