"""Group commit: answers that come together are written together; each waits for its own; a bad one fails alone."""

import asyncio
from typing import Any

import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.flows.collect import _submit
from recoup_core.flows.recorder import Answer, Recorder
from recoup_core.ports import Succeeded

COUNT = 12


def an_answer(payment_id: Any, attempt_id: Any, ref: str = "ch") -> Answer:
    outcome = Succeeded(gateway_ref=ref, amount=Money(1999, "EUR"))
    return Answer(payment_id=payment_id, attempt_id=attempt_id, outcome=outcome, actor="gateway:sandbox")


async def submitted(shop: Any, count: int) -> list[Answer]:
    """Answers for attempts that are committed as submitted."""
    opened = [await shop.open("tok_approve", code="issuer_not_available") for _ in range(count)]
    shop.clock.set(await shop.next_due())
    await _submit(shop.context, await shop.claim())
    files = [await shop.file(each.payment.id) for each in opened]
    return [an_answer(file.payment.id, file.attempts[-1].id, f"ch-{n}") for n, file in enumerate(files)]


async def commits(shop: Any) -> int:
    """How many transactions wrote a success."""
    rows = await shop.rows("SELECT count(DISTINCT txid) FROM event WHERE kind = 'attempt.succeeded'")
    return int(rows[0][0])


async def test_answers_that_come_together_share_one_commit(shop: Any) -> None:
    """Twelve at once: one transaction, and every caller hears that its own is written."""
    answers = await submitted(shop, COUNT)
    recorder = Recorder(shop.context)

    changed = await asyncio.gather(*(recorder.record(answer) for answer in answers))

    assert changed == [True] * COUNT
    assert await commits(shop) == 1
    states = {(await shop.file(answer.payment_id)).attempts[-1].state for answer in answers}
    assert states == {AttemptState.SUCCEEDED}


async def test_the_same_answer_twice_in_one_group_counts_once(shop: Any) -> None:
    """The second changes nothing."""
    (answer,) = await submitted(shop, 1)
    recorder = Recorder(shop.context)

    changed = await asyncio.gather(*(recorder.record(answer) for _ in range(3)))

    assert changed == [True, False, False]
    assert (await shop.file(answer.payment_id)).payment.captured_minor == 1999


async def test_an_answer_about_nothing_we_know_changes_nothing(shop: Any) -> None:
    """Neither an error nor a new row."""
    (answer,) = await submitted(shop, 1)
    recorder = Recorder(shop.context)
    strange = [an_answer(new_id(), answer.attempt_id), an_answer(answer.payment_id, new_id())]

    assert await asyncio.gather(*(recorder.record(each) for each in strange)) == [False, False]


async def test_one_bad_answer_fails_alone(shop: Any) -> None:
    """An amount the database can't hold: its caller hears so, its neighbours' answers are written."""
    answers = await submitted(shop, 4)
    huge = Succeeded(gateway_ref="ch-huge", amount=Money(2**70, "EUR"))
    bad = Answer(
        payment_id=answers[1].payment_id, attempt_id=answers[1].attempt_id, outcome=huge, actor="gateway:sandbox"
    )
    recorder = Recorder(shop.context)

    results = await asyncio.gather(
        *(recorder.record(each) for each in (answers[0], bad, *answers[2:])), return_exceptions=True
    )

    assert [isinstance(each, Exception) for each in results] == [False, True, False, False]
    captured = [(await shop.file(answer.payment_id)).payment.captured_minor for answer in answers]
    assert captured == [1999, 0, 1999, 1999]
    assert (await shop.file(bad.payment_id)).attempts[-1].state is AttemptState.SUBMITTED


async def test_a_caller_that_gave_up_waiting_harms_nobody(shop: Any) -> None:
    """Its answer is written all the same, and so are the others."""
    answers = await submitted(shop, 3)
    recorder = Recorder(shop.context)
    impatient = asyncio.create_task(recorder.record(answers[0]))
    patient = [asyncio.create_task(recorder.record(answer)) for answer in answers[1:]]
    await asyncio.sleep(0)

    impatient.cancel()
    results = await asyncio.gather(*patient)

    assert results == [True, True]
    with pytest.raises(asyncio.CancelledError):
        await impatient
    captured = [(await shop.file(answer.payment_id)).payment.captured_minor for answer in answers]
    assert captured == [1999] * 3
