"""The traps of the Stripe SDK that were measured with a fault server, each with the rule that keeps us out of it."""

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
import stripe
from tests.plugins.fake_stripe import KEY, FakeStripe

from recoup_core.flows.guard import Unknown, charge_guarded, refund_guarded
from recoup_plugins import ChargeRequest, GatewaySettings, NotSent, RefundRequest, Succeeded
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_calls import make_client
from recoup_plugins.gateways.stripe_errors import StripeAnswerLost, code_of, error_of
from recoup_plugins.gateways.stripe_options import StripeOptions

Build = Callable[..., ChargeRequest]


class Stub:
    """Answers every request with one prepared answer and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, b"{}", dict[str, str]()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                stub.asked.append((self.command, self.path, headers))
                self.send_response(stub.status)
                for name, value in {"Content-Length": str(len(stub.body)), **stub.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(stub.body)

            def log_message(self, *args: Any) -> None:
                """Tests are quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, status: int, body: Any, **headers: str) -> None:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()


def at(url: str) -> StripeGateway:
    options = {"api_key": KEY, "api_base": url, "timeout_s": 2.0}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))


def an_error(kind: str, code: str | None = None, **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "code": code, "message": "told", **more}}


# --- keys, retries, time limits ---------------------------------------------------------------------------------------


async def test_every_post_carries_a_key_of_ours(
    fake_stripe: FakeStripe, a_request: Build, a_refund: Callable[..., RefundRequest]
) -> None:
    """Without one the SDK makes a random key and forgets it: nobody could ever send the same request again."""
    gateway = at(fake_stripe.url)
    intent = fake_stripe.paying.made(1999, customer="cus_a")
    charges = [
        a_request("pm_ok"),
        a_request("pm_ok", debt_ref=intent["id"], gateway_customer="cus_a"),
        a_request("pm_ok", debt_ref=fake_stripe.billing.invoice(1999)["id"]),
    ]
    for request in charges:
        paid = await gateway.charge(request)
    assert isinstance(paid, Succeeded)
    refund = a_refund(charge_ref=paid.gateway_ref)
    await gateway.refund(refund)

    ours = [request.idempotency_key for request in (*charges, refund)]
    assert len(fake_stripe.posts) == 7
    assert all(re.sub("-claim(-intent)?$", "", post["key"]) in ours for post in fake_stripe.posts)


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503])
@pytest.mark.parametrize("should_retry", ["true", "false"])
async def test_the_sdk_never_sends_twice(stub: Stub, a_request: Build, status: int, should_retry: str) -> None:
    """Its own retries are off, whatever Stripe's header suggests; each send is ours to count."""
    stub.answer(status, an_error("api_error"), Stripe_Should_Retry=should_retry)

    await charge_guarded(at(stub.url), a_request("pm_a"))

    assert len(stub.asked) == 1


def test_the_client_waits_as_long_as_it_was_told() -> None:
    """The SDK's own patience is 80 s, far beyond the flows' limit; connecting has a shorter one."""
    client = make_client(StripeOptions(api_key=KEY, timeout_s=7.0), "2026-10-28.endive")

    requestor: Any = client._requestor  # the SDK shows what it was made with nowhere else
    http: Any = requestor._client
    assert http._timeout == httpx.Timeout(7.0, connect=3.0)
    assert requestor._options.max_network_retries == 0


def test_nothing_is_measured_behind_our_back() -> None:
    """The SDK would send timings of earlier requests to Stripe."""
    make_client(StripeOptions(api_key=KEY), "2026-10-28.endive")

    assert stripe.enable_telemetry is False


async def test_the_version_is_asked_for_and_not_left_to_the_account(stub: Stub, a_request: Build) -> None:
    """Shapes of answers differ by version; an account's default is anybody's guess."""
    await charge_guarded(at(stub.url), a_request("pm_a"))

    assert stub.asked[0][2]["stripe-version"] == stripe.api_version


# --- what an answer means ---------------------------------------------------------------------------------------------


async def test_a_busy_stripe_is_not_a_refusal(stub: Stub, a_request: Build) -> None:
    """429, and 409 on a lock: nothing was done, and the SDK's `code` is None on both."""
    for status, code in ((429, None), (429, "rate_limit"), (409, "lock_timeout")):
        stub.answer(status, an_error("invalid_request_error", code), Retry_After="4")

        outcome = await at(stub.url).charge(a_request("pm_a"))

        assert outcome == NotSent(reason=f"Stripe is busy ({code or status})", retry_after_s=4.0)


async def test_a_key_that_is_still_in_use_may_be_moving_money(stub: Stub, a_request: Build) -> None:
    """Also a 409, and the opposite of busy: the first request with this key is under way."""
    stub.answer(409, an_error("invalid_request_error", "idempotency_key_in_use"))

    assert isinstance(await charge_guarded(at(stub.url), a_request("pm_a")), Unknown)


async def test_a_key_used_with_another_body_is_no_refusal(
    stub: Stub, a_request: Build, a_refund: Callable[..., RefundRequest]
) -> None:
    """IdempotencyError is a 400 and yet says that an earlier request was taken."""
    stub.answer(400, an_error("idempotency_error"))

    assert isinstance(await charge_guarded(at(stub.url), a_request("pm_a")), Unknown)
    assert isinstance(await refund_guarded(at(stub.url), a_refund(charge_ref="ch_a")), Unknown)


@pytest.mark.parametrize("body", [b"<html>Hello</html>", b"", b"[]", b"null", b"7", b'{"id": 7}', b'{"object": "x"}'])
async def test_a_200_that_says_nothing_is_unknown(stub: Stub, a_request: Build, body: bytes) -> None:
    """A proxy's page, or half an object: Stripe may have done it all the same."""
    stub.answer(200, body)

    assert isinstance(await charge_guarded(at(stub.url), a_request("pm_a")), Unknown)


async def test_a_truncated_answer_is_unknown_whatever_the_sdk_would_retry(stub: Stub, a_request: Build) -> None:
    """`should_retry` differs by HTTP library and says nothing about whether it happened."""
    stub.answer(200, b'{"id": "pi_', Content_Length="5000", Connection="close")

    outcome = await charge_guarded(at(stub.url), a_request("pm_a"))

    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
async def test_a_page_instead_of_an_error_is_unknown_and_its_headers_stay_out(
    stub: Stub, a_request: Build, status: int
) -> None:
    """`error` is None then, and `json_body` wrongly holds the headers: a proxy spoke, not Stripe."""
    stub.answer(status, b"<html>no</html>", X_Secret="not ours to tell")

    outcome = await charge_guarded(at(stub.url), a_request("pm_a"))

    assert isinstance(outcome, Unknown)
    assert str(status) in outcome.reason
    assert "not ours" not in outcome.reason


def test_an_error_without_a_body_has_no_code() -> None:
    """The SDK's own attribute may be None where the body has one, and `error` None where there is no body."""
    bare = stripe.APIError("no body", http_status=500)
    odd = stripe.RateLimitError("slow down", json_body={"error": {"code": ["rate_limit"]}}, http_status=429)

    assert (error_of(bare).code, code_of(bare)) == (None, None)
    assert error_of(odd).code is None


async def test_a_missing_attribute_is_no_crash(stub: Stub, a_request: Build) -> None:
    """The SDK's objects raise AttributeError for what an older version leaves out; ours have defaults."""
    stub.answer(
        200, {"id": "pi_a", "object": "payment_intent", "status": "succeeded", "amount": 1999, "currency": "eur"}
    )

    outcome = await at(stub.url).charge(a_request("pm_a"))

    assert isinstance(outcome, Succeeded)
    assert (outcome.gateway_ref, outcome.try_ref) == ("pi_a", None)


async def test_an_error_tells_the_request_id_and_no_secret(stub: Stub, a_request: Build) -> None:
    """Support asks for the id; the SDK's own error holds the key and the body."""
    stub.answer(500, an_error("api_error"), Request_Id="req_a")

    with pytest.raises(StripeAnswerLost, match="req_a") as lost:
        await at(stub.url).charge(a_request("pm_a"))

    assert KEY not in f"{lost.value!r}{lost.value.__cause__}"
    assert lost.value.__suppress_context__
