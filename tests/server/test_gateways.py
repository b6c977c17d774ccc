"""Gateways and their webhooks."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from httpx import AsyncClient

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.ports import ReportedFailure
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox_script import ScriptedDecline
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_server.app import PREFIX
from recoup_server.routes import gateways as room
from recoup_server.routes.gateways import CHECK_KEPT

HOOK = f"{PREFIX}/webhooks/sandbox"
SECRET = "the sandbox's webhook secret"

Report = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def service_url(database_url: str) -> str:
    """These tests run jobs, so they have a database to themselves."""
    return database_url


async def test_gateways_tell_what_they_can_and_how_they_are(api: Any) -> None:
    """The merchant's own accounts only."""
    answer = await api.get("/gateways")

    (gateway,) = answer.json()["items"]
    assert (gateway["name"], gateway["health"], gateway["trouble"]) == ("sandbox", "ok", None)
    assert "card" in gateway["methods"]
    assert gateway["key_lifetime_s"] == 30 * 86_400
    assert {"refunds", "finds_refunds", "voids", "update_links"} <= set(gateway["can"])
    assert "retries_itself" not in gateway["can"]
    assert gateway["retries_by"] == "recoup"


class Unwell:
    """A gateway whose provider fails, hangs or recovers, as told; it counts how often it is asked."""

    def __init__(self, name: str, capabilities: Any) -> None:
        self.name, self.capabilities = name, capabilities
        self.trouble: Exception | None = ConnectionError("key sk_live_secret was refused")
        self.asked = 0

    async def health(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble


async def test_a_failing_gateway_is_told_without_its_words(api: Any, gateways: dict[str, Any], clock: Any) -> None:
    """The kind of error only; a result is kept for some seconds, and many who ask are one question."""
    unwell = gateways["sandbox"] = Unwell("sandbox", gateways["sandbox"].capabilities)

    answers = await asyncio.gather(*(api.get("/gateways") for _ in range(5)))
    assert unwell.asked == 1
    assert {answer.json()["items"][0]["trouble"] for answer in answers} == {"ConnectionError"}
    assert "sk_live" not in answers[0].text

    unwell.trouble = None
    assert (await api.get("/gateways")).json()["items"][0]["health"] == "failing"
    clock.advance(CHECK_KEPT)
    assert (await api.get("/gateways")).json()["items"][0]["health"] == "ok"


def test_a_check_has_a_limit() -> None:
    """The gateway contract's own: 5 seconds."""
    assert room.CHECK_TIMEOUT_S == 5


def an_event(event_id: str = "evt_one", kind: str = "charge.unheard_of") -> bytes:
    return msgspec.json.encode({"id": event_id, "type": kind, "created": "2026-11-23T08:59:00Z", "data": {}})


async def test_a_signed_webhook_is_stored_once(client: AsyncClient, service: Service, clock: Any) -> None:
    """No API key; the same event again is welcome and changes nothing."""
    body = an_event()
    headers = dict(sign(SECRET, "evt_one", clock.now(), body))

    first = await client.post(HOOK, content=body, headers=headers)
    again = await client.post(HOOK, content=body, headers=headers)

    assert (first.status_code, first.json()) == (200, {"new_events": 1})
    assert (again.status_code, again.json()) == (200, {"new_events": 0})
    async with service.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM inbound_event") == 1
        assert await connection.fetchval("SELECT count(*) FROM job WHERE kind = 'inbound'") == 1


@pytest.mark.parametrize("spoil", ["secret", "body", "age", "unsigned", "garbage"])
async def test_a_webhook_that_proves_nothing_is_refused(
    client: AsyncClient, service: Service, clock: Any, spoil: str
) -> None:
    """Forged, altered, stale, unsigned or unreadable: 400, and nothing is stored."""
    body = b"no event" if spoil == "garbage" else an_event()
    at = clock.now() - timedelta(hours=1) if spoil == "age" else clock.now()
    headers = dict(sign("another secret" if spoil == "secret" else SECRET, "evt_one", at, body))
    if spoil == "unsigned":
        headers = {}

    answer = await client.post(HOOK, content=body + b" " * (spoil == "body"), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "webhook_refused")
    async with service.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM inbound_event") == 0


async def test_a_webhook_of_no_gateway_is_not_found(client: AsyncClient) -> None:
    """A name nobody configured."""
    answer = await client.post(f"{PREFIX}/webhooks/nobody", content=b"{}")

    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_gateway")


async def test_a_webhook_about_a_failure_opens_a_case(
    api: Any, client: AsyncClient, gateways: dict[str, Any], run_due: Any, clock: Any
) -> None:
    """What the gateway saw fail is recovered without anybody reporting it."""
    failure = ReportedFailure(
        payment_reference="from-the-gateway",
        amount=Money(1200, "EUR"),
        method=Method.CARD,
        customer_ref="customer-1",
        token="tok_approve",
    )
    bank = gateways["sandbox"].bank
    bank.announce_failure(failure, ScriptedDecline("insufficient_funds"))
    clock.advance(timedelta(seconds=1))
    (delivery,) = bank.due_deliveries(10)

    headers = dict(sign(SECRET, delivery.event_id, clock.now(), delivery.body))
    answer = await client.post(HOOK, content=delivery.body, headers=headers)
    await run_due()

    assert answer.status_code == 200
    (opened,) = (await api.get("/payments", reference="from-the-gateway")).json()["items"]
    assert opened["case"]["state"] == "open"
    assert opened["next_step"]["state"] == "planned"
