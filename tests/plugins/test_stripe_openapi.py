"""Stripe's own OpenAPI document as a judge of requests; the fake asks it for everything that our tests send."""

from collections.abc import Callable
from typing import NoReturn
from urllib.parse import urlencode

import pytest
from tests.counterparts.stripe_openapi import HOW, StripeRequests, nested, stripe_requests

pytestmark = pytest.mark.counterpart

INTENT = {
    "amount": "1999",
    "currency": "eur",
    "customer": "cus_a",
    "payment_method": "pm_a",
    "confirm": "true",
    "off_session": "true",
    "metadata[recoup_attempt]": "x",
}


@pytest.fixture(scope="module")
def requests(leave_out: Callable[[str, str], NoReturn]) -> StripeRequests:
    known = stripe_requests()
    if known is None:
        leave_out("Stripe's OpenAPI document", HOW)
    return known


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("POST", "/v1/payment_intents", INTENT),
        ("POST", "/v1/payment_intents/pi_a/confirm", {"payment_method": "pm_a", "off_session": "true"}),
        ("POST", "/v1/invoices/in_a/pay", {"payment_method": "pm_a", "off_session": "true"}),
        ("POST", "/v1/refunds", {"charge": "ch_a", "amount": "5", "reason": "duplicate", "metadata[a]": "b"}),
        ("GET", "/v1/payment_intents", {"created[gte]": "1700000000", "customer": "cus_a", "limit": "100"}),
        ("GET", "/v1/balance_transactions", {"payout": "po_a", "expand[0]": "data.source"}),
        ("GET", "/v1/payment_intents/pi_a", {}),
    ],
)
def test_what_stripe_takes_is_taken(requests: StripeRequests, method: str, path: str, params: dict[str, str]) -> None:
    """The judge has no opinion of its own."""
    assert requests.problems(method, path, urlencode(params)) == []


@pytest.mark.parametrize(
    ("method", "path", "params", "about"),
    [
        ("POST", "/v1/payment_intents", {key: INTENT[key] for key in INTENT if key != "amount"}, "amount"),
        ("POST", "/v1/payment_intents", {**INTENT, "amount": "abc"}, "amount"),
        ("POST", "/v1/payment_intents", {**INTENT, "bogus": "1"}, "bogus"),
        ("POST", "/v1/payment_intents", {**INTENT, "capture_method": "nope"}, "capture_method"),
        ("POST", "/v1/refunds", {"charge": "ch_a", "reason": "because"}, "reason"),
        ("GET", "/v1/payment_intents", {"payment_method": "pm_a"}, "payment_method"),
        ("GET", "/v1/payment_intents", {"limit": "many"}, "limit"),
        ("POST", "/v1/moons", {}, "no such operation"),
        ("DELETE", "/v1/refunds", {}, "no such operation"),
    ],
)
def test_what_stripe_refuses_is_named(
    requests: StripeRequests, method: str, path: str, params: dict[str, str], about: str
) -> None:
    """Missing, of a wrong kind, of a wrong word, or unknown."""
    problems = requests.problems(method, path, urlencode(params))

    assert problems
    assert about in " ".join(problems)


def test_what_only_newer_documents_know_is_left_to_the_sdks_names(requests: StripeRequests) -> None:
    """The document is of 2024; the SDK's types are of its own version."""
    newer = {**INTENT, "allowed_payment_method_types[0]": "card"}

    assert (
        requests.problems("POST", "/v1/payment_intents", urlencode(newer), newer={"allowed_payment_method_types"}) == []
    )
    assert requests.problems("POST", "/v1/payment_intents", urlencode(newer)) != []


def test_a_form_is_read_as_stripe_reads_it() -> None:
    """Brackets are objects, numbers in brackets lists."""
    assert nested([("a[b][0]", "x"), ("a[b][1]", "y"), ("c", "z")]) == {"a": {"b": ["x", "y"]}, "c": "z"}
