"""Promise 2 and 4: what a gateway says late, of one part of several, neither pays twice unseen nor blocks the rest."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.payment import Customer, Method
from recoup_core.domain.refund import FailureCategory, PartState, RefundFailure, RefundState
from recoup_core.flows.captured import CaptureReport, ReportedLine, report_captured
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.refusals import RefundExceedsRefundable
from recoup_core.flows.refunds.requests import request_refund, retry_refund
from recoup_core.ports import CaptureNews, DisputeNews, Pending, Refunded, RefundNews, Refused, TakenBack
from recoup_core.storage.ledger_checks import verify_ledger


def success(till: Any, name: str, part: Any) -> Any:
    """The bank says that a part went back."""
    return till.told(name, part, Refunded(gateway_ref=f"re-{part.id}", amount=part.amount))


async def of_three(till: Any) -> tuple[list[Any], Any]:
    """Three payments of one order, and an approved refund of all of them."""
    accounts = [await till.payment(amount, order_ref="order-x") for amount in (3_000, 4_000, 5_000)]
    captures = [account.captures[0] for account in accounts]
    return accounts, await till.approved(accounts[0], 3_000, 4_000, 5_000, captures=captures)


async def test_a_late_success_beside_a_second_one_is_told_also_where_the_charge_has_room(
    till: Any, refused: Any
) -> None:
    """Half of a charge went back twice: the charge isn't exceeded, the refund is, and a person is told."""
    account = await till.payment(10_000)
    till.bank.answers = [refused("insufficient_balance")]
    refund_id = await till.approved(account, 4_000)
    await till.live()
    first = (await till.refund(refund_id)).parts[0]

    await till.hear(success(till, "evt-late", first))

    file = await till.refund(refund_id)
    assert (file.succeeded_minor, file.refund.refunded_minor) == (8_000, 4_000)
    assert (await till.account(account.payment.id)).captures[0].over_minor == 0
    assert await till.tasks() == ["over_refunded"]
    assert (await verify_ledger(till.context.database)).fault is None


async def test_what_is_paid_twice_of_a_payment_with_lines_is_no_fault_of_the_ledger(till: Any, refused: Any) -> None:
    """Everything is booked as it happened; the check goes on to what else there may be."""
    bank, customer = till.bank, Customer(ref="cus-lines", country="DE")
    line = ReportedLine(ref="shirt", amount_minor=10_000, tax_minor=1_597)
    report = CaptureReport(
        merchant_id="default",
        reference="with-lines",
        customer=customer,
        amount_minor=10_000,
        currency="EUR",
        gateway="sandbox",
        gateway_ref="ch-lines",
        method=Method.CARD,
        captured_at=till.clock.now(),
        lines=(line,),
    )
    account = await report_captured(till.context, report, "key:shop", None)
    bank.answers = [refused("insufficient_balance")]
    ask = RefundAsk(payment_id=account.payment.id, amount_minor=4_000, currency="EUR", reason="duplicate")
    file = await request_refund(till.context, ask, till.by())
    await till.live()

    await till.hear(success(till, "evt-late", file.parts[0]))

    assert (await till.refund(file.refund.id)).succeeded_minor == 8_000
    assert await till.tasks() == ["over_refunded"]
    assert (await verify_ledger(till.context.database)).fault is None


async def test_no_entry_is_taken_back_before_it_was_made(till: Any, eur: Any) -> None:
    """A gateway's clock may be behind, or ahead: on no date does an account stand at what never was."""
    account = await till.payment(10_000)
    refund_id = await till.approved(account, 4_000)
    await till.run_due()
    [part] = (await till.refund(refund_id)).parts
    failure = RefundFailure(category=FailureCategory.METHOD_GONE, code="closed")
    told = TakenBack(gateway_ref=f"re-{part.id}", failure=failure)

    await till.hear(till.told("evt-back", part, told, till.clock.now() - timedelta(hours=1)))
    back = Refunded(gateway_ref="re-x", amount=eur(1_000))
    charge = account.captures[0].gateway_ref
    news = RefundNews(refund_ref="re-x", charge_ref=charge, amount=eur(1_000), outcome=back)
    await till.hear(till.event("evt-ahead", till.clock.now() + timedelta(hours=1), refund=news))

    early = await till.rows(
        "SELECT 1 FROM ledger_entry r JOIN ledger_entry e ON e.id = r.reverses WHERE r.occurred_at < e.occurred_at"
    )
    assert await till.rows("SELECT 1 FROM ledger_entry WHERE kind = 'reversal'")
    assert early == []
    assert await till.rows("SELECT 1 FROM ledger_entry WHERE occurred_at > created_at") == []


async def test_the_second_of_two_successes_is_told_whichever_is_late(till: Any, refused: Any) -> None:
    """The late success comes while the part that follows is on its way: its own success is one too many."""
    account = await till.payment(10_000)
    till.bank.answers = [refused("insufficient_balance"), ("done", ConnectionResetError("lost"))]
    refund_id = await till.approved(account, 4_000)
    await till.run_due()
    first = (await till.refund(refund_id)).parts[0]
    till.clock.advance(timedelta(hours=4))
    await till.run_due()

    await till.hear(success(till, "evt-late", first))
    await till.live()

    file = await till.refund(refund_id)
    assert [part.state for part in file.parts] == [PartState.SUCCEEDED, PartState.SUCCEEDED]
    assert file.refund.state is RefundState.SUCCEEDED
    assert await till.tasks() == ["over_refunded"]


async def test_a_late_success_takes_out_what_followed_it_and_nothing_else(till: Any, refused: Any) -> None:
    """Two parts of an order wait for the balance; the first goes through after all, the second is still owed."""
    accounts, refund_id = await of_three(till)
    till.bank.answers = [refused("insufficient_balance"), refused("insufficient_balance")]
    await till.run_due()
    first = (await till.refund(refund_id)).parts[0]

    await till.hear(success(till, "evt-late", first))
    await till.live()

    file = await till.refund(refund_id)
    assert (file.refund.state, file.succeeded_minor) == (RefundState.SUCCEEDED, 12_000)
    for account in accounts:
        after = await till.account(account.payment.id)
        assert (after.free_minor, after.captures[0].over_minor) == (0, 0)
    assert await till.tasks() == []


async def test_a_retry_sends_what_is_missing_and_not_what_came_late(till: Any, refused: Any) -> None:
    """A failed, retried and failed part succeeds by its first try: a second retry is for the other part alone."""
    _, refund_id = await of_three(till)
    till.bank.answers = [refused(), refused()]
    await till.run_due()
    first = (await till.refund(refund_id)).parts[0]
    till.bank.answers = [refused(), refused()]
    await retry_refund(till.context, refund_id, till.by())
    await till.run_due()
    await till.hear(success(till, "evt-late", first))

    await retry_refund(till.context, refund_id, till.by())
    await till.live()

    file = await till.refund(refund_id)
    assert (file.refund.state, file.succeeded_minor) == (RefundState.SUCCEEDED, 12_000)
    assert await till.tasks() == []


async def test_an_order_with_one_part_failed_one_unknown_and_one_paid_survives_a_dispute_and_a_late_success(
    till: Any, refused: Any, eur: Any
) -> None:
    """Nothing is paid twice, nothing over the disputed charge, and the books agree at the end."""
    accounts, refund_id = await of_three(till)
    till.bank.answers = [refused(), ("done", ConnectionResetError("lost"))]
    till.bank.found = [TimeoutError("busy")]
    await till.run_due()
    first = (await till.refund(refund_id)).parts[0]
    charge = accounts[0].captures[0].gateway_ref
    told = DisputeNews(dispute_ref="dp-1", charge_ref=charge, amount=eur(3_000), standing=DisputeState.OPEN)
    await till.dispute(told)
    await till.live()
    assert (await till.refund(refund_id)).refund.state is RefundState.FAILED

    with pytest.raises(RefundExceedsRefundable):
        await retry_refund(till.context, refund_id, till.by())
    till.bank.books[first.idempotency_key] = till.bank.requests[0]
    await till.hear(success(till, "evt-late", first))

    file = await till.refund(refund_id)
    assert (file.refund.state, file.succeeded_minor) == (RefundState.SUCCEEDED, 12_000)
    assert (await till.account(accounts[0].payment.id)).captures[0].over_minor == 3_000
    assert "over_refunded" in await till.tasks()
    moved = sum(till.bank.moved().values())
    assert moved == 12_000


async def test_a_void_that_came_too_late_is_refunded_by_the_next_try(till: Any, refused: Any) -> None:
    """Refused as a refund, then as a void: the gateway's last word says how a person's retry goes."""
    account = await till.payment(10_000)
    till.bank.answers = [refused("not_captured"), refused("already_captured")]
    refund_id = await till.approved(account)
    await till.live()

    await retry_refund(till.context, refund_id, till.by())
    await till.live()

    assert [request.void for request in till.bank.requests] == [False, True, False]
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED


async def test_what_was_captured_after_the_gateway_said_not_yet_is_refunded(till: Any, refused: Any, eur: Any) -> None:
    """News that come after the refusal count for more than the refusal."""
    account = await till.payment(10_000, state=CaptureState.AUTHORIZED)
    till.bank.can(voids=False)
    refund_id = await till.approved(account)
    await till.live()
    charge = account.captures[0].gateway_ref
    till.clock.advance(timedelta(hours=1))
    await till.hear(
        till.event("evt-c", capture=CaptureNews(charge_ref=charge, amount=eur(10_000), standing=CaptureState.CAPTURED))
    )

    await retry_refund(till.context, refund_id, till.by())
    await till.live()

    assert [request.void for request in till.bank.requests] == [False]
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    await till.books_agree()


@pytest.mark.parametrize("category", ["insufficient_balance", "not_captured", "already_captured"])
async def test_a_refund_made_elsewhere_that_fails_is_never_sent_by_us(till: Any, eur: Any, category: str) -> None:
    """Nobody has approved it here: what its maker does about the refusal is theirs."""
    account = await till.payment(10_000)
    charge = account.captures[0].gateway_ref
    failure = RefundFailure(category=FailureCategory(category), code="no")
    for n, outcome in enumerate((Pending(gateway_ref="re-x"), Refused(failure=failure, gateway_ref="re-x"))):
        news = RefundNews(refund_ref="re-x", charge_ref=charge, amount=eur(10_000), outcome=outcome)
        await till.hear(till.event(f"evt-{n}", till.clock.now() + timedelta(seconds=n), refund=news))

    await till.live()

    assert till.bank.requests == []
    assert await till.rows("SELECT 1 FROM refund_part WHERE number > 1") == []
    assert (await till.account(account.payment.id)).free_minor == 10_000


@pytest.mark.parametrize("void_first", [True, False])
async def test_a_charge_that_was_both_voided_and_captured_is_put_before_a_person(
    till: Any, eur: Any, void_first: bool
) -> None:
    """It can't be both: either money is here that nobody booked, or the customer did not get it back."""
    account = await till.payment(10_000, state=CaptureState.AUTHORIZED)
    if not void_first:
        till.bank.answers = [("done", ConnectionResetError("lost"))]
    await till.approved(account)
    await till.run_due()
    news = CaptureNews(charge_ref=account.captures[0].gateway_ref, amount=eur(10_000), standing=CaptureState.CAPTURED)

    await till.hear(till.event("evt-1", capture=news), till.event("evt-2", capture=news))
    await till.live()

    assert await till.tasks() == ["amount_mismatch"]
    assert (await verify_ledger(till.context.database)).fault is None
