"""What a refund waits for, stops, and is stopped by; and how it is canceled where its gateway still can."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.refund import FailureCategory, PartState, Purpose, RefundFailure, RefundState
from recoup_core.flows.operate import NotFound
from recoup_core.flows.refunds.refusals import RefundInFlight, RefundNotOpen
from recoup_core.flows.refunds.withdraw import cancel_at_gateway
from recoup_core.ports import NotSent, Pending, Refunded, Refused, Succeeded
from recoup_core.storage.calls import Call


async def test_a_live_charge_of_the_same_payment_is_settled_first(till: Any, eur: Any) -> None:
    """A refund waits for the answer: what it brings in decides what there is to give back."""
    opened, account = await till.owing(collected=500)
    await till.rows("UPDATE timeline_step SET due_at = $1", till.clock.now())
    await till.rows("UPDATE job SET due_at = $1, visible_at = $1", till.clock.now())
    till.bank.charge_answers = [ConnectionResetError("the answer was lost")]
    await till.run_due()
    assert (await till.account(account.payment.id)).live_attempt
    till.bank.charge_found = [ConnectionResetError("down")] * 99
    refund_id = await till.approved(account, 500)

    await till.live(until=timedelta(hours=2))
    waiting, told = await till.refund(refund_id), (await till.events(refund_id)).count("refund.waits")
    till.bank.charge_found = []
    await till.live()

    assert waiting.parts[0].state is PartState.SCHEDULED
    assert told == 1
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert await till.rows("SELECT 1 FROM attempt WHERE state IN ('submitted', 'unknown', 'pending')") == []
    assert opened.payment.id == account.payment.id


async def test_a_charge_that_never_ends_does_not_hold_a_refund_in_silence(till: Any) -> None:
    """Three days, then a person is asked."""
    _, account = await till.owing(collected=500)
    await till.rows("UPDATE timeline_step SET due_at = $1", till.clock.now())
    await till.rows("UPDATE job SET due_at = $1, visible_at = $1", till.clock.now())
    till.bank.charge_answers = [ConnectionResetError("the answer was lost")]
    await till.run_due()
    till.bank.charge_found = [ConnectionResetError("down")] * 999
    await till.approved(account, 500)

    await till.live(until=timedelta(days=3, hours=1))

    assert "refund_waits" in await till.tasks()
    assert till.bank.requests == []


async def test_a_refund_ends_the_collecting_of_the_rest_of_the_debt(till: Any) -> None:
    """In the transaction in which its first part leaves: nobody charges what is being paid back."""
    opened, account = await till.owing(collected=500)
    refund_id = await till.approved(account, 500)

    await till.run_due()
    await till.live()

    [case] = await till.rows("SELECT state, stop_reason FROM recovery_case WHERE id = $1", opened.case.id)
    assert (case["state"], case["stop_reason"]) == (CaseState.CANCELED, "refunded")
    after = await till.account(account.payment.id)
    assert after.payment.state is PaymentState.CLOSED
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert await till.rows("SELECT 1 FROM attempt WHERE origin <> 'reported'") == []


async def test_goodwill_does_not_end_the_collecting(till: Any) -> None:
    """A gesture says nothing about the debt."""
    opened, account = await till.owing(collected=500)
    await till.approved(account, 100, purpose=Purpose.GOODWILL)

    await till.run_due()

    [case] = await till.rows("SELECT state FROM recovery_case WHERE id = $1", opened.case.id)
    assert case["state"] == CaseState.OPEN


async def test_money_that_comes_in_after_the_refund_is_booked_and_put_before_a_person(till: Any, eur: Any) -> None:
    """A late success is the truth; nobody hides that it was not asked for any more."""
    _, account = await till.owing(collected=500)
    await till.approved(account, 500)
    await till.run_due()

    late = Succeeded(gateway_ref="ch-late", amount=eur(2_000))
    await till.hear(till.event("evt-late", outcome=late, payment_reference=account.payment.reference))

    assert (await till.account(account.payment.id)).payment.captured_minor == 2_500
    assert "overcollected" in await till.tasks()


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_pending_refund_is_canceled_where_the_gateway_still_can(till: Any, purpose: Purpose) -> None:
    """The gateway is asked; what it canceled is free again. The same call gets the same answer."""
    account = await till.payment()
    till.bank.answers = [Pending(gateway_ref="re-1")]
    refund_id = await till.approved(account, purpose=purpose)
    await till.run_due()
    by = till.by(call=Call(key="k-1", request=b"cancel"))

    file = await cancel_at_gateway(till.context, refund_id, by)
    again = await cancel_at_gateway(till.context, refund_id, by)
    await till.live()

    assert file == again
    assert file.refund.state is RefundState.CANCELED
    assert file.parts[0].state is PartState.CANCELED
    assert (await till.account(account.payment.id)).free_minor == 10_000
    assert till.bank.books == {}
    assert await till.tasks() == []


@pytest.mark.parametrize(
    "answer",
    [
        Refused(failure=RefundFailure(category=FailureCategory.REFUSED, code="too_late")),
        NotSent(reason="unreachable"),
    ],
)
async def test_a_refund_that_can_not_be_canceled_any_more_goes_on_to_its_end(till: Any, answer: Any) -> None:
    """Too late, or nobody answers: it stays pending and is settled like any other."""
    account = await till.payment()
    till.bank.answers = [Pending(gateway_ref="re-1")]
    till.bank.cancel_answer = answer
    refund_id = await till.approved(account)
    await till.run_due()

    with pytest.raises(RefundInFlight):
        await cancel_at_gateway(till.context, refund_id, till.by())
    pending = (await till.refund(refund_id)).parts[0].state
    till.bank.settle_pending()
    await till.live()

    assert pending is PartState.PENDING
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    await till.books_agree()


async def test_a_refund_in_flight_is_not_canceled(till: Any) -> None:
    """Only what is pending can be; an unknown one may have gone out."""
    account = await till.payment()
    till.bank.answers = [("done", ConnectionResetError("lost"))]
    refund_id = await till.approved(account)
    await till.run_due()

    with pytest.raises(RefundInFlight):
        await cancel_at_gateway(till.context, refund_id, till.by())
    with pytest.raises(NotFound):
        await cancel_at_gateway(till.context, refund_id, till.by(merchant_id="other"))
    with pytest.raises(NotFound):
        await cancel_at_gateway(till.context, new_id(), till.by())
    await till.live()

    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    with pytest.raises(RefundNotOpen):
        await cancel_at_gateway(till.context, refund_id, till.by())


async def test_a_success_that_overtakes_the_cancellation_is_the_truth(till: Any) -> None:
    """The webhook comes after the cancellation was confirmed: money moved, so it is booked."""
    account = await till.payment()
    till.bank.answers = [Pending(gateway_ref="re-1")]
    refund_id = await till.approved(account)
    await till.run_due()
    file = await cancel_at_gateway(till.context, refund_id, till.by())
    part = file.parts[0]

    await till.hear(till.told("evt-1", part, Refunded(gateway_ref="re-1", amount=part.amount), refund_ref="re-1"))

    after = await till.refund(refund_id)
    assert after.refund.state is RefundState.SUCCEEDED
    assert (await till.account(account.payment.id)).held_minor == 10_000
    assert (await till.balances())["refunds"] == 10_000


async def test_a_part_that_follows_a_wait_is_not_sent_before_its_time(till: Any, refused: Any) -> None:
    """A job that comes early finds that out by the part itself."""
    account = await till.payment()
    till.bank.answers = [refused("insufficient_balance")]
    refund_id = await till.approved(account)
    await till.run_due()
    await till.rows("UPDATE job SET visible_at = $1", till.clock.now())

    await till.run_due()

    assert len(till.bank.requests) == 1
    assert (await till.refund(refund_id)).parts[-1].state is PartState.SCHEDULED


async def test_a_refund_that_is_no_longer_approved_sends_nothing(till: Any) -> None:
    """Whatever left a part scheduled: only an approved refund pays."""
    account = await till.payment()
    refund_id = await till.approved(account)
    await till.rows(
        "UPDATE refund SET state = 'canceled', finished_at = $2, version = version + 1 WHERE id = $1",
        refund_id,
        till.clock.now(),
    )

    await till.run_due()

    assert till.bank.requests == []
    assert await till.rows("SELECT 1 FROM job") == []
