"""Promise 12 for refunds: what lost its job gets it back, what nobody owns is put before a person."""

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.refund import PartState, RefundState
from recoup_core.ports import DisputeNews, Pending
from recoup_core.storage.jobs import STUCK_CLAIMS

LATE = timedelta(minutes=11)


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([], PartState.SCHEDULED),
        ([ConnectionResetError("lost")], PartState.UNKNOWN),
        ([Pending(gateway_ref="re-1")], PartState.PENDING),
    ],
)
async def test_a_part_that_lost_its_job_gets_it_back(till: Any, answers: list[Any], state: PartState) -> None:
    """A bug, or a hand in the database: nothing is forgotten."""
    account = await till.payment()
    till.bank.answers = list(answers)
    refund_id = await till.approved(account)
    if state is not PartState.SCHEDULED:
        await till.run_due()
    assert (await till.refund(refund_id)).parts[0].state is state
    await till.rows("DELETE FROM job")
    till.bank.settle_pending()

    till.clock.advance(LATE)
    await till.service.sweep(till.clock.now())
    await till.live()

    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    await till.books_agree()


async def test_a_wait_that_policy_gave_is_kept_by_the_sweep(till: Any, refused: Any) -> None:
    """The job that comes back is not due before its part is."""
    account = await till.payment()
    till.bank.answers = [refused("insufficient_balance")]
    await till.approved(account)
    await till.run_due()
    await till.rows("DELETE FROM job")

    till.clock.advance(LATE)
    await till.service.sweep(till.clock.now())
    await till.run_due()

    assert len(till.bank.requests) == 1


async def test_a_refund_whose_parts_are_over_is_concluded(till: Any) -> None:
    """The parts say how far it got; a refund that missed it is brought in line."""
    account = await till.payment()
    refund_id = await till.approved(account)
    [part] = (await till.refund(refund_id)).parts
    await till.rows(
        "UPDATE refund_part SET state = 'canceled', finished_at = now() WHERE id = $1 RETURNING id", part.id
    )
    await till.rows("DELETE FROM job")

    till.clock.advance(LATE)
    await till.service.sweep(till.clock.now())

    assert (await till.refund(refund_id)).refund.state is RefundState.FAILED
    assert await till.tasks() == ["refund_failed"]


async def test_a_failed_refund_that_nobody_owns_any_more_is_asked_about_again(till: Any, refused: Any) -> None:
    """The task was resolved and nothing was done: a month later a person is asked once more, once."""
    account = await till.payment()
    till.bank.answers = [refused()]
    await till.approved(account)
    await till.live()
    await till.rows(
        "UPDATE human_task SET resolved_at = $1, resolved_by = 'anna', resolution = 'seen'", till.clock.now()
    )

    till.clock.advance(timedelta(days=20))
    await till.service.sweep(till.clock.now())
    early = await till.tasks()
    till.clock.advance(timedelta(days=11))
    await till.service.sweep(till.clock.now())
    await till.service.sweep(till.clock.now())

    assert early == []
    assert await till.tasks() == ["refund_failed"]


async def test_a_dispute_without_an_end_is_asked_about(till: Any, eur: Any) -> None:
    """Past what card schemes allow, somebody has missed its end."""
    account = await till.payment()
    told = DisputeNews(
        dispute_ref="dp-1",
        charge_ref=account.captures[0].gateway_ref or "",
        amount=eur(100),
        standing=DisputeState.OPEN,
    )
    await till.dispute(told)
    await till.rows(
        "UPDATE human_task SET resolved_at = $1, resolved_by = 'anna', resolution = 'sent'", till.clock.now()
    )

    till.clock.advance(timedelta(days=121))
    await till.service.sweep(till.clock.now())
    await till.service.sweep(till.clock.now())

    assert await till.tasks() == ["dispute_evidence"]


async def test_a_charge_that_stays_only_authorised_is_asked_about_once(till: Any) -> None:
    """Promise 12: neither captured nor voided, and nobody told: its issuer lets it go, and it held refunds up."""
    await till.payment(state=CaptureState.AUTHORIZED)
    await till.payment(state=CaptureState.CAPTURED)

    till.clock.advance(timedelta(days=6))
    await till.service.sweep(till.clock.now())
    early = await till.tasks()
    till.clock.advance(timedelta(days=2))
    await till.service.sweep(till.clock.now())
    await till.service.sweep(till.clock.now())

    assert early == []
    assert await till.tasks() == ["authorization_open"]


async def test_a_stuck_refund_job_has_an_owner(till: Any) -> None:
    """The task names the refund, so that whoever looks finds it."""
    account = await till.payment()
    refund_id = await till.approved(account)
    await till.rows("UPDATE job SET claims = $1", STUCK_CLAIMS)

    await till.service.sweep(till.clock.now())

    [task] = await till.rows("SELECT kind, refund_id, payment_id FROM human_task")
    assert (task["kind"], task["refund_id"], task["payment_id"]) == ("stuck_job", refund_id, account.payment.id)


async def test_the_metrics_say_how_refunds_stand(till: Any, refused: Any) -> None:
    """Outcomes by gateway and category, parts in flight, the age of the oldest unknown, exceeded charges."""
    one, two, three = await till.payment(), await till.payment(), await till.payment()
    till.bank.answers = [refused("method_gone")]
    await till.approved(one)
    await till.run_due()
    await till.approved(two)
    await till.run_due()
    till.bank.answers = [ConnectionResetError("lost")]
    till.bank.found = [ConnectionResetError("down")] * 99
    await till.approved(three)
    await till.run_due()

    till.clock.advance(timedelta(hours=1))
    await till.service.sweep(till.clock.now())

    page = generate_latest(till.context.measures.registry).decode()
    assert 'recoup_refund_outcomes_total{category="method_gone",gateway="sandbox",outcome="refused"} 1.0' in page
    assert 'recoup_refund_outcomes_total{category="",gateway="sandbox",outcome="refunded"} 1.0' in page
    assert 'recoup_refund_outcomes_total{category="",gateway="sandbox",outcome="unknown"} 1.0' in page
    assert "recoup_refund_parts_in_flight 1.0" in page
    assert "recoup_refund_oldest_unknown_seconds 3600.0" in page
    assert "recoup_captures_over_refunded 0.0" in page
