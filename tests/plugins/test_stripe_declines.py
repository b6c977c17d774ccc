"""Every code that Stripe may decline with means something, and what means nothing to us is never tried unattended."""

import csv
import inspect
import re
from collections.abc import Callable, Iterable
from importlib.resources import files

import pytest
import stripe
from tests.plugins.fake_stripe import KEY, FakeStripe

from recoup_core.domain.decline import Decline, DeclineCategory, Retryable
from recoup_plugins import ChargeRequest, Declined, GatewaySettings
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_objects import StripeError, decline_of

DATA = files("recoup_core.reference") / "data"

PAYMENT_FAILURES = frozenset(
    """
    account_closed authentication_required bank_account_declined bank_account_restricted bank_account_unusable
    billing_invalid_mandate card_decline_rate_limit_exceeded charge_exceeds_source_limit
    charge_exceeds_transaction_limit debit_not_authorized expired_card expired_payment_method incorrect_address
    incorrect_cvc incorrect_number incorrect_postal_code incorrect_zip india_recurring_payment_mandate_canceled
    insufficient_funds invalid_card_type invalid_cvc invalid_expiry_month invalid_expiry_year invalid_number
    invoice_payment_intent_requires_action no_account payment_intent_action_required
    payment_intent_authentication_failure payment_intent_mandate_invalid payment_intent_payment_attempt_expired
    payment_intent_payment_attempt_failed payment_method_bank_account_blocked payment_method_customer_decline
    payment_method_not_available payment_method_provider_decline payment_method_provider_timeout
    payment_method_restricted processing_error refer_to_customer sepa_unsupported_account
    """.split()  # noqa: SIM905 - 40 quoted codes would say less
)
"""Of the SDK's error codes those that a customer's bank or payment method causes; the others are requests refused."""


def codes(name: str) -> list[str]:
    return [row["code"] for row in csv.DictReader((DATA / name).read_text().splitlines())]


def sdk_codes() -> frozenset[str]:
    """The error codes of `last_payment_error`, as the SDK's own document names them."""
    source = inspect.getsource(stripe.PaymentIntent.LastPaymentError)
    field = source[source.index("        code: ") : source.index("        decline_code: ")]
    return frozenset(re.findall(r'"([a-z_0-9]+)"', field))


def of(codes_of: Iterable[str], **more: str) -> dict[str, Decline]:
    return {code: decline_of(StripeError(code=code, **more)) for code in codes_of}


@pytest.fixture
def gateway(fake_stripe: FakeStripe) -> StripeGateway:
    options = {"api_key": KEY, "api_base": fake_stripe.url, "timeout_s": 2.0}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))


@pytest.mark.parametrize("code", codes("stripe_decline_codes.csv"))
async def test_every_decline_code_of_the_table_arrives_with_its_meaning(
    gateway: StripeGateway, a_request: Callable[..., ChargeRequest], code: str
) -> None:
    """Through the SDK's error class and back: the raw code is kept, the category is known."""
    outcome = await gateway.charge(a_request(f"pm_decline:{code}"))

    assert isinstance(outcome, Declined)
    assert outcome.decline.code == code
    assert outcome.decline.category is not DeclineCategory.UNKNOWN


def test_the_sdk_still_knows_the_codes_we_sort() -> None:
    """A new SDK that drops or renames one is noticed here."""
    assert sdk_codes() >= PAYMENT_FAILURES - {"billing_invalid_mandate"}


def test_every_payment_failure_of_the_sdk_is_in_the_table() -> None:
    """A bank debit fails with a code alone, without a decline code."""
    unknown = {code for code, told in of(PAYMENT_FAILURES).items() if told.category is DeclineCategory.UNKNOWN}

    assert unknown == set()


def test_every_other_code_of_the_sdk_gets_no_unattended_retry() -> None:
    """Promise 6: what nobody has looked at is never guessed to be harmless."""
    in_table = set(codes("stripe_decline_codes.csv"))

    loose = {code for code, told in of(sdk_codes() - in_table).items() if told.retryable is Retryable.YES}

    assert loose == set()


def test_a_decline_without_its_code_is_not_guessed() -> None:
    """`card_declined` alone says that the card was declined, and not whether a retry is allowed."""
    (told,) = of(["card_declined"]).values()

    assert (told.category, told.retryable) == (DeclineCategory.UNKNOWN, Retryable.NO)


@pytest.mark.parametrize("advice", codes("mastercard_merchant_advice_codes.csv"))
async def test_every_network_advice_code_is_read_and_never_loosens(
    gateway: StripeGateway, a_request: Callable[..., ChargeRequest], advice: str
) -> None:
    """The advice of the network may forbid or delay a retry; it allows none that the code forbids."""
    soft = await gateway.charge(a_request(f"pm_decline:do_not_honor:05:{advice}"))
    hard = await gateway.charge(a_request(f"pm_decline:stolen_card:43:{advice}"))

    assert isinstance(soft, Declined)
    assert isinstance(hard, Declined)
    assert soft.decline.advice_code == hard.decline.advice_code == advice
    assert hard.decline.retryable is Retryable.NO


@pytest.mark.parametrize(
    ("advice", "retryable"),
    [
        ("try_again_later", Retryable.YES),
        ("confirm_card_data", Retryable.AFTER_CUSTOMER_ACTION),
        ("do_not_try_again", Retryable.NO),
    ],
)
async def test_stripes_three_advice_codes_are_followed(
    gateway: StripeGateway, a_request: Callable[..., ChargeRequest], advice: str, retryable: Retryable
) -> None:
    """Beside a code that is retryable in itself."""
    outcome = await gateway.charge(a_request(f"pm_decline:do_not_honor:05::{advice}"))

    assert isinstance(outcome, Declined)
    assert outcome.decline.retryable is retryable
