"""The Adyen gateway keeps the contract: the kits that plugin authors use, run beside our policed fake."""

from collections.abc import Callable

import pytest
from tests.plugins.adyen_benches import AdyenBench, AdyenOptionalBench, AdyenRefundBench, last_told, tampered
from tests.plugins.fake_adyen import FakeAdyen

from recoup_core.flows.guard import Unknown
from recoup_plugins import ChargeRequest, Pending, RefundOutcome, RefundRequest
from recoup_plugins.conformance import GatewayConformance
from recoup_plugins.optional_conformance import (
    CredentialConformance,
    LinkConformance,
    SettlementConformance,
    WebhookAnswerConformance,
)
from recoup_plugins.refund_conformance import RefundBench, RefundConformance


class TestAdyen(GatewayConformance):
    SIGNS_TIME = False

    @pytest.fixture
    def bench(self, a_request: Callable[..., ChargeRequest], fake_adyen: FakeAdyen) -> AdyenBench:
        return AdyenBench(a_request, fake_adyen)

    def tampered(self, body: bytes) -> bytes:
        return tampered(body)


class TestAdyenRefunds(RefundConformance):
    SIGNS_TIME = False

    @pytest.fixture
    def bench(self, a_refund: Callable[..., RefundRequest], fake_adyen: FakeAdyen) -> AdyenRefundBench:
        return AdyenRefundBench(a_refund, fake_adyen)

    def tampered(self, body: bytes) -> bytes:
        return tampered(body)

    def settled(self, bench: RefundBench, outcome: RefundOutcome | Unknown) -> RefundOutcome | Unknown:
        """Adyen takes every refund for processing; its webhook tells what became of it."""
        assert isinstance(bench, AdyenRefundBench)
        told: RefundOutcome = last_told(bench, outcome) if isinstance(outcome, Pending) else outcome
        return told


class Optional:
    @pytest.fixture
    def bench(self, fake_adyen: FakeAdyen) -> AdyenOptionalBench:
        return AdyenOptionalBench(fake_adyen)


class TestAdyenCredentials(Optional, CredentialConformance):
    pass


class TestAdyenLinks(Optional, LinkConformance):
    pass


class TestAdyenSettlement(Optional, SettlementConformance):
    pass


class TestAdyenWebhookAnswer(Optional, WebhookAnswerConformance):
    pass
