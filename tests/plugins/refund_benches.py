"""The built-in gateways beside their providers, as the conformance kit for refunds wants them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import stripe
from tests.plugins.fake_stripe import KEY, SECRET, FakeStripe

from recoup_plugins import Gateway, GatewaySettings, Money, RefundRequest
from recoup_plugins.conformance import SignedWebhook
from recoup_plugins.gateways.sandbox import make_sandbox
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_plugins.gateways.stripe import make_stripe
from recoup_plugins.gateways.stripe_amounts import from_stripe, to_stripe
from recoup_plugins.refund_conformance import RefundScenario, RefundWebhook

Build = Callable[..., RefundRequest]

SANDBOX_SCRIPTS = {
    RefundScenario.APPROVE: "approve",
    RefundScenario.REFUSE: "refused:lost_or_stolen_card",
    RefundScenario.PENDING: "pending:9d",
    RefundScenario.LOSE_ANSWER: "lose",
    RefundScenario.UNREACHABLE: "unreachable",
    RefundScenario.AUTHORIZED: "authorized",
}


class SandboxBench:
    refused_code = "lost_or_stolen_card"

    def __init__(self, build: Build, path: str | None) -> None:
        options = {"webhook_secrets": ["whsec_c2FuZGJveA=="], "path": path}
        self.sandbox = make_sandbox(GatewaySettings(name="sandbox", plugin="sandbox", options=options))
        self.gateway: Any = self.sandbox
        self._build = build

    def refundable(self, scenario: RefundScenario, charged: Money) -> RefundRequest:
        void = scenario is RefundScenario.AUTHORIZED
        return self._build(SANDBOX_SCRIPTS[scenario], charged=charged, amount=charged, void=void)

    def refunded(self, request: RefundRequest) -> Money | None:
        total = self.sandbox.bank.refund_totals().by_charge.get(request.charge_ref)
        gone = total.back_minor + total.pending_minor if total else 0
        return Money(gone, request.charged.currency) if gone else None

    def webhook(self, kind: RefundWebhook, request: RefundRequest, sent_at: datetime) -> SignedWebhook:
        data: dict[str, Any] = {
            "refund_id": "sbr_a",
            "part_id": None if kind is RefundWebhook.ELSEWHERE else str(request.part_id),
            "charge_id": request.charge_ref,
            "amount_minor": request.amount.amount_minor,
            "currency": request.amount.currency,
            "refund_failure": {"category": "method_gone", "code": "lost_or_stolen_card"},
        }
        if kind is RefundWebhook.DISPUTED:
            data |= {"dispute_id": "dsp_a", "standing": "open"}
        names = {RefundWebhook.TAKEN_BACK: "refund.taken_back", RefundWebhook.DISPUTED: "dispute.open"}
        event = {
            "id": "evt_a",
            "type": names.get(kind, "refund.succeeded"),
            "created": sent_at.isoformat(),
            "data": data,
        }
        body = json.dumps(event).encode()
        return SignedWebhook(sign("whsec_c2FuZGJveA==", "evt_a", sent_at, body), body)

    def now(self) -> datetime:
        return datetime.now(UTC)


STRIPE_WORDS = {
    RefundScenario.APPROVE: "ok",
    RefundScenario.REFUSE: "failed:lost_or_stolen_card",
    RefundScenario.PENDING: "requires_action",
    RefundScenario.LOSE_ANSWER: "lose",
    RefundScenario.UNREACHABLE: "ok",
    RefundScenario.AUTHORIZED: "ok",
}


class StripeBench:
    refused_code = "lost_or_stolen_card"

    def __init__(self, build: Build, fake: FakeStripe, *, bare: bool) -> None:
        options = {"api_key": KEY, "api_base": fake.url, "webhook_secrets": ["whsec_old", SECRET], "timeout_s": 5}
        self.gateway: Gateway = make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))
        self._build, self._fake, self._bare = build, fake, bare

    def refundable(self, scenario: RefundScenario, charged: Money) -> RefundRequest:
        void = scenario is RefundScenario.AUTHORIZED
        charge = self._fake.back.paid(
            to_stripe(charged), charged.currency.lower(), STRIPE_WORDS[scenario], captured=not void
        )
        if scenario is RefundScenario.UNREACHABLE:
            self._fake.stop()
        ref = charge["latest_charge"] if self._bare else charge["id"]
        return self._build(charge_ref=ref, charged=charged, amount=charged, void=void)

    def refunded(self, request: RefundRequest) -> Money | None:
        gone = self._fake.back.gone(request.charge_ref)
        return from_stripe(gone, request.charged.currency) if gone else None

    def webhook(self, kind: RefundWebhook, request: RefundRequest, sent_at: datetime) -> SignedWebhook:
        intent, charge = self._names(request.charge_ref)
        about: dict[str, Any] = {
            "id": "re_a",
            "object": "refund",
            "amount": to_stripe(request.amount),
            "currency": request.amount.currency.lower(),
            "charge": charge,
            "payment_intent": intent,
            "status": "succeeded",
            "metadata": {} if kind is RefundWebhook.ELSEWHERE else {"recoup_part": str(request.part_id)},
        }
        name = "refund.created"
        if kind is RefundWebhook.TAKEN_BACK:
            name = "refund.failed"
            about |= {
                "status": "failed",
                "failure_reason": "lost_or_stolen_card",
                "failure_balance_transaction": "txn_a",
            }
        if kind is RefundWebhook.DISPUTED:
            name = "charge.dispute.created"
            about |= {"id": "dp_a", "object": "dispute", "status": "needs_response", "reason": "fraudulent"}
        event = {"id": "evt_a", "type": name, "created": int(sent_at.timestamp()), "data": {"object": about}}
        body = json.dumps(event)
        header = stripe.WebhookSignature.generate_signature_header(body, SECRET, timestamp=int(sent_at.timestamp()))
        return SignedWebhook({"stripe-signature": header}, body.encode())

    def now(self) -> datetime:
        return datetime.now(UTC)

    def _names(self, charge_ref: str) -> tuple[str, str]:
        """The PaymentIntent and the charge behind one of the two."""
        if charge_ref in self._fake.intents:
            return charge_ref, self._fake.intents[charge_ref]["latest_charge"]
        return self._fake.charges[charge_ref]["payment_intent"], charge_ref
