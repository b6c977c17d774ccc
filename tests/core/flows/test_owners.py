"""Promise 12: nothing waits for ever without somebody being asked, and a question ends with what it asked."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from recoup_core.domain.recovery import CaseState
from recoup_core.flows.operate import pause, resume
from recoup_core.flows.sweep import FIRST, PAUSE_AGE
from recoup_core.storage.sweeps import planless_cases


async def tasks(shop: Any) -> list[tuple[str, bool]]:
    """Kind of every task, and whether it still waits."""
    rows = await shop.rows("SELECT kind, resolved_at IS NULL AS waits FROM human_task ORDER BY id")
    return [(row["kind"], row["waits"]) for row in rows]


async def test_a_pause_nobody_ends_is_put_before_a_person(shop: Any) -> None:
    """A pause has an age limit; resuming answers the question."""
    opened = await shop.open("tok_approve", code="generic_decline")
    await pause(shop.context, opened.case.id, shop.by())
    shop.clock.advance(PAUSE_AGE - timedelta(minutes=1))
    await shop.service.sweep(shop.clock.now())
    assert await tasks(shop) == []

    shop.clock.advance(timedelta(minutes=2))
    await shop.service.sweep(shop.clock.now())
    await shop.service.sweep(shop.clock.now())

    assert await tasks(shop) == [("paused_too_long", True)]
    file = await resume(shop.context, opened.case.id, shop.by())
    assert await tasks(shop) == [("paused_too_long", False)]
    assert file.case.paused_at is None
    assert file.case.state in (CaseState.OPEN, CaseState.EXHAUSTED)


async def test_the_sweep_sees_every_open_case_page_by_page(shop: Any) -> None:
    """A case that lost its plan is found however many stand before it."""
    opened = [await shop.open("tok_approve", code="generic_decline") for _ in range(5)]
    lost = opened[3]
    await shop.rows("DELETE FROM job")
    await shop.rows(
        "UPDATE timeline_step SET state = 'skipped', skipped_because = 'by hand', finished_at = now()"
        " WHERE case_id = $1",
        lost.case.id,
    )
    found: list[Any] = []
    after: UUID | None = FIRST
    async with shop.service.database.connection() as connection:
        while after is not None:
            page, after = await planless_cases(connection, shop.clock.now() + timedelta(hours=1), after, 2)
            found += page

    assert found == [lost.payment.id]
