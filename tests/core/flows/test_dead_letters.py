"""An event that can't be applied is tried for a day, then put before a person, and never lost."""

import dataclasses
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.errors import CardNumberRefused, IllegalTransition
from recoup_core.domain.payment import PaymentState
from recoup_core.flows.dead_letters import TRY_WAITS, apply_again, dismiss
from recoup_core.flows.intake import run_inbound
from recoup_core.flows.operate import NotFound
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import FailureReport
from recoup_core.storage.calls import Call, IdempotencyKeyReused
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.inbound import list_inbound, list_unowned, read_inbound

PAID = {"charge_id": "ch_1", "amount_minor": 1999, "currency": "EUR"}


def charged(shop: Any) -> FailureReport:
    """A report of a failed payment whose charge the gateway calls ch_1."""
    report: FailureReport = shop.report("tok_approve", code="generic_decline")
    attempts = tuple(msgspec.structs.replace(each, gateway_ref="ch_1") for each in report.attempts)
    return msgspec.structs.replace(report, attempts=attempts)


async def rows(shop: Any) -> list[dict[str, Any]]:
    found = await shop.rows("SELECT id, state, tries, last_error, note, merchant_id FROM inbound_event ORDER BY id")
    return [dict(row) for row in found]


async def tasks(shop: Any) -> list[tuple[str, bool]]:
    found = await shop.rows("SELECT kind, resolved_at IS NULL AS open FROM human_task ORDER BY id")
    return [(row["kind"], row["open"]) for row in found]


async def kinds(shop: Any) -> list[str]:
    found = await shop.rows("SELECT kind FROM event WHERE kind LIKE 'inbound_event.%' ORDER BY id")
    return [row["kind"] for row in found]


@pytest.fixture
async def broken(shop: Any, post: Any) -> Any:
    """An event whose body no release of ours can read: a fault of ours, whatever the event says."""
    await post.deliver(
        msgspec.json.encode(
            {"id": "evt-x", "type": "charge.unheard_of", "created": shop.clock.now().isoformat(), "data": {}}
        )
    )
    await shop.rows("UPDATE inbound_event SET body = body - 'kind'")
    (row,) = await rows(shop)
    return row["id"]


async def mend(shop: Any) -> None:
    """A release that can read it."""
    await shop.rows("""UPDATE inbound_event SET body = body || '{"kind": "charge.unheard_of"}'""")


async def die(shop: Any) -> None:
    """Let all the tries pass."""
    await shop.live(timedelta(days=3))


async def test_a_failing_event_is_tried_again_with_growing_waits(shop: Any, broken: Any) -> None:
    """Each wait is longer, and the reason is kept without anything secret."""
    waits = []
    for _ in TRY_WAITS:
        await shop.run_due()
        due = await shop.next_due()
        waits.append(due - shop.clock.now())
        shop.clock.set(due)

    assert tuple(waits) == TRY_WAITS
    (row,) = await rows(shop)
    assert (row["state"], row["tries"]) == ("received", len(TRY_WAITS))
    assert row["last_error"].startswith("ValidationError: ")
    assert await tasks(shop) == []


async def test_past_the_last_try_it_is_dead_and_a_person_is_asked(shop: Any, broken: Any) -> None:
    """No job is left, one task names the event, and the trail tells of it."""
    await die(shop)

    (row,) = await rows(shop)
    assert (row["state"], row["tries"]) == ("dead", len(TRY_WAITS) + 1)
    assert await tasks(shop) == [("event_dead", True)]
    assert await kinds(shop) == ["inbound_event.dead"]
    assert await shop.next_due() is None
    (task,) = await shop.rows("SELECT inbound_id, reason, merchant_id FROM human_task")
    assert (task["inbound_id"], task["merchant_id"]) == (broken, "default")
    assert "evt-x" in task["reason"]


async def test_what_was_mended_in_time_is_applied_by_itself(shop: Any, broken: Any) -> None:
    """A new release within a day needs nobody to hand anything in."""
    await shop.run_due()
    await mend(shop)

    await die(shop)

    assert [(row["state"], row["tries"]) for row in await rows(shop)] == [("ignored", 1)]
    assert await tasks(shop) == []


async def test_a_dead_event_is_applied_when_it_is_handed_in_again(shop: Any, broken: Any) -> None:
    """With all its tries anew; its task is done with, and the trail names who did it."""
    await die(shop)
    await mend(shop)

    handed = await apply_again(shop.context, broken, shop.by())
    await shop.run_due()

    assert (handed.state, handed.tries) == ("received", 0)
    assert [row["state"] for row in await rows(shop)] == ["ignored"]
    assert await tasks(shop) == [("event_dead", False)]
    assert await kinds(shop) == ["inbound_event.dead", "inbound_event.retried"]
    (told,) = await shop.rows("SELECT actor FROM event WHERE kind = 'inbound_event.retried'")
    assert told["actor"] == "operator:anna"


async def test_one_that_is_still_broken_dies_once_more(shop: Any, broken: Any) -> None:
    """Handing it in again is no way round a fault: a second task asks."""
    await die(shop)

    await apply_again(shop.context, broken, shop.by())
    await die(shop)

    assert [row["state"] for row in await rows(shop)] == ["dead"]
    assert await tasks(shop) == [("event_dead", False), ("event_dead", True)]


async def test_a_dismissed_event_is_never_applied(shop: Any, broken: Any) -> None:
    """It keeps why, its task is done with, and what it was waiting for is gone."""
    await shop.run_due()
    await mend(shop)

    put_aside = await dismiss(shop.context, broken, shop.by(), "a test of the provider's")
    await shop.live(timedelta(days=3))

    assert (put_aside.state, put_aside.note) == ("dismissed", "a test of the provider's")
    assert [row["state"] for row in await rows(shop)] == ["dismissed"]
    assert await kinds(shop) == ["inbound_event.dismissed"]


async def test_the_same_call_gets_its_first_answer(shop: Any, broken: Any) -> None:
    """And the same key for something else is refused."""
    await die(shop)
    who = shop.by(call=Call("key-1", b"apply"))

    first = await apply_again(shop.context, broken, who)
    second = await apply_again(shop.context, broken, who)

    assert first == second
    assert await kinds(shop) == ["inbound_event.dead", "inbound_event.retried"]
    with pytest.raises(IdempotencyKeyReused):
        await dismiss(shop.context, broken, shop.by(call=Call("key-1", b"dismiss")), "no")


async def test_another_merchants_event_is_not_found(shop: Any, broken: Any) -> None:
    """Neither to read, nor to hand in, nor to put aside, nor in a list."""
    stranger = msgspec.structs.replace(shop.by(), merchant_id="somebody")

    with pytest.raises(NotFound):
        await apply_again(shop.context, broken, stranger)
    with pytest.raises(NotFound):
        await dismiss(shop.context, broken, stranger, "mine")
    assert await read_inbound(shop.service.database, "somebody", broken) is None
    assert await list_inbound(shop.service.database, "somebody", {}, None, 10) == []
    assert len(await list_inbound(shop.service.database, "default", {"state": "received"}, None, 10)) == 1


async def test_what_was_applied_stays_applied(shop: Any, post: Any) -> None:
    """Its effects are undone by what the gateway tells next, never by hand here."""
    await open_case(shop.context, charged(shop), "key:shop", None)
    await post.send("charge.succeeded", **PAID)
    (row,) = await rows(shop)
    assert row["state"] == "applied"

    with pytest.raises(IllegalTransition):
        await apply_again(shop.context, row["id"], shop.by())
    with pytest.raises(IllegalTransition):
        await dismiss(shop.context, row["id"], shop.by(), "no")


async def test_a_reason_holds_no_card_number(shop: Any, broken: Any) -> None:
    """Promise 11 holds for what people write, too."""
    with pytest.raises(CardNumberRefused):
        await dismiss(shop.context, broken, shop.by(), "card 4242 4242 4242 4242")


async def test_a_success_in_a_dead_letter_keeps_a_paid_debt_from_being_collected(shop: Any, post: Any) -> None:
    """Whoever opens the case later sees what the gateway said, applied or not."""
    event = {"id": "evt-1", "type": "charge.succeeded", "created": shop.clock.now().isoformat()}
    await post.deliver(msgspec.json.encode(event | {"data": PAID}))
    await shop.rows("UPDATE inbound_event SET state = 'dead', applied_at = received_at")

    opened = await open_case(shop.context, charged(shop), "key:shop", None)

    assert (await shop.file(opened.payment.id)).payment.state is PaymentState.PAID


async def test_events_of_a_gateway_that_left_the_settings_are_applied_for_its_merchant(shop: Any, post: Any) -> None:
    """Whose it was is written down with each event, so the payments are found as ever."""
    opened = await open_case(shop.context, charged(shop), "key:shop", None)
    event = {"id": "evt-1", "type": "charge.succeeded", "created": shop.clock.now().isoformat()}
    await post.deliver(msgspec.json.encode(event | {"data": PAID}))
    without = dataclasses.replace(shop.context, gateways={}, gateway_merchants={})

    await run_inbound(without, [ref for ref in await shop.claim() if ref.kind == "inbound"])

    assert (await shop.file(opened.payment.id)).payment.state is PaymentState.PAID


async def test_what_belongs_to_nobody_known_ends_dead_and_is_seen_by_the_operator(shop: Any, broken: Any) -> None:
    """Stored before merchants were written down, its gateway gone: no merchant sees it, the command line does."""
    await shop.rows("UPDATE inbound_event SET merchant_id = NULL")
    without = dataclasses.replace(shop.context, gateways={}, gateway_merchants={})
    for _ in range(len(TRY_WAITS) + 1):
        due = await shop.next_due()
        shop.clock.set(max(due, shop.clock.now()))
        await run_inbound(without, await shop.claim())

    assert [(row["state"], row["merchant_id"]) for row in await rows(shop)] == [("dead", None)]
    assert await tasks(shop) == []
    assert [row.id for row in await list_unowned(shop.service.database, None, 10)] == [broken]


@pytest.mark.parametrize("act", ["apply", "dismiss"])
async def test_what_was_nobodys_is_handled_once_its_gateway_is_back(shop: Any, broken: Any, act: str) -> None:
    """Then it is known whose it is: by whoever has the gateway, and nobody else."""
    await shop.rows("UPDATE inbound_event SET merchant_id = NULL")
    by = shop.by()
    without = dataclasses.replace(shop.context, gateways={}, gateway_merchants={})

    async def handle(context: Any, who: Any) -> Any:
        return await (dismiss(context, broken, who, "old") if act == "dismiss" else apply_again(context, broken, who))

    for _ in range(len(TRY_WAITS) + 1):
        shop.clock.set(max(await shop.next_due(), shop.clock.now()))
        await run_inbound(without, await shop.claim())
    for context, who in ((without, by), (shop.context, msgspec.structs.replace(by, merchant_id="somebody"))):
        with pytest.raises(NotFound):
            await handle(context, who)

    assert (await handle(shop.context, by)).merchant_id == "default"
    assert await list_unowned(shop.service.database, None, 10) == []


async def test_a_database_that_is_away_costs_no_try(shop: Any, broken: Any) -> None:
    """It is no fault of the event's; the lease ends and it comes back."""
    refs = await shop.claim()
    await shop.service.database.close()

    with pytest.raises(DatabaseUnavailable):
        await run_inbound(shop.context, refs)

    await shop.service.database.open()
    assert [row["tries"] for row in await rows(shop)] == [0]
