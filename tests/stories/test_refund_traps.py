"""The traps of refunds, each by its name: what others fell into, and what must not happen here.

The numbers are those of section 6 of the prior art. Here: 1, 2, 3, 4 and 13. What a gateway tells, or does by itself,
is in `test_refund_traps_events.py` (5, 10, 11, 12), what people do in `test_refund_traps_people.py` (6, 7, 9), what is
wrong in `test_refund_traps_wrong.py` (14, 18). Trap 1 has a longer form in `test_refund_contention.py`, trap 2 one with
real processes in `tests/chaos`. Four traps are about retries, messages and figures alone; `ELSEWHERE` names what holds
them.
"""

import ast
import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest
from tests.stories.traps_shop import LEASE, Paid, RefundShop, states

TRAPS: Final = range(1, 19)
HERE: Final = Path(__file__)
ELSEWHERE: Final = {
    8: "core/flows/test_timetables.py::test_the_retries_are_exactly_these",
    15: "core/flows/test_dunning.py::test_a_due_step_is_done_once_however_often_its_job_is_handed_over",
    16: "core/flows/test_experiments.py::test_report_counts_matured_first_cases",
    17: "core/flows/test_experiments.py::test_ramping_up_keeps_who_is_in",
}
"""Traps that are not about refunds, and the test that holds each."""

MINUTES: Final = timedelta(minutes=30)
KEY_LIFE: Final = timedelta(hours=24)


def test_every_trap_has_a_test_of_its_name() -> None:
    """No trap is forgotten, and none is said to be held by a test that is gone."""
    own = {
        name[: len("test_trap_00")] for file in HERE.parent.glob("test_refund_traps*.py") for name in _tests_of(file)
    }

    for trap in TRAPS:
        if trap in ELSEWHERE:
            file, _, name = ELSEWHERE[trap].partition("::")
            assert name in _tests_of(HERE.parents[1] / file), ELSEWHERE[trap]
        else:
            assert f"test_trap_{trap:02}" in own, trap


def _tests_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


# -- 1: more asked at once than there is


async def test_trap_01_of_fifty_requests_at_once_exactly_those_pass_that_fit(refund_shop: RefundShop) -> None:
    """Together they come to more than twice the charge; nothing goes over, and nothing is refused that would fit."""
    shop, dice = refund_shop, random.Random(1)
    paid = await shop.paid(10_000)
    amounts = [dice.randint(50, 900) for _ in range(50)]

    answers = await asyncio.gather(*(shop.try_to_ask(paid, amount) for amount in amounts))

    taken = [amount for amount, answer in zip(amounts, answers, strict=True) if answer.status_code == 201]
    refused = [amount for amount, answer in zip(amounts, answers, strict=True) if answer.status_code != 201]
    codes = {answer.json()["code"] for answer in answers if answer.status_code != 201}
    left = 10_000 - sum(taken)
    assert (codes, len(taken) + len(refused)) == ({"refund_exceeds_refundable"}, 50)
    assert 0 <= left < min(refused)
    assert await shop.left(paid) == left
    await shop.work()
    assert shop.moved(paid) == sum(taken)
    await shop.require_books()


# -- 2: killed at each step


@pytest.mark.parametrize("step", ["claimed", "submitted", "called", "answered"])
async def test_trap_02_killed_at_any_step_a_refund_has_one_effect(refund_shop: RefundShop, step: str) -> None:
    """One row, one key, one movement at the bank, and books that agree, wherever the worker stood when it died."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 4_000)

    await _die_at(shop, step, paid)
    assert (await shop.told(file))["refund"]["state"] == "approved"
    shop.clock.advance(LEASE + timedelta(seconds=1))
    await shop.wait(MINUTES, post=False)

    told = await shop.told(file)
    assert (told["refund"]["state"], told["refund"]["refunded_minor"], states(told)) == (
        "succeeded",
        4_000,
        ["succeeded"],
    )
    total = shop.bank.refund_totals().by_charge[paid.charge_ref]
    assert (total.back_minor, total.refunds, total.keys) == (4_000, 1, 1)
    await shop.require_books()


async def _die_at(shop: RefundShop, step: str, paid: Paid) -> None:
    """Let a worker take the job, and kill it at the step; nobody has learned of any answer then."""
    refs, alive = await shop.claim(), asyncio.all_tasks()
    if step == "claimed":
        return
    shop.line.cut_before, shop.line.cut_after = step == "submitted", step != "submitted"
    work = asyncio.create_task(shop.service.run_jobs(refs))
    async with asyncio.timeout(20):
        await shop.line.hanging.wait()
        if step != "answered":
            await shop.kill(alive)
            return
        async with shop.service.database.transaction() as connection:  # so that the answer can't be written
            await connection.fetchval("SELECT id FROM payment WHERE id = $1::text::uuid FOR UPDATE", paid.id)
            shop.line.go_on.set()
            while not await connection.fetchval(_SOMEBODY_WAITS):
                await connection.execute(
                    "SELECT pg_stat_clear_snapshot()"
                )  # else a transaction sees one state for good
                await asyncio.sleep(0.01)
            await shop.kill(alive)
    assert work.done()


_SOMEBODY_WAITS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


# -- 3: a time-out after the bank had done it


@pytest.mark.parametrize("can_look", [True, False])
@pytest.mark.parametrize("key_lives", [True, False])
async def test_trap_03_an_answer_lost_after_success_moves_no_money_twice(
    refund_shop: RefundShop, can_look: bool, key_lives: bool
) -> None:
    """Looked up where that can be; the same key again only while it lives; beyond that a person is asked.

    The bank forgets keys at the end of their life: the same part sent once more would be another refund.
    """
    shop = refund_shop
    can = msgspec.structs.replace(shop.line.capabilities, finds_refunds=can_look, key_lifetime=KEY_LIFE)
    shop.line.capabilities, shop.line.forgets, shop.line.lost = can, True, True
    paid = await shop.paid()
    file = await shop.ask(paid, 4_000)

    await shop.work()
    assert states(await shop.told(file)) == ["unknown"]
    if not key_lives:
        shop.clock.advance(KEY_LIFE + MINUTES)
    await shop.wait(timedelta(days=3), post=False)

    assert shop.moved(paid) == 4_000
    assert {request.idempotency_key for request in shop.line.sent} == {shop.line.sent[0].idempotency_key}
    if can_look or key_lives:
        assert states(await shop.told(file)) == ["succeeded"]
        assert len(shop.line.sent) == (1 if can_look else 2)
        await shop.require_books()
    else:
        assert (states(await shop.told(file)), await shop.tasks(file)) == (["unknown"], ["refund_unknown"])
        assert len(shop.line.sent) == 1


# -- 4: succeeded, and failed a week later


async def test_trap_04_a_success_taken_back_a_week_later_is_reversed_and_told(refund_shop: RefundShop) -> None:
    """The ledger is reversed, whoever asked is told, a person is asked, and the money can be refunded again."""
    shop = refund_shop
    paid = await shop.paid(10_000, script="taken_back:7d|approve")
    file = await shop.ask(paid, 4_000)
    await shop.work()
    assert (await shop.told(file))["refund"]["state"] == "succeeded"
    assert await _balances(shop) == {"gateway_clearing:sandbox": 6_000, "receivable": -10_000, "refunds": 4_000}

    await shop.wait(timedelta(days=8))

    told = await shop.told(file)
    assert (told["refund"]["state"], told["refund"]["refunded_minor"], states(told)) == ("failed", 0, ["taken_back"])
    (event,) = [event for event in await shop.events(file) if event["kind"] == "refund.taken_back"]
    assert (event["data"]["requested_by"], event["data"]["category"]) == ("ana", "method_gone")
    assert await shop.tasks(file) == ["refund_failed"]
    assert await _balances(shop) == {"gateway_clearing:sandbox": 10_000, "receivable": -10_000, "refunds": 0}
    await shop.require_books()

    assert await shop.left(paid) == 10_000
    again = await shop.ask(paid, 10_000)
    await shop.work()
    assert (await shop.told(again))["refund"]["state"] == "succeeded"
    assert shop.moved(paid) == 10_000
    await shop.require_books()


async def _balances(shop: RefundShop) -> dict[str, int]:
    rows = await shop.rows("SELECT account, sum(amount_minor)::bigint AS minor FROM ledger_posting GROUP BY account")
    return {row["account"]: row["minor"] for row in rows}


# -- 13: currencies of no, two and three decimals, with lines

CARTS: Final = {
    "JPY": (("set", "item", 3, 1_000, 90), ("box", "item", 7, 101, 9), ("post", "shipping", 1, 1, 0)),
    "EUR": (("set", "item", 3, 10_001, 1_597), ("box", "item", 7, 4_999, 798), ("fee", "fee", 1, 7, 1)),
    "KWD": (("set", "item", 3, 1_000_001, 47_619), ("box", "item", 7, 1_003, 48), ("tax", "tax", 1, 13, 13)),
}


@pytest.mark.parametrize("currency", sorted(CARTS))
async def test_trap_13_shares_of_lines_and_tax_sum_to_the_whole(refund_shop: RefundShop, currency: str) -> None:
    """Piece by piece, by odd amounts, then the rest: every refund is the sum of its lines, all of them the payment."""
    shop, cart = refund_shop, CARTS[currency]
    whole = sum(line[3] for line in cart)
    lines = [dict(zip(("ref", "kind", "quantity", "amount_minor", "tax_minor"), line, strict=True)) for line in cart]
    paid = await shop.paid(whole, currency, lines=lines)

    files = []
    for _ in range(3):
        left = await _left_of(shop, paid, "set")
        share = left["left_minor"] // left["left_quantity"]
        files.append(await shop.ask(paid, share, lines=[{"line": "set", "quantity": 1}]))
        files.append(await shop.ask(paid, 1 + await shop.left(paid) // 11))
    await shop.work()
    rest = await shop.left(paid)
    over = await shop.try_to_ask(paid, rest + 1)
    files.append(await shop.ask(paid, rest))
    await shop.work()

    assert over.json()["code"] == "refund_exceeds_refundable"
    assert {(await shop.told(file))["refund"]["state"] for file in files} == {"succeeded"}
    for file in files:
        assert sum(line["amount_minor"] for line in file["lines"]) == file["refund"]["amount_minor"]
        assert sum(line["tax_minor"] for line in file["lines"]) == sum(part["tax_minor"] for part in file["parts"])
    for ref, _, quantity, amount, tax in cart:
        mine = [line for file in files for line in file["lines"] if line["line"] == ref]
        assert (sum(line["amount_minor"] for line in mine), sum(line["tax_minor"] for line in mine)) == (amount, tax)
        assert sum(line["quantity"] for line in mine) in (0, quantity)
    assert (shop.moved(paid), await shop.left(paid)) == (whole, 0)
    assert shop.bank.refund_totals().by_charge[paid.charge_ref].currency == currency
    await shop.require_books()


async def _left_of(shop: RefundShop, paid: Paid, ref: str) -> dict[str, int]:
    told = await shop.agent.get(f"/payments/{paid.id}/refundable")
    (line,) = [line for line in told["lines"] if line["ref"] == ref]
    return {key: line[key] for key in ("left_quantity", "left_minor")}
