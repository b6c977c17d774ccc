"""Disputes: the customer went to their bank. Told by gateways' events or, where there are none, by hand."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers_in
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.refunds.disputed import DisputeFacts, store_dispute
from recoup_core.flows.refunds.draft import LockedRefunds
from recoup_core.flows.refunds.refusals import RefundInvalid
from recoup_core.ports import DisputeNews
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.lookups import KnownCapture
from recoup_core.storage.refunds import load_accounts

MAX_REF: Final = 200
MAX_REASON: Final = 200


class DisputeReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dispute that a merchant tells of by hand: their gateway sends no events about disputes, or one was missed."""

    payment_id: UUID
    capture_id: UUID | None = None
    """Which charge of the payment; may be left out where it has one."""
    gateway_ref: str
    """The gateway's id of the dispute: told again under it, it moves on."""
    amount_minor: int
    currency: str
    standing: DisputeState
    reason: str | None = None
    evidence_due_at: datetime | None = None
    fee_minor: int = 0


async def report_dispute(context: Context, report: DisputeReport, by: By) -> Dispute:
    """Take in what a person says about a dispute; the same call again returns its first answer.

    Raises `NotFound`, `RefundInvalid`, `CardNumberRefused`, `IdempotencyKeyReused`.
    """
    refuse_card_numbers_in(report)
    answered = await _recalled(context, by)
    if answered is not None:
        return answered
    account = await _account(context, report, by)
    capture_id = _capture_id(account, report)
    capture = account.capture(capture_id)
    assert capture is not None  # it was just found there
    if report.currency != capture.currency:
        raise RefundInvalid("currency", f"the charge is in {capture.currency}")
    fee = Money(report.fee_minor, report.currency) if report.fee_minor else None
    news = DisputeNews(
        dispute_ref=report.gateway_ref,
        charge_ref=capture.gateway_ref or "",
        amount=Money(report.amount_minor, report.currency),
        standing=report.standing,
        reason=report.reason,
        evidence_due_at=report.evidence_due_at,
        fee=fee,
    )
    told = DisputeFacts(
        merchant_id=by.merchant_id,
        gateway=capture.gateway,
        capture=KnownCapture(account.payment.id, capture.id),
        news=news,
        actor=by.actor,
        correlation_id=by.correlation_id,
    )

    async def finish(locked: LockedRefunds, dispute: Dispute | None) -> None:
        if by.call is not None and dispute is not None:
            locked.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(dispute), locked.now))

    stored = await store_dispute(context, told, finish)
    if stored is None:
        raise RefundInvalid("gateway_ref", "is a dispute of another charge, or the amount is not what was told first")
    return stored


async def _recalled(context: Context, by: By) -> Dispute | None:
    if by.call is None:
        return None
    async with context.database.connection() as connection:
        body = await recall(connection, by.merchant_id, by.call)
    return None if body is None else msgspec.json.decode(body, type=Dispute)


async def _account(context: Context, report: DisputeReport, by: By) -> PaymentAccount:
    for field, text, most in (("gateway_ref", report.gateway_ref, MAX_REF), ("reason", report.reason, MAX_REASON)):
        if text is not None and not 1 <= len(text) <= most:
            raise RefundInvalid(field, f"must be 1 to {most} characters")
    if report.amount_minor <= 0 or report.fee_minor < 0:
        raise RefundInvalid("amount_minor", "must be more than 0, and the fee not less")
    async with context.database.connection() as connection:
        account = (await load_accounts(connection, [report.payment_id])).get(report.payment_id)
    if account is None or account.payment.merchant_id != by.merchant_id:
        raise NotFound("payment", report.payment_id)
    return account


def _capture_id(account: PaymentAccount, report: DisputeReport) -> UUID:
    if report.capture_id is not None:
        if account.capture(report.capture_id) is None:
            raise NotFound("capture", report.capture_id)
        return report.capture_id
    if len(account.captures) != 1:
        raise RefundInvalid("capture_id", f"the payment has {len(account.captures)} charges; say which is disputed")
    return account.captures[0].id
