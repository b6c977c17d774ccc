"""The contract of a gateway that refunds, as tests: subclass `RefundConformance` beside `GatewayConformance`.

    class TestMyRefunds(RefundConformance):
        @pytest.fixture
        def bench(self) -> Iterator[RefundBench]:
            with my_providers_sandbox() as provider:
                yield MyRefundBench(provider)

What it asks for is what Recoup relies on: money goes back once per key and never more than was charged, whatever
happens on the way; a refusal is a value; a lost answer is found. What the capabilities don't promise is not asked for.
"""

import asyncio
from datetime import timedelta
from typing import Final

import msgspec
import pytest

from recoup_core.domain.ids import new_id
from recoup_core.flows.guard import (
    Unknown,
    cancel_refund_guarded,
    find_refund_guarded,
    refund_guarded,
)
from recoup_plugins import (
    Canceled,
    FailureCategory,
    GatewaySettings,
    Money,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundOutcome,
    RefundRequest,
    Refused,
)
from recoup_plugins.manager import broken_contract
from recoup_plugins.refund_bench import RefundBench, RefundScenario, RefundWebhook
from recoup_plugins.refund_news_conformance import RefundNewsConformance

__all__ = ["RefundBench", "RefundConformance", "RefundScenario", "RefundWebhook"]

AT_ONCE: Final = 8


class RefundConformance(RefundNewsConformance):
    """The tests, those of events included; every one gets a fresh bench."""

    def settled(
        self,
        bench: RefundBench,  # noqa: ARG002 - for those that replace it
        outcome: RefundOutcome | Unknown,
    ) -> RefundOutcome | Unknown:
        """Return what became of a refund, by now.

        Replace it where your provider only takes refunds for processing: let the gateway read the webhook that tells
        the end, and leave `Pending` what is not finished.
        """
        return outcome

    def test_the_object_keeps_the_contract_of_refunds(self, bench: RefundBench) -> None:
        """What the capabilities promise is there, and any lag of the look-up ends before keys are forgotten."""
        can = bench.gateway.capabilities

        assert broken_contract(bench.gateway, GatewaySettings(name=bench.gateway.name, plugin="under_test")) is None
        assert can.refunds
        assert timedelta() <= can.refund_find_lag < can.key_lifetime
        assert all(window > timedelta() for window in can.refund_windows.values())

    @pytest.mark.asyncio
    @pytest.mark.parametrize("position", range(3), ids=["two decimals", "no decimals", "three decimals"])
    async def test_refunds_are_exact_in_every_exponent(self, bench: RefundBench, position: int) -> None:
        """What goes back is what was asked for, to the minor unit, whatever the provider calls it."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[position])

        outcome = await self._refund(bench, request)

        assert isinstance(outcome, Refunded)
        assert outcome.amount == request.amount
        assert outcome.gateway_ref
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_the_same_request_again_gives_the_same_answer_and_no_more_money(self, bench: RefundBench) -> None:
        """A re-send after a crash is harmless: same key, same answer, money once, though more would fit."""
        whole = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        request = msgspec.structs.replace(whole, amount=_part_of(whole, 4))

        outcomes = [await self._refund(bench, request) for _ in range(3)]

        assert isinstance(outcomes[0], Refunded)
        assert outcomes == [outcomes[0]] * 3
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_the_same_request_many_times_at_once_gives_money_back_once(self, bench: RefundBench) -> None:
        """Two workers that hold the same part can't refund twice; the late ones may be told to come back."""
        whole = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        request = msgspec.structs.replace(whole, amount=_part_of(whole, AT_ONCE))

        answers = await asyncio.gather(*(refund_guarded(bench.gateway, request) for _ in range(AT_ONCE)))
        outcomes = [self.settled(bench, answer) for answer in answers]

        told = {outcome.gateway_ref for outcome in outcomes if isinstance(outcome, Refunded)}
        assert len(told) == 1
        assert all(isinstance(outcome, Refunded | NotSent | Unknown) for outcome in outcomes)
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_a_key_with_another_body_moves_nothing(self, bench: RefundBench) -> None:
        """What such a key did is told by its first request alone: refused as unknown, never a second refund."""
        whole = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        request = msgspec.structs.replace(whole, amount=_part_of(whole, 4))
        await self._refund(bench, request)

        outcome = await refund_guarded(
            bench.gateway, msgspec.structs.replace(request, amount=_part_of(whole, 5), part_id=new_id())
        )

        assert isinstance(outcome, Unknown)
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_partials_sum_up_and_no_more_than_the_charge_goes_back(self, bench: RefundBench) -> None:
        """The provider's own refusal is a value that says that somebody refunded already; the rest still fits."""
        first = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        third = _part_of(first, 3)
        rest = first.charged - third - third
        unit = Money(1, first.charged.currency)
        amounts = (third, third, rest + unit, rest, unit)

        outcomes = [await self._refund(bench, _another(first, amount)) for amount in amounts]

        assert [type(outcome) for outcome in outcomes] == [Refunded, Refunded, Refused, Refunded, Refused]
        for refused in outcomes:
            if isinstance(refused, Refused):
                assert refused.failure.category is FailureCategory.ALREADY_REFUNDED
        assert bench.refunded(first) == first.charged

    @pytest.mark.asyncio
    async def test_partials_at_once_never_exceed_the_charge(self, bench: RefundBench) -> None:
        """Each has a key of its own; exactly those that fit go through."""
        first = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        parts = [_another(first, _part_of(first, 3)) for _ in range(AT_ONCE)]

        answers = await asyncio.gather(*(refund_guarded(bench.gateway, part) for part in parts))
        outcomes = [self.settled(bench, answer) for answer in answers]

        passed = [outcome for outcome in outcomes if isinstance(outcome, Refunded)]
        assert 1 <= len(passed) <= 3
        assert bench.refunded(first) == Money(len(passed) * parts[0].amount.amount_minor, first.charged.currency)

    @pytest.mark.asyncio
    async def test_a_refusal_is_a_value_with_its_raw_code(self, bench: RefundBench) -> None:
        """A no is an answer, never an exception; the provider's own word is kept beside our category."""
        request = bench.refundable(RefundScenario.REFUSE, self.AMOUNTS[0])

        outcomes = [await self._refund(bench, request) for _ in range(2)]

        assert isinstance(outcomes[0], Refused)
        assert outcomes[0].failure.code == bench.refused_code
        assert outcomes[0] == outcomes[1]
        assert bench.refunded(request) is None

    @pytest.mark.asyncio
    async def test_a_charge_nobody_knows_is_refused(self, bench: RefundBench) -> None:
        """Not an exception: nothing moved, and no waiting helps."""
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        prefix = request.charge_ref[:3]

        outcome = await self._refund(bench, msgspec.structs.replace(request, charge_ref=f"{prefix}nobody_knows_this"))

        assert isinstance(outcome, Refused)
        assert outcome.failure.category is FailureCategory.CONFIGURATION

    @pytest.mark.asyncio
    async def test_what_is_pending_is_said_so_and_found(self, bench: RefundBench) -> None:
        """Received is not refunded; it counts against the charge all the same."""
        request = bench.refundable(RefundScenario.PENDING, self.AMOUNTS[0])

        outcome = await self._refund(bench, request)
        assert isinstance(outcome, Pending)
        known = msgspec.structs.replace(request, gateway_ref=outcome.gateway_ref)
        found = await find_refund_guarded(bench.gateway, known)
        beside = await self._refund(bench, _another(request, Money(1, request.charged.currency)))

        if bench.gateway.capabilities.finds_refunds:
            assert found == outcome
        assert isinstance(beside, Refused)
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_a_finished_refund_can_not_be_canceled(self, bench: RefundBench) -> None:
        """Too late is a refusal, and the money stays where it went."""
        if not bench.gateway.capabilities.cancels_refunds:
            pytest.skip("the gateway cancels no refunds")
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        done = await self._refund(bench, request)
        assert isinstance(done, Refunded)

        outcome = await cancel_refund_guarded(
            bench.gateway, msgspec.structs.replace(request, gateway_ref=done.gateway_ref)
        )

        assert isinstance(outcome, Refused)
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_a_lost_answer_is_unknown_and_then_found(self, bench: RefundBench) -> None:
        """Money went back and nobody told us: never taken for a failure, and the look-up finds it."""
        request = bench.refundable(RefundScenario.LOSE_ANSWER, self.AMOUNTS[0])

        first = await refund_guarded(bench.gateway, request)
        found = await find_refund_guarded(bench.gateway, request)

        assert isinstance(first, Unknown)
        if bench.gateway.capabilities.finds_refunds:
            assert isinstance(found, Refunded)
            assert found.amount == request.amount
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_a_lost_answer_sent_again_gives_nothing_more_back(self, bench: RefundBench) -> None:
        """Inside the key's lifetime the same key may be sent again: it answers what happened."""
        whole = bench.refundable(RefundScenario.LOSE_ANSWER, self.AMOUNTS[0])
        request = msgspec.structs.replace(whole, amount=_part_of(whole, 4))
        await refund_guarded(bench.gateway, request)

        again = await self._refund(bench, request)

        assert isinstance(again, Refunded)
        assert bench.refunded(request) == request.amount

    @pytest.mark.asyncio
    async def test_what_could_not_be_sent_is_not_sent(self, bench: RefundBench) -> None:
        """A refused connection is certain: nothing left, and nothing moved."""
        request = bench.refundable(RefundScenario.UNREACHABLE, self.AMOUNTS[0])

        outcome = await self._refund(bench, request)

        assert isinstance(outcome, NotSent)
        assert bench.refunded(request) is None

    @pytest.mark.asyncio
    async def test_another_parts_refund_is_not_found(self, bench: RefundBench) -> None:
        """The look-up does not take another refund of the same charge and amount for ours."""
        whole = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])
        sent, never = (_another(whole, _part_of(whole, 4)) for _ in range(2))
        await self._refund(bench, sent)

        found = await find_refund_guarded(bench.gateway, never)

        if bench.gateway.capabilities.finds_refunds:
            assert isinstance(found, NotFound)

    @pytest.mark.asyncio
    async def test_a_promise_is_voided_once_and_never_refunded(self, bench: RefundBench) -> None:
        """An authorised charge refuses a refund with the word that says what to do instead; a void releases it."""
        if not bench.gateway.capabilities.voids:
            pytest.skip("the gateway voids nothing")
        void = bench.refundable(RefundScenario.AUTHORIZED, self.AMOUNTS[0])
        assert void.void

        refund = await self._refund(bench, _another(void, void.charged))
        outcomes = [await self._refund(bench, void) for _ in range(2)]

        assert isinstance(refund, Refused)
        assert refund.failure.category is FailureCategory.NOT_CAPTURED
        assert isinstance(outcomes[0], Refunded)
        assert outcomes == [outcomes[0]] * 2
        assert outcomes[0].amount == void.charged

    @pytest.mark.asyncio
    async def test_what_is_captured_is_not_voided(self, bench: RefundBench) -> None:
        """Captured between the decision and the call: refused with the word that says so, and nothing moved."""
        if not bench.gateway.capabilities.voids:
            pytest.skip("the gateway voids nothing")
        request = bench.refundable(RefundScenario.APPROVE, self.AMOUNTS[0])

        outcome = await self._refund(bench, msgspec.structs.replace(request, void=True))

        assert isinstance(outcome, Refused)
        assert outcome.failure.category is FailureCategory.ALREADY_CAPTURED
        assert bench.refunded(request) is None

    @pytest.mark.asyncio
    async def test_a_canceled_refund_is_found_canceled(self, bench: RefundBench) -> None:
        """Where the provider still could, the money never leaves; where it could not, that is said."""
        if not bench.gateway.capabilities.cancels_refunds:
            pytest.skip("the gateway cancels no refunds")
        request = bench.refundable(RefundScenario.PENDING, self.AMOUNTS[0])
        pending = await self._refund(bench, request)
        assert isinstance(pending, Pending)
        known = msgspec.structs.replace(request, gateway_ref=pending.gateway_ref)

        outcome = await cancel_refund_guarded(bench.gateway, known)
        found = await find_refund_guarded(bench.gateway, known)

        assert isinstance(outcome, Canceled | Refused)
        assert isinstance(found, Canceled if isinstance(outcome, Canceled) else Pending)
        assert (bench.refunded(request) is None) == isinstance(outcome, Canceled)

    async def _refund(self, bench: RefundBench, request: RefundRequest) -> RefundOutcome:
        """Refund; an unknown outcome fails the test with its reason."""
        outcome = self.settled(bench, await refund_guarded(bench.gateway, request))
        assert not isinstance(outcome, Unknown), outcome.reason
        return outcome


def _another(request: RefundRequest, amount: Money) -> RefundRequest:
    """Return another refund of the same charge: a part and a key of its own."""
    part_id = new_id()
    return msgspec.structs.replace(
        request, part_id=part_id, idempotency_key=f"key-{part_id}", amount=amount, void=False
    )


def _part_of(request: RefundRequest, parts: int) -> Money:
    return Money(request.charged.amount_minor // parts, request.charged.currency)
