"""Many refunds at once: each is decided by itself, and each says what became of it."""

from typing import Any

import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import (
    Refund,
    RefundState,
)
from recoup_core.flows.operate import NotFound
from recoup_core.flows.refunds.approvals import BULK_MOST, BulkItem, BulkResult, decide_many
from recoup_core.flows.refunds.refusals import FourEyes, NotYourLevel, RefundInvalid, RefundNotOpen, VersionConflict
from recoup_core.storage.calls import IdempotencyKeyReused


def items(*refunds: Refund) -> list[BulkItem]:
    return [BulkItem(refund_id=refund.id, if_match=refund.version) for refund in refunds]


def problems(results: list[BulkResult]) -> list[type[Exception] | None]:
    assert all(result.ok is (result.problem is None) is (result.file is not None) for result in results)
    return [type(result.problem) if result.problem else None for result in results]


async def test_each_refund_is_reported_by_itself_in_the_order_asked(desk: Any) -> None:
    """One that is refused holds up no other, whatever is wrong with it."""
    fine = [await desk.refund() for _ in range(2)]
    own = await desk.refund(touched_by=("ana", "ben"))
    others = await desk.refund(level=1, open_roles=("finance",))
    stale = await desk.refund(version=4)
    over = await desk.refund(RefundState.DENIED)
    asked = [
        *items(fine[0], own, others),
        BulkItem(refund_id=stale.id, if_match=3),
        *items(over),
        BulkItem(refund_id=new_id(), if_match=1),
        *items(fine[1]),
    ]

    results = await decide_many(desk.context, asked, desk.by("ben", "support_lead"), Verdict.APPROVE, "batch of Monday")

    assert [result.refund_id for result in results] == [item.refund_id for item in asked]
    assert problems(results) == [None, FourEyes, NotYourLevel, VersionConflict, RefundNotOpen, NotFound, None]
    for refund in fine:
        (approval,) = (await desk.file(refund)).approvals
        assert (approval.channel, approval.comment) == ("bulk", "batch of Monday")
    for refund in (own, others, stale, over):
        assert (await desk.file(refund)).refund == refund


async def test_four_eyes_hold_in_bulk(desk: Any) -> None:
    """Trap 6 by the bulk route: the requester approves their own among others'; two levels in two bulks are two
    people."""
    mine, theirs = await desk.refund(), await desk.refund(requested_by="kim", touched_by=("kim",))
    ana = desk.by("ana", "support_lead", "finance")

    first = await decide_many(desk.context, items(mine, theirs), ana, Verdict.APPROVE, None)
    again = [BulkItem(refund_id=theirs.id, if_match=2)]
    second = await decide_many(desk.context, again, ana, Verdict.APPROVE, None)

    assert problems(first) == [FourEyes, None]
    assert problems(second) == [FourEyes]


async def test_the_same_call_again_gets_the_same_answers(desk: Any) -> None:
    """Nothing is decided twice, and what was refused is refused again."""
    fine, own = await desk.refund(), await desk.refund(touched_by=("ana", "ben"))
    ben = desk.by("ben", "support_lead", key="k" * 255, request=b"bulk")

    first = await decide_many(desk.context, items(fine, own), ben, Verdict.APPROVE, None)
    again = await decide_many(desk.context, items(fine, own), ben, Verdict.APPROVE, None)

    assert problems(first) == problems(again) == [None, FourEyes]
    assert first[0].file == again[0].file
    assert len((await desk.file(fine)).approvals) == 1


async def test_a_call_that_was_interrupted_goes_on_where_it_ended(desk: Any) -> None:
    """A process died after the first item: the repeat answers for it as before and does the rest."""
    one, two = await desk.refund(), await desk.refund()
    ben = desk.by("ben", "support_lead", key="k-1", request=b"bulk")
    (before,) = await decide_many(desk.context, items(one), ben, Verdict.APPROVE, None)

    results = await decide_many(desk.context, items(one, two), ben, Verdict.APPROVE, None)

    assert problems(results) == [None, None]
    assert results[0].file == before.file
    assert [len((await desk.file(refund)).approvals) for refund in (one, two)] == [1, 1]


async def test_a_key_of_another_request_does_nothing(desk: Any) -> None:
    """Not even to refunds that the first request did not name."""
    one, two = await desk.refund(), await desk.refund()
    await decide_many(
        desk.context, items(one), desk.by("ben", "support_lead", key="k-1", request=b"a"), Verdict.APPROVE, None
    )

    with pytest.raises(IdempotencyKeyReused):
        await decide_many(
            desk.context, items(two), desk.by("ben", "support_lead", key="k-1", request=b"b"), Verdict.APPROVE, None
        )

    assert (await desk.file(two)).refund == two


async def test_what_is_wrong_with_the_whole_call_is_said_before_anything_is_done(desk: Any) -> None:
    """A hundred at most, none twice, a reason for every no, and no card number."""
    refund = await desk.refund()
    ben = desk.by("ben", "support_lead", key="k-1", request=b"bulk")
    many = [BulkItem(refund_id=new_id(), if_match=1) for _ in range(BULK_MOST + 1)]

    for asked, verdict, comment in (
        ([], Verdict.APPROVE, None),
        (many, Verdict.APPROVE, None),
        (items(refund, refund), Verdict.APPROVE, None),
        (items(refund), Verdict.REJECT, " "),
    ):
        with pytest.raises(RefundInvalid):
            await decide_many(desk.context, asked, ben, verdict, comment)
    with pytest.raises(CardNumberRefused):
        await decide_many(desk.context, items(refund), ben, Verdict.REJECT, "card 4242424242424242")

    assert (await desk.file(refund)).refund == refund
    assert await desk.rows("SELECT 1 FROM idempotent_call") == []


async def test_rejecting_many_frees_the_money_of_each(desk: Any) -> None:
    """The comment counts for all of them."""
    refunds = [await desk.refund() for _ in range(3)]

    results = await decide_many(
        desk.context, items(*refunds), desk.by("ben", "support_lead"), Verdict.REJECT, "no proof of return"
    )

    assert problems(results) == [None] * 3
    assert [await desk.held(refund) for refund in refunds] == [0, 0, 0]
