"""What requests and answers about payments carry that refunds need: what was charged, and what can still go back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.capture import Capture, CaptureState, LineKind
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.domain.payment import Method, Network
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.capture_reports import MAX_DESCRIPTION, CaptureReport, ReportedLine, ReportedRefund
from recoup_core.flows.refunds.ask import MAX_LINES, MAX_QUANTITY
from recoup_core.ports import Gateway
from recoup_core.storage.listing import PaymentRow
from recoup_server.schemas_disputes import DisputeOut, dispute_out
from recoup_server.schemas_in import AmountMinor, Body, Currency, CustomerIn, Moment, Name, Short, SubscriptionIn
from recoup_server.schemas_out import CaseOut, Out, PaymentOut, StepOut

MAX_REPORTED_REFUNDS: Final = 100
"""Refunds that were made before Recoup was told of a payment."""

NoneOrMore = Annotated[int, Meta(ge=0, le=MAX_AMOUNT_MINOR)]


class LineIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of what was charged; all lines sum to the payment."""

    ref: Name
    """Your own name for the line; unique within the payment."""
    kind: LineKind = LineKind.ITEM
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION)] = ""
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)] = 1
    amount_minor: NoneOrMore
    """For all pieces, with tax, after discounts."""
    tax_minor: NoneOrMore = 0
    """The tax within `amount_minor`."""


class EarlierRefundIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A refund that somebody made before Recoup was told of the payment."""

    gateway_ref: Name
    """The gateway's id of the refund."""
    amount_minor: AmountMinor
    at: Moment


class CapturedIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payment that was collected elsewhere, so that it can be refunded here."""

    reference: Name
    """Your own name for the payment (an invoice number); unique."""
    order_ref: Name | None = None
    """The order that it belongs to; a refund may go over all payments of one."""
    customer: CustomerIn
    amount_minor: AmountMinor
    currency: Currency
    gateway: Short
    gateway_ref: Name
    """The gateway's id of the charge: refunds go back over it."""
    method: Method
    network: Network | None = None
    captured_at: Moment
    """When the money was collected; of a payment that is only authorized, when it was authorized."""
    authorized: bool = False
    """Whether it is only authorized so far: then it is voided, not refunded."""
    lines: Annotated[tuple[LineIn, ...], Meta(max_length=MAX_LINES)] = ()
    """What was charged; without lines a refund is about an amount only."""
    refunds: Annotated[tuple[EarlierRefundIn, ...], Meta(max_length=MAX_REPORTED_REFUNDS)] = ()
    """What of it went back already."""
    subscription: SubscriptionIn | None = None

    def report(self, merchant_id: str) -> CaptureReport:
        """Return the report as flows know it."""
        return CaptureReport(
            merchant_id=merchant_id,
            reference=self.reference,
            order_ref=self.order_ref,
            customer=self.customer.customer(),
            amount_minor=self.amount_minor,
            currency=self.currency,
            gateway=self.gateway,
            gateway_ref=self.gateway_ref,
            method=self.method,
            network=self.network,
            captured_at=self.captured_at,
            authorized=self.authorized,
            lines=tuple(msgspec.convert(line, ReportedLine, from_attributes=True) for line in self.lines),
            refunds=tuple(msgspec.convert(each, ReportedRefund, from_attributes=True) for each in self.refunds),
            subscription={} if self.subscription is None else self.subscription.known(),
            contact=self.customer.contact(),
        )


class PaymentDetail(Out, frozen=True, kw_only=True):
    """A payment, its case where it ever failed, and how much of it went back or still can."""

    payment: PaymentOut
    case: CaseOut | None
    """None for a payment that was reported as collected."""
    next_step: StepOut | None
    """The retry that is planned or under way."""
    refundable_minor: int
    """What can still be asked back, over all its captures."""
    refunded_minor: int
    """What went back over its captures, as money or store credit; what was voided never came in."""


class PaymentPage(Out, frozen=True, kw_only=True):
    """A page of payments, newest first."""

    items: list[PaymentDetail]
    next_cursor: str | None
    """Give it back as `cursor` for the next page; None on the last."""


class CaptureOut(Out, frozen=True, kw_only=True):
    """Money that one gateway holds for a payment, and what of it can still go back."""

    id: UUID
    gateway: str
    gateway_ref: str | None
    method: Method
    network: Network | None
    state: CaptureState
    amount_minor: int
    currency: str
    free_minor: int
    """What can still be asked back."""
    held_minor: int
    """What refunds have asked for, are sending or have paid back."""
    disputed_minor: int
    """Under dispute, or lost in one."""
    over_minor: int
    """By how much refunds made elsewhere and disputes exceed it; more than 0 needs a person."""
    captured_at: datetime | None
    way: Literal["refund", "void", "store_credit"]
    """How it goes back: `void` only whole; `store_credit` alone where the gateway gives nothing back (any more)."""
    refundable_until: datetime | None
    """Until when its gateway takes refunds of it; None where there is no such limit."""


class LineOut(Out, frozen=True, kw_only=True):
    """One line of what was charged, and what is left of it."""

    id: UUID
    number: int
    ref: str
    kind: LineKind
    description: str
    quantity: int
    amount_minor: int
    tax_minor: int
    left_quantity: int
    left_minor: int
    left_tax_minor: int


class RefundableOut(Out, frozen=True, kw_only=True):
    """What can be refunded of a payment, and what stands in the way."""

    payment: PaymentOut
    refundable_minor: int
    """What can still be asked back, over all its captures."""
    goodwill_left_minor: int
    """What can still be given beyond it as store credit."""
    refunds: int
    """Refunds of it so far, without those that came to nothing."""
    captures: list[CaptureOut]
    """Oldest first."""
    lines: list[LineOut]
    disputes: list[DisputeOut]
    """Those that are open or ask, oldest first."""


def payment_row_out(row: PaymentRow) -> PaymentDetail:
    """Return a payment as callers see it."""
    return msgspec.convert(row, PaymentDetail, from_attributes=True)


def refundable_out(account: PaymentAccount, gateways: Mapping[str, Gateway], now: datetime) -> RefundableOut:
    """Return what can be refunded of a payment as callers see it."""
    asking = (DisputeState.INQUIRY, DisputeState.OPEN)
    payment = account.payment
    return RefundableOut(
        payment=msgspec.convert(payment, PaymentOut, from_attributes=True),
        refundable_minor=account.free_minor,
        goodwill_left_minor=payment.amount_minor - payment.goodwill_minor,
        refunds=account.refunds,
        captures=[_capture(capture, gateways.get(capture.gateway), now) for capture in account.captures],
        lines=[
            LineOut(
                id=line.id,
                number=line.number,
                ref=line.ref,
                kind=line.kind,
                description=line.description,
                quantity=line.quantity,
                amount_minor=line.amount_minor,
                tax_minor=line.tax_minor,
                left_quantity=line.quantity - line.held_quantity,
                left_minor=line.amount_minor - line.held_minor,
                left_tax_minor=line.tax_minor - line.held_tax_minor,
            )
            for line in account.lines
        ],
        disputes=[dispute_out(dispute) for dispute in account.disputes if dispute.state in asking],
    )


def _capture(capture: Capture, gateway: Gateway | None, now: datetime) -> CaptureOut:
    until = None if gateway is None else _until(capture, gateway.capabilities.refund_windows)
    return CaptureOut(
        id=capture.id,
        gateway=capture.gateway,
        gateway_ref=capture.gateway_ref,
        method=capture.method,
        network=capture.network,
        state=capture.state,
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        free_minor=capture.free_minor,
        held_minor=capture.held_minor,
        disputed_minor=capture.disputed_minor,
        over_minor=capture.over_minor,
        captured_at=capture.captured_at,
        way=_way(capture, gateway, closed=until is not None and until <= now),
        refundable_until=until,
    )


def _until(capture: Capture, windows: Mapping[Method, timedelta]) -> datetime | None:
    window = windows.get(capture.method)
    return None if window is None or capture.captured_at is None else capture.captured_at + window


def _way(capture: Capture, gateway: Gateway | None, *, closed: bool) -> Literal["refund", "void", "store_credit"]:
    if gateway is None or capture.gateway_ref is None or closed or not gateway.capabilities.refunds:
        return "store_credit"
    if capture.state is CaptureState.AUTHORIZED:
        return "void" if gateway.capabilities.voids else "store_credit"
    return "refund"
