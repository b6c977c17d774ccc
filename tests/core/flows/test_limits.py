"""Promise 6 under lock: whatever was planned, only what a network allows is sent, over all payments of an account."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec

from recoup_core.domain.attempt import Origin
from recoup_core.domain.payment import Customer, Network
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import PriorAttempt

MASTERCARD_DAY = 8
"""Declines in 24 hours: 10, enforced two lower (reference/network_retry_limits.yaml, mastercard_24h)."""


async def on_one_card(shop: Any, declines: int, payments: int) -> list[Any]:
    """Several customers' payments on one Mastercard that has been declined `declines` times in the last hour."""
    opened = []
    for number in range(payments):
        report = shop.report("tok_approve_never", code="issuer_not_available", network=Network.MASTERCARD)
        card = msgspec.structs.replace(report.credentials[0], token=f"tok_generic_decline+delay:{number}ms")
        card = msgspec.structs.replace(card, fingerprint="one-card")
        tries = declines - payments + 1 if number == 0 else 1
        times = [shop.clock.now() - timedelta(minutes=n) for n in range(tries)]
        decline = report.attempts[0].decline
        report = msgspec.structs.replace(
            report,
            customer=Customer(ref=f"customer-{number}", country="DE"),
            credentials=(card,),
            attempts=tuple(PriorAttempt(at=at, decline=decline) for at in times),
        )
        opened.append(await open_case(shop.context, report, "key:shop", None))
    return opened


async def ours(shop: Any) -> int:
    rows = await shop.rows("SELECT count(*) FROM attempt WHERE origin <> 'reported'")
    return int(rows[0][0])


async def test_payments_of_one_batch_on_one_card_share_its_last_place(shop: Any) -> None:
    """One place left, three retries due in one batch of one worker: one is sent, the others wait."""
    await on_one_card(shop, MASTERCARD_DAY - 1, payments=3)
    shop.clock.advance(timedelta(hours=1, minutes=1))

    refs = await shop.claim()
    await shop.service.run_jobs(refs)

    assert len(refs) == 3
    assert await ours(shop) == 1


async def test_workers_at_the_same_time_share_the_last_places_of_one_card(shop: Any) -> None:
    """Two places left, four workers at once: two are sent."""
    await on_one_card(shop, MASTERCARD_DAY - 2, payments=4)
    shop.clock.advance(timedelta(hours=1, minutes=1))
    refs = await shop.claim()

    await asyncio.gather(*(shop.service.run_jobs([ref]) for ref in refs))

    assert len(refs) == 4
    assert await ours(shop) == 2


async def test_what_did_not_fit_is_planned_for_when_it_does(shop: Any) -> None:
    """Each refused step says so, and its successor lies where the window has room again."""
    start = shop.clock.now()
    opened = await on_one_card(shop, MASTERCARD_DAY, payments=2)

    planned_on_a_full_window = (await shop.file(opened[1].payment.id)).planned_retry

    assert planned_on_a_full_window is not None
    assert planned_on_a_full_window.due_at >= start + timedelta(hours=23)
    await shop.live(until=timedelta(days=3))
    made = await shop.rows("SELECT submitted_at FROM attempt WHERE account_key = 'fp:one-card' ORDER BY submitted_at")
    times = [row[0] for row in made]
    day = timedelta(hours=24)
    assert len(times) > MASTERCARD_DAY
    assert all(sum(1 for t in times if at - day < t <= at) <= MASTERCARD_DAY for at in times)


async def test_attempts_made_elsewhere_between_plan_and_execution_count(shop: Any, post: Any) -> None:
    """The gateway retries on its own while ours waits: the budget has counted it when our time comes."""
    (opened,) = await on_one_card(shop, MASTERCARD_DAY - 1, payments=1)
    failure = {
        "payment_reference": opened.payment.reference,
        "amount": {"amount_minor": 1999, "currency": "EUR"},
        "method": "card",
        "customer_ref": "customer-0",
        "token": "tok_generic_decline+delay:0ms",
        "network": "mastercard",
    }
    shop.clock.advance(timedelta(minutes=30))

    await post.send(
        "charge.failed_elsewhere", charge_id="ch_x", decline={"code": "issuer_not_available"}, failure=failure
    )
    moved = (await shop.file(opened.payment.id)).planned_retry
    shop.clock.advance(timedelta(hours=1))
    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert [a.origin for a in file.attempts] == [Origin.REPORTED] * MASTERCARD_DAY
    assert moved is not None
    assert moved.due_at >= opened.case.opened_at + timedelta(hours=23)
