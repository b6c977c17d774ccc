"""Stored methods and payment links at Adyen against our fake."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.plugins.adyen_benches import a_gateway, delivered
from tests.plugins.fake_adyen import FakeAdyen
from tests.plugins.fake_adyen_answers import KEY, MERCHANT

from recoup_core.domain.ids import new_id
from recoup_plugins import Method, Money, Network, NoLink, StoredCredential, Succeeded, UpdateLink, UpdateLinkRequest
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost, AdyenBusy, AdyenRefused


@pytest.fixture
def gateway(fake_adyen: FakeAdyen) -> Any:
    return a_gateway(fake_adyen, timeout_s=2.0)


def a_stored(token: str, **changes: Any) -> dict[str, Any]:
    models = ["CardOnFile", "Subscription", "UnscheduledCardOnFile"]
    values = {"id": token, "type": "scheme", "brand": "visa", "supportedRecurringProcessingModels": models}
    return {**values, "expiryMonth": "03", "expiryYear": "2099", **changes}


def a_request(**changes: Any) -> UpdateLinkRequest:
    payment_id = new_id()
    values: dict[str, Any] = {
        "idempotency_key": f"key-{payment_id}",
        "payment_id": payment_id,
        "payment_reference": f"inv-{payment_id}",
        "amount": Money(1999, "EUR"),
        "method": Method.CARD,
        "customer_ref": "customer-7",
        "gateway_customer": "shopper_1",
        "expires_at": datetime.now(UTC) + timedelta(days=7),
    }
    return UpdateLinkRequest(**{**values, **changes})


# --- stored methods ---------------------------------------------------------------------------------------------------


async def test_stored_methods_are_listed_the_newest_first(gateway: Any, fake_adyen: FakeAdyen) -> None:
    """Adyen knows no preferred one."""
    fake_adyen.stored["shopper_1"] = [
        a_stored("A", createdAt="2025-01-01T00:00:00Z", alias="H123"),
        a_stored("B", createdAt="2026-01-01T00:00:00Z", brand="mc"),
        a_stored("C", type="sepadirectdebit", brand="sepadirectdebit"),
    ]

    listed = await gateway.list_credentials("shopper_1")

    assert listed == [
        StoredCredential(
            token="B",
            gateway_customer="shopper_1",
            method=Method.CARD,
            network=Network.MASTERCARD,
            expires_on="2099-03",
        ),
        StoredCredential(
            token="A",
            gateway_customer="shopper_1",
            method=Method.CARD,
            network=Network.VISA,
            fingerprint="H123",
            expires_on="2099-03",
        ),
        StoredCredential(token="C", gateway_customer="shopper_1", method=Method.SEPA_DEBIT),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"expiryYear": "2020"},
        {"expiryYear": "20"},
        {"supportedRecurringProcessingModels": ["CardOnFile"]},
        {"supportedRecurringProcessingModels": []},
        {"type": "paypal", "brand": "paypal"},
    ],
)
async def test_what_can_not_be_charged_without_the_shopper_is_left_out(
    gateway: Any, fake_adyen: FakeAdyen, changes: dict[str, Any]
) -> None:
    """Expired, only for the shopper's own use, or a method we don't collect by."""
    fake_adyen.stored["shopper_1"] = [a_stored("A", **changes)]

    assert await gateway.list_credentials("shopper_1") == []


async def test_a_shoppers_name_is_encoded(gateway: Any, fake_adyen: FakeAdyen) -> None:
    """The SDK joins query values as they are: another merchant's, or another shopper's, could be asked for."""
    await gateway.list_credentials("a b&merchantAccount=Other#é")

    assert fake_adyen.queries == [
        f"merchantAccount={MERCHANT}&shopperReference=a%20b%26merchantAccount%3DOther%23%C3%A9"
    ]


@pytest.mark.parametrize("mode", ["html", "down"])
async def test_not_being_able_to_ask_is_raised(gateway: Any, fake_adyen: FakeAdyen, mode: str) -> None:
    """An empty list would say that there is no backup."""
    fake_adyen.mode = mode

    with pytest.raises((AdyenAnswerLost, AdyenBusy)):
        await gateway.list_credentials("shopper_1")


# --- links ------------------------------------------------------------------------------------------------------------


async def test_a_link_pays_the_debt_and_stores_what_pays(gateway: Any, fake_adyen: FakeAdyen) -> None:
    """Its reference is the merchant's name for the debt: the webhook brings it back, signed."""
    request = a_request(locale="de_DE", country="DE")

    link = await gateway.update_link(request)

    assert isinstance(link, UpdateLink)
    assert link.pays
    assert link.url.startswith("https://")
    assert link.expires_at == request.expires_at.replace(microsecond=0)
    (post,) = fake_adyen.posts
    assert (post["key"], post["reference"]) == (request.idempotency_key, request.payment_reference)
    assert (post["shopperReference"], post["storePaymentMethodMode"]) == ("shopper_1", "enabled")
    assert (post["shopperLocale"], post["countryCode"], post["returnUrl"]) == (
        "de-DE",
        "DE",
        "https://shop.example/back",
    )


async def test_the_payment_at_a_link_is_known_by_the_debt(gateway: Any, fake_adyen: FakeAdyen) -> None:
    """A success by any route ends the case."""
    request = a_request()
    await gateway.update_link(request)
    (link_id,) = fake_adyen.links

    psp = fake_adyen.pay_link(link_id)

    (webhook,) = [delivered(one) for one in fake_adyen.webhooks()]
    (event,) = gateway.parse_event(webhook.headers, webhook.body)
    assert event.payment_reference == request.payment_reference
    assert event.outcome == Succeeded(gateway_ref=psp, try_ref=psp, amount=Money(1999, "EUR"))


async def test_a_shopper_unknown_to_adyen_pays_without_storing(gateway: Any, fake_adyen: FakeAdyen) -> None:
    """Our customer's name is not told to Adyen: it may be an address."""
    await gateway.update_link(a_request(gateway_customer=None, return_url="https://shop.example/own"))

    (post,) = fake_adyen.posts
    assert not {"shopperReference", "storePaymentMethodMode", "recurringProcessingModel"} & post.keys()
    assert post["returnUrl"] == "https://shop.example/own"


async def test_a_link_lives_no_longer_than_adyen_grants(gateway: Any) -> None:
    """70 days; more would be refused."""
    link = await gateway.update_link(a_request(expires_at=datetime.now(UTC) + timedelta(days=400)))

    assert link.expires_at < datetime.now(UTC) + timedelta(days=70)


@pytest.mark.parametrize("changes", [{"locale": "klingon"}, {"country": "Germany"}])
async def test_what_adyen_would_not_understand_is_left_out(
    gateway: Any, fake_adyen: FakeAdyen, changes: dict[str, Any]
) -> None:
    """The page has a language of its own then."""
    await gateway.update_link(a_request(**changes))

    assert not {"shopperLocale", "countryCode"} & fake_adyen.posts[0].keys()


@pytest.mark.parametrize("changes", [{"payment_reference": "x" * 81}, {"amount": Money(100, "AFN")}])
async def test_no_link_says_why(gateway: Any, fake_adyen: FakeAdyen, changes: dict[str, Any]) -> None:
    """A cut reference would bring back another debt."""
    answer = await gateway.update_link(a_request(**changes))

    assert isinstance(answer, NoLink)
    assert answer.reason
    assert fake_adyen.posts == []


async def test_the_same_key_gives_the_same_link(gateway: Any, fake_adyen: FakeAdyen) -> None:
    """A message that is sent again leads to the same page."""
    request = a_request()

    links = [await gateway.update_link(request) for _ in range(2)]

    assert links[0] == links[1]
    assert len(fake_adyen.links) == 1


async def test_a_refused_link_is_no_link_and_a_wrong_key_is_an_error(fake_adyen: FakeAdyen) -> None:
    """Of the two only the first is about this customer."""
    wrong_key = a_gateway(fake_adyen, api_key=f"{KEY}x")
    fake_adyen.refuses_links = True

    answer = await a_gateway(fake_adyen).update_link(a_request())  # type: ignore[attr-defined]  # it makes links

    assert isinstance(answer, NoLink)
    with pytest.raises(AdyenRefused):
        await wrong_key.update_link(a_request())  # type: ignore[attr-defined]  # it makes links
