"""Mandates that can be used, and the page for a new one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gocardless_fake import FakeGoCardless
from recoup_gocardless.calls import GoCardlessNotAsked, GoCardlessRefused
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_plugins import Method, Money, NoLink, UpdateLink, UpdateLinkRequest


@pytest.fixture
def a_link() -> Callable[..., UpdateLinkRequest]:
    """Build a request for a page; say only what matters."""

    def build(**changes: Any) -> UpdateLinkRequest:
        values: dict[str, Any] = {
            "idempotency_key": "link-1",
            "payment_id": uuid4(),
            "payment_reference": "inv-1",
            "amount": Money(1999, "EUR"),
            "method": Method.SEPA_DEBIT,
            "customer_ref": "cust-1",
            "gateway_customer": "CU1",
            "expires_at": datetime.now(UTC) + timedelta(days=7),
        }
        return UpdateLinkRequest(**{**values, **changes})

    return build


async def test_mandates_that_can_be_used_are_listed_the_best_first(
    fake: FakeGoCardless, gateway: GoCardlessGateway
) -> None:
    """Working ones before new ones; what is gone, and what belongs to others, is not there."""
    new = fake.books.mandate(customer="CU1", status="pending_submission")
    works = fake.books.mandate(customer="CU1", scheme="bacs")
    fake.books.mandate(customer="CU1", status="cancelled")
    fake.books.mandate(customer="CU2")

    listed = await gateway.list_credentials("CU1")

    assert [each.token for each in listed] == [works["id"], new["id"]]
    assert [each.method for each in listed] == [Method.BACS_DEBIT, Method.SEPA_DEBIT]
    assert {each.gateway_customer for each in listed} == {"CU1"}
    assert listed[0].fingerprint == works["links"]["customer_bank_account"]


async def test_a_scheme_that_recoup_does_not_know_is_left_out(fake: FakeGoCardless, gateway: GoCardlessGateway) -> None:
    """Its rules are nobody's here."""
    fake.books.mandate(customer="CU1")["scheme"] = "autogiro"

    assert await gateway.list_credentials("CU1") == []


async def test_the_page_asks_for_a_new_mandate_of_the_same_scheme(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_link: Callable[..., UpdateLinkRequest]
) -> None:
    """It renews the means of payment and collects nothing; asked for twice it is the same page."""
    request = a_link(method=Method.BACS_DEBIT, return_url="https://shop.example/back", locale="de_AT")

    first, second = [await gateway.update_link(request) for _ in range(2)]

    assert isinstance(first, UpdateLink)
    assert first == second
    assert not first.pays
    bodies = {path: body for method, path, body in fake.sent if method == "POST"}
    asked = bodies["/billing_requests"]["billing_requests"]
    assert asked["mandate_request"] == {"scheme": "bacs", "currency": "GBP"}
    assert asked["links"] == {"customer": "CU1"}
    flow = bodies["/billing_request_flows"]["billing_request_flows"]
    assert (flow["redirect_uri"], flow["language"]) == ("https://shop.example/back", "de")


@pytest.mark.parametrize(
    "changes", [{"method": Method.CARD}, {"gateway_customer": None}, {"gateway_customer": "cus_1"}]
)
async def test_without_a_customer_or_a_bank_debit_there_is_no_page(
    fake: FakeGoCardless,
    gateway: GoCardlessGateway,
    a_link: Callable[..., UpdateLinkRequest],
    changes: dict[str, Any],
) -> None:
    """Said in words for the merchant, and without asking GoCardless."""
    answer = await gateway.update_link(a_link(**changes))

    assert isinstance(answer, NoLink)
    assert answer.reason
    assert not fake.sent


async def test_a_page_that_can_not_be_asked_for_is_wanted_later(
    fake: FakeGoCardless,
    a_gateway: Callable[..., GoCardlessGateway],
    a_link: Callable[..., UpdateLinkRequest],
) -> None:
    """A wrong token or no connection says nothing about the customer."""
    with pytest.raises(GoCardlessRefused):
        await a_gateway(access_token="wrong").update_link(a_link())
    fake.mode = "down"
    with pytest.raises(GoCardlessNotAsked):
        await a_gateway().update_link(a_link())
