"""Promise 8 as a pure rule: whoever touched a refund decides it by no route, and no one decides two levels of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from recoup_core.domain.approval import Approval, Delegation, Verdict
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import (
    Refund,
    RefundState,
)
from recoup_core.flows.refunds.people import Seat, seat_of, usable_roles
from recoup_core.flows.refunds.refusals import FourEyes, NotYourLevel
from recoup_core.storage.approvals import Lent

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = timedelta(days=1)
PEOPLE = ("ana", "ben", "eve", "dan", "kim")
ROLES = ("support_lead", "finance", "director")


def a_refund(**fields: Any) -> Refund:
    return Refund(
        **{
            "id": new_id(),
            "merchant_id": "default",
            "payment_id": new_id(),
            "customer_ref": "cus-1",
            "amount_minor": 4_000,
            "currency": "EUR",
            "reason": "damaged",
            "requested_by": "ana",
            "touched_by": ("ana",),
            "state": RefundState.IN_REVIEW,
            "levels": (("support_lead",), ("finance",)),
            "open_roles": ("support_lead",),
            "created_at": NOW,
            **fields,
        }
    )


def an_approval(refund: Refund, person: str, **fields: Any) -> Approval:
    return Approval(
        **{
            "id": new_id(),
            "merchant_id": "default",
            "refund_id": refund.id,
            "revision": refund.revision,
            "level": refund.level,
            "role": "support_lead",
            "principal": person,
            "verdict": Verdict.APPROVE,
            "channel": "api",
            "decided_at": NOW,
            **fields,
        }
    )


def lends(owner: str, delegate: str, *roles: str, owned: tuple[str, ...] | None = None, **fields: Any) -> Lent:
    delegation = Delegation(
        **{
            "id": new_id(),
            "merchant_id": "default",
            "owner": owner,
            "delegate": delegate,
            "roles": roles,
            "starts_at": NOW,
            "ends_at": NOW + DAY,
            "created_by": owner,
            "created_at": NOW,
            **fields,
        }
    )
    return Lent(delegation=delegation, owned=roles if owned is None else owned)


def decides(refund: Refund, person: str, *own: str, lent: Any = (), approvals: Any = ()) -> Seat:
    return seat_of(refund, approvals, person=person, own=own, lent=lent, now=NOW)


def test_an_open_role_of_ones_own_decides() -> None:
    """Whoever has one of the level's roles and never touched the refund."""
    assert decides(a_refund(), "ben", "finance", "support_lead") == Seat(role="support_lead")


def test_the_role_of_another_level_does_not() -> None:
    """Levels are walked in order; the refusal says whose turn it is."""
    with pytest.raises(NotYourLevel) as refusal:
        decides(a_refund(open_roles=("support_lead", "director")), "ben", "finance")

    assert refusal.value.roles == ("support_lead", "director")


@pytest.mark.parametrize("name", ["ana", "Ana", " ANA ", "an\u200ba"])
def test_whoever_touched_it_decides_under_no_spelling(name: str) -> None:
    """A second key in another spelling is the same person."""
    with pytest.raises(FourEyes):
        decides(a_refund(), name, "support_lead")
    with pytest.raises(FourEyes):
        decides(a_refund(touched_by=("Ana ",)), "ana", "support_lead")


def test_every_editor_counts_not_only_the_requester() -> None:
    """Trap 6: the requester edits, a colleague submits again: neither approves."""
    refund = a_refund(touched_by=("ana", "kim"))

    for person in ("ana", "kim"):
        with pytest.raises(FourEyes):
            decides(refund, person, "support_lead")
    assert decides(refund, "ben", "support_lead").role == "support_lead"


def test_nobody_without_a_name_decides() -> None:
    """Of somebody unknown it can't be told what they touched."""
    for nobody in ("", "  ", "\u200b"):
        with pytest.raises(FourEyes):
            decides(a_refund(), nobody, "support_lead")


def test_a_lent_role_decides_on_behalf_of_its_owner() -> None:
    """The approval will name both."""
    seat = decides(a_refund(), "ben", lent=[lends("eve", "ben", "support_lead")])

    assert seat == Seat(role="support_lead", on_behalf_of="eve")


def test_an_own_role_comes_before_a_lent_one() -> None:
    """Nobody uses another's name without need."""
    seat = decides(a_refund(), "ben", "support_lead", lent=[lends("eve", "ben", "support_lead")])

    assert seat.on_behalf_of is None


def test_whoever_touched_it_decides_through_nobody() -> None:
    """Neither may the requester use a lent role, nor anybody the requester's."""
    with pytest.raises(FourEyes):
        decides(a_refund(), "ana", lent=[lends("eve", "ana", "support_lead")])
    with pytest.raises(FourEyes, match="ana, who has lent"):
        decides(a_refund(), "ben", lent=[lends("ana", "ben", "support_lead")])


def test_another_owners_delegation_is_used_where_one_is_barred() -> None:
    """What the requester has lent is worth nothing here; what others have lent still is."""
    lent = [lends("ana", "ben", "support_lead"), lends("eve", "ben", "support_lead")]

    assert decides(a_refund(), "ben", lent=lent).on_behalf_of == "eve"


def test_a_level_is_approved_by_somebody_who_approved_none_before() -> None:
    """Two levels are two people, whatever roles one of them has."""
    refund = a_refund(level=1, open_roles=("finance",))
    approvals = [an_approval(refund, "ben", level=0)]

    with pytest.raises(FourEyes):
        decides(refund, "ben", "finance", approvals=approvals)
    with pytest.raises(FourEyes):
        decides(refund, "dan", lent=[lends("ben", "dan", "finance")], approvals=approvals)
    assert decides(refund, "eve", "finance", approvals=approvals) == Seat(role="finance")


def test_who_lent_a_role_for_one_level_approves_no_other() -> None:
    """On behalf of somebody is by them, too."""
    refund = a_refund(level=1, open_roles=("finance",))
    approvals = [an_approval(refund, "ben", level=0, on_behalf_of="eve")]

    for person in ("ben", "eve"):
        with pytest.raises(FourEyes):
            decides(refund, person, "finance", approvals=approvals)


def test_what_was_said_about_an_earlier_revision_bars_nobody() -> None:
    """An edit voids approvals, so who gave them may look again."""
    refund = a_refund(revision=2)
    approvals = [an_approval(refund, "ben", revision=1)]

    assert decides(refund, "ben", "support_lead", approvals=approvals).role == "support_lead"


@pytest.mark.parametrize(
    "lent",
    [
        lends("eve", "ben", "support_lead", starts_at=NOW + DAY, ends_at=NOW + 2 * DAY),
        lends("eve", "ben", "support_lead", starts_at=NOW - DAY, ends_at=NOW),
        lends("eve", "ben", "support_lead", revoked_at=NOW),
        lends("eve", "kim", "support_lead"),
        lends("ben", "ben", "support_lead"),
        lends("eve", "ben", "support_lead", owned=("finance",)),
        lends("eve", "ben", "support_lead", owned=()),
        lends("eve", "ben", "finance", owned=("support_lead", "finance")),
    ],
    ids=["early", "over", "revoked", "another's", "own", "owner lost the role", "owner lost all", "another role"],
)
def test_a_delegation_that_is_worth_nothing_now_gives_no_seat(lent: Lent) -> None:
    """It is valid, for this person, for an open role, and its owner still has the role."""
    with pytest.raises(NotYourLevel):
        decides(a_refund(), "ben", lent=[lent])


def test_a_delegation_counts_from_its_first_moment_to_before_its_last() -> None:
    """Both ends are exact."""
    lent = lends("eve", "ben", "finance", starts_at=NOW, ends_at=NOW + DAY)
    moment = timedelta(microseconds=1)

    found = [bool(usable_roles(lent, "ben", at)) for at in (NOW - moment, NOW, NOW + DAY - moment, NOW + DAY)]

    assert found == [False, True, True, False]


# --- random histories -------------------------------------------------------------------------------------------------

people = st.sampled_from(PEOPLE)
roles = st.frozensets(st.sampled_from(ROLES), max_size=2)
mostly = st.sampled_from([True, True, True, False])
spellings = st.sampled_from([str.upper, str.title, " {} ".format, str])


@st.composite
def lendings(draw: st.DrawFn, person: str) -> Lent:
    """A delegation that mostly is to this person, valid and worth something."""
    lent = draw(st.frozensets(st.sampled_from(ROLES), min_size=1))
    starts_at = NOW - DAY if draw(mostly) else NOW + draw(st.integers(-4, 2)) * DAY
    return lends(
        draw(people),
        person if draw(mostly) else draw(people),
        *sorted(lent),
        owned=ROLES if draw(mostly) else tuple(sorted(draw(roles))),
        starts_at=starts_at,
        ends_at=starts_at + 2 * DAY,
        revoked_at=None if draw(mostly) else NOW,
    )


@st.composite
def turns(draw: st.DrawFn) -> tuple[Any, ...]:
    """Somebody touches the refund or, more often, tries to decide it."""
    person, spelling = draw(people), draw(spellings)
    if not draw(mostly):
        return "touch", person, spelling
    return "decide", person, spelling, draw(roles), draw(st.lists(lendings(person), max_size=3))


@settings(max_examples=300)
@given(st.lists(turns(), max_size=25))
def test_no_history_lets_a_toucher_decide_or_one_person_decide_twice(history: list[Any]) -> None:
    """Whoever edits, submits, lends and approves in whatever order and spelling: the approved revision had two people
    for its two levels, none of whom ever touched the refund, and nobody was refused who may decide."""
    refund, approvals = a_refund(), list[Approval]()
    for turn in history:
        person, spell = turn[1], turn[2]
        if turn[0] == "touch":
            touched = tuple(dict.fromkeys((*refund.touched_by, spell(person))))
            refund = msgspec.structs.replace(
                refund, touched_by=touched, revision=refund.revision + 1, level=0, open_roles=refund.levels[0]
            )
            continue
        own, lent = turn[3], turn[4]
        may = _may(refund, approvals, person, own, lent)
        try:
            seat = decides(refund, spell(person), *own, lent=lent, approvals=approvals)
        except (FourEyes, NotYourLevel):
            assert not may
            continue
        assert (seat.role, seat.on_behalf_of) in may
        approvals.append(an_approval(refund, person, role=seat.role, on_behalf_of=seat.on_behalf_of))
        if refund.level == 1:
            break
        refund = msgspec.structs.replace(refund, level=1, open_roles=refund.levels[1])

    event(f"{sum(a.on_behalf_of is not None for a in approvals)} on behalf, {len(approvals)} approvals")
    given_now = [a for a in approvals if a.revision == refund.revision]
    deciders = [name for a in given_now for name in (a.principal, a.on_behalf_of) if name]
    assert len(deciders) == len(set(deciders))
    assert set(deciders).isdisjoint(name.strip().lower() for name in refund.touched_by)


def _may(
    refund: Refund, approvals: list[Approval], person: str, own: frozenset[str], lent: list[Lent]
) -> set[tuple[str, str | None]]:
    """All seats there are, found the slow way."""
    barred = {name.strip().lower() for name in refund.touched_by}
    for approval in approvals:
        if approval.revision == refund.revision:
            barred |= {approval.principal, approval.on_behalf_of or approval.principal}
    seats: set[tuple[str, str | None]] = set()
    if person in barred:
        return seats
    for role in refund.open_roles:
        if role in own:
            seats.add((role, None))
        for one in lent:
            delegation = one.delegation
            valid = delegation.revoked_at is None and delegation.starts_at <= NOW < delegation.ends_at
            to_person = delegation.delegate == person and delegation.owner not in {person, *barred}
            if valid and to_person and role in delegation.roles and role in one.owned:
                seats.add((role, delegation.owner))
    return seats
