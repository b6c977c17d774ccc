"""The main job, end to end over flows: fails, waits, is retried, is recovered or exhausted; and says why."""

from datetime import timedelta
from typing import Any

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState, StepState


async def test_a_soft_decline_is_retried_until_it_is_recovered(shop: Any) -> None:
    """Declined once more, then collected: the case ends recovered, money is booked once, everything is told."""
    opened = await shop.open("tok_generic_decline|approve", code="generic_decline")

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert [a.state for a in file.attempts] == [AttemptState.DECLINED, AttemptState.DECLINED, AttemptState.SUCCEEDED]
    assert file.payment.state is PaymentState.PAID
    assert file.payment.captured_minor == 1999
    assert file.case.state is CaseState.RECOVERED
    assert [s.state for s in file.steps] == [StepState.DONE, StepState.DONE]
    assert await shop.events(opened.payment.id) == [
        "payment.reported", "case.opened", "step.planned",
        "attempt.submitted", "attempt.declined", "step.planned",
        "attempt.submitted", "attempt.succeeded", "payment.paid", "case.recovered",
    ]  # fmt: skip
    assert await shop.next_due() is None


async def test_a_case_ends_exhausted_when_the_policy_gives_up(shop: Any) -> None:
    """The last rung ends the case, once, with the policy's reason."""
    opened = await shop.open("tok_generic_decline", code="generic_decline")

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert file.case.state is CaseState.EXHAUSTED
    assert file.case.stop_reason == "exhausted"
    waits = [step.due_at - opened.case.opened_at for step in file.steps]
    assert len(waits) == 4
    assert waits[0] >= timedelta(days=3)
    assert (await shop.events(opened.payment.id)).count("case.exhausted") == 1
