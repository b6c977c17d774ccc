"""People approve, reject and send back: when they may, what it does, and what is told."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.errors import CardNumberRefused, DomainError
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import (
    Channel,
    PartState,
    RefundState,
)
from recoup_core.flows.operate import NotFound
from recoup_core.flows.refunds.refusals import (
    FourEyes,
    NotYourLevel,
    RefundExceedsRefundable,
    RefundInvalid,
    RefundNotOpen,
    VersionConflict,
)
from recoup_core.storage.calls import IdempotencyKeyReused

AFTER = {
    Verdict.APPROVE: RefundState.IN_REVIEW,
    Verdict.REJECT: RefundState.REJECTED,
    Verdict.SEND_BACK: RefundState.SENT_BACK,
}


@pytest.mark.parametrize("verdict", Verdict)
async def test_people_decide_in_review_and_in_no_other_state(desk: Any, verdict: Verdict) -> None:
    """Every pair of state and verdict; what is refused leaves nothing behind."""
    for state in RefundState:
        refund = await desk.refund(state)
        before = await desk.file(refund)

        if state is RefundState.IN_REVIEW:
            file = await desk.say(refund, desk.by("ben", "support_lead"), verdict)
            assert file.refund.state is AFTER[verdict]
            assert await desk.file(refund) == file
            continue
        with pytest.raises(RefundNotOpen) as refusal:
            await desk.say(refund, desk.by("ben", "support_lead"), verdict)
        assert refusal.value.state == state
        assert await desk.file(refund) == before
        assert await desk.events(refund) == []


async def test_levels_are_walked_in_order_and_the_last_one_sends(desk: Any) -> None:
    """The first approval opens the second level; only behind the last is anything scheduled."""
    refund = await desk.refund()
    with pytest.raises(NotYourLevel):
        await desk.say(refund, desk.by("eve", "finance"))

    first = await desk.say(refund, desk.by("ben", "team_lead"))
    with pytest.raises(NotYourLevel):
        await desk.say(refund, desk.by("kim", "support_lead"))
    second = await desk.say(refund, desk.by("eve", "finance"))

    assert (first.refund.state, first.refund.level, first.refund.open_roles) == (
        RefundState.IN_REVIEW,
        1,
        ("finance",),
    )
    assert [part.state for part in first.parts] == [PartState.RESERVED]
    assert (second.refund.state, second.refund.level, second.refund.open_roles) == (RefundState.APPROVED, 2, ())
    assert [part.state for part in second.parts] == [PartState.SCHEDULED]
    jobs = await desk.rows("SELECT kind FROM job WHERE subject_id = $1", second.parts[0].id)
    assert [job["kind"] for job in jobs] == ["refund"]
    assert await desk.timer_due(refund) is None
    assert await desk.events(refund) == ["refund.level_approved", "refund.level_approved", "refund.approved"]


async def test_an_approval_is_kept_with_everything_that_explains_it(desk: Any) -> None:
    """Who, by which role, at which level of which revision, how, and why."""
    refund = await desk.refund()

    file = await desk.say(
        refund, desk.by("Ben ", "support_lead", channel=Channel.CONSOLE), comment=" seen the photo ", if_match=1
    )

    (approval,) = file.approvals
    assert (approval.principal, approval.role, approval.level, approval.revision) == ("ben", "support_lead", 0, 1)
    assert (approval.comment, approval.channel, approval.on_behalf_of) == ("seen the photo", "console", None)
    assert approval.decided_at == desk.clock.now()
    told = await desk.told(refund, "refund.level_approved")
    assert told["actor"] == "key:Ben "
    assert (told["level"], told["levels"], told["role"]) == (1, 2, "support_lead")
    assert (told["principal"], told["comment"], told["channel"]) == ("ben", "seen the photo", "console")


async def test_an_approval_needs_no_comment(desk: Any) -> None:
    """A yes speaks for itself."""
    refund = await desk.refund()

    file = await desk.say(refund, desk.by("ben", "support_lead"), comment="   ")

    assert file.approvals[0].comment is None


async def test_rejecting_frees_the_money_and_tells_who_asked(desk: Any) -> None:
    """What was reserved can be asked for again; the requester learns why."""
    refund = await desk.refund()
    held = await desk.held(refund)

    file = await desk.say(refund, desk.by("ben", "support_lead"), Verdict.REJECT, comment="no photo")

    assert (held, await desk.held(refund)) == (4_000, 0)
    assert (file.refund.state, file.refund.stop_reason) == (RefundState.REJECTED, "no photo")
    assert file.refund.finished_at == desk.clock.now()
    assert [part.state for part in file.parts] == [PartState.CANCELED]
    assert await desk.timer_due(refund) is None
    told = await desk.told(refund, "refund.rejected")
    assert (told["requested_by"], told["principal"], told["comment"]) == ("ana", "ben", "no photo")


async def test_sending_back_keeps_the_money_and_ends_the_review(desk: Any) -> None:
    """The requester changes something; meanwhile nobody else can have the money, and nobody decides."""
    refund = await desk.refund()

    file = await desk.say(refund, desk.by("ben", "support_lead"), Verdict.SEND_BACK, comment="which shirt?")

    assert (file.refund.state, file.refund.open_roles) == (RefundState.SENT_BACK, ())
    assert await desk.held(refund) == 4_000
    assert [part.state for part in file.parts] == [PartState.RESERVED]
    assert await desk.timer_due(refund) == desk.clock.now() + timedelta(days=7)
    assert (await desk.told(refund, "refund.sent_back"))["comment"] == "which shirt?"


@pytest.mark.parametrize("verdict", [Verdict.REJECT, Verdict.SEND_BACK])
@pytest.mark.parametrize("comment", [None, "", " \n"])
async def test_a_no_says_why(desk: Any, verdict: Verdict, comment: str | None) -> None:
    """Whoever asked must be able to act on it."""
    refund = await desk.refund()

    with pytest.raises(RefundInvalid) as refusal:
        await desk.say(refund, desk.by("ben", "support_lead"), verdict, comment=comment)

    assert refusal.value.field == "comment"


async def test_comments_are_short_and_hold_no_card_number(desk: Any) -> None:
    """Promise 11, and the database's own limit, to the character."""
    refund = await desk.refund()
    ben = desk.by("ben", "support_lead")

    for comment in ("x" * 1001, "a\x00b"):
        with pytest.raises(RefundInvalid):
            await desk.say(refund, ben, comment=comment)
    with pytest.raises(CardNumberRefused):
        await desk.say(refund, ben, comment="paid with 4242 4242 4242 4242")
    file = await desk.say(refund, ben, comment="x" * 1000)

    assert len(file.approvals) == 1


async def test_who_read_an_older_version_decides_nothing(desk: Any) -> None:
    """One approves what one has read: the refusal says what is there now."""
    refund = await desk.refund()
    await desk.say(refund, desk.by("ben", "support_lead"))

    with pytest.raises(VersionConflict) as refusal:
        await desk.say(refund, desk.by("eve", "finance"), if_match=1)

    assert refusal.value.present == 2
    assert len((await desk.file(refund)).approvals) == 1


async def test_the_same_call_again_gets_its_first_answer(desk: Any) -> None:
    """A repeat neither counts twice nor fails on the version that it has itself made."""
    refund = await desk.refund()
    ben = desk.by("ben", "support_lead", key="k-1", request=b"approve")

    first = await desk.say(refund, ben, if_match=1)
    again = await desk.say(refund, ben, if_match=1)

    assert again == first
    assert len((await desk.file(refund)).approvals) == 1
    with pytest.raises(IdempotencyKeyReused):
        await desk.say(refund, desk.by("eve", "finance", key="k-1", request=b"other"))


async def test_another_merchants_refund_is_not_there(desk: Any) -> None:
    """Crossing is as if it did not exist."""
    refund = await desk.refund()

    with pytest.raises(NotFound):
        await desk.say(refund, desk.by("ben", "support_lead", merchant_id="other"))
    with pytest.raises(NotFound):
        await desk.say(msgspec.structs.replace(refund, id=new_id()), desk.by("ben", "support_lead"), if_match=1)


# --- at the same time -------------------------------------------------------------------------------------------------


async def together(*calls: Any) -> list[Any]:
    """Run calls at once; refusals are answers, anything else is a failure."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, DomainError):
            raise answer
    return answers


async def test_of_many_who_approve_one_level_at_once_exactly_one_counts(desk: Any) -> None:
    """The others are told that the refund has changed since they read it."""
    refund = await desk.refund()
    people = [desk.by(f"person-{number}", "support_lead", "finance") for number in range(8)]

    answers = await together(*(desk.say(refund, by, if_match=1) for by in people))

    refused = [answer for answer in answers if isinstance(answer, DomainError)]
    assert len(refused) == 7
    assert all(isinstance(refusal, VersionConflict) for refusal in refused)
    file = await desk.file(refund)
    assert (len(file.approvals), file.refund.level, file.refund.state) == (1, 1, RefundState.IN_REVIEW)


async def test_a_yes_and_a_no_at_once_are_one_answer(desk: Any) -> None:
    """Whoever comes second decides nothing."""
    for _ in range(5):
        refund = await desk.refund(level=1, open_roles=("finance",))
        ben = desk.say(refund, desk.by("ben", "finance"), Verdict.REJECT, if_match=1)
        eve = desk.say(refund, desk.by("eve", "finance"), Verdict.SEND_BACK, if_match=1)

        answers = await together(ben, eve)

        assert sum(isinstance(answer, DomainError) for answer in answers) == 1
        assert len((await desk.file(refund)).approvals) == 1


# --- facts that have changed since the policy was asked ---------------------------------------------------------------


async def test_a_dispute_that_the_policy_did_not_know_of_is_decided_anew(desk: Any) -> None:
    """The approval counts for nothing: the policy now wants other people, under a new revision."""
    refund = await desk.refund()
    await desk.dispute(refund, DisputeState.OPEN, 1_000)

    file = await desk.say(refund, desk.by("ben", "support_lead"))

    assert (file.refund.state, file.refund.revision, file.refund.level) == (RefundState.IN_REVIEW, 2, 0)
    assert file.refund.open_roles == ("finance",)
    assert file.approvals == ()
    assert (await desk.file(refund)).refund == file.refund


async def test_what_the_policy_denies_now_is_denied_though_people_agree(desk: Any) -> None:
    """Lost in a dispute: the money went back already."""
    refund = await desk.refund(level=1, open_roles=("finance",))
    await desk.dispute(refund, DisputeState.LOST)

    file = await desk.say(refund, desk.by("eve", "finance"))

    assert (file.refund.state, file.refund.stop_reason) == (RefundState.DENIED, "disputed")
    assert await desk.held(refund) == 0


async def test_a_dispute_that_the_policy_knew_of_is_for_people_to_decide(desk: Any) -> None:
    """Decided anew once, not at every approval: else nobody could ever approve it."""
    refund = await desk.refund()
    await desk.dispute(refund, DisputeState.OPEN, 1_000)
    await desk.say(refund, desk.by("ben", "support_lead"))

    file = await desk.say(refund, desk.by("eve", "finance"))

    assert (file.refund.state, file.refund.revision) == (RefundState.APPROVED, 2)
    assert [part.state for part in file.parts] == [PartState.SCHEDULED]


async def test_a_no_is_a_no_under_any_dispute(desk: Any) -> None:
    """Nothing moves by it, so nothing has to be asked again."""
    refund = await desk.refund()
    await desk.dispute(refund, DisputeState.OPEN)

    file = await desk.say(refund, desk.by("ben", "support_lead"), Verdict.REJECT)

    assert file.refund.state is RefundState.REJECTED


async def test_money_that_is_gone_is_not_approved(desk: Any) -> None:
    """Refunded by another channel meanwhile: the refusal says what is left, and the review goes on."""
    refund = await desk.refund()
    elsewhere = await desk.refund(
        RefundState.SUCCEEDED, payment_id=refund.payment_id, channel=Channel.REPORTED, amount_minor=8_500
    )
    (capture,) = await desk.rows("SELECT id FROM capture WHERE payment_id = $1", refund.payment_id)
    await desk.rows(
        "INSERT INTO refund_part (id, merchant_id, refund_id, payment_id, capture_id, number, revision, destination,"
        " gateway, void, amount_minor, currency, tax_minor, state, sends, claim, successes, created_at, finished_at)"
        " VALUES ($1, 'default', $2, $3, $4, 1, 1, 'original_method', 'sandbox', false, 8500, 'EUR', 0, 'succeeded',"
        " 0, 0, 1, now(), now())",
        new_id(),
        elsewhere.id,
        refund.payment_id,
        capture["id"],
    )

    with pytest.raises(RefundExceedsRefundable) as refusal:
        await desk.say(refund, desk.by("ben", "support_lead"))

    assert refusal.value.refundable.amount_minor == 1_500
    assert (await desk.file(refund)).refund == refund


# --- four eyes, by every route ----------------------------------------------------------------------------------------


async def test_two_keys_of_one_person_are_one_person(desk: Any) -> None:
    """The key decides the roles, the principal who it is: no spelling makes a second one."""
    refund = await desk.refund()
    await desk.hire("Ana", "support_lead")

    for name in ("ana", "Ana", " ANA"):
        with pytest.raises(FourEyes):
            await desk.say(refund, desk.by(name, "support_lead"))


async def test_a_key_decides_by_its_own_roles_alone(desk: Any) -> None:
    """Least privilege: what another key of the same person may approve, this one may not."""
    refund = await desk.refund()
    await desk.hire("ben", "support_lead")

    with pytest.raises(NotYourLevel):
        await desk.say(refund, desk.by("ben"))


@pytest.mark.parametrize("verdict", Verdict)
async def test_whoever_touched_it_decides_it_in_no_way(desk: Any, verdict: Verdict) -> None:
    """Neither by approving, nor by rejecting or sending back; nor does who edited it."""
    refund = await desk.refund(touched_by=("ana", "kim"))

    for person in ("ana", "kim"):
        with pytest.raises(FourEyes):
            await desk.say(refund, desk.by(person, "support_lead"), verdict)


async def test_one_person_approves_one_level(desk: Any) -> None:
    """Two levels are two people, also where one has the roles of both."""
    refund = await desk.refund()
    both = desk.by("ben", "support_lead", "finance")
    await desk.say(refund, both)

    with pytest.raises(FourEyes):
        await desk.say(refund, both)

    assert (await desk.file(refund)).refund.state is RefundState.IN_REVIEW


async def test_the_database_refuses_what_the_flow_refuses(desk: Any) -> None:
    """Raw SQL: an approval of one's own, two levels by one person, and a level skipped."""
    refund = await desk.refund()
    await desk.say(refund, desk.by("ben", "support_lead"))
    insert = (
        "INSERT INTO refund_approval (id, merchant_id, refund_id, revision, level, role, principal, on_behalf_of,"
        " verdict, channel, decided_at)"
        " VALUES (gen_random_uuid(), 'default', $1, 1, 1, 'finance', $2, $3, 'approve', 'api', now())"
    )

    for person, owner in (("ana", None), ("eve", "ana"), ("ben", None), ("eve", "ben")):
        with pytest.raises(Exception, match=r"decide it|another person"):
            await desk.rows(insert, refund.id, person, owner)
    with pytest.raises(Exception, match="neither policy nor people"):
        await desk.rows(
            "UPDATE refund SET state = 'approved', open_roles = '{}', approved_at = now(), version = version + 1"
            " WHERE id = $1",
            refund.id,
        )

    assert len((await desk.file(refund)).approvals) == 1


async def test_the_database_refuses_two_levels_by_one_person_at_once(desk: Any) -> None:
    """Neither transaction sees the other's row before it commits; the second waits, and is refused."""
    refund = await desk.refund()
    insert = (
        "INSERT INTO refund_approval (id, merchant_id, refund_id, revision, level, role, principal, verdict, channel,"
        " decided_at) VALUES (gen_random_uuid(), 'default', $1, 1, $2, $3, 'ben', 'approve', 'api', now())"
    )

    async def approve(level: int, role: str) -> None:
        async with desk.context.database.transaction() as connection:
            await connection.execute(insert, refund.id, level, role)
            await asyncio.sleep(0.1)  # both are under way

    answers = await asyncio.gather(approve(0, "team_lead"), approve(1, "finance"), return_exceptions=True)

    assert sum(isinstance(answer, asyncpg.IntegrityConstraintViolationError) for answer in answers) == 1
    assert len((await desk.file(refund)).approvals) == 1
