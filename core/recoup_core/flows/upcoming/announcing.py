"""The billing system tells of a charge that is to come, of changes to it, and of what became of it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers, refuse_card_numbers_in
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import MAX_AMOUNT_MINOR, exponent
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.domain.upcoming import ChargeEvent, ChargeFile, ChargeState, UpcomingCharge
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.customers.telling import ReportedContact, check_contact, take_contact
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.flows.reports import InconsistentReport, UnknownGateway
from recoup_core.flows.upcoming.deciding import notice_facts, plan_notices
from recoup_core.flows.upcoming.draft import ChargeDraft, locked_charges
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.errors import NoPolicyApplies
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.customers import read_customer
from recoup_core.storage.upcoming import charge_by_reference, file_of

FURTHEST: Final = timedelta(days=400)
"""How far ahead a charge may lie: a yearly one, announced right after the last."""

PASSED_AFTER: Final = timedelta(days=7)
"""How long after its time a charge without news counts as passed: billing systems charge late, and report later."""

MAX_REASON: Final = 500


class ChargeExists(DomainError):
    """The merchant has already announced a charge under this reference."""

    code = "upcoming_charge_exists"

    def __init__(self, reference: str, charge_id: UUID) -> None:
        super().__init__(f"a charge with the reference {reference!r} is announced already, as {charge_id}; change it")
        self.charge_id = charge_id


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """A charge that is to come."""

    merchant_id: str
    reference: str
    customer: Customer
    contact: ReportedContact = ReportedContact()
    amount_minor: int
    currency: str
    charge_at: datetime
    method: Method
    network: Network | None = None
    gateway: str
    expires_on: str | None = None
    """The month on the card (`YYYY-MM`), where it is known."""
    subscription: dict[str, Any] = {}


class ChargeEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different; None leaves a thing as it is."""

    amount_minor: int | None = None
    charge_at: datetime | None = None
    expires_on: str | None = None
    subscription: dict[str, Any] | None = None


async def announce(context: Context, given: Announcement, by: By) -> ChargeFile:
    """Store a charge that is to come and plan what its customer is told before it, by the policies of today.

    Raises `ChargeExists`, `UnknownGateway`, `InconsistentReport`, `ContactInvalid`, `UnknownCurrency`,
    `CardNumberRefused`, `PoliciesUnusable`, `IdempotencyKeyReused`.
    """
    now = context.clock.now()
    _check(given, context, now)

    async def once(hold: bool) -> ChargeFile:
        return await _announce(context, given, by, now, hold)

    try:
        return await context.policies.in_force(given.merchant_id, once)
    except asyncpg.UniqueViolationError:
        async with context.database.connection() as connection:
            answered = await _recall(connection, by)
            known = await charge_by_reference(connection, given.merchant_id, given.reference)
        if answered is not None:
            return answered
        if known is None:
            raise
        raise ChargeExists(given.reference, known) from None


async def edit(context: Context, charge_id: UUID, by: By, wanted: ChargeEdit) -> ChargeFile:
    """Take in that a charge is to be another amount, at another time, or of a renewed card; its notices follow.

    Raises `NotFound`, `NotAllowedNow` once it is no longer to come, `InconsistentReport`, `CardNumberRefused`.
    """
    refuse_card_numbers_in(wanted)

    def act(draft: ChargeDraft) -> None:
        _require_announced(draft)
        if wanted.amount_minor is not None:
            _check_amount(wanted.amount_minor)
        if wanted.charge_at is not None:
            _check_time(wanted.charge_at, draft.now)
        fields = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
        if "expires_on" in fields:
            fields["card_told_at"] = draft.now
        draft.change(**fields)
        draft.tell(EventKind.CHARGE_CHANGED, changed=sorted(fields.keys() - {"card_told_at"}))
        draft.look_again(draft.file.charge.charge_at + PASSED_AFTER)
        plan_notices(draft)

    return await _on_charge(context, charge_id, by, act)


async def call_off(context: Context, charge_id: UUID, by: By, reason: str) -> ChargeFile:
    """Take in that a charge will not be made: nothing more is said about it. Raises as `edit` does."""
    refuse_card_numbers(reason, "reason")

    def act(draft: ChargeDraft) -> None:
        if draft.file.charge.state is ChargeState.CALLED_OFF:
            return
        _require_announced(draft)
        draft.move(ChargeEvent.CALL_OFF, "the charge is called off")
        draft.tell(EventKind.CHARGE_CALLED_OFF, reason=reason[:MAX_REASON])

    return await _on_charge(context, charge_id, by, act)


async def made(context: Context, charge_id: UUID, by: By) -> ChargeFile:
    """Take in that a charge was made, whenever that is told. Raises as `edit` does."""

    def act(draft: ChargeDraft) -> None:
        if draft.file.charge.state is ChargeState.MADE:
            return
        if draft.file.charge.state is not ChargeState.PASSED:
            _require_announced(draft)
        draft.move(ChargeEvent.MAKE, "the charge was made")
        draft.tell(EventKind.CHARGE_MADE)

    return await _on_charge(context, charge_id, by, act)


async def _announce(context: Context, given: Announcement, by: By, now: datetime, hold: bool) -> ChargeFile:
    async with context.database.transaction() as connection:
        if (answered := await _recall(connection, by)) is not None:
            return answered
        file, epoch = await file_of(connection, _charge_of(given, now))
        book = await context.policies.current(connection, given.merchant_id, epoch, hold=hold)
        try:
            policy = book.choose(PolicyKind.NOTICE, notice_facts(file, now))
        except NoPolicyApplies:
            policy = None
        charge = file.charge
        if policy is not None:
            charge = msgspec.structs.replace(charge, policy_name=policy.policy.name, policy_digest=policy.digest)
        draft = ChargeDraft(file.with_charge(charge), Changes(), now, by.actor, by.correlation_id, policy)
        draft.changes.add(charge)
        if not given.contact.nothing:
            known = await read_customer(connection, given.merchant_id, given.customer.ref)
            about = (given.merchant_id, given.customer.ref)
            take_contact(
                draft.changes, known, given.contact, about, now, actor=by.actor, correlation_id=by.correlation_id
            )
        draft.tell(
            EventKind.CHARGE_ANNOUNCED,
            amount_minor=charge.amount_minor,
            currency=charge.currency,
            charge_at=charge.charge_at.isoformat(),
            policy=charge.policy_name,
        )
        draft.look_again(charge.charge_at + PASSED_AFTER)
        plan_notices(draft)
        if by.call is not None:
            draft.changes.add(remember(by.call, given.merchant_id, msgspec.json.encode(draft.file), now))
        await draft.changes.write(connection)
    count_events(context, draft.changes)
    return draft.file


def _charge_of(given: Announcement, now: datetime) -> UpcomingCharge:
    return UpcomingCharge(
        id=new_id(),
        merchant_id=given.merchant_id,
        reference=given.reference,
        customer=given.customer,
        amount_minor=given.amount_minor,
        currency=given.currency,
        charge_at=given.charge_at,
        method=given.method,
        network=given.network,
        gateway=given.gateway,
        expires_on=given.expires_on,
        card_told_at=now,
        subscription=given.subscription,
        announced_at=now,
        changed_at=now,
    )


def _check(given: Announcement, context: Context, now: datetime) -> None:
    refuse_card_numbers_in(given)
    exponent(given.currency)
    check_contact(given.contact)
    if context.gateway_merchants.get(given.gateway) != given.merchant_id:
        raise UnknownGateway(given.gateway)
    _check_amount(given.amount_minor)
    _check_time(given.charge_at, now)
    if given.expires_on is not None and given.method is not Method.CARD:
        raise InconsistentReport("expires_on", f"{given.method} has no card that expires")


def _check_amount(amount_minor: int) -> None:
    if not 1 <= amount_minor <= MAX_AMOUNT_MINOR:
        raise InconsistentReport("amount_minor", f"must lie between 1 and {MAX_AMOUNT_MINOR}")


def _check_time(charge_at: datetime, now: datetime) -> None:
    if charge_at.tzinfo is None or not now < charge_at <= now + FURTHEST:
        raise InconsistentReport("charge_at", f"must lie ahead, by {FURTHEST.days} days at most, and have a time zone")


def _require_announced(draft: ChargeDraft) -> None:
    if draft.file.charge.state is not ChargeState.ANNOUNCED:
        raise NotAllowedNow(f"the charge is {draft.file.charge.state}")


Act = Callable[[ChargeDraft], None]


async def _on_charge(context: Context, charge_id: UUID, by: By, act: Act) -> ChargeFile:
    async with locked_charges(context, [charge_id]) as locked:
        draft = locked.draft(charge_id, by.actor, by.correlation_id)
        if draft is None or draft.file.charge.merchant_id != by.merchant_id:
            raise NotFound("upcoming charge", charge_id)
        if (answered := await _recall(locked.connection, by)) is not None:
            return answered
        act(draft)
        if by.call is not None:
            draft.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(draft.file), locked.now))
        return draft.file


async def _recall(connection: asyncpg.Connection, by: By) -> ChargeFile | None:
    body = None if by.call is None else await recall(connection, by.merchant_id, by.call)
    return None if body is None else msgspec.json.decode(body, type=ChargeFile)
