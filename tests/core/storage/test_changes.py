"""`Changes`: everything one step of a flow wants written, in two statements, in the order that makes room first."""

from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from recoup_core.domain.approval import Approval, Delegation, Verdict
from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.capture import PaymentLine
from recoup_core.domain.customer import Address
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.happened import HumanTask, TaskKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.message import Message
from recoup_core.domain.payment import Customer, Method
from recoup_core.domain.recovery import CaseState, StepKind, StepState
from recoup_core.domain.refund import (
    Channel,
    Destination,
    PartState,
    Refund,
    RefundLine,
    RefundPart,
    RefundState,
)
from recoup_core.domain.settlement import Problem, SettlementException, WantedReport
from recoup_core.domain.subscription_request import SubscriptionRequest, Wish
from recoup_core.domain.upcoming import Notice, UpcomingCharge
from recoup_core.storage.calls import Call, remember
from recoup_core.storage.changes import INSERTED, Changes, JobRef, NewJob, PostingRow, ToldCustomer
from recoup_core.storage.jobs import JobQueue

LEASE = timedelta(seconds=60)


def a_job(records: Any, subject: Any, **fields: Any) -> NewJob:
    return NewJob(**{"kind": "collect", "subject_id": subject, "due_at": records.now, **fields})


def a_task(records: Any, payment: Any, case: Any) -> HumanTask:
    return HumanTask(
        id=new_id(),
        merchant_id=payment.merchant_id,
        kind=TaskKind.MANUAL_REVIEW,
        case_id=case.id,
        payment_id=payment.id,
        reason="x",
        opened_at=records.now,
        due_at=records.now,
    )


def own(payment: Any) -> dict[str, Any]:
    return {"id": new_id(), "merchant_id": payment.merchant_id}


def a_refund(records: Any, payment: Any, capture: Any) -> list[Any]:
    """A refund made elsewhere, with one row of everything that belongs to refunds."""
    refund = Refund(
        **own(payment),
        payment_id=payment.id,
        customer_ref="cus-1",
        amount_minor=5,
        currency="EUR",
        reason="reported",
        channel=Channel.REPORTED,
        requested_by="gateway:sandbox",
        touched_by=("gateway:sandbox",),
        state=RefundState.APPROVED,
        created_at=records.now,
        approved_at=records.now,
    )
    part = RefundPart(
        **own(payment),
        refund_id=refund.id,
        payment_id=payment.id,
        capture_id=capture.id,
        number=1,
        revision=1,
        destination=Destination.ORIGINAL_METHOD,
        gateway="sandbox",
        amount_minor=5,
        currency="EUR",
        gateway_ref="re-1",
        state=PartState.PENDING,
        created_at=records.now,
        submitted_at=records.now,
    )
    line = PaymentLine(**own(payment), payment_id=payment.id, number=1, ref="a", amount_minor=1999)
    return [
        refund,
        part,
        line,
        RefundLine(
            **own(payment),
            refund_id=refund.id,
            payment_line_id=line.id,
            revision=1,
            quantity=0,
            amount_minor=5,
            tax_minor=0,
        ),
        Approval(
            **own(payment),
            refund_id=refund.id,
            revision=1,
            level=0,
            role="finance",
            principal="ben",
            verdict=Verdict.REJECT,
            channel="api",
            decided_at=records.now,
        ),
        Delegation(
            **own(payment),
            owner="ben",
            delegate="eve",
            roles=("finance",),
            starts_at=records.now,
            ends_at=records.now + timedelta(days=1),
            created_by="ben",
            created_at=records.now,
        ),
        Dispute(
            **own(payment),
            payment_id=payment.id,
            capture_id=capture.id,
            gateway="sandbox",
            gateway_ref="dp-1",
            amount_minor=5,
            currency="EUR",
            state=DisputeState.INQUIRY,
            opened_at=records.now,
        ),
    ]


def of_settlement(records: Any, payment: Any) -> list[Any]:
    """A report that is wanted, and an exception."""
    exception = SettlementException(
        id=new_id(), merchant_id="default", gateway="sandbox", kind=Problem.NOT_SETTLED, subject="charge:1",
        reason="it is in no report", payment_id=payment.id, owner="finance", opened_at=records.now,
    )  # fmt: skip
    return [exception, WantedReport(id=new_id(), gateway="sandbox", report_ref="R-1", wanted_at=records.now)]


def of_billing(records: Any, case: Any, decision: Any) -> list[Any]:
    """A request about a subscription, and a charge to come with its notice."""
    request = SubscriptionRequest(
        id=new_id(), merchant_id="default", case_id=case.id, payment_id=case.payment_id, wish=Wish.RESTORE,
        asked_at=records.now, created_at=records.now,
    )  # fmt: skip
    charge = UpcomingCharge(
        id=new_id(), merchant_id="default", reference="sub-1", customer=Customer(ref="cus-1"), amount_minor=5,
        currency="EUR", charge_at=records.now, method=Method.CARD, gateway="sandbox", card_told_at=records.now,
        announced_at=records.now, changed_at=records.now,
    )  # fmt: skip
    notice = Notice(
        id=new_id(), merchant_id="default", charge_id=charge.id, key="announced", kind=StepKind.MESSAGE,
        due_at=records.now, latest_at=records.now, rule="a rule", decision_id=decision.id, created_at=records.now,
    )  # fmt: skip
    return [notice, request, charge]


def of_customers(records: Any) -> list[Any]:
    """A customer, where to reach them, and something that is said to them."""
    customer = ToldCustomer(merchant_id="default", ref="cus-9", created_at=records.now, changed_at=records.now)
    address = Address(
        id=new_id(), merchant_id="default", customer_ref="cus-9", channel="email", address="a@example.test",
        told_at=records.now, created_at=records.now, changed_at=records.now,
    )  # fmt: skip
    message = Message(
        id=new_id(), merchant_id="default", customer_ref="cus-9", channel="email", template="reminder", locale="en",
        notifier="mail", to_address="a@example.test", text="words", created_at=records.now,
    )  # fmt: skip
    return [message, address, customer]


async def test_every_kind_of_row_is_written_in_one_go(shelf: Any, records: Any) -> None:
    """References among the new rows hold, whatever order they were added in."""
    payment, credential = records.payment(), records.credential()
    case = records.case(payment)
    decision = records.decision(case)
    step = records.step(case, decision_id=decision.id, credential_id=credential.id)
    attempt = records.attempt(case, AttemptState.SUCCEEDED, step_id=step.id, credential_id=credential.id)
    call = remember(Call("key-1", b"POST /x"), "default", b"{}", records.now)
    capture = records.capture(attempt)
    rows = [
        a_job(records, step.id), call, records.event(payment.id), a_task(records, payment, case),
        records.booked(capture), *a_refund(records, payment, capture), capture, attempt, step, decision, case, payment,
        credential, *of_settlement(records, payment), *of_billing(records, case, decision), *of_customers(records),
    ]  # fmt: skip
    assert {type(row) for row in rows} | {PostingRow} == set(INSERTED)

    await shelf.write(*rows)

    counts = {table: await shelf.one(f"SELECT count(*) FROM {table}") for table in INSERTED.values()}
    assert counts == {table: 2 if table == "ledger_posting" else 1 for table in INSERTED.values()}


async def test_what_is_written_reads_back_as_it_was(shelf: Any, records: Any) -> None:
    """Text, amounts up to the limit, times to the microsecond, nested values."""
    payment = records.payment(
        amount_minor=2**53 - 1,
        reference='quote " \\ slash \n newline ü € 🙂',
        first_failed_at=records.now + timedelta(microseconds=1),
        subscription={"plan": "a'b", "deep": [1, None, {"x": True}]},
    )
    await shelf.write(payment)

    row = await shelf.one("SELECT row_to_json(p)::text FROM payment p")

    assert msgspec.json.decode(row, type=type(payment)) == payment


async def test_a_change_makes_room_for_what_is_new(shelf: Any, records: Any) -> None:
    """A payment's one live attempt and a case's one retry are replaced within one write."""
    payment = records.payment()
    case = records.case(payment)
    step, attempt = records.step(case), records.attempt(case)
    await shelf.write(payment, case, step, attempt)
    changes = Changes()
    changes.add(records.step(case), records.attempt(case))
    changes.update(msgspec.structs.replace(step, state=StepState.SKIPPED, skipped_because="x", finished_at=records.now))
    changes.update(msgspec.structs.replace(attempt, state=AttemptState.UNKNOWN))
    changes.update(msgspec.structs.replace(attempt, state=AttemptState.SUCCEEDED, finished_at=records.now))

    await shelf.write(changes=changes)

    assert [r[0] for r in await shelf.rows("SELECT state FROM attempt ORDER BY number")] == ["succeeded", "submitted"]
    assert {r[0] for r in await shelf.rows("SELECT state FROM timeline_step")} == {"skipped", "planned"}


async def test_a_new_row_changed_before_the_write_is_written_once_as_it_is_last(shelf: Any, records: Any) -> None:
    """Nothing is inserted in a state it has already left."""
    payment = records.payment()
    case = records.case(payment)
    changes = Changes()
    changes.add(payment, case)
    changes.update(msgspec.structs.replace(case, state=CaseState.CANCELED, closed_at=records.now, stop_reason="x"))

    await shelf.write(changes=changes)

    assert [tuple(r) for r in await shelf.rows("SELECT state, stop_reason FROM recovery_case")] == [("canceled", "x")]
    assert [row.state for row in changes.rows(type(case))] == [CaseState.CANCELED]


async def test_the_last_of_several_changes_counts(shelf: Any, records: Any) -> None:
    """Two changes of one row are one UPDATE."""
    payment = records.payment()
    await shelf.write(payment)
    changes = Changes()
    for captured in (5, 7):
        changes.update(msgspec.structs.replace(payment, captured_minor=captured))

    await shelf.write(changes=changes)

    assert await shelf.one("SELECT captured_minor FROM payment") == 7


async def test_all_of_it_or_nothing(shelf: Any, records: Any) -> None:
    """One refused row takes the whole write back."""
    payment = records.payment()
    case = records.case(payment)
    broken = records.attempt(case, AttemptState.SUCCEEDED, finished_at=None)

    with pytest.raises(asyncpg.CheckViolationError):
        await shelf.write(payment, case, records.event(payment.id), broken)

    assert await shelf.one("SELECT (SELECT count(*) FROM payment) + (SELECT count(*) FROM event)") == 0


async def test_nothing_to_write_is_no_statement_at_all(shelf: Any) -> None:
    """A step that decides nothing costs nothing."""
    await Changes().write(None)


async def test_a_job_put_again_moves(shelf: Any, records: Any) -> None:
    """One job a kind and subject; who had claimed it before has lost it, and its claims start anew."""
    subject = new_id()
    await shelf.write(a_job(records, subject))
    (held,) = await JobQueue(shelf.database).claim(records.now, 10, LEASE)
    later = records.now + timedelta(days=1)

    await shelf.write(a_job(records, subject, due_at=later, correlation_id="corr-2"), a_job(records, new_id()))

    row = (await shelf.rows("SELECT due_at, visible_at, claim, claims, correlation_id FROM job ORDER BY id"))[0]
    assert tuple(row[:2]) == (later, later)
    assert row["claim"] > held.claim
    assert (row["claims"], row["correlation_id"]) == (0, "corr-2")


async def test_within_one_write_the_last_word_about_a_job_counts(shelf: Any, records: Any) -> None:
    """Put twice it is due at the later call's time; put and dropped it is gone; dropped and put it is there."""
    twice, gone, there = new_id(), new_id(), new_id()
    later = records.now + timedelta(days=1)
    await shelf.write(a_job(records, gone), a_job(records, there))
    changes = Changes()
    changes.add(a_job(records, twice), a_job(records, twice, due_at=later), a_job(records, gone))
    changes.drop_job("collect", gone)
    changes.drop_job("collect", there)
    changes.add(a_job(records, there, due_at=later))

    await shelf.write(changes=changes)

    jobs = {row[0]: row[1] for row in await shelf.rows("SELECT subject_id, due_at FROM job")}
    assert jobs == {twice: later, there: later}


async def test_only_the_present_holder_finishes_a_job(shelf: Any, records: Any) -> None:
    """A stale claim deletes nothing; the right one does."""
    await shelf.write(a_job(records, new_id()))
    (held,) = await JobQueue(shelf.database).claim(records.now, 10, LEASE)
    stale, right = Changes(), Changes()
    stale.finish(JobRef(held.id, held.kind, held.subject_id, held.claim - 1))
    right.finish(held)

    await shelf.write(changes=stale)
    after_stale = await shelf.one("SELECT count(*) FROM job")
    await shelf.write(changes=right)

    assert (after_stale, await shelf.one("SELECT count(*) FROM job")) == (1, 0)
