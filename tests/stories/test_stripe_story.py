"""A failed Stripe payment is recovered end to end, against a Stripe written by others.

localstripe signs and sends the failure, our API opens the case, our workers retry through the official SDK. Nothing in
between is ours but what runs in production. docs/stories/stripe.md repeats it by hand.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import httpx
import pytest
import stripe
from tests.counterparts import launch
from tests.stories.client import eventually
from tests.stories.conftest import Run, Running

pytestmark = [pytest.mark.counterpart, pytest.mark.rabbitmq]

KEY, SECRET, VERSION = "sk_test_12345", "whsec_counterpart", "2024-06-20"
GOOD, DECLINED = "4242424242424242", "4000000000000341"
"""The second can be attached and is declined when charged, the only such card that localstripe has."""
AMOUNT = 4900


class Shop:
    """A merchant who uses Stripe: has customers with cards, and charges them."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"})
        self._stripe = stripe.StripeClient(
            KEY, stripe_version=VERSION, base_addresses={"api": url}, max_network_retries=0
        )

    def send_webhooks_to(self, url: str) -> None:
        """Register an endpoint and its signing secret."""
        hook = {"url": url, "secret": SECRET}
        self._http.post("/_config/webhooks/recoup", json=hook).raise_for_status()

    def customer(self) -> str:
        """A new customer's id."""
        return self._stripe.v1.customers.create({"email": "a@example.org"}).id

    def card(self, customer: str, number: str) -> str:
        """Store a card for a customer and return the payment method's id; the number goes to Stripe alone."""
        card = {"number": number, "exp_month": "12", "exp_year": "2030", "cvc": "123"}
        form = {"type": "card", **{f"card[{field}]": value for field, value in card.items()}}
        method: str = self._http.post("/v1/payment_methods", data=form).raise_for_status().json()["id"]
        self._stripe.v1.payment_methods.attach(method, {"customer": customer})
        return method

    def charge(self, customer: str, method: str, invoice: str) -> None:
        """Charge a customer off session for an invoice."""
        self._stripe.v1.payment_intents.create(
            {
                "amount": AMOUNT,
                "currency": "usd",
                "customer": customer,
                "payment_method": method,
                "confirm": True,
                "off_session": True,
                "metadata": {"invoice": invoice},
            }
        )

    def paid(self, invoice: str) -> list[tuple[str, int]]:
        """What Stripe says about an invoice: the state and the amount of each of its PaymentIntents."""
        found = self._stripe.v1.payment_intents.list({"limit": 100}).data
        return [(each.status, each.amount) for each in found if invoice in each.metadata.to_dict().values()]


@pytest.fixture
def localstripe(leave_out: Callable[[str, str], NoReturn]) -> Iterator[str]:
    """A Stripe written by others, on loopback."""
    if launch.localstripe_python() is None:
        leave_out("localstripe", launch.HOW)
    with launch.localstripe() as url:
        yield url


def stripe_gateway(url: str) -> str:
    """The settings of a Stripe gateway at an address."""
    return (
        '[[gateways]]\nname = "stripe"\nplugin = "stripe"\n[gateways.options]\n'
        f'api_key = "{KEY}"\napi_base = "{url}"\napi_version = "{VERSION}"\nwebhook_secrets = ["{SECRET}"]\n'
        "same_intent = false\n"  # localstripe can't confirm a PaymentIntent twice
    )


async def test_a_declined_payment_is_recovered_with_the_customers_new_card(
    localstripe: str, run_installation: Run
) -> None:
    """A signed failure opens the case; two cards are declined, the third pays, and every book says so."""
    shop, recoup = Shop(localstripe), await run_installation(stripe_gateway(localstripe))
    shop.send_webhooks_to(f"{recoup.api.url}/webhooks/stripe")
    customer = shop.customer()
    with pytest.raises(stripe.CardError):
        shop.charge(customer, shop.card(customer, DECLINED), "INV-7")

    case_id = await _case_of(recoup, "INV-7")
    await recoup.api.until(case_id, "exhausted")
    for number in range(2):
        await _give(recoup, case_id, customer, shop.card(customer, DECLINED), "backup")
        await recoup.house.hurry()
        await _until_declined(recoup, case_id, 2 + number)
    await _give(recoup, case_id, customer, shop.card(customer, GOOD), "primary")
    story = await recoup.api.until(case_id, "recovered")

    assert _attempts(story) == [
        ("reported", "declined"),
        ("policy", "declined"),
        ("policy", "declined"),
        ("customer", "succeeded"),
    ]
    assert (story["payment"]["state"], story["payment"]["captured_minor"]) == ("paid", AMOUNT)
    assert shop.paid("INV-7").count(("succeeded", AMOUNT)) == 1
    assert len(shop.paid("INV-7")) == len(_attempts(story))
    await _books_agree(recoup, AMOUNT)


async def test_a_declined_payment_is_recovered_with_the_customers_backup_card(
    localstripe: str, run_installation: Run
) -> None:
    """A card that the merchant reported as a backup pays the debt that a webhook tells of."""
    shop, recoup = Shop(localstripe), await run_installation(stripe_gateway(localstripe))
    shop.send_webhooks_to(f"{recoup.api.url}/webhooks/stripe")
    customer = shop.customer()
    declined, backup = shop.card(customer, DECLINED), shop.card(customer, GOOD)
    await recoup.api.post("/payments", _an_older_debt(customer, declined, backup))
    with pytest.raises(stripe.CardError):
        shop.charge(customer, declined, "INV-8")

    case_id = await _case_of(recoup, "INV-8")
    await recoup.house.hurry()
    story = await recoup.api.until(case_id, "recovered")

    assert _attempts(story) == [("reported", "declined"), ("policy", "succeeded")]
    rule = "the backup card where the first one can't work"
    assert [entry["decision"]["rule"] for entry in story["entries"] if entry["decision"]] == [rule]
    assert shop.paid("INV-8").count(("succeeded", AMOUNT)) == 1
    await recoup.api.until(await _case_of(recoup, "INV-1"), "recovered")
    await _books_agree(recoup, 2 * AMOUNT)


async def test_a_failure_with_a_forged_signature_opens_nothing(localstripe: str, run_installation: Run) -> None:
    """Without Stripe's secret nobody tells us anything."""
    recoup = await run_installation(stripe_gateway(localstripe))
    body = json.dumps({"id": "evt_1", "type": "payment_intent.payment_failed", "created": 1, "data": {"object": {}}})

    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{recoup.api.url}/webhooks/stripe", content=body, headers={"Stripe-Signature": "t=1,v1=00"}
        )

    assert answer.status_code in (400, 401, 403)
    assert (await recoup.api.get("/recovery-cases"))["items"] == []


async def _case_of(recoup: Running, invoice: str) -> str:
    async def opened() -> Any:
        return (await recoup.api.get("/payments", reference=invoice))["items"]

    found = await eventually(opened, f"the webhook to open a case for {invoice}")
    case_id: str = found[0]["case"]["id"]
    return case_id


async def _give(recoup: Running, case_id: str, customer: str, method: str, role: str) -> None:
    card = {"gateway": "stripe", "token": method, "gateway_customer": customer, "method": "card", "role": role}
    await recoup.api.post(f"/recovery-cases/{case_id}/update-credential", card | {"network": "visa"})


async def _until_declined(recoup: Running, case_id: str, attempts: int) -> None:
    async def declined() -> bool:
        story = await recoup.api.timeline(case_id)
        return len(_attempts(story)) == attempts and story["case"]["state"] == "exhausted"

    await eventually(declined, f"attempt {attempts} to be declined")


def _attempts(story: Any) -> list[tuple[str, str]]:
    made = [entry["attempt"] for entry in story["entries"] if entry["attempt"]]
    return [(each["origin"], each["state"]) for each in sorted(made, key=lambda each: each["number"])]


def _an_older_debt(customer: str, declined: str, backup: str) -> dict[str, Any]:
    card = {"gateway": "stripe", "gateway_customer": customer, "method": "card", "network": "visa"}
    return {
        "reference": "INV-1",
        "amount_minor": AMOUNT,
        "currency": "USD",
        "customer": {"ref": customer},
        "gateway": "stripe",
        "method": "card",
        "credentials": [card | {"token": declined}, card | {"token": backup, "role": "backup"}],
        "attempts": [{"at": "2026-01-02T03:04:05Z", "decline": {"source": "stripe", "code": "expired_card"}}],
    }


async def _books_agree(recoup: Running, amount_minor: int) -> None:
    """Our ledger holds what was collected, and the audit trail is whole."""
    booked = "SELECT sum(amount_minor) FROM ledger_posting WHERE account = 'gateway_clearing:stripe'"
    assert await recoup.house.value(booked) == amount_minor
    assert "whole" in await asyncio.to_thread(recoup.house.run, "audit", "verify")
