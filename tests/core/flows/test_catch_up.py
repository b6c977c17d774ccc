"""Webhooks that never came: gateways are asked for their events from where we were, and nothing is taken twice."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, PaymentState
from recoup_core.flows.catch_up import (
    CATCH_UP,
    EVERY,
    LONG_WALK,
    OVERLAP,
    PAGES_A_RUN,
    CannotList,
    catch_up,
    start_feeds,
)
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.jobs import run_jobs
from recoup_core.flows.recorder import Recorder
from recoup_core.ports import Capabilities, EventPage, GatewayEvent, Succeeded
from recoup_core.storage.feeds import Feed, feeds_of

SOFT = {"code": "generic_decline"}


class Provider:
    """A gateway whose webhooks are all lost, and that lists what happened, page by page."""

    name = "sandbox"

    def __init__(self, page: int = 2) -> None:
        self.capabilities = Capabilities(
            methods=frozenset(Method), key_lifetime=timedelta(hours=24), finds_charges=False, lists_events=True
        )
        self.happened: list[GatewayEvent] = []
        self.page = page
        self.asked: list[tuple[datetime, str | None]] = []
        self.trouble: list[Exception] = []
        """For the next pages, in order."""
        self.leads: dict[str | None, str | None] = {}
        """Where pages lead, by their cursor, instead of on."""

    async def list_events(self, since: datetime, cursor: str | None) -> EventPage:
        self.asked.append((since, cursor))
        if self.trouble:
            raise self.trouble.pop(0)
        if self.leads:
            return EventPage(events=(), cursor=self.leads[cursor])
        found = [event for event in self.happened if event.occurred_at >= since]
        start = int(cursor or 0)
        rest = start + self.page
        return EventPage(events=tuple(found[start:rest]), cursor=str(rest) if rest < len(found) else None)

    def parse_event(self, headers: Any, body: bytes) -> list[GatewayEvent]:
        return msgspec.json.decode(body, type=list[GatewayEvent])

    def say(self, shop: Any, external_id: str, at: datetime | None = None, **fields: Any) -> GatewayEvent:
        """Something happens at the provider."""
        event = GatewayEvent(
            external_id=external_id, kind="bank.event", occurred_at=at or shop.clock.now(), payload={}, **fields
        )
        self.happened.append(event)
        return event


class Desk:
    """The shop at that provider."""

    def __init__(self, shop: Any, provider: Provider) -> None:
        self.shop, self.provider = shop, provider
        self.context = dataclasses.replace(shop.context, gateways={"sandbox": provider})
        self.recorder = Recorder(self.context)

    async def start(self) -> None:
        """As a sweep does."""
        await start_feeds(self.context, self.shop.clock.now())

    async def run_due(self) -> int:
        """Run what is due, and what that makes due."""
        total = 0
        for _ in range(200):
            refs = await self.shop.claim()
            if not refs:
                return total
            total += len(refs)
            await run_jobs(self.context, self.recorder, refs)
        raise AssertionError("the jobs never end")

    async def pass_time(self, time: timedelta) -> None:
        """Let the clock go on, job by job."""
        end = self.shop.clock.now() + time
        for _ in range(500):
            await self.run_due()
            due = await self.shop.next_due()
            if due is None or due > end:
                self.shop.clock.set(end)
                return
            self.shop.clock.set(max(due, self.shop.clock.now()))
        raise AssertionError("time never passes")

    async def feed(self) -> Feed:
        """How far it got."""
        return (await feeds_of(self.shop.service.database, ["sandbox"]))["sandbox"]

    async def known(self) -> list[str]:
        """The ids of the stored events, in the order in which they came."""
        return [row["external_id"] for row in await self.shop.rows("SELECT external_id FROM inbound_event ORDER BY id")]


@pytest.fixture
async def desk(shop: Any) -> Desk:
    """Asked for its events from now on."""
    desk = Desk(shop, Provider())
    await desk.start()
    await desk.run_due()
    return desk


async def test_the_first_walk_begins_now(desk: Desk, shop: Any) -> None:
    """What happened before Recoup was there is no business of its; the overlap is all that is asked back."""
    (since, cursor) = desk.provider.asked[0]

    assert (since, cursor) == (shop.clock.now() - OVERLAP, None)
    assert (await desk.feed()).reached_at == shop.clock.now()


async def test_a_gateway_that_lists_nothing_is_not_asked(shop: Any) -> None:
    """The capability says so."""
    provider = Provider()
    provider.capabilities = msgspec.structs.replace(provider.capabilities, lists_events=False)
    desk = Desk(shop, provider)

    await desk.start()

    assert await shop.rows("SELECT * FROM gateway_feed") == []
    assert await shop.next_due() is None


async def test_a_lost_webhook_is_made_up_for(desk: Desk, shop: Any) -> None:
    """The debt was paid and nobody told us: a quarter of an hour later the case is over."""
    opened = await shop.open("tok_approve", **SOFT)
    paid = Succeeded(gateway_ref="ch_1", amount=Money(1999, "EUR"))
    desk.provider.say(shop, "evt-1", outcome=paid, payment_reference=opened.payment.reference)

    await desk.pass_time(EVERY)

    assert (await shop.file(opened.payment.id)).payment.state is PaymentState.PAID
    (row,) = await shop.rows("SELECT state, via, merchant_id FROM inbound_event")
    assert tuple(row) == ("applied", "catch_up", "default")


async def test_what_came_by_webhook_is_not_stored_again(desk: Desk, shop: Any) -> None:
    """The same ids: a duplicate falls away, whichever came first."""
    first = desk.provider.say(shop, "evt-1")
    await receive_webhook(desk.context, "sandbox", {}, msgspec.json.encode([first]), None)
    second = desk.provider.say(shop, "evt-2")
    await desk.pass_time(EVERY)
    await receive_webhook(desk.context, "sandbox", {}, msgspec.json.encode([second]), None)

    rows = await shop.rows("SELECT external_id, via FROM inbound_event ORDER BY id")
    assert [tuple(row) for row in rows] == [("evt-1", "webhook"), ("evt-2", "catch_up")]


async def test_walks_overlap_and_go_on_for_good(desk: Desk, shop: Any) -> None:
    """Each begins a little before the last one ended, every quarter of an hour."""
    start = shop.clock.now()

    await desk.pass_time(3 * EVERY)

    walks = [start - OVERLAP + n * EVERY for n in range(3)]
    assert [since for since, _ in desk.provider.asked] == [start - OVERLAP, *walks]


async def test_a_provider_away_for_an_hour_loses_nothing(desk: Desk, shop: Any) -> None:
    """The walk begins where the last good one was complete, and the trouble is told meanwhile."""
    before = await desk.feed()
    desk.provider.trouble = [ConnectionError("sk_live_secret")] * 4
    for minute in range(60):
        desk.provider.say(shop, f"evt-{minute}", at=shop.clock.now() + timedelta(minutes=minute))
    await desk.pass_time(timedelta(minutes=59))

    away = await desk.feed()
    assert away.reached_at == before.reached_at
    assert (away.failures, "sk_live" in str(away.trouble)) == (3, False)
    assert await desk.known() == []

    await desk.pass_time(2 * EVERY)

    assert sorted(await desk.known()) == sorted(event.external_id for event in desk.provider.happened)
    assert ((await desk.feed()).failures, (await desk.feed()).trouble) == (0, None)


async def test_one_run_is_bounded_and_the_next_goes_on(shop: Any) -> None:
    """A day of events is no reason to keep a worker for an hour: pages are kept, and where it stands with them."""
    desk = Desk(shop, Provider(page=1))
    count = PAGES_A_RUN + 3
    for number in range(count):
        desk.provider.say(shop, f"evt-{number}")
    await desk.start()

    refs = await shop.claim()
    await run_jobs(desk.context, desk.recorder, refs)
    half = await desk.feed()
    await desk.run_due()

    assert half.cursor == str(PAGES_A_RUN)
    assert len([asked for asked in desk.provider.asked if asked[1] is None]) == 1
    assert len(await desk.known()) == count
    assert (await desk.feed()).walk_from is None


async def test_a_cursor_that_the_provider_no_longer_takes_is_given_up(shop: Any) -> None:
    """Two failures in a row: the walk begins anew, and what was stored before is not stored again."""
    desk = Desk(shop, Provider(page=1))
    for number in range(PAGES_A_RUN + 2):
        desk.provider.say(shop, f"evt-{number}")
    await desk.start()
    await run_jobs(desk.context, desk.recorder, await shop.claim())
    desk.provider.trouble = [ValueError("no such cursor")] * 2

    await desk.pass_time(3 * EVERY)

    assert [cursor for _, cursor in desk.provider.asked].count(None) >= 2
    assert len(await desk.known()) == PAGES_A_RUN + 2


async def test_pages_that_lead_nowhere_are_no_reason_to_ask_without_end(desk: Desk, shop: Any) -> None:
    """A page that names itself as the next one is trouble, told as such; nobody is asked more than twice a walk."""
    desk.provider.leads = {None: "a", "a": "a"}
    desk.provider.asked.clear()

    await desk.pass_time(4 * EVERY)

    assert len(desk.provider.asked) <= 2 * 4
    assert "same page" in str((await desk.feed()).trouble)


async def test_pages_in_a_circle_are_walked_slowly_at_last(desk: Desk, shop: Any) -> None:
    """A walk may be long, so it is not given up; but it must not keep a worker and the provider busy for ever."""
    await desk.pass_time(EVERY - timedelta(seconds=1))
    desk.provider.leads = {None: "a", "a": "b", "b": "a"}
    shop.clock.set(shop.clock.now() + timedelta(seconds=2))
    await run_jobs(desk.context, desk.recorder, await shop.claim())
    shop.clock.set(shop.clock.now() + LONG_WALK)
    await run_jobs(desk.context, desk.recorder, await shop.claim())

    assert await shop.next_due() == shop.clock.now() + EVERY


async def test_a_gateway_that_left_the_settings_is_not_asked_any_more(desk: Desk, shop: Any) -> None:
    """Its job ends; should it come back, the feed goes on where it stood."""
    desk.context = dataclasses.replace(desk.context, gateways={})
    await desk.pass_time(2 * EVERY)
    assert await shop.next_due() is None
    asked = len(desk.provider.asked)

    desk.context = dataclasses.replace(desk.context, gateways={"sandbox": desk.provider})
    missed = desk.provider.say(shop, "evt-missed", at=shop.clock.now() - EVERY)
    await desk.start()
    await desk.run_due()

    assert len(desk.provider.asked) == asked + 1
    assert await desk.known() == [missed.external_id]


async def test_starting_again_changes_nothing(desk: Desk, shop: Any) -> None:
    """Every sweep of every scheduler does it."""
    before = await desk.feed()

    for _ in range(3):
        await desk.start()

    assert await desk.feed() == before
    (row,) = await shop.rows("SELECT count(*) AS jobs FROM job WHERE kind = $1", CATCH_UP)
    assert row["jobs"] == 1


async def test_a_person_may_ask_from_any_moment_on(desk: Desk, shop: Any) -> None:
    """Without touching how far the feed itself is."""
    old = desk.provider.say(shop, "evt-old", at=shop.clock.now() - timedelta(days=3))
    before = await desk.feed()

    default = await catch_up(desk.context, "sandbox")
    since = await catch_up(desk.context, "sandbox", shop.clock.now() - timedelta(days=4))

    assert (default.seen, since.seen, since.new, since.complete) == (0, 1, 1, True)
    assert await desk.known() == [old.external_id]
    assert await desk.feed() == before


async def test_a_person_is_told_why_it_can_not_be_asked(desk: Desk) -> None:
    """Unknown, unable or away: never silence."""
    with pytest.raises(CannotList, match="not configured"):
        await catch_up(desk.context, "nobody")
    desk.provider.trouble = [ConnectionError("refused")]
    with pytest.raises(CannotList, match="ConnectionError"):
        await catch_up(desk.context, "sandbox")


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_whatever_is_lost_ends_as_if_nothing_was(desk: Desk, shop: Any, data: st.DataObject) -> None:
    """Any webhooks lost, any pages failing, any page size: in the end each event is known exactly once."""
    name = uuid4()  # never drawn: a name that comes twice would name two runs' events
    desk.provider.page = data.draw(st.integers(1, 5), label="page size")
    events = [
        desk.provider.say(shop, f"{name}-{number}", at=shop.clock.now() + timedelta(minutes=number))
        for number in range(data.draw(st.integers(0, 12), label="events"))
    ]
    arrived = [event for event in events if data.draw(st.booleans())]
    desk.provider.trouble = [ConnectionError("away")] * data.draw(st.integers(0, 5), label="failures")
    for event in arrived:
        await receive_webhook(desk.context, "sandbox", {}, msgspec.json.encode([event, event]), None)

    await desk.pass_time(8 * EVERY)

    known = [each for each in await desk.known() if each.startswith(str(name))]
    assert sorted(known) == sorted(event.external_id for event in events)
