"""What Stripe's webhooks tell of refunds, authorisations and disputes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from recoup_plugins import (
    Canceled,
    CaptureState,
    Declined,
    DisputeState,
    FailureCategory,
    GatewayEvent,
    GatewaySettings,
    Money,
    Pending,
    Refunded,
    Refused,
    TakenBack,
)
from recoup_plugins.gateways.stripe import make_stripe
from recoup_plugins.gateways.stripe_events import read_event

SECRET = "whsec_news"
PART = UUID("0193a000-0000-7000-8000-00000000000b")
REFUND_KINDS = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")
DISPUTE_KINDS = ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")

Tell = Callable[..., GatewayEvent]


@pytest.fixture
def tell(standing_clock: Any) -> Tell:
    """Sign an event about an object as Stripe would now, and parse it."""
    options = {"api_key": "sk_test_x", "webhook_secrets": [SECRET], "clock": standing_clock}
    gateway = make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))

    def tell(kind: str, about: Any) -> GatewayEvent:
        body = json.dumps({"id": "evt_a", "type": kind, "created": 1_700_000_000, "data": {"object": about}})
        at = int(standing_clock.now().timestamp())
        header = stripe.WebhookSignature.generate_signature_header(body, SECRET, timestamp=at)
        (event,) = gateway.parse_event({"stripe-signature": header}, body.encode())
        return event

    return tell


def a_refund(**changes: Any) -> dict[str, Any]:
    return {
        "id": "re_a",
        "object": "refund",
        "amount": 1999,
        "currency": "eur",
        "charge": "ch_a",
        "payment_intent": "pi_a",
        "status": "succeeded",
        "metadata": {"recoup_part": str(PART)},
        **changes,
    }


def a_dispute(**changes: Any) -> dict[str, Any]:
    return {
        "id": "dp_a",
        "object": "dispute",
        "amount": 1999,
        "currency": "eur",
        "charge": "ch_a",
        "payment_intent": "pi_a",
        "status": "needs_response",
        "reason": "product_not_received",
        "evidence_details": {"due_by": 1_800_000_000},
        "balance_transactions": [],
        **changes,
    }


# --- refunds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFUND_KINDS)
def test_a_refund_event_names_our_part_and_the_charge_by_all_its_names(tell: Tell, kind: str) -> None:
    """A capture may have been reported by its charge or by its PaymentIntent."""
    event = tell(kind, a_refund())

    assert event.refund is not None
    assert (event.refund.refund_ref, event.refund.part_id) == ("re_a", PART)
    assert (event.refund.charge_ref, event.refund.other_charge_refs) == ("pi_a", ("ch_a",))
    assert event.refund.amount == Money(1999, "EUR")
    assert event.refund.outcome == Refunded(gateway_ref="re_a", amount=Money(1999, "EUR"))
    assert (event.outcome, event.attempt_id, event.gateway_ref) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"status": "pending", "pending_reason": "insufficient_funds"}, Pending),
        ({"status": "requires_action"}, Pending),
        ({"status": "canceled"}, Canceled),
        ({"status": "failed", "failure_reason": "declined"}, Refused),
        ({"status": "failed", "failure_reason": "declined", "failure_balance_transaction": "txn_a"}, TakenBack),
        ({"status": "failed", "failure_reason": "declined", "failure_balance_transaction": {"id": "txn_a"}}, TakenBack),
    ],
)
def test_the_state_of_a_refund_is_told(tell: Tell, changes: dict[str, Any], outcome: type) -> None:
    """A failure whose money came back to the balance had left before."""
    event = tell("refund.updated", a_refund(**changes))

    assert event.refund is not None
    assert type(event.refund.outcome) is outcome
    if isinstance(event.refund.outcome, Refused | TakenBack):
        assert event.refund.outcome.failure.category is FailureCategory.REFUSED


def test_a_refund_of_others_has_no_part_of_ours(tell: Tell) -> None:
    """Made in Stripe's dashboard: known by its charge; a bare charge has one name only."""
    event = tell("refund.created", a_refund(metadata={"recoup_part": "not ours"}, payment_intent=None))

    assert event.refund is not None
    assert event.refund.part_id is None
    assert (event.refund.charge_ref, event.refund.other_charge_refs) == ("ch_a", ())


@pytest.mark.parametrize(
    "about",
    [
        a_refund(status="on_the_moon"),
        a_refund(status=None),
        a_refund(currency="irr"),
        a_refund(amount="much"),
        {"id": "re_a"},
        ["full"],
        None,
    ],
)
def test_a_refund_of_a_shape_nobody_knows_is_kept_and_means_nothing(tell: Tell, about: Any) -> None:
    """Refusing the webhook would make Stripe deliver it for days."""
    event = tell("refund.updated", about)

    assert event.refund is None
    assert event.payload["data"]["object"] == about


def test_the_charges_own_event_is_no_proof_of_a_refund(tell: Tell) -> None:
    """`charge.refunded` comes for every refund, whatever became of it: only the refund's own object counts."""
    event = tell("charge.refunded", {"id": "ch_a", "amount_refunded": 1999, "currency": "eur"})

    assert (event.refund, event.capture, event.dispute) == (None, None, None)


# --- disputes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "standing"),
    [
        ("warning_needs_response", DisputeState.INQUIRY),
        ("warning_under_review", DisputeState.INQUIRY),
        ("warning_closed", DisputeState.CLOSED),
        ("prevented", DisputeState.CLOSED),
        ("needs_response", DisputeState.OPEN),
        ("under_review", DisputeState.OPEN),
        ("appeal_under_review", DisputeState.LOST),
        ("won", DisputeState.WON),
        ("lost", DisputeState.LOST),
    ],
)
def test_the_standing_of_a_dispute_is_told(tell: Tell, status: str, standing: DisputeState) -> None:
    """An inquiry has moved no money; an appeal follows a loss and leaves it standing."""
    event = tell("charge.dispute.updated", a_dispute(status=status))

    assert event.dispute is not None
    assert event.dispute.standing is standing


@pytest.mark.parametrize("what", DISPUTE_KINDS)
def test_a_dispute_event_tells_all_that_is_known(tell: Tell, what: str) -> None:
    """Charge, amount, reason, the day evidence is due, and Stripe's fee, which may be in another currency."""
    fees = [{"fee": 1500, "currency": "usd"}, {"fee": 500, "currency": "usd"}, {"fee": 0, "currency": "eur"}]

    event = tell(f"charge.dispute.{what}", a_dispute(balance_transactions=fees))

    assert event.dispute is not None
    assert (event.dispute.dispute_ref, event.dispute.charge_ref) == ("dp_a", "pi_a")
    assert event.dispute.other_charge_refs == ("ch_a",)
    assert (event.dispute.amount, event.dispute.fee) == (Money(1999, "EUR"), Money(2000, "USD"))
    assert event.dispute.reason == "product_not_received"
    assert event.dispute.evidence_due_at == datetime.fromtimestamp(1_800_000_000, UTC)


def test_a_fee_that_came_back_is_none(tell: Tell) -> None:
    """A won dispute reverses its fee at some contracts."""
    fees = [{"fee": 1500, "currency": "eur"}, {"fee": -1500, "currency": "eur"}]

    event = tell("charge.dispute.closed", a_dispute(status="won", balance_transactions=fees))

    assert event.dispute is not None
    assert event.dispute.fee is None


@pytest.mark.parametrize(
    "changes", [{"status": "on_the_moon"}, {"charge": None, "payment_intent": None}, {"currency": "irr"}]
)
def test_a_dispute_that_says_too_little_is_kept_and_means_nothing(tell: Tell, changes: dict[str, Any]) -> None:
    """An unknown standing must not freeze or free any money."""
    assert tell("charge.dispute.updated", a_dispute(**changes)).dispute is None


# --- authorisations ---------------------------------------------------------------------------------------------------


def an_intent(**changes: Any) -> dict[str, Any]:
    return {
        "id": "pi_a",
        "object": "payment_intent",
        "status": "requires_capture",
        "amount": 4900,
        "amount_capturable": 4900,
        "currency": "usd",
        "latest_charge": "ch_a",
        "metadata": {},
        **changes,
    }


def test_an_authorisation_is_told(tell: Tell) -> None:
    """Its amount is what can be captured."""
    event = tell("payment_intent.amount_capturable_updated", an_intent(amount_capturable=4000))

    assert event.capture is not None
    assert (event.capture.charge_ref, event.capture.other_charge_refs) == ("pi_a", ("ch_a",))
    assert (event.capture.amount, event.capture.standing) == (Money(4000, "USD"), CaptureState.AUTHORIZED)


def test_a_capture_is_told_with_what_was_captured(tell: Tell) -> None:
    """Less than was authorised may be captured."""
    charge = {"id": "ch_a", "currency": "usd", "amount": 4900, "amount_captured": 4500, "payment_intent": "pi_a"}

    event = tell("charge.captured", charge)
    bare = tell("charge.captured", {**charge, "payment_intent": None})

    assert event.capture is not None
    assert (event.capture.charge_ref, event.capture.other_charge_refs) == ("pi_a", ("ch_a",))
    assert (event.capture.amount, event.capture.standing) == (Money(4500, "USD"), CaptureState.CAPTURED)
    assert bare.capture is not None
    assert (bare.capture.charge_ref, bare.capture.other_charge_refs) == ("ch_a", ())


def test_a_void_is_told_of_what_had_been_authorised(tell: Tell) -> None:
    """A checkout that was left, or whose charge was declined, held no money; our own attempt is no authorisation."""
    canceled = an_intent(status="canceled", amount_capturable=0)

    void = tell("payment_intent.canceled", canceled)
    left = tell("payment_intent.canceled", {**canceled, "latest_charge": None})
    declined = tell("payment_intent.canceled", {**canceled, "last_payment_error": {"code": "card_declined"}})
    ours = tell("payment_intent.canceled", {**canceled, "metadata": {"recoup_attempt": str(PART)}})
    nothing = tell("payment_intent.amount_capturable_updated", an_intent(amount_capturable=0))

    assert void.capture is not None
    assert (void.capture.amount, void.capture.standing) == (Money(4900, "USD"), CaptureState.VOIDED)
    assert (left.capture, declined.capture, ours.capture, nothing.capture) == (None, None, None, None)
    assert isinstance(ours.outcome, Declined)


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    kind=st.sampled_from([*REFUND_KINDS, *(f"charge.dispute.{what}" for what in DISPUTE_KINDS), "charge.captured"]),
    base=st.sampled_from([a_refund(), a_dispute(), an_intent()]),
    field=st.sampled_from(["id", "amount", "currency", "status", "charge", "metadata", "evidence_details", "reason"]),
    value=SHAPES,
)
def test_no_object_makes_an_event_unreadable(kind: str, base: dict[str, Any], field: str, value: Any) -> None:
    """Whatever stands in a field, the event is kept."""
    body = json.dumps({"id": "e", "type": kind, "created": 1, "data": {"object": {**base, field: value}}})

    assert read_event(body.encode()).kind == kind
