"""Refunds at stripe-stateful-mock, a Stripe written by others that keeps its own books of charges and keys.

It knows charges and no PaymentIntents, so refunds go by charge; voids, webhooks, cancellations and three decimals are
tested against our own fake. A proxy of ours in front of it loses what the test wants lost.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import httpx
import msgspec
import pytest
from tests.counterparts import launch

from recoup_core.domain.ids import new_id
from recoup_core.flows.guard import Unknown, find_refund_guarded, refund_guarded
from recoup_plugins import (
    FailureCategory,
    GatewaySettings,
    Money,
    NotFound,
    Refunded,
    RefundReason,
    RefundRequest,
    Refused,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.testing.fault_proxy import FaultProxy, fault_proxy

pytestmark = pytest.mark.counterpart

KEY = "sk_test_counterpart"
TEN_EUROS = Money(1000, "EUR")
ROUNDS = 8
"""How many charges the random walk goes over."""

Build = Callable[..., RefundRequest]


@pytest.fixture(scope="module")
def base_url(leave_out: Callable[[str, str], NoReturn]) -> Iterator[str]:
    if launch.stripe_mock_modules() is None:
        leave_out("stripe-stateful-mock", launch.HOW_MOCK)
    with launch.stripe_stateful_mock() as url:
        yield url


@pytest.fixture
def proxy(base_url: str) -> Iterator[FaultProxy]:
    with fault_proxy(base_url) as proxy:
        yield proxy


@pytest.fixture
def gateway(proxy: FaultProxy) -> StripeGateway:
    options = {"api_key": KEY, "api_base": proxy.url, "timeout_s": 5}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))


class Books:
    """The mock's own books, read past the proxy."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/v1", headers={"Authorization": f"Bearer {KEY}"})

    def charge(self, amount: int, currency: str = "eur", **form: str) -> str:
        """Charge and return the charge's id."""
        made = self._client.post(
            "/charges", data={"amount": amount, "currency": currency, "source": "tok_visa", **form}
        )
        charge: str = made.raise_for_status().json()["id"]
        return charge

    def refunded(self, charge: str) -> int:
        """Return what the mock says of the charge went back."""
        found = self._client.get(f"/charges/{charge}").raise_for_status().json()
        listed = self._client.get("/refunds", params={"charge": charge, "limit": 100}).raise_for_status().json()
        assert found["amount_refunded"] == sum(one["amount"] for one in listed["data"])
        total: int = found["amount_refunded"]
        return total

    def refunds(self, charge: str) -> list[dict[str, Any]]:
        """Return the charge's refunds as the mock keeps them."""
        listed = self._client.get("/refunds", params={"charge": charge, "limit": 100}).raise_for_status().json()
        found: list[dict[str, Any]] = listed["data"]
        return found


@pytest.fixture
def books(base_url: str) -> Books:
    return Books(base_url)


@pytest.fixture
def refund_of(books: Books, a_refund: Build) -> Build:
    """Build a refund of all of a fresh charge."""

    def build(charged: Money = TEN_EUROS, **changes: Any) -> RefundRequest:
        form = changes.pop("form", {})
        charge = books.charge(charged.amount_minor, charged.currency.lower(), **form)
        return a_refund(**{"charge_ref": charge, "charged": charged, "amount": charged, **changes})

    return build


def another(request: RefundRequest, amount_minor: int) -> RefundRequest:
    part_id = new_id()
    amount = Money(amount_minor, request.charged.currency)
    return msgspec.structs.replace(request, part_id=part_id, idempotency_key=f"key-{part_id}", amount=amount)


async def test_a_refund_is_made_with_our_reason_and_found_by_id_and_by_metadata(
    gateway: StripeGateway, books: Books, refund_of: Build
) -> None:
    """The call we send is one that a Stripe of others takes, and its answer is read right."""
    request = refund_of(reason=RefundReason.DUPLICATE)

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refunded)
    assert await gateway.find_refund(request) == outcome
    assert await gateway.find_refund(msgspec.structs.replace(request, gateway_ref=outcome.gateway_ref)) == outcome
    assert await gateway.find_refund(another(request, 1000)) == NotFound()
    (kept,) = books.refunds(request.charge_ref)
    assert (kept["id"], kept["amount"], kept["reason"]) == (outcome.gateway_ref, 1000, "duplicate")
    assert kept["metadata"]["recoup_part"] == str(request.part_id)


@pytest.mark.parametrize("charged", [Money(1999, "EUR"), Money(1500, "JPY")], ids=str)
async def test_partials_sum_to_the_charge_and_more_is_refused(
    gateway: StripeGateway, books: Books, refund_of: Build, charged: Money
) -> None:
    """Their refusal of too much has no code, of a charge that is gone has one: both mean "already refunded"."""
    first = refund_of(charged)
    total = charged.amount_minor
    amounts = (total // 3, total // 2, total // 2, total - total // 3 - total // 2, 10)

    outcomes = [await gateway.refund(another(first, amount)) for amount in amounts]

    assert [type(outcome) for outcome in outcomes] == [Refunded, Refunded, Refused, Refunded, Refused]
    for refused in (outcomes[2], outcomes[4]):
        assert isinstance(refused, Refused)
        assert refused.failure.category is FailureCategory.ALREADY_REFUNDED
    assert books.refunded(first.charge_ref) == total


async def test_the_same_key_is_replayed_and_another_body_is_refused(
    gateway: StripeGateway, books: Books, refund_of: Build
) -> None:
    """Their key store decides, not ours: one refund, the same object again, and an error for another amount."""
    whole = refund_of()
    request = another(whole, 300)

    outcomes = [await gateway.refund(request) for _ in range(3)]
    other = await refund_guarded(gateway, msgspec.structs.replace(request, amount=Money(301, "EUR")))

    assert isinstance(outcomes[0], Refunded)
    assert outcomes == [outcomes[0]] * 3
    assert isinstance(other, Unknown)
    assert "IdempotencyError" in other.reason
    assert books.refunded(whole.charge_ref) == 300


async def test_one_key_many_times_at_once_is_one_refund(gateway: StripeGateway, books: Books, refund_of: Build) -> None:
    """Sixteen workers hold the same part."""
    whole = refund_of()
    request = another(whole, 60)

    outcomes = await asyncio.gather(*(refund_guarded(gateway, request) for _ in range(16)))

    assert {outcome.gateway_ref for outcome in outcomes if isinstance(outcome, Refunded)} == {
        books.refunds(whole.charge_ref)[0]["id"]
    }
    assert books.refunded(whole.charge_ref) == 60


async def test_partials_at_once_let_exactly_those_pass_that_fit(
    gateway: StripeGateway, books: Books, refund_of: Build
) -> None:
    """Eight of 3.00 on 10.00: three go through."""
    whole = refund_of()

    outcomes = await asyncio.gather(*(gateway.refund(another(whole, 300)) for _ in range(8)))

    assert sum(isinstance(outcome, Refunded) for outcome in outcomes) == 3
    assert books.refunded(whole.charge_ref) == 900


async def test_an_answer_lost_after_the_refund_is_found_and_never_refunded_again(
    gateway: StripeGateway, proxy: FaultProxy, books: Books, refund_of: Build
) -> None:
    """The money went back and nobody told us: unknown, found by look-up, and the same key gives nothing more."""
    whole = refund_of()
    request = another(whole, 300)
    proxy.lose_answers()

    first = await refund_guarded(gateway, request)
    went_back = books.refunded(whole.charge_ref)
    found = await find_refund_guarded(gateway, request)
    again = await refund_guarded(gateway, request)

    assert isinstance(first, Unknown)
    assert went_back == 300
    assert isinstance(found, Refunded)
    assert again == found
    assert books.refunded(whole.charge_ref) == 300
    posts = [sent for sent in proxy.seen if sent.method == "POST"]
    assert [(sent.status, sent.lost) for sent in posts] == [(200, True), (200, False)]
    assert {(sent.key, sent.body) for sent in posts} == {(request.idempotency_key, posts[0].body)}


async def test_a_request_lost_on_the_way_is_unknown_not_found_and_goes_through_with_the_same_key(
    gateway: StripeGateway, proxy: FaultProxy, books: Books, refund_of: Build
) -> None:
    """From outside it looks the same as a lost answer; only the look-up tells them apart."""
    request = refund_of()
    proxy.lose_requests()

    first = await refund_guarded(gateway, request)
    found = await find_refund_guarded(gateway, request)
    again = await refund_guarded(gateway, request)

    assert isinstance(first, Unknown)
    assert found == NotFound()
    assert isinstance(again, Refunded)
    assert books.refunded(request.charge_ref) == 1000


async def test_a_lost_refusal_is_a_refusal_when_asked_again(
    gateway: StripeGateway, proxy: FaultProxy, books: Books, refund_of: Build
) -> None:
    """A lost "no" is unknown like a lost "yes"; the same key tells which it was."""
    whole = refund_of()
    await gateway.refund(another(whole, 800))
    request = another(whole, 300)
    proxy.lose_answers()

    first = await refund_guarded(gateway, request)
    again = await refund_guarded(gateway, request)

    assert isinstance(first, Unknown)
    assert isinstance(again, Refused)
    assert books.refunded(whole.charge_ref) == 800


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_lost_both_books_agree_to_the_cent(
    gateway: StripeGateway, proxy: FaultProxy, books: Books, refund_of: Build, seed: int
) -> None:
    """Random amounts, random losses, each unknown settled by look-up and the same key: no cent differs."""
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        whole = refund_of(Money(dice.randint(100, 5000), "EUR"))
        ours = 0
        for _ in range(dice.randint(2, 5)):
            request = another(whole, dice.randint(1, whole.charged.amount_minor // 2))
            {0: proxy.lose_answers, 1: proxy.lose_requests}.get(dice.randrange(4), lambda: None)()
            outcome: Any = await refund_guarded(gateway, request)
            if isinstance(outcome, Unknown):
                outcome = await find_refund_guarded(gateway, request)
            if isinstance(outcome, NotFound):
                outcome = await refund_guarded(gateway, request)
            assert isinstance(outcome, Refunded | Refused)
            ours += outcome.amount.amount_minor if isinstance(outcome, Refunded) else 0
        assert books.refunded(whole.charge_ref) == ours


async def test_disputed_money_is_refused_and_an_inquiry_can_be_answered(
    gateway: StripeGateway, books: Books, refund_of: Build
) -> None:
    """A chargeback has taken the money; an inquiry has not, and a refund may still answer it."""
    disputed = refund_of(form={"source": "tok_createDispute"})
    asked = refund_of(form={"source": "tok_createDisputeInquiry"})

    refused, answered = await gateway.refund(disputed), await gateway.refund(asked)

    assert isinstance(refused, Refused)
    assert refused.failure.category is FailureCategory.DISPUTED
    assert isinstance(answered, Refunded)
    assert books.refunded(disputed.charge_ref) == 0


async def test_a_part_of_an_uncaptured_charge_is_to_be_voided(gateway: StripeGateway, refund_of: Build) -> None:
    """They say so in words alone; and our plugin does not void a charge that has no PaymentIntent."""
    whole = refund_of(form={"capture": "false"})

    part = await gateway.refund(another(whole, 300))
    void = await gateway.refund(msgspec.structs.replace(whole, void=True))

    assert isinstance(part, Refused)
    assert part.failure.category is FailureCategory.NOT_CAPTURED
    assert isinstance(void, Refused)
    assert void.failure.code == "void_needs_payment_intent"


async def test_a_charge_nobody_knows_is_configuration(gateway: StripeGateway, a_refund: Build) -> None:
    """A 404 is a definite no."""
    outcome = await gateway.refund(a_refund(charge_ref="ch_moon"))

    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.failure.category) == ("resource_missing", FailureCategory.CONFIGURATION)
