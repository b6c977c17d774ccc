"""Nobody waits for ever: reviews are escalated once, requesters reminded once, undecided refunds closed in the end."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.refund import (
    UNDECIDED,
    PartState,
    RefundState,
)
from recoup_core.flows.refunds.draft import REFUND_TIMER, locked_refunds
from recoup_core.flows.refunds.refusals import NotYourLevel, RefundNotOpen
from recoup_core.flows.refunds.timers import EXPIRES_AFTER, REMIND_AFTER, put_timer
from recoup_core.storage.approvals import untimed_refunds

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


async def wind(desk: Any, refund: Any) -> None:
    """Put the refund's timer, as whoever decided on it does."""
    async with locked_refunds(desk.context, [refund.id]) as locked:
        draft = locked.draft(refund.id, "test", None)
        assert draft is not None
        put_timer(draft)


async def tasks(desk: Any, refund: Any) -> list[tuple[str, bool]]:
    """The tasks about a refund, and whether each is open."""
    rows = await desk.rows(
        "SELECT kind, resolved_at IS NULL AS open FROM human_task WHERE refund_id = $1 ORDER BY id", refund.id
    )
    return [(row["kind"], row["open"]) for row in rows]


@pytest.mark.parametrize("state", RefundState)
async def test_undecided_refunds_have_a_timer_and_no_others(desk: Any, state: RefundState) -> None:
    """What may come first: the end of the review, the reminder, or the end."""
    refund = await desk.refund(state)

    await wind(desk, refund)

    first = {RefundState.IN_REVIEW: refund.decide_by}.get(state, desk.clock.now() + REMIND_AFTER)
    assert await desk.timer_due(refund) == (first if state in UNDECIDED else None)


async def test_a_review_without_times_ends_all_the_same(desk: Any) -> None:
    """Every state that passes has an age limit (promise 12)."""
    refund = await desk.refund(decide_by=None, expires_at=None)
    await wind(desk, refund)
    due = await desk.timer_due(refund)

    desk.clock.set(due)
    await desk.ring(refund)

    assert due == refund.created_at + EXPIRES_AFTER
    assert (await desk.file(refund)).refund.state is RefundState.EXPIRED


async def test_an_overdue_review_is_open_to_those_it_escalates_to(desk: Any) -> None:
    """They may decide in place of the open level; whoever sees to tasks knows."""
    refund = await desk.refund()
    with pytest.raises(NotYourLevel):
        await desk.say(refund, desk.by("dan", "director"))

    desk.clock.set(refund.decide_by)
    await desk.ring(refund)
    file = await desk.file(refund)
    decided = await desk.say(refund, desk.by("dan", "director"))

    assert file.refund.escalated_at == refund.decide_by
    assert file.refund.open_roles == ("support_lead", "team_lead", "director")
    assert await desk.timer_due(refund) == refund.expires_at
    told = await desk.told(refund, "refund.escalated")
    assert (told["level"], told["levels"], told["roles"]) == (1, 2, ["support_lead", "team_lead", "director"])
    assert decided.approvals[0].role == "director"
    assert decided.refund.open_roles == ("finance", "director")


async def test_the_own_role_of_a_level_still_decides_after_escalation(desk: Any) -> None:
    """The task is done with as soon as the review is over, and not before."""
    refund = await desk.refund()
    desk.clock.set(refund.decide_by)
    await desk.ring(refund)

    await desk.say(refund, desk.by("ben", "support_lead"))
    between = await tasks(desk, refund)
    await desk.say(refund, desk.by("eve", "finance"))

    assert between == [("refund_overdue", True)]
    assert await tasks(desk, refund) == [("refund_overdue", False)]


async def test_a_review_without_anybody_to_escalate_to_is_put_before_a_person(desk: Any) -> None:
    """Nobody more may decide, but somebody is told."""
    refund = await desk.refund(escalate_to=())
    desk.clock.set(refund.decide_by)

    await desk.ring(refund)

    assert (await desk.file(refund)).refund.open_roles == refund.open_roles
    assert await tasks(desk, refund) == [("refund_overdue", True)]


async def test_an_early_timer_does_nothing_but_wait(desk: Any) -> None:
    """A job that was moved, or a clock that runs fast."""
    refund = await desk.refund()
    desk.clock.set(refund.decide_by - MOMENT)

    await desk.ring(refund)

    assert (await desk.file(refund)).refund == refund
    assert await desk.timer_due(refund) == refund.decide_by
    assert await desk.events(refund) == []


async def test_a_timer_that_comes_twice_escalates_once(desk: Any) -> None:
    """At least once is what jobs are."""
    refund = await desk.refund()
    desk.clock.set(refund.decide_by)

    for _ in range(3):
        await desk.ring(refund, refund)

    assert await desk.events(refund) == ["refund.escalated", "task.opened"]
    assert (await desk.file(refund)).refund.version == 2


async def test_a_late_timer_closes_what_has_expired_meanwhile(desk: Any) -> None:
    """Nobody is asked any more about what is over; its money is free again."""
    refund = await desk.refund()
    desk.clock.set(refund.expires_at + 30 * DAY)

    await desk.ring(refund)
    await desk.ring(refund)

    file = await desk.file(refund)
    assert (file.refund.state, file.refund.stop_reason) == (RefundState.EXPIRED, "expired")
    assert file.refund.finished_at == desk.clock.now()
    assert [part.state for part in file.parts] == [PartState.CANCELED]
    assert await desk.held(refund) == 0
    assert await desk.events(refund) == ["refund.expired"]
    told = await desk.told(refund, "refund.expired")
    assert (told["was"], told["requested_by"], told["actor"]) == ("in_review", "ana", "system")
    assert await desk.timer_due(refund) is None


@pytest.mark.parametrize("state", sorted(UNDECIDED))
async def test_every_undecided_state_expires_at_its_time(desk: Any, state: RefundState) -> None:
    """Not a moment before; and nobody decides it afterwards."""
    refund = await desk.refund(state)
    desk.clock.set(refund.expires_at - MOMENT)
    await desk.ring(refund)
    before = (await desk.file(refund)).refund.state

    desk.clock.advance(MOMENT)
    await desk.ring(refund)

    assert (before, (await desk.file(refund)).refund.state) == (state, RefundState.EXPIRED)
    assert all(not is_open for _, is_open in await tasks(desk, refund))
    with pytest.raises(RefundNotOpen):
        await desk.say(refund, desk.by("ben", "support_lead"))


async def test_who_was_sent_something_back_is_reminded_once(desk: Any) -> None:
    """Seven days after it was sent back, not after the request; answered once, it is not asked again."""
    refund = await desk.refund()
    desk.clock.advance(DAY)
    await desk.say(refund, desk.by("ben", "support_lead"), Verdict.SEND_BACK)
    due = await desk.timer_due(refund)
    desk.clock.set(due - MOMENT)
    await desk.ring(refund)
    early = await tasks(desk, refund)

    desk.clock.set(due)
    await desk.ring(refund)
    await desk.rows(
        "UPDATE human_task SET resolved_at = now(), resolved_by = 'kim', resolution = 'asked' WHERE refund_id = $1",
        refund.id,
    )
    await desk.ring(refund)

    assert due == refund.created_at + DAY + REMIND_AFTER
    assert early == []
    assert await tasks(desk, refund) == [("refund_waits", False)]
    assert await desk.timer_due(refund) == refund.expires_at


async def test_missing_evidence_is_asked_about_once_and_then_closed(desk: Any) -> None:
    """From the decision that found it missing."""
    refund = await desk.refund(RefundState.INCOMPLETE)
    desk.clock.advance(REMIND_AFTER)

    await desk.ring(refund)
    reminded = await tasks(desk, refund)
    desk.clock.set(refund.expires_at)
    await desk.ring(refund)

    assert reminded == [("refund_waits", True)]
    assert await tasks(desk, refund) == [("refund_waits", False)]


async def test_a_timer_of_what_is_decided_goes_away(desk: Any) -> None:
    """Left over by whatever: it harms nothing, not even a task that asks about something else."""
    refund = await desk.refund(RefundState.APPROVED)
    await desk.rows(
        "INSERT INTO human_task (id, merchant_id, kind, payment_id, refund_id, reason, opened_at, due_at)"
        " VALUES (gen_random_uuid(), 'default', 'refund_waits', $1, $2, 'a charge is live', now(), now())",
        refund.payment_id,
        refund.id,
    )
    await desk.rows(
        "INSERT INTO job (kind, subject_id, due_at, visible_at) VALUES ($1, $2, $3, $3)",
        REFUND_TIMER,
        refund.id,
        desk.clock.now(),
    )

    await desk.ring(refund)

    assert await desk.timer_due(refund) is None
    assert (await desk.file(refund)).refund == refund
    assert await tasks(desk, refund) == [("refund_waits", True)]


async def test_a_sweep_finds_undecided_refunds_without_a_timer(desk: Any) -> None:
    """Once each; the timer sees by itself what is due, late as it may be."""
    lost = [await desk.refund(state) for state in sorted(UNDECIDED)]
    timed, decided = await desk.refund(), await desk.refund(RefundState.APPROVED)
    await wind(desk, timed)
    now = desk.clock.now()

    async with desk.context.database.connection() as connection:
        young = await untimed_refunds(connection, REFUND_TIMER, now, now, 10)
        some = await untimed_refunds(connection, REFUND_TIMER, now + MOMENT, now, 2)
        rest = await untimed_refunds(connection, REFUND_TIMER, now + MOMENT, now, 10)

    assert (young, some, rest) == (0, 2, 1)
    assert [await desk.timer_due(refund) for refund in lost] == [now] * 3
    assert await desk.timer_due(timed) == timed.decide_by
    assert await desk.timer_due(decided) is None
