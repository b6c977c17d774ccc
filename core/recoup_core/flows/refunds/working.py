"""How a request about a refund is run: one transaction, the policies in force, one answer per idempotency key."""

from collections.abc import Awaitable, Callable, Collection
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import Money
from recoup_core.domain.principal import canonical
from recoup_core.domain.refund import Refund
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.refunds.draft import LockedRefunds, RefundDraft, locked_refunds
from recoup_core.flows.refunds.refusals import (
    GoodwillExceedsPayment,
    LineExceedsRefundable,
    RefundExceedsRefundable,
    VersionConflict,
)
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.refunds import load_accounts

Act = Callable[[LockedRefunds, bool], Awaitable[RefundFile]]
"""What is done under the locks; the second argument is for `decide` (`hold`)."""


async def run(
    context: Context,
    by: By,
    act: Act,
    *,
    refunds: Collection[UUID] = (),
    payments: Collection[UUID] = (),
) -> RefundFile:
    """Run `act` under the locks of these refunds' payments, and more payments; write, remember, return its answer.

    The same call again gets its first answer. What the database refuses because of money is the refusal that the flow
    would have given: then somebody changed a counter without the payment's lock.
    """
    concerned: list[UUID] = []
    asked: list[Money] = []

    async def once(hold: bool) -> RefundFile:
        async with locked_refunds(context, refunds, more_payments=payments) as locked:
            concerned[:] = locked.accounts
            answered = await _answered(locked.connection, by)
            if answered is not None:
                return answered
            file = await act(locked, hold)
            asked[:] = [file.refund.amount]
            if by.call is not None:
                locked.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(file), locked.now))
            return file

    try:
        return await context.policies.in_force(by.merchant_id, once)
    except asyncpg.UniqueViolationError as clash:
        answered = await _answered_meanwhile(context, by)
        if answered is None:
            raise clash
        return answered
    except asyncpg.CheckViolationError as over:
        refusal = await _refusal(context, over, asked[0], concerned) if asked else None
        if refusal is None:
            raise
        raise refusal from over


def found(locked: LockedRefunds, refund_id: UUID, by: By) -> RefundDraft:
    """Return the draft of the merchant's refund; raises `NotFound`."""
    draft = locked.draft(refund_id, by.actor, by.correlation_id)
    if draft is None or draft.file.refund.merchant_id != by.merchant_id:
        raise NotFound("refund", refund_id)
    return draft


def require_version(refund: Refund, if_match: int | None) -> None:
    """Raise `VersionConflict` where the refund has changed since it was read."""
    if if_match is not None and if_match != refund.version:
        raise VersionConflict(if_match, refund.version)


def person(by: By) -> str:
    """Return who asks, as four eyes and bounds know them: the person, however many keys they have."""
    return canonical(by.principal or by.actor)


def touched_by(refund: Refund, by: By) -> tuple[str, ...]:
    """Return everybody who touched the refund, who asks now included (promise 8)."""
    return tuple(dict.fromkeys((*refund.touched_by, person(by))))


async def _refusal(
    context: Context, over: asyncpg.CheckViolationError, asked: Money, payments: Collection[UUID]
) -> DomainError | None:
    """Return the refusal that a violated constraint stands for; None where it is none of money."""
    async with context.database.connection() as connection:
        accounts = (await load_accounts(connection, payments)).values()
    free = sum(account.free_minor for account in accounts)
    beside = sum(account.payment.amount_minor - account.payment.goodwill_minor for account in accounts)
    match over.constraint_name:
        case "capture_never_over":
            return RefundExceedsRefundable(asked, Money(free, asked.currency))
        case "payment_goodwill_bounded":
            return GoodwillExceedsPayment(asked, Money(beside, asked.currency))
        case "payment_line_never_over":
            return LineExceedsRefundable("lines", "less is left of a line than was asked for")
    return None


async def _answered(connection: asyncpg.Connection, by: By) -> RefundFile | None:
    if by.call is None:
        return None
    body = await recall(connection, by.merchant_id, by.call)
    return None if body is None else msgspec.json.decode(body, type=RefundFile)


async def _answered_meanwhile(context: Context, by: By) -> RefundFile | None:
    async with context.database.connection() as connection:
        return await _answered(connection, by)
