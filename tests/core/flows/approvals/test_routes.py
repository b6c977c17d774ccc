"""From the request to the last approval, as people really go about it: nobody finds a way around four eyes."""

import asyncio
from typing import Any

import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.refund import (
    Refund,
    RefundState,
)
from recoup_core.flows.refunds.approvals import BulkItem, decide_many
from recoup_core.flows.refunds.ask import RefundAsk, RefundEdit
from recoup_core.flows.refunds.delegations import DelegationAsk, delegate
from recoup_core.flows.refunds.refusals import FourEyes, RefundInvalid, RefundNotOpen, VersionConflict
from recoup_core.flows.refunds.requests import edit_refund, request_refund, submit_refund


async def requested(desk: Any, by: Any) -> Refund:
    """A refund of 40.00 EUR that somebody has just asked for, in review."""
    payment, _ = await desk.paid()
    ask = RefundAsk(payment_id=payment.id, amount_minor=4_000, currency="EUR", reason="damaged")
    refund: Refund = (await request_refund(desk.context, ask, by)).refund
    assert refund.state is RefundState.IN_REVIEW
    return refund


async def test_requester_edits_colleague_submits_requester_approves_is_refused(desk: Any) -> None:
    """Trap 6, by every route at once: the API, a bulk, and delegations in both directions."""
    await desk.hire("ana", "support_lead")
    await desk.hire("eve", "support_lead", "finance")
    refund = await requested(desk, desk.by("kim"))
    edited = (await edit_refund(desk.context, refund.id, RefundEdit(amount_minor=3_000), desk.by("ana"), 1)).refund
    await desk.say(refund, desk.by("eve", "support_lead"), Verdict.SEND_BACK, comment="which shirt?")
    version = (await desk.file(refund)).refund.version
    submitted = (await submit_refund(desk.context, refund.id, desk.by("leo"), version)).refund
    for owner, other in (("ana", "ben"), ("eve", "kim")):
        ask = DelegationAsk(delegate=other, roles=("support_lead",), ends_at=refund.expires_at or desk.clock.now())
        await delegate(desk.context, ask, desk.by(owner))

    for person in ("kim", "Kim ", "ana", "leo"):
        with pytest.raises(FourEyes):
            await desk.say(refund, desk.by(person, "support_lead", "finance"))
        item = BulkItem(refund_id=refund.id, if_match=submitted.version)
        (result,) = await decide_many(
            desk.context, [item], desk.by(person, "support_lead"), Verdict.APPROVE, "fine by me"
        )
        assert isinstance(result.problem, FourEyes)
    with pytest.raises(FourEyes):
        await desk.say(refund, desk.by("ben"))  # by the role that ana has lent
    with pytest.raises(FourEyes):
        await desk.say(refund, desk.by("kim"))  # by the role that eve has lent

    assert (edited.revision, submitted.revision) == (2, 3)
    assert set(submitted.touched_by) == {"kim", "ana", "leo"}
    assert (await desk.file(refund)).refund == submitted
    await desk.say(refund, desk.by("ben", "support_lead"))  # by a role of ben's own
    assert (await desk.say(refund, desk.by("eve", "finance"))).refund.state is RefundState.APPROVED


async def test_an_edit_voids_what_was_approved(desk: Any) -> None:
    """Approvals bind to the exact amount: both levels look again, also whoever approved before."""
    refund = await requested(desk, desk.by("ana"))
    approved = (await desk.say(refund, desk.by("ben", "support_lead"))).refund

    edited = await edit_refund(
        desk.context, refund.id, RefundEdit(amount_minor=9_000), desk.by("ana"), approved.version
    )
    with pytest.raises(VersionConflict):
        await desk.say(refund, desk.by("eve", "finance"), if_match=approved.version)
    again = await desk.say(refund, desk.by("ben", "support_lead"))

    assert (edited.refund.level, edited.refund.open_roles) == (0, ("support_lead", "team_lead"))
    assert [(each.revision, each.level) for each in again.approvals] == [(1, 0), (2, 0)]
    assert again.refund.state is RefundState.IN_REVIEW


async def test_an_edit_and_the_last_approval_at_once_are_never_both(desk: Any) -> None:
    """Nobody approves an amount that they have not read."""
    for _ in range(5):
        refund = await requested(desk, desk.by("ana"))
        version = (await desk.say(refund, desk.by("ben", "support_lead"))).refund.version

        answers = await asyncio.gather(
            desk.say(refund, desk.by("eve", "finance"), if_match=version),
            edit_refund(desk.context, refund.id, RefundEdit(amount_minor=9_000), desk.by("ana"), version),
            return_exceptions=True,
        )

        conflicts = [answer for answer in answers if isinstance(answer, VersionConflict | RefundNotOpen)]
        after = (await desk.file(refund)).refund
        assert len(conflicts) == 1
        assert (after.state, after.amount_minor) in {
            (RefundState.APPROVED, 4_000),
            (RefundState.IN_REVIEW, 9_000),
        }


async def test_an_approver_who_edits_is_no_approver_any_more(desk: Any) -> None:
    """Whoever changes the amount they would like to see has made the request their own."""
    refund = await requested(desk, desk.by("ana"))
    ben = desk.by("ben", "support_lead", "finance")
    await edit_refund(desk.context, refund.id, RefundEdit(amount_minor=2_000), ben, refund.version)

    with pytest.raises(FourEyes):
        await desk.say(refund, ben)


async def test_what_changes_nothing_is_no_edit(desk: Any) -> None:
    """So nobody voids approvals, or becomes one who touched it, for nothing."""
    refund = await requested(desk, desk.by("ana"))

    with pytest.raises(RefundInvalid):
        await edit_refund(desk.context, refund.id, RefundEdit(amount_minor=4_000), desk.by("ben"), refund.version)

    assert (await desk.file(refund)).refund.touched_by == ("ana",)


async def test_the_last_approval_leaves_one_job_that_sends_and_no_timer(desk: Any) -> None:
    """What is decided is escalated and closed no more."""
    refund = await requested(desk, desk.by("ana"))
    assert await desk.timer_due(refund) == refund.decide_by
    await desk.say(refund, desk.by("ben", "support_lead"))
    await desk.say(refund, desk.by("eve", "finance"))

    jobs = await desk.rows(
        "SELECT kind FROM job j JOIN refund_part p ON p.id = j.subject_id WHERE p.refund_id = $1", refund.id
    )

    assert [job["kind"] for job in jobs] == ["refund"]
    assert await desk.timer_due(refund) is None


async def test_what_nobody_decides_is_escalated_and_closed_by_its_jobs(desk: Any) -> None:
    """Nobody calls anything: time passes, and each thing happens once, at its time."""
    refund = await requested(desk, desk.by("ana"))

    await desk.shop.live()

    told = await desk.rows("SELECT kind, at FROM event WHERE refund_id = $1 ORDER BY id", refund.id)
    assert [(row["kind"], row["at"]) for row in told[2:]] == [
        ("refund.escalated", refund.decide_by),
        ("task.opened", refund.decide_by),
        ("refund.expired", refund.expires_at),
        ("task.resolved", refund.expires_at),
    ]
    assert (await desk.file(refund)).refund.state is RefundState.EXPIRED
    assert await desk.held(refund) == 0
    assert await desk.rows("SELECT 1 FROM job") == []
