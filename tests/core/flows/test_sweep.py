"""Promise 12: nothing is stuck silently. Rows that lost what drives them are found, and the rest is left alone."""

from datetime import timedelta
from typing import Any

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.sweep import ORPHAN_AGE
from recoup_core.storage.jobs import STUCK_CLAIMS

SOFT = {"code": "generic_decline"}


async def by_hand(shop: Any, *statements: str) -> None:
    """Somebody with all rights does harm."""
    async with shop.service.database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)


async def swept(shop: Any) -> None:
    shop.clock.advance(ORPHAN_AGE + timedelta(seconds=1))
    await shop.service.sweep(shop.clock.now())


async def test_every_passing_state_that_lost_its_job_goes_on(shop: Any) -> None:
    """Planned, unsent, unknown, pending: all jobs are deleted by hand, and every case still ends well."""
    tokens = ("tok_approve", "tok_unreachable+approve", "tok_lose+approve", "tok_pending:2h+approve")
    opened = [await shop.open(token, **SOFT) for token in tokens]
    dues = sorted([(await shop.file(each.payment.id)).planned_retry.due_at for each in opened])
    planned_only = opened[0].payment.id
    await by_hand(
        shop, f"DELETE FROM job j USING timeline_step s WHERE s.id = j.subject_id AND s.payment_id = '{planned_only}'"
    )
    shop.clock.set(dues[-1])
    await shop.run_due()
    states = [(await shop.file(each.payment.id)).attempts[-1].state for each in opened]
    await by_hand(shop, "DELETE FROM job")

    await swept(shop)
    await shop.live()

    assert states == [AttemptState.DECLINED, AttemptState.SCHEDULED, AttemptState.UNKNOWN, AttemptState.PENDING]
    assert [(await shop.file(each.payment.id)).case.state for each in opened] == [CaseState.RECOVERED] * 4


async def test_a_stored_event_that_lost_its_job_is_applied(shop: Any, post: Any) -> None:
    """Verified, stored, forgotten by its job: the sweep gives it another."""
    opened = await shop.open("tok_pending:9h+approve", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    shop.clock.advance(timedelta(minutes=50))
    for body in post.outbox():
        await post.deliver(body)
    await by_hand(shop, "DELETE FROM job WHERE kind = 'inbound'")

    await swept(shop)
    await shop.run_due()

    states = {row[0] for row in await shop.rows("SELECT state FROM inbound_event")}
    assert states == {"ignored"}  # "pending" says nothing new
    assert (await shop.file(opened.payment.id)).case.state is CaseState.OPEN


async def test_a_case_without_a_plan_is_planned_anew(shop: Any) -> None:
    """An open case with nothing to come, and nobody asked, is decided again."""
    opened = await shop.open("tok_approve", **SOFT)
    await by_hand(
        shop,
        "UPDATE timeline_step SET state = 'skipped', skipped_because = 'x', finished_at = now()",
        "DELETE FROM job",
    )

    await swept(shop)

    assert (await shop.file(opened.payment.id)).planned_retry is not None
    await shop.live()
    assert (await shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_a_broken_case_does_not_keep_the_sweep_from_the_others(shop: Any) -> None:
    """One case lost its attempts by hand and can't be decided; the next one is."""
    broken = await shop.open("tok_approve", **SOFT)
    whole = await shop.open("tok_approve", **SOFT)
    await by_hand(
        shop,
        "UPDATE timeline_step SET state = 'skipped', skipped_because = 'x', finished_at = now()",
        "DELETE FROM job",
        f"DELETE FROM attempt WHERE payment_id = '{broken.payment.id}'",
    )

    await swept(shop)

    assert (await shop.file(whole.payment.id)).planned_retry is not None
    assert (await shop.file(broken.payment.id)).planned_retry is None


async def test_a_broken_case_does_not_keep_a_batch_from_the_others(shop: Any) -> None:
    """Two jobs of one batch; one case can't be worked on, the other is recovered."""
    broken = await shop.open("tok_approve", **SOFT)
    whole = await shop.open("tok_approve", **SOFT)
    await by_hand(shop, f"DELETE FROM attempt WHERE payment_id = '{broken.payment.id}'")
    shop.clock.advance(timedelta(days=4))

    refs = await shop.claim()
    await shop.service.run_jobs(refs)

    assert len(refs) == 2
    assert (await shop.file(whole.payment.id)).case.state is CaseState.RECOVERED
    assert (await shop.file(broken.payment.id)).case.state is CaseState.OPEN


async def test_a_job_that_never_ends_is_put_before_a_person_once(shop: Any) -> None:
    """Claimed again and again by workers that die: parked, and a task says which case."""
    opened = await shop.open("tok_approve", **SOFT)
    shop.clock.set(await shop.next_due())
    for _ in range(STUCK_CLAIMS):
        assert len(await shop.claim()) == 1
        shop.clock.advance(timedelta(seconds=121))

    for _ in range(2):
        await shop.service.sweep(shop.clock.now())

    tasks = await shop.rows("SELECT kind, payment_id FROM human_task")
    assert [tuple(row) for row in tasks] == [("stuck_job", opened.payment.id)]
    assert await shop.claim() == []


async def test_a_sweep_of_a_healthy_shop_changes_nothing(shop: Any) -> None:
    """Everything has its job: no second one, no task, no event."""
    for token in ("tok_approve", "tok_pending:2d+approve", "tok_lose_before*9+approve"):
        await shop.open(token, **SOFT)
    shop.clock.set(await shop.next_due() + timedelta(hours=1))
    await shop.run_due()
    count = "SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM event), (SELECT count(*) FROM human_task)"
    before = tuple((await shop.rows(count))[0])

    await shop.service.sweep(shop.clock.now())

    assert tuple((await shop.rows(count))[0]) == before
