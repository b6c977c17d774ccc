"""Outbound webhooks over HTTP: an endpoint's life, its secret, its log."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from tests.core.flows.receiver import Receiver, receiving

from recoup_core.flows.webhooks_out.sending import WEBHOOK, run_webhooks
from recoup_core.storage.changes import JobRef
from recoup_server.examples_webhooks import ENDPOINT

LEASE = timedelta(seconds=120)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def send(api: Any, endpoint_id: str) -> None:
    """Run the one job of an endpoint; other tests share the database and have theirs."""
    async with api.service.database.connection() as connection:
        row = await connection.fetchrow(
            "UPDATE job SET claim = nextval('job_claim'), visible_at = visible_at + $3::interval"
            " WHERE kind = $1 AND subject_id = $2::text::uuid RETURNING id, kind, subject_id, claim",
            WEBHOOK,
            endpoint_id,
            LEASE,
        )
    await run_webhooks(api.service.context, [JobRef(row["id"], row["kind"], row["subject_id"], row["claim"])])


async def test_from_the_endpoint_to_the_log(api: Any, clock: Any, receiver: Receiver) -> None:
    """Made, tested, fed with what happened, read in the log, sent again; the secret is shown and never listed."""
    clock.set(datetime.now(UTC))
    url = f"http://127.0.0.1:{receiver.port}/hook"
    made = await api.post("/webhook-endpoints", ENDPOINT | {"url": url, "kinds": ["webhook_endpoint.*"]})
    endpoint, secret = made.json()["endpoint"], made.json()["secret"]
    path = f"/webhook-endpoints/{endpoint['id']}"

    tested = (await api.post(f"{path}/test")).json()
    since = (clock.now() - timedelta(minutes=1)).isoformat()
    replayed = (await api.post(f"{path}/replay", {"since": since})).json()
    await send(api, endpoint["id"])
    [delivery] = (await api.get(f"{path}/deliveries", state="delivered")).json()["items"]
    detail = (await api.get(f"{path}/deliveries/{delivery['id']}")).json()
    again = (await api.post(f"{path}/deliveries/{delivery['id']}/replay")).json()

    assert made.status_code == 201
    assert (tested["status"], replayed) == (200, {"replayed": 1, "after": None})
    told = [Webhook(secret).verify(got.body, dict(got.headers))["type"] for got in receiver.got]
    assert told == ["webhook.test", "webhook_endpoint.created"]
    assert receiver.got[1].id == delivery["message_id"]
    assert [(each["status"], each["response"]) for each in detail["log"]] == [(200, "thanks")]
    assert (again["state"], again["replayed"]) == ("waiting", 1)
    shown = (await api.get(f"{path}/secret")).json()
    assert shown["secret"] == secret
    assert secret not in (await api.get("/webhook-endpoints")).text + (await api.get(path)).text


async def test_a_secret_is_stored_nowhere(api: Any) -> None:
    """Neither in the database nor in the kept answer of the call that made it; the same call shows it again."""
    first, again = [await api.post("/webhook-endpoints", ENDPOINT, key="one") for _ in range(2)]
    secret = first.json()["secret"].removeprefix("whsec_")

    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    async with api.service.database.connection() as connection:
        for table in ("webhook_endpoint", "event", "idempotent_call"):
            rows = await connection.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t")
            assert not any(secret in row["row"] for row in rows), table


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"url": "https://10.0.0.1/"}, 422, "url_refused"),
        ({"url": "https://user:secret@example.com/"}, 422, "url_refused"),
        ({"url": "https://example.com/", "kinds": ["refund.suceeded"]}, 422, "endpoint_invalid"),
        ({"url": "https://example.com/", "color": "red"}, 400, "invalid_request"),
        ({}, 400, "invalid_request"),
    ],
)
async def test_what_can_not_be_is_refused(api: Any, body: Any, status: int, code: str) -> None:
    """With the field at fault; nothing of a URL's secrets is repeated."""
    refused = await api.post("/webhook-endpoints", body)

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert "secret" not in refused.text


async def test_an_endpoint_is_changed_rolled_switched_and_deleted(api: Any) -> None:
    """Each change is what the answer says, and a second switch off is refused as such."""
    endpoint = (await api.post("/webhook-endpoints", ENDPOINT)).json()
    path = f"/webhook-endpoints/{endpoint['endpoint']['id']}"

    changed = (await api.patch(path, {"ordered": True})).json()
    rolled = (await api.post(f"{path}/secret/roll", {"hours": 0})).json()
    off = await api.post(f"{path}/disable", {"because": "moving"})
    twice = await api.post(f"{path}/disable", {"because": "moving"})
    refused = await api.post(f"{path}/replay", {"since": endpoint["endpoint"]["created_at"]})
    on = (await api.post(f"{path}/enable")).json()
    gone = await api.delete(path)

    assert (changed["ordered"], changed["url"], changed["kinds"]) == (True, ENDPOINT["url"], ENDPOINT["kinds"])
    assert rolled["secret"] != endpoint["secret"]
    assert (off.json()["state"], off.json()["disabled_because"], twice.status_code) == ("disabled", "moving", 409)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_allowed_now")
    assert (on["state"], on["disabled_because"]) == ("enabled", None)
    assert (gone.status_code, (await api.get(path)).status_code) == (200, 404)


async def test_the_document_describes_what_is_sent(client: Any) -> None:
    """OpenAPI 3.1 has a place for webhooks; its shape is the one that is sent."""
    document = (await client.get("/schema/openapi.json")).json()

    sent = document["webhooks"]["event"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert set(document["components"]["schemas"][sent.rpartition("/")[2]]["properties"]) == {
        "type",
        "timestamp",
        "data",
    }
