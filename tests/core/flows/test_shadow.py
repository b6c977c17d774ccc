"""A shadow decides beside what is live, on the same facts, and changes nothing."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from recoup_core.domain.payment import Network
from recoup_core.flows import shadow as shadows
from recoup_core.flows.operate import NotFound
from recoup_core.flows.shadow import follow_shadows, shadow_report
from recoup_core.flows.versions import retire, shadow


async def seen(shop: Any, version_id: UUID, merchant: str = "default") -> Any:
    return await shadow_report(shop.context, version_id, merchant, None, 50)


async def follow(shop: Any) -> int:
    return await follow_shadows(shop.context, shop.clock.now())


async def tick(shop: Any) -> None:
    shop.clock.set(shop.clock.now() + timedelta(seconds=1))


async def in_shadow(shop: Any, desk: Any, text: str, change: Any = None) -> Any:
    version = await desk.bring(text, change)
    await shadow(shop.context, version.id, change or desk.own)
    await tick(shop)
    return version


async def test_shadow_lists_what_it_would_have_decided_otherwise(shop: Any, desk: Any) -> None:
    """Of two decisions, the one that differs is listed with both outcomes and both rules."""
    await desk.live(desk.waits(2))
    version = await in_shadow(shop, desk, desk.waits(5, rule="wait longer"))
    case = await shop.open("tok_generic_decline", code="generic_decline")

    assert await follow(shop) == 1

    report = await seen(shop, version.id)
    assert (report.seen.decided, report.seen.differed) == (1, 1)
    [difference] = report.differences
    assert difference.case_id == case.case.id
    assert (difference.rule, difference.shadow_rule) == ("wait", "wait longer")
    live, beside = (msgspec.json.decode(raw) for raw in (difference.outcome, difference.shadow_outcome))
    assert live["type"] == beside["type"] == "retry"
    assert live["at"] != beside["at"]


async def test_shadow_that_agrees_is_counted_and_not_listed(shop: Any, desk: Any) -> None:
    """The same outcome under other words is no difference."""
    await desk.live(desk.waits(2))
    version = await in_shadow(shop, desk, desk.waits(2, rule="renamed"))
    await shop.open("tok_generic_decline", code="generic_decline")

    await follow(shop)

    report = await seen(shop, version.id)
    assert (report.seen.decided, report.seen.differed, report.differences) == (1, 0, [])


async def test_shadow_does_nothing(shop: Any, desk: Any) -> None:
    """No step, no decision, no event of a case comes from a shadow."""
    await desk.live(desk.waits(2))
    await in_shadow(shop, desk, desk.waits(5))
    case = await shop.open("tok_generic_decline", code="generic_decline")
    before = await shop.file(case.payment.id)
    events = await shop.events(case.payment.id)

    await follow(shop)

    assert await shop.file(case.payment.id) == before
    assert await shop.events(case.payment.id) == events
    assert len(await shop.rows("SELECT id FROM decision")) == 1


async def test_each_decision_is_looked_at_once(shop: Any, desk: Any) -> None:
    """Rounds repeat, processes overlap: a decision counts once; later ones of the same case are looked at, too."""
    await desk.live(desk.waits(2, 2))
    version = await in_shadow(shop, desk, desk.waits(5, 5))
    await shop.open("tok_generic_decline", code="generic_decline")

    assert [await follow(shop), await follow(shop)] == [1, 0]
    shop.clock.set(shop.clock.now() + timedelta(days=3))
    await shop.run_due()
    assert [await follow(shop), await follow(shop)] == [1, 0]

    assert (await seen(shop, version.id)).seen.decided == 2


async def test_decisions_from_before_the_shadow_are_left_alone(shop: Any, desk: Any) -> None:
    """A shadow watches from when it began; what was before is for `simulate`."""
    await desk.live(desk.waits(2))
    await shop.open("tok_generic_decline", code="generic_decline")
    await tick(shop)
    await in_shadow(shop, desk, desk.waits(5))

    assert await follow(shop) == 0


async def test_shadow_is_asked_only_where_it_would_be_in_force(shop: Any, desk: Any) -> None:
    """Another name counts where it is strictly narrower than what decided, and nowhere else."""
    await desk.live(desk.waits(2, applies_to="{method: card, segment: consumer}", name="consumers"))
    narrow = await in_shadow(
        shop, desk, desk.waits(4, name="visa", applies_to="{method: card, segment: consumer, network: visa}")
    )
    beside = await in_shadow(shop, desk, desk.waits(4, name="networks", applies_to="{network: visa}"))
    await shop.open("tok_generic_decline", code="generic_decline", customer={"segment": "consumer"})

    await follow(shop)

    assert (await seen(shop, narrow.id)).seen.decided == 1
    assert (await seen(shop, beside.id)).seen.decided == 0


async def test_house_shadow_leaves_out_merchants_with_their_own_version(shop: Any, desk: Any) -> None:
    """Where it would not be in force, it is not asked."""
    house = await in_shadow(shop, desk, desk.waits(5), desk.house)
    await shop.open("tok_generic_decline", code="generic_decline")
    await follow(shop)
    assert (await seen(shop, house.id)).seen.decided == 1

    await desk.live(desk.waits(2))
    await tick(shop)
    await shop.open("tok_generic_decline", code="generic_decline")
    await follow(shop)

    assert (await seen(shop, house.id)).seen.decided == 1


async def test_large_backlog_takes_several_rounds(shop: Any, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round has a limit, and the next goes on; nothing is left out."""
    monkeypatch.setattr(shadows, "PAGE", 2)
    monkeypatch.setattr(shadows, "PAGES", 1)
    await desk.live(desk.waits(2))
    version = await in_shadow(shop, desk, desk.waits(5))
    for _ in range(5):
        await shop.open("tok_generic_decline", code="generic_decline")
        await tick(shop)

    rounds = [await follow(shop) for _ in range(4)]

    assert rounds == [2, 2, 1, 0]
    assert (await seen(shop, version.id)).seen.decided == 5


async def test_retired_shadow_looks_no_more(shop: Any, desk: Any) -> None:
    """What it saw stays; nothing is added."""
    await desk.live(desk.waits(2))
    version = await in_shadow(shop, desk, desk.waits(5))
    await retire(shop.context, version.id, desk.own)
    await shop.open("tok_generic_decline", code="generic_decline")

    assert await follow(shop) == 0


async def test_sweep_lets_shadows_catch_up(shop: Any, desk: Any) -> None:
    """Nobody has to ask: the scheduler's round does it."""
    await desk.live(desk.waits(2))
    version = await in_shadow(shop, desk, desk.waits(5))
    await shop.open("tok_generic_decline", code="generic_decline")

    await shop.service.sweep(shop.clock.now())

    assert (await seen(shop, version.id)).seen.decided == 1


async def test_shadows_of_other_merchants_are_hidden(shop: Any, desk: Any) -> None:
    """Another merchant's version is not there at all."""
    await shop.rows("INSERT INTO merchant VALUES ('other', 'Other', NULL, now()) RETURNING id")
    theirs = await desk.bring(desk.waits(5), msgspec.structs.replace(desk.own, merchant_id="other"))

    with pytest.raises(NotFound):
        await seen(shop, theirs.id)


async def test_what_a_shadow_saw_is_never_edited(shop: Any, desk: Any) -> None:
    """The list is evidence."""
    await desk.live(desk.waits(2))
    await in_shadow(shop, desk, desk.waits(5))
    await shop.open("tok_generic_decline", code="generic_decline")
    await follow(shop)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await shop.rows("UPDATE shadow_decision SET agrees = true RETURNING id")


async def test_decisions_that_do_not_concern_it_never_hold_a_shadow_up(
    shop: Any, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of others at one moment, and of one batch's time: the shadow gets past them."""
    monkeypatch.setattr(shadows, "PAGE", 2)
    await desk.live(desk.waits(2, applies_to="{method: card, segment: consumer}", name="consumers"))
    narrow = await in_shadow(
        shop, desk, desk.waits(4, name="visa", applies_to="{method: card, segment: consumer, network: mastercard}")
    )
    consumer = {"segment": "consumer"}
    for _ in range(7):
        await shop.open("tok_generic_decline", code="generic_decline", customer=consumer)
    await shop.open("tok_generic_decline", code="generic_decline", customer=consumer, network=Network.MASTERCARD)

    assert await follow(shop) == 1
    assert (await seen(shop, narrow.id)).seen.decided == 1


async def test_decision_that_comes_to_light_late_is_seen(shop: Any, desk: Any) -> None:
    """A decision's time is that of its transaction's start; a round in between does not lose it."""
    await desk.live(desk.waits(2))
    version = await in_shadow(shop, desk, desk.waits(5))
    decided_at = shop.clock.now()
    shop.clock.advance(timedelta(minutes=2))
    await shop.open("tok_generic_decline", code="generic_decline")
    await follow(shop)
    shop.clock.set(decided_at)
    await shop.open("tok_generic_decline", code="generic_decline")
    shop.clock.advance(timedelta(minutes=3))

    assert await follow(shop) == 1

    report = await seen(shop, version.id)
    assert (report.seen.decided, len(report.differences)) == (2, 2)


async def test_merchants_are_told_nothing_of_each_other(shop: Any, desk: Any) -> None:
    """A shadow of the house sees everybody's decisions; each merchant hears of its own."""
    house = await in_shadow(shop, desk, desk.waits(5), desk.house)
    await shop.open("tok_generic_decline", code="generic_decline")
    await follow(shop)

    mine, theirs = await seen(shop, house.id), await seen(shop, house.id, "other")

    assert (mine.seen.decided, mine.seen.differed) == (1, 1)
    assert (theirs.seen.decided, theirs.seen.differed, theirs.differences) == (0, 0, [])
    assert (await shadow_report(shop.context, house.id, None, None, 50)).seen.decided == 1
