"""Four eyes (promise 8): who may decide a refund, in which role, and on whose behalf. Pure.

The roles are those of the key that asks, not of all keys of its person: a key made for reading does not approve. A
delegation gives what its owner could decide at this moment: whoever has lost a role, or every key, has lent nothing.
What was lent can't be lent on, since only keys give roles that can be lent.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec

from recoup_core.domain.approval import Approval, Verdict
from recoup_core.domain.principal import canonical
from recoup_core.domain.refund import (
    Refund,
)
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.refusals import FourEyes, NotYourLevel
from recoup_core.storage.approvals import Lent


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """In what role somebody decides."""

    role: str
    on_behalf_of: str | None = None
    """Who lent the role; None where it is the person's own."""


def in_person(by: By) -> By:
    """Return the caller with their call as their own: a verdict or a loan is one person's word, so a colleague who
    says the same under the same idempotency key says something else (`IdempotencyKeyReused`)."""
    return msgspec.structs.replace(by, call=by.call and by.call.said_by(by.principal))


def seat_of(
    refund: Refund,
    approvals: Iterable[Approval],
    *,
    person: str,
    own: Collection[str],
    lent: Sequence[Lent],
    now: datetime,
) -> Seat:
    """Return in which of the open roles the person decides: an own one before a lent one.

    Nobody decides what they touched, nor for somebody who did. Nobody decides two levels of one revision, neither
    themselves nor by having lent a role. Raises `FourEyes`, and `NotYourLevel` where no role of theirs is open.
    """
    person = canonical(person)
    touched = frozenset(map(canonical, refund.touched_by))
    spent = approvers(refund, approvals)
    _refuse_person(person, touched, spent)
    role = _first(refund.open_roles, own)
    if role is not None:
        return Seat(role=role)
    return _lent_seat(refund, person, touched, spent, lent, now)


def approvers(refund: Refund, approvals: Iterable[Approval]) -> frozenset[str]:
    """Return everybody who has approved a level of the present revision, or for whom it was approved."""
    given = [a for a in approvals if a.revision == refund.revision and a.verdict is Verdict.APPROVE]
    people = {name for approval in given for name in (approval.principal, approval.on_behalf_of) if name}
    return frozenset(map(canonical, people))


def usable_roles(lent: Lent, person: str, now: datetime) -> frozenset[str]:
    """Return the roles that a delegation gives this person now."""
    delegation = lent.delegation
    delegate, owner = canonical(delegation.delegate), canonical(delegation.owner)
    if not delegation.valid(now) or delegate != canonical(person) or owner == delegate:
        return frozenset()
    return frozenset(delegation.roles).intersection(lent.owned)


def _refuse_person(person: str, touched: frozenset[str], spent: frozenset[str]) -> None:
    if not person:
        raise FourEyes("a caller without a name", "nobody can tell whether they touched it")
    if person in touched:
        raise FourEyes(person, "they made, edited or submitted it")
    if person in spent:
        raise FourEyes(person, "they have approved another level of it, themselves or by having lent a role")


def _lent_seat(
    refund: Refund,
    person: str,
    touched: frozenset[str],
    spent: frozenset[str],
    lent: Sequence[Lent],
    now: datetime,
) -> Seat:
    barred: FourEyes | None = None
    for one in lent:
        role = _first(refund.open_roles, usable_roles(one, person, now))
        owner = canonical(one.delegation.owner)
        if role is None:
            continue
        if owner in touched:
            barred = FourEyes(person, f"{owner}, who has lent the role, made, edited or submitted it")
        elif owner in spent:
            barred = FourEyes(person, f"{owner}, who has lent the role, has approved another level of it")
        else:
            return Seat(role=role, on_behalf_of=owner)
    raise barred or NotYourLevel(refund.open_roles)


def _first(wanted: Iterable[str], had: Collection[str]) -> str | None:
    return next((role for role in wanted if role in had), None)
