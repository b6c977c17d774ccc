"""Webhooks of gateways at the door: stored before they are answered, answered as each gateway wants, in its time."""

import asyncio
import base64
import contextvars
import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import stripe
from httpx import ASGITransport, AsyncClient
from litestar import Litestar

from recoup_core.flows import intake
from recoup_core.flows.inbound_reading import PARSE_TIMEOUT_S
from recoup_core.ports import GatewayEvent, WebhookAnswer, WebhookRefused
from recoup_core.wiring import Service
from recoup_plugins import GatewaySettings
from recoup_plugins.gateways.adyen import make_adyen
from recoup_plugins.gateways.sandbox import make_sandbox
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_plugins.gateways.stripe import make_stripe
from recoup_server.app import PREFIX, create_app

HOOK = f"{PREFIX}/webhooks/sandbox"
SECRET = "the sandbox's webhook secret"
PROVIDERS_WAIT_S = 10.0
"""docs.adyen.com/development-resources/webhooks; Stripe and GoCardless wait at least as long."""


def an_event(event_id: str) -> bytes:
    return msgspec.json.encode({"id": event_id, "type": "k", "created": "2026-11-23T08:59:00Z", "data": {}})


@pytest.fixture
def hook(client: AsyncClient, clock: Any) -> Any:
    """`await hook(body)` posts a signed webhook of the sandbox."""

    async def post(body: bytes, secret: str = SECRET) -> Any:
        headers = dict(sign(secret, "msg", clock.now(), body))
        return await client.post(HOOK, content=body, headers=headers)

    return post


async def stored(service: Service, *external_ids: str) -> int:
    async with service.database.connection() as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM inbound_event WHERE external_id = ANY($1::text[])", list(external_ids)
        )
    return found


def wants(gateways: dict[str, Any], **answer: Any) -> None:
    """Let the sandbox want another answer."""
    sandbox = gateways["sandbox"]
    sandbox.capabilities = msgspec.structs.replace(sandbox.capabilities, webhook_answer=WebhookAnswer(**answer))


@pytest.mark.parametrize(
    ("answer", "content_type"),
    [
        ({"content_type": "text/plain", "body": "[accepted]"}, "text/plain"),
        ({"status": 204, "body": ""}, None),
        ({"status": 202}, "application/json"),
    ],
)
async def test_each_gateway_hears_what_it_wants(
    hook: Any, gateways: dict[str, Any], answer: dict[str, Any], content_type: str | None
) -> None:
    """Status, type and body; without a body of its own, how many events were new."""
    wants(gateways, **answer)
    event_id = str(uuid4())

    heard = await hook(an_event(event_id))

    assert heard.status_code == answer.get("status", 200)
    assert heard.text == answer.get("body", '{"new_events":1}')
    if content_type is not None:
        assert heard.headers["content-type"].startswith(content_type)


async def test_a_wrong_signature_gets_the_status_that_its_gateway_wants(hook: Any, gateways: dict[str, Any]) -> None:
    """Still our problem as its body."""
    wants(gateways, refused_status=498)

    heard = await hook(an_event("evt"), "another secret")

    assert heard.status_code == 498
    assert (heard.json()["code"], heard.json()["status"]) == ("webhook_refused", 498)
    assert heard.headers["content-type"] == "application/problem+json"


class Odd:
    """Reads webhooks as a test says, in place of the sandbox."""

    def __init__(self, gateway: Any, act: Any) -> None:
        self.name, self.capabilities, self._act = gateway.name, gateway.capabilities, act

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Any:
        return self._act()


def raises(failure: BaseException) -> Any:
    def act() -> Any:
        raise failure

    return act


@pytest.mark.parametrize("failure", [ValueError("sk_live_4711"), SystemExit(1), RecursionError()])
async def test_a_plugin_that_fails_is_named_and_the_gateway_sends_again(
    client: AsyncClient, gateways: dict[str, Any], failure: BaseException
) -> None:
    """503 with the gateway's name, and none of the plugin's words."""
    gateways["sandbox"] = Odd(gateways["sandbox"], raises(failure))

    heard = await client.post(HOOK, content=b"{}")

    assert (heard.status_code, heard.json()["code"]) == (503, "webhook_unread")
    assert "'sandbox'" in heard.json()["detail"]
    assert "sk_live" not in heard.text
    assert heard.headers["retry-after"]


async def test_all_of_a_webhook_is_stored_or_nothing(
    client: AsyncClient, gateways: dict[str, Any], service: Service
) -> None:
    """Three events of which one is none: not two."""
    ids = [str(uuid4()) for _ in range(3)]

    def told(external_id: Any) -> GatewayEvent:
        return GatewayEvent(external_id=external_id, kind="k", occurred_at=service.clock.now(), payload={})

    gateways["sandbox"] = Odd(gateways["sandbox"], lambda: [told(ids[0]), told(7), told(ids[2])])
    spoilt = await client.post(HOOK, content=b"{}")
    gateways["sandbox"] = Odd(gateways["sandbox"], lambda: [told(each) for each in [*ids, ids[0]]])
    sound = await client.post(HOOK, content=b"{}")

    assert (spoilt.status_code, spoilt.json()["code"]) == (503, "webhook_unread")
    assert (sound.status_code, sound.json()) == (200, {"new_events": 3})
    assert await stored(service, *ids) == 3


async def test_a_database_that_is_away_answers_in_time(make_service: Any, clock: Any) -> None:
    """503, so that the gateway sends again; never longer than a gateway waits."""
    service: Service = make_service("postgresql://nobody@127.0.0.1:1/nothing")
    transport = ASGITransport(create_app(service), raise_app_exceptions=False)
    body = an_event("evt")
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        heard = await client.post(HOOK, content=body, headers=dict(sign(SECRET, "evt", clock.now(), body)))

    assert heard.status_code == 503
    assert heard.json()["code"] == "database_unavailable"


async def test_a_database_that_does_not_answer_is_waited_for_within_the_gateways_patience(
    hook: Any, service: Service
) -> None:
    """A lock that never goes away: 503, and the webhook is taken when it comes again."""
    event_id = str(uuid4())
    async with service.database.transaction() as other:
        await other.execute("LOCK TABLE inbound_event IN EXCLUSIVE MODE")
        # the app runs on this task's loop: a task of its own, or it would join this transaction
        heard = await asyncio.create_task(hook(an_event(event_id)), context=contextvars.Context())
    again = await hook(an_event(event_id))

    assert (heard.status_code, heard.json()["code"]) == (503, "webhook_not_stored")
    assert heard.headers["retry-after"]
    assert (again.status_code, again.json()) == (200, {"new_events": 1})


def test_reading_and_storing_fit_into_the_gateways_patience() -> None:
    """Together they leave room for the network."""
    assert PARSE_TIMEOUT_S + intake.STORE_TIMEOUT_S < PROVIDERS_WAIT_S


async def test_no_address_is_trusted(app: Litestar, clock: Any) -> None:
    """Wherever it comes from: only the signature counts."""
    body = an_event(str(uuid4()))
    for address in ("127.0.0.1", "203.0.113.7"):
        transport = ASGITransport(app, client=(address, 1))
        async with AsyncClient(transport=transport, base_url="http://testserver") as client:
            forged = await client.post(HOOK, content=body, headers={"X-Forwarded-For": "127.0.0.1"})
            signed = await client.post(HOOK, content=body, headers=dict(sign(SECRET, "m", clock.now(), body)))
        assert (forged.status_code, signed.status_code) == (400, 200)


class Signed(msgspec.Struct):
    """A built-in gateway with two secrets, and how its provider signs."""

    gateway: Any
    secrets: tuple[str, str]
    wrong: str

    def headers(self, secret: str, at: Any, body: bytes) -> Mapping[str, str]:
        raise NotImplementedError

    def body(self, secret: str, at: Any) -> bytes:
        return msgspec.json.encode({"id": "evt_1", "type": "k", "created": "2026-11-23T08:59:00Z", "data": {}})


class OfSandbox(Signed):
    def headers(self, secret: str, at: Any, body: bytes) -> Mapping[str, str]:
        return sign(secret, "m", at, body)


class OfStripe(Signed):
    def headers(self, secret: str, at: Any, body: bytes) -> Mapping[str, str]:
        signed = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=int(at.timestamp()))
        return {"stripe-signature": signed}

    def body(self, secret: str, at: Any) -> bytes:
        data = {"object": {"id": "cus_1", "object": "customer"}}
        return msgspec.json.encode(
            {"id": "evt_1", "object": "event", "type": "customer.created", "created": int(at.timestamp()), "data": data}
        )


class OfAdyen(Signed):
    def headers(self, secret: str, at: Any, body: bytes) -> Mapping[str, str]:
        return {"content-type": "application/json"}

    def body(self, secret: str, at: Any) -> bytes:
        item = {
            "pspReference": "7914073381342284",
            "merchantAccountCode": "Merchant",
            "merchantReference": "elsewhere",
            "amount": {"value": 1130, "currency": "EUR"},
            "eventCode": "OFFER_CLOSED",
            "eventDate": "2026-11-23T09:00:00+01:00",
            "success": "true",
        }
        text = "7914073381342284::Merchant:elsewhere:1130:EUR:OFFER_CLOSED:true"
        digest = hmac.new(bytes.fromhex(secret), text.encode(), hashlib.sha256).digest()
        item["additionalData"] = {"hmacSignature": base64.b64encode(digest).decode()}
        return msgspec.json.encode({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})


def built_in(kind: str, clock: Any) -> Signed:
    """A gateway of this kind that knows an old and a new secret."""
    if kind == "sandbox":
        pair = ("old secret", "new secret")
        options: dict[str, Any] = {"webhook_secrets": pair, "clock": clock}
        return OfSandbox(make_sandbox(GatewaySettings(name="g", plugin=kind, options=options)), pair, "no secret")
    if kind == "stripe":
        pair = ("whsec_old", "whsec_new")
        options = {"api_key": "sk_test_1", "webhook_secrets": pair, "clock": clock}
        return OfStripe(make_stripe(GatewaySettings(name="g", plugin=kind, options=options)), pair, "whsec_other")
    pair = ("AA" * 32, "BB" * 32)
    options = {
        "api_key": "key",
        "merchant_account": "Merchant",
        "hmac_keys": pair,
        "return_url": "https://shop.example/",
    }
    return OfAdyen(make_adyen(GatewaySettings(name="g", plugin=kind, options=options)), pair, "CC" * 32)


KINDS = ("sandbox", "stripe", "adyen")


@pytest.mark.parametrize("kind", KINDS)
def test_two_secrets_are_good_while_one_is_rolled(kind: str, clock: Any) -> None:
    """The old and the new one alike; any other is refused."""
    signed, now = built_in(kind, clock), clock.now()

    for secret in signed.secrets:
        body = signed.body(secret, now)
        assert len(signed.gateway.parse_event(signed.headers(secret, now, body), body)) == 1
    body = signed.body(signed.wrong, now)
    with pytest.raises(WebhookRefused):
        signed.gateway.parse_event(signed.headers(signed.wrong, now, body), body)


@pytest.mark.parametrize("kind", ["sandbox", "stripe"])
@pytest.mark.parametrize("age", [timedelta(minutes=6), -timedelta(minutes=6)], ids=["old", "from the future"])
def test_a_replayed_webhook_is_refused(kind: str, age: timedelta, clock: Any) -> None:
    """Where the signature holds a time: five minutes, whichever way the clocks differ. Adyen's and GoCardless's hold
    none; their events are known by their ids for good."""
    signed, at = built_in(kind, clock), clock.now() - age
    body = signed.body(signed.secrets[0], at)

    with pytest.raises(WebhookRefused):
        signed.gateway.parse_event(signed.headers(signed.secrets[0], at, body), body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_body_is_refused_soon(kind: str, clock: Any) -> None:
    """Garbage, deep nesting, a megabyte: never anything but a refusal, and not after seconds."""
    signed, now = built_in(kind, clock), clock.now()
    started = time.process_time()

    for body in (b"", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"x" * 1024 * 1024, b"null", b'{"id": null}'):
        with pytest.raises(WebhookRefused):
            signed.gateway.parse_event(signed.headers(signed.wrong, now, b"other"), body)

    assert time.process_time() - started < PROVIDERS_WAIT_S
