"""Stripe's webhooks: what is believed, and what an event means for us."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.decline import DeclineCategory
from recoup_plugins import (
    Declined,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    Network,
    Pending,
    Succeeded,
    WebhookRefused,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe

OLD, NEW = "whsec_old", "whsec_new"
ATTEMPT = UUID("0193a000-0000-7000-8000-00000000000a")
OURS = {"recoup_attempt": str(ATTEMPT)}

Parse = Callable[[Any], GatewayEvent]


@pytest.fixture
def gateway(standing_clock: Any) -> StripeGateway:
    options = {"api_key": "sk_test_x", "webhook_secrets": [OLD, NEW], "clock": standing_clock}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))


def signed(body: str, at: float, secret: str = NEW) -> Mapping[str, str]:
    return {"stripe-signature": stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=int(at))}


def an_event(kind: str, **of_intent: Any) -> dict[str, Any]:
    intent = {
        "id": "pi_a",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 4900,
        "currency": "usd",
        "customer": "cus_a",
        "payment_method": "pm_a",
        "payment_method_types": ["card"],
        "metadata": {},
        **of_intent,
    }
    return {"id": "evt_a", "type": kind, "created": 1_700_000_000, "data": {"object": intent}}


@pytest.fixture
def parse(gateway: StripeGateway, standing_clock: Any) -> Parse:
    """Sign an event as Stripe would now, and parse it."""

    def parse(event: Any) -> GatewayEvent:
        body = json.dumps(event)
        (parsed,) = gateway.parse_event(signed(body, standing_clock.now().timestamp()), body.encode())
        return parsed

    return parse


# --- meaning ----------------------------------------------------------------------------------------------------------


def test_nothing_is_kept_that_lets_its_holder_act_for_the_customer(parse: Parse) -> None:
    """Whoever may read an event must not find the invoice's own page, or what confirms an intent, in it."""
    page = "https://invoice.stripe.com/i/acct_1/live_secret"
    event = an_event("payment_intent.succeeded", client_secret="pi_a_secret_x", amount_received=4800, metadata=OURS)
    event["data"]["object"]["charges"] = [{"receipt_url": page, "id": "ch_a"}]

    kept = json.dumps(parse(event).payload)

    assert "pi_a_secret_x" not in kept
    assert page not in kept
    assert '"ch_a"' in kept


def test_a_success_of_ours_settles_the_attempt(parse: Parse) -> None:
    """What was received counts, not what was asked."""
    event = parse(an_event("payment_intent.succeeded", amount_received=4800, metadata=OURS))

    assert event.attempt_id == ATTEMPT
    assert event.outcome == Succeeded(gateway_ref="pi_a", amount=Money(4800, "USD"))


def test_a_success_of_others_is_told_by_its_id(parse: Parse) -> None:
    """A payment that we chase may be paid at the gateway without us."""
    event = parse(an_event("payment_intent.succeeded"))

    assert event.attempt_id is None
    assert (event.gateway_ref, event.failure) == ("pi_a", None)
    assert isinstance(event.outcome, Succeeded)


def test_a_failure_of_ours_is_a_decline_and_opens_nothing(parse: Parse) -> None:
    """Our own attempt's failure must not open a second case."""
    error = {"code": "card_declined", "decline_code": "insufficient_funds", "network_decline_code": "51"}

    event = parse(an_event("payment_intent.payment_failed", metadata=OURS, last_payment_error=error))

    assert isinstance(event.outcome, Declined)
    assert (event.outcome.decline.code, event.outcome.decline.network_code) == ("insufficient_funds", "51")
    assert event.failure is None


def test_a_failure_of_others_carries_all_that_a_case_needs(parse: Parse) -> None:
    """Reference, credential, account, network and country come from where Stripe keeps them."""
    card = {"brand": "amex", "country": "FR", "fingerprint": "fp_1"}
    error = {"decline_code": "do_not_honor", "payment_method": {"id": "pm_used", "type": "card", "card": card}}

    event = parse(an_event("payment_intent.payment_failed", metadata={"reference": "INV-9"}, last_payment_error=error))

    failure = event.failure
    assert failure is not None
    assert (failure.payment_reference, failure.amount, failure.method) == ("INV-9", Money(4900, "USD"), Method.CARD)
    assert (failure.token, failure.gateway_customer, failure.customer_ref) == ("pm_used", "cus_a", "cus_a")
    assert (failure.fingerprint, failure.network, failure.country) == ("fp_1", Network.AMERICAN_EXPRESS, "FR")
    assert isinstance(event.outcome, Declined)


def test_a_failure_without_metadata_is_named_after_the_intent(parse: Parse) -> None:
    """The PaymentIntent is the debt's name where the biller gave none."""
    event = parse(an_event("payment_intent.payment_failed"))

    assert event.failure is not None
    assert event.failure.payment_reference == "pi_a"


@pytest.mark.parametrize(
    "changes", [{"customer": None}, {"payment_method_types": ["klarna"]}, {"currency": "xxx"}, {"currency": "irr"}]
)
def test_a_failure_that_can_not_be_collected_later_is_only_kept(parse: Parse, changes: dict[str, Any]) -> None:
    """Without a customer, or by a method or currency we can't charge, there is nothing to retry."""
    event = parse(an_event("payment_intent.payment_failed", **changes))

    assert event.failure is None


def test_processing_is_pending(parse: Parse) -> None:
    """A bank debit on its way."""
    event = parse(an_event("payment_intent.processing", status="processing", metadata=OURS))

    assert event.outcome == Pending(gateway_ref="pi_a")


@pytest.mark.parametrize(
    ("kind", "status", "category"),
    [
        ("payment_intent.canceled", "canceled", DeclineCategory.CONFIGURATION),
        ("payment_intent.requires_action", "requires_action", DeclineCategory.AUTHENTICATION_REQUIRED),
    ],
)
def test_a_canceled_or_waiting_intent_ends_our_attempt_and_means_nothing_of_others(
    parse: Parse, kind: str, status: str, category: DeclineCategory
) -> None:
    """In somebody's checkout both are daily life."""
    ours, others = parse(an_event(kind, status=status, metadata=OURS)), parse(an_event(kind, status=status))

    assert isinstance(ours.outcome, Declined)
    assert ours.outcome.decline.category is category
    assert others.outcome is None


@pytest.mark.parametrize("kind", ["charge.succeeded", "charge.failed", "customer.created", "v2.core.event"])
def test_other_kinds_are_kept_whole(parse: Parse, kind: str) -> None:
    """What we don't act on today may be asked for tomorrow."""
    sent = {"id": "evt_b", "type": kind, "created": 1_700_000_000, "data": {"object": {"deep": [1]}}, "livemode": False}

    event = parse(sent)

    assert (event.outcome, event.failure) == (None, None)
    assert event.payload == sent


@pytest.mark.parametrize(
    "thing", [None, [], "x", {"id": 7}, {"id": "pi", "status": "succeeded", "amount": "many", "currency": "eur"}]
)
def test_a_known_kind_of_an_unknown_shape_is_kept(parse: Parse, thing: Any) -> None:
    """A signed event is never refused for what it holds: Stripe would deliver it for three days."""
    event = parse({**an_event("payment_intent.succeeded"), "data": {"object": thing}})

    assert (event.kind, event.outcome, event.gateway_ref) == ("payment_intent.succeeded", None, None)


@pytest.mark.parametrize("metadata", [{"recoup_attempt": "not an id"}, {"recoup_attempt": ""}])
def test_metadata_that_only_looks_like_ours_is_not_ours(parse: Parse, metadata: dict[str, str]) -> None:
    """Anybody at the merchant may write metadata."""
    assert parse(an_event("payment_intent.succeeded", metadata=metadata)).attempt_id is None


# --- trust ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_while_a_secret_is_rolled_both_are_taken(gateway: StripeGateway, standing_clock: Any, secret: str) -> None:
    """Stripe signs with both for a day."""
    body = json.dumps(an_event("payment_intent.succeeded"))

    events = gateway.parse_event(signed(body, standing_clock.now().timestamp(), secret), body.encode())

    assert len(events) == 1


@pytest.mark.parametrize(("away_s", "taken"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_the_age_is_checked_in_both_directions(
    gateway: StripeGateway, standing_clock: Any, away_s: int, taken: bool
) -> None:
    """The SDK takes a timestamp from the future; we don't."""
    body = json.dumps(an_event("payment_intent.succeeded"))
    headers = signed(body, standing_clock.now().timestamp() + away_s)

    if taken:
        assert gateway.parse_event(headers, body.encode())
    else:
        with pytest.raises(WebhookRefused, match="timestamp"):
            gateway.parse_event(headers, body.encode())


def test_the_time_that_is_checked_is_the_time_that_is_signed(gateway: StripeGateway, standing_clock: Any) -> None:
    """A second `t` before or after an old signature does not make it young."""
    body, now = json.dumps(an_event("payment_intent.succeeded")), int(standing_clock.now().timestamp())
    old = signed(body, now - 1000)["stripe-signature"]

    for header in (f"{old},t={now}", f"t={now},{old}", old.replace(",", f"={now},", 1), f" {old}"):
        with pytest.raises(WebhookRefused):
            gateway.parse_event({"stripe-signature": header}, body.encode())


@pytest.mark.parametrize("body", ["", "null", "[]", "{", '"x"', "{}", '{"id": "evt"}', "[" * 10_000])
def test_a_well_signed_body_that_is_no_event_is_refused(gateway: StripeGateway, standing_clock: Any, body: str) -> None:
    """The signature is right, the content is none."""
    with pytest.raises(WebhookRefused):
        gateway.parse_event(signed(body, standing_clock.now().timestamp()), body.encode())


def test_without_a_secret_every_webhook_is_refused() -> None:
    """An unconfigured endpoint believes nobody, not even an empty secret."""
    gateway = make_stripe(GatewaySettings(name="stripe", plugin="stripe", options={"api_key": "sk_test_x"}))

    with pytest.raises(WebhookRefused):
        gateway.parse_event(signed("{}", 1_700_000_000, ""), b"{}")


@given(header=st.text(), body=st.binary(max_size=200))
def test_no_header_and_no_body_raises_anything_else(header: str, body: bytes) -> None:
    """Strangers can post anything to the endpoint."""
    options = {"api_key": "sk_test_x", "webhook_secrets": [NEW]}
    gateway = make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))

    for tried in (header, f"t={header},v1={header}", f"t=1700000000,v1={header}"):
        with pytest.raises(WebhookRefused):
            gateway.parse_event({"stripe-signature": tried}, body)
