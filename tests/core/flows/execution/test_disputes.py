"""Promise 4 and trap 11: disputed money is never paid back as well, whatever was on its way when the dispute came."""

import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.refund import FailureCategory, PartState, RefundState
from recoup_core.flows.disputes import DisputeReport, report_dispute
from recoup_core.flows.operate import NotFound
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.disputed import path
from recoup_core.flows.refunds.refusals import RefundInvalid
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.ports import DisputeNews
from recoup_core.storage.calls import Call


def news(account: Any, standing: DisputeState, amount: Any, **more: Any) -> DisputeNews:
    """What a gateway says of a dispute of the payment's first charge."""
    fields = {"dispute_ref": "dp-1", "charge_ref": account.captures[0].gateway_ref, "amount": amount}
    return DisputeNews(standing=standing, **(fields | more))


async def take(till: Any, told: DisputeNews) -> Any:
    return await till.dispute(told)


def ask(account: Any, amount: int, **fields: Any) -> RefundAsk:
    base = {"payment_id": account.payment.id, "amount_minor": amount, "currency": "EUR", "reason": "duplicate"}
    return RefundAsk(**(base | fields))


async def test_an_open_dispute_freezes_its_money_and_a_won_one_gives_it_back(till: Any, eur: Any) -> None:
    """Counters, ledger and tasks follow the dispute; nothing is edited."""
    account = await till.payment()

    await take(till, news(account, DisputeState.OPEN, eur(6_000), fee=eur(1_500)))
    frozen, booked, asked = await till.account(account.payment.id), await till.balances(), await till.tasks()
    await take(till, news(account, DisputeState.WON, eur(6_000)))

    assert (frozen.free_minor, frozen.captures[0].disputed_minor) == (4_000, 6_000)
    assert (booked["disputes"], booked["fees"]) == (6_000, 1_500)
    assert asked == ["dispute_evidence"]
    assert (await till.account(account.payment.id)).free_minor == 10_000
    assert (await till.balances())["gateway_clearing:sandbox"] == 8_500
    assert "disputes" not in await till.balances()
    assert await till.tasks() == []


async def test_a_fee_is_booked_once_however_often_the_dispute_tells_it(till: Any, eur: Any) -> None:
    """Stripe's dispute carries all its fees in every event; a second fee is the difference."""
    account = await till.payment()

    await take(till, news(account, DisputeState.OPEN, eur(6_000), fee=eur(1_500)))
    await take(till, news(account, DisputeState.LOST, eur(6_000), fee=eur(1_500)))
    once = (await till.balances())["fees"]
    await take(till, news(account, DisputeState.LOST, eur(6_000), fee=eur(2_500)))

    assert (once, (await till.balances())["fees"]) == (1_500, 2_500)


async def test_a_lost_dispute_is_bad_debt_until_it_is_decided_the_other_way(till: Any, eur: Any) -> None:
    """Lost money stays frozen; a late win brings all of it back."""
    account = await till.payment()

    await take(till, news(account, DisputeState.OPEN, eur(10_000)))
    await take(till, news(account, DisputeState.LOST, eur(10_000)))
    lost, free = await till.balances(), (await till.account(account.payment.id)).free_minor
    await take(till, news(account, DisputeState.WON, eur(10_000)))

    assert (lost["bad_debt"], free) == (10_000, 0)
    assert await till.balances() == {"gateway_clearing:sandbox": 10_000, "receivable": -10_000}


@pytest.mark.parametrize(
    ("story", "end"),
    [
        (("inquiry", "open", "won"), DisputeState.WON),
        (("inquiry", "open", "lost"), DisputeState.LOST),
        (("open", "lost", "won"), DisputeState.WON),
        (("open", "won", "open"), DisputeState.OPEN),
        (("inquiry", "closed"), DisputeState.CLOSED),
        (("inquiry", "open", "closed"), DisputeState.WON),
    ],
)
async def test_dispute_events_in_any_order_and_number_come_to_the_same_end(
    till: Any, eur: Any, story: tuple[str, ...], end: DisputeState
) -> None:
    """Trap 5: every permutation, each event told three times under ids of its own."""
    start, accounts = till.clock.now(), []
    for order in itertools.permutations(range(len(story))):
        account = await till.payment()
        name = "".join(map(str, order))
        for place in order:
            told = news(account, DisputeState(story[place]), eur(5_000), dispute_ref=f"dp-{name}")
            at = start + timedelta(minutes=place)
            await till.hear(*(till.event(f"{name}-{place}-{copy}", at, dispute=told) for copy in range(3)))
        accounts.append(account)

    states = {row["state"] for row in await till.rows("SELECT state FROM dispute")}
    frozen = 5_000 if end in (DisputeState.OPEN, DisputeState.LOST) else 0
    assert states == {end}
    for account in accounts:
        assert (await till.account(account.payment.id)).captures[0].disputed_minor == frozen
    balances = await till.balances()
    assert balances.get("bad_debt", 0) == (frozen * len(accounts) if end is DisputeState.LOST else 0)
    assert balances.get("disputes", 0) == (frozen * len(accounts) if end is DisputeState.OPEN else 0)


async def test_an_approved_refund_that_has_not_left_is_denied_when_a_dispute_opens(till: Any, eur: Any) -> None:
    """Trap 11: decided anew in the very transaction; what it held is free, what is disputed is not."""
    account = await till.payment()
    file = await request_refund(till.context, ask(account, 10_000), till.by())
    assert file.refund.state is RefundState.APPROVED
    waiting = await till.claim()

    await take(till, news(account, DisputeState.OPEN, eur(10_000)))
    await till.service.run_jobs(waiting)
    await till.live()

    after = await till.refund(file.refund.id)
    assert after.refund.state is RefundState.DENIED
    assert after.refund.revision == 2
    assert till.bank.requests == []
    capture = (await till.account(account.payment.id)).captures[0]
    assert (capture.held_minor, capture.disputed_minor, capture.over_minor) == (0, 10_000, 0)
    assert "over_refunded" not in await till.tasks()


async def test_a_refund_under_review_is_decided_anew_when_a_dispute_opens(till: Any, eur: Any) -> None:
    """Nobody is asked to approve what can't be paid any more."""
    account = await till.payment(60_000)
    file = await request_refund(till.context, ask(account, 60_000), till.by())
    assert file.refund.state is RefundState.IN_REVIEW

    await take(till, news(account, DisputeState.OPEN, eur(60_000)))

    assert (await till.refund(file.refund.id)).refund.state is RefundState.DENIED


async def test_a_refund_that_has_left_goes_on_to_its_end_and_is_told(till: Any, eur: Any) -> None:
    """The customer may be paid twice now: booked as it is, put before a person, and nothing more leaves."""
    account = await till.payment()
    refund_id = await till.approved(account)
    await till.live()

    await take(till, news(account, DisputeState.OPEN, eur(10_000)))

    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert (await till.account(account.payment.id)).captures[0].over_minor == 10_000
    assert await till.tasks() == ["dispute_evidence", "over_refunded"]


async def test_the_rest_of_a_refund_that_is_half_paid_does_not_leave_after_a_dispute(
    till: Any, eur: Any, refused: Any
) -> None:
    """It can't be decided anew any more; the part that waits fails instead."""
    account = await till.payment(5_000, 5_000)
    till.bank.answers = [refused("insufficient_balance")]
    refund_id = await till.approved(account, 5_000, 5_000)
    await till.run_due()
    waits = next(part for part in (await till.refund(refund_id)).parts if part.state is PartState.SCHEDULED)
    capture = account.capture(waits.capture_id)

    await take(till, news(account, DisputeState.OPEN, eur(5_000), charge_ref=capture.gateway_ref))
    await till.live()

    file = await till.refund(refund_id)
    assert len(till.bank.requests) == 2
    assert file.refund.state is RefundState.FAILED
    assert file.refund.refunded_minor == 5_000
    failure = file.part(waits.id).failure
    assert failure.category is FailureCategory.DISPUTED
    assert (await till.account(account.payment.id)).capture(capture.id).over_minor == 0


async def test_a_lost_refund_is_not_sent_again_under_a_dispute(till: Any, eur: Any) -> None:
    """The bank pays the customer back; a re-send would do it once more."""
    account = await till.payment()
    till.bank.answers = [ConnectionResetError("lost")]
    refund_id = await till.approved(account)
    await till.run_due()

    await take(till, news(account, DisputeState.OPEN, eur(10_000)))
    await till.live(until=timedelta(days=2))

    assert len(till.bank.requests) == 1
    assert (await till.refund(refund_id)).parts[0].state is PartState.UNKNOWN
    assert "refund_unknown" in await till.tasks()


async def test_what_fits_beside_a_small_dispute_leaves_where_policy_says_so(till: Any, eur: Any) -> None:
    """An inquiry takes no money: the refund that answers it is reviewed, and the dispute's event says that it did."""
    account = await till.payment()
    inquiry = await take(till, news(account, DisputeState.INQUIRY, eur(3_000)))
    file = await request_refund(till.context, ask(account, 3_000, answers_dispute_id=inquiry.id), till.by())

    await take(till, news(account, DisputeState.CLOSED, eur(3_000)))

    assert file.refund.state is RefundState.IN_REVIEW
    [told] = await till.rows("SELECT data FROM event WHERE kind = 'dispute.closed'")
    assert str(file.refund.id) in told["data"]
    assert await till.balances() == {"gateway_clearing:sandbox": 10_000, "receivable": -10_000}


async def test_a_dispute_stops_the_collecting_of_the_rest_of_the_debt(till: Any, eur: Any) -> None:
    """Trap 11: planned retries are skipped and the case is canceled; no charge follows."""
    opened, account = await till.owing(collected=500)

    await take(till, news(account, DisputeState.OPEN, eur(500)))
    await till.live()

    [case] = await till.rows("SELECT state, stop_reason FROM recovery_case WHERE id = $1", opened.case.id)
    assert (case["state"], case["stop_reason"]) == (CaseState.CANCELED, "disputed")
    assert await till.rows("SELECT 1 FROM timeline_step WHERE state IN ('planned', 'running')") == []
    assert await till.rows("SELECT 1 FROM attempt WHERE origin <> 'reported'") == []


async def test_a_dispute_is_stored_even_where_no_policy_can_decide(till: Any, eur: Any) -> None:
    """The facts come first; the refund stays as it was, and is checked once more before it leaves."""
    account = await till.payment()
    refund_id = await till.approved(account)
    waiting = await till.claim()
    await till.retire("refund")
    till.clock.advance(timedelta(seconds=1))

    await take(till, news(account, DisputeState.OPEN, eur(10_000)))
    await till.service.run_jobs(waiting)

    capture = (await till.account(account.payment.id)).captures[0]
    assert (capture.disputed_minor, capture.over_minor) == (10_000, 10_000)
    assert (await till.refund(refund_id)).refund.state is RefundState.APPROVED
    assert till.bank.requests == []


async def test_a_dispute_told_by_hand_is_taken_once(till: Any) -> None:
    """For gateways without webhooks; the same call gets the same answer, the next one moves it on."""
    account = await till.payment()
    report = DisputeReport(
        payment_id=account.payment.id,
        gateway_ref="dp-by-hand",
        amount_minor=2_000,
        currency="EUR",
        standing=DisputeState.OPEN,
        evidence_due_at=till.clock.now() + timedelta(days=10),
    )
    by = till.by(call=Call(key="k-1", request=b"report"))

    first = await report_dispute(till.context, report, by)
    again = await report_dispute(till.context, report, by)
    won = await report_dispute(till.context, msgspec.structs.replace(report, standing=DisputeState.WON), till.by())

    assert first == again
    assert first.state is DisputeState.OPEN
    assert (won.id, won.state) == (first.id, DisputeState.WON)
    [task] = await till.rows("SELECT due_at, resolved_at FROM human_task WHERE kind = 'dispute_evidence'")
    assert task["due_at"] == report.evidence_due_at
    assert task["resolved_at"] is not None


async def test_a_report_that_contradicts_what_is_known_is_refused(till: Any) -> None:
    """Another payment's, another currency, another amount than before: nothing is guessed."""
    account = await till.payment(4_000, 6_000)
    report = DisputeReport(
        payment_id=account.payment.id,
        gateway_ref="dp-2",
        amount_minor=2_000,
        currency="EUR",
        standing=DisputeState.OPEN,
    )

    with pytest.raises(RefundInvalid):
        await report_dispute(till.context, report, till.by())
    with pytest.raises(NotFound):
        await report_dispute(till.context, report, till.by(merchant_id="other"))
    named = msgspec.structs.replace(report, capture_id=account.captures[0].id)
    await report_dispute(till.context, named, till.by())
    with pytest.raises(RefundInvalid):
        await report_dispute(till.context, msgspec.structs.replace(named, amount_minor=2_001), till.by())

    assert await till.tasks() == ["dispute_evidence", "amount_mismatch"]


NO_WAY = {(state, DisputeState.INQUIRY) for state in DisputeState if state is not DisputeState.INQUIRY} | {
    (state, DisputeState.CLOSED) for state in (DisputeState.OPEN, DisputeState.WON, DisputeState.LOST)
}


@pytest.mark.parametrize("state", DisputeState)
@pytest.mark.parametrize("target", DisputeState)
def test_the_way_between_two_standings_is_made_of_legal_steps(state: DisputeState, target: DisputeState) -> None:
    """What no story leads to has no way; a way ends where it should."""
    way = path(state, target)

    if (state, target) in NO_WAY or state is target:
        assert way == ()
    else:
        assert way[-1] is target
