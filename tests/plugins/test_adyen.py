"""Charges at Adyen against our fake: what is sent, and what each kind of answer means for the money."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from tests.counterparts.adyen_documents import adyen_documents
from tests.plugins.fake_adyen import FakeAdyen
from tests.plugins.fake_adyen_answers import HMAC_KEY, KEY, MERCHANT
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from recoup_core.flows.guard import Unknown, charge_guarded
from recoup_plugins import (
    ChargeRequest,
    DeclineCategory,
    Declined,
    GatewaySettings,
    Method,
    Money,
    Network,
    NotSent,
    Pending,
    PluginMisconfigured,
    Retryable,
    RetryOwner,
    Succeeded,
)
from recoup_plugins.gateways.adyen import AdyenGateway, make_adyen
from recoup_plugins.gateways.adyen_amounts import _SUPPORTED, NotExpressible, from_adyen, to_adyen
from recoup_plugins.gateways.adyen_charges import payment_body
from recoup_plugins.gateways.adyen_client import fetched
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost, AdyenBusy, told_by
from recoup_plugins.gateways.adyen_objects import method_of, network_of
from recoup_plugins.manager import broken_contract

Build = Callable[..., ChargeRequest]
OPTIONS = {"api_key": KEY, "merchant_account": MERCHANT, "return_url": "https://shop.example/back"}


def a_gateway(**options: Any) -> AdyenGateway:
    return make_adyen(GatewaySettings(name="adyen", plugin="adyen", options={**OPTIONS, **options}))


@pytest.fixture
def gateway(fake_adyen: FakeAdyen) -> AdyenGateway:
    return a_gateway(api_base=fake_adyen.url, timeout_s=2.0)


@pytest.fixture
def request_for(a_request: Build) -> Build:
    """Build a charge of 19.99 EUR with a token that says what happens."""

    def build(token: str = "tok_ok", **changes: Any) -> ChargeRequest:
        return a_request(token, **{"gateway_customer": "shopper_1", **changes})

    return build


def test_the_police_is_there_or_says_why_not() -> None:
    """Without Adyen's documents the fake is only as good as we are: one line says that they are missing."""
    documents, why_not = adyen_documents()
    if documents is None:
        pytest.skip(why_not)

    nothing = documents.request("post", "/payments", {}, b'{"amount": {"currency": "EURO", "value": "1"}}')
    answer = documents.answer("post", "/payments", 200, b'{"resultCode": "Maybe"}')

    assert any("returnUrl" in one for one in nothing)
    assert any("X-API-Key" in one for one in nothing)
    assert any("amount.value" in one for one in nothing)
    assert any("Maybe" in one for one in answer)


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_charge_names_account_amount_token_shopper_key_and_attempt(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """A merchant-initiated payment with a stored method, under our key, with our attempt in what Adyen signs."""
    request = request_for(number=3)

    await gateway.charge(request)

    assert fake_adyen.posts == [
        {
            "path": "/payments",
            "key": request.idempotency_key,
            "merchantAccount": MERCHANT,
            "amount": {"currency": "EUR", "value": 1999},
            "reference": f"recoup-attempt-{request.attempt_id}",
            "merchantOrderReference": request.payment_reference,
            "paymentMethod": {"type": "scheme", "storedPaymentMethodId": "tok_ok"},
            "shopperReference": "shopper_1",
            "shopperInteraction": "ContAuth",
            "recurringProcessingModel": "UnscheduledCardOnFile",
            "returnUrl": "https://shop.example/back",
            "additionalData": {"retry.orderAttemptNumber": "3", "retry.skipRetry": "true"},
        }
    ]


async def test_a_subscription_is_told_apart(gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build) -> None:
    """Networks want to know what a charge without the shopper is for."""
    await gateway.charge(request_for(subscription=True))

    assert fake_adyen.posts[0]["recurringProcessingModel"] == "Subscription"


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (Method.CARD, "scheme"),
        (Method.SEPA_DEBIT, "sepadirectdebit"),
        (Method.ACH_DEBIT, "ach"),
        (Method.BACS_DEBIT, "directdebit_GB"),
    ],
)
async def test_methods_have_adyens_names(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build, method: Method, name: str
) -> None:
    """Cards and the three bank debits."""
    await gateway.charge(request_for(method=method))

    assert fake_adyen.posts[0]["paymentMethod"]["type"] == name
    assert method_of(name) is method


async def test_a_reference_that_is_too_long_is_cut_only_where_it_is_not_ours(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """What brings the attempt back is always whole, and within Adyen's 80 characters."""
    request = request_for(payment_reference="x" * 2000)

    outcome = await gateway.charge(request)

    assert isinstance(outcome, Succeeded)
    assert len(fake_adyen.posts[0]["merchantOrderReference"]) == 1000
    assert len(fake_adyen.posts[0]["reference"]) <= 80


async def test_what_adyen_can_not_take_is_never_sent(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """A currency it does not know, a fraction of its unit, a stored method without its shopper: our configuration."""
    outcomes = [
        await gateway.charge(request_for(amount=Money(100, "AFN"))),
        await gateway.charge(request_for(amount=Money(1999, "IDR"))),
        await gateway.charge(request_for(gateway_customer=None)),
    ]

    assert fake_adyen.posts == []
    for outcome in outcomes:
        assert isinstance(outcome, Declined)
        assert outcome.decline.category is DeclineCategory.CONFIGURATION


# --- what answers mean ------------------------------------------------------------------------------------------------


async def test_an_authorised_payment_succeeded_with_its_own_reference(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """Each try is a payment of its own at Adyen: its pspReference names both."""
    outcome = await gateway.charge(request_for())

    (psp,) = fake_adyen.payments
    assert outcome == Succeeded(gateway_ref=psp, try_ref=psp, amount=Money(1999, "EUR"))


async def test_a_part_that_was_authorised_is_told_as_what_it_is(gateway: AdyenGateway, request_for: Build) -> None:
    """Half the money is not all of it; flows see what is missing."""
    outcome = await gateway.charge(request_for("tok_partial:500"))

    assert isinstance(outcome, Succeeded)
    assert outcome.amount == Money(500, "EUR")


@pytest.mark.parametrize(
    ("token", "category", "retryable"),
    [
        ("tok_refuse:12:51", DeclineCategory.INSUFFICIENT_FUNDS, Retryable.YES),
        ("tok_refuse:6:54", DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS, Retryable.AFTER_CUSTOMER_ACTION),
        ("tok_refuse:38", DeclineCategory.AUTHENTICATION_REQUIRED, Retryable.AFTER_CUSTOMER_ACTION),
        ("tok_refuse:20", DeclineCategory.FRAUD, Retryable.NO),
        ("tok_refuse:2:05", DeclineCategory.ISSUER_GENERIC, Retryable.YES),
        ("tok_refuse:2:05:03", DeclineCategory.NOT_PERMITTED, Retryable.NO),
        ("tok_refuse:46", DeclineCategory.VELOCITY_OR_LIMIT, Retryable.NO),
        ("tok_refuse:99", DeclineCategory.UNKNOWN, Retryable.NO),
        ("tok_error:4", DeclineCategory.PROCESSING_ERROR, Retryable.YES),
        ("tok_challenge", DeclineCategory.AUTHENTICATION_REQUIRED, Retryable.AFTER_CUSTOMER_ACTION),
        ("tok_redirect", DeclineCategory.AUTHENTICATION_REQUIRED, Retryable.AFTER_CUSTOMER_ACTION),
    ],
)
async def test_a_refusal_is_classified_by_all_its_codes(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build, token: str, category: Any, retryable: Any
) -> None:
    """Adyen's code, the issuer's and the network's advice; one in no table gets no unattended retry."""
    request = request_for(token)

    outcome = await gateway.charge(request)

    assert isinstance(outcome, Declined)
    assert (outcome.decline.category, outcome.decline.retryable) == (category, retryable)
    assert fake_adyen.moved(request.payment_reference) == []


async def test_the_issuers_code_and_the_advice_are_kept_as_codes(gateway: AdyenGateway, request_for: Build) -> None:
    """Adyen sends them with words behind: `51 : Insufficient funds`."""
    outcome = await gateway.charge(request_for("tok_refuse:12:51:24"))

    assert isinstance(outcome, Declined)
    assert (outcome.decline.network_code, outcome.decline.advice_code) == ("51", "24")
    assert outcome.decline.message == "Not enough balance"


async def test_adyens_own_block_is_a_block(gateway: AdyenGateway, request_for: Build) -> None:
    """46: Adyen keeps the merchant from a fee for retrying too often."""
    outcome = await gateway.charge(request_for("tok_refuse:46"))

    assert isinstance(outcome, Declined)
    assert outcome.decline.blocked_by_gateway


@pytest.mark.parametrize("token", ["tok_pending", "tok_received"])
async def test_what_is_not_decided_is_pending(gateway: AdyenGateway, request_for: Build, token: str) -> None:
    """Bank debits; the webhook tells."""
    assert isinstance(await gateway.charge(request_for(token)), Pending)


@pytest.mark.parametrize("word", ["429", "703", "transient"])
async def test_a_busy_adyen_did_nothing(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build, word: str
) -> None:
    """The same key goes again, and then it is charged once."""
    request = request_for(f"tok_{word}")

    first, second = await gateway.charge(request), await gateway.charge(request)

    assert isinstance(first, NotSent)
    assert first.retry_after_s == (7.0 if word == "429" else None)
    assert isinstance(second, Succeeded)
    assert len(fake_adyen.moved(request.payment_reference)) == 1


@pytest.mark.parametrize("word", ["400", "401", "403", "404", "422"])
async def test_a_refused_request_is_our_configuration(gateway: AdyenGateway, request_for: Build, word: str) -> None:
    """Refused before any money moved; 404 and 500 are one class of error to the SDK, and not to us."""
    outcome = await gateway.charge(request_for(f"tok_{word}:always" if word != "422" else "tok_422:14_030:always"))

    assert isinstance(outcome, Declined)
    assert outcome.decline.category is DeclineCategory.CONFIGURATION


@pytest.mark.parametrize("code", ["800", "803"])
async def test_a_stored_method_that_is_gone_is_never_tried_again(
    gateway: AdyenGateway, request_for: Build, code: str
) -> None:
    """The shopper had it deleted: no fault of ours, and no waiting helps."""
    outcome = await gateway.charge(request_for(f"tok_422:{code}:always"))

    assert isinstance(outcome, Declined)
    assert (outcome.decline.category, outcome.decline.retryable) == (DeclineCategory.REVOKED_MANDATE, Retryable.NO)
    assert outcome.decline.code == f"error_{code}"


@pytest.mark.parametrize("word", ["401", "403", "422:14_030"])
async def test_a_refusal_of_a_later_send_says_nothing_of_the_first(
    gateway: AdyenGateway, request_for: Build, word: str
) -> None:
    """The key was revoked meanwhile, but the first send may have arrived: unknown, never declined."""
    request = request_for(f"tok_{word}:always", first_sent_at=datetime.now(UTC) - timedelta(minutes=2))

    outcome = await charge_guarded(gateway, request)

    assert isinstance(outcome, Unknown)
    assert "earlier send" in outcome.reason


@pytest.mark.parametrize(
    "word",
    [
        "500",
        "html502",
        "html200",
        "list200",
        "list500",
        "empty",
        "truncated",
        "long",
        "redirect302",
        "704",
        "lose_before",
        "slow:3",
    ],
)
async def test_no_word_about_the_money_is_unknown(gateway: AdyenGateway, request_for: Build, word: str) -> None:
    """5xx, garbage, a redirect, an endless answer, a key that is in use, silence: it may have happened."""
    with pytest.raises(AdyenAnswerLost):
        await gateway.charge(request_for(f"tok_{word}"))


async def test_a_lost_answer_is_unknown_and_the_same_key_tells(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """Adyen has no look-up: sending again is how one asks, and no second payment comes of it."""
    request = request_for("tok_lose")

    with pytest.raises(AdyenAnswerLost):
        await gateway.charge(request)
    again = await gateway.charge(request)

    assert isinstance(again, Succeeded)
    assert fake_adyen.moved(request.payment_reference) == [(1999, "EUR")]


async def test_an_answer_about_another_payment_is_unknown(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """A key that was used with another body is answered with that one's payment: never taken for ours."""
    first = request_for()
    await gateway.charge(first)

    with pytest.raises(AdyenAnswerLost, match="not the one"):
        await gateway.charge(request_for(idempotency_key=first.idempotency_key))

    assert len(fake_adyen.payments) == 1


@pytest.mark.parametrize("mode", ["html", "lose"])
async def test_a_broken_adyen_is_unknown(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build, mode: str
) -> None:
    """A page for people instead of an answer, or none at all."""
    fake_adyen.mode = mode

    assert isinstance(await charge_guarded(gateway, request_for()), Unknown)


async def test_an_adyen_that_is_down_was_sent_nothing_and_then_takes_the_same_key(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """A refused connection is certain."""
    request = request_for()
    fake_adyen.mode = "down"

    down = await gateway.charge(request)
    fake_adyen.mode = "ok"
    up = await gateway.charge(request)

    assert isinstance(down, NotSent)
    assert isinstance(up, Succeeded)


@pytest.mark.parametrize(
    ("raised", "meant"),
    [
        (requests.exceptions.ConnectTimeout(), AdyenBusy),
        (requests.exceptions.ConnectionError(NewConnectionError(HTTPConnection("x"), "refused")), AdyenBusy),
        (requests.exceptions.SSLError(ssl.SSLCertVerificationError("wrong host")), AdyenBusy),
        (requests.exceptions.SSLError(ssl.SSLEOFError("broke off")), AdyenAnswerLost),
        (requests.exceptions.ReadTimeout(), AdyenAnswerLost),
        (requests.exceptions.ConnectionError(ConnectionResetError()), AdyenAnswerLost),
        (requests.exceptions.ChunkedEncodingError(), AdyenAnswerLost),
        (TimeoutError(), AdyenAnswerLost),
        (AttributeError("list has no get"), AdyenAnswerLost),
    ],
)
def test_only_a_connection_that_never_came_about_is_certain(raised: Exception, meant: type[Exception]) -> None:
    """The SDK leaves network errors as they are; which of them are harmless is told by what they wrap."""
    assert type(told_by(raised)) is meant


async def test_the_event_loop_goes_on_while_adyen_is_slow(
    gateway: AdyenGateway, fake_adyen: FakeAdyen, request_for: Build
) -> None:
    """The SDK blocks; it does so on threads of its own."""
    charge = asyncio.create_task(gateway.charge(request_for("tok_slow:0.3")))
    ticks = 0
    while not charge.done():
        await asyncio.sleep(0.01)
        ticks += 1

    assert isinstance(await charge, Succeeded)
    assert ticks > 1


def test_an_answer_that_drips_in_ends_with_its_time() -> None:
    """Each byte comes well before a read gives up; the whole answer has one deadline all the same."""
    server = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(100):
                connection.sendall(b" ")
                time.sleep(0.05)

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    with server, pytest.raises(AdyenAnswerLost):
        fetched("GET", f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=0.3, max_bytes=10_000)

    assert time.monotonic() - began < 2


async def test_nothing_is_looked_up(gateway: AdyenGateway, request_for: Build) -> None:
    """The capabilities say so, and whoever asks all the same is told."""
    assert not gateway.capabilities.finds_charges

    with pytest.raises(AdyenAnswerLost):
        await gateway.find_charge(request_for())


async def test_no_secret_leaves_with_an_error(fake_adyen: FakeAdyen, request_for: Build) -> None:
    """The SDK's errors hold the request and its headers; ours hold neither, nor do they lead there."""
    gateway = a_gateway(api_base=fake_adyen.url, api_key="AQEwrong")

    outcome = await gateway.charge(request_for())
    with pytest.raises(AdyenAnswerLost) as lost:
        await a_gateway(api_base=fake_adyen.url).charge(request_for("tok_500"))

    assert isinstance(outcome, Declined)
    assert "AQE" not in f"{outcome}{lost.value}{lost.value.__cause__}"
    assert lost.value.__suppress_context__


async def test_health_asks_something_harmless(gateway: AdyenGateway, fake_adyen: FakeAdyen) -> None:
    """Authenticated, and no payment."""
    await gateway.health()
    fake_adyen.mode = "html"

    with pytest.raises(AdyenAnswerLost):
        await gateway.health()
    assert fake_adyen.posts == []


# --- amounts ----------------------------------------------------------------------------------------------------------


@given(minor=st.integers(1, 2**53 - 1), currency=st.sampled_from(sorted(_SUPPORTED)))
def test_amounts_go_there_and_back(minor: int, currency: str) -> None:
    """Whatever can be said in Adyen's units means the same money again."""
    money = Money(minor, currency)
    try:
        sent = to_adyen(money)
    except NotExpressible:
        assert currency in {"CVE", "IDR"}
        return

    assert from_adyen(sent["value"], sent["currency"]) == money


@pytest.mark.parametrize(
    ("money", "value"),
    [
        (Money(1999, "EUR"), 1999),
        (Money(1500, "JPY"), 1500),
        (Money(12_340, "KWD"), 12_340),
        (Money(1500, "CLP"), 150_000),
        (Money(1500, "ISK"), 150_000),
        (Money(150_000, "IDR"), 1500),
        (Money(150_000, "CVE"), 1500),
    ],
)
def test_adyens_own_decimals(money: Money, value: int) -> None:
    """docs.adyen.com/development-resources/currency-codes names four that differ from ISO 4217."""
    assert to_adyen(money) == {"currency": money.currency, "value": value}


@pytest.mark.parametrize(("value", "currency"), [(150_001, "CLP"), (1, "ISK"), (1, "XTS"), (1, "eur")])
def test_what_is_no_money_is_said_so(value: int, currency: str) -> None:
    """A fraction of a minor unit, or a currency that nobody knows."""
    with pytest.raises(NotExpressible):
        from_adyen(value, currency)


@pytest.mark.parametrize(
    ("brand", "network"),
    [
        ("mc", Network.MASTERCARD),
        ("mcstandardcredit", Network.MASTERCARD),
        ("visadebit", Network.VISA),
        ("amex", Network.AMERICAN_EXPRESS),
        ("jcb", Network.OTHER),
        ("paypal", None),
        ("", None),
    ],
)
def test_variants_belong_to_their_network(brand: str, network: Network | None) -> None:
    """Adyen names the product; limits count by network."""
    assert network_of(brand) is network


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_key", ""),
        ("merchant_account", ""),
        ("return_url", "http://shop.example"),
        ("live_prefix", ""),
        ("api_base", "http://checkout.example"),
        ("report_base", "http://user@127.0.0.1:1"),
        ("timeout_s", 30),
        ("timeout_s", 0),
        ("hmac_keys", ["not hexadecimal"]),
        ("hmac_keys", [HMAC_KEY] * 3),
        ("token_hmac_keys", ["ab"]),
        ("webhook_user", "only"),
        ("report_user", "only"),
        ("clock", 5),
        ("unheard_of", 1),
    ],
)
def test_a_wrong_option_is_named_and_its_value_is_not(field: str, value: Any) -> None:
    """The start stops, and no secret stands in the log."""
    with pytest.raises(PluginMisconfigured) as refusal:
        a_gateway(**{field: value})

    assert field in str(refusal.value)
    assert "not hexadecimal" not in str(refusal.value)


def test_options_do_not_print_secrets() -> None:
    """Tracebacks may show locals."""
    assert KEY not in repr(a_gateway()._options)


@pytest.mark.parametrize(("owner", "refused"), [(RetryOwner.RECOUP, True), (RetryOwner.GATEWAY, False)])
def test_auto_rescue_has_one_owner(owner: RetryOwner, refused: bool) -> None:
    """An account that retries by itself is refused beside us."""
    settings = GatewaySettings(name="adyen", plugin="adyen", retries_by=owner, options={**OPTIONS, "auto_rescue": True})

    broke = broken_contract(make_adyen(settings), settings)

    assert (broke is not None) is refused


def test_live_addresses_need_the_accounts_prefix() -> None:
    """Without a prefix it is the test platform: nobody charges live by accident."""
    services = [a_gateway(live_prefix=prefix)._api.payments for prefix in (None, "1797a841fbb37ca7-AdyenDemo")]

    addresses = [one.client._determine_api_url(one.client.platform, one.baseUrl) for one in services]

    assert addresses == [
        "https://checkout-test.adyen.com/v72",
        "https://1797a841fbb37ca7-AdyenDemo-checkout-live.adyenpayments.com/checkout/v72",
    ]


def test_a_frozen_request_gives_a_frozen_body(request_for: Build) -> None:
    """The same attempt always says the same: Adyen promises nothing for a key with another body."""
    request = request_for()
    later = msgspec.structs.replace(request, gateway_ref="A" * 16, correlation_id="other")

    assert payment_body(request, MERCHANT, "https://x") == payment_body(later, MERCHANT, "https://x")
