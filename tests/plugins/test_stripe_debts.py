"""Stripe's own object of a debt: the same PaymentIntent again, an open invoice, and who else may be collecting."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.plugins.fake_stripe import KEY, FakeStripe

from recoup_core.domain.decline import DeclineCategory
from recoup_core.flows.guard import Unknown, charge_guarded, find_charge_guarded
from recoup_plugins import (
    ChargeRequest,
    Declined,
    GatewaySettings,
    Method,
    Money,
    NotFound,
    NotSent,
    Owned,
    Pending,
    RefundRequest,
    Succeeded,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe

Build = Callable[..., ChargeRequest]
DECLINED = "pm_decline:insufficient_funds:51"


def a_gateway(fake: FakeStripe, **options: Any) -> StripeGateway:
    given = {"api_key": KEY, "api_base": fake.url, "timeout_s": 2.0, **options}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=given))


@pytest.fixture
def gateway(fake_stripe: FakeStripe) -> StripeGateway:
    return a_gateway(fake_stripe)


@pytest.fixture
def failed(fake_stripe: FakeStripe) -> dict[str, Any]:
    """A PaymentIntent over 19.99 EUR that a shop's checkout tried once and that was declined."""
    intent = fake_stripe.paying.made(1999, "eur", customer="cus_a")
    fake_stripe.paying.charge(intent, "pm_of_the_shop", "decline", ["insufficient_funds"])
    return intent


@pytest.fixture
def of_debt(a_request: Build) -> Build:
    """Build a request for a debt that has an object at Stripe."""

    def build(token: str, debt_ref: str, **changes: Any) -> ChargeRequest:
        return a_request(token, debt_ref=debt_ref, gateway_customer="cus_a", **changes)

    return build


# --- the same PaymentIntent -------------------------------------------------------------------------------------------


async def test_the_failed_intent_is_marked_and_then_confirmed_under_our_key(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """No second object that could be paid as well; the charge of this try keeps our mark."""
    request = of_debt("pm_ok", failed["id"])

    outcome = await gateway.charge(request)

    claim, confirm = fake_stripe.posts
    assert claim == {
        "path": f"/v1/payment_intents/{failed['id']}",
        "key": f"{request.idempotency_key}-claim",
        "metadata[recoup_attempt]": str(request.attempt_id),
        "metadata[recoup_payment]": request.payment_reference,
    }
    assert confirm == {
        "path": f"/v1/payment_intents/{failed['id']}/confirm",
        "key": request.idempotency_key,
        "payment_method": "pm_ok",
        "off_session": "true",
    }
    assert outcome == Succeeded(gateway_ref=failed["id"], amount=Money(1999, "EUR"), try_ref=failed["latest_charge"])


async def test_each_try_of_one_intent_has_a_name_of_its_own(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """One PaymentIntent sees many tries; their charges tell them apart."""
    elsewhere = failed["latest_charge"]

    outcomes = [await gateway.charge(of_debt(DECLINED, failed["id"])) for _ in range(2)]

    tries = {outcome.try_ref for outcome in outcomes if isinstance(outcome, Declined)}
    assert len(tries | {elsewhere}) == 3
    assert {outcome.gateway_ref for outcome in outcomes if isinstance(outcome, Declined)} == {failed["id"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 2000},
        {"currency": "usd"},
        {"customer": "cus_other"},
        {"payment_method_types": ["sepa_debit"]},
        {"capture_method": "manual"},
        {"status": "canceled"},
    ],
)
async def test_an_intent_that_does_not_fit_exactly_is_left_alone(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, changes: dict[str, Any]
) -> None:
    """Confirming it would collect something else, from somebody else, or not now."""
    intent = fake_stripe.paying.made(1999, "eur", customer="cus_a")
    intent |= changes

    outcome = await gateway.charge(of_debt("pm_ok", intent["id"]))

    assert isinstance(outcome, Succeeded)
    assert outcome.gateway_ref != intent["id"]
    assert [post["path"] for post in fake_stripe.posts] == ["/v1/payment_intents"]


async def test_same_intent_can_be_switched_off(fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build) -> None:
    """A merchant whose checkout owns its PaymentIntents wants them left alone."""
    outcome = await a_gateway(fake_stripe, same_intent=False).charge(of_debt("pm_ok", failed["id"]))

    assert isinstance(outcome, Succeeded)
    assert outcome.gateway_ref != failed["id"]


@pytest.mark.parametrize("same_intent", [True, False])
async def test_an_intent_that_was_paid_meanwhile_is_never_paid_again(
    fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build, same_intent: bool
) -> None:
    """The customer came back to the checkout between the decision and the call."""
    fake_stripe.paying.charge(failed, "pm_new", "ok", [])

    outcome = await a_gateway(fake_stripe, same_intent=same_intent).charge(of_debt("pm_ok", failed["id"]))

    assert outcome == Succeeded(gateway_ref=failed["id"], amount=Money(1999, "EUR"), try_ref=failed["latest_charge"])
    assert fake_stripe.posts == []


async def test_the_rest_of_a_partly_captured_intent_is_a_new_one(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """A succeeded PaymentIntent collects nothing more; what it never captured is still owed."""
    fake_stripe.paying.charge(failed, "pm_new", "ok", [])
    failed["amount_received"] = 1500

    outcome = await gateway.charge(of_debt("pm_ok", failed["id"], amount=Money(499, "EUR")))

    assert isinstance(outcome, Succeeded)
    assert (outcome.gateway_ref == failed["id"], outcome.amount) == (False, Money(499, "EUR"))


async def test_a_debit_that_is_under_way_is_waited_for(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """A second debit beside it would be a double one."""
    fake_stripe.paying.charge(failed, "pm_bank", "processing", [])

    outcome = await gateway.charge(of_debt("pm_ok", failed["id"]))

    assert outcome == Pending(gateway_ref=failed["id"], try_ref=failed["latest_charge"])
    assert fake_stripe.posts == []


async def test_an_authorization_that_waits_is_not_charged_beside(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """The customer's money is held for this debt already; only the merchant can capture it."""
    failed["status"] = "requires_capture"

    outcome = await gateway.charge(of_debt("pm_ok", failed["id"]))

    assert isinstance(outcome, Declined)
    assert (outcome.decline.code, outcome.decline.category) == (
        "payment_intent_requires_capture",
        DeclineCategory.CONFIGURATION,
    )
    assert fake_stripe.posts == []


async def test_a_charge_that_overtakes_ours_is_told_and_not_repeated(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """Between our look and our call somebody else collected: Stripe refuses the confirmation."""
    fake_stripe.meanwhile = lambda: fake_stripe.paying.settle(failed)

    outcome = await gateway.charge(of_debt("pm_ok", failed["id"]))

    assert isinstance(outcome, Succeeded)
    assert len(fake_stripe.charges) == 1


async def test_an_intent_that_is_canceled_before_our_call_is_configuration(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """The key is spent on it: a new object under the same key is refused by Stripe."""
    fake_stripe.meanwhile = lambda: failed.update(status="canceled")

    outcome = await gateway.charge(of_debt("pm_ok", failed["id"]))

    assert isinstance(outcome, Declined)
    assert outcome.decline.code == "payment_intent_unexpected_state"


async def test_an_invoice_that_is_paid_before_our_call_is_told_as_paid(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """Stripe refuses to pay it twice; whoever paid, the debt is gone."""
    invoice = fake_stripe.billing.invoice(1999)
    fake_stripe.meanwhile = lambda: fake_stripe.billing.settle(invoice["id"])

    assert isinstance(await gateway.charge(of_debt("pm_ok", invoice["id"])), Succeeded)


@pytest.mark.parametrize("token", ["pm_ok", "pm_processing"])
async def test_what_was_paid_is_never_called_unsent_since_it_cant_be_looked_at(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, token: str
) -> None:
    """The invoice is paid, or a debit of it under way; Stripe is too busy to say with which charge: unknown."""
    invoice = fake_stripe.billing.invoice(1999)
    request = of_debt(token, invoice["id"])
    fake_stripe.meanwhile = lambda: setattr(fake_stripe, "reads_busy", True)

    outcome = await charge_guarded(gateway, request)
    fake_stripe.reads_busy = False

    assert isinstance(outcome, Unknown)
    assert isinstance(await gateway.find_charge(request), Succeeded if token == "pm_ok" else Pending)


@pytest.mark.parametrize("token", ["pm_lose", "pm_lose_before"])
async def test_a_lost_confirmation_sent_again_is_the_same_two_calls(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build, token: str
) -> None:
    """Done or not, the same keys settle it and money moves once."""
    request = of_debt(token, failed["id"])

    first, again = await charge_guarded(gateway, request), await charge_guarded(gateway, request)

    assert isinstance(first, Unknown)
    assert isinstance(again, Succeeded)
    assert fake_stripe.moved(request.payment_reference) == [(1999, "eur")]
    assert {post["key"] for post in fake_stripe.posts} == {request.idempotency_key, f"{request.idempotency_key}-claim"}


# --- finding a lost answer --------------------------------------------------------------------------------------------


async def test_a_lost_decline_on_the_same_intent_is_found_by_its_charge(
    gateway: StripeGateway, failed: dict[str, Any], of_debt: Build
) -> None:
    """The charge keeps the mark it was made with: ours is told from the checkout's."""
    request = of_debt("pm_decline:expired_card:54:01", failed["id"])
    declined = await gateway.charge(request)

    assert await gateway.find_charge(request) == declined


async def test_a_later_try_by_the_customer_is_not_taken_for_ours(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """It carries our mark, since the PaymentIntent does; ours was the first that did."""
    request = of_debt(DECLINED, failed["id"])
    ours = await gateway.charge(request)
    fake_stripe.paying.charge(failed, "pm_customer", "decline", ["expired_card"])

    found = await gateway.find_charge(request)

    assert isinstance(ours, Declined)
    assert isinstance(found, Declined)
    assert (found.try_ref, found.decline.code) == (ours.try_ref, "insufficient_funds")


async def test_money_that_came_after_our_decline_is_found_first(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """The debt is paid: nothing may be tried again."""
    request = of_debt(DECLINED, failed["id"])
    await gateway.charge(request)
    fake_stripe.paying.charge(failed, "pm_customer", "ok", [])

    assert isinstance(await gateway.find_charge(request), Succeeded)


async def test_what_was_marked_and_never_confirmed_is_not_found(
    gateway: StripeGateway, failed: dict[str, Any], of_debt: Build
) -> None:
    """Without a charge of ours nothing was tried: the same key may be sent."""
    request = of_debt("pm_lose_before", failed["id"])
    await charge_guarded(gateway, request)

    assert isinstance(await gateway.find_charge(request), NotFound)


async def test_an_attempt_that_made_its_own_intent_is_found_beside_the_debts(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """The debt's PaymentIntent did not fit; the attempt's is found by its metadata."""
    request = of_debt("pm_lose", fake_stripe.paying.made(5, "eur", customer="cus_a")["id"])
    await charge_guarded(gateway, request)

    found = await gateway.find_charge(request)

    assert isinstance(found, Succeeded)
    assert found.amount == Money(1999, "EUR")


async def test_a_pending_debit_on_the_debts_intent_is_followed_to_its_end(
    gateway: StripeGateway, fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """Known by the id that the first answer told."""
    request = of_debt("pm_processing", failed["id"])
    pending = await gateway.charge(request)
    known = of_debt("pm_processing", failed["id"], attempt_id=request.attempt_id, gateway_ref=failed["id"])
    under_way = await gateway.find_charge(known)
    fake_stripe.paying.settle(failed)

    assert isinstance(pending, Pending)
    assert under_way == pending
    assert isinstance(await gateway.find_charge(known), Succeeded)


async def test_a_key_that_made_an_object_of_its_own_is_never_used_on_the_debts(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """The debt's PaymentIntent fits only since our first send: Stripe refuses the key, and nothing is paid twice."""
    intent = fake_stripe.paying.made(5, "eur", customer="cus_a")
    request = of_debt("pm_lose", intent["id"])
    await charge_guarded(gateway, request)
    intent["amount"] = 1999

    again = await charge_guarded(gateway, request)

    assert isinstance(again, Unknown)
    assert "idempotency_error" in again.reason or "IdempotencyError" in again.reason
    assert fake_stripe.moved(request.payment_reference) == [(1999, "eur")]


# --- invoices ---------------------------------------------------------------------------------------------------------


async def test_an_open_invoice_is_marked_and_paid_under_our_key(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """Off session, with the policy's payment method; the answer names what can be refunded."""
    invoice = fake_stripe.billing.invoice(1999)
    request = of_debt("pm_ok", invoice["id"])

    outcome = await gateway.charge(request)

    intent = fake_stripe.billing.intent_of(invoice["id"])
    assert [(post["path"], post["key"]) for post in fake_stripe.posts] == [
        (f"/v1/invoices/{invoice['id']}", f"{request.idempotency_key}-claim"),
        (f"/v1/payment_intents/{intent['id']}", f"{request.idempotency_key}-claim-intent"),
        (f"/v1/invoices/{invoice['id']}/pay", request.idempotency_key),
    ]
    assert (fake_stripe.posts[2]["payment_method"], fake_stripe.posts[2]["off_session"]) == ("pm_ok", "true")
    assert outcome == Succeeded(gateway_ref=intent["id"], amount=Money(1999, "EUR"), try_ref=intent["latest_charge"])


async def test_an_invoices_charge_can_be_refunded(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, a_refund: Callable[..., RefundRequest]
) -> None:
    """Since API 2025-03-31 the invoice no longer names its charge; its payments do."""
    paid = await gateway.charge(of_debt("pm_ok", fake_stripe.billing.invoice(1999)["id"]))
    assert isinstance(paid, Succeeded)

    await gateway.refund(a_refund(charge_ref=paid.gateway_ref))

    assert fake_stripe.back.gone(paid.gateway_ref) == 1999


async def test_an_intent_of_an_invoice_is_paid_through_the_invoice(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """Confirming it behind the invoice's back is refused by Stripe, and would miss who else collects it."""
    invoice = fake_stripe.billing.invoice(1999)
    intent = fake_stripe.billing.intent_of(invoice["id"])
    intent["payment_details"] = None  # an order reference of the merchant's own: only the invoice payments tell

    outcome = await gateway.charge(of_debt("pm_ok", intent["id"]))

    assert isinstance(outcome, Succeeded)
    assert invoice["status"] == "paid"


async def test_stripe_is_not_retried_beside(gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build) -> None:
    """Smart Retries plan a next attempt: two who retry one debt break rules that each of them keeps."""
    at = datetime(2027, 1, 8, 10, 0, tzinfo=UTC)
    invoice = fake_stripe.billing.invoice(1999, auto_advance=True, next_payment_attempt=int(at.timestamp()))

    outcome = await gateway.charge(of_debt("pm_ok", invoice["id"]))

    assert isinstance(outcome, Owned)
    assert outcome.next_attempt_at == at
    assert fake_stripe.posts == []


@pytest.mark.parametrize(
    ("changes", "owned"),
    [
        ({"auto_advance": True, "attempted": False, "attempt_count": 0}, True),  # the first automatic try is to come
        ({"auto_advance": True, "attempted": True}, False),  # it has given up
        ({"auto_advance": True, "attempted": False, "collection_method": "send_invoice"}, False),  # it never tries
        ({"auto_advance": False, "attempted": False}, False),
    ],
)
async def test_who_collects_is_read_from_what_is_planned(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, changes: dict[str, Any], owned: bool
) -> None:
    """`auto_advance` alone stays true when Stripe has given up; only a plan makes an owner."""
    outcome = await gateway.charge(of_debt("pm_ok", fake_stripe.billing.invoice(1999, **changes)["id"]))

    assert isinstance(outcome, Owned if owned else Succeeded)


async def test_our_own_lost_payment_is_not_blocked_by_stripes_plan(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """The invoice carries our mark: the same key settles what became of our call, whoever plans what since."""
    invoice = fake_stripe.billing.invoice(1999)
    request = of_debt("pm_lose_before", invoice["id"])
    await charge_guarded(gateway, request)
    invoice["next_payment_attempt"] = 2_000_000_000

    assert isinstance(await gateway.charge(request), Succeeded)


@pytest.mark.parametrize("status", ["void", "uncollectible", "draft"])
async def test_an_invoice_that_is_not_open_is_configuration(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, status: str
) -> None:
    """No card's fault: somebody has to look at the invoice."""
    outcome = await gateway.charge(of_debt("pm_ok", fake_stripe.billing.invoice(1999, status=status)["id"]))

    assert isinstance(outcome, Declined)
    assert (outcome.decline.code, outcome.decline.category) == (f"invoice_{status}", DeclineCategory.CONFIGURATION)
    assert fake_stripe.posts == []


async def test_an_invoice_over_another_amount_is_never_paid(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """`pay` collects what is open, whatever we were asked for."""
    outcome = await gateway.charge(of_debt("pm_ok", fake_stripe.billing.invoice(2500)["id"]))

    assert isinstance(outcome, Declined)
    assert outcome.decline.code == "invoice_amount_differs"
    assert "25.00 EUR" in (outcome.decline.message or "")
    assert fake_stripe.posts == []


async def test_an_invoice_that_was_paid_meanwhile_is_told_with_its_charge(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """Nothing is sent, and the money is found under the name it can be refunded by."""
    invoice = fake_stripe.billing.invoice(1999)
    intent = fake_stripe.billing.intent_of(invoice["id"])
    fake_stripe.paying.charge(intent, "pm_customer", "ok", [])
    fake_stripe.billing.settle(invoice["id"])

    outcome = await gateway.charge(of_debt("pm_ok", invoice["id"]))

    assert outcome == Succeeded(gateway_ref=intent["id"], amount=Money(1999, "EUR"), try_ref=intent["latest_charge"])
    assert fake_stripe.posts == []


async def test_an_invoice_settled_outside_stripe_is_paid_by_its_own_name(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """There is no charge that Stripe could refund; a refund over that name is refused there."""
    invoice = fake_stripe.billing.invoice(1999, status="paid", amount_paid=1999)

    outcome = await gateway.charge(of_debt("pm_ok", invoice["id"]))

    assert outcome == Succeeded(gateway_ref=invoice["id"], amount=Money(1999, "EUR"))


async def test_a_declined_invoice_names_the_try(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """Stripe answers 402, as for a PaymentIntent."""
    invoice = fake_stripe.billing.invoice(1999)
    intent = fake_stripe.billing.intent_of(invoice["id"])

    outcome = await gateway.charge(of_debt(DECLINED, invoice["id"]))

    assert isinstance(outcome, Declined)
    assert (outcome.decline.code, outcome.gateway_ref, outcome.try_ref) == (
        "insufficient_funds",
        intent["id"],
        intent["latest_charge"],
    )


async def test_an_invoice_paid_by_bank_debit_is_pending_until_it_comes(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """`pay` answers an invoice that is still open; its PaymentIntent tells that the debit is under way."""
    invoice = fake_stripe.billing.invoice(1999)
    request = of_debt("pm_processing", invoice["id"], method=Method.SEPA_DEBIT)

    first, again = await gateway.charge(request), await gateway.charge(of_debt("pm_ok", invoice["id"]))

    assert isinstance(first, Pending)
    assert again == first
    assert await gateway.find_charge(request) == first


@pytest.mark.parametrize(("token", "kind"), [("pm_lose", Succeeded), ("pm_lose_before", NotFound)])
async def test_a_lost_payment_of_an_invoice_is_looked_up(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, token: str, kind: type[Any]
) -> None:
    """Paid and marked by us, or marked and never tried."""
    request = of_debt(token, fake_stripe.billing.invoice(1999)["id"])
    await charge_guarded(gateway, request)

    assert isinstance(await gateway.find_charge(request), kind)


async def test_an_invoice_without_our_mark_never_got_our_payment(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """The mark is put first: without it nothing was sent, and a customer's payment is not our attempt's."""
    invoice = fake_stripe.billing.invoice(1999)
    fake_stripe.paying.charge(fake_stripe.billing.intent_of(invoice["id"]), "pm_customer", "ok", [])
    fake_stripe.billing.settle(invoice["id"])

    assert isinstance(await gateway.find_charge(of_debt("pm_ok", invoice["id"])), NotFound)


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_lost_decline_of_an_invoice_is_found_by_our_mark_or_by_method_and_time(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, sealed: bool
) -> None:
    """Where Stripe lets nobody mark the invoice's PaymentIntent, one try with our payment method since then is ours."""
    invoice = fake_stripe.billing.invoice(1999)
    if sealed:
        fake_stripe.paying.sealed.add(fake_stripe.billing.intent_of(invoice["id"])["id"])
    fake_stripe.paying.charge(fake_stripe.billing.intent_of(invoice["id"]), "pm_shop", "decline", ["do_not_honor"])
    request = of_debt(DECLINED, invoice["id"])
    declined = await gateway.charge(request)

    assert await gateway.find_charge(request) == declined


async def test_two_tries_that_can_not_be_told_apart_are_not_guessed_about(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build
) -> None:
    """The customer tried the same card on the hosted page in the same minute, and nothing carries our mark."""
    invoice = fake_stripe.billing.invoice(1999)
    fake_stripe.paying.sealed.add(fake_stripe.billing.intent_of(invoice["id"])["id"])
    request = of_debt(DECLINED, invoice["id"])
    await gateway.charge(request)
    fake_stripe.paying.charge(fake_stripe.billing.intent_of(invoice["id"]), DECLINED, "decline", ["expired_card"])

    assert isinstance(await find_charge_guarded(gateway, request), Unknown)


async def test_the_debts_object_of_another_account_is_configuration(gateway: StripeGateway, of_debt: Build) -> None:
    """Stripe does not know it: nothing was sent, and making another object would collect beside it."""
    for debt in ("pi_of_another_account", "in_of_another_account"):
        outcome = await gateway.charge(of_debt("pm_ok", debt))

        assert isinstance(outcome, Declined)
        assert outcome.decline.code == "resource_missing"


async def test_a_look_at_the_debt_that_can_not_connect_is_not_sent(
    fake_stripe: FakeStripe, failed: dict[str, Any], of_debt: Build
) -> None:
    """Nothing left, so the same key may be sent later."""
    gateway = a_gateway(fake_stripe)
    fake_stripe.stop()

    assert isinstance(await gateway.charge(of_debt("pm_ok", failed["id"])), NotSent)


# --- in any order -----------------------------------------------------------------------------------------------------

FAULTS = st.lists(st.sampled_from(["lose", "lose_before", "500", "decline:do_not_honor", "429"]), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=FAULTS, on_invoice=st.booleans(), looks=st.integers(0, 2))
async def test_whatever_is_lost_money_comes_once(
    gateway: StripeGateway, fake_stripe: FakeStripe, of_debt: Build, words: list[str], on_invoice: bool, looks: int
) -> None:
    """Re-sends, look-ups and new attempts over one object, in any mix: the debt is paid once and never twice."""
    made = datetime.now(UTC) - timedelta(seconds=1)
    before = len(fake_stripe.charges)
    if on_invoice:
        debt = fake_stripe.billing.invoice(1999)["id"]
    else:
        debt = fake_stripe.paying.made(1999, "eur", customer="cus_a")["id"]

    for word in [*words, "ok"]:
        request = of_debt(f"pm_{word}", debt, first_sent_at=made)
        outcome: Any = await charge_guarded(gateway, request)
        for _ in range(looks):
            await find_charge_guarded(gateway, request)
        while isinstance(outcome, Unknown | NotSent):
            outcome = await charge_guarded(gateway, request)
        assert isinstance(outcome, Succeeded | Declined)

    paid = [one for one in list(fake_stripe.charges.values())[before:] if one["status"] == "succeeded"]
    assert [one["amount_captured"] for one in paid] == [1999]
