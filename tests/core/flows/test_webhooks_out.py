"""Outbound webhooks as their receivers see them: a real server, and the specification's own library."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.core.flows.conftest import LEASE, Shop
from tests.core.flows.receiver import Got, Receiver, Reply, receiving

from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.webhook import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint
from recoup_core.flows.following import Follower, follow
from recoup_core.flows.operate import NotFound
from recoup_core.flows.webhooks_out.endpoints import (
    ENDPOINTS_MAX,
    EndpointEdit,
    EndpointInvalid,
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    disable_endpoint,
    enable_endpoint,
    roll_secret,
)
from recoup_core.flows.webhooks_out.messages import secret_of
from recoup_core.flows.webhooks_out.replaying import Span, replay, replay_delivery, try_endpoint
from recoup_core.flows.webhooks_out.spreading import spread
from recoup_core.flows.webhooks_out.sweeping import DELIVERED_KEPT, OTHERS_KEPT
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import Settings
from recoup_core.storage.calls import Call
from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import StoredEvent
from recoup_core.storage.merchants import ensure_merchants
from recoup_core.storage.webhook_deliveries import list_deliveries, list_tries
from recoup_core.storage.webhooks import find_endpoint
from recoup_core.telemetry import Metrics
from recoup_core.web.urls import UrlRefused
from recoup_core.wiring import Service

ONLY = (Follower("webhooks", spread),)


class Hooks:
    """A shop whose events are sent to a receiver on this machine."""

    def __init__(self, shop: Shop, receiver: Receiver) -> None:
        self.shop, self.receiver = shop, receiver
        self.context, self.clock = shop.context, shop.clock

    async def endpoint(self, path: str = "/", **fields: Any) -> WebhookEndpoint:
        edit = EndpointEdit(url=f"http://127.0.0.1:{self.receiver.port}{path}", **fields)
        return await create_endpoint(self.context, self.shop.by(), edit)

    async def happen(self, *kinds: EventKind, merchant: str = "default") -> None:
        """Commit one event of each kind, in this order, and let them be spread."""
        for kind in kinds:
            changes = Changes()
            changes.add(Event(at=self.clock.now(), merchant_id=merchant, kind=kind, actor="system", data={"n": 1}))
            async with self.context.database.transaction() as connection:
                await changes.write(connection)
        await self.spread()

    async def spread(self) -> None:
        for _ in range(200):
            await follow(self.context, self.clock.now(), ONLY)
            [row] = await self.shop.rows(
                "SELECT NOT EXISTS (SELECT FROM event e WHERE (e.txid, e.id) >"
                " (SELECT r.txid, r.event_id FROM event_reader r WHERE r.name = 'webhooks')) AS done"
            )
            if row["done"]:
                return
        raise AssertionError("the events are never spread")

    async def deliveries(self, endpoint: WebhookEndpoint, **filters: Any) -> list[WebhookDelivery]:
        found = await list_deliveries(
            self.context.database, endpoint.merchant_id, {"endpoint": endpoint.id, **filters}, None, 200
        )
        return list(reversed(found))

    async def now(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        found = await find_endpoint(self.context.database, endpoint.merchant_id, endpoint.id)
        assert found is not None
        return found

    def secret(self, endpoint: WebhookEndpoint) -> str:
        return secret_of(endpoint, self.context.messaging.keys)

    async def tasks(self) -> list[Any]:
        return await self.shop.rows(
            "SELECT * FROM human_task WHERE kind = 'webhook_endpoint_disabled' AND resolved_at IS NULL"
        )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def hooks(database_url: str, clock: Any, shipped_book: PolicyBook, receiver: Receiver) -> AsyncIterator[Hooks]:
    """In development this machine may be sent to. Receivers refuse messages of other times: it is the present."""
    clock.set(datetime.now(UTC))
    settings = Settings(environment="development")
    service = await Service(settings, Database(database_url), {}, shipped_book, Metrics(), clock).open()
    gateway: Any = None
    hooks = Hooks(Shop(service, gateway, clock), receiver)
    await hooks.spread()
    yield hooks
    await service.close()


# --- what is sent


async def test_receivers_verify_what_they_get_with_the_specifications_library(hooks: Hooks) -> None:
    """Standard Webhooks: id, timestamp, signature over the very bytes; the envelope says what happened to what."""
    endpoint = await hooks.endpoint(kinds=["case.opened"])
    await hooks.happen(EventKind.CASE_OPENED)

    await hooks.shop.run_due()

    [got] = hooks.receiver.got
    told = Webhook(hooks.secret(endpoint)).verify(got.body, dict(got.headers))
    assert (told["type"], told["data"]["merchant_id"], told["data"]["data"]) == ("case.opened", "default", {"n": 1})
    assert datetime.fromisoformat(told["timestamp"]) == hooks.clock.now()
    with pytest.raises(WebhookVerificationError):
        Webhook(hooks.secret(endpoint)).verify(got.body.replace(b"opened", b"closed"), dict(got.headers))


async def test_each_endpoint_gets_what_it_wants_of_its_own_merchant(hooks: Hooks) -> None:
    """Exact kinds, groups, or everything; nothing of another merchant, nothing from before it was there."""
    await hooks.happen(EventKind.REFUND_SUCCEEDED)
    hooks.clock.advance(timedelta(seconds=1))
    await hooks.endpoint("/exact", kinds=["case.opened"])
    await hooks.endpoint("/group", kinds=["refund.*", "case.paused"])
    hooks.clock.advance(timedelta(seconds=1))
    await hooks.endpoint("/all")
    await ensure_merchants(hooks.context.database, {"other"}, None, hooks.clock.now())
    await hooks.happen(EventKind.CASE_OPENED, merchant="other")

    await hooks.happen(EventKind.CASE_OPENED, EventKind.REFUND_SUCCEEDED)
    await hooks.shop.run_due()

    def at(path: str) -> set[str]:
        return {each.type for each in hooks.receiver.got if each.path == path}

    assert at("/exact") == {"case.opened"}
    assert at("/group") == {"refund.succeeded"}
    assert at("/all") == {"case.opened", "refund.succeeded", "webhook_endpoint.created"}
    assert len(hooks.receiver.got) == 5


async def test_a_rolled_secret_signs_beside_the_new_one_for_its_time(hooks: Hooks) -> None:
    """A receiver can take the new secret over without losing a message; rolled again, the oldest is over at once."""
    first = await hooks.endpoint(kinds=["case.*"])
    second = await roll_secret(hooks.context, first.id, hooks.shop.by(), 2)

    async def good() -> list[bool]:
        hooks.receiver.got.clear()
        await hooks.happen(EventKind.CASE_OPENED)
        await hooks.shop.run_due()
        [got] = hooks.receiver.got
        return [verifies(hooks.secret(each), got) for each in (first, second, latest)]

    latest = second
    assert await good() == [True, True, True]
    latest = await roll_secret(hooks.context, first.id, hooks.shop.by(), 2)
    assert await good() == [False, True, True]
    hooks.clock.advance(timedelta(hours=2))
    assert await good() == [False, False, True]
    assert len({hooks.secret(each) for each in (first, second, latest)}) == 3


def verifies(secret: str, got: Got) -> bool:
    """Whether a signature is good, whatever the time is."""
    moment = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(got.id, moment, got.body.decode()) in got.headers["webhook-signature"].split()


async def test_spread_again_nothing_is_added_and_many_events_cost_few_statements(hooks: Hooks) -> None:
    """A thousand events to five endpoints: three statements, one job an endpoint; a second time changes nothing."""
    for number in range(5):
        await hooks.endpoint(f"/{number}", kinds=["case.*"])
    changes = Changes()
    for _ in range(1000):
        changes.add(Event(at=hooks.clock.now(), merchant_id="default", kind=EventKind.CASE_OPENED, actor="system"))
    async with hooks.context.database.transaction() as connection:
        await changes.write(connection)
    rows = await hooks.shop.rows("SELECT to_jsonb(e)::text AS body FROM event e WHERE kind = 'case.opened'")
    events = [msgspec.json.decode(row["body"], type=StoredEvent) for row in rows]
    statements: list[str] = []

    for _ in range(2):
        async with hooks.context.database.transaction() as connection:
            with connection.query_logger(lambda query: statements.append(query.query)):
                await spread(hooks.context, connection, Changes(), events, hooks.clock.now())

    [count] = await hooks.shop.rows("SELECT count(*) AS deliveries FROM webhook_delivery")
    [jobs] = await hooks.shop.rows("SELECT count(*) AS jobs FROM job WHERE kind = 'webhook'")
    assert (count["deliveries"], jobs["jobs"]) == (5000, 5)
    assert len(statements) < 12  # each may be counted twice: as it is prepared, and as it runs


# --- what comes back


async def test_an_endpoint_that_is_down_for_a_day_costs_eleven_tries_of_one_message(hooks: Hooks) -> None:
    """Backoff over a day with the same id and the same bytes, then it failed; each try stands in the log."""
    endpoint = await hooks.endpoint(kinds=["case.opened"])
    hooks.receiver.answer(500)
    began = hooks.clock.now()
    await hooks.happen(EventKind.CASE_OPENED)

    await hooks.shop.live()

    [delivery] = await hooks.deliveries(endpoint)
    tries = await list_tries(hooks.context.database, delivery.id)
    assert (delivery.state, delivery.tries, delivery.because) == (
        DeliveryState.FAILED,
        11,
        "the endpoint answered 500",
    )
    assert timedelta(hours=22) < hooks.clock.now() - began < timedelta(hours=29)
    assert {(got.id, got.body) for got in hooks.receiver.got} == {(delivery.message_id, hooks.receiver.got[0].body)}
    assert len({got.headers["webhook-timestamp"] for got in hooks.receiver.got}) == 11
    assert [(each.status, each.response) for each in tries] == [(500, "thanks")] * 11


async def test_after_two_hours_away_everything_arrives_once_and_at_once(hooks: Hooks) -> None:
    """While nothing gets through, one message at a time is tried; the first success lets all others go."""
    endpoint = await hooks.endpoint(kinds=["case.opened"])
    hooks.receiver.answer(503)
    for _ in range(3):
        await hooks.happen(*[EventKind.CASE_OPENED] * 10)
        await hooks.shop.live(timedelta(minutes=40))
        hooks.clock.advance(timedelta(minutes=1))
    while_down = len(hooks.receiver.got)
    hooks.receiver.answer(200)
    hooks.receiver.got.clear()

    await hooks.shop.live(timedelta(minutes=31))

    delivered = await hooks.deliveries(endpoint, state=DeliveryState.DELIVERED)
    assert len(delivered) == 30
    assert sorted(got.id for got in hooks.receiver.got) == sorted(each.message_id for each in delivered)
    assert while_down < 20 + 30 * 6
    assert (await hooks.now(endpoint)).failing_since is None


async def test_gone_switches_an_endpoint_off_and_asks_a_person(hooks: Hooks) -> None:
    """410 is the receiver's word that it is over: at once, with what waits dropped, told and put before somebody."""
    endpoint = await hooks.endpoint(kinds=["case.*"], ordered=True)
    hooks.receiver.answer(410)
    await hooks.happen(EventKind.CASE_OPENED, EventKind.CASE_PAUSED)

    await hooks.shop.run_due()

    after = await hooks.now(endpoint)
    assert (after.state, after.disabled_because) == (EndpointState.DISABLED, "it answered 410 Gone")
    assert [each.state for each in await hooks.deliveries(endpoint)] == [DeliveryState.DROPPED] * 2
    assert len(await hooks.tasks()) == 1
    [event] = await hooks.shop.rows("SELECT data FROM event WHERE kind = 'webhook_endpoint.disabled'")
    assert msgspec.json.decode(event["data"])["host"] == "127.0.0.1"

    await enable_endpoint(hooks.context, endpoint.id, hooks.shop.by())
    assert await hooks.tasks() == []


async def test_what_was_missed_is_replayed_and_what_arrived_is_not(hooks: Hooks) -> None:
    """Dropped, failed, and what happened while the endpoint was off; in the order in which it happened."""
    endpoint = await hooks.endpoint(kinds=["case.*"], ordered=True)
    began = hooks.clock.now()
    await hooks.happen(EventKind.CASE_OPENED)
    await hooks.shop.run_due()
    await disable_endpoint(hooks.context, endpoint.id, hooks.shop.by(), "moving house")
    await hooks.happen(EventKind.CASE_PAUSED, EventKind.REFUND_SUCCEEDED, EventKind.CASE_RESUMED)
    await hooks.shop.run_due()
    await enable_endpoint(hooks.context, endpoint.id, hooks.shop.by())

    done = await replay(hooks.context, endpoint.id, hooks.shop.by(), Span(since=began))
    again = await replay(hooks.context, endpoint.id, hooks.shop.by(), Span(since=began))
    await hooks.shop.run_due()

    assert (done.replayed, done.after, again.replayed) == (2, None, 0)
    assert hooks.receiver.types == ["case.opened", "case.paused", "case.resumed"]
    everything = await replay(hooks.context, endpoint.id, hooks.shop.by(), Span(since=began, delivered=True))
    await hooks.shop.run_due()
    assert everything.replayed == 3
    assert [got.id for got in hooks.receiver.got[3:]] == [got.id for got in hooks.receiver.got[:3]]
    span = Span(since=hooks.clock.now() - timedelta(days=31))
    with pytest.raises(EndpointInvalid):
        await replay(hooks.context, endpoint.id, hooks.shop.by(), span)


async def test_one_delivery_is_sent_again_under_its_id(hooks: Hooks) -> None:
    """Whatever became of it; the receiver can tell that it is a double."""
    endpoint = await hooks.endpoint(kinds=["case.*"])
    await hooks.happen(EventKind.CASE_OPENED)
    await hooks.shop.run_due()
    [delivery] = await hooks.deliveries(endpoint)

    again = await replay_delivery(hooks.context, endpoint.id, delivery.id, hooks.shop.by())
    await hooks.shop.run_due()

    assert (again.state, again.replayed) == (DeliveryState.WAITING, 1)
    assert [got.id for got in hooks.receiver.got] == [delivery.message_id] * 2
    assert (await hooks.deliveries(endpoint))[0].state is DeliveryState.DELIVERED


async def test_an_endpoint_that_nothing_reaches_for_days_is_switched_off(hooks: Hooks) -> None:
    """Three days in which everything failed; before that it is patient."""
    endpoint = await hooks.endpoint(kinds=["case.*"])
    hooks.receiver.answer(500)
    began = hooks.clock.now()
    for _ in range(6):
        await hooks.happen(EventKind.CASE_OPENED)
        await hooks.shop.live(timedelta(hours=20))
        after = await hooks.now(endpoint)
        if hooks.clock.now() - began < timedelta(days=3):
            assert after.state is EndpointState.ENABLED

    assert after.state is EndpointState.DISABLED
    assert "nothing has reached it since" in str(after.disabled_because)
    assert len(await hooks.tasks()) == 1


async def test_retry_after_is_kept_to_for_the_whole_endpoint(hooks: Hooks) -> None:
    """An endpoint that asks for a pause gets it, new events included; one that asks for a year gets an hour."""
    endpoint = await hooks.endpoint(kinds=["case.*"])
    hooks.receiver.answer(429, Retry_After="600")
    await hooks.happen(EventKind.CASE_OPENED)
    await hooks.shop.run_due()
    await hooks.happen(EventKind.CASE_PAUSED)
    await hooks.shop.run_due()
    assert len(hooks.receiver.got) == 1

    hooks.clock.advance(timedelta(seconds=599))
    assert await hooks.shop.run_due() == 0
    hooks.clock.advance(timedelta(seconds=1))
    hooks.receiver.answer(429, Retry_After="31536000")
    await hooks.shop.run_due()
    assert len(hooks.receiver.got) == 2
    paused = (await hooks.now(endpoint)).paused_until
    assert paused == hooks.clock.now() + timedelta(hours=1)


async def test_where_order_counts_one_that_fails_holds_the_others_up(hooks: Hooks) -> None:
    """One at a time, in the order of commits, over failures and all."""
    endpoint = await hooks.endpoint(kinds=["case.*"], ordered=True)
    kinds = [EventKind.CASE_OPENED, EventKind.CASE_PAUSED, EventKind.CASE_RESUMED, EventKind.CASE_RECOVERED]
    failing = iter([200, 500, 500, 200])
    hooks.receiver.reply = lambda _: Reply(next(failing, 200))
    await hooks.happen(*kinds)

    await hooks.shop.live(timedelta(hours=1))

    names = [str(kind) for kind in kinds]
    assert hooks.receiver.types == [names[0], names[1], names[1], names[1], names[2], names[3]]
    assert hooks.receiver.most_at_once == 1
    assert [each.tries for each in await hooks.deliveries(endpoint)] == [1, 3, 1, 1]


async def test_where_order_does_not_count_many_go_at_once(hooks: Hooks) -> None:
    """One that fails holds nobody up."""
    endpoint = await hooks.endpoint(kinds=["case.*"])
    hooks.receiver.reply = lambda got: Reply(500 if got.type == "case.paused" else 200, after_s=0.2)
    await hooks.happen(EventKind.CASE_PAUSED, *[EventKind.CASE_OPENED] * 30)

    await hooks.shop.run_due()

    assert len(await hooks.deliveries(endpoint, state=DeliveryState.DELIVERED)) == 30
    assert 10 <= hooks.receiver.most_at_once <= 20


# --- whatever is killed when


async def test_killed_between_sending_and_writing_it_down_the_same_message_goes_again(hooks: Hooks) -> None:
    """The receiver sees the same id twice; when the lease has ended, and not before."""
    endpoint = await hooks.endpoint(kinds=["case.*"])
    hooks.receiver.reply = lambda _: Reply(after_s=0.3)
    await hooks.happen(EventKind.CASE_OPENED)
    refs = await hooks.shop.claim()
    working = asyncio.create_task(hooks.shop.service.run_jobs(refs))
    await hooks.receiver.came.wait()
    working.cancel()
    await asyncio.wait([working])

    assert await hooks.shop.run_due() == 0
    hooks.clock.advance(LEASE)
    await hooks.shop.run_due()

    [delivery] = await hooks.deliveries(endpoint)
    assert [got.id for got in hooks.receiver.got] == [delivery.message_id] * 2
    assert hooks.receiver.got[0].body == hooks.receiver.got[1].body
    assert (delivery.state, delivery.tries) == (DeliveryState.DELIVERED, 1)


async def test_two_workers_are_never_at_one_endpoint(hooks: Hooks) -> None:
    """What happens while a worker sends is found by it before it lets go: no second one comes, and nothing is left."""
    endpoint = await hooks.endpoint(kinds=["case.*"], ordered=True)
    hooks.receiver.reply = lambda _: Reply(after_s=0.1)
    await hooks.happen(EventKind.CASE_OPENED)
    working = asyncio.create_task(hooks.shop.service.run_jobs(await hooks.shop.claim()))
    for _ in range(5):
        await hooks.happen(EventKind.CASE_PAUSED)
        assert await hooks.shop.claim() == []
    await working

    await hooks.shop.run_due()

    assert len(await hooks.deliveries(endpoint, state=DeliveryState.DELIVERED)) == 6
    assert (hooks.receiver.most_at_once, len(hooks.receiver.got)) == (1, 6)
    assert await hooks.shop.rows("SELECT FROM job WHERE kind = 'webhook'") == []


async def test_a_slow_endpoint_holds_up_nobody_but_itself(hooks: Hooks) -> None:
    """Endpoints that share a batch are sent to side by side."""
    slow, fast = await hooks.endpoint("/slow", kinds=["case.*"]), await hooks.endpoint("/fast", kinds=["case.*"])
    hooks.receiver.reply = lambda got: Reply(after_s=1.5 if got.path == "/slow" else 0)
    await hooks.happen(*[EventKind.CASE_OPENED] * 3)
    working = asyncio.create_task(hooks.shop.service.run_jobs(await hooks.shop.claim()))
    await asyncio.sleep(0.7)

    assert len(await hooks.deliveries(fast, state=DeliveryState.DELIVERED)) == 3
    assert await hooks.deliveries(slow, state=DeliveryState.DELIVERED) == []
    await working


async def test_a_lost_job_is_given_back_and_old_deliveries_are_forgotten(hooks: Hooks) -> None:
    """The sweep finds what nothing drives; what arrived stays a month, what did not a quarter of a year."""
    endpoint = await hooks.endpoint(kinds=["case.*"])
    await hooks.happen(EventKind.CASE_OPENED)
    await hooks.shop.rows("DELETE FROM job")
    hooks.clock.advance(timedelta(hours=1))
    await hooks.shop.service.sweep(hooks.clock.now())
    await hooks.shop.run_due()
    assert hooks.receiver.types == ["case.opened"]

    await hooks.happen(EventKind.CASE_PAUSED)
    await disable_endpoint(hooks.context, endpoint.id, hooks.shop.by(), "no more")
    await hooks.shop.run_due()
    left = []
    for kept in (DELIVERED_KEPT, OTHERS_KEPT - DELIVERED_KEPT):
        hooks.clock.advance(kept + timedelta(hours=1))
        await hooks.shop.service.sweep(hooks.clock.now())
        left.append([each.state for each in await hooks.deliveries(endpoint)])
    assert left == [[DeliveryState.DROPPED], []]
    assert await hooks.shop.rows("SELECT FROM webhook_try") == []


# --- endpoints


async def test_a_test_message_is_sent_at_once_also_to_one_that_is_off(hooks: Hooks) -> None:
    """Before it is switched on, one sees what comes back; nothing is written down."""
    endpoint = await hooks.endpoint()
    await disable_endpoint(hooks.context, endpoint.id, hooks.shop.by(), "not ready")
    hooks.receiver.answer(401)

    answer = await try_endpoint(hooks.context, endpoint.id, hooks.shop.by())

    [got] = hooks.receiver.got
    assert Webhook(hooks.secret(endpoint)).verify(got.body, dict(got.headers))["type"] == "webhook.test"
    assert (answer.status, answer.response) == (401, "thanks")
    assert await hooks.deliveries(endpoint) == []


async def test_a_changed_address_gets_what_waits(hooks: Hooks) -> None:
    """What the old one did is not held against the new one."""
    endpoint = await hooks.endpoint("/old", kinds=["case.*"])
    hooks.receiver.answer(500)
    await hooks.happen(EventKind.CASE_OPENED)
    await hooks.shop.run_due()
    hooks.receiver.answer(200)

    url = f"http://127.0.0.1:{hooks.receiver.port}/new"
    after = await change_endpoint(hooks.context, endpoint.id, hooks.shop.by(), EndpointEdit(url=url))
    await hooks.shop.live(timedelta(minutes=1))

    assert after.failing_since is None
    assert [got.path for got in hooks.receiver.got] == ["/old", "/new"]


async def test_a_deleted_endpoint_gets_nothing_more(hooks: Hooks) -> None:
    """What waits is dropped, and it is not found any more."""
    endpoint = await hooks.endpoint(kinds=["case.*"])
    await hooks.happen(EventKind.CASE_OPENED)
    await delete_endpoint(hooks.context, endpoint.id, hooks.shop.by())

    await hooks.shop.run_due()

    assert hooks.receiver.got == []
    assert [each.state for each in await hooks.deliveries(endpoint)] == [DeliveryState.DROPPED]
    with pytest.raises(NotFound):
        await enable_endpoint(hooks.context, endpoint.id, hooks.shop.by())


@pytest.mark.parametrize(
    ("edit", "refused", "told"),
    [
        ({"url": "https://169.254.169.254/"}, UrlRefused, "no public address"),
        ({"url": "https://a.example/4242424242424242"}, CardNumberRefused, "card number"),
        ({"kinds": ["refund.suceeded"]}, EndpointInvalid, "refund.succeeded?"),
        ({"kinds": ["case"]}, EndpointInvalid, "case"),
        ({"kinds": ["case.*"] * 101}, EndpointInvalid, "at most 100"),
        ({"description": "x" * 201}, EndpointInvalid, "200"),
    ],
)
async def test_what_can_not_be_is_refused_with_a_hint(
    hooks: Hooks, edit: dict[str, Any], refused: type[Exception], told: str
) -> None:
    """Kinds that never come are a typing error; addresses inside are none of a client's business."""
    with pytest.raises(refused, match=told.replace("?", r"\?")):
        await create_endpoint(hooks.context, hooks.shop.by(), EndpointEdit(**{"url": "https://a.example/", **edit}))


async def test_a_merchant_has_fifty_endpoints_at_most_however_many_ask_at_once(hooks: Hooks) -> None:
    """Each event may go to all of them."""
    for _ in range(ENDPOINTS_MAX - 2):
        await hooks.endpoint()

    done = await asyncio.gather(*(hooks.endpoint() for _ in range(5)), return_exceptions=True)

    assert sorted(type(each).__name__ for each in done) == ["TooManyEndpoints"] * 3 + ["WebhookEndpoint"] * 2


async def test_the_same_call_again_is_answered_and_does_nothing(hooks: Hooks) -> None:
    """By its idempotency key: no second endpoint, no second secret."""
    create = hooks.shop.by(call=Call("a", b"create"))
    edit = EndpointEdit(url="https://a.example/")
    first, again = [await create_endpoint(hooks.context, create, edit) for _ in range(2)]
    roll = hooks.shop.by(call=Call("b", b"roll"))
    rolled, unrolled = [await roll_secret(hooks.context, first.id, roll) for _ in range(2)]

    assert first == again
    assert rolled.generation == unrolled.generation == 2
