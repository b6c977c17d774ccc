"""The Stripe gateway against our fake: what each kind of answer means for the money."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plugins.fake_stripe import KEY, FakeStripe

from recoup_core.domain.decline import DeclineCategory, Retryable
from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.flows.guard import Unknown, charge_guarded, find_charge_guarded
from recoup_plugins import (
    ChargeRequest,
    Declined,
    GatewaySettings,
    Method,
    Money,
    NotFound,
    NotSent,
    Pending,
    Succeeded,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_amounts import NotExpressible, from_stripe, to_stripe
from recoup_plugins.gateways.stripe_errors import LIST_PAGES, StripeAnswerLost
from recoup_plugins.settings import PluginMisconfigured

Build = Callable[..., ChargeRequest]


def a_gateway(**options: Any) -> StripeGateway:
    settings = GatewaySettings(name="stripe", plugin="stripe", options={"api_key": KEY, **options})
    return make_stripe(settings)


@pytest.fixture
def gateway(fake_stripe: FakeStripe) -> StripeGateway:
    return a_gateway(api_base=fake_stripe.url, timeout_s=2.0)


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_charge_is_one_confirmed_off_session_intent_with_our_key_and_metadata(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Build
) -> None:
    """The key is the stored one and the metadata find the attempt again; the types' parameter is the pinned API's."""
    request = a_request("pm_ok", gateway_customer="cus_a", method=Method.SEPA_DEBIT)

    await gateway.charge(request)

    assert fake_stripe.posts == [
        {
            "path": "/v1/payment_intents",
            "key": request.idempotency_key,
            "amount": "1999",
            "currency": "eur",
            "customer": "cus_a",
            "payment_method": "pm_ok",
            "allowed_payment_method_types[0]": "sepa_debit",
            "confirm": "true",
            "off_session": "true",
            "metadata[recoup_attempt]": str(request.attempt_id),
            "metadata[recoup_payment]": request.payment_reference,
        }
    ]


async def test_a_pinned_old_api_version_gets_the_old_parameter(fake_stripe: FakeStripe, a_request: Build) -> None:
    """Stripe renamed the list of types: old versions refuse the new name, new versions the old one."""
    gateway = a_gateway(api_base=fake_stripe.url, api_version="2025-03-31.basil")

    outcome = await gateway.charge(a_request("pm_ok"))

    assert fake_stripe.posts[0]["payment_method_types[0]"] == "card"
    assert isinstance(outcome, Declined)
    assert outcome.decline.code == "payment_method_types_no_longer_supported"  # the fake speaks the new version only


async def test_nothing_is_sent_twice_by_the_sdk(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Build
) -> None:
    """Every send is ours to count: the SDK's own retries are off."""
    await charge_guarded(gateway, a_request("pm_500:always"))

    assert len(fake_stripe.posts) == 1


# --- declines ---------------------------------------------------------------------------------------------------------


async def test_all_five_fields_of_a_decline_are_read(gateway: StripeGateway, a_request: Build) -> None:
    """Decline code, network code, network advice and Stripe's advice all bear on whether a retry is allowed."""
    outcome = await gateway.charge(a_request("pm_decline:insufficient_funds:51:03:do_not_try_again"))

    assert isinstance(outcome, Declined)
    decline = outcome.decline
    assert (decline.code, decline.network_code, decline.advice_code) == ("insufficient_funds", "51", "03")
    assert decline.retryable is Retryable.NO
    assert outcome.gateway_ref is not None
    assert outcome.gateway_ref.startswith("pi_")


async def test_stripes_advice_alone_stops_the_retries(gateway: StripeGateway, a_request: Build) -> None:
    """`do_not_try_again` beside a code that is retryable in itself."""
    advised = await gateway.charge(a_request("pm_decline:do_not_honor:05:99:do_not_try_again"))
    plain = await gateway.charge(a_request("pm_decline:do_not_honor:05"))

    assert isinstance(advised, Declined)
    assert isinstance(plain, Declined)
    assert advised.decline.retryable is Retryable.NO
    assert plain.decline.retryable is Retryable.YES


async def test_stripes_own_block_is_told_from_the_issuers_generic_decline(
    gateway: StripeGateway, a_request: Build
) -> None:
    """Only the charge's `outcome.reason` says that Stripe itself refused a repeated charge; it is asked for."""
    blocked = await gateway.charge(a_request("pm_decline:generic_decline::::previously_declined_do_not_retry"))
    issuers = await gateway.charge(a_request("pm_decline:generic_decline"))

    assert isinstance(blocked, Declined)
    assert isinstance(issuers, Declined)
    assert blocked.decline.blocked_by_gateway
    assert not issuers.decline.blocked_by_gateway


async def test_an_action_nobody_can_take_off_session_is_an_authentication_decline(
    gateway: StripeGateway, a_request: Build
) -> None:
    """Nobody is there for 3-D Secure: the customer has to come back."""
    outcome = await gateway.charge(a_request("pm_action"))

    assert isinstance(outcome, Declined)
    assert outcome.decline.category is DeclineCategory.AUTHENTICATION_REQUIRED


@pytest.mark.parametrize("token", ["pm_400", "pm_401", "pm_403", "pm_missing"])
async def test_a_refused_request_is_configuration_and_never_the_cards_fault(
    gateway: StripeGateway, a_request: Build, token: str
) -> None:
    """No money moved, and no retry helps until the merchant mends something."""
    outcome = await gateway.charge(a_request(token))

    assert isinstance(outcome, Declined)
    assert outcome.decline.category is DeclineCategory.CONFIGURATION
    assert outcome.decline.retryable is Retryable.AFTER_CUSTOMER_ACTION


async def test_an_amount_stripe_can_not_say_is_never_sent(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Build
) -> None:
    """Nothing is rounded: a currency Stripe does not take is refused here."""
    outcome = await gateway.charge(a_request("pm_ok", amount=Money(1000, "IRR")))

    assert isinstance(outcome, Declined)
    assert outcome.decline.category is DeclineCategory.CONFIGURATION
    assert fake_stripe.posts == []


# --- not sent, unknown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("token", "wait_s"), [("pm_429", 7.0), ("pm_409lock", None)])
async def test_a_busy_stripe_did_nothing_and_says_when_to_come_back(
    gateway: StripeGateway, a_request: Build, token: str, wait_s: float | None
) -> None:
    """Rate limits and object locks refuse before anything is done; the same key may be sent again."""
    request = a_request(token)

    first, second = await gateway.charge(request), await gateway.charge(request)

    assert isinstance(first, NotSent)
    assert first.retry_after_s == wait_s
    assert isinstance(second, Succeeded)


@pytest.mark.parametrize("token", ["pm_500", "pm_html500", "pm_html200", "pm_truncated", "pm_empty", "pm_lose_before"])
async def test_an_answer_that_says_nothing_certain_is_unknown(
    gateway: StripeGateway, a_request: Build, token: str
) -> None:
    """Whether it happened can't be told from a 5xx, an unreadable answer or a broken connection."""
    outcome = await charge_guarded(gateway, a_request(token))

    assert isinstance(outcome, Unknown)


async def test_silence_is_unknown_and_money_may_have_moved(fake_stripe: FakeStripe, a_request: Build) -> None:
    """The client gives up, Stripe does not."""
    gateway = a_gateway(api_base=fake_stripe.url, timeout_s=0.1)
    request = a_request("pm_slow:0.3", gateway_customer="cus_a")

    outcome = await charge_guarded(gateway, request)

    assert isinstance(outcome, Unknown)
    assert "ReadTimeout" in outcome.reason


async def test_a_key_still_in_use_is_unknown_not_unsent(fake_stripe: FakeStripe, a_request: Build) -> None:
    """Its first send is running and may move money: "nothing was done" would be a lie."""
    impatient, patient = (a_gateway(api_base=fake_stripe.url, timeout_s=limit_s) for limit_s in (0.1, 2.0))
    request = a_request("pm_slow:0.5")
    await charge_guarded(impatient, request)

    outcome = await charge_guarded(patient, request)

    assert isinstance(outcome, Unknown)
    assert "idempotency_key_in_use" in outcome.reason


async def test_a_key_used_with_another_body_is_unknown(gateway: StripeGateway, a_request: Build) -> None:
    """The first request may have moved money; only a look-up can tell."""
    request = a_request("pm_ok")
    await gateway.charge(request)

    other = a_request(
        "pm_ok",
        attempt_id=request.attempt_id,
        amount=Money(2000, "EUR"),
    )
    outcome = await charge_guarded(gateway, other)

    assert isinstance(outcome, Unknown)


async def test_no_error_repeats_the_key_or_the_request(fake_stripe: FakeStripe, a_request: Build) -> None:
    """What is raised may be logged."""
    gateway = a_gateway(api_base=fake_stripe.url, timeout_s=1.0)

    with pytest.raises(StripeAnswerLost) as lost:
        await gateway.charge(a_request("pm_500"))

    shown = f"{lost.value!r} {lost.value} {gateway!r} {vars(gateway)}"
    assert KEY not in shown
    assert lost.value.__suppress_context__


# --- look-up ----------------------------------------------------------------------------------------------------------


async def test_processing_is_pending_and_found_as_such(gateway: StripeGateway, a_request: Build) -> None:
    """A bank debit takes days; until then the answer is neither yes nor no."""
    request = a_request("pm_processing", gateway_customer="cus_a")

    outcome = await gateway.charge(request)
    found = await gateway.find_charge(request)

    assert isinstance(outcome, Pending)
    assert found == outcome


async def test_a_lost_decline_is_found_with_its_code(gateway: StripeGateway, a_request: Build) -> None:
    """`last_payment_error` holds what the lost answer said."""
    request = a_request("pm_decline:expired_card:54", gateway_customer="cus_a")
    declined = await gateway.charge(request)

    found = await gateway.find_charge(request)

    assert found == declined


async def test_the_look_up_turns_the_pages(gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Build) -> None:
    """The attempt is found behind many later ones of the same customer."""
    fake_stripe.page_size = 2
    request = a_request("pm_ok", gateway_customer="cus_a")
    outcome = await gateway.charge(request)
    for _ in range(5):
        await gateway.charge(a_request("pm_ok", gateway_customer="cus_a"))

    assert await gateway.find_charge(request) == outcome


async def test_only_the_customers_own_intents_are_searched(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Build
) -> None:
    """A busy account has thousands a minute; the customer has a few."""
    request = a_request("pm_ok", gateway_customer="cus_a")

    found = await gateway.find_charge(request)

    since = str(int(request.first_sent_at.timestamp()) - 60)
    assert isinstance(found, NotFound)
    assert fake_stripe.queries == [{"created[gte]": since, "limit": "100", "customer": "cus_a"}]


async def test_more_pages_than_are_searched_is_no_answer(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Build
) -> None:
    """ "Not found" is only said when everything was seen."""
    fake_stripe.page_size = 1
    for _ in range(LIST_PAGES + 1):
        await gateway.charge(a_request("pm_ok", gateway_customer="cus_a"))

    found = await find_charge_guarded(gateway, a_request("pm_ok", gateway_customer="cus_a"))

    assert isinstance(found, Unknown)


async def test_the_look_up_starts_where_the_key_was_first_used(gateway: StripeGateway, a_request: Build) -> None:
    """Older PaymentIntents can't be this attempt's; clocks may differ by a minute."""
    request = a_request("pm_ok", gateway_customer="cus_a")
    outcome = await gateway.charge(request)
    now = datetime.now(UTC)

    def at(first_sent_at: datetime) -> ChargeRequest:
        return a_request("pm_ok", gateway_customer="cus_a", attempt_id=request.attempt_id, first_sent_at=first_sent_at)

    assert await gateway.find_charge(at(now + timedelta(seconds=30))) == outcome
    assert isinstance(await gateway.find_charge(at(now + timedelta(minutes=5))), NotFound)


async def test_an_id_that_stripe_no_longer_knows_is_no_answer(gateway: StripeGateway, a_request: Build) -> None:
    """It means another account: "not found" would let the charge be sent again there."""
    found = await find_charge_guarded(gateway, a_request("pm_ok", gateway_ref="pi_of_another_account"))

    assert isinstance(found, Unknown)


async def test_health_refuses_a_wrong_key(fake_stripe: FakeStripe) -> None:
    """The check is authenticated."""
    with pytest.raises(StripeAnswerLost, match="401"):
        await a_gateway(api_base=fake_stripe.url, api_key="sk_test_wrong").health()


# --- amounts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("money", "stripes"),
    [
        (Money(1999, "EUR"), 1999),
        (Money(1500, "JPY"), 1500),
        (Money(12_345, "KWD"), 12_345),
        (Money(150, "ISK"), 15_000),  # no decimals in ISO, two at Stripe
        (Money(5000, "UGX"), 500_000),
        (Money(1200, "MGA"), 12),  # two decimals in ISO, none at Stripe
    ],
)
def test_stripes_units_are_not_always_isos(money: Money, stripes: int) -> None:
    """docs.stripe.com/currencies, special cases; both ways exactly."""
    assert to_stripe(money) == stripes
    assert from_stripe(stripes, money.currency.lower()) == money


@given(
    amount_minor=st.integers(1, MAX_AMOUNT_MINOR), currency=st.sampled_from(["EUR", "JPY", "KWD", "ISK", "UGX", "MGA"])
)
def test_an_amount_survives_the_way_there_and_back_or_is_refused(amount_minor: int, currency: str) -> None:
    """Exact for every amount that can be said at all; only a currency with fewer decimals at Stripe refuses any."""
    money = Money(amount_minor, currency)

    try:
        assert from_stripe(to_stripe(money), currency.lower()) == money
    except NotExpressible:
        assert currency == "MGA"
        assert amount_minor % 100


def test_what_has_no_exact_form_is_refused_both_ways() -> None:
    """Nothing is ever rounded."""
    with pytest.raises(NotExpressible):
        to_stripe(Money(1250, "MGA"))
    with pytest.raises(NotExpressible):
        from_stripe(15_050, "isk")


async def test_a_special_currency_is_sent_and_read_back_in_its_own_units(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Build
) -> None:
    """A plain conversion would collect a hundredth of the debt."""
    outcome = await gateway.charge(a_request("pm_ok", amount=Money(150, "ISK")))

    assert fake_stripe.posts[0]["amount"] == "15000"
    assert isinstance(outcome, Succeeded)
    assert outcome.amount == Money(150, "ISK")


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"api_key": "pk_live_hidden"}, "api_key"),
        ({"api_key": 17}, "api_key"),
        ({"api_key": KEY, "timeout_s": 30.0}, "timeout_s"),
        ({"api_key": KEY, "timeout_s": 0}, "timeout_s"),
        ({"api_key": KEY, "webhook_secrets": [""]}, "webhook_secrets"),
        ({"api_key": KEY, "api_base": "http://api.example"}, "api_base"),
        ({"api_key": KEY, "api_base": "http://127.0.0.1:80@api.example"}, "api_base"),
        ({"api_key": KEY, "clock": "noon"}, "clock"),
        ({"api_key": KEY, "apikey": "sk_live_hidden"}, "options"),
        ({}, "options"),
    ],
)
def test_wrong_options_name_the_field_and_hide_the_value(options: dict[str, Any], field: str) -> None:
    """The refusal may be printed at start."""
    with pytest.raises(PluginMisconfigured) as refusal:
        make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))

    assert refusal.value.field == field
    assert "hidden" not in str(refusal.value)
