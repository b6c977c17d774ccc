"""The Adyen gateway beside our fake, as the conformance kits want it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.plugins.adyen_reports import a_report, whole_batch
from tests.plugins.fake_adyen import FakeAdyen
from tests.plugins.fake_adyen_answers import (
    HMAC_KEY,
    KEY,
    MERCHANT,
    OLD_HMAC_KEY,
    notification,
    signed,
)

from recoup_core.domain.ids import new_id
from recoup_plugins import (
    ChargeRequest,
    Gateway,
    GatewaySettings,
    Method,
    Money,
    RefundRequest,
    UpdateLinkRequest,
    WebhookAnswer,
)
from recoup_plugins.conformance import Scenario, SignedWebhook, WebhookKind
from recoup_plugins.gateways.adyen import make_adyen
from recoup_plugins.gateways.adyen_amounts import from_adyen, to_adyen
from recoup_plugins.optional_bench import BrokenReport
from recoup_plugins.refund_conformance import RefundScenario, RefundWebhook

LOGIN = {"authorization": "Basic aG9vazpzZXNhbWU="}
"""`hook:sesame`: standard webhooks have no other header that says whom they come from."""

TOKENS = {
    Scenario.APPROVE: "tok_ok",
    Scenario.DECLINE: "tok_refuse:12:51",
    Scenario.LOSE_ANSWER: "tok_lose",
    Scenario.UNREACHABLE: "tok_ok",
}
WORDS = {
    RefundScenario.APPROVE: "ok",
    RefundScenario.REFUSE: "no:Refund not supported",
    RefundScenario.PENDING: "pending",
    RefundScenario.LOSE_ANSWER: "lose",
    RefundScenario.UNREACHABLE: "ok",
    RefundScenario.AUTHORIZED: "ok",
}
KINDS = {
    RefundWebhook.REFUNDED: "REFUND",
    RefundWebhook.ELSEWHERE: "REFUND",
    RefundWebhook.TAKEN_BACK: "REFUND_FAILED",
    RefundWebhook.DISPUTED: "CHARGEBACK",
}


def a_gateway(fake: FakeAdyen, **options: Any) -> Gateway:
    values = {"api_key": KEY, "merchant_account": MERCHANT, "return_url": "https://shop.example/back"}
    values |= {"api_base": fake.url, "hmac_keys": [OLD_HMAC_KEY, HMAC_KEY], "timeout_s": 5}
    values |= {"webhook_user": "hook", "webhook_password": "sesame"}
    return make_adyen(GatewaySettings(name="adyen", plugin="adyen", options={**values, **options}))


def delivered(webhook: SignedWebhook) -> SignedWebhook:
    return SignedWebhook({**webhook.headers, **LOGIN}, webhook.body)


def tampered(body: bytes) -> bytes:
    """Change what is signed: Adyen signs fields of an item, not bytes."""
    envelope = json.loads(body)
    envelope["notificationItems"][0]["NotificationRequestItem"]["amount"]["value"] += 1
    return json.dumps(envelope).encode()


class _Bench:
    def __init__(self, build: Callable[..., Any], fake: FakeAdyen) -> None:
        self.fake = fake
        self.gateway: Any = a_gateway(fake)
        self._build = build

    def now(self) -> datetime:
        return datetime.now(UTC)


class AdyenBench(_Bench):
    decline_code = "12"

    def request(self, scenario: Scenario, amount: Money) -> ChargeRequest:
        if scenario is Scenario.UNREACHABLE:
            self.fake.mode = "down"
        request: ChargeRequest = self._build(TOKENS[scenario], amount=amount, gateway_customer="shopper_1")
        return request

    def moved(self, request: ChargeRequest) -> Money | None:
        moved = self.fake.moved(request.payment_reference)
        assert len(moved) <= 1
        return from_adyen(*moved[0]) if moved else None

    def webhook(self, kind: WebhookKind, request: ChargeRequest, sent_at: datetime) -> SignedWebhook:
        amount = to_adyen(request.amount)
        code = "AUTHORISATION" if kind is WebhookKind.SUCCEEDED else "MOON_ROSE"
        reference = f"recoup-attempt-{request.attempt_id}"
        return delivered(signed(notification(code, psp="B" * 16, at=sent_at, reference=reference, **amount)))


class AdyenRefundBench(_Bench):
    refused_code = "refund_not_supported"

    def refundable(self, scenario: RefundScenario, charged: Money) -> RefundRequest:
        void = scenario is RefundScenario.AUTHORIZED
        amount = to_adyen(charged)
        payment = self.fake.paid(amount["value"], amount["currency"], WORDS[scenario], captured=not void)
        if scenario is RefundScenario.UNREACHABLE:
            self.fake.mode = "down"
        request: RefundRequest = self._build(charge_ref=payment["psp"], charged=charged, amount=charged, void=void)
        return request

    def refunded(self, request: RefundRequest) -> Money | None:
        gone = self.fake.gone(request.charge_ref)
        return from_adyen(gone, request.charged.currency) if gone else None

    def webhook(self, kind: RefundWebhook, request: RefundRequest, sent_at: datetime) -> SignedWebhook:
        reference = "by hand" if kind is RefundWebhook.ELSEWHERE else f"recoup-part-{request.part_id}"
        about = {"original": request.charge_ref, "reference": reference, **to_adyen(request.amount)}
        return delivered(signed(notification(KINDS[kind], psp="C" * 16, at=sent_at, **about)))

    def told(self, refund_ref: str) -> list[Any]:
        """Return what the webhooks so far say of a refund, or of a void, read by the gateway."""
        events = [
            event
            for webhook in self.fake.webhooks()
            for event in self.gateway.parse_event(delivered(webhook).headers, webhook.body)
        ]
        return [event.refund for event in events if event.refund is not None and event.refund.refund_ref == refund_ref]


def last_told(bench: AdyenRefundBench, outcome: Any) -> Any:
    """Return the end of what was only taken for processing, where a webhook has told it."""
    told = bench.told(outcome.gateway_ref)
    return told[-1].outcome if told else outcome


class AdyenOptionalBench(_Bench):
    """For everything that not every gateway has."""

    wanted = WebhookAnswer(content_type="text/plain", body="[accepted]")

    def __init__(self, fake: FakeAdyen) -> None:
        super().__init__(lambda: None, fake)

    def customer(self, stored: int) -> tuple[str, list[str]]:
        models = ["Subscription", "UnscheduledCardOnFile"]
        tokens = [f"TOKEN{number}" for number in range(stored)]
        self.fake.stored["shopper_1"] = [
            {
                "id": token,
                "type": "scheme",
                "brand": "mc",
                "supportedRecurringProcessingModels": models,
                "createdAt": f"2026-01-{28 - number:02}T00:00:00Z",
            }
            for number, token in enumerate(tokens)
        ]
        return "shopper_1", tokens

    def unknown_customer(self) -> str:
        return "nobody"

    def away(self) -> None:
        self.fake.mode = "down"

    def link_request(self, *, possible: bool) -> UpdateLinkRequest:
        payment_id = new_id()
        return UpdateLinkRequest(
            idempotency_key=f"key-{payment_id}",
            payment_id=payment_id,
            payment_reference="inv-1" if possible else "x" * 81,
            amount=Money(1999, "EUR"),
            method=Method.CARD,
            customer_ref="customer-7",
            gateway_customer="shopper_1",
            expires_at=datetime.now(UTC) + timedelta(days=7),
        )

    def report(self) -> bytes:
        return a_report(*whole_batch())

    def broken_report(self) -> BrokenReport:
        first, *others = whole_batch()
        return BrokenReport(a_report(first, {**others[0], "Net Debit (NC)": "much"}, *others[1:]), 3)
