"""A last yes and something else at the same moment: one of them is what happened, and the money follows it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.refund import Refund, RefundState
from recoup_core.flows.disputes import DisputeReport, report_dispute
from recoup_core.flows.refunds.refusals import NotYourLevel, RefundNotOpen, VersionConflict
from recoup_core.flows.refunds.requests import cancel_refund

ROUNDS = 5

Other = Callable[[Any, Refund], Awaitable[Any]]


async def expires(desk: Any, refund: Refund) -> Any:
    """Its time is over, and the timer goes off."""
    return await desk.ring(refund)


async def is_canceled(desk: Any, refund: Refund) -> Any:
    """The requester doesn't want it any more."""
    return await cancel_refund(desk.context, refund.id, desk.by("ana"), "bought something else")


async def is_disputed(desk: Any, refund: Refund) -> Any:
    """The customer goes to their bank: the policy has other people look at it."""
    told = DisputeReport(
        payment_id=refund.payment_id,
        gateway_ref=f"dp_{refund.id}",
        amount_minor=1_000,
        currency="EUR",
        standing=DisputeState.OPEN,
    )
    return await report_dispute(desk.context, told, desk.by("ana"))


@pytest.mark.parametrize(
    ("meanwhile", "ends"),
    [
        (expires, {RefundState.APPROVED, RefundState.EXPIRED}),
        (is_canceled, {RefundState.CANCELED}),
        (is_disputed, {RefundState.IN_REVIEW}),
    ],
)
async def test_the_last_yes_and_something_else_at_once(desk: Any, meanwhile: Other, ends: set[RefundState]) -> None:
    """Whichever comes first, nothing leaves that is closed or disputed, and what is held is what may still leave."""
    for _ in range(ROUNDS):
        refund = await desk.refund(level=1, open_roles=("finance",))
        await desk.rows(
            "INSERT INTO refund_approval (id, merchant_id, refund_id, revision, level, role, principal, verdict,"
            " channel, decided_at) VALUES (gen_random_uuid(), 'default', $1, 1, 0, 'team_lead', 'ben', 'approve',"
            " 'api', now())",
            refund.id,
        )
        if meanwhile is expires:
            desk.clock.set(refund.expires_at)

        answers: Any = await asyncio.gather(
            desk.say(refund, desk.by("eve", "finance"), if_match=refund.version),
            meanwhile(desk, refund),
            return_exceptions=True,
        )

        yes, other = answers
        assert not isinstance(other, BaseException), other
        assert not isinstance(yes, BaseException) or isinstance(yes, RefundNotOpen | VersionConflict | NotYourLevel)
        after = (await desk.file(refund)).refund
        sends = await desk.rows(
            "SELECT 1 FROM job j JOIN refund_part p ON p.id = j.subject_id"
            " WHERE j.kind = 'refund' AND p.refund_id = $1",
            refund.id,
        )
        assert after.state in ends
        assert len(sends) == (after.state is RefundState.APPROVED)
        assert await desk.held(refund) == (0 if after.state in {RefundState.EXPIRED, RefundState.CANCELED} else 4_000)
