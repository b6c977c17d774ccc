"""Events: everything that happened, in an order a reader can follow."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from recoup_core.domain.happened import Event, EventKind
from recoup_core.storage.changes import Changes
from recoup_core.storage.listing import FeedPosition, read_feed
from recoup_core.wiring import Service

Report = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def service_url(database_url: str) -> str:
    """The order of commits is looked at, so nobody else commits here."""
    return database_url


async def test_events_are_followed_page_by_page(api: Any, report: Report) -> None:
    """Every event once, in order; the last cursor leads on to what happens later."""
    for _ in range(3):
        await report()
    met: list[int] = []
    cursor: dict[str, str] = {}

    for _ in range(20):
        page = (await api.get("/events", limit=2, **cursor)).json()
        met += [event["id"] for event in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
        if not page["has_more"]:
            break
    await report()
    later = (await api.get("/events", **cursor)).json()["items"]

    every = (await api.get("/events", limit=200)).json()["items"]
    assert [*met, *(event["id"] for event in later)] == [event["id"] for event in every]
    opening = ["payment.reported", "case.opened", "step.planned", "dunning.planned"]
    assert [event["kind"] for event in later] == opening


async def test_events_are_filtered(api: Any, report: Report) -> None:
    """By kind, several of them if need be, by case, and from a known event on."""
    one, two = await report(), await report()

    async def kinds(**filters: Any) -> list[str]:
        return [event["kind"] for event in (await api.get("/events", **filters)).json()["items"]]

    every = (await api.get("/events", case=two["case"]["id"])).json()["items"]
    assert await kinds(kind="case.opened") == ["case.opened", "case.opened"]
    assert await kinds(kind=["case.opened", "step.planned"], case=one["case"]["id"]) == ["case.opened", "step.planned"]
    since = await kinds(case=two["case"]["id"], since=every[0]["id"])
    assert since == ["case.opened", "step.planned", "dunning.planned"]
    assert await kinds(case=str(uuid4())) == []


@pytest.mark.parametrize("params", [{"kind": "never.happens"}, {"since": 0}, {"since": 10**18}, {"case": "x"}])
async def test_a_filter_that_can_fit_nothing_is_refused(api: Any, params: dict[str, Any]) -> None:
    """A typing error must not look like silence."""
    answer = await api.get("/events", **params)

    assert answer.status_code == 400
    assert answer.json()["field"] in params


@pytest.mark.parametrize("cursor", ["ZXZlbnRzOi0xOjE", "ZXZlbnRzOjk5OTk5OTk5OTk5OTk5OTk5OTk5OTox", "ZXZlbnRzOjE"])
async def test_a_forged_position_is_refused(api: Any, cursor: str) -> None:
    """Numbers that no position can have."""
    answer = await api.get("/events", cursor=cursor)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_a_late_commit_is_not_missed(service: Service, merchants: tuple[str, str], certain: Any) -> None:
    """A transaction that takes its place early and commits late is waited for, not overtaken."""

    def told(kind: EventKind) -> Changes:
        changes = Changes()
        changes.add(Event(at=service.clock.now(), merchant_id=merchants[0], kind=kind, actor="system"))
        return changes

    async def feed(after: FeedPosition) -> tuple[list[EventKind], FeedPosition]:
        page = await read_feed(service.database, merchants[0], after, 50)
        return [event.kind for event in page.events], page.position

    await certain()
    start = (await feed(FeedPosition(0, 0)))[1]
    assert service.database.engine.pool is not None
    async with service.database.engine.pool.acquire() as slow, service.database.engine.pool.acquire() as fast:
        late = slow.transaction()
        await late.start()
        await told(EventKind.CASE_PAUSED).write(slow)
        await told(EventKind.CASE_RESUMED).write(fast)
        meanwhile, position = await feed(start)
        await late.commit()

    await certain()
    after, _ = await feed(position)

    assert meanwhile == []
    assert after == [EventKind.CASE_PAUSED, EventKind.CASE_RESUMED]


async def test_writers_elsewhere_hold_up_nobody(
    service: Service, merchants: tuple[str, str], empty_database_url: str
) -> None:
    """Another database on the same server may write as long as it likes: its transactions write no events of ours."""
    elsewhere = await asyncpg.connect(empty_database_url)
    changes = Changes()
    changes.add(Event(at=service.clock.now(), merchant_id=merchants[0], kind=EventKind.CASE_PAUSED, actor="system"))
    async with elsewhere.transaction():
        await elsewhere.fetchval("SELECT pg_current_xact_id()")
        async with service.database.transaction() as connection:
            await changes.write(connection)
        for _ in range(1_000):  # what has just ended in a third database counts for a moment
            page = await read_feed(service.database, merchants[0], FeedPosition(0, 0), 50)
            if page.events:
                break
            await asyncio.sleep(0.02)
    await elsewhere.close()

    assert [event.kind for event in page.events] == [EventKind.CASE_PAUSED]


async def test_others_events_never_shorten_a_page(
    service: Service, merchants: tuple[str, str], certain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One merchant among many finds its few events on the first page, however much the others did before."""
    monkeypatch.setattr("recoup_core.storage.listing.EVENTS_SCANNED", 3)
    changes = Changes()
    for merchant, kind in [(merchants[1], EventKind.CASE_PAUSED)] * 5 + [(merchants[0], EventKind.CASE_RESUMED)]:
        changes.add(Event(at=service.clock.now(), merchant_id=merchant, kind=kind, actor="system"))
    async with service.database.transaction() as connection:
        await changes.write(connection)
    await certain()

    mine = await read_feed(service.database, merchants[0], FeedPosition(0, 0), 50)
    theirs = await read_feed(service.database, merchants[1], FeedPosition(0, 0), 50)

    assert ([event.kind for event in mine.events], mine.more) == ([EventKind.CASE_RESUMED], False)
    assert (len(theirs.events), theirs.more) == (3, True)
