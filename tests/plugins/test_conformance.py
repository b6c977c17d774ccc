"""The built-in gateways keep the contract: the kit that plugin authors use, run on our own."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import stripe
from tests.plugins.fake_stripe import KEY, SECRET, FakeStripe

from recoup_plugins import ChargeRequest, Gateway, GatewaySettings, Money
from recoup_plugins.conformance import GatewayConformance, Scenario, SignedWebhook, WebhookKind
from recoup_plugins.gateways.sandbox import make_sandbox
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_plugins.gateways.stripe import make_stripe
from recoup_plugins.gateways.stripe_amounts import to_stripe

SANDBOX_TOKENS = {
    Scenario.APPROVE: "tok_approve",
    Scenario.DECLINE: "tok_insufficient_funds",
    Scenario.LOSE_ANSWER: "tok_lose",
    Scenario.UNREACHABLE: "tok_unreachable",
}


class SandboxBench:
    decline_code = "insufficient_funds"

    def __init__(self, build: Callable[..., ChargeRequest], path: str | None) -> None:
        options = {"webhook_secrets": ["whsec_c2FuZGJveA=="], "path": path}
        self.sandbox = make_sandbox(GatewaySettings(name="sandbox", plugin="sandbox", options=options))
        self.gateway: Gateway = self.sandbox
        self._build = build

    def request(self, scenario: Scenario, amount: Money) -> ChargeRequest:
        return self._build(SANDBOX_TOKENS[scenario], amount=amount)

    def moved(self, request: ChargeRequest) -> Money | None:
        total = self.sandbox.bank.totals().get(request.payment_reference)
        return Money(total.moved_minor, total.currency) if total and total.moved_minor else None

    def webhook(self, kind: WebhookKind, request: ChargeRequest, sent_at: datetime) -> SignedWebhook:
        event = {"id": "evt_new", "type": "moon.rose", "created": sent_at.isoformat(), "data": {"amount_minor": "full"}}
        if kind is WebhookKind.SUCCEEDED:
            amount = {"amount_minor": request.amount.amount_minor, "currency": request.amount.currency}
            data = {"charge_id": "sbx_a", "attempt_id": str(request.attempt_id), "decline": None, **amount}
            event |= {"type": "charge.succeeded", "data": data}
        body = json.dumps(event).encode()
        return SignedWebhook(sign("whsec_c2FuZGJveA==", "evt_new", sent_at, body), body)

    def now(self) -> datetime:
        return datetime.now(UTC)


STRIPE_TOKENS = {
    Scenario.APPROVE: "pm_ok",
    Scenario.DECLINE: "pm_decline:insufficient_funds:51",
    Scenario.LOSE_ANSWER: "pm_lose",
    Scenario.UNREACHABLE: "pm_ok",
}


class StripeBench:
    decline_code = "insufficient_funds"

    def __init__(self, build: Callable[..., ChargeRequest], fake: FakeStripe) -> None:
        options = {"api_key": KEY, "api_base": fake.url, "webhook_secrets": ["whsec_old", SECRET], "timeout_s": 5}
        self.gateway: Gateway = make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))
        self._build, self._fake = build, fake

    def request(self, scenario: Scenario, amount: Money) -> ChargeRequest:
        debt = self.debt(to_stripe(amount), amount.currency.lower())
        if scenario is Scenario.UNREACHABLE:
            self._fake.stop()
        return self._build(STRIPE_TOKENS[scenario], amount=amount, gateway_customer="cus_a", debt_ref=debt)

    def debt(self, amount: int, currency: str) -> str | None:
        """The object that the attempt is made on; None for one of its own."""
        return None

    def moved(self, request: ChargeRequest) -> Money | None:
        moved = self._fake.moved(request.payment_reference)
        assert len({currency for _, currency in moved}) <= 1
        return Money(sum(amount for amount, _ in moved), moved[0][1].upper()) if moved else None

    def webhook(self, kind: WebhookKind, request: ChargeRequest, sent_at: datetime) -> SignedWebhook:
        intent = {
            "id": "pi_a",
            "object": "payment_intent",
            "status": "succeeded",
            "amount": request.amount.amount_minor,
            "amount_received": request.amount.amount_minor,
            "currency": request.amount.currency.lower(),
            "metadata": {"recoup_attempt": str(request.attempt_id)},
        }
        known = kind is WebhookKind.SUCCEEDED
        event = {
            "id": "evt_a",
            "object": "event",
            "type": "payment_intent.succeeded" if known else "moon.rose",
            "created": int(sent_at.timestamp()),
            "data": {"object": intent if known else ["full"]},
        }
        body = json.dumps(event)
        header = stripe.WebhookSignature.generate_signature_header(body, SECRET, timestamp=int(sent_at.timestamp()))
        return SignedWebhook({"stripe-signature": header, "content-type": "application/json"}, body.encode())

    def now(self) -> datetime:
        return datetime.now(UTC)


class SameIntentBench(StripeBench):
    def debt(self, amount: int, currency: str) -> str | None:
        return str(self._fake.paying.made(amount, currency, customer="cus_a")["id"])


class InvoiceBench(StripeBench):
    def debt(self, amount: int, currency: str) -> str | None:
        return str(self._fake.billing.invoice(amount, currency)["id"])


class TestSandbox(GatewayConformance):
    @pytest.fixture
    def bench(self, a_request: Callable[..., ChargeRequest]) -> SandboxBench:
        return SandboxBench(a_request, None)


class TestSandboxOnFile(GatewayConformance):
    @pytest.fixture
    def bench(self, a_request: Callable[..., ChargeRequest], tmp_path) -> Iterator[SandboxBench]:
        bench = SandboxBench(a_request, str(tmp_path / "bank.sqlite"))
        yield bench
        bench.sandbox.bank.close()


class TestStripe(GatewayConformance):
    @pytest.fixture
    def bench(self, a_request: Callable[..., ChargeRequest], fake_stripe: FakeStripe) -> StripeBench:
        return StripeBench(a_request, fake_stripe)


class TestStripeOnTheSameIntent(GatewayConformance):
    @pytest.fixture
    def bench(self, a_request: Callable[..., ChargeRequest], fake_stripe: FakeStripe) -> StripeBench:
        return SameIntentBench(a_request, fake_stripe)


class TestStripeOnAnInvoice(GatewayConformance):
    @pytest.fixture
    def bench(self, a_request: Callable[..., ChargeRequest], fake_stripe: FakeStripe) -> StripeBench:
        return InvoiceBench(a_request, fake_stripe)
