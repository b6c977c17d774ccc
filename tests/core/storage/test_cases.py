"""Case files: read whole under their locks; nobody decides on the same payment, or account, at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.payment import CredentialRole, Customer
from recoup_core.storage.cases import (
    ACCOUNT_HISTORY,
    account_history,
    load_cases,
    lock_accounts,
    lock_payments,
    payments_of_attempts,
    payments_of_cases,
    payments_of_steps,
)

SOON_S = 0.3
"""Long enough for a statement to come back that waits for nobody."""


async def load(shelf: Any, now: Any, *payments: Any) -> Any:
    async with shelf.database.connection() as connection:
        return await load_cases(connection, [payment.id for payment in payments], now)


async def test_a_file_holds_everything_about_its_payment(shelf: Any, records: Any) -> None:
    """Attempts by number, steps by time, credentials by age, invalid ones too; nothing of anybody else."""
    payment, stranger = records.payment(), records.payment(customer=Customer(ref="cus-2"))
    case, strange_case = records.case(payment), records.case(stranger)
    old = records.credential(created_at=records.now - timedelta(days=1), valid=False, role=CredentialRole.BACKUP)
    new = records.credential(created_at=records.now)
    second = records.attempt(case, AttemptState.SUBMITTED, number=2, account_key=new.account_key)
    first = records.attempt(case, AttemptState.DECLINED, number=1)
    late, early = records.step(case), records.step(case, due_at=records.now, kind="message")
    strange = records.attempt(strange_case, AttemptState.DECLINED, number=1)
    await shelf.write(payment, stranger, case, strange_case, new, old, second, first, late, early, strange)

    files = await load(shelf, records.now, payment, stranger)

    file = files[payment.id]
    assert (file.payment, file.case) == (payment, case)
    assert file.attempts == (first, second)
    assert file.steps == (early, late)
    assert file.credentials == (old, new)
    assert file.account_attempts == (second,)
    assert file.live_attempt == second
    assert file.last_declined == first
    assert file.usable() == (new,)
    assert files[stranger.id].attempts == (strange,)
    assert files[stranger.id].credentials == ()


async def test_limits_see_every_attempt_on_the_account_within_the_window(shelf: Any, records: Any) -> None:
    """All payments and customers behind one fingerprint; other accounts, merchants and older times are left out."""
    one, two = records.payment(), records.payment(customer=Customer(ref="cus-2"))
    foreign = records.payment(merchant_id="other")
    case, other_case, foreign_case = records.case(one), records.case(two), records.case(foreign)
    mine, theirs = records.credential(), records.credential(customer_ref="cus-2")
    seen = records.attempt(other_case, AttemptState.DECLINED, account_key="fp:card-1", submitted_at=records.now)
    edge = records.now - ACCOUNT_HISTORY
    too_old = records.attempt(other_case, AttemptState.DECLINED, account_key="fp:card-1", submitted_at=edge)
    elsewhere = records.attempt(other_case, AttemptState.DECLINED, account_key="fp:card-2")
    abroad = records.attempt(foreign_case, AttemptState.DECLINED, account_key="fp:card-1")
    own = records.attempt(case, AttemptState.DECLINED, account_key="fp:card-1")
    await shelf.write(one, two, foreign, case, other_case, foreign_case, mine, theirs)
    await shelf.write(seen, too_old, elsewhere, abroad, own)

    file = (await load(shelf, records.now, one))[one.id]
    async with shelf.database.connection() as connection:
        known = await account_history(
            connection,
            "default",
            "nobody",
            ["fp:card-1"],
            records.now,
            gateway="sandbox",
            charges=[],
            reference="unheard of",
            question="who?",
        )

    assert {a.id for a in file.account_attempts} == {seen.id, own.id}
    assert {a.id for a in known.attempts} == {seen.id, own.id}
    assert known.credentials == ()


async def test_a_payment_without_a_case_has_no_file(shelf: Any, records: Any) -> None:
    """Left out, not half-filled."""
    payment = records.payment()
    await shelf.write(payment)

    assert await load(shelf, records.now, payment) == {}


async def test_ids_lead_back_to_their_payment(shelf: Any, records: Any) -> None:
    """Cases, steps and attempts; unknown ids are left out."""
    payment = records.payment()
    case = records.case(payment)
    step, attempt = records.step(case), records.attempt(case)
    await shelf.write(payment, case, step, attempt)

    async with shelf.database.connection() as connection:
        assert await payments_of_cases(connection, [case.id, payment.id]) == {case.id: payment.id}
        assert await payments_of_steps(connection, [step.id, case.id]) == {step.id: payment.id}
        assert await payments_of_attempts(connection, [attempt.id, step.id]) == {attempt.id: payment.id}


@asynccontextmanager
async def another_process(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of somebody else."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


async def waits(shelf: Any, lock: Any, ids: list[Any]) -> bool:
    """Whether taking a lock has to wait for somebody."""

    async def take() -> None:
        async with shelf.database.transaction() as connection:
            await lock(connection, ids)

    task = asyncio.create_task(take())
    done, _ = await asyncio.wait([task], timeout=SOON_S)
    if done:
        await task
        return False
    task.cancel()
    await asyncio.wait([task])
    return True


async def test_a_payment_is_decided_on_by_one_at_a_time(shelf: Any, records: Any, database_url: str) -> None:
    """The second waits for the first; other payments don't."""
    one, two = records.payment(), records.payment()
    await shelf.write(one, two)

    async with another_process(database_url) as connection:
        await lock_payments(connection, [one.id])

        assert await waits(shelf, lock_payments, [two.id, one.id])
        assert not await waits(shelf, lock_payments, [two.id])
    assert not await waits(shelf, lock_payments, [one.id])


async def test_an_account_is_counted_by_one_at_a_time(shelf: Any, records: Any, database_url: str) -> None:
    """Two payments of two customers on one card exclude each other; those on other cards go on."""
    one, two = records.payment(), records.payment(customer=Customer(ref="cus-2"))
    three = records.payment(customer=Customer(ref="cus-3"))
    cards = [records.credential(), records.credential(customer_ref="cus-2")]
    await shelf.write(one, two, three, *cards, records.credential(customer_ref="cus-3", account_key="fp:card-3"))

    async with another_process(database_url) as connection:
        await lock_accounts(connection, [one.id])

        assert await waits(shelf, lock_accounts, [two.id])
        assert not await waits(shelf, lock_accounts, [three.id])


async def test_a_locked_account_holds_nobody_up_who_only_refers_to_it(
    shelf: Any, records: Any, database_url: str
) -> None:
    """Planning a step on the card needs no turn: a stronger lock would make circles of waiting."""
    payment = records.payment()
    case, card = records.case(payment), records.credential()
    await shelf.write(payment, case, card)

    async with another_process(database_url) as connection:
        await lock_accounts(connection, [payment.id])

        write = asyncio.create_task(shelf.write(records.step(case, credential_id=card.id)))
        done, _ = await asyncio.wait([write], timeout=SOON_S)
    await write

    assert done


@pytest.mark.parametrize("turns", [20])
async def test_two_batches_in_opposite_order_never_wait_in_a_circle(shelf: Any, records: Any, turns: int) -> None:
    """Locks are taken by id, whatever order the ids come in."""
    payments = [records.payment() for _ in range(6)]
    await shelf.write(*payments)
    ids = [payment.id for payment in payments]

    async def hold(order: list[Any]) -> None:
        for _ in range(turns):
            async with shelf.database.transaction() as connection:
                await lock_payments(connection, order)

    async with asyncio.timeout(20):
        await asyncio.gather(hold(ids), hold(ids[::-1]), hold(ids[3:] + ids[:3]))
