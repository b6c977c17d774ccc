"""What Adyen's events tell of charges: ours, made elsewhere, or by Auto Rescue. Everything else: test_adyen_news.py."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.counterparts.adyen_documents import adyen_documents
from tests.plugins.adyen_benches import a_gateway, delivered
from tests.plugins.fake_adyen import FakeAdyen
from tests.plugins.fake_adyen_answers import KEY, MERCHANT, notification, signed

from recoup_core.domain.cardnumbers import luhn_valid
from recoup_core.domain.ids import new_id
from recoup_core.flows.scrubbing import scrubbed
from recoup_plugins import (
    ChargeRequest,
    DeclineCategory,
    Declined,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    Network,
    Pending,
    Retryable,
    Succeeded,
)
from recoup_plugins.gateways.adyen import make_adyen
from recoup_plugins.gateways.adyen_events import NEXT_RESCUE, read_items
from recoup_plugins.gateways.adyen_webhooks import Amount, Item

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
PSP = "QFQTPCQ8HXSKGK82"
SHOPPER = {"shopperReference": "shopper_1", "recurring.recurringDetailReference": "M5N7TQ4TG5PFWR50"}


def told(code: str = "AUTHORISATION", **changes: Any) -> GatewayEvent:
    """Read an event as Adyen would send it."""
    values: dict[str, Any] = {
        "psp": PSP,
        "value": 1999,
        "currency": "EUR",
        "at": NOW,
        "reference": "inv-1",
        "method": "mc",
    }
    options = {"api_key": KEY, "merchant_account": MERCHANT, "return_url": "https://x", "hmac_keys": [HMAC]}
    gateway = make_adyen(GatewaySettings(name="adyen", plugin="adyen", options=options))
    (event,) = gateway.parse_event({}, signed(notification(code, **{**values, **changes}), key=HMAC).body)
    return event


HMAC = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"


def test_our_attempt_is_known_by_the_reference_we_gave() -> None:
    """It is signed; a pspReference is not known yet where the answer was lost."""
    attempt = new_id()

    event = told(reference=f"recoup-attempt-{attempt}")

    assert event.attempt_id == attempt
    assert event.gateway_ref == PSP
    assert event.outcome == Succeeded(gateway_ref=PSP, try_ref=PSP, amount=Money(1999, "EUR"))
    assert (event.failure, event.payment_reference) == (None, None)


def test_a_refusal_of_ours_is_classified_by_the_words() -> None:
    """Events have no refusal code, only its name; the issuer's code is there where the account asks for it."""
    attempt = new_id()
    more = {"refusalReasonRaw": "51 : Insufficient funds", "merchantAdviceCode": "24 : Retry after 1 hour"}

    event = told(
        reference=f"recoup-attempt-{attempt}",
        success=False,
        reason="Not enough balance",
        additional={**SHOPPER, **more},
    )

    assert isinstance(event.outcome, Declined)
    assert (event.outcome.decline.code, event.outcome.decline.category) == ("12", DeclineCategory.INSUFFICIENT_FUNDS)
    assert (event.outcome.decline.network_code, event.outcome.decline.advice_code) == ("51", "24")
    assert event.failure is None


def test_a_refusal_without_a_known_reason_gets_no_unattended_retry() -> None:
    """The words are not signed and may be new."""
    event = told(reference=f"recoup-attempt-{new_id()}", success=False, reason="Moon rose")

    assert isinstance(event.outcome, Declined)
    assert (event.outcome.decline.category, event.outcome.decline.retryable) == (DeclineCategory.UNKNOWN, Retryable.NO)


def test_a_success_elsewhere_is_known_by_the_merchants_name_for_the_debt() -> None:
    """At checkout, by a payment link, in another system."""
    event = told()

    assert event.attempt_id is None
    assert event.payment_reference == "inv-1"
    assert isinstance(event.outcome, Succeeded)


def test_a_failure_elsewhere_tells_enough_to_collect_it() -> None:
    """A stored method that was charged while the shopper was away."""
    event = told(success=False, reason="Not enough balance", additional={**SHOPPER, "shopperInteraction": "ContAuth"})

    assert event.failure is not None
    assert (event.failure.payment_reference, event.failure.amount) == ("inv-1", Money(1999, "EUR"))
    assert (event.failure.method, event.failure.network) == (Method.CARD, Network.MASTERCARD)
    assert (event.failure.token, event.failure.gateway_customer) == ("M5N7TQ4TG5PFWR50", "shopper_1")
    assert (event.failure.next_attempt_at, event.failure.retries_ended) == (None, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"additional": {**SHOPPER, "shopperInteraction": "Ecommerce"}},
        {"additional": {}},
        {"additional": {"shopperReference": "shopper_1"}},
        {"additional": SHOPPER, "method": "ideal"},
        {"additional": SHOPPER, "method": None},
        {"additional": SHOPPER, "reference": ""},
    ],
)
def test_a_failure_that_nobody_can_collect_opens_nothing(changes: dict[str, Any]) -> None:
    """A checkout, which the shopper tries again; no stored method; a method we don't know."""
    event = told(success=False, reason="Refused", **changes)

    assert event.failure is None
    assert isinstance(event.outcome, Declined)


def test_a_verification_of_a_card_is_no_charge() -> None:
    """Zero-value authorisations store methods."""
    event = told(value=0)

    assert (event.outcome, event.failure, event.payment_reference) == (None, None, None)


def test_a_currency_we_do_not_collect_in_means_nothing() -> None:
    """Kept all the same."""
    event = told(currency="XTS")

    assert (event.outcome, event.kind) == (None, "AUTHORISATION")


def test_an_offer_that_closed_was_not_paid() -> None:
    """What was pending for too long."""
    event = told("OFFER_CLOSED", reference=f"recoup-attempt-{new_id()}")

    assert isinstance(event.outcome, Declined)


# --- Auto Rescue ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheduled", "again", "ended"), [("true", True, False), ("false", False, True)])
def test_auto_rescue_says_whether_it_goes_on(scheduled: str, again: bool, ended: bool) -> None:
    """Then the debt has an owner, or has lost it."""
    event = told(success=False, reason="Refused", additional={**SHOPPER, "retry.rescueScheduled": scheduled})

    assert event.failure is not None
    assert event.failure.next_attempt_at == (NOW + NEXT_RESCUE if again else None)
    assert event.failure.retries_ended is ended


def test_a_payment_of_ours_that_adyen_tries_again_has_two_owners() -> None:
    """The account was set so behind our back: the case has to rest until a person says who goes on."""
    attempt, more = new_id(), {"retry.rescueScheduled": "true"}

    event = told(reference=f"recoup-attempt-{attempt}", success=False, reason="Not enough balance", additional=more)

    assert event.attempt_id == attempt
    assert isinstance(event.outcome, Declined)
    assert event.failure is not None
    assert event.failure.next_attempt_at is not None


@pytest.mark.parametrize(("code", "success"), [("AUTORESCUE", False), ("CANCEL_AUTORESCUE", True)])
def test_the_end_of_a_rescue_in_vain_gives_the_debt_back(code: str, success: bool) -> None:
    """It is no further try, but speaks of the payment it was for; and it names no shopper."""
    event = told(code, success=success, original="A" * 16, method=None)

    assert isinstance(event.outcome, Declined)
    assert (event.gateway_ref, event.outcome.try_ref) == ("A" * 16, "A" * 16)
    assert event.failure is not None
    assert event.failure.retries_ended
    assert event.failure.payment_reference == "inv-1"


@pytest.mark.parametrize(("code", "success"), [("AUTORESCUE", True), ("CANCEL_AUTORESCUE", False)])
def test_a_rescue_that_worked_is_told_by_its_own_payment(code: str, success: bool) -> None:
    """It would be counted twice; and what could not be called off goes on."""
    event = told(code, success=success, original="A" * 16, additional=SHOPPER)

    assert (event.outcome, event.failure) == (None, None)


async def test_a_rescue_of_our_attempt_is_another_try(
    fake_adyen: FakeAdyen, a_request: Callable[..., ChargeRequest]
) -> None:
    """It carries our reference and a pspReference of its own: flows see that somebody else tried."""
    gateway = a_gateway(fake_adyen)
    request = a_request("tok_refuse:12", gateway_customer="shopper_1")
    declined = await gateway.charge(request)
    assert isinstance(declined, Declined)
    assert declined.gateway_ref is not None

    fake_adyen.rescue(declined.gateway_ref, success=True)

    sent = [delivered(one) for one in fake_adyen.webhooks()]
    first, second = [event for one in sent for event in gateway.parse_event(one.headers, one.body)]
    assert first.attempt_id == second.attempt_id == request.attempt_id
    assert isinstance(first.outcome, Declined)
    assert isinstance(second.outcome, Succeeded)
    assert first.outcome.try_ref == declined.try_ref
    assert second.outcome.try_ref != declined.try_ref


async def test_a_pending_debit_is_told_at_last(fake_adyen: FakeAdyen, a_request: Callable[..., ChargeRequest]) -> None:
    """Days later."""
    gateway = a_gateway(fake_adyen)
    request = a_request("tok_received", gateway_customer="shopper_1", method=Method.SEPA_DEBIT)
    pending = await gateway.charge(request)
    assert isinstance(pending, Pending)

    fake_adyen.finish(pending.gateway_ref, success=True)

    (webhook,) = [delivered(one) for one in fake_adyen.webhooks()]
    (event,) = gateway.parse_event(webhook.headers, webhook.body)
    assert event.attempt_id == request.attempt_id
    assert isinstance(event.outcome, Succeeded)


def test_old_references_of_digits_alone_outlive_the_search_for_card_numbers() -> None:
    """Adyen's were 16 digits until 2020; one in ten of those passes a card's check digit."""
    old = "8515208516304268"
    assert luhn_valid(old)

    kept = msgspec.json.decode(scrubbed(told(psp=old)), type=GatewayEvent)

    assert kept.gateway_ref == old
    assert kept.payload["pspReference"] == old
    assert isinstance(kept.outcome, Succeeded)


# --- whatever comes ---------------------------------------------------------------------------------------------------


def test_every_example_of_adyens_own_document_is_kept() -> None:
    """Some fifty kinds; each is signed as Adyen would and read without a word."""
    documents, why_not = adyen_documents()
    if documents is None:
        pytest.skip(why_not)
    read = 0
    for code, example in documents.examples().items():
        for wrapped in example.get("notificationItems", []):
            item = {"additionalData": {}, **wrapped["NotificationRequestItem"], "merchantAccountCode": MERCHANT}
            options = {"api_key": KEY, "merchant_account": MERCHANT, "return_url": "https://x", "hmac_keys": [HMAC]}
            gateway = make_adyen(GatewaySettings(name="adyen", plugin="adyen", options=options))

            (event,) = gateway.parse_event({}, signed(item, key=HMAC).body)

            assert event.kind == item["eventCode"], code
            read += 1
    assert read > 30


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CODES = (
    "AUTHORISATION",
    "AUTORESCUE",
    "CANCEL_AUTORESCUE",
    "REFUND",
    "REFUND_FAILED",
    "CANCELLATION",
    "CANCEL_OR_REFUND",
    "CAPTURE_FAILED",
)
CODES += (
    "CHARGEBACK",
    "DISPUTE_DEFENSE_PERIOD_ENDED",
    "NOTIFICATION_OF_FRAUD",
    "RECURRING_CONTRACT",
    "REPORT_AVAILABLE",
)
FIELDS = ("shopperReference", "retry.rescueScheduled", "refusalReasonRaw", "merchantAdviceCode", "disputeStatus")
FIELDS += ("defensePeriodEndsAt", "modification.action", "chargebackReasonCode", "capturePspReference", "alias")


@given(
    code=st.sampled_from(CODES),
    success=st.booleans(),
    reason=SHAPES,
    date=SHAPES,
    method=SHAPES | st.sampled_from(["mc", "sepadirectdebit"]),
    additional=st.dictionaries(st.sampled_from(FIELDS), SHAPES, max_size=4),
)
def test_no_unsigned_field_makes_an_event_unreadable(
    code: str, success: bool, reason: Any, date: Any, method: Any, additional: dict[str, Any]
) -> None:
    """A refusal would block all other deliveries behind it for days."""
    item = Item(
        pspReference=PSP,
        merchantAccountCode=MERCHANT,
        eventCode=code,
        success="true" if success else "false",
        amount=Amount(value=1999, currency="EUR"),
        originalReference="A" * 16,
        merchantReference="inv-1",
        eventDate=date,
        reason=reason,
        paymentMethod=method,
        additionalData=additional,
    )

    (event,) = read_items([(item, {})], NOW)

    assert event.kind == code
