"""The built-in gateways refund as the contract says, and the kit that checks it notices one that does not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.plugins.fake_stripe import FakeStripe
from tests.plugins.refund_benches import SandboxBench, StripeBench

from recoup_core.domain.ids import new_id
from recoup_plugins import (
    FailureCategory,
    GatewayEvent,
    Money,
    NotFound,
    Pending,
    Refunded,
    RefundFailure,
    RefundRequest,
    Refused,
)
from recoup_plugins.gateways.sandbox import SandboxFault
from recoup_plugins.refund_conformance import RefundConformance

Build = Callable[..., RefundRequest]


class TestSandbox(RefundConformance):
    @pytest.fixture
    def bench(self, a_refund: Build) -> SandboxBench:
        return SandboxBench(a_refund, None)


class TestSandboxOnFile(RefundConformance):
    @pytest.fixture
    def bench(self, a_refund: Build, tmp_path: Path) -> Iterator[SandboxBench]:
        bench = SandboxBench(a_refund, str(tmp_path / "bank.sqlite"))
        yield bench
        bench.sandbox.bank.close()


class TestStripeByIntent(RefundConformance):
    @pytest.fixture
    def bench(self, a_refund: Build, fake_stripe: FakeStripe) -> StripeBench:
        return StripeBench(a_refund, fake_stripe, bare=False)


class TestStripeByCharge(RefundConformance):
    @pytest.fixture
    def bench(self, a_refund: Build, fake_stripe: FakeStripe) -> StripeBench:
        return StripeBench(a_refund, fake_stripe, bare=True)


# --- the kit itself ---------------------------------------------------------------------------------------------------


class Wrapped:
    """The sandbox with one thing done wrong."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.name, self.capabilities = whole.name, whole.capabilities

    async def refund(self, request: RefundRequest) -> Any:
        return await self.whole.refund(request)

    async def find_refund(self, request: RefundRequest) -> Any:
        return await self.whole.find_refund(request)

    async def cancel_refund(self, request: RefundRequest) -> Any:
        return await self.whole.cancel_refund(request)

    def parse_event(self, headers: Any, body: bytes) -> list[GatewayEvent]:
        events: list[GatewayEvent] = self.whole.parse_event(headers, body)
        return events


class ForgetsKeys(Wrapped):
    async def refund(self, request: RefundRequest) -> Any:
        part_id = new_id()
        fresh = msgspec.structs.replace(request, idempotency_key=f"key-{part_id}", part_id=part_id)
        return await self.whole.refund(fresh)


class CallsALostAnswerANo(Wrapped):
    async def refund(self, request: RefundRequest) -> Any:
        try:
            return await self.whole.refund(request)
        except SandboxFault:
            return Refused(failure=RefundFailure(category=FailureCategory.UNKNOWN, code="timeout"))


class RaisesARefusal(Wrapped):
    async def refund(self, request: RefundRequest) -> Any:
        outcome = await self.whole.refund(request)
        if isinstance(outcome, Refused):
            raise RuntimeError(outcome.failure.code)
        return outcome


class CallsReceivedDone(Wrapped):
    async def refund(self, request: RefundRequest) -> Any:
        outcome = await self.whole.refund(request)
        if isinstance(outcome, Pending):
            return Refunded(gateway_ref=outcome.gateway_ref, amount=request.amount)
        return outcome


class FindsNothing(Wrapped):
    async def find_refund(self, request: RefundRequest) -> Any:
        return NotFound()


class FindsAnything(Wrapped):
    async def find_refund(self, request: RefundRequest) -> Any:
        return Refunded(gateway_ref="sbr_a", amount=request.amount)


class CountsInCents(Wrapped):
    async def refund(self, request: RefundRequest) -> Any:
        outcome = await self.whole.refund(request)
        if isinstance(outcome, Refunded) and request.amount.currency == "JPY":
            return Refunded(gateway_ref=outcome.gateway_ref, amount=Money(request.amount.amount_minor * 100, "JPY"))
        return outcome


class RefundsInsteadOfVoiding(Wrapped):
    async def refund(self, request: RefundRequest) -> Any:
        return await self.whole.refund(msgspec.structs.replace(request, void=False))


class ForgetsThePart(Wrapped):
    def parse_event(self, headers: Any, body: bytes) -> list[GatewayEvent]:
        return [
            msgspec.structs.replace(event, refund=event.refund and msgspec.structs.replace(event.refund, part_id=None))
            for event in self.whole.parse_event(headers, body)
        ]


KIT = RefundConformance()


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (ForgetsKeys, KIT.test_the_same_request_again_gives_the_same_answer_and_no_more_money),
        (ForgetsKeys, KIT.test_the_same_request_many_times_at_once_gives_money_back_once),
        (ForgetsKeys, KIT.test_a_key_with_another_body_moves_nothing),
        (ForgetsKeys, KIT.test_a_lost_answer_sent_again_gives_nothing_more_back),
        (CallsALostAnswerANo, KIT.test_a_lost_answer_is_unknown_and_then_found),
        (RaisesARefusal, KIT.test_a_refusal_is_a_value_with_its_raw_code),
        (RaisesARefusal, KIT.test_partials_sum_up_and_no_more_than_the_charge_goes_back),
        (RaisesARefusal, KIT.test_a_charge_nobody_knows_is_refused),
        (CallsReceivedDone, KIT.test_what_is_pending_is_said_so_and_found),
        (FindsNothing, KIT.test_a_lost_answer_is_unknown_and_then_found),
        (FindsAnything, KIT.test_another_parts_refund_is_not_found),
        (RefundsInsteadOfVoiding, KIT.test_a_promise_is_voided_once_and_never_refunded),
        (RefundsInsteadOfVoiding, KIT.test_what_is_captured_is_not_voided),
    ],
)
async def test_the_kit_notices_a_gateway_that_breaks_the_contract(
    a_refund: Build, broken: type[Wrapped], caught_by: Callable[..., Any]
) -> None:
    """A kit that passes everything proves nothing."""
    bench = SandboxBench(a_refund, None)
    bench.gateway = broken(bench.gateway)

    with pytest.raises(AssertionError):
        await caught_by(bench)


async def test_the_kit_notices_a_gateway_that_counts_otherwise(a_refund: Build) -> None:
    """A currency without decimals, answered in hundredths."""
    bench = SandboxBench(a_refund, None)
    bench.gateway = CountsInCents(bench.gateway)

    with pytest.raises(AssertionError):
        await KIT.test_refunds_are_exact_in_every_exponent(bench, 1)


def test_the_kit_notices_a_gateway_whose_events_forget_the_part(a_refund: Build) -> None:
    """Money that came back must find the part it belongs to."""
    bench = SandboxBench(a_refund, None)
    bench.gateway = ForgetsThePart(bench.gateway)

    with pytest.raises(AssertionError):
        KIT.test_money_that_came_back_is_told(bench)
