"""Moving running cases to another version: previewed, then done, each on the record, nothing else touched."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from recoup_core.domain.happened import TaskKind
from recoup_core.domain.recovery import CaseState, StepKind, StepState
from recoup_core.flows.experiments import Setup, start
from recoup_core.flows.migrate import Moves, PolicyUnknown, move_cases, preview_moves
from recoup_core.flows.operate import pause, resume, retry_now
from recoup_core.flows.replay import replay
from recoup_core.flows.versions import activate
from recoup_core.rules.study.replay import Chunk, Redoer, Replayed
from recoup_core.storage.decisions import Span
from recoup_core.storage.moves import ChosenCases


@pytest.fixture
async def opened(shop: Any, desk: Any) -> Any:
    """Three cases under a version that waits two days; a version that waits nine is live since."""
    old = await desk.live(desk.waits(2, 2))
    cases = [await shop.open("tok_generic_decline", code="generic_decline") for n in range(3)]
    new = await desk.live(desk.waits(9, 9))
    return old, new, cases


async def preview(shop: Any, **chosen: Any) -> Moves:
    return await preview_moves(shop.context, "default", ChosenCases(**chosen))


async def move(shop: Any, to: str | None = None, **chosen: Any) -> Moves:
    return await move_cases(shop.context, shop.by(), ChosenCases(**chosen), to)


async def test_activation_moves_no_running_case(shop: Any, opened: Any) -> None:
    """Promise 7: a case keeps the version it opened with, whatever becomes live."""
    old, new, cases = opened

    digests = {(await shop.file(each.payment.id)).case.policy_digest for each in cases}

    assert digests == {old.digest}
    assert (await shop.open("tok_generic_decline", code="generic_decline")).case.policy_digest == new.digest


async def test_preview_says_what_would_change_and_writes_nothing(shop: Any, opened: Any) -> None:
    """Every case with what is planned and what would be; the rows stay as they are."""
    old, new, cases = opened
    before = await shop.rows("SELECT * FROM recovery_case ORDER BY id")
    events = await shop.rows("SELECT count(*) FROM event")

    found = await preview(shop, under_digest=old.digest)

    now = shop.clock.now()
    assert [(m.case_id, m.to_digest) for m in found.items] == [(each.case.id, new.digest) for each in cases]
    assert {m.before.at for m in found.items} == {now + timedelta(days=2)}
    assert {m.after.at for m in found.items} == {now + timedelta(days=9)}
    assert found.movable == 3
    assert await shop.rows("SELECT * FROM recovery_case ORDER BY id") == before
    assert await shop.rows("SELECT count(*) FROM event") == events


async def test_move_replans_and_tells(shop: Any, opened: Any) -> None:
    """What the old version planned is left out, the new one decides at once, and both versions stand in an event."""
    old, new, [first, second, third] = opened

    done = await move(shop, ids=(first.case.id,))

    file = await shop.file(first.payment.id)
    assert (file.case.policy_digest, file.case.migrations) == (new.digest, 1)
    assert [step.state for step in file.steps] == [StepState.SKIPPED, StepState.PLANNED]
    assert file.planned_retry.due_at == shop.clock.now() + timedelta(days=9) == done.items[0].after.at
    [told] = await shop.rows("SELECT actor, data FROM event WHERE kind = 'case.migrated'")
    assert told["actor"] == "operator:anna"
    assert old.digest in told["data"]
    assert new.digest in told["data"]
    for other in (second, third):
        assert (await shop.file(other.payment.id)).case.policy_digest == old.digest


async def test_moved_case_goes_on_under_the_new_version(shop: Any, opened: Any) -> None:
    """The next decline is decided by the version it was moved to."""
    _, new, [case, *_] = opened
    await move(shop, ids=(case.case.id,))

    shop.clock.set(shop.clock.now() + timedelta(days=9))
    await shop.run_due()

    rows = await shop.rows("SELECT policy_digest FROM decision WHERE case_id = $1 ORDER BY id", case.case.id)
    assert rows[-1]["policy_digest"] == new.digest


async def test_moving_twice_changes_nothing_more(shop: Any, opened: Any) -> None:
    """A case that is there already says so and stays as it is."""
    _, _, cases = opened
    await move(shop)

    again = await move(shop)

    assert again.movable == 0
    assert {m.refused for m in again.items} == {"the case is under this version already"}
    assert (await shop.file(cases[0].payment.id)).case.migrations == 1


async def test_paused_case_is_moved_and_decided_when_resumed(shop: Any, opened: Any) -> None:
    """A pause holds; the version counts from the next decision on."""
    _, new, [case, *_] = opened
    await pause(shop.context, case.case.id, shop.by())

    done = await move(shop, ids=(case.case.id,))

    assert done.items[0].after is None
    assert (await shop.file(case.payment.id)).planned_retry is None
    await resume(shop.context, case.case.id, shop.by())
    file = await shop.file(case.payment.id)
    assert file.case.policy_digest == new.digest
    assert file.planned_retry.due_at == shop.clock.now() + timedelta(days=9)


async def test_closed_cases_are_not_chosen(shop: Any, opened: Any) -> None:
    """What is over is not moved, named or not."""
    _, _, [case, *_] = opened
    await shop.live()
    assert (await shop.file(case.payment.id)).case.state is not CaseState.OPEN

    assert (await move(shop, ids=(case.case.id,))).items == ()


async def test_back_to_an_older_version_by_digest(shop: Any, opened: Any) -> None:
    """The version may be named; the old one is still there to go back to."""
    old, _, [case, *_] = opened
    await move(shop, ids=(case.case.id,))

    await move(shop, old.digest, ids=(case.case.id,))

    file = await shop.file(case.payment.id)
    assert (file.case.policy_digest, file.case.migrations) == (old.digest, 2)


async def test_version_that_does_not_cover_a_case_is_refused_for_it(shop: Any, desk: Any, opened: Any) -> None:
    """A policy for other payments never gets a case, by name or not."""
    _, _, [case, *_] = opened
    narrow = await desk.bring(desk.waits(1, name="bank", applies_to="{method: sepa_debit}"))

    done = await move(shop, narrow.digest, ids=(case.case.id,))

    assert done.items[0].refused == "the policy bank does not cover this payment"
    assert (await shop.file(case.payment.id)).case.migrations == 0


@pytest.mark.parametrize("digest", ["0" * 64, "no digest"])
async def test_unknown_version_is_refused(shop: Any, opened: Any, digest: str) -> None:
    """A digest that is nobody's version moves nothing."""
    with pytest.raises(PolicyUnknown):
        await move(shop, digest)


async def test_versions_of_other_merchants_are_not_ours(shop: Any, desk: Any, opened: Any) -> None:
    """Tenants never cross: another merchant's text can't be used, nor their cases moved."""
    await shop.rows("INSERT INTO merchant VALUES ('other', 'Other', NULL, now()) RETURNING id")
    theirs = await desk.bring(desk.waits(5), msgspec.structs.replace(desk.own, merchant_id="other"))

    with pytest.raises(PolicyUnknown):
        await move(shop, theirs.digest)
    by = msgspec.structs.replace(shop.by(), merchant_id="other")
    assert (await move_cases(shop.context, by, ChosenCases())).items == ()


async def test_unknown_cases_are_left_out(shop: Any, opened: Any) -> None:
    """Ids that are no running case of the merchant are not in the answer."""
    assert (await preview(shop, ids=(uuid4(),))).items == ()


async def test_pages_go_on_where_the_last_stopped(shop: Any, opened: Any) -> None:
    """`after` is a case's id; the cases after it follow in the order they were opened."""
    _, _, cases = opened

    rest = await preview(shop, after=cases[0].case.id)

    assert [m.case_id for m in rest.items] == [each.case.id for each in cases[1:]]
    assert rest.next_after is None


async def test_database_refuses_a_move_that_is_not_counted(shop: Any, opened: Any) -> None:
    """Only the counted way can change what a case is pinned to, also for a hand in the database."""
    _, new, [case, *_] = opened
    for change in (f"policy_digest = '{new.digest}'", f"policy_digest = '{new.digest}', migrations = migrations + 2"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await shop.rows(f"UPDATE recovery_case SET {change} WHERE id = $1 RETURNING id", case.case.id)


async def test_preview_tells_of_a_stop(shop: Any, desk: Any, opened: Any) -> None:
    """Where the other version would end the case, the preview says so and why."""
    _, _, [case, *_] = opened
    ends = (
        desk.waits(9)
        .replace("attempt: {lte: 1}", "attempt: {gt: 3}")
        .replace("{given: {}, expect: wait}", "{given: {attempt: 4}, expect: wait}")
        .replace("{given: {attempt: 2}, expect: give up}", "{given: {}, expect: give up}")
    )
    version = await desk.bring(ends)

    found = await preview_moves(shop.context, "default", ChosenCases(ids=(case.case.id,)), version.digest)

    assert found.items[0].after.stop == "exhausted"
    assert isinstance(found.items[0].case_id, UUID)


CAMPAIGN = """kind: dunning
name: letters
applies_to: {method: card}
rules:
  - name: write
    steps:
      - {message: payment_failed, by: email}
      - {message: reminder, by: email, after: DAYSd}
examples:
  - {given: {}, expect: write}
"""


async def test_dunning_is_moved_by_itself(shop: Any, desk: Any) -> None:
    """The steps of the other campaign take the place of those planned; the retry stays as it is."""
    await desk.live(
        CAMPAIGN.replace("consumer", "letters")
        .replace("DAYS", "3")
        .replace("{method: card}", "{method: card, segment: consumer, customer.tier: gold}")
    )
    gold = {"segment": "consumer", "tier": "gold"}
    case = await shop.open("tok_generic_decline", code="generic_decline", customer=gold)
    before = await shop.file(case.payment.id)
    await desk.live(
        CAMPAIGN.replace("DAYS", "6").replace(
            "{method: card}", "{method: card, segment: consumer, customer.tier: gold}"
        )
    )

    seen = await preview(shop, kind="dunning")
    done = await move(shop, kind="dunning")

    file = await shop.file(case.payment.id)
    assert seen.items == done.items
    assert done.movable == 1
    assert file.case.dunning_digest != before.case.dunning_digest
    assert file.case.policy_digest == before.case.policy_digest
    assert file.planned_retry == before.planned_retry
    assert max(step.due_at for step in file.planned_dunning) == shop.clock.now() + timedelta(days=6)


async def test_treated_cases_stay_treated_unless_the_version_is_named(shop: Any, desk: Any) -> None:
    """What a case would get today is its arm's version while the experiment runs, so that moving everything ends no
    comparison; the arm itself is kept whatever is done."""
    old = await desk.live(desk.waits(1))
    await shop.open("tok_generic_decline", code="generic_decline")
    control = await desk.live(desk.waits(2))
    treatment = await desk.bring(desk.waits(5))
    await start(shop.context, treatment.id, Setup(share_bp=5_000), desk.own)
    cases = [
        (await shop.open("tok_generic_decline", code="generic_decline", customer={"ref": f"c-{number}"})).case
        for number in range(8)
    ]

    done = await move(shop)

    assert [(m.from_digest, m.to_digest) for m in done.items if m.refused is None] == [(old.digest, control.digest)]
    after = [(await shop.file(case.payment_id)).case for case in cases]
    assert after == cases
    await move(shop, old.digest)
    named = [(await shop.file(case.payment_id)).case for case in cases]
    assert {case.policy_digest for case in named} == {old.digest}
    assert [case.arm for case in named] == [case.arm for case in cases]


async def test_case_with_a_live_attempt_is_moved_and_nothing_is_planned_yet(shop: Any, desk: Any, opened: Any) -> None:
    """The attempt goes on as it is; its answer is decided about by the new version."""
    old, new, _ = opened
    await activate(shop.context, old.id, desk.own)
    case = await shop.open("tok_pending:2h+generic_decline|approve", code="generic_decline")
    await activate(shop.context, new.id, desk.own)
    shop.clock.advance(timedelta(days=2))
    await shop.run_due()
    before = await shop.file(case.payment.id)
    assert before.live_attempt is not None

    seen = await preview(shop, ids=(case.case.id,))
    done = await move(shop, ids=(case.case.id,))

    assert done.items == seen.items
    assert (done.items[0].refused, done.items[0].before, done.items[0].after) == (None, None, None)
    file = await shop.file(case.payment.id)
    assert (file.live_attempt, file.steps) == (before.live_attempt, before.steps)
    shop.clock.advance(timedelta(hours=2))
    await shop.run_due()
    file = await shop.file(case.payment.id)
    assert file.live_attempt is None
    assert file.planned_retry.due_at == file.attempts[-1].made_at + timedelta(days=9)


async def test_move_races_with_the_retry_that_is_due(shop: Any, opened: Any) -> None:
    """Either the retry is sent and the case moved, or it is moved first and the retry left out: never both halves."""
    _, new, cases = opened
    shop.clock.advance(timedelta(days=2))
    refs = await shop.claim()

    await asyncio.gather(shop.service.run_jobs(refs), move(shop), move(shop))

    for each in cases:
        file = await shop.file(each.payment.id)
        assert (file.case.policy_digest, file.case.migrations) == (new.digest, 1)
        tried = [attempt for attempt in file.attempts if attempt.step_id is not None]
        left_out = [step for step in file.steps if step.state is StepState.SKIPPED]
        assert len(tried) + len([step for step in left_out if step.kind is StepKind.RETRY]) in (1, 2)
        assert file.planned_retry is not None
        assert not {attempt.step_id for attempt in tried} & {step.id for step in left_out}


async def test_move_to_a_version_that_stops_ends_the_case(shop: Any, desk: Any, opened: Any) -> None:
    """Decided at once: nothing is planned any more, and the case says why."""
    _, _, [case, *_] = opened
    ends = desk.waits(9).replace("attempt: {lte: 1}", "attempt: {gt: 3}").partition("examples:")[0]
    ends += "examples:\n  - {given: {attempt: 4}, expect: wait}\n  - {given: {}, expect: give up}\n"
    version = await desk.bring(ends)

    done = await move(shop, version.digest, ids=(case.case.id,))

    file = await shop.file(case.payment.id)
    assert (file.case.state, file.case.stop_reason, file.planned_retry) == (CaseState.EXHAUSTED, "exhausted", None)
    assert done.items[0].after.stop == "exhausted"


async def test_retry_that_a_person_planned_is_kept(shop: Any, opened: Any) -> None:
    """A move takes back what the policy planned, and nothing else."""
    _, new, [case, *_] = opened
    await retry_now(shop.context, case.case.id, shop.by())
    planned = (await shop.file(case.payment.id)).planned_retry

    await move(shop, ids=(case.case.id,))

    file = await shop.file(case.payment.id)
    assert file.case.policy_digest == new.digest
    assert file.planned_retry == planned


async def test_every_decision_before_and_after_a_move_can_be_replayed(shop: Any, opened: Any) -> None:
    """Each keeps the digest that it was made with."""
    old, new, [case, *_] = opened
    await move(shop, ids=(case.case.id,))
    shop.clock.advance(timedelta(days=9))
    await shop.run_due()
    redoer = Redoer()

    async def redo(chunk: Chunk) -> Replayed:
        return redoer(chunk)

    now = shop.clock.now()
    pages = [page async for page in replay(shop.service.database, Span(until=now + timedelta(seconds=1)), redo, now)]

    rows = await shop.rows("SELECT policy_digest FROM decision WHERE case_id = $1 ORDER BY id", case.case.id)
    assert [row["policy_digest"] for row in rows] == [old.digest, new.digest, new.digest]
    assert [difference for page in pages for difference in page.differences] == []
    assert sum(page.count for page in pages) >= 3
    redoer.close()


async def spoil(shop: Any) -> None:
    """Pin every case to a text that no parser reads, as an upgrade may leave it."""
    async with shop.service.database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "INSERT INTO policy_text SELECT encode(sha256('nonsense'), 'hex'), 'retry', 'x', 'x', 'nonsense', now()"
        )
        await connection.execute("UPDATE recovery_case SET policy_digest = encode(sha256('nonsense'), 'hex')")


async def test_move_out_of_a_text_that_can_not_be_read(shop: Any, opened: Any) -> None:
    """The case is decided about again, and what a person was asked is answered."""
    _, new, [case, *_] = opened
    await spoil(shop)
    shop.clock.advance(timedelta(days=2))
    await shop.run_due()
    asked = await shop.file(case.payment.id)
    assert [task.kind for task in asked.open_tasks] == [TaskKind.POLICY_UNREADABLE]
    assert asked.planned_retry is None

    await move(shop, ids=(case.case.id,))

    file = await shop.file(case.payment.id)
    assert (file.case.policy_digest, file.open_tasks) == (new.digest, ())
    assert file.planned_retry.rule == "wait"


async def test_move_of_one_kind_leaves_the_question_about_the_other(shop: Any, desk: Any) -> None:
    """Other letters do not make the retry policy readable: somebody is still asked about that."""
    await desk.live(desk.waits(2, 2))
    await desk.live(CAMPAIGN.replace("DAYS", "3"))
    case = await shop.open("tok_generic_decline", code="generic_decline")
    await spoil(shop)
    shop.clock.advance(timedelta(days=2))
    await shop.run_due()
    await desk.live(CAMPAIGN.replace("DAYS", "6"))

    await move(shop, kind="dunning", ids=(case.case.id,))

    file = await shop.file(case.payment.id)
    assert [task.kind for task in file.open_tasks] == [TaskKind.POLICY_UNREADABLE]


async def test_dunning_steps_that_are_done_are_not_done_again(shop: Any, desk: Any) -> None:
    """The other campaign's steps are the same steps where they say the same at the same time: one call, once."""
    calls = CAMPAIGN.replace("{message: payment_failed, by: email}", "{task: call them}")
    await desk.live(calls.replace("DAYS", "3"))
    case = await shop.open("tok_generic_decline", code="generic_decline")
    await shop.run_due()
    await desk.live(calls.replace("DAYS", "6"))

    await move(shop, kind="dunning")

    await shop.run_due()
    file = await shop.file(case.payment.id)
    assert [step.state for step in file.steps if step.kind is StepKind.HUMAN_TASK] == [StepState.DONE]
    assert [task.kind for task in file.open_tasks] == [TaskKind.DUNNING]
    reminders = [step.state for step in file.steps if step.kind is StepKind.MESSAGE]
    assert sorted(reminders) == [StepState.PLANNED, StepState.SKIPPED]


async def test_dunning_of_an_exhausted_case_can_still_be_moved(shop: Any, desk: Any) -> None:
    """Its last rungs are to come, and they are what a mistake is expensive in; retries of it are over for good."""
    write_off = "{on: exhausted, after: DAYSd, write_off: true}"
    ends = CAMPAIGN.replace("{message: reminder, by: email, after: DAYSd}", write_off)
    await desk.live(desk.waits(2))
    lonely = await shop.open("tok_generic_decline", code="stolen_card")
    await desk.live(ends.replace("DAYS", "3"))
    case = await shop.open("tok_generic_decline", code="stolen_card")
    await desk.live(ends.replace("DAYS", "60"))
    await desk.live(desk.waits(4))

    retries = await move(shop, kind="retry")
    done = await move(shop, kind="dunning")

    file = await shop.file(case.payment.id)
    assert (retries.items, [each.case_id for each in done.items]) == ((), [case.case.id])
    assert file.case.state is CaseState.EXHAUSTED
    [last] = [step for step in file.planned_dunning if step.kind is StepKind.WRITE_OFF]
    assert last.due_at == file.case.closed_at + timedelta(days=60)
    assert (await shop.file(lonely.payment.id)).case.dunning_digest is None
