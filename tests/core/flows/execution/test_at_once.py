"""Everything at once over payments of one order: no circle of waits, nothing twice, every counter right."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import msgspec

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.refund import PartState, RefundState
from recoup_core.flows.intake import receive_webhook
from recoup_core.ports import DisputeNews, Refunded, RefundNews


async def test_the_answer_and_ten_webhooks_about_it_at_the_same_moment_are_one_success(till: Any) -> None:
    """Whoever comes first books it; the others find nothing new."""
    account = await till.payment()
    refund_id = await till.approved(account)
    part = (await till.refund(refund_id)).parts[0]
    done = Refunded(gateway_ref=f"re-{part.id}", amount=part.amount)

    async def tell(request: Any) -> None:
        events = [till.told(f"evt-{number}", part, done) for number in range(10)]
        await receive_webhook(till.context, "sandbox", {}, msgspec.json.encode(events), None)
        claimed = await till.claim()
        hooks.extend(asyncio.create_task(till.service.run_jobs([ref])) for ref in claimed)

    hooks: list[asyncio.Task[None]] = []
    till.bank.before_refund = tell
    await till.run_due()
    await asyncio.gather(*hooks)
    till.bank.before_refund = None
    await till.live()

    file = await till.refund(refund_id)
    assert (file.refund.state, file.parts[0].successes) == (RefundState.SUCCEEDED, 1)
    assert len(hooks) == 10
    assert len(till.bank.requests) == 1
    assert await till.rows("SELECT 1 FROM inbound_event WHERE state = 'received'") == []
    await till.books_agree()


async def test_refunds_over_shared_payments_a_dispute_and_a_refund_elsewhere_never_wait_in_a_circle(
    till: Any, eur: Any
) -> None:
    """Locks are taken in one order by everybody; afterwards the bank's books and ours are one."""
    dice = random.Random(20_261_123)
    accounts = [await till.payment(40_000, order_ref="order-a") for _ in range(3)]
    captures = [account.captures[0] for account in accounts]
    refunds = []
    for _ in range(12):
        pair = dice.sample(captures, 2)
        first = next(account for account in accounts if account.payment.id == pair[0].payment_id)
        amounts = [dice.randrange(100, 2_000) for _ in pair]
        refunds.append(await till.approved(first, *amounts, captures=pair))
    jobs = await till.claim()
    dice.shuffle(jobs)
    dispute = DisputeNews(
        dispute_ref="dp-1", charge_ref=captures[1].gateway_ref, amount=eur(500), standing=DisputeState.INQUIRY
    )
    elsewhere = RefundNews(
        refund_ref="re-desk",
        charge_ref=captures[2].gateway_ref,
        amount=eur(700),
        outcome=Refunded(gateway_ref="re-desk", amount=eur(700)),
    )

    await asyncio.gather(
        *(till.service.run_jobs([ref]) for ref in jobs),
        till.dispute(dispute),
        till.hear(till.event("evt-1", refund=elsewhere)),
    )
    await till.live()

    for refund_id in refunds:
        file = await till.refund(refund_id)
        assert file.refund.state is RefundState.SUCCEEDED
        assert all(part.state is PartState.SUCCEEDED for part in file.parts)
    assert len(till.bank.requests) == len({request.idempotency_key for request in till.bank.requests}) == 24
    paid = await till.rows(
        "SELECT c.gateway_ref, c.held_minor, sum(p.amount_minor)::bigint AS paid FROM capture c"
        " JOIN refund_part p ON p.capture_id = c.id GROUP BY c.id"
    )
    moved = till.bank.moved()
    moved[captures[2].gateway_ref] += 700
    assert {row["gateway_ref"]: row["paid"] for row in paid} == moved
    assert all(row["held_minor"] == row["paid"] for row in paid)


async def test_events_of_one_dispute_that_are_applied_at_the_same_moment_end_with_the_last_to_have_happened(
    till: Any, eur: Any
) -> None:
    """Who comes last to the lock may have been stored first: what counts is read under it."""
    start, references = till.clock.now(), []
    for number in range(8):
        account = await till.payment()
        references.append(f"dp-{number}")
        jobs = []
        for minute, standing in ((1, DisputeState.OPEN), (2, DisputeState.WON)):
            told = DisputeNews(
                dispute_ref=references[-1],
                charge_ref=account.captures[0].gateway_ref,
                amount=eur(500),
                standing=standing,
            )
            event = till.event(f"evt-{number}-{standing}", start + timedelta(minutes=minute), dispute=told)
            await receive_webhook(till.context, "sandbox", {}, msgspec.json.encode([event]), None)
            jobs += await till.claim()
        await asyncio.gather(*(till.service.run_jobs([ref]) for ref in reversed(jobs)))

    rows = await till.rows("SELECT gateway_ref, state FROM dispute ORDER BY gateway_ref")
    assert [(row["gateway_ref"], row["state"]) for row in rows] == [(each, "won") for each in references]
    assert "disputes" not in await till.balances()
