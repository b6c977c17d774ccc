"""Promise 2 for refunds: whatever a gateway raises is unknown, and settled without ever paying twice."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.errors import IllegalTransition
from recoup_core.domain.refund import PartState, RefundState
from recoup_core.flows.refunds.execute import run_refunds
from recoup_core.flows.refunds.settle import PartResolution, resolve_part
from recoup_core.ports import Pending, Refunded
from recoup_core.storage.calls import Call

LOST = ConnectionResetError("the answer was lost")


async def test_an_answer_lost_after_the_refund_is_found_and_nothing_is_sent_again(till: Any, eur: Any) -> None:
    """Trap 3, within the key's life: the look-up tells; the customer is paid once."""
    account = await till.payment()
    till.bank.answers = [("done", LOST)]
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.SUCCEEDED
    assert file.parts[0].sends == 1
    assert "refund.unknown" in await till.events(refund_id)
    await till.books_agree()


async def test_a_request_lost_on_its_way_goes_again_with_the_same_key(till: Any) -> None:
    """Not found and inside the key's lifetime: the same part, the same key, the same request."""
    account = await till.payment()
    till.bank.answers = [LOST]
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert [(part.state, part.sends) for part in file.parts] == [(PartState.SUCCEEDED, 2)]
    assert len({r.idempotency_key for r in till.bank.requests}) == 1
    assert len({r.first_sent_at for r in till.bank.requests}) == 1
    await till.books_agree()


async def test_an_answer_lost_twice_over_a_gateway_without_look_ups_still_pays_once(till: Any) -> None:
    """The bank keeps its key: a re-send is answered from its books."""
    till.bank.can(finds_refunds=False)
    account = await till.payment()
    till.bank.answers = [("done", LOST), ("done", LOST)]
    refund_id = await till.approved(account)

    await till.live()

    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert len(till.bank.requests) == 3
    await till.books_agree()


async def test_a_re_send_that_surely_did_not_leave_says_nothing_of_the_first(till: Any, not_sent: Any) -> None:
    """Where no look-up can tell, "not sent" is about this send only: the part stays unknown."""
    till.bank.can(finds_refunds=False)
    account = await till.payment()
    till.bank.answers = [("done", LOST), not_sent]
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.SUCCEEDED
    assert "refund.not_sent" not in await till.events(refund_id)
    await till.books_agree()


async def test_beyond_the_keys_life_a_part_is_only_looked_up_and_a_person_is_asked_at_once(till: Any) -> None:
    """Traps 3 and 12: never blindly again; its money stays held, and whoever finds out says so."""
    account = await till.payment()
    till.bank.answers = [("done", LOST)]
    till.bank.found = [ConnectionResetError("down")] * 40
    refund_id = await till.approved(account)
    await till.live(until=timedelta(hours=23))
    till.bank.books.clear()  # the bank forgot: its look-up knows nothing any more
    till.bank.found = []

    await till.live(until=timedelta(days=4))

    file = await till.refund(refund_id)
    assert len(till.bank.requests) == 1
    assert file.parts[0].state is PartState.UNKNOWN
    assert await till.tasks() == ["refund_unknown"]
    assert (await till.account(account.payment.id)).free_minor == 0


async def test_a_look_up_that_is_late_is_not_believed_too_early(till: Any) -> None:
    """Inside the look-up's lag "not found" proves nothing: nothing is sent again before it has passed."""
    till.bank.can(refund_find_lag=timedelta(hours=2))
    account = await till.payment()
    till.bank.answers = [LOST]
    await till.approved(account)
    await till.run_due()
    started = till.clock.now()

    await till.live(until=timedelta(hours=1, minutes=50))
    early = len(till.bank.requests)
    await till.live(until=timedelta(days=1))

    assert early == 1
    assert len(till.bank.requests) == 2
    assert till.clock.now() >= started + timedelta(hours=2)


async def test_a_gateway_that_can_not_be_asked_for_a_day_is_put_before_a_person(till: Any) -> None:
    """The look-ups go on meanwhile; the answer closes the question."""
    account = await till.payment()
    till.bank.answers = [("done", LOST)]
    till.bank.found = [ConnectionResetError("down")] * 12
    refund_id = await till.approved(account)

    await till.live(until=timedelta(days=2))
    asked = await till.tasks()
    till.bank.found = []
    await till.live(until=timedelta(days=2))

    assert asked == ["refund_unknown"]
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert await till.tasks() == []


async def test_a_worker_that_died_after_submitting_is_noticed_by_its_lease(till: Any) -> None:
    """Killed between the commit and the call: the next holder of the job asks the bank before anything else."""
    account = await till.payment()
    refund_id = await till.approved(account)
    dead = await till.claim()
    stopped = asyncio.Event()

    async def die(_: Any) -> None:
        stopped.set()
        await asyncio.Event().wait()

    till.bank.before_refund = die
    worker = asyncio.create_task(run_refunds(till.context, dead))
    await stopped.wait()
    worker.cancel()
    till.bank.before_refund = None
    till.bank.requests.clear()
    till.clock.advance(timedelta(seconds=121))

    await till.live()

    file = await till.refund(refund_id)
    assert [(part.state, part.sends) for part in file.parts] == [(PartState.SUCCEEDED, 2)]
    assert till.bank.lookups == 1
    await till.books_agree()


async def test_the_same_message_delivered_twice_sends_once(till: Any) -> None:
    """The broker may hand a message over again while its first reader is at work."""
    account = await till.payment()
    refund_id = await till.approved(account)
    refs = await till.claim()

    async def slow(_: Any) -> None:
        await asyncio.sleep(0.2)

    till.bank.before_refund = slow
    await asyncio.gather(till.service.run_jobs(refs), till.service.run_jobs(refs))
    await till.live()

    assert len(till.bank.requests) == 1
    assert "refund.unknown" not in await till.events(refund_id)
    await till.books_agree()


async def test_a_gateway_that_gives_back_another_amount_is_never_believed_nor_asked_again(till: Any, eur: Any) -> None:
    """Not booked by guessing: unknown, its money held, and a person is asked."""
    account = await till.payment()
    till.bank.answers = [Refunded(gateway_ref="re-odd", amount=eur(9_999))]
    till.bank.found = [Refunded(gateway_ref="re-odd", amount=eur(9_999))] * 99
    refund_id = await till.approved(account)

    await till.live(until=timedelta(days=3))

    file = await till.refund(refund_id)
    assert file.parts[0].state is PartState.UNKNOWN
    assert file.refund.refunded_minor == 0
    assert len(till.bank.requests) == 1
    assert await till.tasks() == ["refund_unknown"]


@pytest.mark.parametrize(
    ("outcome", "state", "free"),
    [
        ("succeeded", RefundState.SUCCEEDED, 0),
        ("failed", RefundState.FAILED, 10_000),
        ("never_arrived", RefundState.FAILED, 10_000),
    ],
)
async def test_a_person_settles_with_evidence_once(till: Any, outcome: Any, state: RefundState, free: int) -> None:
    """What a person found out ends the part like any other answer; the same call gets the same answer."""
    account = await till.payment()
    till.bank.answers = [LOST]
    till.bank.found = [ConnectionResetError("down")] * 99
    refund_id = await till.approved(account)
    await till.live(until=timedelta(days=2))
    part = (await till.refund(refund_id)).parts[0]
    by = till.by(call=Call(key="k-1", request=b"resolve"))
    said = PartResolution(outcome=outcome, evidence="the bank's statement of Tuesday")

    first = await resolve_part(till.context, part.id, by, said)
    again = await resolve_part(till.context, part.id, by, said)

    assert first == again
    assert first.refund.state is state
    assert (await till.account(account.payment.id)).free_minor == free
    assert (await till.events(refund_id)).count("refund.resolved") == 1
    assert await till.rows("SELECT 1 FROM human_task WHERE kind = 'refund_unknown' AND resolved_at IS NULL") == []
    assert await till.rows("SELECT 1 FROM job") == []


async def test_a_person_can_not_say_that_a_pending_refund_never_arrived(till: Any) -> None:
    """The gateway has taken it; only its end can be told."""
    account = await till.payment()
    till.bank.answers = [Pending(gateway_ref="re-1")]
    refund_id = await till.approved(account)
    await till.run_due()
    part = (await till.refund(refund_id)).parts[0]

    with pytest.raises(IllegalTransition):
        await resolve_part(
            till.context, part.id, till.by(), PartResolution(outcome="never_arrived", evidence="I think so")
        )

    assert (await till.refund(refund_id)).parts[0].state is PartState.PENDING
