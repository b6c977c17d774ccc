"""A payment that was collected elsewhere comes in, so that it can be refunded: what was charged, and what went back."""

from datetime import datetime

import asyncpg
import msgspec

from recoup_core.domain.capture import Capture, CaptureState, PaymentLine
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import capture_entry
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Payment, PaymentState
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.capture_reports import CaptureReport, ReportedLine, ReportedRefund, check_capture
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.customers.telling import take_contact
from recoup_core.flows.recover import PaymentExists
from recoup_core.flows.refunds.early import EarlyNews, count_refunds, take_early_news
from recoup_core.flows.reports import InconsistentReport
from recoup_core.ports import GatewayEvent, Refunded, RefundNews
from recoup_core.storage.calls import Call, recall, remember
from recoup_core.storage.captured import early_news, lock_charge, payment_of_capture
from recoup_core.storage.changes import Changes
from recoup_core.storage.customers import read_customer
from recoup_core.storage.lookups import payment_by_reference
from recoup_core.storage.refunds import load_accounts

__all__ = ["CaptureReport", "ReportedLine", "ReportedRefund", "report_captured"]


async def report_captured(
    context: Context, report: CaptureReport, actor: str, correlation_id: str | None, call: Call | None = None
) -> PaymentAccount:
    """Store a collected payment with its capture, its lines, and what went back of it already; all of it or nothing.

    Raises `PaymentExists`, `UnknownGateway`, `InconsistentReport`, `UnknownCurrency`, `CardNumberRefused`,
    `IdempotencyKeyReused`. With `call`, the answer is remembered under its idempotency key.
    """
    check_capture(report, context.gateway_merchants, context.clock.now())
    try:
        return await _store(context, report, actor, correlation_id, call)
    except asyncpg.UniqueViolationError as clash:
        async with context.database.connection() as connection:
            answered = await _answered(connection, report, call)
            if answered is not None:
                return answered
            known = await payment_by_reference(connection, report.merchant_id, report.reference)
        if known is None or clash.constraint_name != "payment_merchant_id_reference_key":
            raise
        raise PaymentExists(report.reference, known) from clash


async def _store(
    context: Context, report: CaptureReport, actor: str, correlation_id: str | None, call: Call | None
) -> PaymentAccount:
    now = context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        await lock_charge(connection, report.gateway, report.gateway_ref)
        answered = await _answered(connection, report, call)
        if answered is not None:
            return answered
        await _require_new_charge(connection, report)
        account = _account(report, now)
        changes.add(account.payment, *account.captures, *account.lines)
        _book(changes, account, report, now)
        changes.add(_told(account, actor, correlation_id, now))
        await _take_contact(connection, changes, report, now, actor=actor, correlation_id=correlation_id)
        events = await early_news(connection, report.gateway, report.gateway_ref)
        early = _told_early(report, events, actor, correlation_id, now)
        count_refunds(changes, account, early)
        await changes.write(connection)
        account = (await load_accounts(connection, [account.payment.id]))[account.payment.id]
        later = await take_early_news(connection, account, early)
        await later.write(connection)
        stored = (await load_accounts(connection, [account.payment.id]))[account.payment.id]
        if call is not None:
            kept = Changes()
            kept.add(remember(call, report.merchant_id, msgspec.json.encode(stored), now))
            await kept.write(connection)
    count_events(context, changes)
    count_events(context, later)
    return stored


async def _take_contact(
    connection: asyncpg.Connection, changes: Changes, report: CaptureReport, now: datetime, **event: str | None
) -> None:
    """Keep what is news of how the customer is reached, where the report tells anything of it."""
    if not report.contact.nothing:
        about = (report.merchant_id, report.customer.ref)
        take_contact(changes, await read_customer(connection, *about), report.contact, about, now, **event)


async def _answered(connection: asyncpg.Connection, report: CaptureReport, call: Call | None) -> PaymentAccount | None:
    body = None if call is None else await recall(connection, report.merchant_id, call)
    return None if body is None else msgspec.json.decode(body, type=PaymentAccount)


async def _require_new_charge(connection: asyncpg.Connection, report: CaptureReport) -> None:
    """Refuse the same charge under two names: its money would count as refundable twice."""
    known = await payment_of_capture(connection, report.gateway, report.gateway_ref)
    if known is None:
        return
    same = await payment_by_reference(connection, report.merchant_id, report.reference)
    if same == known:
        raise PaymentExists(report.reference, known)
    raise InconsistentReport("gateway_ref", "the charge is known already, as another payment's")


def _account(report: CaptureReport, now: datetime) -> PaymentAccount:
    captured_at = None if report.authorized else report.captured_at
    payment = Payment(
        id=new_id(),
        merchant_id=report.merchant_id,
        reference=report.reference,
        customer=report.customer,
        amount_minor=report.amount_minor,
        currency=report.currency,
        captured_minor=0 if report.authorized else report.amount_minor,
        gateway=report.gateway,
        gateway_ref=report.gateway_ref,
        method=report.method,
        subscription=report.subscription,
        state=PaymentState.PAID,
        order_ref=report.order_ref,
        paid_at=captured_at,
        created_at=now,
    )
    capture = Capture(
        id=new_id(),
        merchant_id=report.merchant_id,
        payment_id=payment.id,
        gateway=report.gateway,
        gateway_ref=report.gateway_ref,
        method=report.method,
        network=report.network,
        amount_minor=report.amount_minor,
        currency=report.currency,
        state=CaptureState.AUTHORIZED if report.authorized else CaptureState.CAPTURED,
        captured_at=captured_at,
        created_at=now,
    )
    lines = tuple(_line(payment, number, line) for number, line in enumerate(report.lines, 1))
    return PaymentAccount(payment=payment, captures=(capture,), lines=lines)


def _line(payment: Payment, number: int, line: ReportedLine) -> PaymentLine:
    return PaymentLine(
        id=new_id(),
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        number=number,
        ref=line.ref,
        kind=line.kind,
        description=line.description,
        quantity=line.quantity,
        amount_minor=line.amount_minor,
        tax_minor=line.tax_minor,
    )


def _book(changes: Changes, account: PaymentAccount, report: CaptureReport, now: datetime) -> None:
    if report.authorized:
        return  # nothing has come in yet
    changes.add(
        capture_entry(
            entry_id=new_id(),
            merchant_id=report.merchant_id,
            payment_id=account.payment.id,
            attempt_id=None,
            capture_id=account.captures[0].id,
            gateway=report.gateway,
            amount_minor=report.amount_minor,
            currency=report.currency,
            at=now,
            occurred_at=report.captured_at,
        )
    )


def _told(account: PaymentAccount, actor: str, correlation_id: str | None, now: datetime) -> Event:
    payment = account.payment
    return Event(
        at=now,
        merchant_id=payment.merchant_id,
        kind=EventKind.PAYMENT_CAPTURED,
        actor=actor,
        payment_id=payment.id,
        correlation_id=correlation_id,
        data={
            "reference": payment.reference,
            "amount_minor": payment.amount_minor,
            "currency": payment.currency,
            "gateway": payment.gateway,
            "gateway_ref": payment.gateway_ref,
            "state": str(account.captures[0].state),
        },
    )


def _told_early(
    report: CaptureReport, events: list[GatewayEvent], actor: str, correlation_id: str | None, now: datetime
) -> EarlyNews:
    """Return what the gateway told before, with the refunds that the report itself tells of."""
    reported = [_event_of(report, each) for each in report.refunds]
    in_order = sorted((*reported, *events), key=lambda event: event.occurred_at)
    return EarlyNews(events=in_order, actor=actor, correlation_id=correlation_id, now=now)


def _event_of(report: CaptureReport, told: ReportedRefund) -> GatewayEvent:
    amount = Money(told.amount_minor, report.currency)
    done = Refunded(gateway_ref=told.gateway_ref, amount=amount)
    news = RefundNews(refund_ref=told.gateway_ref, charge_ref=report.gateway_ref, amount=amount, outcome=done)
    return GatewayEvent(external_id="", kind="reported", occurred_at=told.at, refund=news, payload={})
