"""What the billing system is asked for: once per step, told until it answers, taken back or made good when paid."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from recoup_core.domain.happened import TaskKind
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.subscription_request import RequestState, SubscriptionRequest, Wish
from recoup_core.flows.context import locked_cases
from recoup_core.flows.operate import NotAllowedNow, NotFound, cancel
from recoup_core.flows.outcomes import paid_elsewhere
from recoup_core.flows.subscription_requests.answering import acknowledge
from recoup_core.flows.subscription_requests.asking import SUBSCRIPTION, WAITS
from recoup_core.flows.sweep import ORPHAN_AGE
from recoup_core.ports import Succeeded
from recoup_core.storage.calls import Call

START = datetime(2026, 3, 23, 10, tzinfo=UTC)

STOPS = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: give up, stop: exhausted}
examples:
  - {given: {}, expect: give up}
"""

LADDER = """
kind: dunning
name: cards
applies_to: {method: card}
rules:
  - name: ladder
    steps:
      - {on: exhausted, after: 2h, pause_subscription: true}
      - {on: exhausted, after: 20d, cancel_subscription: true}
      - {on: exhausted, after: 481h, write_off: true}
examples:
  - {given: {}, expect: ladder}
"""


@pytest.fixture
async def shop(shop_under: Any, clock: Any) -> Any:
    """A merchant that never retries, pauses after two hours and gives up after twenty days."""
    clock.set(START)
    return await shop_under(STOPS, LADDER)


async def pass_time(shop: Any, **wait: float) -> None:
    """Let that much time pass, running what falls due on the way."""
    end = shop.clock.now() + timedelta(**wait)
    await shop.live(end - shop.clock.now())
    shop.clock.set(end)
    await shop.run_due()


async def requests(shop: Any, payment_id: UUID) -> list[SubscriptionRequest]:
    return list((await shop.file(payment_id)).requests)


async def told(shop: Any, payment_id: UUID, kind: str = "subscription.pause_requested") -> list[tuple[str, str]]:
    """When an event was told, and as which telling."""
    rows = await shop.rows(
        "SELECT at, data ->> 'asked' AS asked FROM event WHERE payment_id = $1 AND kind = $2 ORDER BY id",
        payment_id,
        kind,
    )
    return [(f"{row['at'] - START - timedelta(hours=2)}", row["asked"]) for row in rows]


async def open_tasks(shop: Any, payment_id: UUID) -> list[str]:
    rows = await shop.rows(
        "SELECT reason FROM human_task WHERE payment_id = $1 AND kind = $2 AND resolved_at IS NULL ORDER BY id",
        payment_id,
        TaskKind.SUBSCRIPTION_UNACKNOWLEDGED,
    )
    return [row["reason"] for row in rows]


async def paused(shop: Any) -> tuple[UUID, SubscriptionRequest]:
    """A debt because of which the billing system has just been asked to pause the subscription."""
    opened = await shop.open("tok_generic_decline", code="generic_decline")
    await pass_time(shop, hours=2)
    [request] = await requests(shop, opened.payment.id)
    return opened.payment.id, request


async def pay(shop: Any, payment_id: UUID, ref: str = "ch_elsewhere") -> None:
    """The customer pays by another way."""
    async with locked_cases(shop.context, [payment_id]) as locked:
        draft = locked.draft(payment_id, "gateway:sandbox", None)
        assert draft is not None
        outcome = Succeeded(gateway_ref=ref, amount=draft.file.payment.outstanding)
        assert paid_elsewhere(draft, shop.clock.now(), outcome)


async def test_a_due_step_asks_once_and_an_answer_ends_it(shop: Any) -> None:
    """The event carries the request's id; acknowledged, nothing is told again."""
    payment_id, request = await paused(shop)

    answered = await acknowledge(shop.context, request.id, shop.by(), done=True, note="paused in billing")
    await pass_time(shop, days=4)

    assert (request.wish, request.state, request.asked) == (Wish.PAUSE, RequestState.ASKED, 1)
    assert (answered.state, answered.answered_by, answered.note) == (
        "acknowledged",
        "operator:anna",
        "paused in billing",
    )
    assert await told(shop, payment_id) == [("0:00:00", "1")]
    assert "subscription.request_acknowledged" in await shop.events(payment_id)
    assert await shop.rows("SELECT 1 FROM job WHERE kind = $1", SUBSCRIPTION) == []


async def test_without_an_answer_it_is_told_again_and_then_a_person_is_asked(shop: Any) -> None:
    """After an hour, six hours, a day and two days; on the third day somebody must know."""
    payment_id, request = await paused(shop)

    await pass_time(shop, days=10)

    assert await told(shop, payment_id) == [
        ("0:00:00", "1"), ("1:00:00", "2"), ("6:00:00", "3"), ("1 day, 0:00:00", "4"), ("2 days, 0:00:00", "5"),
    ]  # fmt: skip
    [overdue] = await requests(shop, payment_id)
    assert (overdue.id, overdue.state, overdue.asked) == (request.id, RequestState.OVERDUE, 5)
    [reason] = await open_tasks(shop, payment_id)
    assert "asked 5 times" in reason
    [task] = await shop.rows("SELECT opened_at, about_id FROM human_task WHERE payment_id = $1", payment_id)
    assert (task["opened_at"] - request.created_at, task["about_id"]) == (sum(WAITS, timedelta()), request.id)


async def test_a_late_answer_closes_the_task(shop: Any) -> None:
    """Whoever fixes the billing system's reader need not clear our queue as well."""
    payment_id, request = await paused(shop)
    await pass_time(shop, days=4)
    assert await open_tasks(shop, payment_id)

    answered = await acknowledge(shop.context, request.id, shop.by(), done=True)

    assert answered.state is RequestState.ACKNOWLEDGED
    assert await open_tasks(shop, payment_id) == []


async def test_a_refusal_is_put_before_a_person(shop: Any) -> None:
    """What the billing system says it won't do nobody does unless somebody looks."""
    payment_id, request = await paused(shop)

    answered = await acknowledge(shop.context, request.id, shop.by(), done=False, note="annual plans can't pause")

    assert answered.state is RequestState.REFUSED
    [reason] = await open_tasks(shop, payment_id)
    assert reason.endswith("annual plans can't pause")


async def test_the_same_answer_again_changes_nothing_and_another_is_refused(shop: Any) -> None:
    """Billing systems deliver more than once; what they said first stands."""
    payment_id, request = await paused(shop)
    by = shop.by(call=Call("ack-1", b"done"))

    first = await acknowledge(shop.context, request.id, by, done=True)
    again = await acknowledge(shop.context, request.id, by, done=True)
    under_another_key = await acknowledge(shop.context, request.id, shop.by(), done=True)
    with pytest.raises(NotAllowedNow):
        await acknowledge(shop.context, request.id, shop.by(), done=False)

    assert first == again == under_another_key
    assert (await shop.events(payment_id)).count("subscription.request_acknowledged") == 1


async def test_nobody_answers_for_another_merchant(shop: Any) -> None:
    """Knowing the id helps nobody."""
    _, request = await paused(shop)
    stranger = shop.by()
    stranger = type(stranger)(merchant_id="other", actor="key:other")

    with pytest.raises(NotFound):
        await acknowledge(shop.context, request.id, stranger, done=True)


async def test_a_paid_debt_gives_back_what_was_taken(shop: Any) -> None:
    """The payment asks to restore, once, however the money came in; an acknowledged pause stays in the books."""
    payment_id, request = await paused(shop)
    await acknowledge(shop.context, request.id, shop.by(), done=True)

    await pay(shop, payment_id)

    first, restore = await requests(shop, payment_id)
    assert (first.state, restore.wish, restore.state) == (RequestState.ACKNOWLEDGED, Wish.RESTORE, RequestState.ASKED)
    assert restore.step_id is None
    assert len(await told(shop, payment_id, "subscription.restore_requested")) == 1
    await acknowledge(shop.context, restore.id, shop.by(), done=True)
    await pass_time(shop, days=5)
    assert await shop.rows("SELECT 1 FROM job") == []


async def test_what_was_never_answered_is_withdrawn_and_given_back_all_the_same(shop: Any) -> None:
    """The billing system may have paused without saying so: nobody who has paid stays locked out."""
    payment_id, request = await paused(shop)

    await pay(shop, payment_id)

    states = [(r.wish, r.state) for r in await requests(shop, payment_id)]
    assert states == [(Wish.PAUSE, RequestState.WITHDRAWN), (Wish.RESTORE, RequestState.ASKED)]
    late = await acknowledge(shop.context, request.id, shop.by(), done=True)
    assert late.state is RequestState.WITHDRAWN


async def test_nothing_taken_is_nothing_to_give_back(shop: Any) -> None:
    """Neither where nothing was asked for, nor where the billing system refused."""
    never = await shop.open("tok_generic_decline", code="generic_decline")
    await pay(shop, never.payment.id, "ch_1")
    refused_id, request = await paused(shop)
    await acknowledge(shop.context, request.id, shop.by(), done=False)

    await pay(shop, refused_id, "ch_2")

    assert await requests(shop, never.payment.id) == []
    assert [r.wish for r in await requests(shop, refused_id)] == [Wish.PAUSE]
    assert await open_tasks(shop, refused_id) == []


async def test_a_canceled_case_withdraws_what_is_not_done_yet(shop: Any) -> None:
    """Nobody pauses a subscription because of a debt that is no longer asked for."""
    payment_id, _ = await paused(shop)
    file = await shop.file(payment_id)

    await cancel(shop.context, file.case.id, shop.by(), "goodwill")

    [request] = await requests(shop, payment_id)
    assert request.state is RequestState.WITHDRAWN
    assert await shop.rows("SELECT 1 FROM job") == []


async def test_a_written_off_debt_still_wants_its_subscription_canceled(shop: Any) -> None:
    """The last rung: billing is told before the debt is given up, and until it answers."""
    payment_id, _ = await paused(shop)

    await pass_time(shop, days=22)

    file = await shop.file(payment_id)
    assert (file.case.state, file.payment.state) == (CaseState.WRITTEN_OFF, PaymentState.CLOSED)
    events = await shop.events(payment_id)
    assert events.index("subscription.cancel_requested") < events.index("case.written_off")
    assert [r.state for r in file.requests if r.wish is Wish.CANCEL] == [RequestState.ASKED]
    assert len(await told(shop, payment_id, "subscription.cancel_requested")) > 2


async def test_the_last_rung_happens_once_whoever_runs_it_how_often(shop: Any) -> None:
    """Handed over three times at once, by workers that know nothing of each other, and again when its lease has ended:
    one request, one event, one write-off in the ledger."""
    payment_id, request = await paused(shop)
    await acknowledge(shop.context, request.id, shop.by(), done=True)
    shop.clock.set(START + timedelta(days=21))
    dead = await shop.claim()  # a worker that is killed before it does anything
    shop.clock.advance(timedelta(minutes=3))
    refs = await shop.claim()

    await asyncio.gather(*(shop.service.run_jobs(batch) for batch in (refs, dead, list(reversed(refs)))))
    await shop.service.run_jobs(dead)

    assert {ref.subject_id for ref in dead} == {ref.subject_id for ref in refs}
    canceled = [r for r in await requests(shop, payment_id) if r.wish is Wish.CANCEL]
    events = await shop.events(payment_id)
    entries = await shop.rows("SELECT 1 FROM ledger_entry WHERE payment_id = $1 AND kind = 'write_off'", payment_id)
    assert len(canceled) == len(entries) == 1
    assert [events.count(k) for k in ("subscription.cancel_requested", "case.written_off", "payment.closed")] == [1] * 3


async def test_the_database_refuses_a_second_request_of_one_step(shop: Any) -> None:
    """Held by the database too: no bug asks twice for one step, or gives back twice at once."""
    _, request = await paused(shop)
    copy = (
        "INSERT INTO subscription_request SELECT (jsonb_populate_record(q, $2::jsonb)).*"
        " FROM subscription_request q WHERE id = $1"
    )

    with pytest.raises(asyncpg.UniqueViolationError):
        await shop.rows(copy, request.id, '{"id": "00000000-0000-0000-0000-000000000001"}')


async def test_a_request_that_lost_its_job_gets_it_back(shop: Any) -> None:
    """The sweep finds it, and it is told again."""
    payment_id, _ = await paused(shop)
    await shop.rows("DELETE FROM job WHERE kind = $1", SUBSCRIPTION)
    shop.clock.advance(ORPHAN_AGE + timedelta(hours=1))

    await shop.service.sweep(shop.clock.now())
    await shop.run_due()

    assert [asked for _, asked in await told(shop, payment_id)] == ["1", "2"]
