"""The Stripe gateway against localstripe, a Stripe written by others.

localstripe is older than the SDK's API version (it knows `payment_method_types` only), ignores idempotency keys and
can't list PaymentIntents by customer, so those are tested against our own fake.
"""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple, NoReturn

import httpx
import msgspec
import pytest
from tests.counterparts import launch

from recoup_plugins import (
    ChargeRequest,
    Declined,
    GatewaySettings,
    Money,
    Refunded,
    RefundRequest,
    Succeeded,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_errors import StripeAnswerLost

pytestmark = pytest.mark.counterpart

KEY = "sk_test_12345"
SECRET = "whsec_counterpart"
GOOD_CARD, DECLINED_CARD = "4242424242424242", "4000000000000341"
WEBHOOK_LIMIT_S = 10.0


class Customer(NamedTuple):
    id: str
    method: str


class Mailbox:
    """Keeps the webhooks that were posted to it."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self._news = threading.Condition()
        box = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with box._news:
                    box.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                    box._news.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Tests are quiet."""

        self.server: socketserver.BaseServer = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def wait_for(self, kind: str, mention: object) -> tuple[dict[str, str], bytes]:
        """Return the first webhook of a kind that mentions an id; localstripe sends a second late, also for others."""

        def matching() -> list[tuple[dict[str, str], bytes]]:
            return [one for one in self.received if json.loads(one[1])["type"] == kind and str(mention) in str(one[1])]

        with self._news:
            assert self._news.wait_for(matching, WEBHOOK_LIMIT_S), f"no {kind} came"
            return matching()[0]


@pytest.fixture(scope="module")
def base_url(leave_out: Callable[[str, str], NoReturn]) -> Iterator[str]:
    if launch.localstripe_python() is None:
        leave_out("localstripe", launch.HOW)
    with launch.localstripe() as url:
        yield url


@pytest.fixture
def gateway(base_url: str) -> StripeGateway:
    options = {"api_key": KEY, "api_base": base_url, "api_version": "2024-06-20", "webhook_secrets": [SECRET]}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))


@pytest.fixture
def mailbox(base_url: str) -> Iterator[Mailbox]:
    box = Mailbox()
    hook = {"url": box.url, "secret": SECRET}
    httpx.post(f"{base_url}/_config/webhooks/box", json=hook).raise_for_status()
    yield box
    box.server.shutdown()
    box.server.server_close()


@pytest.fixture
def a_customer(base_url: str) -> Callable[[str], Customer]:
    def build(number: str) -> Customer:
        with httpx.Client(base_url=f"{base_url}/v1", headers={"Authorization": f"Bearer {KEY}"}) as client:
            customer = client.post("/customers", data={"email": "a@example.org"}).raise_for_status().json()["id"]
            card = {"number": number, "exp_month": "12", "exp_year": "2030", "cvc": "123"}
            form = {"type": "card", **{f"card[{field}]": value for field, value in card.items()}}
            method = client.post("/payment_methods", data=form).raise_for_status().json()["id"]
            client.post(f"/payment_methods/{method}/attach", data={"customer": customer}).raise_for_status()
        return Customer(customer, method)

    return build


async def test_an_off_session_charge_succeeds_and_is_found_by_its_id(
    gateway: StripeGateway, a_customer: Callable[[str], Customer], a_request: Callable[..., ChargeRequest]
) -> None:
    """The call we send is one that a Stripe of others takes, and its answer is read right."""
    customer = a_customer(GOOD_CARD)
    request = a_request(customer.method, gateway_customer=customer.id)

    outcome = await gateway.charge(request)

    assert isinstance(outcome, Succeeded)
    assert outcome.amount == Money(1999, "EUR")
    again = a_request(customer.method, gateway_customer=customer.id, gateway_ref=outcome.gateway_ref)
    assert await gateway.find_charge(again) == outcome


async def test_a_decline_is_a_value(
    gateway: StripeGateway, a_customer: Callable[[str], Customer], a_request: Callable[..., ChargeRequest]
) -> None:
    """A 402 without any of the newer fields is still a decline, with the only code it has."""
    customer = a_customer(DECLINED_CARD)

    outcome = await gateway.charge(a_request(customer.method, gateway_customer=customer.id))

    assert isinstance(outcome, Declined)
    assert outcome.decline.code == "card_declined"


async def test_webhooks_verify_and_settle_the_attempt(
    gateway: StripeGateway,
    mailbox: Mailbox,
    a_customer: Callable[[str], Customer],
    a_request: Callable[..., ChargeRequest],
) -> None:
    """Another's signature over another's JSON: verified on the raw body, our attempt found in the metadata."""
    good, bad = a_customer(GOOD_CARD), a_customer(DECLINED_CARD)
    paid, failed = (a_request(who.method, gateway_customer=who.id) for who in (good, bad))
    await gateway.charge(paid)
    await gateway.charge(failed)

    (succeeded,) = gateway.parse_event(*mailbox.wait_for("payment_intent.succeeded", paid.attempt_id))
    (declined,) = gateway.parse_event(*mailbox.wait_for("payment_intent.payment_failed", failed.attempt_id))

    assert (succeeded.attempt_id, declined.attempt_id) == (paid.attempt_id, failed.attempt_id)
    assert isinstance(succeeded.outcome, Succeeded)
    assert succeeded.outcome.amount == paid.amount
    assert isinstance(declined.outcome, Declined)
    assert declined.failure is None


async def test_a_failed_payment_of_others_is_reported(
    gateway: StripeGateway, mailbox: Mailbox, base_url: str, a_customer: Callable[[str], Customer]
) -> None:
    """A failure that is not our attempt opens a case: reference, amount, customer and token are all there."""
    customer = a_customer(DECLINED_CARD)
    form = {
        "amount": "4900",
        "currency": "usd",
        "customer": customer.id,
        "payment_method": customer.method,
        "confirm": "true",
        "off_session": "true",
        "metadata[invoice]": "INV-7",
    }
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as client:
        await client.post(f"{base_url}/v1/payment_intents", data=form)

    (event,) = gateway.parse_event(*mailbox.wait_for("payment_intent.payment_failed", customer.id))

    assert event.attempt_id is None
    assert event.failure is not None
    assert (event.failure.payment_reference, event.failure.amount) == ("INV-7", Money(4900, "USD"))
    assert (event.failure.gateway_customer, event.failure.token) == (customer.id, customer.method)


async def test_an_unknown_payment_method_is_our_fault_not_the_cards(
    gateway: StripeGateway, a_request: Callable[..., ChargeRequest]
) -> None:
    """A 404 is a definite no that no retry of time can cure."""
    outcome = await gateway.charge(a_request("pm_that_is_not_there"))

    assert isinstance(outcome, Declined)
    assert outcome.decline.category == "configuration"


async def test_a_look_up_that_is_refused_is_no_answer(
    gateway: StripeGateway, a_request: Callable[..., ChargeRequest]
) -> None:
    """localstripe can't list by customer (400): that the look-up can't be asked must not read as "not found"."""
    with pytest.raises(StripeAnswerLost):
        await gateway.find_charge(a_request("pm_x", gateway_customer="cus_x"))


async def test_a_refund_by_payment_intent_is_made_and_found(
    gateway: StripeGateway,
    a_customer: Callable[[str], Customer],
    a_request: Callable[..., ChargeRequest],
    a_refund: Callable[..., RefundRequest],
) -> None:
    """stripe-stateful-mock knows charges only; here a partial refund goes by the PaymentIntent of our own charge.

    localstripe can't list refunds by PaymentIntent (500): that must not read as "not found".
    """
    customer = a_customer(GOOD_CARD)
    charged = await gateway.charge(a_request(customer.method, gateway_customer=customer.id))
    assert isinstance(charged, Succeeded)
    request = a_refund(charge_ref=charged.gateway_ref, amount=Money(500, "EUR"))

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refunded)
    assert outcome.amount == Money(500, "EUR")
    known = msgspec.structs.replace(request, gateway_ref=outcome.gateway_ref)
    assert await gateway.find_refund(known) == outcome
    with pytest.raises(StripeAnswerLost):
        await gateway.find_refund(request)


async def test_health_reads_the_balance(gateway: StripeGateway) -> None:
    """The operator's check is an authenticated call."""
    await gateway.health()
