"""Reports of payments that were collected elsewhere: what a merchant tells of them, and what can be wrong with it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from recoup_core.domain.capture import LineKind
from recoup_core.domain.cardnumbers import refuse_card_numbers_in
from recoup_core.domain.money import MAX_AMOUNT_MINOR, exponent
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.flows.customers.telling import ReportedContact, check_contact
from recoup_core.flows.refunds.ask import MAX_LINES, MAX_QUANTITY
from recoup_core.flows.reports import InconsistentReport, UnknownGateway

MAX_NAME: Final = 200
"""Characters of a reference, an order's, a line's or a gateway's name for something."""
MAX_DESCRIPTION: Final = 500


class ReportedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what was charged."""

    ref: str
    kind: LineKind = LineKind.ITEM
    description: str = ""
    quantity: int = 1
    amount_minor: int
    """For all pieces, with tax, after discounts."""
    tax_minor: int = 0
    """The tax within `amount_minor`."""


class ReportedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund that somebody made before Recoup was told of the payment."""

    gateway_ref: str
    amount_minor: int
    at: datetime


class CaptureReport(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that never failed here: one charge of one gateway, captured or only authorized."""

    merchant_id: str
    reference: str
    order_ref: str | None = None
    customer: Customer
    amount_minor: int
    currency: str
    gateway: str
    gateway_ref: str
    """The gateway's id of the charge: refunds go back over it."""
    method: Method
    network: Network | None = None
    captured_at: datetime
    """When the money was collected; of a payment that is only authorized, when it was authorized."""
    authorized: bool = False
    lines: tuple[ReportedLine, ...] = ()
    """None, or all of them: they sum to the amount."""
    refunds: tuple[ReportedRefund, ...] = ()
    subscription: dict[str, Any] = {}
    """`plan`, `interval`, and what was paid for: `period_start` and `period_end`, ISO 8601."""
    contact: ReportedContact = ReportedContact()
    """How the customer is reached; kept with the customer, not with the payment."""


def check_capture(report: CaptureReport, gateway_merchants: Mapping[str, str], now: datetime) -> None:
    """Raise what is wrong with a report by itself; `gateway_merchants` says whose account each gateway is."""
    refuse_card_numbers_in(report)
    check_contact(report.contact)
    exponent(report.currency)
    if gateway_merchants.get(report.gateway) != report.merchant_id:
        raise UnknownGateway(report.gateway)
    if not 1 <= report.amount_minor <= MAX_AMOUNT_MINOR:
        raise InconsistentReport("amount_minor", f"must lie between 1 and {MAX_AMOUNT_MINOR}")
    _check_name(report.reference, "reference")
    _check_name(report.gateway_ref, "gateway_ref")
    if report.order_ref is not None:
        _check_name(report.order_ref, "order_ref")
    _check_time(report.captured_at, "captured_at", now)
    _check_lines(report)
    _check_refunds(report, now)


def _check_name(text: str, field: str) -> None:
    if not 1 <= len(text) <= MAX_NAME or not text.isprintable():
        raise InconsistentReport(field, f"must be 1 to {MAX_NAME} printable characters")


def _check_time(at: datetime, field: str, now: datetime) -> None:
    if at.tzinfo is None or at > now:
        raise InconsistentReport(field, "lies in the future, or has no time zone")


def _check_lines(report: CaptureReport) -> None:
    if not report.lines:
        return
    if len(report.lines) > MAX_LINES:
        raise InconsistentReport("lines", f"at most {MAX_LINES} lines")
    if len({line.ref for line in report.lines}) < len(report.lines):
        raise InconsistentReport("lines", "two lines have the same ref")
    for index, line in enumerate(report.lines):
        _check_name(line.ref, f"lines[{index}].ref")
        if len(line.description) > MAX_DESCRIPTION or "\x00" in line.description:
            raise InconsistentReport(f"lines[{index}].description", f"must be at most {MAX_DESCRIPTION} characters")
        if not 1 <= line.quantity <= MAX_QUANTITY:
            raise InconsistentReport(f"lines[{index}].quantity", f"must lie between 1 and {MAX_QUANTITY}")
        if not 0 <= line.tax_minor <= line.amount_minor:
            raise InconsistentReport(f"lines[{index}].tax_minor", "must lie between 0 and the line's amount")
    total = sum(line.amount_minor for line in report.lines)
    if total != report.amount_minor:
        raise InconsistentReport("lines", f"they sum to {total}, the payment is {report.amount_minor}")


def _check_refunds(report: CaptureReport, now: datetime) -> None:
    if not report.refunds:
        return
    if report.authorized:
        raise InconsistentReport("refunds", "nothing went back of what is only authorized")
    if len({each.gateway_ref for each in report.refunds}) < len(report.refunds):
        raise InconsistentReport("refunds", "the same refund is reported twice")
    for index, each in enumerate(report.refunds):
        _check_name(each.gateway_ref, f"refunds[{index}].gateway_ref")
        _check_time(each.at, f"refunds[{index}].at", now)
        if each.amount_minor <= 0:
            raise InconsistentReport(f"refunds[{index}].amount_minor", "must be more than nothing")
    total = sum(each.amount_minor for each in report.refunds)
    if total > report.amount_minor:
        raise InconsistentReport("refunds", f"they sum to {total}, the payment is {report.amount_minor}")
