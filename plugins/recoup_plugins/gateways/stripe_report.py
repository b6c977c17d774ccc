"""Stripe's itemized payout reconciliation report (CSV), as its dashboard and its Reports API give it out.

The columns are those of `payout_reconciliation.itemized.5` and `payout_reconciliation.by_id.itemized.4`
(docs.stripe.com/reports/report-types/payout-reconciliation); any order, any further ones. Amounts are in major units
with a point. A report of several payouts is one settlement as long as it is in one currency.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from recoup_core.domain.errors import AmountNotExact, DomainError
from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.ports import MAX_SETTLEMENT_BYTES, ReportedSettlement, SettledLine, SettlementUnreadable
from recoup_plugins.gateways.stripe_objects import ATTEMPT_KEY, PAYMENT_KEY, attempt_of
from recoup_plugins.gateways.stripe_refund_objects import PART_KEY
from recoup_plugins.gateways.stripe_settlement import KINDS, OPERATIONS, charge_refs, joined, part_of

if TYPE_CHECKING:
    from _csv import Reader

REQUIRED: Final = (
    "balance_transaction_id",
    "created_utc",
    "currency",
    "gross",
    "fee",
    "net",
    "reporting_category",
)

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
"""As Stripe writes amounts; what a spreadsheet makes of them (1.2E+05) has lost digits."""

_PAYMENT: Final = "payment_metadata[{}]"
_REFUND: Final = "refund_metadata[{}]"
"""Metadata are columns of their own, where the report was made with them."""

Row = Mapping[str, str]


def read_report(content: bytes) -> ReportedSettlement:
    """Read the report; raises `SettlementUnreadable` with the line that can't be read."""
    if len(content) > MAX_SETTLEMENT_BYTES:
        raise SettlementUnreadable("it is too long")
    rows = list(_rows(content))
    if not rows:
        raise SettlementUnreadable("it holds no transaction")
    currencies = {row["currency"].upper() for _, row in rows}
    if len(currencies) != 1:
        raise SettlementUnreadable(f"it holds {len(currencies)} currencies; export one at a time")
    (currency,) = currencies
    lines = joined(_line(number, row) for number, row in rows)
    payouts = sorted({row["automatic_payout_id"] for _, row in rows if row.get("automatic_payout_id")})
    paid = [one.settled_minor - one.fee_minor for one in lines if one.kind is SettlementKind.PAYOUT]
    return ReportedSettlement(
        report_ref=_name(payouts, lines),
        currency=currency,
        lines=lines,
        payout_ref=payouts[0] if len(payouts) == 1 else None,
        paid_out_minor=-sum(paid) if paid else None,
        paid_out_at=_paid_at(rows[0]) if len(payouts) == 1 else None,
    )


def _rows(content: bytes) -> Iterator[tuple[int, Row]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettlementUnreadable("it is not UTF-8") from None
    reader = csv.reader(io.StringIO(text), strict=True)
    header = _next(reader)
    missing = [name for name in REQUIRED if name not in (header or [])]
    if header is None or missing:
        raise SettlementUnreadable(f"the columns {', '.join(missing or REQUIRED)} are missing", 1)
    while (row := _next(reader)) is not None:
        if not row:
            continue
        if len(row) != len(header):
            raise SettlementUnreadable(f"it has {len(row)} fields, the header {len(header)}", reader.line_num)
        yield reader.line_num, dict(zip(header, row, strict=True))


def _next(reader: "Reader") -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error:
        raise SettlementUnreadable("it is no CSV", reader.line_num) from None


def _line(number: int, row: Row) -> tuple[str, SettledLine]:
    category = row["reporting_category"]
    kind = KINDS.get(category, SettlementKind.OTHER)
    try:
        currency = row["currency"].upper()
        gross, fee, net = (_money(row[name], currency) for name in ("gross", "fee", "net"))
        about = _about(row, gross)
        occurred_at = _at(row["created_utc"])
    except (DomainError, ValueError) as wrong:
        raise SettlementUnreadable(str(wrong), number) from None
    if gross - fee != net:
        raise SettlementUnreadable("gross less fee is not net", number)
    source = row.get("source_id") or None
    of_charge = source if source and source.startswith(("ch_", "py_")) else None
    refs = charge_refs(row.get("payment_intent_id") or None, row.get("charge_id") or of_charge)
    names = {key: row.get(_PAYMENT.format(key)) or "" for key in (ATTEMPT_KEY, PAYMENT_KEY, "reference")}
    return category, SettledLine(
        ref=row["balance_transaction_id"] or _refuse("the transaction has no id", number),
        kind=kind,
        amount=about,
        settled_minor=gross.amount_minor,
        fee_minor=fee.amount_minor,
        charge_ref=refs[0] if refs else None,
        other_charge_refs=refs[1:],
        operation_ref=source if kind in OPERATIONS else None,
        attempt_id=attempt_of(names),
        part_id=part_of({PART_KEY: row.get(_REFUND.format(PART_KEY)) or ""}),
        payment_reference=names[PAYMENT_KEY] or names["reference"] or None,
        occurred_at=occurred_at,
        description=row.get("description") or category,
    )


def _money(text: str, currency: str) -> Money:
    if _NUMBER.fullmatch(text) is None:
        raise AmountNotExact(text, currency)
    return Money.from_major(text, currency)


def _refuse(reason: str, number: int) -> str:
    raise SettlementUnreadable(reason, number)


def _about(row: Row, gross: Money) -> Money:
    """Return the amount as the customer saw it, where the report tells; refunds may carry a sign there."""
    amount, currency = row.get("customer_facing_amount"), row.get("customer_facing_currency")
    said = _money(amount, currency.upper()) if amount and currency else gross
    return Money(abs(said.amount_minor), said.currency)


def _at(text: str) -> datetime:
    """Read `2026-11-23 09:00:00`; the column is in UTC whatever the report's own zone is."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _paid_at(first: tuple[int, Row]) -> datetime | None:
    number, row = first
    text = row.get("automatic_payout_effective_at_utc") or row.get("automatic_payout_effective_at")
    try:
        return _at(text) if text else None
    except ValueError as wrong:
        raise SettlementUnreadable(str(wrong), number) from None


def _name(payouts: list[str], lines: tuple[SettledLine, ...]) -> str:
    """Name the report by its payouts; one without any (an open balance) by its first and last transaction."""
    if payouts:
        return payouts[0] if len(payouts) == 1 else f"{payouts[0]}..{payouts[-1]}"
    ordered = sorted(lines, key=lambda one: (one.occurred_at, one.ref))
    return f"{ordered[0].ref}..{ordered[-1].ref}"
