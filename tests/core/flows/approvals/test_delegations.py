"""Approval roles are lent for a time by who has them, and are worth what their owner could decide at that moment."""

import asyncio
from contextvars import Context
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.approval import Delegation, Verdict
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import (
    RefundState,
)
from recoup_core.flows.operate import NotAllowedNow, NotFound
from recoup_core.flows.refunds.delegations import MAX_OPEN, DelegationAsk, delegate, revoke_delegation
from recoup_core.flows.refunds.refusals import DelegationInvalid, FourEyes, NotYourLevel
from recoup_core.storage.calls import IdempotencyKeyReused

WEEK = timedelta(days=7)


class Office:
    """A desk whose people lend each other their roles."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk

    def ask(self, delegate_: str = "ben", *roles: str, **fields: Any) -> DelegationAsk:
        """A delegation of a week from now."""
        ends_at = self.desk.clock.now() + WEEK
        given = {"delegate": delegate_, "roles": roles or ("support_lead",), "ends_at": ends_at, **fields}
        return DelegationAsk(**given)

    async def lend(self, owner: str, delegate_: str, *roles: str, admin: bool = False, **fields: Any) -> Delegation:
        """Lend roles; the owner asks, unless an administrator does."""
        by = self.desk.by("root" if admin else owner)
        given = {"owner": owner, **fields} if admin else fields
        return await delegate(self.desk.context, self.ask(delegate_, *roles, **given), by, admin=admin)

    async def refused(self, ask: DelegationAsk, by: Any, *, admin: bool = False) -> str:
        """Which field of a delegation is refused; nothing is kept of it."""
        with pytest.raises(DelegationInvalid) as refusal:
            await delegate(self.desk.context, ask, by, admin=admin)
        assert await self.desk.rows("SELECT 1 FROM delegation") == []
        field: str = refusal.value.field
        return field


@pytest.fixture
def office(desk: Any) -> Office:
    """People who lend roles."""
    return Office(desk)


async def test_a_lent_role_decides_and_both_names_are_kept(desk: Any, office: Office) -> None:
    """The delegate's own key approves nothing; the delegation does, on behalf of its owner."""
    refund = await desk.refund()
    await desk.hire("eve", "support_lead")
    await office.lend("eve", "ben")

    file = await desk.say(refund, desk.by("Ben"))

    (approval,) = file.approvals
    assert (approval.principal, approval.on_behalf_of, approval.role) == ("ben", "eve", "support_lead")
    assert (await desk.told(refund, "refund.level_approved"))["on_behalf_of"] == "eve"


async def test_making_and_ending_a_delegation_is_told(desk: Any, office: Office) -> None:
    """Who lent whom what, from when to when, and who ended it."""
    await desk.hire("eve", "finance", "support_lead")

    made = await office.lend("EVE", " Ben", "support_lead", "finance", "finance")
    ended = await revoke_delegation(desk.context, made.id, desk.by("eve"))

    assert (made.owner, made.delegate, made.roles) == ("eve", "ben", ("support_lead", "finance"))
    assert (made.created_by, made.starts_at) == ("eve", desk.clock.now())
    assert ended == msgspec.structs.replace(made, revoked_at=desk.clock.now())
    told = await desk.rows("SELECT kind, actor, data::text FROM event WHERE kind LIKE 'delegation.%' ORDER BY id")
    assert [row["kind"] for row in told] == ["delegation.created", "delegation.revoked"]
    data = msgspec.json.decode(told[0]["data"])
    assert (data["owner"], data["delegate"], data["roles"]) == ("eve", "ben", ["support_lead", "finance"])
    assert data["delegation_id"] == str(made.id)


async def test_a_delegation_counts_within_its_dates_only(desk: Any, office: Office) -> None:
    """Neither a day early nor a moment late."""
    refund = await desk.refund()
    await desk.hire("eve", "support_lead")
    starts_at = desk.clock.now() + timedelta(days=1)
    await office.lend("eve", "ben", starts_at=starts_at)
    ben = desk.by("ben")

    with pytest.raises(NotYourLevel):
        await desk.say(refund, ben)
    desk.clock.set(starts_at + WEEK - timedelta(days=1))
    with pytest.raises(NotYourLevel):
        await desk.say(refund, ben)
    desk.clock.set(starts_at)
    file = await desk.say(refund, ben)

    assert len(file.approvals) == 1


async def test_a_revoked_delegation_counts_no_more_at_once(desk: Any, office: Office) -> None:
    """The very next decision doesn't have it."""
    refund = await desk.refund()
    await desk.hire("eve", "support_lead")
    made = await office.lend("eve", "ben")

    await revoke_delegation(desk.context, made.id, desk.by("eve"))

    with pytest.raises(NotYourLevel):
        await desk.say(refund, desk.by("ben"))


async def test_a_delegation_that_is_being_revoked_is_waited_for(desk: Any, office: Office) -> None:
    """Decided while it is being revoked: the decision comes second, and doesn't have it."""
    refund = await desk.refund()
    await desk.hire("eve", "support_lead")
    made = await office.lend("eve", "ben")

    async with desk.context.database.transaction() as connection:
        await connection.execute("UPDATE delegation SET revoked_at = $2 WHERE id = $1", made.id, desk.clock.now())
        saying = asyncio.get_running_loop().create_task(desk.say(refund, desk.by("ben"), if_match=1), context=Context())
        await asyncio.sleep(0.3)
        waited = not saying.done()

    with pytest.raises(NotYourLevel):
        await saying
    assert waited


@pytest.mark.parametrize("how", ["revoked", "expired", "fewer roles"])
async def test_an_owner_who_lost_the_role_has_lent_nothing(desk: Any, office: Office, how: str) -> None:
    """What counts is what the owner may decide at that moment, by a usable key."""
    refund = await desk.refund()
    expires_at = desk.clock.now() + timedelta(days=1) if how == "expired" else None
    key = await desk.hire("eve", "support_lead", expires_at=expires_at)
    await office.lend("eve", "ben")

    if how == "expired":
        desk.clock.advance(timedelta(days=1))
    else:
        await desk.dismiss(key)
    if how == "fewer roles":
        await desk.hire("eve", "finance")

    with pytest.raises(NotYourLevel):
        await desk.say(refund, desk.by("ben"))


async def test_an_owner_with_another_key_for_the_role_still_lends_it(desk: Any, office: Office) -> None:
    """A key that is replaced ends no delegation."""
    refund = await desk.refund()
    key = await desk.hire("eve", "support_lead")
    await office.lend("eve", "ben")

    await desk.hire("Eve", "support_lead")
    await desk.dismiss(key)

    assert len((await desk.say(refund, desk.by("ben"))).approvals) == 1


@pytest.mark.parametrize("verdict", Verdict)
async def test_a_delegation_leads_around_four_eyes_in_neither_direction(
    desk: Any, office: Office, verdict: Verdict
) -> None:
    """Trap 6 by delegation: the requester uses no lent role, and lends none to decide their own refund."""
    refund = await desk.refund()
    await desk.hire("ana", "support_lead")
    await desk.hire("eve", "support_lead")
    await office.lend("ana", "ben")
    await office.lend("eve", "ana")

    with pytest.raises(FourEyes):
        await desk.say(refund, desk.by("ana"), verdict)
    with pytest.raises(FourEyes):
        await desk.say(refund, desk.by("ben"), verdict)

    assert (await desk.file(refund)).approvals == ()


async def test_who_lent_a_role_for_one_level_does_not_approve_the_other(desk: Any, office: Office) -> None:
    """On behalf of eve is by eve, too: two levels are two pairs of eyes."""
    refund = await desk.refund()
    await desk.hire("eve", "support_lead", "finance")
    await office.lend("eve", "ben", "support_lead", "finance")
    await desk.say(refund, desk.by("ben"))

    for by in (desk.by("eve", "finance"), desk.by("ben", "finance"), desk.by("ben")):
        with pytest.raises(FourEyes):
            await desk.say(refund, by)
    file = await desk.say(refund, desk.by("dan", "finance"))

    assert file.refund.state is RefundState.APPROVED


async def test_what_was_lent_is_not_lent_on(desk: Any, office: Office) -> None:
    """Ben has no key for the role, so ben has nothing to lend; neither by himself nor through an administrator."""
    await desk.hire("eve", "support_lead")
    await desk.hire("ben", "finance")
    await office.lend("eve", "ben")

    for admin in (False, True):
        with pytest.raises(DelegationInvalid) as refusal:
            await office.lend("ben", "kim", "support_lead", admin=admin)
        assert refusal.value.field == "roles"
    assert (await office.lend("ben", "kim", "finance")).roles == ("finance",)


async def test_only_the_owner_or_an_administrator_lends_and_revokes(desk: Any, office: Office) -> None:
    """Nobody takes a role by lending it to themselves."""
    await desk.hire("eve", "support_lead")
    ask = office.ask("ben", owner="eve")
    assert await office.refused(ask, desk.by("ben")) == "owner"

    made = await delegate(desk.context, ask, desk.by("root"), admin=True)
    with pytest.raises(DelegationInvalid):
        await revoke_delegation(desk.context, made.id, desk.by("ben"))
    ended = await revoke_delegation(desk.context, made.id, desk.by("other-root"), admin=True)

    assert (made.owner, made.created_by) == ("eve", "root")
    assert ended.revoked_at is not None


async def test_a_delegation_that_makes_no_sense_is_refused(desk: Any, office: Office) -> None:
    """Each by the field that is wrong."""
    await desk.hire("eve", "support_lead")
    eve, now = desk.by("eve"), desk.clock.now()

    assert await office.refused(office.ask("EVE "), eve) == "delegate"
    assert await office.refused(office.ask("  "), eve) == "delegate"
    assert await office.refused(office.ask("x" * 201), eve) == "delegate"
    assert await office.refused(office.ask("b\x07n"), eve) == "delegate"
    assert await office.refused(office.ask("ben", roles=()), eve) == "roles"
    assert await office.refused(office.ask("ben", "support_lead", "finance"), eve) == "roles"
    assert await office.refused(office.ask("ben", ends_at=now), eve) == "ends_at"
    assert await office.refused(office.ask("ben", starts_at=now + WEEK), eve) == "ends_at"
    too_late = now + timedelta(days=90, microseconds=1)
    assert await office.refused(office.ask("ben", ends_at=too_late), eve) == "ends_at"
    assert await office.refused(office.ask("ben"), desk.by("")) == "owner"
    with pytest.raises(CardNumberRefused):
        await delegate(desk.context, office.ask("4242424242424242"), eve)


async def test_ninety_days_are_the_longest(desk: Any, office: Office) -> None:
    """To the moment; what began in the past begins now."""
    await desk.hire("eve", "support_lead")
    now = desk.clock.now()

    made = await office.lend("eve", "ben", starts_at=now - WEEK, ends_at=now + timedelta(days=90))

    assert (made.starts_at, made.ends_at) == (now, now + timedelta(days=90))


async def test_one_owner_has_so_many_delegations_and_no_more(desk: Any, office: Office) -> None:
    """What is over or revoked doesn't count."""
    await desk.hire("eve", "support_lead")
    made = [await office.lend("eve", f"person-{number}") for number in range(MAX_OPEN)]

    with pytest.raises(DelegationInvalid):
        await office.lend("eve", "ben")
    await revoke_delegation(desk.context, made[0].id, desk.by("eve"))

    assert (await office.lend("eve", "ben")).delegate == "ben"


async def test_the_same_call_again_lends_once(desk: Any, office: Office) -> None:
    """Also where both come at once; another request under the key is refused."""
    await desk.hire("eve", "support_lead")
    eve, ask = desk.by("eve", key="k-1", request=b"lend"), office.ask("ben")

    one, two = await asyncio.gather(delegate(desk.context, ask, eve), delegate(desk.context, ask, eve))
    desk.clock.advance(timedelta(days=200))
    three = await delegate(desk.context, ask, eve)

    assert one == two == three
    assert len(await desk.rows("SELECT 1 FROM delegation")) == 1
    with pytest.raises(IdempotencyKeyReused):
        await delegate(desk.context, ask, desk.by("eve", key="k-1", request=b"other"))


async def test_a_delegation_ends_once(desk: Any, office: Office) -> None:
    """A repeat of the call gets its answer; another call is told; another merchant finds nothing."""
    await desk.hire("eve", "support_lead")
    made = await office.lend("eve", "ben")
    with pytest.raises(NotFound):
        await revoke_delegation(desk.context, made.id, desk.by("eve", merchant_id="other"), admin=True)
    with pytest.raises(NotFound):
        await revoke_delegation(desk.context, new_id(), desk.by("eve"))
    eve = desk.by("eve", key="k-1", request=b"revoke")

    first = await revoke_delegation(desk.context, made.id, eve)
    desk.clock.advance(timedelta(hours=1))
    again = await revoke_delegation(desk.context, made.id, eve)

    assert again == first
    with pytest.raises(NotAllowedNow):
        await revoke_delegation(desk.context, made.id, desk.by("eve"))
