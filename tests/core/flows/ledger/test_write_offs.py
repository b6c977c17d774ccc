"""Debts given up, in the ledger: what is written off is always what is still outstanding."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup_core.domain.money import Money
from recoup_core.flows.context import locked_cases
from recoup_core.flows.operate import cancel
from recoup_core.flows.outcomes import paid_elsewhere
from recoup_core.ports import Succeeded
from recoup_core.storage.ledger import read_balances
from recoup_core.storage.ledger_checks import verify_ledger

START = datetime(2026, 3, 23, 10, tzinfo=UTC)
RETRIES = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: nothing works, stop: exhausted}
examples:
  - {given: {}, expect: nothing works}
"""
GIVES_UP = """
kind: dunning
name: cards
applies_to: {method: card}
rules:
  - name: give up
    steps:
      - {message: payment_failed, by: email}
      - {on: exhausted, after: 2d, write_off: true}
examples:
  - {given: {}, expect: give up}
"""


@pytest.fixture
async def given_up(shop_under: Any, clock: Any) -> tuple[Any, Any]:
    """A shop, and a debt of 19.99 EUR that a policy has written off."""
    clock.set(START)
    shop = await shop_under(RETRIES, GIVES_UP)
    opened = await shop.open("tok_generic_decline", code="stolen_card")
    await shop.live()
    return shop, opened.payment.id


async def come_in(shop: Any, payment_id: Any, *amounts: Money) -> None:
    """Money that somebody else collected is told of, all in one transaction."""
    async with locked_cases(shop.context, [payment_id]) as locked:
        draft = locked.draft(payment_id, "gateway:sandbox", None)
        for number, amount in enumerate(amounts):
            ref = f"sbx_{shop.clock.now():%d}_{number}"
            assert paid_elsewhere(draft, shop.clock.now(), Succeeded(gateway_ref=ref, amount=amount))


async def balances(shop: Any, before: datetime | None = None) -> dict[str, int]:
    rows = await read_balances(shop.service.database, "default", before)
    return {row.account: row.balance_minor for row in rows if row.balance_minor}


async def kinds(shop: Any) -> dict[str, int]:
    return dict(Counter(row["kind"] for row in await shop.rows("SELECT kind FROM ledger_entry")))


async def fits(shop: Any) -> bool:
    return (await verify_ledger(shop.service.database)).fault is None


async def test_a_debt_that_is_given_up_is_written_off(given_up: Any) -> None:
    """In the transaction that ends the case."""
    shop, payment_id = given_up

    assert await balances(shop) == {"write_offs": 1_999, "receivable": -1_999}
    assert (await shop.file(payment_id)).write_off is not None
    assert await fits(shop)


async def test_a_late_success_takes_the_write_off_back(given_up: Any) -> None:
    """The customer paid in the end: nothing is lost, and how it was before can still be asked."""
    shop, payment_id = given_up
    given_up_at = shop.clock.now()
    shop.clock.advance(timedelta(days=30))

    await come_in(shop, payment_id, Money(1_999, "EUR"))

    assert await balances(shop) == {"gateway_clearing:sandbox": 1_999, "receivable": -1_999}
    assert await kinds(shop) == {"write_off": 1, "reversal": 1, "capture": 1}
    assert await balances(shop, given_up_at + timedelta(days=1)) == {"write_offs": 1_999, "receivable": -1_999}
    file = await shop.file(payment_id)
    assert (file.payment.state, file.case.state, file.write_off) == ("paid", "recovered", None)
    assert await fits(shop)


async def test_a_part_that_comes_in_late_leaves_the_rest_written_off(given_up: Any) -> None:
    """An entry is taken back whole, and what is still outstanding is written off anew."""
    shop, payment_id = given_up

    await come_in(shop, payment_id, Money(500, "EUR"))

    assert await balances(shop) == {"gateway_clearing:sandbox": 500, "write_offs": 1_499, "receivable": -1_999}
    assert await kinds(shop) == {"write_off": 2, "reversal": 1, "capture": 1}
    assert (await shop.file(payment_id)).payment.state == "closed"
    assert await fits(shop)


async def test_parts_that_come_in_together_each_count(given_up: Any) -> None:
    """Two in one transaction: the second takes back what the first wrote off."""
    shop, payment_id = given_up

    await come_in(shop, payment_id, Money(500, "EUR"), Money(1_499, "EUR"))
    shop.clock.advance(timedelta(days=1))
    await come_in(shop, payment_id, Money(100, "EUR"))

    assert await balances(shop) == {"gateway_clearing:sandbox": 2_099, "receivable": -2_099}
    assert await kinds(shop) == {"write_off": 2, "reversal": 2, "capture": 3}
    assert await fits(shop)


async def test_a_case_that_is_canceled_writes_nothing_off(shop_under: Any, clock: Any) -> None:
    """The billing system asked to stop: whether it still expects the money is its own business."""
    clock.set(START)
    shop = await shop_under(RETRIES, GIVES_UP)
    opened = await shop.open("tok_generic_decline", code="stolen_card")

    await cancel(shop.context, opened.case.id, shop.by(), "the customer moved")
    await shop.live()

    assert await balances(shop) == {}
    assert await fits(shop)
