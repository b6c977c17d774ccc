"""Lending approval roles: from whom, to whom, which, and from when to when. Revoked, it counts no more at once."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.approval import Delegation
from recoup_core.domain.cardnumbers import refuse_card_numbers_in
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.principal import canonical
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.flows.refunds.people import in_person
from recoup_core.flows.refunds.refusals import DelegationInvalid
from recoup_core.storage.approvals import approval_roles, lock_delegation, lock_delegations, open_delegations
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.merchants import MAX_PRINCIPAL

MAX_LENT: Final = timedelta(days=90)
"""How far ahead a delegation may end: whoever needs it for longer is given the role."""

MAX_OPEN: Final = 100
"""Delegations of one owner that are neither over nor revoked."""

Act = Callable[[asyncpg.Connection, Changes, datetime], Awaitable[Delegation]]


class DelegationAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Which approval roles are to be lent."""

    owner: str | None = None
    """Who lends; None: whoever asks. Another than that only by an administrator."""
    delegate: str
    roles: tuple[str, ...]
    starts_at: datetime | None = None
    """From when on they may be used, aware; None or past: now."""
    ends_at: datetime
    """From when on no more, aware; at most `MAX_LENT` ahead."""


async def delegate(context: Context, ask: DelegationAsk, by: By, *, admin: bool = False) -> Delegation:
    """Lend approval roles that the owner has by a usable key; the same call again returns its first answer.

    `admin` says whether the caller may do so for others. Raises `DelegationInvalid`, `CardNumberRefused` and
    `IdempotencyKeyReused`.
    """
    refuse_card_numbers_in(ask)

    async def act(connection: asyncpg.Connection, changes: Changes, now: datetime) -> Delegation:
        delegation = _asked(ask, by, now, admin)
        await _refuse_roles(connection, delegation, now)
        changes.add(delegation, _event(delegation, EventKind.DELEGATION_CREATED, by, now))
        return delegation

    return await _once(context, by, act)


async def revoke_delegation(context: Context, delegation_id: UUID, by: By, *, admin: bool = False) -> Delegation:
    """End a delegation for good, at once; its owner may, and an administrator.

    Raises `NotFound`, `DelegationInvalid`, `NotAllowedNow` where it is revoked already, and `IdempotencyKeyReused`.
    """

    async def act(connection: asyncpg.Connection, changes: Changes, now: datetime) -> Delegation:
        delegation = await lock_delegation(connection, by.merchant_id, delegation_id)
        if delegation is None:
            raise NotFound("delegation", delegation_id)
        _refuse_stranger(delegation.owner, by, admin)
        if delegation.revoked_at is not None:
            raise NotAllowedNow("the delegation is revoked already")
        revoked = msgspec.structs.replace(delegation, revoked_at=now)
        changes.update(revoked)
        changes.add(_event(revoked, EventKind.DELEGATION_REVOKED, by, now))
        return revoked

    return await _once(context, by, act)


async def _once(context: Context, by: By, act: Act) -> Delegation:
    """Run one change of the merchant's delegations; the lock keeps a repeat behind the call that it repeats."""
    now = context.clock.now()
    by = in_person(by)
    changes = Changes()
    async with context.database.transaction() as connection:
        await lock_delegations(connection, by.merchant_id)
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=Delegation)
        delegation = await act(connection, changes, now)
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(delegation), now))
        await changes.write(connection)
    count_events(context, changes)
    return delegation


def _asked(ask: DelegationAsk, by: By, now: datetime, admin: bool) -> Delegation:
    """Return the delegation as asked for, or why there can't be such a one, whoever the two are."""
    owner, delegate_ = canonical(ask.owner or by.principal), canonical(ask.delegate)
    _refuse_stranger(owner, by, admin)
    for field, name in (("owner", owner), ("delegate", delegate_)):
        if not 0 < len(name) <= MAX_PRINCIPAL or not name.isprintable():
            raise DelegationInvalid(field, f"must be 1 to {MAX_PRINCIPAL} printable characters")
    if delegate_ == owner:
        raise DelegationInvalid("delegate", "nobody lends roles to themselves")
    if not ask.roles:
        raise DelegationInvalid("roles", "names no role")
    starts_at = max(now, ask.starts_at or now)
    if ask.ends_at <= starts_at:
        raise DelegationInvalid("ends_at", "is not later than now and its beginning")
    if ask.ends_at > now + MAX_LENT:
        raise DelegationInvalid("ends_at", f"lies more than {MAX_LENT.days} days ahead")
    return Delegation(
        id=new_id(),
        merchant_id=by.merchant_id,
        owner=owner,
        delegate=delegate_,
        roles=tuple(dict.fromkeys(ask.roles)),
        starts_at=starts_at,
        ends_at=ask.ends_at,
        created_by=by.principal or by.actor,
        created_at=now,
    )


async def _refuse_roles(connection: asyncpg.Connection, delegation: Delegation, now: datetime) -> None:
    """Refuse what the owner doesn't have; a role that was lent to the owner is not theirs to lend."""
    merchant_id, owner = delegation.merchant_id, delegation.owner
    owned = (await approval_roles(connection, merchant_id, {owner}, now)).get(owner, ())
    missing = [role for role in delegation.roles if role not in owned]
    if missing:
        raise DelegationInvalid("roles", f"{owner} has no usable key that approves by {' or '.join(missing)}")
    if await open_delegations(connection, merchant_id, owner, now) >= MAX_OPEN:
        raise DelegationInvalid("owner", f"{owner} has {MAX_OPEN} delegations already, the most one may have")


def _refuse_stranger(owner: str, by: By, admin: bool) -> None:
    if not admin and owner != canonical(by.principal):
        raise DelegationInvalid("owner", "only an administrator may do this for somebody else")


def _event(delegation: Delegation, kind: EventKind, by: By, now: datetime) -> Event:
    return Event(
        at=now,
        merchant_id=delegation.merchant_id,
        kind=kind,
        actor=by.actor,
        correlation_id=by.correlation_id,
        data={
            "delegation_id": str(delegation.id),
            "owner": delegation.owner,
            "delegate": delegation.delegate,
            "roles": list(delegation.roles),
            "starts_at": delegation.starts_at.isoformat(),
            "ends_at": delegation.ends_at.isoformat(),
        },
    )
