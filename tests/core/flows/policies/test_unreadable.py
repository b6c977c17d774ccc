"""A case keeps its policy even where today's parser refuses the text: nothing is guessed, and a person is asked."""

from datetime import timedelta
from typing import Any

from recoup_core.domain.recovery import CaseState
from recoup_core.flows.operate import retry_now

SOFT = {"code": "insufficient_funds"}


async def spoil(shop: Any) -> None:
    """Put every case under a text that no parser reads."""
    async with shop.service.database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "INSERT INTO policy_text SELECT encode(sha256('nonsense'), 'hex'), 'retry', 'x', 'x', 'nonsense', now()"
        )
        await connection.execute("UPDATE recovery_case SET policy_digest = encode(sha256('nonsense'), 'hex')")


async def tasks(shop: Any) -> list[tuple[str, bool]]:
    """The tasks there are, and whether they wait."""
    rows = await shop.rows("SELECT kind, resolved_at IS NULL FROM human_task ORDER BY id")
    return [tuple(row) for row in rows]


async def test_a_decline_is_recorded_and_the_next_step_is_left_to_a_person(shop: Any) -> None:
    """The planned try is made; what comes after it can't be decided. Asked once, and no job runs for ever."""
    opened = await shop.open("tok_insufficient_funds", **SOFT)
    await spoil(shop)

    await shop.live(timedelta(days=30))
    for _ in range(3):
        shop.clock.advance(timedelta(hours=2))
        await shop.service.sweep(shop.clock.now())
        await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert [attempt.state for attempt in file.attempts] == ["declined", "declined"]
    assert (file.case.state, file.planned_retry) == (CaseState.OPEN, None)
    assert await tasks(shop) == [("policy_unreadable", True)]
    assert await shop.rows("SELECT id FROM job") == []


async def test_money_that_comes_in_is_booked_all_the_same(shop: Any) -> None:
    """A success needs no policy; it closes the question."""
    opened = await shop.open("tok_insufficient_funds", "tok_approve", **SOFT)
    await spoil(shop)
    await shop.live(timedelta(days=30))
    assert await tasks(shop) == [("policy_unreadable", True)]

    await shop.rows("UPDATE credential SET role = CASE token WHEN 'tok_approve' THEN 'primary' ELSE 'backup' END")
    await retry_now(shop.context, opened.case.id, shop.by())
    await shop.run_due()

    assert (await shop.file(opened.payment.id)).case.state is CaseState.RECOVERED
    assert await tasks(shop) == [("policy_unreadable", False)]


async def test_a_try_that_missed_its_time_waits_for_a_person(shop: Any) -> None:
    """Its rule's hours can't be read, and nobody is charged at 3 a.m. on a guess."""
    opened = await shop.open("tok_approve", **SOFT)
    await spoil(shop)
    shop.clock.set(await shop.next_due() + timedelta(hours=3))

    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert [attempt.state for attempt in file.attempts] == ["declined"]
    assert [step.state for step in file.steps] == ["skipped"]
    assert await tasks(shop) == [("policy_unreadable", True)]
