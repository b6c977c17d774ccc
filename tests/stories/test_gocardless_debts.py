"""A biller's payment fails at GoCardless: found by the list of events, tried again on itself, returned late, owed anew.

The webhooks of GoCardless say neither amounts nor customers: what a webhook alone can't tell comes with the list.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.matrix.gocardless_provider import GoCardlessProvider
from tests.matrix.shop import OWED, Shop

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.casefile import CaseFile
from recoup_core.flows.catch_up import catch_up
from recoup_core.storage.lookups import payment_by_reference


@pytest.fixture
async def shop(database_url: str, clock: Any) -> AsyncIterator[Shop]:
    """A merchant before GoCardless."""
    provider = GoCardlessProvider(clock)
    shop = Shop(provider, database_url, clock)
    await shop.service.open()
    yield shop
    await shop.service.close()
    provider.close()


def debt_of(shop: Shop, *words: str, again: bool = False) -> dict[str, Any]:
    """Have a payment of the biller's fail; the bank's later answers go as told."""
    books = shop.provider._fake.books
    mandate = books.mandate("insufficient_funds", *words)
    payment: dict[str, Any] = books.failed_payment(mandate, OWED, metadata={"invoice": "inv-7"}, again=again)
    return payment


async def learn(shop: Shop) -> UUID | None:
    """Take in the webhooks, then the list of events; return the payment they made known."""
    await shop.deliver()
    await catch_up(shop.context, "main", shop.clock.now() - timedelta(days=30))
    await shop._work()
    async with shop.service.database.connection() as connection:
        return await payment_by_reference(connection, "default", "inv-7")


def tries(file: CaseFile) -> list[AttemptState]:
    return [each.state for each in sorted(file.attempts, key=lambda each: each.number)]


async def test_a_failed_payment_is_collected_on_itself(shop: Shop) -> None:
    """One debt, one payment at GoCardless, one retry; the ledger holds it once."""
    debt = debt_of(shop, "approve")
    payment_id = await learn(shop)
    assert payment_id is not None

    await shop.live()

    file = await shop.file(payment_id)
    assert file.payment.gateway_ref == debt["id"]
    assert (str(file.payment.state), file.payment.captured_minor) == ("paid", OWED)
    assert tries(file) == [AttemptState.DECLINED, AttemptState.SUCCEEDED]
    books = shop.provider._fake.books
    assert [each["id"] for each in books.rows["payments"].values()] == [debt["id"]]
    await shop.expect_books()


async def test_a_late_failure_makes_the_debt_owed_again(shop: Shop) -> None:
    """Collected, and days later taken back by the bank: reversed in the ledger, and the case goes on."""
    debt = debt_of(shop, "approve")
    payment_id = await learn(shop)
    assert payment_id is not None
    await shop.live()
    shop.provider._fake.books.fail_late(debt["id"])

    await learn(shop)
    await learn(shop)  # told twice, it ends the same way

    file = await shop.file(payment_id)
    assert (str(file.payment.state), file.payment.captured_minor) == ("owed", 0)
    assert str(file.case.state) == "open"
    await shop.expect_books()


async def test_while_success_plus_tries_again_no_case_is_opened(shop: Shop) -> None:
    """A debt has one owner; once GoCardless has given up, all the tries are known and the case opens."""
    debt = debt_of(shop, "insufficient_funds", "approve", again=True)
    assert await learn(shop) is None
    books = shop.provider._fake.books
    shop.clock.set(shop.clock.now() + timedelta(days=3))
    books.resubmit(debt["id"], {"origin": "gocardless", "cause": "payment_autoretried"})
    books.settle()

    payment_id = await learn(shop)

    assert payment_id is not None
    assert str((await shop.file(payment_id)).case.state) == "open"
