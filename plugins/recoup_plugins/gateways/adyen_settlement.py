"""Adyen's settlement details report: one CSV per batch, read by the names of its columns.

Columns and record types: docs.adyen.com/reporting/settlement-detail-report. Gross amounts are in the currency of the
payment (GC), net amounts and costs in that of the payout (NC), all in major units. A row's costs are what lies between
its gross and its net amount; where the two are in different currencies, they are the sum of its cost columns.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import msgspec

from recoup_plugins import (
    MAX_SETTLEMENT_BYTES,
    Method,
    Money,
    ReportedSettlement,
    SettledLine,
    SettlementKind,
    SettlementUnreadable,
)
from recoup_plugins.gateways.adyen_objects import ATTEMPT, PART, method_of, ours_in

KINDS: Final[Mapping[str, SettlementKind]] = {
    "Settled": SettlementKind.CHARGE,
    "SettledReversed": SettlementKind.CHARGE_RETURNED,
    "Refunded": SettlementKind.REFUND,
    "RefundedReversed": SettlementKind.REFUND_RETURNED,
    "Chargeback": SettlementKind.DISPUTE,
    "SecondChargeback": SettlementKind.DISPUTE,
    "ChargebackReversed": SettlementKind.DISPUTE_RETURNED,
    "Fee": SettlementKind.FEE,
    "MiscCosts": SettlementKind.FEE,
    "PaymentCost": SettlementKind.FEE,
    "InvoiceDeduction": SettlementKind.FEE,
    "MerchantPayout": SettlementKind.PAYOUT,
    "BankInstructionReturned": SettlementKind.PAYOUT,
}
"""Anything else (balance carried over, deposits, corrections) is `OTHER`."""

_OPERATIONS: Final = frozenset(
    {
        SettlementKind.REFUND,
        SettlementKind.REFUND_RETURNED,
        SettlementKind.DISPUTE,
        SettlementKind.DISPUTE_RETURNED,
    }
)

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
"""As Adyen writes amounts; what a spreadsheet makes of them (1.2E+05) has lost digits."""

_COSTS: Final = ("Commission (NC)", "Markup (NC)", "Scheme Fees (NC)", "Interchange (NC)")
_NEEDED: Final = (
    "Merchant Account",
    "Psp Reference",
    "Merchant Reference",
    "Creation Date",
    "TimeZone",
    "Type",
    "Modification Reference",
    "Gross Currency",
    "Gross Debit (GC)",
    "Gross Credit (GC)",
    "Net Currency",
    "Net Debit (NC)",
    "Net Credit (NC)",
    "Batch Number",
)

_ZONES: Final[Mapping[str, int]] = {
    name: hours
    for hours, names in (
        (-8, "PST"),
        (-7, "MST PDT"),
        (-6, "CST MDT"),
        (-5, "CDT EST"),
        (-4, "EDT"),
        (-3, "ART BRT"),
        (0, "GMT UTC WET"),
        (1, "BST CET WEST"),
        (2, "CEST EET"),
        (3, "EEST MSK"),
        (4, "GST"),
        (8, "AWST HKT SGT"),
        (9, "JST"),
        (10, "AEST"),
        (11, "AEDT"),
        (12, "NZST"),
        (13, "NZDT"),
    )
    for name in names.split()
}
"""Hours ahead of UTC of the abbreviations Adyen prints; one that is not here is read as UTC: only the day counts."""


class _Row(msgspec.Struct, frozen=True):
    """One line of the report, by the names of its columns."""

    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def amount(self, credit: str, debit: str, currency: str) -> Decimal:
        """Return credit less debit, in major units of the currency."""
        return self.number_in(credit) - self.number_in(debit) if currency else Decimal(0)

    def number_in(self, column: str) -> Decimal:
        """Return a cell as a number; an empty one is nothing."""
        text = self[column] or "0"
        if _NUMBER.fullmatch(text) is None:
            raise SettlementUnreadable(f"{column} is no number like 12.50", self.number)
        return Decimal(text)

    def money(self, amount: Decimal, currency: str) -> Money:
        """Return an amount as money; one with more decimals than the currency has is refused, never rounded."""
        try:
            return Money.from_major(str(amount), currency)
        except Exception as wrong:  # an unknown currency, or a fraction of its unit: each is told by its own words
            raise SettlementUnreadable(str(wrong), self.number) from None


def read_report(content: bytes, merchant: str) -> ReportedSettlement:
    """Read a settlement details report of one batch of this merchant account; raises `SettlementUnreadable`."""
    rows = _rows(content)
    batches, currencies = {row["Batch Number"] for row in rows}, {row["Net Currency"] for row in rows}
    if {row["Merchant Account"] for row in rows} != {merchant}:
        raise SettlementUnreadable(f"not every line is of the merchant account {merchant}")
    if len(batches) != 1 or not all(batches):
        raise SettlementUnreadable("it must hold the lines of one batch, each with its number")
    if len(currencies) != 1 or not all(currencies):
        raise SettlementUnreadable("its lines are not in one net currency")
    lines = tuple(_unique(_line(row) for row in rows))
    payouts = [row for row in rows if KINDS.get(row["Type"]) is SettlementKind.PAYOUT]
    paid_out = [line for line in lines if line.kind is SettlementKind.PAYOUT]
    return ReportedSettlement(
        report_ref=f"{merchant} batch {batches.pop()}",
        currency=currencies.pop(),
        lines=lines,
        payout_ref=next((row["Modification Reference"] for row in payouts if row["Modification Reference"]), None),
        paid_out_minor=-sum(line.settled_minor - line.fee_minor for line in paid_out) if paid_out else None,
        paid_out_at=max((line.occurred_at for line in paid_out), default=None),
    )


def _rows(content: bytes) -> list[_Row]:
    if len(content) > MAX_SETTLEMENT_BYTES:
        raise SettlementUnreadable("it is too long")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettlementUnreadable("it is no UTF-8 text") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="surplus", restval=None, strict=True)
    try:
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise SettlementUnreadable(f"it has no column {missing[0]!r}", 1)
        rows = [_row(reader.line_num, cells) for cells in reader]
    except csv.Error as wrong:
        raise SettlementUnreadable(f"it is no CSV ({wrong})", reader.line_num) from None
    if not rows:
        raise SettlementUnreadable("it holds no lines")
    return rows


def _row(number: int, cells: Mapping[str | Any, str | Any]) -> _Row:
    if "surplus" in cells or None in cells.values():
        raise SettlementUnreadable("not as many fields as the header", number)
    return _Row(number, {name: value.strip() for name, value in cells.items()})


def _line(row: _Row) -> SettledLine:
    kind = _kind(row)
    net_currency = row["Net Currency"]
    gross_currency = row["Gross Currency"] or net_currency
    gross = row.amount("Gross Credit (GC)", "Gross Debit (GC)", row["Gross Currency"])
    net = row.amount("Net Credit (NC)", "Net Debit (NC)", net_currency)
    fee = _fee(row, kind, gross if gross_currency == net_currency else None, net)
    about, operation = row["Psp Reference"] or None, row["Modification Reference"] or None
    is_operation = kind in _OPERATIONS
    reference = row["Merchant Reference"]
    return SettledLine(
        ref="/".join((row["Batch Number"], row["Type"], row["Psp Reference"], row["Modification Reference"])),
        kind=kind,
        amount=row.money(abs(gross), gross_currency) if gross else row.money(abs(net), net_currency),
        settled_minor=row.money(net, net_currency).amount_minor + fee,
        fee_minor=fee,
        charge_ref=about,
        other_charge_refs=(operation,) if operation and kind is SettlementKind.CHARGE else (),
        operation_ref=operation if is_operation else None,
        attempt_id=ours_in(ATTEMPT, reference),
        part_id=ours_in(PART, row["Modification Merchant Reference"]),
        payment_reference=_payment_reference(row, reference),
        occurred_at=_at(row),
        description=" ".join(
            part for part in (row["Type"], row["Payment Method"], None if about else operation) if part
        ),
    )


def _kind(row: _Row) -> SettlementKind:
    """A debit that the bank sent back stands there as a chargeback; it is one of a charge, not of a dispute."""
    kind = KINDS.get(row["Type"], SettlementKind.OTHER)
    debit = method_of(row["Payment Method"]) not in (None, Method.CARD)
    return SettlementKind.CHARGE_RETURNED if kind is SettlementKind.DISPUTE and debit else kind


def _fee(row: _Row, kind: SettlementKind, gross: Decimal | None, net: Decimal) -> int:
    """Return what Adyen kept, in minor units of the net currency; the costs themselves have more decimals."""
    if kind in (SettlementKind.FEE, SettlementKind.PAYOUT, SettlementKind.OTHER):
        return 0
    if gross:
        return row.money(gross - net, row["Net Currency"]).amount_minor
    costs = sum((row.number_in(column) for column in _COSTS), Decimal(0))
    one = Money.from_major("1", row["Net Currency"]).amount_minor
    return int((costs * one).quantize(Decimal(1), ROUND_HALF_EVEN))


def _payment_reference(row: _Row, reference: str) -> str | None:
    """Return the merchant's own name for the debt: the order's, else the payment's where that is not ours."""
    order = row["Merchant Order Reference"]
    return order or (reference if reference and ours_in(ATTEMPT, reference) is None else None)


def _at(row: _Row) -> datetime:
    try:
        local = datetime.fromisoformat(row["Creation Date"])
    except ValueError:
        raise SettlementUnreadable("Creation Date is no date", row.number) from None
    return (local.replace(tzinfo=None) - timedelta(hours=_ZONES.get(row["TimeZone"], 0))).replace(tzinfo=UTC)


def _unique(lines: Iterable[SettledLine]) -> Iterable[SettledLine]:
    """Number the lines that the report can't tell apart, in its order: it names no id of its own for a movement."""
    seen: dict[str, int] = {}
    for line in lines:
        seen[line.ref] = seen.get(line.ref, 0) + 1
        again = seen[line.ref]
        yield line if again == 1 else msgspec.structs.replace(line, ref=f"{line.ref}#{again}")
