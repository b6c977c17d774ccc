"""Replay: every stored decision comes out the same again, and one that does not is found and told once."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.flows.replay import replay
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.study.replay import Chunk, Redoer, Replayed
from recoup_core.storage.decisions import PAGE, Span

CHANGED: dict[str, str] = {
    "rule": "rule || ' (not)'",
    "outcome": """'{"type": "stop", "reason": "tampered"}'::jsonb""",
    "explanation": "jsonb_set(explanation, '{actions}', '[]')",
}


async def a_story(shop: Any) -> None:
    """Cases that were retried to the end, paused, given a new card, stopped at once, and still wait."""
    await shop.open("tok_insufficient_funds")
    await shop.open("tok_expired_card", "tok_approve", code="expired_card")
    await shop.open("tok_approve", code="do_not_honor", customer={"timezone": "Asia/Tokyo", "paydays": (15, 31)})
    await shop.open("tok_approve", code="a_code_in_no_table")
    await shop.live(timedelta(days=10))
    await shop.open("tok_generic_decline", amount_minor=250_000, currency="JPY", code="generic_decline")
    await shop.live(timedelta(days=45))


async def replayed(
    shop: Any, engine: EngineChoice = EngineChoice.BEST, page: int = PAGE, **span: Any
) -> tuple[int, list[Any]]:
    """Replay in this process; how many decisions, and the differences."""
    redoer = Redoer(engine)

    async def redo(chunk: Chunk) -> Replayed:
        return redoer(chunk)

    until = shop.clock.now() + timedelta(seconds=1)
    meant, now = Span(until=until, **span), shop.clock.now()
    done = [each async for each in replay(shop.service.database, meant, redo, now, page)]
    redoer.close()
    return sum(each.count for each in done), [one for each in done for one in each.differences]


async def tamper(shop: Any, column: str, change: str) -> Any:
    """Slip in a copy of a decision with one column changed; return its id."""
    columns = "merchant_id, case_id, kind, policy_digest, rule, facts, situation, outcome, explanation"
    values = columns.replace(f" {column}", f" {change}")
    rows = await shop.rows(
        f"INSERT INTO decision (id, decided_at, {columns})"
        f" SELECT overlay(id::text placing 'ffff' from 20)::uuid, decided_at, {values}"
        " FROM decision WHERE outcome ->> 'type' = 'retry' ORDER BY id LIMIT 1 RETURNING id"
    )
    return rows[0]["id"]


@pytest.mark.parametrize("engine", list(EngineChoice))
async def test_every_decision_of_a_story_comes_out_the_same(whole_shop: Any, engine: EngineChoice) -> None:
    """Promise 9, for all kinds that a case has, whichever evaluator answers."""
    await a_story(whole_shop)
    stored = {row[0]: row[1] for row in await whole_shop.rows("SELECT kind, count(*) FROM decision GROUP BY kind")}

    count, differences = await replayed(whole_shop, engine)

    assert stored.keys() == {"retry", "dunning"}
    assert (count, differences) == (sum(stored.values()), [])
    assert await whole_shop.rows("SELECT FROM human_task WHERE kind = 'replay_difference'") == []


@pytest.mark.parametrize("column", CHANGED)
async def test_what_was_altered_is_found(shop: Any, column: str) -> None:
    """Rule, outcome and explanation must each be exactly as stored; the place is named."""
    await a_story(shop)
    wrong = await tamper(shop, column, CHANGED[column])

    _, differences = await replayed(shop)

    assert [each.decision_id for each in differences] == [wrong]
    assert all(detail.where.startswith(column) for detail in differences[0].details)
    assert differences[0].details


async def test_facts_that_were_altered_are_found(shop: Any) -> None:
    """Facts that another rule decides about do not lead to the stored outcome."""
    await a_story(shop)
    wrong = await tamper(shop, "facts", """facts || '{"decline": "unknown", "retryable": "no"}'""")

    _, differences = await replayed(shop)

    assert [each.decision_id for each in differences] == [wrong]
    assert "rule" in {detail.where for detail in differences[0].details}


async def test_a_person_is_asked_once_about_a_difference(shop: Any) -> None:
    """However often it is found there is one task and one event of it, and both name the decision."""
    await a_story(shop)
    wrong = await tamper(shop, "outcome", CHANGED["outcome"])

    for _ in range(3):
        await replayed(shop)

    tasks = await shop.rows("SELECT * FROM human_task WHERE kind = 'replay_difference'")
    events = await shop.rows("SELECT data ->> 'decision' AS decision FROM event WHERE kind = 'replay.difference'")
    assert [str(wrong) in task["reason"] for task in tasks] == [True]
    assert [event["decision"] for event in events] == [str(wrong)]


async def test_a_task_about_a_difference_does_not_hold_the_case_up(shop: Any) -> None:
    """The sweep leaves payments alone that wait for a person; this task is not about the payment."""
    await a_story(shop)
    await tamper(shop, "outcome", CHANGED["outcome"])

    await replayed(shop)

    assert [
        row[0] for row in await shop.rows("SELECT payment_id FROM human_task WHERE kind = 'replay_difference'")
    ] == [None]


async def test_a_decision_whose_parts_cannot_be_read_is_a_difference(shop: Any) -> None:
    """What today's types refuse can't be shown to be right; nothing of the situation is repeated."""
    await a_story(shop)
    wrong = await tamper(shop, "situation", """situation #- '{last_decline,category}'""")

    _, differences = await replayed(shop)

    assert [each.decision_id for each in differences] == [wrong]
    assert "can't be read" in differences[0].because
    assert "tok_" not in str(differences)


async def test_a_text_that_is_refused_today_is_a_difference(shop: Any) -> None:
    """A decision pinned to a text that no parser accepts is told, with the first problem."""
    await a_story(shop)
    await shop.rows(
        "INSERT INTO policy_text (digest, kind, name, source, body, first_used_at)"
        " VALUES (encode(sha256('kind: retry'), 'hex'), 'retry', 'broken', 'broken.yaml', 'kind: retry', now())"
    )
    wrong = await tamper(shop, "policy_digest", "encode(sha256('kind: retry'), 'hex')")

    _, differences = await replayed(shop)

    assert [each.decision_id for each in differences] == [wrong]
    assert "no longer accepted: broken.yaml" in differences[0].because


async def test_only_the_span_is_replayed(shop: Any) -> None:
    """Since, until, kind and merchant each narrow the walk."""
    await a_story(shop)
    every, _ = await replayed(shop)
    times = [row[0] for row in await shop.rows("SELECT decided_at FROM decision ORDER BY decided_at")]
    middle = times[len(times) // 2]

    counts = [
        (await replayed(shop, since=middle))[0],
        (await replayed(shop, kind=PolicyKind.REFUND))[0],
        (await replayed(shop, merchant_id="another"))[0],
        (await replayed(shop, merchant_id="default", kind=PolicyKind.RETRY))[0],
    ]

    retries = (await shop.rows("SELECT count(*) FROM decision WHERE kind = 'retry'"))[0][0]
    assert counts == [sum(1 for at in times if at >= middle), 0, 0, retries]
    assert every == len(times)


async def test_pages_lose_nothing(shop: Any) -> None:
    """Decisions of one moment that fall on both sides of a page's end are all seen, once."""
    await a_story(shop)
    for size in (1, 2, 3):
        count, differences = await replayed(shop, page=size)

        assert (count, differences) == ((await shop.rows("SELECT count(*) FROM decision"))[0][0], [])
