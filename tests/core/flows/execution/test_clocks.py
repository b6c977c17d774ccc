"""What a decision knew, not what two hosts' clocks say, tells whether a dispute came after it."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.refund import RefundState
from recoup_core.ports import DisputeNews


async def open_dispute(till: Any, account: Any, amount: Any, name: str = "dp-1") -> None:
    told = DisputeNews(
        dispute_ref=name, charge_ref=account.captures[0].gateway_ref, amount=amount, standing=DisputeState.OPEN
    )
    await till.dispute(told)


@pytest.mark.parametrize("behind", [timedelta(), timedelta(seconds=5), timedelta(minutes=30)])
async def test_a_dispute_stored_after_the_approval_holds_the_money_whatever_the_clocks_say(
    till: Any, eur: Any, behind: timedelta
) -> None:
    """Told to a host whose clock is behind, while no policy could decide anew: nothing leaves all the same."""
    account = await till.payment()
    await till.approved(account, 4_000)
    waiting = await till.claim()
    await till.retire("refund")
    till.clock.set(till.clock.now() - behind)
    await open_dispute(till, account, eur(4_000))
    till.clock.set(till.clock.now() + behind)

    await till.service.run_jobs(waiting)

    assert till.bank.requests == []


async def test_an_approval_given_under_a_dispute_leaves_once_although_the_approving_host_is_behind(
    till: Any, eur: Any
) -> None:
    """The policy knew of the dispute and paid beside it: it is not asked again and again until the clocks agree."""
    account = await till.payment()
    await open_dispute(till, account, eur(1_000))
    till.clock.set(till.clock.now() - timedelta(seconds=20))
    refund_id = await till.approved(account, 2_000, knew="open")

    await till.run_due()

    file = await till.refund(refund_id)
    assert (file.refund.state, file.refund.revision) == (RefundState.SUCCEEDED, 1)


async def test_a_second_dispute_long_after_the_approval_is_another_one(till: Any, eur: Any) -> None:
    """Both are open; the decision knew of the first."""
    account = await till.payment()
    await open_dispute(till, account, eur(1_000))
    await till.approved(account, 2_000, knew="open")
    waiting = await till.claim()
    await till.retire("refund")
    till.clock.advance(timedelta(minutes=2))
    await open_dispute(till, account, eur(500), "dp-2")

    await till.service.run_jobs(waiting)

    assert till.bank.requests == []
