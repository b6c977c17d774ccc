"""The part of `RefundConformance` that is about events: refunds, returns and disputes as a provider tells of them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, Final

import pytest

from recoup_core.flows.guard import refund_guarded
from recoup_plugins import (
    DisputeNews,
    DisputeState,
    GatewayEvent,
    Money,
    Refunded,
    RefundNews,
    Refused,
    TakenBack,
    WebhookRefused,
)
from recoup_plugins.refund_bench import RefundBench, RefundScenario, RefundWebhook
from recoup_plugins.webhook_trust import WebhookTrust

STALE: Final = timedelta(minutes=10)
"""Older than any provider's tolerance in use (Stripe and Standard Webhooks: 5 minutes)."""


class RefundNewsConformance(WebhookTrust):
    """The tests; `RefundConformance` inherits them."""

    AMOUNTS: ClassVar = (Money(1999, "EUR"), Money(1500, "JPY"), Money(12_340, "KWD"))
    """Two, no and three decimals. Replace what your provider does not take, but keep what it takes."""

    @pytest.fixture
    def bench(self) -> RefundBench:
        """Give the kit your gateway; each plugin's tests define their own."""
        raise NotImplementedError("define the fixture `bench` in your subclass")

    @pytest.mark.asyncio
    async def test_a_webhook_names_the_part_the_charge_and_the_outcome(self, bench: RefundBench) -> None:
        """A verified event settles the part it tells of; delivered twice it is the same event."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        await refund_guarded(bench.gateway, request)
        sent = bench.webhook(RefundWebhook.REFUNDED, request, bench.now())

        events, again = (bench.gateway.parse_event(sent.headers, sent.body) for _ in range(2))

        assert [event.external_id for event in events] == [event.external_id for event in again]
        news = _refund_news(events)
        assert news.part_id == request.part_id
        assert request.charge_ref in (news.charge_ref, *news.other_charge_refs)
        assert isinstance(news.outcome, Refunded)
        assert news.amount == news.outcome.amount == request.amount
        assert all(event.outcome is None and event.failure is None for event in events)

    def test_a_refund_made_elsewhere_is_known_by_its_charge(self, bench: RefundBench) -> None:
        """Somebody uses the provider's own dashboard: it counts, and it is no part of ours."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(RefundWebhook.ELSEWHERE, request, bench.now())

        news = _refund_news(bench.gateway.parse_event(sent.headers, sent.body))

        assert news.part_id is None
        assert request.charge_ref in (news.charge_ref, *news.other_charge_refs)
        assert news.refund_ref

    def test_money_that_came_back_is_told(self, bench: RefundBench) -> None:
        """A success is not the end: the event names the part, and why its money is with the merchant again."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(RefundWebhook.TAKEN_BACK, request, bench.now())

        news = _refund_news(bench.gateway.parse_event(sent.headers, sent.body))

        assert news.part_id == request.part_id
        assert isinstance(news.outcome, TakenBack | Refused)
        assert news.outcome.failure.code

    def test_a_dispute_is_told_with_its_charge(self, bench: RefundBench) -> None:
        """Disputed money must not go back a second time: reference, charge and amount are all there."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(RefundWebhook.DISPUTED, request, bench.now())

        news = _dispute_news(bench.gateway.parse_event(sent.headers, sent.body))

        assert request.charge_ref in (news.charge_ref, *news.other_charge_refs)
        assert (news.standing, news.amount) == (DisputeState.OPEN, request.charged)
        assert news.dispute_ref

    @pytest.mark.parametrize("kind", list(RefundWebhook))
    @pytest.mark.parametrize("lie", ["old", "future", "body"])
    def test_news_of_money_that_can_not_be_trusted_is_refused(
        self, bench: RefundBench, kind: RefundWebhook, lie: str
    ) -> None:
        """A forged "refunded" would book money that never moved."""
        if lie != "body" and not self.SIGNS_TIME:
            pytest.skip("the provider signs no time")
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(kind, request, bench.now() + {"old": -STALE, "future": STALE}.get(lie, timedelta()))
        body = self.tampered(sent.body) if lie == "body" else sent.body

        with pytest.raises(WebhookRefused):
            bench.gateway.parse_event(sent.headers, body)


def _refund_news(events: Sequence[GatewayEvent]) -> RefundNews:
    (news,) = [event.refund for event in events if event.refund is not None]
    return news


def _dispute_news(events: Sequence[GatewayEvent]) -> DisputeNews:
    (news,) = [event.dispute for event in events if event.dispute is not None]
    return news
