"""A bank debit comes back after it had succeeded: the books say so, the debt is owed and the case goes on."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.refund import RefundState
from recoup_core.flows.capture_reports import CaptureReport
from recoup_core.flows.captured import report_captured
from recoup_core.flows.operate import cancel
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.refusals import RefundExceedsRefundable
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.ports import DisputeNews, Pending, Succeeded
from recoup_core.storage.refunds import load_refunds

PAID = Succeeded(gateway_ref="pm_1", amount=Money(1999, "EUR"))


async def paid(market: Any) -> Any:
    """A payment that our first retry collected at gateway a."""
    market.a.answers = [PAID]
    opened = await market.open()
    await market.day()
    assert (await market.file(opened.payment.id)).case.state is CaseState.RECOVERED
    return opened.payment.id


async def test_a_returned_charge_is_owed_again_and_tried_by_the_same_policy(market: Any, decline: Any) -> None:
    """Capture, ledger, payment and case go back together; the decline of the return is the latest one."""
    payment_id = await paid(market)
    await market.day(3)

    await market.returned("pm_1", decline=decline("processing_error"))

    file = await market.file(payment_id)
    (capture,) = await market.captures(payment_id)
    assert capture.state is CaptureState.RETURNED
    assert (file.payment.state, file.payment.captured_minor, file.payment.paid_at) == (PaymentState.OWED, 0, None)
    assert file.case.state is CaseState.OPEN
    assert file.attempts[-1].state is AttemptState.SUCCEEDED
    assert file.last_declined is not None
    assert file.last_declined.decline.code == "processing_error"
    assert file.planned_retry is not None
    assert file.planned_retry.due_at == market.clock.now() + timedelta(days=1)
    assert [each["code"] for each in await market.told("capture.returned")] == ["processing_error"]
    await market.books_hold()


async def test_what_is_collected_again_on_the_same_object_is_a_capture_of_its_own(market: Any, decline: Any) -> None:
    """A gateway that tries its object again gives both captures one name: what is told next is about the live one."""
    payment_id = await paid(market)
    returned_at = market.clock.now() + timedelta(days=3)
    await market.day(3)
    await market.returned("pm_1", decline=decline("processing_error"), occurred_at=returned_at)
    market.a.answers = [PAID]
    await market.day()
    states = [capture.state for capture in await market.captures(payment_id)]
    assert states == [CaptureState.RETURNED, CaptureState.CAPTURED]

    await market.returned("pm_1", decline=decline("processing_error"), occurred_at=returned_at)  # told once more
    assert (await market.file(payment_id)).payment.state is PaymentState.PAID
    await market.day()
    await market.returned("pm_1", decline=decline("processing_error"))  # and this one came back, too

    assert [c.state for c in await market.captures(payment_id)] == [CaptureState.RETURNED] * 2
    assert (await market.file(payment_id)).payment.state is PaymentState.OWED
    await market.books_hold()


async def test_a_return_told_twice_changes_nothing_more(market: Any, decline: Any) -> None:
    """Gateways tell things again under new ids."""
    payment_id = await paid(market)
    await market.returned("pm_1", decline=decline("processing_error"))
    before = await market.file(payment_id)

    await market.returned("pm_1", decline=decline("processing_error"))

    assert await market.file(payment_id) == before
    assert len(await market.told("capture.returned")) == 1


async def test_a_return_told_before_its_success_waits_for_it(market: Any, decline: Any) -> None:
    """Events come in any order: a pending debit whose return overtakes its success ends as if told in order."""
    market.a.answers = [Pending(gateway_ref="pm_1")]
    opened = await market.open()
    await market.day()
    success_at, return_at = market.clock.now() + timedelta(hours=1), market.clock.now() + timedelta(hours=2)
    market.clock.advance(timedelta(hours=3))
    market.a.found = [Pending(gateway_ref="pm_1")] * 9

    await market.returned("pm_1", decline=decline("processing_error"), occurred_at=return_at)
    assert await market.told("capture.returned") == []
    await market.succeeded("pm_1", occurred_at=success_at)
    await market.day(0.2)

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.case.state) == (PaymentState.OWED, CaseState.OPEN)
    assert [c.state for c in await market.captures(opened.payment.id)] == [CaptureState.RETURNED]
    await market.books_hold()


async def test_a_return_told_before_a_lost_answer_is_found_counts_once_it_is(market: Any, decline: Any) -> None:
    """Nobody knew the charge when it came back, so the event was put aside; then a look-up finds it paid."""
    market.a.answers = [TimeoutError()]
    market.a.found = [object()] * 20  # no answer: the look-up is tried again
    opened = await market.open()
    await market.day()

    await market.returned("pm_1", decline=decline("processing_error"))
    await market.day(0.01)
    assert await market.rows("SELECT 1 FROM inbound_event WHERE state = 'received'") == []
    market.a.found = [PAID]
    await market.day(0.5)

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.payment.captured_minor) == (PaymentState.OWED, 0)
    assert [c.state for c in await market.captures(opened.payment.id)] == [CaptureState.RETURNED]
    assert file.case.state is CaseState.OPEN
    await market.books_hold()


async def test_a_return_of_a_payment_nobody_knows_yet_counts_once_it_is_reported(market: Any, decline: Any) -> None:
    """Success and return may both be told before the merchant reports the failure that began it all."""
    await market.succeeded("pi_0")
    market.clock.advance(timedelta(minutes=10))
    await market.returned("pi_0", decline=decline("processing_error"))
    await market.day(0.1)

    opened = await market.open()

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.case.state) == (PaymentState.OWED, CaseState.OPEN)
    assert file.payment.captured_minor == 0
    await market.books_hold()


async def test_a_return_without_a_reason_is_not_tried_again_unattended(market: Any) -> None:
    """Promise 6: what no table knows is final."""
    payment_id = await paid(market)

    await market.returned("pm_1")

    assert (await market.file(payment_id)).case.state is CaseState.EXHAUSTED


async def test_refunds_that_have_not_left_are_called_off(market: Any, decline: Any) -> None:
    """The customer's bank has given the money back already; nobody is paid twice."""
    payment_id = await paid(market)
    ask = RefundAsk(payment_id=payment_id, amount_minor=1500, currency="EUR", reason="requested_by_customer")
    refund = (await request_refund(market.context, ask, market.by())).refund

    await market.returned("pm_1", decline=decline("processing_error"))

    async with market.service.database.connection() as connection:
        stored = (await load_refunds(connection, [refund.id]))[refund.id].refund
    assert (stored.state, stored.stop_reason) == (RefundState.CANCELED, "charge_returned")
    (capture,) = await market.captures(payment_id)
    assert capture.held_minor == 0
    assert (await market.file(payment_id)).case.state is CaseState.OPEN
    with pytest.raises(RefundExceedsRefundable):
        await request_refund(market.context, ask, market.by())
    await market.books_hold()


async def test_a_refund_that_has_left_is_put_before_a_person(market: Any, decline: Any) -> None:
    """Money went back twice: nobody is charged again before a person has looked."""
    payment_id = await paid(market)
    ask = RefundAsk(payment_id=payment_id, amount_minor=500, currency="EUR", reason="requested_by_customer")
    refund = (await request_refund(market.context, ask, market.by())).refund
    await market.rows(
        "UPDATE refund_part SET state = 'submitted', sends = 1, submitted_at = now(), last_sent_at = now()"
        " WHERE refund_id = $1",
        refund.id,
    )

    await market.returned("pm_1", decline=decline("processing_error"))

    file = await market.file(payment_id)
    assert (file.payment.state, file.case.state) == (PaymentState.OWED, CaseState.PAUSED)
    assert "charge_returned" in await market.tasks()
    assert file.planned_retry is None


async def test_a_canceled_case_stays_so_and_a_person_is_asked(market: Any, decline: Any) -> None:
    """What nobody collects any more is not collected because a bank took something back."""
    market.a.answers = [TimeoutError()]
    opened = await market.open()
    await market.day()
    await cancel(market.context, opened.case.id, market.by(), "a mistake")
    await market.succeeded("pm_1", attempt_id=(await market.file(opened.payment.id)).attempts[-1].id)
    file = await market.file(opened.payment.id)
    assert file.payment.state is PaymentState.PAID  # a late success is the truth

    await market.returned("pm_1", decline=decline("processing_error"))

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.case.state, file.planned_retry) == (PaymentState.OWED, CaseState.PAUSED, None)
    assert await market.tasks() == ["charge_returned"]
    sent = len(market.a.requests)
    await market.day(9)
    assert len(market.a.requests) == sent
    await market.books_hold()


async def test_a_dispute_of_money_that_has_come_back_is_put_before_a_person(market: Any, decline: Any) -> None:
    """As in the other order: the same money does not leave the books twice."""
    payment_id = await paid(market)
    await market.returned("pm_1", decline=decline("processing_error"))
    news = DisputeNews(dispute_ref="dp_1", charge_ref="pm_1", amount=Money(1999, "EUR"), standing=DisputeState.LOST)

    await market.tell(dispute=news)

    rows = await market.rows(
        "SELECT coalesce(sum(amount_minor), 0) AS left FROM ledger_posting WHERE account LIKE $1", "gateway_clearing:%"
    )
    assert rows[0]["left"] == 0
    assert "amount_mismatch" in await market.tasks()
    assert payment_id
    await market.books_hold()


async def test_a_payment_without_a_case_is_owed_and_put_before_a_person(market: Any, customer: Any) -> None:
    """Money that others had collected comes back as well."""
    report = CaptureReport(
        merchant_id="default",
        reference="order-1",
        customer=customer("cus-9"),
        amount_minor=1999,
        currency="EUR",
        gateway="a",
        gateway_ref="ch_1",
        method=Method.CARD,
        captured_at=market.clock.now(),
    )
    account = await report_captured(market.context, report, "key:shop", None)

    await market.returned("ch_1")
    await market.returned("ch_1")

    (row,) = await market.rows("SELECT state, captured_minor FROM payment WHERE id = $1", account.payment.id)
    assert (row["state"], row["captured_minor"]) == ("owed", 0)
    assert await market.tasks() == ["charge_returned"]
    await market.books_hold()


async def test_the_return_counts_against_network_limits(market: Any, decline: Any) -> None:
    """A return is the failed try that it is: facts and limits count it, though the attempt had succeeded."""
    payment_id = await paid(market)

    await market.returned("pm_1", decline=decline("processing_error"))

    (decision,) = await market.rows("SELECT facts, situation FROM decision ORDER BY id DESC LIMIT 1")
    assert '"attempt": 2' in decision["facts"]
    assert decision["situation"].count('"succeeded": false') == 2
    assert payment_id


async def test_a_late_success_that_has_come_back_of_a_canceled_case_is_owed_again(market: Any, decline: Any) -> None:
    """Each change is a legal step of its own, though all are told at once."""
    market.a.answers = [TimeoutError()]
    opened = await market.open()
    await market.day()
    attempt = (await market.file(opened.payment.id)).attempts[-1]
    await cancel(market.context, opened.case.id, market.by(), "a mistake")
    success_at = market.clock.now()
    await market.day(2)
    await market.returned("pm_1", decline=decline("processing_error"))
    await market.day()

    await market.succeeded("pm_1", attempt_id=attempt.id, occurred_at=success_at)

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.payment.captured_minor) == (PaymentState.OWED, 0)
    assert file.case.state is CaseState.PAUSED  # nobody collects what was canceled
    assert await market.tasks() == ["charge_returned"]
    await market.books_hold()
