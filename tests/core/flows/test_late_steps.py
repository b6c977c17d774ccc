"""A step that missed its time because we were down: made at once only where its rule's hours allow it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from recoup_core.domain.payment import Segment
from recoup_core.domain.recovery import StepState

BERLIN_SUMMER = timedelta(hours=2)


async def test_a_late_step_at_night_waits_for_the_morning(shop: Any) -> None:
    """Nobody is charged at 3 a.m. because a server came back then."""
    shop.clock.set(datetime(2026, 9, 8, 8, tzinfo=UTC))
    opened = await shop.open("tok_approve", code="generic_decline")  # due on the 11th, hours 06:00 to 22:00
    shop.clock.set(datetime(2026, 9, 12, 1, tzinfo=UTC))  # three in the morning in Berlin

    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert [step.state for step in file.steps] == [StepState.PLANNED]
    assert file.steps[0].due_at == datetime(2026, 9, 12, 6, tzinfo=UTC) - BERLIN_SUMMER
    assert "step.moved" in await shop.events(opened.payment.id)
    await shop.live()
    assert (await shop.file(opened.payment.id)).payment.state == "paid"


async def test_a_late_step_within_its_hours_is_made_at_once(shop: Any) -> None:
    """Late is better than later."""
    shop.clock.set(datetime(2026, 9, 8, 8, tzinfo=UTC))
    opened = await shop.open("tok_approve", code="generic_decline")
    shop.clock.set(datetime(2026, 9, 12, 12, tzinfo=UTC))

    await shop.run_due()

    assert (await shop.file(opened.payment.id)).payment.state == "paid"


async def test_a_missed_payday_is_made_good_the_next_morning(shop: Any) -> None:
    """The money came with the payday; the next one is not waited for."""
    shop.clock.set(datetime(2026, 9, 8, 8, tzinfo=UTC))
    opened = await shop.open("tok_approve", code="insufficient_funds")  # due on 30 September from 06:00
    shop.clock.set(datetime(2026, 10, 1, 10, tzinfo=UTC))

    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert file.planned_retry is not None
    assert file.planned_retry.due_at == datetime(2026, 10, 2, 6, tzinfo=UTC) - BERLIN_SUMMER


async def test_a_late_business_step_waits_for_the_next_business_day(shop: Any) -> None:
    """Business days are part of the rule's hours."""
    shop.clock.set(datetime(2026, 9, 7, 8, tzinfo=UTC))
    opened = await shop.open("tok_approve", code="generic_decline", customer={"segment": Segment.BUSINESS})
    shop.clock.set(datetime(2026, 9, 19, 10, tzinfo=UTC))  # a Saturday

    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert file.planned_retry is not None
    assert file.planned_retry.due_at.date() == datetime(2026, 9, 21, tzinfo=UTC).date()
