"""Many at once: exactly the refunds that fit pass, and together no two go beyond a bound (promise 4, trap 1)."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from recoup_core.domain.refund import Destination, RefundState
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.captured import ReportedLine
from recoup_core.flows.refunds.ask import AskedLine
from recoup_core.flows.refunds.refusals import GoodwillExceedsPayment, LineExceedsRefundable, RefundExceedsRefundable
from recoup_core.flows.refunds.requests import cancel_refund, request_refund

SEEDS = range(6)
AT_ONCE = 50
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def fitted(answers: list[Any]) -> tuple[list[RefundFile], list[RefundExceedsRefundable]]:
    """Tell refunds from refusals; anything else that was raised is a failure of the test."""
    files = [answer for answer in answers if isinstance(answer, RefundFile)]
    refusals = [answer for answer in answers if isinstance(answer, RefundExceedsRefundable)]
    assert len(files) + len(refusals) == len(answers), [a for a in answers if a not in (*files, *refusals)]
    return files, refusals


@pytest.mark.parametrize("seed", SEEDS)
async def test_of_fifty_refunds_at_once_exactly_those_that_fit_succeed(till: Any, seed: int) -> None:
    """P01: whoever came first got it; whoever was refused asked for more than was left, then and at the end."""
    rng = random.Random(seed)
    whole = rng.randint(1, 200_000)
    account = await till.captured(whole, reference=f"inv-{seed}", gateway_ref=f"ch-{seed}")
    amounts = [rng.randint(1, max(2, whole // rng.choice([1, 3, 20, 60]))) for _ in range(AT_ONCE)]
    where = [rng.choice(list(Destination)) for _ in amounts]

    answers = await asyncio.gather(
        *(till.request(account, amount, destination=to) for amount, to in zip(amounts, where, strict=True)),
        return_exceptions=True,
    )

    files, refusals = fitted(answers)
    held = sum(file.refund.amount_minor for file in files)
    capture = await till.capture(account)
    assert (capture.held_minor, capture.over_minor) == (held, 0)
    assert held <= whole
    for refusal in refusals:
        assert refusal.refundable < refusal.asked
        assert held + refusal.asked.amount_minor > whole  # nothing was released: what didn't fit then doesn't now


async def test_refunds_of_lines_at_once_never_take_a_piece_twice(till: Any) -> None:
    """Three shirts were sold; of ten who send one back at once, three get their money."""
    account = await till.captured(3000, lines=(ReportedLine(ref="shirt", quantity=3, amount_minor=3000),))
    one = (AskedLine(line="shirt", quantity=1),)

    answers = await asyncio.gather(*(till.request(account, 1000, lines=one) for _ in range(10)), return_exceptions=True)

    taken = [answer for answer in answers if isinstance(answer, RefundFile)]
    refused = [answer for answer in answers if isinstance(answer, RefundExceedsRefundable | LineExceedsRefundable)]
    assert (len(taken), len(refused)) == (3, 7)
    (line,) = (await till.account(account)).lines
    assert (line.held_quantity, line.held_minor) == (3, 3000)


async def test_goodwill_at_once_never_exceeds_the_payment(till: Any) -> None:
    """No capture stands behind it, so the payment's own counter does."""
    account = await till.captured(1000)
    asks = [till.goodwill(account, 300) for _ in range(12)]

    answers = await asyncio.gather(
        *(request_refund(till.context, ask, till.by()) for ask in asks), return_exceptions=True
    )

    given = [answer for answer in answers if isinstance(answer, RefundFile)]
    refused = [answer for answer in answers if isinstance(answer, GoodwillExceedsPayment)]
    assert (len(given), len(refused)) == (3, 9)
    assert (await till.account(account)).payment.goodwill_minor == 900


async def test_requests_for_orders_that_share_payments_wait_for_each_other_in_no_circle(till: Any) -> None:
    """Payments are locked in one order, whatever order money goes back over them in."""
    accounts = await till.order(10_000, 10_000, 10_000)
    rng = random.Random(7)

    def one() -> Any:
        if rng.random() < 0.5:
            return till.request(None, rng.randint(1, 4000), order_ref="order-a")
        return till.request(rng.choice(accounts), rng.randint(1, 4000))

    answers = await asyncio.gather(*(one() for _ in range(40)), return_exceptions=True)

    files, _ = fitted(answers)
    for account in accounts:
        parts = [part for file in files for part in file.parts if part.payment_id == account.payment.id]
        assert (await till.capture(account)).held_minor == sum(part.amount_minor for part in parts) <= 10_000


async def test_what_is_canceled_meanwhile_is_free_again_for_whoever_comes_next(till: Any) -> None:
    """Requests and cancellations at once: the counter is what the parts say, never below and never above."""
    account = await till.captured(10_000)
    first = [await till.request(account, 1000) for _ in range(10)]
    works = [cancel_refund(till.context, file.refund.id, till.by(), "changed their mind") for file in first[:5]]
    works += [till.request(account, 700) for _ in range(20)]
    random.Random(3).shuffle(works)

    await asyncio.gather(*works, return_exceptions=True)

    rows = await till.shop.rows(
        "SELECT sum(amount_minor)::bigint AS held FROM refund_part WHERE state IN ('reserved', 'scheduled')"
    )
    capture = await till.capture(account)
    assert capture.held_minor == rows[0]["held"] <= 10_000


async def test_a_bound_holds_for_requests_at_once_on_different_payments(till_under: Any) -> None:
    """Payments have locks of their own; what an agent may have approved in a day is counted under the merchant's."""
    bounds = "approve: {per_agent_day: {EUR: 100.00}}, otherwise: {review: {levels: [[lead]]}}"
    till = await till_under(("small", bounds, "{}"))
    accounts = [await till.captured(4900) for _ in range(20)]

    answers = await asyncio.gather(
        *(till.request(account, 1500, by=till.by(f"agent-{n % 2}")) for n, account in enumerate(accounts))
    )

    approved = [file for file in answers if file.refund.state is RefundState.APPROVED]
    for agent in ("agent-0", "agent-1"):
        assert sum(f.refund.amount_minor for f in approved if f.refund.requested_by == agent) == 9000
    assert {file.refund.state for file in answers} == {RefundState.APPROVED, RefundState.IN_REVIEW}


async def test_how_often_one_customer_gets_money_back_is_counted_across_payments(till_under: Any) -> None:
    """The customer's history is read again under the bounds' lock, so two at once don't both count as the first."""
    bounds = "approve: {per_customer: {count: 3, within: 30d}}, otherwise: {deny: too_often}"
    till = await till_under(("seldom", bounds, "{}"))
    accounts = await till.order(*[1000] * 12)

    answers = await asyncio.gather(*(till.request(account, 500) for account in accounts))

    states = [file.refund.state for file in answers]
    assert (states.count(RefundState.APPROVED), states.count(RefundState.DENIED)) == (3, 9)


async def test_the_same_call_many_times_at_once_makes_one_refund(till: Any) -> None:
    """A client that times out and tries again while the first is still under way gets the first one's answer."""
    account = await till.captured(4900)

    answers = await asyncio.gather(*(till.request(account, 1200, by=till.by(key="k")) for _ in range(8)))

    assert len({file.refund.id for file in answers}) == 1
    assert (await till.capture(account)).held_minor == 1200


async def test_a_writer_that_takes_no_lock_of_ours_can_t_make_two_refunds_of_one(till: Any, database_url: str) -> None:
    """Promise 4 is held by the database as well: what it refuses is the refusal that the flow would have given."""
    account = await till.captured(1000)
    other = await till.request(account, 1, destination=Destination.STORE_CREDIT)
    raw = await asyncpg.connect(database_url)
    await raw.execute("BEGIN")
    await raw.execute(
        "INSERT INTO refund_part SELECT (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid(),"
        " 'number', 2, 'amount_minor', 900, 'tax_minor', 0))).* FROM refund_part p WHERE id = $1",
        other.parts[0].id,
    )

    racing = asyncio.create_task(till.request(account, 500))
    for _ in range(500):  # until it has read the account and waits at the capture's row
        if await till.shop.rows(WAITING):
            break
        await asyncio.sleep(0.01)
    await raw.execute("COMMIT")
    with pytest.raises(RefundExceedsRefundable) as refusal:
        await racing
    await raw.close()

    assert refusal.value.refundable.amount_minor == 99
    assert (await till.capture(account)).held_minor == 901
