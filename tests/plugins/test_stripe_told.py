"""What Stripe's events say beyond PaymentIntents: invoices, payment methods, warnings, payouts; and their list."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.plugins.fake_stripe import KEY, SECRET, FakeStripe
from tests.plugins.fake_stripe_events import delivery

from recoup_core.domain.capture import CaptureState
from recoup_plugins import (
    ChargeRequest,
    CredentialChange,
    CredentialNews,
    Declined,
    DisputeState,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    Network,
    SettlementNews,
    StoredCredential,
    Succeeded,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_errors import StripeAnswerLost
from recoup_plugins.gateways.stripe_events import KINDS

Parse = Callable[..., GatewayEvent]


def a_gateway(fake: FakeStripe) -> StripeGateway:
    options = {"api_key": KEY, "api_base": fake.url, "webhook_secrets": [SECRET], "timeout_s": 2.0}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))


@pytest.fixture
def gateway(fake_stripe: FakeStripe) -> StripeGateway:
    return a_gateway(fake_stripe)


@pytest.fixture
def parse(gateway: StripeGateway, fake_stripe: FakeStripe) -> Parse:
    """Have Stripe tell of an object, and read it."""

    def parse(kind: str, about: dict[str, Any], before: dict[str, Any] | None = None) -> GatewayEvent:
        sent = delivery(fake_stripe.events.tell(kind, about, before))
        (event,) = gateway.parse_event(sent.headers, sent.body)
        return event

    return parse


@pytest.fixture
def told(gateway: StripeGateway, fake_stripe: FakeStripe) -> Callable[[], list[GatewayEvent]]:
    """Read everything that Stripe would have sent so far."""
    return lambda: [event for sent in fake_stripe.webhooks() for event in gateway.parse_event(sent.headers, sent.body)]


def an_invoice(**changes: Any) -> dict[str, Any]:
    return {
        "id": "in_a",
        "object": "invoice",
        "amount_due": 4900,
        "amount_paid": 0,
        "amount_remaining": 4900,
        "attempt_count": 1,
        "attempted": True,
        "auto_advance": True,
        "currency": "usd",
        "customer": "cus_a",
        "metadata": {},
        "next_payment_attempt": None,
        "status": "open",
        **changes,
    }


# --- invoices ---------------------------------------------------------------------------------------------------------


def test_a_failed_invoice_says_when_stripe_tries_again(parse: Parse) -> None:
    """Then the debt has its owner."""
    event = parse("invoice.payment_failed", an_invoice(next_payment_attempt=1_799_000_000))

    assert event.failure is not None
    assert event.failure.next_attempt_at == datetime.fromtimestamp(1_799_000_000, UTC)
    assert (event.failure.debt_ref, event.failure.retries_ended) == ("in_a", False)
    assert (event.failure.amount, event.failure.customer_ref) == (Money(4900, "USD"), "cus_a")


@pytest.mark.parametrize(("attempts", "ended"), [(0, False), (1, True), (5, True)])
def test_a_failed_invoice_says_when_stripe_has_given_up(parse: Parse, attempts: int, ended: bool) -> None:
    """Tried, and no next attempt planned."""
    event = parse("invoice.payment_failed", an_invoice(attempt_count=attempts))

    assert event.failure is not None
    assert (event.failure.next_attempt_at, event.failure.retries_ended) == (None, ended)


def test_a_failed_invoice_and_its_intent_are_one_try_and_one_debt(
    fake_stripe: FakeStripe, told: Callable[[], list[GatewayEvent]]
) -> None:
    """The PaymentIntent's event tells the try and its reason, the invoice's who goes on; neither counts twice."""
    invoice = fake_stripe.billing.invoice(1999)
    fake_stripe.billing.pay({"id": invoice["id"], "payment_method": "pm_a"}, "decline", ["insufficient_funds"])

    events = [event for event in told() if event.failure is not None]

    by_kind = {event.kind: event for event in events}
    assert set(by_kind) == {"payment_intent.payment_failed", "invoice.payment_failed"}
    tried = by_kind["payment_intent.payment_failed"].outcome
    assert isinstance(tried, Declined)
    assert tried.try_ref == fake_stripe.billing.intent_of(invoice["id"])["latest_charge"]
    assert by_kind["invoice.payment_failed"].outcome is None
    assert {event.failure.debt_ref for event in events if event.failure} == {invoice["id"]}
    assert {event.failure.payment_reference for event in events if event.failure} == {invoice["id"]}


def test_a_paid_invoice_is_told_by_what_can_be_refunded(
    fake_stripe: FakeStripe, told: Callable[[], list[GatewayEvent]]
) -> None:
    """Several events tell of one success: all name the same charge, and the invoice as the debt."""
    invoice = fake_stripe.billing.invoice(1999)
    fake_stripe.billing.pay({"id": invoice["id"], "payment_method": "pm_a"}, "ok", [])

    paid = [event for event in told() if event.outcome is not None]

    intent = fake_stripe.billing.intent_of(invoice["id"])["id"]
    assert {event.kind for event in paid} == {"payment_intent.succeeded", "invoice_payment.paid"}
    for event in paid:
        assert isinstance(event.outcome, Succeeded)
        assert (event.outcome.gateway_ref, event.outcome.amount) == (intent, Money(1999, "EUR"))
        assert event.payment_reference == invoice["id"]


def test_older_versions_name_the_charge_on_the_invoice(parse: Parse) -> None:
    """Before 2025-03-31 there was no `invoice_payment.paid`."""
    paid = an_invoice(status="paid", amount_paid=4900, payment_intent="pi_a", charge="ch_a")

    event = parse("invoice.paid", paid)

    assert event.outcome == Succeeded(gateway_ref="pi_a", amount=Money(4900, "USD"), try_ref="ch_a")


def test_an_invoice_that_was_settled_by_credit_is_no_charge(parse: Parse) -> None:
    """Nothing came in through Stripe."""
    event = parse("invoice.paid", an_invoice(status="paid", amount_paid=0))

    assert (event.outcome, event.payment_reference) == (None, "in_a")


def test_an_invoice_payment_made_outside_stripe_has_its_own_name(parse: Parse) -> None:
    """Stripe could not refund it."""
    about = {
        "id": "inpay_a",
        "object": "invoice_payment",
        "amount_paid": 4900,
        "currency": "usd",
        "invoice": "in_a",
        "payment": {"type": "payment_record", "payment_record": "pr_a"},
        "status": "paid",
    }

    event = parse("invoice_payment.paid", about)

    assert event.outcome == Succeeded(gateway_ref="inpay_a", amount=Money(4900, "USD"))


def test_an_order_reference_of_the_merchants_own_is_no_invoice(parse: Parse, fake_stripe: FakeStripe) -> None:
    """Only an invoice's id counts as one."""
    intent = fake_stripe.paying.made(1999, customer="cus_a", payment_details={"order_reference": "order-17"})

    event = parse("payment_intent.payment_failed", intent)

    assert event.failure is not None
    assert (event.failure.debt_ref, event.failure.payment_reference) == (None, intent["id"])


# --- stored payment methods -------------------------------------------------------------------------------------------

CARD = {
    "id": "pm_a",
    "object": "payment_method",
    "type": "card",
    "customer": "cus_a",
    "card": {"brand": "visa", "fingerprint": "fp_a", "country": "FR", "exp_month": 12, "exp_year": 2030},
}
NOW = StoredCredential(
    token="pm_a",
    gateway_customer="cus_a",
    method=Method.CARD,
    network=Network.VISA,
    fingerprint="fp_a",
    country="FR",
    expires_on="2030-12",
)


@pytest.mark.parametrize(
    ("kind", "before", "change"),
    [
        ("payment_method.automatically_updated", {"card": {"exp_year": 2026}}, CredentialChange.UPDATED),
        ("payment_method.updated", {"card": {"exp_year": 2026}}, CredentialChange.UPDATED),
        ("payment_method.updated", None, CredentialChange.UPDATED),
        ("payment_method.attached", None, CredentialChange.ADDED),
    ],
)
def test_a_renewed_or_added_card_is_told_as_it_is_now(
    parse: Parse, kind: str, before: dict[str, Any] | None, change: CredentialChange
) -> None:
    """Card updater and network tokens keep the id and change what is behind it."""
    event = parse(kind, CARD, before)

    assert event.credential == CredentialNews(change=change, token="pm_a", gateway_customer="cus_a", now=NOW)


def test_a_changed_address_is_no_new_card(parse: Parse) -> None:
    """Nothing that was declined would be tried again for it."""
    assert parse("payment_method.updated", CARD, {"billing_details": {"address": {}}}).credential is None


def test_a_detached_card_is_gone_and_still_known(parse: Parse) -> None:
    """Stripe has already taken the customer off the object; what it was before names it."""
    event = parse("payment_method.detached", {**CARD, "customer": None}, {"customer": "cus_a"})

    assert event.credential == CredentialNews(
        change=CredentialChange.REMOVED, token="pm_a", gateway_customer="cus_a", reason="detached"
    )


@pytest.mark.parametrize(("status", "removed"), [("inactive", True), ("active", False), ("pending", False)])
def test_a_mandate_that_was_taken_back_ends_the_bank_account(parse: Parse, status: str, removed: bool) -> None:
    """A debit without a mandate is a return for sure."""
    event = parse("mandate.updated", {"id": "mandate_a", "status": status, "payment_method": "pm_a"})

    assert (event.credential is not None) is removed
    if event.credential is not None:
        assert (event.credential.change, event.credential.token) == (CredentialChange.REMOVED, "pm_a")


def test_an_early_fraud_warning_names_the_charge(parse: Parse) -> None:
    """TC40 and SAFE reports: the payment method behind the charge is suspected."""
    about = {"id": "issfr_a", "charge": "ch_a", "payment_intent": "pi_a", "fraud_type": "made_with_stolen_card"}

    event = parse("radar.early_fraud_warning.created", about)

    assert event.credential == CredentialNews(
        change=CredentialChange.SUSPECTED,
        charge_ref="pi_a",
        other_charge_refs=("ch_a",),
        reason="made_with_stolen_card",
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("thing", [None, [], "x", 7, {}, {"id": 7}, {"id": "x", "type": "klarna", "status": []}])
def test_a_known_kind_of_any_shape_is_kept(gateway: StripeGateway, kind: str, thing: Any) -> None:
    """A signed event is never refused for what it holds: Stripe would deliver it for three days."""
    sent = delivery({"id": "evt_a", "type": kind, "created": 1_790_000_000, "data": {"object": thing}})

    (event,) = gateway.parse_event(sent.headers, sent.body)

    assert (event.kind, event.outcome, event.credential) == (kind, None, None)


# --- captures, disputes, payouts --------------------------------------------------------------------------------------


def test_a_charge_that_was_captured_for_less_says_how_much(parse: Parse) -> None:
    """The rest was never collected."""
    about = {"id": "ch_a", "amount": 5000, "amount_captured": 3000, "currency": "eur", "payment_intent": "pi_a"}

    event = parse("charge.captured", about)

    assert event.capture is not None
    assert (event.capture.amount, event.capture.standing) == (Money(3000, "EUR"), CaptureState.CAPTURED)


async def test_a_dispute_is_told_from_its_opening_to_its_end(
    gateway: StripeGateway,
    fake_stripe: FakeStripe,
    a_request: Callable[..., ChargeRequest],
    told: Callable[[], list[GatewayEvent]],
) -> None:
    """Withdrawn and reinstated funds repeat the dispute's own standing, in whatever order they come."""
    paid = await gateway.charge(a_request("pm_ok"))
    assert isinstance(paid, Succeeded)
    fake_stripe.back.close_dispute(fake_stripe.open_dispute(paid.gateway_ref), "won")

    standings = [(event.kind, event.dispute.standing) for event in told() if event.dispute is not None]

    assert standings == [
        ("charge.dispute.created", DisputeState.OPEN),
        ("charge.dispute.funds_withdrawn", DisputeState.OPEN),
        ("charge.dispute.closed", DisputeState.WON),
        ("charge.dispute.funds_reinstated", DisputeState.WON),
    ]


@pytest.mark.parametrize("kind", ["payout.paid", "payout.reconciliation_completed"])
@pytest.mark.parametrize("automatic", [True, False])
def test_a_payout_names_the_report_that_can_be_fetched(parse: Parse, kind: str, automatic: bool) -> None:
    """One that somebody made by hand holds no transactions that Stripe could name."""
    event = parse(kind, {"id": "po_a", "object": "payout", "automatic": automatic})

    assert event.settlement == (SettlementNews(report_ref="po_a") if automatic else None)


# --- the list ---------------------------------------------------------------------------------------------------------


async def test_listed_events_are_the_webhooks_once_more(
    gateway: StripeGateway,
    fake_stripe: FakeStripe,
    a_request: Callable[..., ChargeRequest],
    told: Callable[[], list[GatewayEvent]],
) -> None:
    """Same ids, same meaning, oldest first: what never came is caught up with, what came is known."""
    await gateway.charge(a_request("pm_ok"))
    await gateway.charge(a_request("pm_decline:do_not_honor"))

    page = await gateway.list_events(datetime.now(UTC) - timedelta(hours=1), None)

    assert list(page.events) == [event for event in told() if event.kind in KINDS]
    assert page.cursor is None


async def test_the_cursor_leads_through_all_pages(
    gateway: StripeGateway, fake_stripe: FakeStripe, parse: Parse
) -> None:
    """None is left out between two pages, and the last one says so."""
    sent = [parse("payout.paid", {"id": f"po_{one}"}).external_id for one in "abcde"]
    fake_stripe.page_size, cursor, seen = 2, None, []

    for _ in range(3):
        page = await gateway.list_events(datetime.now(UTC) - timedelta(hours=1), cursor)
        seen[:0] = [event.external_id for event in page.events]
        cursor = page.cursor

    assert (seen, cursor) == (sent, None)


async def test_only_events_since_then_that_mean_something_are_listed(
    gateway: StripeGateway, fake_stripe: FakeStripe
) -> None:
    """Stripe's filter takes twenty kinds, we know more: the rest is left out here."""
    fake_stripe.events.tell("payout.paid", {"id": "po_old"})["created"] -= 7200
    fake_stripe.events.tell("customer.created", {"id": "cus_a"})
    fake_stripe.events.tell("payout.paid", {"id": "po_a"})

    page = await gateway.list_events(datetime.now(UTC) - timedelta(hours=1), None)

    assert [event.settlement for event in page.events] == [SettlementNews(report_ref="po_a")]


async def test_a_list_that_can_not_be_had_is_raised(gateway: StripeGateway, fake_stripe: FakeStripe) -> None:
    """ "No events" would be taken for an answer."""
    fake_stripe.mode = "down"

    with pytest.raises(StripeAnswerLost):
        await gateway.list_events(datetime.now(UTC), None)
