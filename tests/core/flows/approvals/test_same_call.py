"""A verdict is one person's word: what a colleague said under the same key is not said again."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.refund import RefundState
from recoup_core.flows.refunds.approvals import BulkItem, decide_many
from recoup_core.flows.refunds.ask import RefundEdit
from recoup_core.flows.refunds.delegations import DelegationAsk, delegate
from recoup_core.flows.refunds.edits import edit_refund
from recoup_core.storage.calls import IdempotencyKeyReused


async def test_two_people_under_one_key_are_two_calls(desk: Any) -> None:
    """Else the second approver would read "done" and nobody would have counted their yes."""
    refund = await desk.refund()
    again = {"key": "approve-1", "request": b"POST /approve {}"}
    await desk.say(refund, desk.by("ben", "support_lead", **again))

    with pytest.raises(IdempotencyKeyReused):
        await desk.say(refund, desk.by("eve", "finance", **again))

    assert [each.principal for each in (await desk.file(refund)).approvals] == ["ben"]


async def test_one_person_with_two_keys_is_one_caller(desk: Any) -> None:
    """A repeat by another key of theirs, however it writes the name, gets the first answer."""
    refund = await desk.refund()
    first = await desk.say(refund, desk.by("ben", "support_lead", key="k-1"))

    again = await desk.say(refund, desk.by(" BEN ", "support_lead", key="k-1"), if_match=refund.version)

    assert again == first


async def test_a_bulk_is_repeated_by_whoever_said_it(desk: Any) -> None:
    """The next level's approver under the same key is told so, and nothing is decided in their name."""
    refund = await desk.refund()
    items = [BulkItem(refund_id=refund.id, if_match=refund.version)]
    await decide_many(desk.context, items, desk.by("ben", "support_lead", key="k-1"), Verdict.APPROVE, None)

    with pytest.raises(IdempotencyKeyReused):
        await decide_many(desk.context, items, desk.by("eve", "finance", key="k-1"), Verdict.APPROVE, None)


async def test_a_loan_is_repeated_by_whoever_made_it(desk: Any) -> None:
    """The owner who is left out is the caller: the same words of another lend other roles."""
    await desk.hire("ben", "finance")
    await desk.hire("eve", "finance")
    ask = DelegationAsk(delegate="leo", roles=("finance",), ends_at=desk.clock.now() + timedelta(days=1))
    await delegate(desk.context, ask, desk.by("ben", key="k-1"))

    with pytest.raises(IdempotencyKeyReused):
        await delegate(desk.context, ask, desk.by("eve", key="k-1"))


async def test_a_yes_sent_again_after_an_edit_approves_nothing(desk: Any) -> None:
    """The answer is the one that was given, to what was read then; the new revision has no approval."""
    refund = await desk.refund()
    ben = desk.by("ben", "support_lead", key="k-1")
    before = await desk.say(refund, ben)
    await edit_refund(desk.context, refund.id, RefundEdit(amount_minor=9_000), desk.by("ana"), before.refund.version)

    again = await desk.say(refund, ben)

    assert again == before
    after = await desk.file(refund)
    assert (after.refund.state, after.refund.level, after.refund.revision) == (RefundState.IN_REVIEW, 0, 2)
    assert [each.revision for each in after.approvals] == [1]
