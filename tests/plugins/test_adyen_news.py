"""What Adyen's events say about refunds, captures, disputes, stored methods and reports."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from tests.plugins.fake_adyen_answers import HMAC_KEY, KEY, MERCHANT, notification, signed

from recoup_core.flows.refunds.lastword import last_standing
from recoup_plugins import (
    Canceled,
    CaptureState,
    CredentialChange,
    DeclineCategory,
    DisputeState,
    FailureCategory,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    Network,
    Pending,
    Refunded,
    Refused,
    TakenBack,
)
from recoup_plugins.gateways.adyen import make_adyen
from recoup_plugins.gateways.adyen_news import STANDINGS, token_news

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
PSP, PAYMENT = "QFQTPCQ8HXSKGK82", "ZZZTPCQ8HXSKGK82"
PART = UUID("01931b6c-5a0e-7c3e-8a52-1f0f3c0b7a11")


def told(code: str, **changes: Any) -> GatewayEvent:
    values: dict[str, Any] = {
        "psp": PSP,
        "value": 1999,
        "currency": "EUR",
        "at": NOW,
        "original": PAYMENT,
        "method": "mc",
    }
    options = {"api_key": KEY, "merchant_account": MERCHANT, "return_url": "https://x", "hmac_keys": [HMAC_KEY]}
    gateway = make_adyen(GatewaySettings(name="adyen", plugin="adyen", options=options))
    values |= {"reference": f"recoup-part-{PART}", **changes}
    (event,) = gateway.parse_event({}, signed(notification(code, **values)).body)
    assert (event.outcome, event.failure, event.attempt_id) == (None, None, None)
    return event


# --- refunds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "success", "outcome"),
    [
        ("REFUND", True, Refunded),
        ("REFUND", False, Refused),
        ("REFUND_FAILED", True, TakenBack),
        ("REFUNDED_REVERSED", True, TakenBack),
        ("POSTPONED_REFUND", True, Pending),
        ("VOID_PENDING_REFUND", True, Canceled),
        ("CANCELLATION", True, Refunded),
        ("CANCELLATION", False, Refused),
        ("TECHNICAL_CANCEL", True, Refunded),
    ],
)
def test_what_became_of_a_part_is_told(code: str, success: bool, outcome: type) -> None:
    """Known by the reference we gave; two of the kinds tell of a failure with success "true"."""
    event = told(code, success=success)

    assert event.refund is not None
    assert (event.refund.refund_ref, event.refund.part_id, event.refund.charge_ref) == (PSP, PART, PAYMENT)
    assert event.refund.amount == Money(1999, "EUR")
    assert type(event.refund.outcome) is outcome
    assert event.capture is None


@pytest.mark.parametrize("code", ["REFUND_FAILED", "REFUNDED_REVERSED", "VOID_PENDING_REFUND"])
def test_a_failure_that_did_not_happen_is_no_news(code: str) -> None:
    """Success "false" of such a kind says nothing about the refund."""
    assert told(code, success=False).refund is None


def test_why_a_refund_was_refused_is_told() -> None:
    """The words decide what can be done: refund becomes void."""
    event = told("REFUND", success=False, reason="Transaction hasn't been captured, refund not possible")

    assert event.refund is not None
    assert isinstance(event.refund.outcome, Refused)
    assert event.refund.outcome.failure.category is FailureCategory.NOT_CAPTURED


def test_why_money_came_back_is_told_by_the_kind() -> None:
    """The event's words may be anything (Adyen's own example repeats a reference there)."""
    event = told("REFUNDED_REVERSED", reason="test_AUTHORISATION_1")

    assert event.refund is not None
    assert isinstance(event.refund.outcome, TakenBack)
    assert event.refund.outcome.failure.code == "refunded_reversed"
    assert event.refund.outcome.failure.category is FailureCategory.METHOD_GONE


@pytest.mark.parametrize("reference", ["by hand", "", "recoup-part-not-ours"])
def test_a_refund_of_others_has_no_part_of_ours(reference: str) -> None:
    """Made in the Customer Area: known by its payment."""
    event = told("REFUND", reference=reference)

    assert event.refund is not None
    assert (event.refund.part_id, event.refund.charge_ref) == (None, PAYMENT)


# --- captures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "success", "standing"),
    [
        ("CAPTURE", True, CaptureState.CAPTURED),
        ("CAPTURE", False, None),
        ("CAPTURE_FAILED", True, CaptureState.RETURNED),
        ("CAPTURE_FAILED", False, None),
        ("CANCELLATION", True, CaptureState.VOIDED),
        ("CANCELLATION", False, None),
        ("TECHNICAL_CANCEL", True, CaptureState.VOIDED),
        ("EXPIRE", True, CaptureState.VOIDED),
    ],
)
def test_how_a_payment_stands_is_told(code: str, success: bool, standing: CaptureState | None) -> None:
    """CAPTURE_FAILED comes with success "true": what had been captured was taken back."""
    event = told(code, success=success, reference="by hand")

    assert (event.capture.standing if event.capture else None) is standing
    if event.capture is not None:
        assert (event.capture.charge_ref, event.capture.amount) == (PAYMENT, Money(1999, "EUR"))
        assert (event.capture.decline is not None) is (standing is CaptureState.RETURNED)


@pytest.mark.parametrize("code", ["EXPIRE", "CANCELLATION", "TECHNICAL_CANCEL"])
def test_a_payment_of_ours_that_was_never_captured_brought_no_money(code: str) -> None:
    """It counts as collected since it was authorised: somebody canceled it, or nobody captured it."""
    event = told(code, reference=f"recoup-attempt-{PART}")

    assert event.capture is not None
    assert event.capture.standing is CaptureState.RETURNED
    assert event.capture.decline is not None
    assert event.capture.decline.category is DeclineCategory.CONFIGURATION


def test_what_expired_is_the_payment_itself() -> None:
    """EXPIRE has no original reference."""
    event = told("EXPIRE", original=None)

    assert event.capture is not None
    assert event.capture.charge_ref == PSP


@pytest.mark.parametrize(
    ("action", "refunds", "voids"), [("refund", True, False), ("cancel", False, True), ("", False, False)]
)
def test_a_reversal_says_what_it_came_to(action: str, refunds: bool, voids: bool) -> None:
    """Somebody else's: without the word nothing is guessed."""
    event = told("CANCEL_OR_REFUND", reference="by hand", additional={"modification.action": action})

    assert (event.refund is not None, event.capture is not None) == (refunds, voids)


# --- disputes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "standing"), STANDINGS.items())
def test_the_standing_of_a_dispute_is_told(code: str, standing: DisputeState) -> None:
    """All events of a dispute have its pspReference and the payment's."""
    more = {
        "chargebackReasonCode": " 4853",
        "defensePeriodEndsAt": "2027-01-31T03:03:07+01:00",
        "capturePspReference": "C",
    }

    event = told(code, additional=more)

    assert event.dispute is not None
    assert (event.dispute.dispute_ref, event.dispute.charge_ref) == (PSP, PAYMENT)
    assert (event.dispute.standing, event.dispute.amount) == (standing, Money(1999, "EUR"))
    assert event.dispute.other_charge_refs == ("C",)
    assert event.dispute.reason == "4853"
    assert event.dispute.evidence_due_at == datetime(2027, 1, 31, 2, 3, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "standing"),
    [
        ("Lost", DisputeState.LOST),
        ("Expired", DisputeState.LOST),
        (None, DisputeState.LOST),
        ("Won", None),
        ("Pending", None),
    ],
)
def test_a_period_that_ended_undefended_is_lost(status: str | None, standing: DisputeState | None) -> None:
    """Only where the dispute says so: a question by the bank ends, too."""
    event = told("DISPUTE_DEFENSE_PERIOD_ENDED", additional={"disputeStatus": status} if status else {})

    assert (event.dispute.standing if event.dispute else None) is standing


@pytest.mark.parametrize("code", ["INFORMATION_SUPPLIED", "ISSUER_COMMENTS", "DISPUTE_OF_A_NEW_KIND"])
def test_a_step_that_moves_nothing_is_kept(code: str) -> None:
    """Papers went to and fro."""
    assert told(code).dispute is None


def test_a_whole_dispute_ends_where_it_ended_in_any_order() -> None:
    """Noticed, charged back, defended, charged back again: lost."""
    codes = ("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK")
    events = [told(code, at=NOW.replace(hour=hour)) for hour, code in enumerate(codes)]

    assert last_standing(events) is last_standing(events[::-1]) is DisputeState.LOST


@pytest.mark.parametrize(
    ("method", "reason", "category"),
    [
        ("sepadirectdebit", "AM04", DeclineCategory.INSUFFICIENT_FUNDS),
        ("sepadirectdebit", "AC04", DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS),
        ("ach", "R01", DeclineCategory.INSUFFICIENT_FUNDS),
    ],
)
def test_a_bank_debit_that_was_sent_back_is_no_dispute(method: str, reason: str, category: DeclineCategory) -> None:
    """Adyen tells it as a chargeback; the customer never complained, and owes again."""
    event = told("CHARGEBACK", method=method, additional={"chargebackReasonCode": reason})

    assert event.dispute is None
    assert event.capture is not None
    assert event.capture.standing is CaptureState.RETURNED
    assert event.capture.decline is not None
    assert (event.capture.decline.category, event.capture.decline.code) == (category, reason)


@pytest.mark.parametrize(
    ("method", "reason"),
    [("sepadirectdebit", "MD06"), ("sepadirectdebit", "MD01"), ("ach", "R10"), ("ach", ""), ("mc", "AM04")],
)
def test_a_debit_that_the_debtor_contests_is_a_dispute(method: str, reason: str) -> None:
    """As it is where nobody says why, and for every card."""
    event = told("CHARGEBACK", method=method, additional={"chargebackReasonCode": reason})

    assert event.capture is None
    assert event.dispute is not None


# --- stored methods and reports ---------------------------------------------------------------------------------------


def test_a_warning_of_fraud_names_the_payment() -> None:
    """TC40 and SAFE: the card behind it is not tried again without its holder."""
    event = told("NOTIFICATION_OF_FRAUD", reason="Fraudulent Use of Account Number")

    assert event.credential is not None
    assert (event.credential.change, event.credential.charge_ref) == (CredentialChange.SUSPECTED, PAYMENT)
    assert event.credential.token is None


def test_a_new_contract_is_a_new_stored_method() -> None:
    """Its reference is the token, and signed."""
    shopper = {"recurring.shopperReference": "shopper_1"}

    event = told("RECURRING_CONTRACT", method="visa", value=0, additional=shopper)

    assert event.credential is not None
    assert (event.credential.change, event.credential.token) == (CredentialChange.ADDED, PSP)
    assert event.credential.now is not None
    assert (event.credential.now.method, event.credential.now.network) == (Method.CARD, Network.VISA)
    assert event.credential.now.gateway_customer == "shopper_1"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("recurring.token.created", CredentialChange.ADDED),
        ("recurring.token.updated", CredentialChange.UPDATED),
        ("recurring.token.disabled", CredentialChange.REMOVED),
        ("recurring.token.alreadyExisting", None),
        ("recurring.token.danced", None),
    ],
)
def test_the_life_of_a_token_is_told(kind: str, change: CredentialChange | None) -> None:
    """What is gone has no present."""
    data = {"storedPaymentMethodId": "M5N7TQ4TG5PFWR50", "shopperReference": "shopper_1", "type": "visastandardcredit"}

    news = token_news(kind, data)

    assert (news.change if news else None) is change
    if news is not None:
        assert (news.now is None) is (change is CredentialChange.REMOVED)


def test_a_token_without_a_name_is_no_news() -> None:
    """Nothing could be done about it."""
    assert token_news("recurring.token.disabled", {"shopperReference": "shopper_1"}) is None


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("settlement_detail_report_batch_4.csv", True),
        ("settlement_detail_report_2026_11_23.csv", True),
        ("payments_accounting_report_2026_11_23.csv", False),
        ("settlement_detail_report_batch_4.xlsx", False),
        ("../settlement_detail_report_batch_4.csv", False),
        ("settlement_detail_report/../../x.csv", False),
    ],
)
def test_a_settlement_report_is_known_by_its_file_name(name: str, known: bool) -> None:
    """The name is signed; the address beside it is not, and is never asked."""
    event = told("REPORT_AVAILABLE", psp=name, original=None, value=0, reason="https://evil.example/x.csv")

    assert (event.settlement.report_ref if event.settlement else None) == (name if known else None)
