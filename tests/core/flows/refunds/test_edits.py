"""Refunds are changed, submitted again, canceled and retried; what changes is decided anew, and by others."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.refund import (
    Destination,
    Evidence,
    FailureCategory,
    PartState,
    RefundFailure,
    RefundState,
    Spread,
)
from recoup_core.flows.captured import ReportedRefund
from recoup_core.flows.operate import NotFound
from recoup_core.flows.refunds.ask import AskedLine, AskedPayment, RefundEdit
from recoup_core.flows.refunds.draft import locked_refunds
from recoup_core.flows.refunds.outcomes import record_refund
from recoup_core.flows.refunds.refusals import (
    FourEyes,
    GoodwillExceedsPayment,
    RefundExceedsRefundable,
    RefundInFlight,
    RefundInvalid,
    RefundNotOpen,
    VersionConflict,
)
from recoup_core.flows.refunds.requests import (
    cancel_refund,
    edit_refund,
    request_refund,
    retry_refund,
    submit_refund,
)
from recoup_core.ports import Pending, TakenBack

BOUND = ("small", "approve: {per_agent_day: {EUR: 50.00}}, otherwise: {review: {levels: [[lead]]}}", "{}")
PHOTO = Evidence(kind="photo", ref="img-1.jpg")


async def edited(till: Any, file: Any, person: str = "anna", **edit: Any) -> Any:
    """Edit a refund as it is now."""
    version = (await till.file(file.refund.id)).refund.version
    return await edit_refund(till.context, file.refund.id, RefundEdit(**edit), till.by(person), version)


# --- edits ----------------------------------------------------------------------------------------------------------


async def test_a_new_amount_is_reserved_anew_and_decided_anew(till: Any) -> None:
    """The old part is released, a new one with a key of its own reserved, under the next revision."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)

    after = await edited(till, file, amount_minor=4000)

    assert (after.refund.state, after.refund.revision, after.refund.version) == (RefundState.APPROVED, 2, 2)
    assert [(part.state, part.amount_minor, part.revision) for part in after.parts] == [
        (PartState.CANCELED, 60000, 1),
        (PartState.SCHEDULED, 4000, 2),
    ]
    assert len({part.idempotency_key for part in after.parts}) == 2
    assert (await till.capture(account)).held_minor == 4000
    assert await till.told(file.refund.id) == [
        "refund.requested",
        "refund.in_review",
        "refund.edited",
        "refund.approved",
    ]


async def test_an_edit_may_use_what_the_refund_holds_itself(till: Any) -> None:
    """Its own reservation is free for it, and for nobody else; more than that is refused and changes nothing."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)

    raised = await edited(till, file, amount_minor=90000)
    with pytest.raises(RefundExceedsRefundable) as refusal:
        await edited(till, file, amount_minor=90001)

    assert refusal.value.refundable.amount_minor == 90000
    assert (await till.capture(account)).held_minor == 90000
    assert (await till.file(file.refund.id)) == raised


async def test_an_edit_voids_every_approval_and_its_author_may_not_decide(till: Any) -> None:
    """Promise 8, trap 6: the levels begin again, and whoever edits is one of those who never may decide it."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)
    await till.verdict(file, "lea", "support_lead")

    after = await edited(till, file, "otto", amount_minor=59000)

    assert (after.refund.state, after.refund.level) == (RefundState.IN_REVIEW, 0)
    assert after.refund.open_roles == ("support_lead",)
    assert after.refund.touched_by == ("anna", "otto")
    for person in ("anna", "otto"):
        with pytest.raises(FourEyes):
            await till.verdict(file, person, "support_lead")
    assert (await till.verdict(file, "lea", "support_lead")).refund.level == 1


async def test_words_are_changed_without_new_parts(till: Any) -> None:
    """The money stays reserved; it is a new revision all the same, for approvals were given to the old words."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)

    after = await edited(till, file, note="called twice", reason="duplicate")

    assert (after.refund.note, after.refund.reason, after.refund.revision) == ("called twice", "duplicate", 2)
    assert [part.id for part in after.parts] == [part.id for part in file.parts]
    assert after.current_parts == after.parts


async def test_evidence_completes_a_request(till: Any) -> None:
    """What was missing is handed in; the policy answers as if it had been there from the start."""
    account = await till.captured(4900)
    file = await till.request(account, 1200, reason="damaged")

    after = await edited(till, file, evidence=(PHOTO,))

    assert after.refund.state is RefundState.APPROVED
    assert [part.id for part in after.parts] == [part.id for part in file.parts]
    assert after.parts[0].state is PartState.SCHEDULED


async def test_an_edit_that_the_policy_denies_holds_nothing(till: Any) -> None:
    """The answer to an edit may be a denial; then the refund is over and its money free."""
    account = await till.with_lines()
    file = await till.request(account, 1200, reason="damaged")

    after = await edited(till, file, amount_minor=1300, reason="because")

    assert (after.refund.state, after.refund.stop_reason) == (RefundState.DENIED, "reason_not_allowed")
    assert [part.state for part in after.parts] == [PartState.CANCELED]
    assert not any(line.holds for line in after.lines)
    stored = await till.account(account)
    assert (stored.held_minor, [line.held_minor for line in stored.lines]) == (0, [0, 0, 0])
    assert await till.shop.rows("SELECT FROM job") == []


async def test_an_approved_refund_may_be_edited_while_nothing_has_left(till: Any) -> None:
    """Its job goes with its part; what was approved does not count against itself."""
    till_account = await till.captured(90000)
    file = await till.request(till_account, 4000)

    after = await edited(till, file, amount_minor=60000)

    assert after.refund.state is RefundState.IN_REVIEW
    assert after.refund.approved_at is None
    assert [row["kind"] for row in await till.shop.rows("SELECT kind FROM job")] == ["refund_timer"]


async def test_an_edited_approval_does_not_count_against_the_agents_day(till_under: Any) -> None:
    """50.00 a day: 40.00 approved and edited to 45.00 are 45.00, not 85.00."""
    till = await till_under(BOUND)
    account = await till.captured(90000)
    file = await till.request(account, 4000)

    after = await edited(till, file, amount_minor=4500)

    assert after.refund.state is RefundState.APPROVED
    tallies = await till.shop.rows("SELECT agent, refunds, amount_minor::bigint AS minor FROM refund_tally ORDER BY 1")
    assert [tuple(row.values()) for row in tallies] == [("", 1, 4500), ("anna", 1, 4500)]
    assert (await till.request(account, 501)).refund.state is RefundState.IN_REVIEW


async def test_new_lines_come_with_their_amount(till: Any) -> None:
    """Lines are replaced as a whole; the amount is said with them, and they must agree."""
    account = await till.with_lines()
    file = await till.request(account, 5950, lines=(AskedLine(line="shirt"),))

    with pytest.raises(RefundInvalid, match="must be given with new lines"):
        await edited(till, file, lines=(AskedLine(line="socks"),))
    after = await edited(till, file, amount_minor=1190, lines=(AskedLine(line="socks"),))

    assert [(line.revision, line.amount_minor, line.holds) for line in after.lines] == [
        (1, 5950, False),
        (2, 1190, True),
    ]
    held = {line.ref: line.held_minor for line in (await till.account(account)).lines}
    assert held == {"shirt": 0, "socks": 1190, "shipping": 0}


async def test_another_destination_keeps_the_lines(till: Any) -> None:
    """Store credit for the same two shirts: new parts, the same pieces."""
    account = await till.with_lines()
    file = await till.request(account, 3966, lines=(AskedLine(line="shirt", quantity=2),))

    after = await edited(till, file, destination=Destination.STORE_CREDIT)

    (line,) = [line for line in after.lines if line.holds]
    assert (line.revision, line.quantity, line.amount_minor, line.tax_minor) == (2, 2, 3966, 633)
    assert [part.gateway for part in after.current_parts] == [None]


async def test_an_orders_refund_is_spread_anew(till: Any) -> None:
    """Newest first stays newest first; amounts given per payment make it as given."""
    first, second = await till.order(50_000, 50_000)
    file = await till.request(None, 60_000, order_ref="order-a")

    more = await edited(till, file, amount_minor=70_000)
    given = (AskedPayment(payment_id=first.payment.id, amount_minor=50_000),)
    as_given = await edited(till, file, amount_minor=50_000, payments=given)

    assert [part.amount_minor for part in more.current_parts] == [50_000, 20_000]
    assert [(part.payment_id, part.amount_minor) for part in as_given.current_parts] == [(first.payment.id, 50_000)]
    assert (as_given.refund.spread, as_given.refund.payment_id) == (Spread.AS_GIVEN, second.payment.id)
    with pytest.raises(RefundInvalid, match="must be given with the new amount"):
        await edited(till, file, amount_minor=40_000)


async def test_payments_are_given_for_orders_only(till: Any) -> None:
    """A refund of one payment stays one."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)

    given = (AskedPayment(payment_id=account.payment.id, amount_minor=50000),)
    with pytest.raises(RefundInvalid, match="of one payment"):
        await edited(till, file, amount_minor=50000, payments=given)


async def test_an_edit_that_changes_nothing_is_refused(till: Any) -> None:
    """It would void approvals for nothing."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)

    with pytest.raises(RefundInvalid, match="changes nothing"):
        await edited(till, file, amount_minor=60000, reason="requested_by_customer")


async def test_an_edit_of_what_somebody_else_changed_is_refused(till: Any) -> None:
    """The version that was read is the version that is changed; the refusal tells the present one."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)
    await edited(till, file, "otto", note="called twice")

    with pytest.raises(VersionConflict) as refusal:
        await edit_refund(till.context, file.refund.id, RefundEdit(note="x"), till.by(), file.refund.version)

    assert refusal.value.present == 2


async def test_card_numbers_have_no_way_in_by_an_edit(till: Any) -> None:
    """Promise 11."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)

    with pytest.raises(CardNumberRefused):
        await edited(till, file, note="4242 4242 4242 4242")
    with pytest.raises(CardNumberRefused):
        await cancel_refund(till.context, file.refund.id, till.by(), "4242424242424242")


async def test_what_is_on_its_way_or_back_is_not_edited(till: Any) -> None:
    """Money that may have moved is no longer a request."""
    account = await till.captured(9000)
    pending = await till.answered(await till.request(account, 1000), Pending(gateway_ref="re_1"))
    paid = await till.paid(await till.request(account, 1000))
    denied = await till.request(account, 1000, reason="because")

    with pytest.raises(RefundInFlight):
        await edited(till, pending, amount_minor=900)
    for over in (paid, denied):
        with pytest.raises(RefundNotOpen):
            await edited(till, over, amount_minor=900)


async def test_anothers_refund_is_not_found(till: Any) -> None:
    """Every row belongs to a merchant."""
    file = await till.request(await till.captured(9000), 1000)
    other = till.by(merchant_id="other")

    with pytest.raises(NotFound):
        await edit_refund(till.context, file.refund.id, RefundEdit(note="x"), other, 1)
    with pytest.raises(NotFound):
        await cancel_refund(till.context, file.refund.id, other, "x")
    with pytest.raises(NotFound):
        await retry_refund(till.context, file.refund.id, other)
    with pytest.raises(NotFound):
        await submit_refund(till.context, uuid4(), till.by(), 1)


# --- submitted again ------------------------------------------------------------------------------------------------


async def test_what_was_sent_back_is_submitted_again_by_whoever_does_and_decided_anew(till: Any) -> None:
    """Trap 6: the requester edits, a colleague submits; neither may approve it, and the levels begin again."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)
    await till.verdict(file, "lea", "support_lead")
    back = await till.verdict(file, "finn", "finance", Verdict.SEND_BACK)

    after = await submit_refund(till.context, file.refund.id, till.by("otto"), back.refund.version)

    assert (after.refund.state, after.refund.revision, after.refund.level) == (RefundState.IN_REVIEW, 2, 0)
    assert after.refund.touched_by == ("anna", "otto")
    assert [part.id for part in after.parts] == [part.id for part in file.parts]
    with pytest.raises(FourEyes):
        await till.verdict(file, "otto", "support_lead")


async def test_only_what_waits_for_its_requester_is_submitted(till: Any) -> None:
    """What people are deciding on is not submitted over and over."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)

    with pytest.raises(RefundNotOpen):
        await submit_refund(till.context, file.refund.id, till.by(), file.refund.version)
    incomplete = await till.request(account, 100, reason="damaged")
    with pytest.raises(VersionConflict):
        await submit_refund(till.context, incomplete.refund.id, till.by(), 7)


# --- canceled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "reason"), [(1200, "damaged"), (60000, "duplicate"), (1200, "duplicate")])
async def test_what_has_not_left_is_canceled_and_free_again(till: Any, amount: int, reason: str) -> None:
    """Incomplete, in review or approved: nothing of it leaves any more, and nobody is asked about it."""
    account = await till.captured(90000)
    file = await till.request(account, amount, reason=reason)

    after = await cancel_refund(till.context, file.refund.id, till.by("otto"), "changed their mind", 1)

    assert (after.refund.state, after.parts[0].state) == (RefundState.CANCELED, PartState.CANCELED)
    assert after.refund.finished_at == till.shop.clock.now()
    assert (await till.capture(account)).held_minor == 0
    assert await till.shop.rows("SELECT FROM job") == []
    with pytest.raises(RefundNotOpen):
        await cancel_refund(till.context, file.refund.id, till.by(), "again")


async def test_a_failed_refund_is_closed_and_its_task_with_it(till: Any) -> None:
    """A person decides that nothing more is tried; what went back of it stays."""
    await till.order(1000, 1000)
    file = await till.paid(await till.request(None, 1500, order_ref="order-a"), 0)
    failed = await till.refused(file, 1)

    after = await cancel_refund(till.context, file.refund.id, till.by(), "paid in cash")

    assert failed.refund.state is RefundState.FAILED
    assert (after.refund.state, after.refund.refunded_minor) == (RefundState.CANCELED, 1000)
    assert (await till.file(file.refund.id)).open_tasks == ()


async def test_a_pending_refund_is_canceled_at_the_gateway_or_not_at_all(till: Any) -> None:
    """Nobody says canceled of money that may be moving; the refusal leaves everything as it was."""
    account = await till.captured(4900)
    file = await till.answered(await till.request(account, 1000), Pending(gateway_ref="re_1"))

    with pytest.raises(RefundInFlight):
        await cancel_refund(till.context, file.refund.id, till.by(), "too late?")

    assert (await till.capture(account)).held_minor == 1000
    assert (await till.file(file.refund.id)).refund.state is RefundState.APPROVED


@pytest.mark.parametrize("reason", ["", "x" * 1001, "a\x00b"])
async def test_a_cancellation_says_why(till: Any, reason: str) -> None:
    """Whoever asked is told the reason."""
    file = await till.request(await till.captured(4900), 1000)

    with pytest.raises(RefundInvalid):
        await cancel_refund(till.context, file.refund.id, till.by(), reason)


# --- retried --------------------------------------------------------------------------------------------------------


async def test_a_failed_refund_goes_again_in_a_new_part_under_the_same_approvals(till: Any) -> None:
    """A failed part is never sent again: what follows it has a key of its own; nobody is asked twice."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)
    await till.verdict(file, "lea", "support_lead")
    approved = await till.verdict(file, "finn", "finance")
    failed = await till.refused(approved)
    till.shop.clock.advance(timedelta(days=1))

    after = await retry_refund(till.context, file.refund.id, till.by("otto"))

    assert (after.refund.state, after.refund.revision) == (RefundState.APPROVED, 1)
    old, new = after.parts
    assert (old.state, new.state, new.follows, new.number) == (PartState.FAILED, PartState.SCHEDULED, old.id, 2)
    assert new.idempotency_key not in (None, old.idempotency_key)
    assert after.refund.approved_at == failed.refund.approved_at
    assert "otto" in after.refund.touched_by
    assert (await till.capture(account)).held_minor == 60000
    assert after.open_tasks == ()
    (job,) = await till.shop.rows("SELECT kind, subject_id FROM job")
    assert (job["kind"], job["subject_id"]) == ("refund", new.id)


async def test_only_what_is_missing_goes_again(till: Any) -> None:
    """What went back of an order stays; the other payment's part is tried anew."""
    await till.order(1000, 1000)
    file = await till.paid(await till.request(None, 1500, order_ref="order-a"), 0)
    await till.refused(file, 1)

    after = await retry_refund(till.context, file.refund.id, till.by())

    states = [(part.state, part.amount_minor) for part in after.parts]
    assert states == [(PartState.SUCCEEDED, 1000), (PartState.FAILED, 500), (PartState.SCHEDULED, 500)]
    done = await till.paid(after)
    assert (done.refund.state, done.refund.refunded_minor) == (RefundState.SUCCEEDED, 1500)


async def test_a_retry_finds_what_others_have_taken_meanwhile(till: Any) -> None:
    """A failure releases; whoever asked first has it."""
    account = await till.captured(4900)
    file = await till.refused(await till.request(account, 4000))
    await till.request(account, 1000)

    with pytest.raises(RefundExceedsRefundable) as refusal:
        await retry_refund(till.context, file.refund.id, till.by())

    assert refusal.value.refundable.amount_minor == 3900


async def test_another_way_of_paying_is_decided_anew(till: Any) -> None:
    """Store credit instead of a closed card is another refund to decide on, with an approval of its own."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)
    await till.verdict(file, "lea", "support_lead")
    await till.refused(await till.verdict(file, "finn", "finance"))

    after = await retry_refund(till.context, file.refund.id, till.by(), Destination.STORE_CREDIT)

    assert (after.refund.state, after.refund.revision) == (RefundState.IN_REVIEW, 2)
    assert [(part.state, part.destination) for part in after.parts] == [
        (PartState.FAILED, Destination.ORIGINAL_METHOD),
        (PartState.RESERVED, Destination.STORE_CREDIT),
    ]
    assert (await till.capture(account)).held_minor == 60000


async def test_what_partly_went_back_changes_its_way_no_more(till: Any) -> None:
    """An approval is for a whole; the rest is asked for anew."""
    await till.order(1000, 1000)
    file = await till.paid(await till.request(None, 1500, order_ref="order-a"), 0)
    await till.refused(file, 1)

    with pytest.raises(RefundInvalid, match=r"10\.00 EUR of it went back already"):
        await retry_refund(till.context, file.refund.id, till.by(), Destination.STORE_CREDIT)


async def test_only_what_failed_is_retried(till: Any) -> None:
    """An approved refund is under way, a canceled one is over."""
    account = await till.captured(4900)
    file = await till.request(account, 1000)

    with pytest.raises(RefundNotOpen):
        await retry_refund(till.context, file.refund.id, till.by())
    with pytest.raises(VersionConflict):
        await retry_refund(till.context, file.refund.id, till.by(), if_match=9)


async def test_an_edit_of_goodwill_is_bounded_like_the_request(till: Any) -> None:
    """Its own is free for it, the payment's size is the end."""
    account = await till.captured(20000)
    file = await request_refund(till.context, till.goodwill(account, 15000), till.by())

    after = await edited(till, file, amount_minor=20000)
    with pytest.raises(GoodwillExceedsPayment):
        await edited(till, file, amount_minor=20001)

    assert after.refund.state is RefundState.IN_REVIEW
    assert (await till.account(account)).payment.goodwill_minor == 20000


async def test_the_same_edit_again_gets_the_same_answer(till: Any) -> None:
    """A repeated call is answered from memory, although the version it names is gone by then."""
    account = await till.captured(90000)
    file = await till.request(account, 60000)
    by = till.by(key="edit-1")

    first = await edit_refund(till.context, file.refund.id, RefundEdit(amount_minor=50000), by, 1)
    again = await edit_refund(till.context, file.refund.id, RefundEdit(amount_minor=50000), by, 1)

    assert again == first


async def test_a_refund_that_others_made_is_neither_edited_nor_sent_by_us(till: Any) -> None:
    """Nobody approved it here; what the gateway took back of it is asked for anew, and decided."""
    at = till.shop.clock.now()
    account = await till.captured(4900, refunds=(ReportedRefund(gateway_ref="re_1", amount_minor=1000, at=at),))
    ((refund_id,),) = await till.shop.rows("SELECT id FROM refund")
    failure = RefundFailure(category=FailureCategory.REFUSED, code="declined")
    async with locked_refunds(till.context, [refund_id]) as locked:
        draft = locked.draft(refund_id, "gateway:sandbox", None)
        assert draft is not None
        record_refund(draft, draft.file.parts[0].id, TakenBack(gateway_ref="re_1", failure=failure))
    file = await till.file(refund_id)
    assert file.refund.state is RefundState.FAILED

    with pytest.raises(RefundInvalid, match="made elsewhere"):
        await retry_refund(till.context, refund_id, till.by())
    with pytest.raises(RefundInvalid, match="made elsewhere"):
        await edited(till, file, amount_minor=900)
    closed = await cancel_refund(till.context, refund_id, till.by(), "asked for anew")

    assert (closed.refund.state, len(closed.parts)) == (RefundState.CANCELED, 1)
    assert (await till.capture(account)).held_minor == 0
