"""The contract of a gateway as tests: subclass `GatewayConformance`, lend it a `Bench`, and run pytest.

    class TestMyGateway(GatewayConformance):
        @pytest.fixture
        def bench(self) -> Iterator[Bench]:
            with my_providers_sandbox() as provider:
                yield MyBench(provider)

It needs pytest and pytest-asyncio. What it asks for is what Recoup relies on: money moves once per key, whatever
happens on the way; a refusal is a value; a webhook that can't be trusted is refused and nothing worse.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final, Protocol

import msgspec
import pytest

from recoup_core.flows.guard import Unknown, charge_guarded, find_charge_guarded
from recoup_plugins import (
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    Declined,
    Gateway,
    GatewaySettings,
    Money,
    NotFound,
    NotSent,
    Succeeded,
    WebhookRefused,
)
from recoup_plugins.manager import broken_contract
from recoup_plugins.webhook_trust import WebhookTrust

HEALTH_LIMIT_S: Final = 5.0
STALE: Final = timedelta(minutes=10)
"""Older than any provider's tolerance in use (Stripe and Standard Webhooks: 5 minutes)."""

AT_ONCE: Final = 8


class Scenario(StrEnum):
    """What the provider is to do with the charge that the bench is asked for."""

    APPROVE = "approve"
    DECLINE = "decline"
    """Decline with the bench's `decline_code`."""
    LOSE_ANSWER = "lose_answer"
    """Collect the money, then break the connection instead of answering; answer the second time."""
    UNREACHABLE = "unreachable"
    """Refuse the connection."""


class WebhookKind(StrEnum):
    """What the provider's webhook is to tell."""

    SUCCEEDED = "succeeded"
    """The money of the given request was collected."""
    UNHEARD_OF = "unheard_of"
    """An event of a kind that the provider has just invented, of any shape."""


class SignedWebhook(msgspec.Struct, frozen=True):
    """One delivery as the provider would send it; header names in lower case."""

    headers: Mapping[str, str]
    body: bytes


class Bench(Protocol):
    """A gateway beside a provider that can be told what to do and asked what it did."""

    gateway: Gateway
    decline_code: str
    """The provider's raw code of `Scenario.DECLINE`."""

    def request(self, scenario: Scenario, amount: Money) -> ChargeRequest:
        """Return a fresh request (new attempt, new key, new payment) that the provider treats so."""
        ...

    def moved(self, request: ChargeRequest) -> Money | None:
        """Return what the provider itself says was collected for the request's payment; None for nothing."""
        ...

    def webhook(self, kind: WebhookKind, request: ChargeRequest, sent_at: datetime) -> SignedWebhook:
        """Return a webhook signed as the provider signs at that time; the same arguments make the same event."""
        ...

    def now(self) -> datetime:
        """Return the gateway's clock."""
        ...


class GatewayConformance(WebhookTrust):
    """The tests; every one gets a fresh bench."""

    AMOUNTS: ClassVar = (Money(1999, "EUR"), Money(1500, "JPY"), Money(12_340, "KWD"))
    """Two, no and three decimals. Replace what your provider does not take, but keep what it takes."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Give the kit your gateway; each plugin's tests define their own."""
        raise NotImplementedError("define the fixture `bench` in your subclass")

    def test_the_object_keeps_the_contract(self, bench: Bench) -> None:
        """Name, capabilities and methods are there, and of the kind that flows use."""
        settings = GatewaySettings(name=bench.gateway.name, plugin="under_test")

        assert broken_contract(bench.gateway, settings) is None

    def test_capabilities_are_sane(self, bench: Bench) -> None:
        """A gateway takes something, remembers keys, and any lag of its look-up ends before it forgets them."""
        can: Capabilities = bench.gateway.capabilities

        assert can.methods
        assert timedelta() < can.key_lifetime <= timedelta(days=366)
        assert timedelta() <= can.find_lag < can.key_lifetime

    @pytest.mark.asyncio
    @pytest.mark.parametrize("position", range(3), ids=["two decimals", "no decimals", "three decimals"])
    async def test_amounts_are_exact_in_every_exponent(self, bench: Bench, position: int) -> None:
        """What is collected is what was asked for, to the minor unit, whatever the provider calls it."""
        amount = self.AMOUNTS[position]
        request = bench.request(Scenario.APPROVE, amount)

        outcome = await bench.gateway.charge(request)

        assert isinstance(outcome, Succeeded)
        assert outcome.amount == amount
        assert outcome.gateway_ref
        assert bench.moved(request) == amount

    @pytest.mark.asyncio
    async def test_the_same_request_again_gives_the_same_answer_and_moves_nothing(self, bench: Bench) -> None:
        """A re-send after a crash is harmless: same key, same answer, money once."""
        request = bench.request(Scenario.APPROVE, self.AMOUNTS[0])

        outcomes = [await bench.gateway.charge(request) for _ in range(3)]

        assert isinstance(outcomes[0], Succeeded)
        assert outcomes == [outcomes[0]] * 3
        assert bench.moved(request) == self.AMOUNTS[0]

    @pytest.mark.asyncio
    async def test_the_same_request_many_times_at_once_moves_money_once(self, bench: Bench) -> None:
        """Two workers that hold the same attempt can't collect twice; the late ones may be told to come back."""
        request = bench.request(Scenario.APPROVE, self.AMOUNTS[0])

        calls = (charge_guarded(bench.gateway, request) for _ in range(AT_ONCE))
        outcomes = await asyncio.gather(*calls)

        told = {outcome.gateway_ref for outcome in outcomes if isinstance(outcome, Succeeded)}
        assert len(told) == 1
        assert all(isinstance(outcome, Succeeded | NotSent | Unknown) for outcome in outcomes)
        assert bench.moved(request) == self.AMOUNTS[0]

    @pytest.mark.asyncio
    async def test_a_decline_is_a_value_with_its_raw_code(self, bench: Bench) -> None:
        """A no is an answer, never an exception; the provider's own word is kept beside our category."""
        request = bench.request(Scenario.DECLINE, self.AMOUNTS[0])

        outcomes: list[ChargeOutcome] = [await bench.gateway.charge(request) for _ in range(2)]

        assert isinstance(outcomes[0], Declined)
        assert outcomes[0].decline.code == bench.decline_code
        assert outcomes[0] == outcomes[1]
        assert bench.moved(request) is None

    @pytest.mark.asyncio
    async def test_a_lost_answer_is_unknown_and_then_found(self, bench: Bench) -> None:
        """Money moved and nobody told us: never taken for a failure, and the look-up finds it."""
        request = bench.request(Scenario.LOSE_ANSWER, self.AMOUNTS[0])

        first = await charge_guarded(bench.gateway, request)
        found = await find_charge_guarded(bench.gateway, request)

        assert isinstance(first, Unknown)
        if bench.gateway.capabilities.finds_charges:
            assert isinstance(found, Succeeded)
            assert found.amount == self.AMOUNTS[0]
        assert bench.moved(request) == self.AMOUNTS[0]

    @pytest.mark.asyncio
    async def test_a_lost_answer_sent_again_moves_nothing_more(self, bench: Bench) -> None:
        """Inside the key's lifetime the same key may be sent again: it answers what happened."""
        request = bench.request(Scenario.LOSE_ANSWER, self.AMOUNTS[0])
        await charge_guarded(bench.gateway, request)

        again = await charge_guarded(bench.gateway, request)

        assert isinstance(again, Succeeded)
        assert bench.moved(request) == self.AMOUNTS[0]

    @pytest.mark.asyncio
    async def test_what_could_not_be_sent_is_not_sent(self, bench: Bench) -> None:
        """A refused connection is certain: nothing left, and nothing moved."""
        request = bench.request(Scenario.UNREACHABLE, self.AMOUNTS[0])

        outcome = await bench.gateway.charge(request)

        assert isinstance(outcome, NotSent)
        assert bench.moved(request) is None

    @pytest.mark.asyncio
    async def test_what_was_never_sent_is_not_found(self, bench: Bench) -> None:
        """The look-up does not find another attempt's money."""
        sent = bench.request(Scenario.APPROVE, self.AMOUNTS[0])
        never = bench.request(Scenario.APPROVE, self.AMOUNTS[0])
        await bench.gateway.charge(sent)

        found = await find_charge_guarded(bench.gateway, never)

        if bench.gateway.capabilities.finds_charges:
            assert isinstance(found, NotFound)

    @pytest.mark.asyncio
    async def test_a_webhook_names_the_attempt_and_the_outcome(self, bench: Bench) -> None:
        """A verified event settles the attempt it tells of; delivered twice it is the same event."""
        request = bench.request(Scenario.APPROVE, self.AMOUNTS[0])
        await bench.gateway.charge(request)
        sent = bench.webhook(WebhookKind.SUCCEEDED, request, bench.now())

        events, again = (bench.gateway.parse_event(sent.headers, sent.body) for _ in range(2))

        assert [event.external_id for event in events] == [event.external_id for event in again]
        told = next(event for event in events if event.attempt_id == request.attempt_id)
        assert isinstance(told.outcome, Succeeded)
        assert told.outcome.amount == self.AMOUNTS[0]
        assert told.occurred_at.tzinfo is not None

    def test_a_webhook_of_an_unheard_of_kind_is_kept(self, bench: Bench) -> None:
        """Providers invent kinds; refusing one would make them deliver it for days, and block others behind it."""
        request = bench.request(Scenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(WebhookKind.UNHEARD_OF, request, bench.now())

        events = bench.gateway.parse_event(sent.headers, sent.body)

        assert events
        assert all(event.outcome is None and event.failure is None for event in events)

    @pytest.mark.parametrize("lie", ["old", "future", "body", "no headers", "other headers", "empty body", "not JSON"])
    def test_a_webhook_that_can_not_be_trusted_is_refused(self, bench: Bench, lie: str) -> None:
        """Stale, early, altered, unsigned: `WebhookRefused` and never another exception."""
        if lie in ("old", "future") and not self.SIGNS_TIME:
            pytest.skip("the provider signs no time")
        request = bench.request(Scenario.APPROVE, self.AMOUNTS[0])
        away = {"old": -STALE, "future": STALE}.get(lie, timedelta())
        sent = bench.webhook(WebhookKind.SUCCEEDED, request, bench.now() + away)
        body = {"body": self.tampered(sent.body), "empty body": b"", "not JSON": b"\xff{"}.get(lie, sent.body)
        headers = {"no headers": {}, "other headers": {"content-type": "text/plain"}}.get(lie, sent.headers)

        with pytest.raises(WebhookRefused):
            bench.gateway.parse_event(headers, body)

    @pytest.mark.parametrize(
        "garbage", ["", "x", "é=ü", "t=,v1=", "v1,", ",,,", "=" * 50, "t=1=2,v1=3", "\x00", "9" * 400]
    )
    def test_garbage_in_any_signature_header_is_refused(self, bench: Bench, garbage: str) -> None:
        """Whatever a stranger writes into a header ends in a refusal, never in another exception."""
        request = bench.request(Scenario.APPROVE, self.AMOUNTS[0])
        sent = bench.webhook(WebhookKind.SUCCEEDED, request, bench.now())
        own = [name for name in sent.headers if name != "content-type"]

        for name in own:
            with pytest.raises(WebhookRefused):
                bench.gateway.parse_event({**sent.headers, name: garbage}, sent.body)

    @pytest.mark.asyncio
    async def test_health_answers_in_time(self, bench: Bench) -> None:
        """The operator's check does not hang."""
        async with asyncio.timeout(HEALTH_LIMIT_S):
            await bench.gateway.health()
