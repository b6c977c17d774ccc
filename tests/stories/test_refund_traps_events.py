"""Traps of what a gateway tells, twice, late or never, and of what it does by itself: 5, 10, 11 and 12 of the list."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import permutations
from typing import Any, Final

import msgspec
import pytest
from tests.stories.traps_shop import Paid, RefundShop, states

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.storage.changes import JobRef

# -- 5: the same event ten times, shuffled, one missing

STORY: Final = ("refund.pending", "refund.succeeded", "refund.taken_back")
"""What the bank tells of a refund that it took in, paid, and took back."""


async def test_trap_05_events_repeated_shuffled_and_missing_end_in_one_state(refund_shop: RefundShop) -> None:
    """Each order of the three, ten times each, and with one of the first two lost: the same state, the same books."""
    shop = refund_shop
    shop.line.mute = True  # only the events speak
    orders = [*permutations(STORY), *(order for lost in STORY[:2] for order in permutations(set(STORY) - {lost}))]
    told = [await _pending(shop) for _ in orders]
    shop.clock.advance(timedelta(days=9))
    bodies = {_about(each.body): each.body for each in shop.bank.due_deliveries(1_000)}

    ends = set()
    for order, (paid, file) in zip(orders, told, strict=True):
        dice = random.Random(str(order))
        later = [kind for kind in order for _ in range(9)]
        for kind in (*order, *dice.sample(later, len(later))):
            await shop.deliver(bodies[kind, _ref_of(await shop.told(file))])
            await shop.work()
        ends.add(await _end_of(shop, paid, file))

    assert ends == {("failed", ("taken_back",), 0, 10_000, ("refund_failed",), 0)}
    await shop.require_books()


async def test_trap_05_a_lost_success_is_found_out(refund_shop: RefundShop) -> None:
    """No webhook at all ends as all of them do: what is pending is looked up."""
    shop = refund_shop
    heard, silent = [(paid, await shop.ask(paid, 4_000)) for paid in [await _slow(shop), await _slow(shop)]]
    await shop.work()
    deliveries = {each.event_id: each.body for each in shop.bank.due_deliveries(1_000)}
    await shop.wait(timedelta(days=2), post=False)
    for each in shop.bank.due_deliveries(1_000):
        deliveries[each.event_id] = each.body

    mine = [
        body for body in deliveries.values() if msgspec.json.decode(body)["data"]["charge_id"] == heard[0].charge_ref
    ]
    for body in mine * 10:
        await shop.deliver(body)
    await shop.work()

    ends = {await _end_of(shop, *each) for each in (heard, silent)}
    assert ends == {("succeeded", ("succeeded",), 4_000, 6_000, (), 4_000)}
    await shop.require_books()


async def _slow(shop: RefundShop) -> Paid:
    return await shop.paid(script="pending:1d")


async def _pending(shop: RefundShop) -> tuple[Paid, dict[str, Any]]:
    paid = await shop.paid(script="pending:1d+taken_back:7d")
    file = await shop.ask(paid, 4_000)
    await shop.work()
    return paid, file


def _about(body: bytes) -> tuple[str, str]:
    event = msgspec.json.decode(body)
    return event["type"], event["data"]["refund_id"]


def _ref_of(file: dict[str, Any]) -> str:
    ref: str = file["parts"][0]["gateway_ref"]
    return ref


async def _end_of(shop: RefundShop, paid: Paid, file: dict[str, Any]) -> tuple[Any, ...]:
    told = await shop.told(file)
    booked = await shop.rows(
        "SELECT coalesce(sum(p.amount_minor), 0)::bigint AS minor FROM ledger_entry e JOIN ledger_posting p"
        " ON p.entry_id = e.id WHERE p.account = 'refunds' AND e.refund_id = $1::text::uuid",
        file["refund"]["id"],
    )
    return (
        told["refund"]["state"],
        tuple(states(told)),
        told["refund"]["refunded_minor"],
        await shop.left(paid),
        tuple(task["kind"] for task in told["open_tasks"]),
        booked[0]["minor"],
    )


# -- 10: the gateway refunds on its own between request and execution


async def test_trap_10_a_refund_made_elsewhere_leaves_room_for_ours(refund_shop: RefundShop) -> None:
    """Both fit: both are counted, and ours goes out."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 6_000)

    await _told_first(shop, lambda: shop.bank.refund_elsewhere(paid.charge_ref, Money(4_000, "EUR")))

    assert (await shop.told(file))["refund"]["state"] == "succeeded"
    assert (shop.moved(paid), await shop.left(paid)) == (10_000, 0)
    assert await _channels(shop, paid) == {"api": 6_000, "reported": 4_000}
    await shop.require_books()


async def test_trap_10_a_refund_made_elsewhere_takes_the_room_of_ours(refund_shop: RefundShop) -> None:
    """What is left is less than was asked for: ours is not sent, a person is asked, and nothing goes over."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 6_000)

    await _told_first(shop, lambda: shop.bank.refund_elsewhere(paid.charge_ref, Money(5_000, "EUR")))

    assert (await shop.told(file))["refund"]["state"] == "failed"
    assert shop.line.sent == []
    assert "refund_failed" in await shop.tasks(file)
    assert (shop.moved(paid), await shop.left(paid)) == (5_000, 5_000)
    await shop.require_books()


async def test_trap_10_a_refund_made_elsewhere_that_nobody_told_of_is_counted_in_the_end(
    refund_shop: RefundShop,
) -> None:
    """The bank itself refuses ours; its webhook comes later, and what is left is right then."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 6_000)
    shop.bank.refund_elsewhere(paid.charge_ref, Money(5_000, "EUR"))

    await shop.work()
    assert (await shop.told(file))["parts"][0]["failure"]["category"] == "already_refunded"
    await shop.post()

    assert (shop.moved(paid), await shop.left(paid)) == (5_000, 5_000)
    assert (await shop.try_to_ask(paid, 5_001)).json()["code"] == "refund_exceeds_refundable"
    await shop.require_books()


async def test_trap_10_what_may_have_been_lost_is_not_sent_again_into_what_others_took(refund_shop: RefundShop) -> None:
    """Ours never arrived, and nobody knows it; meanwhile its room was taken. A person is asked, the bank is not."""
    shop = refund_shop
    paid = await shop.paid(script="lose_before")
    file = await shop.ask(paid, 6_000)
    await shop.work()
    assert states(await shop.told(file)) == ["unknown"]

    shop.bank.refund_elsewhere(paid.charge_ref, Money(5_000, "EUR"))
    await shop.wait(timedelta(days=3))

    assert (states(await shop.told(file)), len(shop.line.sent)) == (["unknown"], 1)
    assert await shop.tasks(file) == ["refund_unknown"]
    assert (shop.moved(paid), await shop.left(paid)) == (5_000, 0)
    await shop.require_books()


async def _channels(shop: RefundShop, paid: Paid) -> dict[str, int]:
    page = await shop.agent.get("/refunds", payment=paid.id)
    return {refund["channel"]: refund["refunded_minor"] for refund in page["items"]}


async def _told_first(shop: RefundShop, happens: Callable[[], object]) -> None:
    """Something happens at the bank, and its webhook is applied before the refund's job, which is out by then."""
    sends = await shop.claim()
    happens()
    for delivery in shop.bank.due_deliveries(1_000):
        await shop.deliver(delivery.body)
        shop.bank.record_delivery(delivery, delivered=True, retry_in=None)
    await shop.work()
    await _go_on(shop, sends)


async def _go_on(shop: RefundShop, refs: Sequence[JobRef]) -> None:
    await shop.service.run_jobs(refs)
    await shop.wait(timedelta(days=2))


# -- 11: canceled, disputed or voided between approval and sending


async def test_trap_11_what_is_canceled_before_it_leaves_is_not_sent(refund_shop: RefundShop) -> None:
    """The job was with the broker already; it finds nothing to do."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 4_000)
    sends = await shop.claim()

    answer = await shop.agent.act(file, "cancel", reason="the customer keeps it")
    await _go_on(shop, sends)

    assert (answer.status_code, (await shop.told(file))["refund"]["state"]) == (200, "canceled")
    await _nothing_was_sent(shop, paid, left=10_000)


async def test_trap_11_what_is_edited_before_it_leaves_is_sent_as_edited(refund_shop: RefundShop) -> None:
    """The job of the first amount was with the broker already; only the amount that was approved last goes back."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 6_000)
    sends = await shop.claim()

    edited = (await shop.agent.edit(file, amount_minor=1_000)).json()
    await _go_on(shop, sends)

    assert (edited["refund"]["state"], edited["refund"]["revision"]) == ("approved", 2)
    assert [request.amount.amount_minor for request in shop.line.sent] == [1_000]
    assert (shop.moved(paid), await shop.left(paid)) == (1_000, 9_000)
    await shop.require_books()


async def test_trap_11_what_is_disputed_before_it_leaves_is_not_sent(refund_shop: RefundShop) -> None:
    """The bank pays the customer back; we don't do it as well. The policy decides anew, and denies."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 4_000)

    await _told_first(shop, lambda: shop.bank.open_dispute(paid.charge_ref))

    told = (await shop.told(file))["refund"]
    assert (told["state"], told["stop_reason"], told["revision"]) == ("denied", "disputed", 2)
    await _nothing_was_sent(shop, paid, left=0)


async def test_trap_11_a_dispute_that_nobody_told_of_is_the_banks_refusal(refund_shop: RefundShop) -> None:
    """Sent before its webhook came, it is refused, and no money moves."""
    shop = refund_shop
    paid = await shop.paid()
    file = await shop.ask(paid, 4_000)
    dispute = shop.bank.open_dispute(paid.charge_ref)

    await shop.work()
    await shop.post()

    assert (await shop.told(file))["parts"][0]["failure"]["category"] == "disputed"
    assert (shop.moved(paid), await shop.left(paid)) == (0, 0)
    shop.bank.move_dispute(dispute, DisputeState.WON)
    await shop.post()
    assert await shop.left(paid) == 10_000
    await shop.require_books()


async def test_trap_11_what_is_voided_elsewhere_before_it_leaves_is_not_sent(refund_shop: RefundShop) -> None:
    """A void of what is void already would be refused, or worse."""
    shop = refund_shop
    paid = await shop.paid(script="authorized")
    file = await shop.ask(paid, 10_000)

    await _told_first(shop, lambda: shop.bank.void_elsewhere(paid.charge_ref))

    assert (await shop.told(file))["refund"]["state"] == "failed"
    await _nothing_was_sent(shop, paid, left=0)


@pytest.mark.parametrize("told", [True, False])
async def test_trap_11_what_is_captured_before_it_leaves_is_refunded_not_voided(
    refund_shop: RefundShop, told: bool
) -> None:
    """Chosen anew from how the charge stands, or, where nobody told, after the bank's refusal; the money goes once."""
    shop = refund_shop
    paid = await shop.paid(script="authorized")
    file = await shop.ask(paid, 10_000)

    if told:
        await _told_first(shop, lambda: shop.bank.capture(paid.charge_ref))
    else:
        shop.bank.capture(paid.charge_ref)
        await shop.work()
        await shop.post()

    assert (await shop.told(file))["refund"]["state"] == "succeeded"
    assert [request.void for request in shop.line.sent] == ([False] if told else [True, False])
    assert len({request.idempotency_key for request in shop.line.sent}) == len(shop.line.sent)
    assert (shop.moved(paid), await shop.left(paid)) == (10_000, 0)
    await shop.require_books()


async def _nothing_was_sent(shop: RefundShop, paid: Paid, *, left: int) -> None:
    assert shop.line.sent == []
    assert (shop.moved(paid), await shop.left(paid)) == (0, left)
    await shop.require_books()


# -- 12: unknown blocks


async def test_trap_12_an_unknown_outcome_blocks_until_a_person_settles_it(refund_shop: RefundShop) -> None:
    """Nothing of it is sent again, edited, canceled or asked for twice; after a day a person is asked, and ends it."""
    shop = refund_shop
    shop.line.lost = shop.line.mute = True
    paid = await shop.paid()
    file = await shop.ask(paid, 4_000)
    await shop.wait(timedelta(hours=23), post=False)
    told = await shop.told(file)
    assert (states(told), told["open_tasks"]) == (["unknown"], [])

    refused = [
        await shop.agent.act(told, "retry"),
        await shop.agent.act(told, "cancel", reason="enough"),
        await shop.agent.edit(told, amount_minor=3_000),
        await shop.try_to_ask(paid, 6_001),
    ]
    await shop.wait(timedelta(days=3), post=False)

    assert [answer.json()["code"] for answer in refused] == [
        "refund_not_open",
        "refund_in_flight",
        "refund_in_flight",
        "refund_exceeds_refundable",
    ]
    assert len(shop.line.sent) == 1
    assert shop.line.looks > 5
    assert (states(await shop.told(file)), await shop.tasks(file)) == (["unknown"], ["refund_unknown"])

    operator = await shop.hire("otto", role="operator")
    said = {"outcome": "succeeded", "evidence": "it stands in the bank's statement"}
    answer = await operator.post(f"/refund-parts/{told['parts'][0]['id']}/resolve", said)
    assert (answer.status_code, answer.json()["refund"]["state"]) == (200, "succeeded"), answer.text
    assert (await shop.tasks(file), len(shop.line.sent)) == ([], 1)
    await shop.require_books()
