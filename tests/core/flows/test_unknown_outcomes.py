"""Promise 2: whatever a gateway raises is unknown, never failed; settled by look-up, webhook or the same key again."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.operate import Resolution, resolve_attempt


def moved(shop: Any) -> dict[str, int]:
    """Money the bank moved, by payment reference."""
    return {reference: total.moved_minor for reference, total in shop.gateway.bank.totals().items()}


async def test_an_answer_lost_after_success_is_found_and_nothing_is_sent_again(shop: Any) -> None:
    """The look-up tells; the customer is charged once."""
    opened = await shop.open("tok_lose+approve", code="generic_decline")

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert file.case.state is CaseState.RECOVERED
    assert file.attempts[-1].sends == 1
    assert moved(shop) == {opened.payment.reference: 1999}
    assert "attempt.unknown" in await shop.events(opened.payment.id)


async def test_a_request_lost_before_the_bank_did_anything_goes_again_with_the_same_key(shop: Any) -> None:
    """Not found and inside the key's lifetime: the same attempt, the same key."""
    opened = await shop.open("tok_lose_before+approve", code="generic_decline")

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert [a.state for a in file.attempts] == [AttemptState.DECLINED, AttemptState.SUCCEEDED]
    assert file.attempts[-1].sends == 2
    assert moved(shop) == {opened.payment.reference: 1999}


async def test_an_unreachable_gateway_keeps_the_attempt_and_its_key(shop: Any) -> None:
    """Certain that nothing left: same attempt, same key, a little later."""
    opened = await shop.open("tok_unreachable+approve", code="generic_decline")

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert len(file.attempts) == 2
    assert file.attempts[-1].sends == 2
    assert file.attempts[-1].state is AttemptState.SUCCEEDED


async def test_while_an_outcome_is_unknown_nothing_else_is_tried(shop: Any) -> None:
    """Promise 3: an unknown attempt holds the collection lease."""
    opened = await shop.open("tok_lose+approve", code="generic_decline")
    shop.clock.set(await shop.next_due())
    refs = await shop.claim()
    await shop.service.run_jobs(refs)

    file = await shop.file(opened.payment.id)

    assert file.live_attempt is not None
    assert file.live_attempt.state is AttemptState.UNKNOWN
    assert file.planned_retry is None


async def test_a_worker_that_died_after_submitting_is_noticed_by_its_lease(shop: Any) -> None:
    """Killed between the commit and the call: the next holder of the job asks the bank before anything else."""
    opened = await shop.open("tok_approve", code="generic_decline")
    shop.clock.set(await shop.next_due())
    dead = await shop.claim()
    from recoup_core.flows.collect import _submit  # the first half of the flow is what a killed worker gets done

    await _submit(shop.context, dead)
    shop.clock.advance(timedelta(seconds=121))

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert file.attempts[-1].state is AttemptState.SUCCEEDED
    assert file.attempts[-1].sends == 2
    assert moved(shop) == {opened.payment.reference: 1999}


async def test_the_same_message_delivered_twice_sends_once(shop: Any) -> None:
    """The broker may hand a message over again while its first reader is at work."""
    opened = await shop.open("tok_delay:200ms+approve", code="generic_decline")
    shop.clock.set(await shop.next_due())
    refs = await shop.claim()

    await asyncio.gather(shop.service.run_jobs(refs), shop.service.run_jobs(refs))
    await shop.live()

    file = await shop.file(opened.payment.id)
    assert file.attempts[-1].sends == 1
    assert moved(shop) == {opened.payment.reference: 1999}


async def test_past_the_key_lifetime_a_person_is_asked(shop: Any) -> None:
    """Never blindly again: the lookup says nothing, the key is too old, so it waits in the human queue."""
    opened = await shop.open("tok_lose_before*99+approve", code="generic_decline")

    await shop.live(until=timedelta(days=6))

    file = await shop.file(opened.payment.id)
    tasks = await shop.rows("SELECT kind, attempt_id FROM human_task WHERE payment_id = $1", opened.payment.id)
    assert file.attempts[-1].state is AttemptState.UNKNOWN
    assert [(t["kind"], t["attempt_id"]) for t in tasks] == [("unknown_outcome", file.attempts[-1].id)]
    assert moved(shop) in ({}, {opened.payment.reference: 0})


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("succeeded", AttemptState.SUCCEEDED),
        ("declined", AttemptState.DECLINED),
        ("never_arrived", AttemptState.NOT_SENT),
    ],
)
async def test_a_person_settles_with_evidence(shop: Any, outcome: Any, state: AttemptState) -> None:
    """What a person found out ends the attempt like any other answer."""
    opened = await shop.open("tok_lose_before*99+approve", code="generic_decline")
    await shop.live(until=timedelta(days=5))
    attempt = (await shop.file(opened.payment.id)).attempts[-1]

    file = await resolve_attempt(shop.context, attempt.id, shop.by(), Resolution(outcome=outcome, evidence="bank said"))

    assert file.attempt(attempt.id).state is state
    assert file.live_attempt is None
    assert file.open_tasks == ()
    assert (file.case.state is CaseState.RECOVERED) == (outcome == "succeeded")
    assert "attempt.resolved" in await shop.events(opened.payment.id)
