"""Dunning on the one timeline: planned with the case, moved with its retries, done once, and over when the case is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup_core.domain.happened import TaskKind
from recoup_core.domain.payment import CredentialRole, Method, Network, PaymentState
from recoup_core.domain.recovery import CaseState, StepKind, StepState
from recoup_core.flows.operate import NotAllowedNow, cancel, pause, resume, retry_now, update_credential
from recoup_core.flows.replay import replay
from recoup_core.flows.reports import ReportedCredential
from recoup_core.flows.steps import ANSWER_WAIT
from recoup_core.flows.sweep import ORPHAN_AGE
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.study.replay import Chunk, Redoer, Replayed
from recoup_core.storage.decisions import Span

RETRIES = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: never again, when: {retryable: no}, stop: not_retryable}
  - {name: wait, when: {attempt: {lte: 2}}, retry: {after: [5d, 10d]}}
  - {name: give up, stop: exhausted}
examples:
  - {given: {retryable: no}, expect: never again}
  - {given: {}, expect: wait}
  - {given: {attempt: 3}, expect: give up}
"""

CAMPAIGN = """
kind: dunning
name: cards
applies_to: {method: card}
rules:
  - name: vulnerable customers are called
    when: {customer.vulnerable: true}
    steps:
      - {task: call the customer, after: 1d}
  - name: our own fault
    when: {decline: configuration}
    quiet: the customer can't help
  - name: campaign
    steps:
      - {message: payment_failed, by: email}
      - {message: reminder, by: [email, sms], after: 3d, between: ["09:00", "18:00"], zone: customer}
      - {message: reminder_2, by: email, after: 8d, between: ["14:00", "15:00"], zone: customer}
      - {on: before_retry, ahead: 1d, message: retry_notice, by: email}
      - {on: after_retry, after: 1h, message: retry_failed, by: email}
      - {on: exhausted, message: final_notice, by: email}
      - {on: exhausted, after: 2d, pause_subscription: true}
      - {on: exhausted, after: 10d, downgrade_subscription: free}
      - {on: exhausted, after: 14d, cancel_subscription: true}
      - {on: exhausted, after: 30d, write_off: true}
examples:
  - {given: {customer.vulnerable: true}, expect: vulnerable customers are called}
  - {given: {decline: configuration}, expect: our own fault}
  - {given: {}, expect: campaign}
"""

START = datetime(2026, 3, 23, 10, tzinfo=UTC)
SOFT = {"code": "generic_decline", "customer": {"country": "DE", "timezone": "Europe/Berlin"}}


@pytest.fixture
async def shop(shop_under: Any, clock: Any) -> Any:
    """A merchant whose retries are accompanied, a week before Germany puts its clocks forward."""
    clock.set(START)
    return await shop_under(RETRIES, CAMPAIGN)


def dunning(file: Any) -> list[tuple[str, str, str]]:
    """Every dunning step: what, when and what became of it, by time."""
    steps = [step for step in file.steps if step.kind is not StepKind.RETRY]
    return [(step.key.partition("#")[0], f"{step.due_at:%m-%d %H:%M}", str(step.state)) for step in steps]


def planned(file: Any) -> list[tuple[str, str]]:
    return [(key, at) for key, at, state in dunning(file) if state == StepState.PLANNED]


async def told(shop: Any, payment_id: Any, kind: str) -> list[Any]:
    rows = await shop.rows("SELECT data::text FROM event WHERE payment_id = $1 AND kind = $2", payment_id, kind)
    return [row[0] for row in rows]


async def test_a_case_opens_with_its_dunning_pinned_and_planned(shop: Any) -> None:
    """Retry and dunning share one timeline from the first transaction on; the decision explains each time."""
    opened = await shop.open("tok_generic_decline", **SOFT)

    file = await shop.file(opened.payment.id)
    assert (file.case.dunning_name, len(file.case.dunning_digest)) == ("cards", 64)
    assert planned(file) == [
        ("opened/message/payment_failed", "03-23 10:00"),
        ("opened+3d/message/reminder", "03-26 10:00"),
        ("before_retry-1d/message/retry_notice", "03-27 10:00"),
        ("opened+8d/message/reminder_2", "03-31 12:00"),  # 14:00 in Berlin's summer
    ]
    [row] = await shop.rows("SELECT id, policy_digest, rule FROM decision WHERE kind = 'dunning'")
    assert (row["policy_digest"], row["rule"]) == (file.case.dunning_digest, "campaign")
    assert {step.decision_id for step in file.planned_dunning} == {row["id"]}
    assert len(await told(shop, opened.payment.id, "dunning.planned")) == 1


async def test_a_whole_campaign_happens_to_the_minute(shop: Any) -> None:
    """45 days of an unpaid debt: every step and every time, through two retries and a change of clocks."""
    opened = await shop.open("tok_generic_decline", **SOFT)

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert dunning(file) == [
        ("opened/message/payment_failed", "03-23 10:00", "skipped"),
        ("opened+3d/message/reminder", "03-26 10:00", "skipped"),
        ("before_retry-1d/message/retry_notice", "03-27 10:00", "skipped"),
        ("after_retry+1h/message/retry_failed", "03-28 11:00", "skipped"),
        ("opened+8d/message/reminder_2", "03-31 12:00", "skipped"),
        ("before_retry-1d/message/retry_notice", "04-05 06:00", "skipped"),  # ahead of Easter Monday, after 8 in Berlin
        ("exhausted/message/final_notice", "04-07 10:00", "skipped"),
        ("after_retry+1h/message/retry_failed", "04-07 11:00", "skipped"),
        ("exhausted+2d/pause_subscription", "04-09 10:00", "done"),
        ("exhausted+10d/downgrade_subscription/free", "04-17 10:00", "done"),
        ("exhausted+14d/cancel_subscription", "04-21 10:00", "done"),
        ("exhausted+30d/write_off", "05-07 10:00", "done"),
    ]
    assert {s.skipped_because for s in file.steps if s.skipped_because} == {
        "no notifier can send by email",
        "no notifier can send by email, sms",
    }
    assert (file.case.state, file.payment.state) == (CaseState.WRITTEN_OFF, PaymentState.CLOSED)
    events = await shop.events(opened.payment.id)
    once = [kind for kind in dict.fromkeys(events[events.index("case.exhausted") :]) if kind != "task.opened"]
    assert once == [  # billing never answers here: what it is asked for is told again (test_subscription_requests)
        "case.exhausted", "dunning.planned", "step.skipped",
        "subscription.pause_requested", "subscription.downgrade_requested", "subscription.cancel_requested",
        "case.written_off", "payment.closed",
    ]  # fmt: skip
    assert await shop.next_due() is None


async def test_every_decision_of_a_campaign_can_be_made_again(shop: Any) -> None:
    """Promise 9: from the stored row alone the same steps, times and reasons come out."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    await shop.live()
    now, redoer = shop.clock.now(), Redoer(EngineChoice.BEST)

    async def redo(chunk: Chunk) -> Replayed:
        return redoer(chunk)

    span = Span(until=now + timedelta(seconds=1), kind="dunning")
    done = [each async for each in replay(shop.service.database, span, redo, now)]
    redoer.close()

    turns = await shop.rows("SELECT 1 FROM decision WHERE kind = 'dunning' AND case_id = $1", opened.case.id)
    assert sum(each.count for each in done) == len(turns) == 3  # opened, declined, declined and exhausted
    assert [each.differences for each in done if each.differences] == []


async def test_billing_is_asked_with_what_it_needs_to_act(shop: Any) -> None:
    """The event names the debt, the customer and the plan; billing owns the subscription."""
    opened = await shop.open("tok_generic_decline", **SOFT)

    await shop.live()

    [asked] = await shop.rows(
        "SELECT actor, data ->> 'payment' AS payment, data ->> 'customer' AS customer, data ->> 'plan' AS plan"
        " FROM event WHERE payment_id = $1 AND kind = 'subscription.downgrade_requested' AND data ->> 'asked' = '1'",
        opened.payment.id,
    )
    payment = opened.payment
    assert dict(asked) == {
        "actor": "policy",
        "payment": payment.reference,
        "customer": payment.customer.ref,
        "plan": "free",
    }


async def test_a_recovered_case_says_nothing_more(shop: Any) -> None:
    """A success by the first retry skips every step still to come, and leaves no job behind."""
    opened = await shop.open("tok_approve", **SOFT)

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert file.case.state is CaseState.RECOVERED
    assert planned(file) == []
    left_out = [s.key for s in file.steps if s.skipped_because == "the payment is paid"]
    assert left_out == ["opened+8d/message/reminder_2"]
    assert await shop.rows("SELECT 1 FROM job") == []


@pytest.mark.parametrize("ended", ["paused", "canceled"])
async def test_whoever_stops_a_case_stops_its_dunning(ended: str, shop: Any) -> None:
    """A pause or a cancellation skips planned steps as it does the retry."""
    opened = await shop.open("tok_generic_decline", **SOFT)

    file = (
        await pause(shop.context, opened.case.id, shop.by())
        if ended == "paused"
        else await cancel(shop.context, opened.case.id, shop.by(), "goodwill")
    )

    assert {s.skipped_because for s in file.steps} == {f"the case is {ended}"}
    assert await shop.rows("SELECT 1 FROM job") == []


async def test_after_a_pause_only_the_latest_missed_message_is_sent(shop: Any) -> None:
    """Nobody gets three letters in a minute because a case was paused for ten days."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    await pause(shop.context, opened.case.id, shop.by())
    shop.clock.advance(timedelta(days=10))

    file = await resume(shop.context, opened.case.id, shop.by())

    assert planned(file) == [("opened+8d/message/reminder_2", "04-02 12:00")]
    [said] = await shop.rows(
        "SELECT explanation::text FROM decision WHERE kind = 'dunning' ORDER BY decided_at DESC, id DESC LIMIT 1"
    )
    assert "opened+8d/message/reminder_2 is later in the row" in said[0]


async def test_a_step_that_was_tried_in_vain_is_not_planned_again(shop: Any) -> None:
    """A message without a notifier had its turn; a pause and a resume don't bring it back."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    await shop.run_due()
    await pause(shop.context, opened.case.id, shop.by())

    file = await resume(shop.context, opened.case.id, shop.by())

    assert [key for key, _, _ in dunning(file)].count("opened/message/payment_failed") == 1
    assert ("opened+3d/message/reminder", "03-26 10:00") in planned(file)


async def test_a_retry_that_an_operator_moves_takes_its_steps_along(shop: Any) -> None:
    """Retry-now replaces the planned retry: its notice is left out, and the next retry gets one of its own."""
    opened = await shop.open("tok_generic_decline", **SOFT)

    file = await retry_now(shop.context, opened.case.id, shop.by())
    notices = [s for s in file.steps if s.key and s.key.startswith("before_retry")]
    await shop.run_due()

    assert [(s.state, s.skipped_because) for s in notices] == [(StepState.SKIPPED, "its retry is over, or replaced")]
    now = await shop.file(opened.payment.id)
    assert now.planned_retry is not None
    [notice] = [s for s in now.planned_dunning if s.key.startswith("before_retry")]
    assert (notice.retry_step_id, notice.due_at) == (
        now.planned_retry.id,
        now.planned_retry.due_at - timedelta(days=1),
    )


async def test_a_retry_that_missed_its_hours_takes_its_notice_along(shop_under: Any, clock: Any) -> None:
    """We were down over both: the retry waits for its next hours, and its notice comes before it, not after."""
    clock.set(START)
    hours = RETRIES.replace("after: [5d, 10d]", 'after: [5d, 10d], between: ["09:00", "12:00"], zone: customer')
    shop = await shop_under(hours, CAMPAIGN.replace("ahead: 1d", "ahead: 2h"))
    opened = await shop.open("tok_generic_decline", **SOFT)
    retry = (await shop.file(opened.payment.id)).planned_retry
    shop.clock.set(datetime(2026, 3, 28, 22, tzinfo=UTC))

    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert (file.planned_retry.id, retry.due_at) == (retry.id, datetime(2026, 3, 28, 10, tzinfo=UTC))
    assert file.planned_retry.due_at == datetime(2026, 3, 29, 7, tzinfo=UTC)
    [notice] = [s for s in file.planned_dunning if s.key.startswith("before_retry")]
    assert (notice.due_at, notice.retry_step_id) == (datetime(2026, 3, 29, 6, tzinfo=UTC), retry.id)
    assert "quiet hours" in notice.held_because


async def test_a_new_credential_reopens_the_case_and_takes_the_last_rungs_back(shop: Any) -> None:
    """What hangs on exhaustion is planned only while the case is exhausted; what was done stays done."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    await shop.live(timedelta(days=18))
    exhausted = await shop.file(opened.payment.id)
    given = ReportedCredential(
        gateway="sandbox",
        token="tok_generic_decline",
        method=Method.CARD,
        network=Network.VISA,
        role=CredentialRole.PRIMARY,
        fingerprint="another",
    )

    file = await update_credential(shop.context, opened.case.id, shop.by(), given)

    assert exhausted.case.state is CaseState.EXHAUSTED
    assert [key for key, _ in planned(exhausted)] == [
        "exhausted+10d/downgrade_subscription/free",
        "exhausted+14d/cancel_subscription",
        "exhausted+30d/write_off",
    ]
    assert file.case.state is CaseState.OPEN
    assert [key for key, _ in planned(file) if key.startswith("exhausted")] == []
    await shop.run_due()
    again = await shop.file(opened.payment.id)
    assert again.case.state is CaseState.EXHAUSTED
    assert [key for key, _, _ in dunning(again)].count("exhausted+2d/pause_subscription") == 1
    assert ("exhausted+14d/cancel_subscription", f"{shop.clock.now() + timedelta(days=14):%m-%d %H:%M}") in planned(
        again
    )


async def test_a_task_of_the_policy_waits_for_a_person_until_the_debt_is_paid(shop: Any) -> None:
    """The case goes on meanwhile, and a payment closes the task."""
    customer = {"country": "DE", "vulnerable": True}
    opened = await shop.open("tok_approve", code="generic_decline", customer=customer)
    await shop.live(timedelta(days=2))

    waiting = (await shop.file(opened.payment.id)).open_tasks
    await shop.live()

    assert [(task.kind, task.reason) for task in waiting] == [(TaskKind.DUNNING, "call the customer")]
    file = await shop.file(opened.payment.id)
    assert (file.case.state, file.open_tasks) == (CaseState.RECOVERED, ())


async def test_a_quiet_rule_plans_nothing_and_says_why(shop: Any) -> None:
    """No dunning is a decision, too, and stands in the record."""
    opened = await shop.open("tok_generic_decline", code="testmode_decline", customer={"country": "DE"})

    file = await shop.file(opened.payment.id)
    assert file.last_declined.decline.category == "configuration"
    assert dunning(file) == []
    [row] = await shop.rows("SELECT outcome::text FROM decision WHERE kind = 'dunning'")
    assert "the customer can't help" in row[0]


async def test_without_a_dunning_policy_there_is_no_dunning(shop_under: Any, clock: Any) -> None:
    """A merchant may leave it out; cases open all the same."""
    shop = await shop_under(RETRIES)

    opened = await shop.open("tok_generic_decline", **SOFT)

    file = await shop.file(opened.payment.id)
    assert (file.case.dunning_name, file.case.dunning_digest, dunning(file)) == (None, None, [])


async def test_a_case_that_stops_at_once_goes_straight_to_its_last_rungs(shop: Any) -> None:
    """A stolen card gets no retry: what hangs on exhaustion is planned with the case."""
    opened = await shop.open("tok_generic_decline", code="stolen_card", customer={"country": "DE"})

    file = await shop.file(opened.payment.id)
    assert file.case.state is CaseState.EXHAUSTED
    assert [key for key, _ in planned(file)] == [
        "opened/message/payment_failed",
        "exhausted/message/final_notice",
        "exhausted+2d/pause_subscription",
        "opened+3d/message/reminder",
        "opened+8d/message/reminder_2",
        "exhausted+10d/downgrade_subscription/free",
        "exhausted+14d/cancel_subscription",
        "exhausted+30d/write_off",
    ]


async def test_a_due_step_is_done_once_however_often_its_job_is_handed_over(shop: Any) -> None:
    """The worker dies after its commit, or a message comes twice: billing is asked once."""
    opened = await shop.open("tok_generic_decline", code="stolen_card", customer={"country": "DE"})
    await shop.run_due()
    shop.clock.set(START + timedelta(days=2))
    refs = await shop.claim()

    await shop.service.run_jobs(refs)
    await shop.service.run_jobs(refs)

    assert len(await told(shop, opened.payment.id, "subscription.pause_requested")) == 1


async def test_a_worker_that_dies_before_its_commit_leaves_the_step_to_the_next(shop: Any) -> None:
    """Nothing is half done: the lease ends, and whoever takes the job does it."""
    opened = await shop.open("tok_generic_decline", code="stolen_card", customer={"country": "DE"})
    await shop.run_due()
    shop.clock.set(START + timedelta(days=2))
    assert await shop.claim()  # and gone
    nothing_yet = await told(shop, opened.payment.id, "subscription.pause_requested")

    shop.clock.advance(timedelta(minutes=5))
    await shop.run_due()

    assert nothing_yet == []
    assert len(await told(shop, opened.payment.id, "subscription.pause_requested")) == 1


async def test_a_due_step_waits_for_the_answer_to_an_attempt_in_flight(shop: Any) -> None:
    """A payment that may just have been made is neither dunned nor cut off."""
    opened = await shop.open("tok_pending:100h+approve", **SOFT)
    await shop.live(timedelta(days=5))
    sent = await shop.file(opened.payment.id)
    assert sent.live_attempt is not None
    shop.clock.set(datetime(2026, 3, 31, 12, tzinfo=UTC))

    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert ("opened+8d/message/reminder_2", "03-31 12:00") in planned(file)
    [job] = await shop.rows("SELECT due_at FROM job WHERE kind = 'step'")
    assert job["due_at"] == shop.clock.now() + ANSWER_WAIT


async def test_a_late_step_waits_for_its_hours(shop: Any) -> None:
    """We were down over its time: nobody is written to at night."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    await shop.run_due()
    shop.clock.set(datetime(2026, 3, 26, 22, tzinfo=UTC))

    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert ("opened+3d/message/reminder", "03-27 08:00") in planned(file)  # 09:00 in Berlin's winter


async def test_a_step_that_lost_its_job_gets_it_back(shop: Any) -> None:
    """Promise 12 for dunning: the sweep finds what nothing drives."""
    opened = await shop.open("tok_generic_decline", code="stolen_card", customer={"country": "DE"})
    await shop.run_due()
    await shop.rows("DELETE FROM job")
    shop.clock.set(START + timedelta(days=2) + ORPHAN_AGE + timedelta(seconds=1))

    await shop.service.sweep(shop.clock.now())
    await shop.run_due()

    assert len(await told(shop, opened.payment.id, "subscription.pause_requested")) == 1


async def test_a_dunning_task_does_not_hide_a_case_without_a_plan(shop: Any) -> None:
    """The sweep looks past tasks that only accompany a case."""
    customer = {"country": "DE", "vulnerable": True}
    opened = await shop.open("tok_generic_decline", code="generic_decline", customer=customer)
    await shop.live(timedelta(days=2))
    async with shop.service.database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "UPDATE timeline_step SET state = 'skipped', skipped_because = 'x', finished_at = now()"
            " WHERE kind = 'retry'"
        )
        await connection.execute("DELETE FROM job")
    shop.clock.advance(ORPHAN_AGE + timedelta(seconds=1))

    await shop.service.sweep(shop.clock.now())

    file = await shop.file(opened.payment.id)
    assert len(file.open_tasks) == 1
    assert file.planned_retry is not None


async def test_the_database_refuses_a_second_step_of_a_key(shop: Any) -> None:
    """Two workers that plan at once can't write to the customer twice."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    step = (await shop.file(opened.payment.id)).planned_dunning[0]

    with pytest.raises(Exception, match="timeline_step_once"):
        await shop.rows(
            "INSERT INTO timeline_step (id, merchant_id, case_id, payment_id, kind, state, due_at, rule, planned_by,"
            " key, created_at) SELECT gen_random_uuid(), merchant_id, case_id, payment_id, kind, state, due_at, rule,"
            " planned_by, key, created_at FROM timeline_step WHERE id = $1",
            step.id,
        )


async def test_a_write_off_ends_a_case_whose_retries_go_on(shop_under: Any, clock: Any) -> None:
    """The retry is not made, nothing more is said; money that comes in all the same is booked."""
    clock.set(START)
    give_up = CAMPAIGN.replace("{message: payment_failed, by: email}", "{after: 2d, write_off: true}")
    shop = await shop_under(
        RETRIES, "\n".join(line for line in give_up.splitlines() if "message: reminder" not in line)
    )
    opened = await shop.open("tok_approve", **SOFT)

    await shop.live()

    file = await shop.file(opened.payment.id)
    assert (file.case.state, file.case.stop_reason) == (CaseState.WRITTEN_OFF, "written_off")
    assert (file.payment.state, len(file.attempts)) == (PaymentState.CLOSED, 1)
    reasons = {step.key or "retry": step.skipped_because for step in file.steps if step.skipped_because}
    assert reasons["retry"] == "the debt is written off"
    assert planned(file) == []
    with pytest.raises(NotAllowedNow, match="the payment is closed"):
        await retry_now(shop.context, opened.case.id, shop.by())


async def test_a_dunning_text_that_can_no_longer_be_read_is_a_persons_matter(shop: Any) -> None:
    """Retries go on, what was planned is done, and somebody is asked; nothing crashes and nothing is guessed."""
    opened = await shop.open("tok_generic_decline|approve", **SOFT)
    async with shop.service.database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "INSERT INTO policy_text SELECT encode(sha256('x'), 'hex'), 'dunning', 'cards', 'x.yaml', 'x', now()"
        )
        await connection.execute("UPDATE recovery_case SET dunning_digest = encode(sha256('x'), 'hex')")

    await shop.live(timedelta(days=9))

    file = await shop.file(opened.payment.id)
    assert [task.kind for task in file.open_tasks] == [TaskKind.POLICY_UNREADABLE]
    assert [attempt.state for attempt in file.attempts] == ["declined", "declined"]
    assert file.planned_retry is not None
    assert ("opened+8d/message/reminder_2", "03-31 12:00", "skipped") in dunning(file)


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "the last first"])
@pytest.mark.parametrize("hours", [2, 12], ids=["by day", "at night"])
async def test_a_late_write_off_leaves_nothing_undone_that_was_due_before_it(
    hours: int, backwards: bool, shop_under: Any, clock: Any
) -> None:
    """We were down for weeks: billing is still told to cancel, whatever order jobs come in and whatever hours hold."""
    clock.set(START)
    office = 'cancel_subscription: true, between: ["09:00", "18:00"]'
    shop = await shop_under(RETRIES, CAMPAIGN.replace("cancel_subscription: true", office))
    opened = await shop.open("tok_generic_decline", code="stolen_card", customer={"country": "DE"})
    await shop.run_due()
    shop.clock.set(START + timedelta(days=40, hours=hours))
    refs = await shop.claim()

    for ref in reversed(refs) if backwards else refs:
        await shop.service.run_jobs([ref])
    await shop.live()

    events = await shop.events(opened.payment.id)
    asked = [event for event in dict.fromkeys(events) if event in ("subscription.cancel_requested", "case.written_off")]
    assert asked == ["subscription.cancel_requested", "case.written_off"]
