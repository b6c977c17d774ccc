"""The sandbox's webhooks: written with the charge, delivered at least once, signed."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_plugins import (
    ChargeRequest,
    Declined,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    Network,
    Pending,
    ReportedFailure,
    Succeeded,
    WebhookRefused,
)
from recoup_plugins.gateways.sandbox import SandboxGateway, make_sandbox
from recoup_plugins.gateways.sandbox_script import ScriptedDecline
from recoup_plugins.gateways.sandbox_webhooks import DELIVERY_TRIES, SandboxPostman, sign

SECRET = "whsec_c2FuZGJveCBzZWNyZXQ="
URL = "http://recoup.example/webhooks/sandbox"

Build = Callable[..., ChargeRequest]


@pytest.fixture
def sandbox(standing_clock: Any) -> SandboxGateway:
    options = {"webhook_secrets": [SECRET], "clock": standing_clock}
    return make_sandbox(GatewaySettings(name="sandbox", plugin="sandbox", options=options))


class Receiver:
    """Stands where Recoup's webhook route will: verifies what arrives and answers what the test says."""

    def __init__(self, sandbox: SandboxGateway, clock: Any) -> None:
        self.events: list[GatewayEvent] = []
        self.statuses: list[int] = []
        self.first = asyncio.Event()
        self._sandbox = sandbox
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._receive))
        self.postman = SandboxPostman(sandbox.bank, URL, SECRET, client=client, clock=clock)

    def _receive(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.events += self._sandbox.parse_event(headers, request.content)
        self.first.set()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)


@pytest.fixture
def receiver(sandbox: SandboxGateway, standing_clock: Any) -> Receiver:
    return Receiver(sandbox, standing_clock)


async def test_every_charge_is_told(sandbox: SandboxGateway, receiver: Receiver, a_request: Build) -> None:
    """Success and decline alike, with our attempt and the same reference as the direct answer."""
    paid, declined = a_request(), a_request("tok_decline:insufficient_funds:51")
    answers = [await sandbox.charge(paid), await sandbox.charge(declined)]

    assert await receiver.postman.deliver_due() == 2

    told = {event.attempt_id: event.outcome for event in receiver.events}
    assert told == {paid.attempt_id: answers[0], declined.attempt_id: answers[1]}


async def test_pending_is_told_first_and_the_result_later(
    sandbox: SandboxGateway, receiver: Receiver, a_request: Build, standing_clock: Any
) -> None:
    """The result's webhook comes when it stands, and later still when asked so."""
    await sandbox.charge(a_request("tok_pending:1h+late_webhook:1h"))

    for _ in range(4):
        await receiver.postman.deliver_due()
        standing_clock.forward(minutes=45)

    assert [type(event.outcome) for event in receiver.events] == [Pending, Succeeded]


async def test_a_shuffled_result_overtakes_its_pending(
    sandbox: SandboxGateway, receiver: Receiver, a_request: Build, standing_clock: Any
) -> None:
    """Gateways promise no order."""
    for _ in range(5):
        await sandbox.charge(a_request("tok_pending:1s+shuffled_webhooks"))
    for _ in range(60):
        standing_clock.forward(seconds=0.2)
        await receiver.postman.deliver_due()

    for attempt_id in {event.attempt_id for event in receiver.events}:
        kinds = [event.kind for event in receiver.events if event.attempt_id == attempt_id]
        assert kinds == ["charge.succeeded", "charge.pending"]


async def test_a_duplicate_is_the_same_event_twice(
    sandbox: SandboxGateway, receiver: Receiver, a_request: Build
) -> None:
    """At least once means sometimes twice."""
    await sandbox.charge(a_request("tok_duplicate_webhook"))

    await receiver.postman.deliver_due()

    assert len(receiver.events) == 2
    assert len({event.external_id for event in receiver.events}) == 1


async def test_a_refused_delivery_is_tried_again_and_given_up_at_last(
    sandbox: SandboxGateway, receiver: Receiver, a_request: Build, standing_clock: Any
) -> None:
    """With growing pauses, and an end."""
    await sandbox.charge(a_request())
    receiver.statuses = [500, 0] * DELIVERY_TRIES

    assert await receiver.postman.deliver_due() == 0
    assert await receiver.postman.deliver_due() == 0
    assert len(receiver.events) == 1  # not before its pause is over
    for _ in range(2 * DELIVERY_TRIES):
        standing_clock.forward(hours=1)
        await receiver.postman.deliver_due()

    assert len(receiver.events) == DELIVERY_TRIES
    assert sandbox.bank.waiting_deliveries() == 0


async def test_the_postman_runs_until_told_to_stop(
    sandbox: SandboxGateway, receiver: Receiver, a_request: Build
) -> None:
    """The demo's background task ends cleanly."""
    await sandbox.charge(a_request())
    stop = asyncio.Event()
    task = asyncio.create_task(receiver.postman.run(stop))
    async with asyncio.timeout(5):
        await receiver.first.wait()
        stop.set()
        await task

    assert len(receiver.events) == 1


async def test_a_failure_elsewhere_can_be_announced(sandbox: SandboxGateway, receiver: Receiver) -> None:
    """The demo's cases begin as they do in life: a gateway tells of a payment that failed."""
    failure = ReportedFailure(
        payment_reference="inv-1",
        amount=Money(4900, "USD"),
        method=Method.CARD,
        customer_ref="c-1",
        token="tok_random:7:80",
        network=Network.VISA,
    )
    event_id = sandbox.bank.announce_failure(failure, ScriptedDecline("insufficient_funds", "51"))

    await receiver.postman.deliver_due()

    (event,) = receiver.events
    assert (event.external_id, event.attempt_id, event.failure) == (event_id, None, failure)
    assert isinstance(event.outcome, Declined)
    assert (event.outcome.decline.code, event.outcome.decline.network_code) == ("insufficient_funds", "51")


def test_the_signature_is_standard_webhooks() -> None:
    """The vector of the specification's own libraries (standard-webhooks, test suites)."""
    body, at = b'{"test": 2432232314}', datetime.fromtimestamp(1_614_265_330, UTC)

    headers = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)

    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(text=st.text(max_size=60), body=st.binary(max_size=100))
def test_no_header_and_no_body_raises_anything_else(text: str, body: bytes) -> None:
    """Strangers can post anything to the endpoint."""
    options = {"webhook_secrets": [SECRET]}
    sandbox = make_sandbox(GatewaySettings(name="sandbox", plugin="sandbox", options=options))
    stamp = str(int(sandbox._clock.now().timestamp()))

    for headers in (
        {"webhook-id": text, "webhook-timestamp": text, "webhook-signature": text},
        {"webhook-id": text, "webhook-timestamp": stamp, "webhook-signature": f"v1,{text}"},
    ):
        with pytest.raises(WebhookRefused):
            sandbox.parse_event(headers, body)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"id": 1}', b"\xff", json.dumps({"id": "e", "type": "x"}).encode()]
)
def test_a_well_signed_body_that_is_no_event_is_refused(
    sandbox: SandboxGateway, standing_clock: Any, body: bytes
) -> None:
    """The signature is right, the content is none."""
    with pytest.raises(WebhookRefused):
        sandbox.parse_event(sign(SECRET, "evt", standing_clock.now(), body), body)
