"""What Stripe keeps of a customer: backup payment methods, and pages where the customer renews or pays."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.plugins.fake_stripe import KEY, FakeStripe

from recoup_core.domain.ids import new_id
from recoup_plugins import (
    GatewaySettings,
    Method,
    Money,
    Network,
    NoLink,
    PluginMisconfigured,
    StoredCredential,
    UpdateLink,
    UpdateLinkRequest,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_errors import StripeAnswerLost

CARD = {"id": "pm_card", "type": "card", "card": {"brand": "visa", "fingerprint": "fp_a", "country": "FR"}}
SEPA = {"id": "pm_sepa", "type": "sepa_debit", "sepa_debit": {"fingerprint": "fp_b", "country": "DE"}}
ACH = {"id": "pm_ach", "type": "us_bank_account", "us_bank_account": {"fingerprint": "fp_c"}}
BACS = {"id": "pm_bacs", "type": "bacs_debit", "bacs_debit": {"fingerprint": "fp_d"}}
KLARNA = {"id": "pm_klarna", "type": "klarna", "klarna": {}}

Ask = Callable[..., UpdateLinkRequest]


def a_gateway(fake: FakeStripe, **options: Any) -> StripeGateway:
    given = {"api_key": KEY, "api_base": fake.url, "timeout_s": 2.0, **options}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=given))


@pytest.fixture
def gateway(fake_stripe: FakeStripe, standing_clock: Any) -> StripeGateway:
    return a_gateway(fake_stripe, clock=standing_clock)


@pytest.fixture
def ask() -> Ask:
    """Build a request for a link; say only what matters."""

    def build(**changes: Any) -> UpdateLinkRequest:
        payment_id = new_id()
        values: dict[str, Any] = {
            "idempotency_key": f"link-{payment_id}",
            "payment_id": payment_id,
            "payment_reference": "INV-9",
            "amount": Money(1999, "EUR"),
            "method": Method.CARD,
            "customer_ref": "anna",
            "gateway_customer": "cus_a",
            "expires_at": datetime.now(UTC) + timedelta(days=7),
        }
        return UpdateLinkRequest(**{**values, **changes})

    return build


# --- stored payment methods -------------------------------------------------------------------------------------------


async def test_all_that_can_be_charged_is_listed_the_default_first(
    gateway: StripeGateway, fake_stripe: FakeStripe
) -> None:
    """The customer's own preference decides which backup is tried; what needs the customer each time is left out."""
    fake_stripe.billing.customer("cus_a", CARD, SEPA, KLARNA, ACH, BACS, default="pm_ach")

    found = await gateway.list_credentials("cus_a")

    assert [(one.token, one.method) for one in found] == [
        ("pm_ach", Method.ACH_DEBIT),
        ("pm_card", Method.CARD),
        ("pm_sepa", Method.SEPA_DEBIT),
        ("pm_bacs", Method.BACS_DEBIT),
    ]
    assert found[1] == StoredCredential(
        token="pm_card",
        gateway_customer="cus_a",
        method=Method.CARD,
        network=Network.VISA,
        fingerprint="fp_a",
        country="FR",
    )


@pytest.mark.parametrize(("month", "listed"), [(10, False), (11, True), (12, True)])
async def test_an_expired_card_is_no_backup(
    gateway: StripeGateway, fake_stripe: FakeStripe, month: int, listed: bool
) -> None:
    """It is 23 November 2026: a card is good through its last month."""
    card = {**CARD, "card": {"brand": "visa", "exp_month": month, "exp_year": 2026}}
    fake_stripe.billing.customer("cus_a", card)

    assert bool(await gateway.list_credentials("cus_a")) is listed


async def test_every_page_of_a_customers_methods_is_read(gateway: StripeGateway, fake_stripe: FakeStripe) -> None:
    """The default may be the oldest of all."""
    fake_stripe.page_size = 1
    fake_stripe.billing.customer("cus_a", CARD, SEPA, ACH, default="pm_ach")

    assert [one.token for one in await gateway.list_credentials("cus_a")] == ["pm_ach", "pm_card", "pm_sepa"]


async def test_a_deleted_customer_has_nothing(gateway: StripeGateway, fake_stripe: FakeStripe) -> None:
    """Stripe still answers for it, by its id and `deleted`."""
    fake_stripe.billing.customers["cus_a"] = {"id": "cus_a", "object": "customer", "deleted": True}

    assert await gateway.list_credentials("cus_a") == ()


async def test_an_unsure_list_is_raised(gateway: StripeGateway, fake_stripe: FakeStripe) -> None:
    """ "None" would be remembered as an answer; an unknown customer or a Stripe that is down is none."""
    with pytest.raises(StripeAnswerLost, match="resource_missing"):
        await gateway.list_credentials("cus_of_another_account")
    fake_stripe.mode = "down"
    with pytest.raises(StripeAnswerLost):
        await gateway.list_credentials("cus_a")


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_intent", [False, True])
async def test_an_open_invoice_has_a_page_that_pays_it(
    gateway: StripeGateway, fake_stripe: FakeStripe, ask: Ask, by_intent: bool
) -> None:
    """The customer pays the debt itself there, without being known to the portal."""
    invoice = fake_stripe.billing.invoice(1999)
    debt = fake_stripe.billing.intent_of(invoice["id"])["id"] if by_intent else invoice["id"]

    link = await gateway.update_link(ask(debt_ref=debt, gateway_customer=None))

    assert link == UpdateLink(url=invoice["hosted_invoice_url"], pays=True)


async def test_without_an_open_invoice_the_portal_renews_the_payment_method(fake_stripe: FakeStripe, ask: Ask) -> None:
    """The session leads straight to the page for a new payment method, and back to the merchant."""
    fake_stripe.billing.customer("cus_a")
    gateway = a_gateway(fake_stripe, portal_return_url="https://shop.example/account", portal_configuration="bpc_a")
    paid = fake_stripe.billing.invoice(1999, status="paid")
    request = ask(debt_ref=paid["id"], locale="de_AT")

    link = await gateway.update_link(request)

    (post,) = fake_stripe.posts
    assert post == {
        "path": "/v1/billing_portal/sessions",
        "key": request.idempotency_key,
        "customer": "cus_a",
        "flow_data[type]": "payment_method_update",
        "flow_data[after_completion][type]": "redirect",
        "flow_data[after_completion][redirect][return_url]": "https://shop.example/account",
        "return_url": "https://shop.example/account",
        "configuration": "bpc_a",
        "locale": "de",
    }
    assert isinstance(link, UpdateLink)
    assert (link.pays, link.expires_at is not None) == (False, True)


async def test_the_same_key_gives_the_same_page(gateway: StripeGateway, fake_stripe: FakeStripe, ask: Ask) -> None:
    """A link that was lost on the way is not a second one."""
    fake_stripe.billing.customer("cus_a")
    request = ask()

    assert await gateway.update_link(request) == await gateway.update_link(request)


@pytest.mark.parametrize(
    ("wanted", "sent"), [("en_GB", "en-GB"), ("pt-br", "pt-BR"), ("de-CH", "de"), ("xx", None), (None, None)]
)
async def test_a_locale_that_stripe_does_not_know_is_left_to_the_browser(
    gateway: StripeGateway, fake_stripe: FakeStripe, ask: Ask, wanted: str | None, sent: str | None
) -> None:
    """An unknown one would be refused, and with it the link."""
    fake_stripe.billing.customer("cus_a")

    await gateway.update_link(ask(locale=wanted))

    assert fake_stripe.posts[0].get("locale") == sent


async def test_a_customer_without_any_page_is_told_so(
    gateway: StripeGateway, fake_stripe: FakeStripe, ask: Ask
) -> None:
    """No customer at Stripe, or one that the portal refuses: the merchant is told, and no retry helps."""
    nobody, unknown = await gateway.update_link(ask(gateway_customer=None)), await gateway.update_link(ask())

    assert isinstance(nobody, NoLink)
    assert isinstance(unknown, NoLink)
    assert "resource_missing" in unknown.reason


async def test_a_link_that_can_not_be_made_now_is_raised(
    gateway: StripeGateway, fake_stripe: FakeStripe, ask: Ask
) -> None:
    """Try again later is no "never"."""
    fake_stripe.mode = "html"

    with pytest.raises(StripeAnswerLost):
        await gateway.update_link(ask())


@pytest.mark.parametrize(("field", "value"), [("portal_return_url", "javascript:x"), ("portal_configuration", "cus_a")])
def test_wrong_options_of_the_portal_are_refused_at_start(field: str, value: str) -> None:
    """A customer should not be the first to find out."""
    with pytest.raises(PluginMisconfigured) as refusal:
        make_stripe(GatewaySettings(name="stripe", plugin="stripe", options={"api_key": KEY, field: value}))

    assert refusal.value.field == field
