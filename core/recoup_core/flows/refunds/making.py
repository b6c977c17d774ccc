"""From what is asked to a refund with its parts and lines: checked against the payments under their locks."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.errors import CurrencyMismatch
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import Refund, RefundState, Spread
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.refunds.ask import MAX_PAYMENTS, RefundAsk
from recoup_core.flows.refunds.deciding import Judged
from recoup_core.flows.refunds.draft import LockedRefunds, RefundDraft
from recoup_core.flows.refunds.refusals import RefundInvalid, TooManyRefunds
from recoup_core.flows.refunds.sources import Own
from recoup_core.flows.refunds.spread import Plan, spread
from recoup_core.flows.refunds.working import person
from recoup_core.rules.deciding.refund import Deny
from recoup_core.storage.refunds import payments_of_order

MAX_REFUNDS: Final = 500
"""Refunds of one payment that were not denied, rejected, expired or canceled; each is read with every decision."""


async def payments_of(context: Context, ask: RefundAsk, by: By) -> list[UUID]:
    """Return the payments that a request may go over; they are locked next, and read again. Raises `NotFound`."""
    if ask.payment_id is not None:
        return [ask.payment_id]
    if ask.payments:
        return [each.payment_id for each in ask.payments]
    assert ask.order_ref is not None  # check_ask holds it
    async with context.database.connection() as connection:
        found = await payments_of_order(connection, by.merchant_id, ask.order_ref, MAX_PAYMENTS)
    if not found:
        raise NotFound("order", ask.order_ref)
    return found


def new_draft(context: Context, locked: LockedRefunds, ask: RefundAsk, by: By) -> tuple[RefundDraft, Plan]:
    """Return the refund that is asked for, with the parts and lines that it would have.

    Those are written down once the policy has not denied it (`write_down`).
    """
    accounts = accounts_of(ask, locked.accounts, by)
    refund = _refund(locked, ask, accounts, by)
    plan = spread(ask, refund, accounts, context.gateways, locked.now, Own())
    over = [locked.accounts[payment_id] for payment_id in dict.fromkeys(part.payment_id for part in plan.parts)]
    check_customers(over)
    for account in over:
        if account.refunds >= MAX_REFUNDS:
            raise TooManyRefunds(MAX_REFUNDS)
    first = over[0].payment
    refund = msgspec.structs.replace(refund, payment_id=first.id, customer_ref=first.customer.ref)
    locked.changes.add(refund)
    file = RefundFile(refund=refund, parts=plan.parts, lines=plan.lines)
    draft = RefundDraft(file, locked.accounts, locked.changes, locked.now, by.actor, by.correlation_id)
    return draft, plan


def write_down(draft: RefundDraft, plan: Plan, judged: Judged) -> None:
    """Reserve the planned parts and lines, unless the policy denies the refund: then they have never been."""
    if not isinstance(judged.decision.outcome, Deny):
        draft.changes.add(*plan.parts, *plan.lines)
        return
    planned = {part.id for part in plan.parts} | {line.id for line in plan.lines}
    draft.file = msgspec.structs.replace(
        draft.file,
        parts=tuple(part for part in draft.file.parts if part.id not in planned),
        lines=tuple(line for line in draft.file.lines if line.id not in planned),
    )


def accounts_of(ask: RefundAsk, accounts: Mapping[UUID, PaymentAccount], by: By) -> Sequence[PaymentAccount]:
    """Return the accounts that a request may go over, as given or by their ids; raises what is wrong with them."""
    wanted = [each.payment_id for each in ask.payments] or sorted(accounts)
    if ask.payment_id is not None:
        wanted = [ask.payment_id]
    found: list[PaymentAccount] = []
    for payment_id in wanted:
        account = accounts.get(payment_id)
        if account is None or account.payment.merchant_id != by.merchant_id:
            raise NotFound("payment", payment_id)
        found.append(account)
    if ask.payment_id is None:
        _check_order(ask, found)
    elif found[0].payment.currency != ask.currency:
        raise CurrencyMismatch(ask.currency, found[0].payment.currency)
    return found


def check_customers(accounts: Sequence[PaymentAccount]) -> None:
    """Raise `RefundInvalid` where one refund would go to several customers: bounds count what one of them gets."""
    if len({account.payment.customer.ref for account in accounts}) > 1:
        raise RefundInvalid("payments", "belong to several customers; refund them one by one")


def check_inquiry(dispute_id: UUID | None, accounts: Sequence[PaymentAccount]) -> None:
    """Raise `RefundInvalid` where what the refund answers is no inquiry about these payments."""
    if dispute_id is None:
        return
    disputes = {dispute.id: dispute for account in accounts for dispute in account.disputes}
    known = disputes.get(dispute_id)
    if known is None or known.state is not DisputeState.INQUIRY:
        raise RefundInvalid("answers_dispute_id", "is no open inquiry about this payment")


def order_of(ask: RefundAsk, accounts: Sequence[PaymentAccount]) -> str | None:
    """Return the order that a refund goes over; None for a refund of one payment."""
    return None if ask.payment_id is not None else accounts[0].payment.order_ref


def spread_of(ask: RefundAsk) -> Spread | None:
    """Return how a refund goes over the payments of an order; None for one payment."""
    if ask.payment_id is not None:
        return None
    return Spread.AS_GIVEN if ask.payments else Spread.NEWEST_FIRST


def _check_order(ask: RefundAsk, accounts: Sequence[PaymentAccount]) -> None:
    orders = {account.payment.order_ref for account in accounts}
    if len(orders) > 1 or None in orders or ask.order_ref not in (None, *orders):
        raise RefundInvalid("payments", "belong to no order, or to several")
    if ask.lines:
        raise RefundInvalid("lines", "are lines of one payment; name the payment")


def _refund(locked: LockedRefunds, ask: RefundAsk, accounts: Sequence[PaymentAccount], by: By) -> Refund:
    check_inquiry(ask.answers_dispute_id, accounts)
    first, who = accounts[0].payment, person(by)
    return Refund(
        id=new_id(),
        merchant_id=by.merchant_id,
        payment_id=first.id,
        order_ref=order_of(ask, accounts),
        customer_ref=first.customer.ref,
        purpose=ask.purpose,
        destination=ask.destination,
        amount_minor=ask.amount_minor,
        currency=ask.currency,
        reason=ask.reason,
        note=ask.note,
        evidence=ask.evidence,
        spread=spread_of(ask),
        channel=by.channel,
        requested_by=who,
        touched_by=(who,),
        state=RefundState.INCOMPLETE,  # until the policy has answered, a moment later
        answers_dispute_id=ask.answers_dispute_id,
        created_at=locked.now,
    )
