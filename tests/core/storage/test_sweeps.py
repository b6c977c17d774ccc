"""What a sweep looks for: every passing state that nothing drives any more, and nothing else."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.happened import HumanTask, TaskKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.storage.changes import NewJob
from recoup_core.storage.sweeps import (
    JobSubject,
    inbound_without_job,
    jobless_attempts,
    jobless_steps,
    planless_cases,
    subject_of_job,
)

AGE = timedelta(minutes=10)


@pytest.fixture
def find(shelf: Any, records: Any) -> Any:
    """`await find(jobless_steps, "collect")` gives jobs back at an hour past the records' time."""

    async def run(sweep: Any, kind: str, limit: int = 100) -> int:
        now = records.now + timedelta(hours=1)
        async with shelf.database.connection() as connection:
            count: int = await sweep(connection, kind, now - AGE, now, limit)
        return count

    return run


async def an_attempt(shelf: Any, records: Any, state: AttemptState, **fields: Any) -> Any:
    payment = records.payment()
    case = records.case(payment)
    attempt = records.attempt(case, state, **fields)
    await shelf.write(payment, case, attempt)
    return attempt


@pytest.mark.parametrize("state", [AttemptState.SUBMITTED, AttemptState.PENDING, AttemptState.UNKNOWN])
async def test_an_attempt_in_flight_without_a_job_gets_one(
    shelf: Any, records: Any, find: Any, state: AttemptState
) -> None:
    """Due at once, once; the next sweep finds nothing."""
    attempt = await an_attempt(shelf, records, state)

    assert [await find(jobless_attempts, "settle") for _ in range(2)] == [1, 0]
    row = (await shelf.rows("SELECT kind, subject_id, due_at FROM job"))[0]
    assert tuple(row) == ("settle", attempt.id, records.now + timedelta(hours=1))


async def test_an_attempt_that_is_driven_young_or_over_is_left_alone(shelf: Any, records: Any, find: Any) -> None:
    """Its own job, its step's job, or too young to have lost one."""
    await an_attempt(shelf, records, AttemptState.DECLINED)
    await an_attempt(shelf, records, AttemptState.UNKNOWN, submitted_at=records.now + timedelta(minutes=51))
    settled = await an_attempt(shelf, records, AttemptState.UNKNOWN)
    payment = records.payment()
    case = records.case(payment)
    step = records.step(case, state=StepState.RUNNING)
    sent = records.attempt(case, AttemptState.SUBMITTED, step_id=step.id)
    jobs = [("settle", settled.id), ("collect", step.id)]
    await shelf.write(payment, case, step, sent, *(NewJob(kind=k, subject_id=s, due_at=records.now) for k, s in jobs))

    assert await find(jobless_attempts, "settle") == 0


async def test_an_overdue_step_without_a_job_gets_one(shelf: Any, records: Any, find: Any) -> None:
    """A planned retry past its time; one still to come is not missed yet."""
    payment, later = records.payment(), records.payment()
    case, later_case = records.case(payment), records.case(later)
    overdue = records.step(case, due_at=records.now)
    await shelf.write(payment, later, case, later_case, overdue, records.step(later_case))

    assert [await find(jobless_steps, "collect") for _ in range(2)] == [1, 0]
    assert await shelf.one("SELECT subject_id FROM job") == overdue.id


async def test_a_step_whose_attempt_still_waits_to_be_sent_gets_its_job_back(
    shelf: Any, records: Any, find: Any
) -> None:
    """Running, and its attempt certainly not sent: without a job nobody would ever send it."""
    payment = records.payment()
    case = records.case(payment)
    step = records.step(case, state=StepState.RUNNING, due_at=records.now)
    waiting = records.attempt(case, AttemptState.SCHEDULED, step_id=step.id)
    await shelf.write(payment, case, step, waiting)

    assert await find(jobless_steps, "collect") == 1
    assert await find(jobless_attempts, "settle") == 0


async def test_a_received_event_without_a_job_gets_one(shelf: Any, records: Any, find: Any) -> None:
    """Stored first, applied later, never forgotten; what was applied stays closed."""
    for number, (state, applied) in enumerate([("received", "NULL"), ("applied", "now()")]):
        await shelf.sql(
            "INSERT INTO inbound_event (id, gateway, external_id, kind, body, state, received_at, applied_at)"
            f" VALUES (gen_random_uuid(), 'sandbox', '{number}', 'x', '{{}}', '{state}', '2026-11-23Z', {applied})"
        )

    assert [await find(inbound_without_job, "inbound") for _ in range(2)] == [1, 0]


async def test_one_sweep_mends_no_more_than_its_limit(shelf: Any, records: Any, find: Any) -> None:
    """The rest waits for the next, the oldest first."""
    for minutes in (3, 1, 2):
        at = records.now + timedelta(minutes=minutes)
        await an_attempt(shelf, records, AttemptState.UNKNOWN, submitted_at=at)

    assert [await find(jobless_attempts, "settle", limit=2) for _ in range(3)] == [2, 1, 0]


async def test_only_a_case_nothing_will_ever_move_is_planless(shelf: Any, records: Any) -> None:
    """Open, owed, without a step, a live attempt or a task; all others have an owner."""
    planless = records.payment()
    await shelf.write(planless, records.case(planless))
    expected = [planless.id]
    for state in (CaseState.PAUSED, CaseState.EXHAUSTED, CaseState.CANCELED):
        payment = records.payment()
        await shelf.write(payment, records.case(payment, state=state))
    paid, stepped, live, asked, young = (records.payment() for _ in range(5))
    cases = [records.case(each) for each in (stepped, live, asked)]
    task = HumanTask(
        id=new_id(),
        merchant_id="default",
        kind=TaskKind.AMOUNT_MISMATCH,
        case_id=cases[2].id,
        payment_id=asked.id,
        reason="x",
        opened_at=records.now,
        due_at=records.now,
    )
    paid = records.payment(state=PaymentState.PAID)
    late = records.case(young, opened_at=records.now + timedelta(hours=1))
    rows = [paid, stepped, live, asked, young, *cases, records.case(paid), late]
    await shelf.write(*rows, records.step(cases[0]), records.attempt(cases[1]), task)

    async with shelf.database.connection() as connection:
        found, _ = await planless_cases(connection, records.now + timedelta(minutes=30), UUID(int=0), 10)

    assert found == expected


async def test_a_job_leads_to_whom_it_is_about(shelf: Any, records: Any) -> None:
    """By step or attempt to the case; by a gateway's event to that gateway."""
    payment = records.payment()
    case = records.case(payment)
    step, attempt = records.step(case), records.attempt(case)
    await shelf.write(payment, case, step, attempt)

    async with shelf.database.connection() as connection:
        found = [await subject_of_job(connection, subject) for subject in (step.id, attempt.id, new_id())]

    about = JobSubject(merchant_id=case.merchant_id, case_id=case.id, payment_id=payment.id)
    assert found == [about, about, None]
