"""What gateways told, over HTTP: lists, bodies for those who may read them, a second chance, a reason not to."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from recoup_core.storage.feeds import begin_feeds, lock_feed, write_feed
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_server import examples
from recoup_server.app import PREFIX

SECRET = "the sandbox's webhook secret"


@pytest.fixture
def told(client: Any, clock: Any, api: Any) -> Any:
    """`await told(kind)` lets the sandbox tell of something; returns the stored event as the API lists it."""

    async def tell(kind: str = "charge.unheard_of") -> dict[str, Any]:
        event = {"id": str(uuid4()), "type": kind, "created": "2026-11-23T08:59:00Z", "data": {"note": "hello"}}
        body = msgspec.json.encode(event)
        headers = dict(sign(SECRET, event["id"], clock.now(), body))
        assert (await client.post(f"{PREFIX}/webhooks/sandbox", content=body, headers=headers)).status_code == 200
        newest: dict[str, Any] = (await api.get("/inbound-events", limit=1)).json()["items"][0]
        return newest

    return tell


async def kill(service: Service, inbound_id: str) -> None:
    """Let an event be dead."""
    async with service.database.connection() as connection:
        await connection.execute(
            "UPDATE inbound_event SET state = 'dead', applied_at = received_at, tries = 8, last_error = 'TypeError: x'"
            " WHERE id = $1::text::uuid",
            inbound_id,
        )


async def test_events_are_listed_newest_first_page_by_page(api: Any, told: Any) -> None:
    """Without what they say; filters narrow the list."""
    first, second = await told("one.kind"), await told("another.kind")

    page = (await api.get("/inbound-events", limit=1)).json()
    following = (await api.get("/inbound-events", limit=1, cursor=page["next_cursor"])).json()
    narrowed = (await api.get("/inbound-events", kind="one.kind", gateway="sandbox", state="received")).json()
    nothing = (await api.get("/inbound-events", state="dead")).json()

    assert [item["id"] for item in (*page["items"], *following["items"])] == [second["id"], first["id"]]
    assert [item["id"] for item in narrowed["items"]] == [first["id"]]
    assert nothing["items"] == []
    assert (first["state"], first["via"], first["closed_at"], first["tries"]) == ("received", "webhook", None, 0)
    assert "body" not in first


async def test_what_it_says_is_for_those_who_work_on_cases(api: Any, told: Any, make_key: Any) -> None:
    """An event may tell of a customer: a viewer sees that it came, an agent what it said."""
    event = await told()

    api.secret = await make_key("viewer")
    refused = await api.get(f"/inbound-events/{event['id']}")
    listed = await api.get("/inbound-events")
    api.secret = await make_key("agent")
    read = await api.get(f"/inbound-events/{event['id']}")

    assert refused.status_code == 403
    assert "hello" not in listed.text
    assert read.json()["body"]["payload"]["data"] == {"note": "hello"}


async def test_a_dead_event_is_handed_in_again(api: Any, told: Any, service: Service) -> None:
    """It waits to be applied, with all its tries; the same call again changes nothing."""
    event = await told()
    await kill(service, event["id"])

    first = await api.post(f"/inbound-events/{event['id']}/apply", key="again-1")
    same = await api.post(f"/inbound-events/{event['id']}/apply", key="again-1")
    other = await api.post(f"/inbound-events/{event['id']}/apply")

    assert (first.status_code, first.json()["state"], first.json()["tries"]) == (200, "received", 0)
    assert (same.json(), same.headers["idempotent-replayed"]) == (first.json(), "true")
    assert (other.status_code, other.json()["code"]) == (409, "illegal_transition")
    kinds = [each["kind"] for each in (await api.get("/events")).json()["items"]]
    assert kinds.count("inbound_event.retried") == 1


async def test_an_event_is_dismissed_with_a_reason(api: Any, told: Any, service: Service) -> None:
    """And can still be handed in, should that have been an error."""
    event = await told()
    await kill(service, event["id"])

    without = await api.post(f"/inbound-events/{event['id']}/dismiss", {})
    done = await api.post(f"/inbound-events/{event['id']}/dismiss", examples.DISMISS_EVENT)
    again = await api.post(f"/inbound-events/{event['id']}/apply")

    assert (without.status_code, without.json()["field"]) == (400, "reason")
    assert (done.json()["state"], done.json()["note"]) == ("dismissed", examples.DISMISS_EVENT["reason"])
    assert again.json()["state"] == "received"


async def test_what_is_not_there_is_not_found(api: Any) -> None:
    """On each of the three."""
    missing = f"/inbound-events/{uuid4()}"

    answers = [
        await api.get(missing),
        await api.post(f"{missing}/apply"),
        await api.post(f"{missing}/dismiss", examples.DISMISS_EVENT),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "not_found")}


async def test_the_lag_of_a_gateway_is_shown(api: Any, service: Service, clock: Any) -> None:
    """How far it was caught up with, and what is in the way."""
    assert (await api.get("/gateways")).json()["items"][0]["catches_up"] is None
    async with service.database.transaction() as connection:
        await connection.execute("DELETE FROM gateway_feed")
        (feed_id,) = await begin_feeds(connection, ["sandbox"], clock.now())
        feed = await lock_feed(connection, feed_id)
        assert feed is not None
        await write_feed(connection, msgspec.structs.replace(feed, failures=1, trouble="TimeoutError: no answer"))
    clock.advance(timedelta(seconds=90))

    (item,) = (await api.get("/gateways")).json()["items"]

    assert (item["catches_up"]["lag_s"], item["catches_up"]["trouble"]) == (90, "TimeoutError: no answer")
