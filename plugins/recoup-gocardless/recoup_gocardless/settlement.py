"""Payouts as settlement reports: what GoCardless put together and sent to the merchant's bank.

Two ways in: `fetch` asks for the items of a payout, `read_export` reads what the dashboard's "Payout breakdown,
Export transactions" saves (columns as in support.gocardless.com, "Payout breakdown reports: Transactions", November
2026). GoCardless names no item: the payout, what it is about and its place among equals make the name.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import msgspec

from recoup_gocardless.calls import Calls, GoCardlessNotAsked, GoCardlessRefused
from recoup_gocardless.objects import GoPayout, GoPayoutItem
from recoup_plugins import (
    MAX_SETTLEMENT_BYTES,
    Money,
    ReportedSettlement,
    SettledLine,
    SettlementKind,
    SettlementUnreadable,
)

KINDS: Final[Mapping[str, SettlementKind]] = {
    "payment_paid_out": SettlementKind.CHARGE,
    "payment_failed": SettlementKind.CHARGE_RETURNED,
    "payment_charged_back": SettlementKind.DISPUTE,
    "payment_refunded": SettlementKind.REFUND,
    "refund": SettlementKind.REFUND,
    "refund_funds_returned": SettlementKind.REFUND_RETURNED,
    "gocardless_fee": SettlementKind.FEE,
    "app_fee": SettlementKind.FEE,
    "surcharge_fee": SettlementKind.FEE,
}
"""Items by type (developer.gocardless.com/api-reference: payout items); any other moves the balance all the same."""

REQUIRED: Final = frozenset({"resources.type", "gross_amount", "net_amount", "currency", "payouts.id"})
CENTS: Final = Decimal(100)
"""Every currency that GoCardless pays out has two decimals."""

_WHOLE: Final = Decimal(1)
_HALF: Final = Decimal("0.5")
_AMOUNT: Final = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+)")
"""Commas part thousands only where a point parts the cents: in a file that a spreadsheet has saved, "9,80" is less."""

_PAYOUT: Final = re.compile(r"PO[0-9A-Za-z]{1,60}")


async def fetch(calls: Calls, payout_id: str) -> ReportedSettlement:
    """Fetch a payout with its items; those older than six months are no longer to be had."""
    if _PAYOUT.fullmatch(payout_id) is None:
        raise SettlementUnreadable("GoCardless's payouts are named PO...")
    try:
        payout = await calls.get("payouts", payout_id, GoPayout)
        items = await calls.whole("payout_items", {"payout": payout_id}, GoPayoutItem)
    except GoCardlessRefused as refused:
        raise SettlementUnreadable(f"GoCardless does not give out this payout ({refused.reason})") from None
    except GoCardlessNotAsked as unsent:
        raise ConnectionError(unsent.reason) from None
    paid_at = _arrival(payout.arrival_date) or payout.created_at
    lines = tuple(_named(payout_id, item_lines(payout, items, paid_at)))
    return report_of(payout_id, payout.currency, lines, payout.amount, paid_at)


def read_export(content: bytes) -> ReportedSettlement:
    """Read the dashboard's export of one payout."""
    if len(content) > MAX_SETTLEMENT_BYTES:
        raise SettlementUnreadable("the file is too long")
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise SettlementUnreadable("it is no CSV file in UTF-8") from None
    if not rows or not set(rows[0]) >= REQUIRED:
        raise SettlementUnreadable("it is no export of a payout's transactions")
    payouts, currencies = ({row[column] for row in rows} for column in ("payouts.id", "currency"))
    if len(payouts) != 1 or len(currencies) != 1:
        raise SettlementUnreadable("it holds several payouts or currencies; export them one by one")
    (payout_id,), (currency,) = payouts, currencies
    if not payout_id or not currency:
        raise SettlementUnreadable("it names no payout or no currency")
    lines = tuple(_named(payout_id, [_row_line(row, number) for number, row in enumerate(rows, 2)]))
    paid_out = sum(line.settled_minor - line.fee_minor for line in lines)
    return report_of(payout_id, currency, lines, paid_out, _arrival(rows[0].get("payouts.arrival_date")))


def report_of(
    payout_id: str, currency: str, lines: tuple[SettledLine, ...], paid_out: int, paid_at: datetime | None
) -> ReportedSettlement:
    sent = SettledLine(
        ref=payout_id,
        kind=SettlementKind.PAYOUT,
        amount=Money(abs(paid_out), currency),
        settled_minor=-paid_out,
        operation_ref=payout_id,
        occurred_at=paid_at or lines[0].occurred_at,
    )
    return ReportedSettlement(
        report_ref=payout_id,
        currency=currency,
        lines=(*lines, sent),
        payout_ref=payout_id,
        paid_out_minor=paid_out,
        paid_out_at=paid_at,
    )


def item_lines(payout: GoPayout, items: Sequence[GoPayoutItem], at: datetime) -> Iterator[SettledLine]:
    """Return a payout's items as lines, in whole cents that come to what was paid out."""
    for item, minor in zip(items, _in_cents(payout, [_decimal(item.amount) for item in items]), strict=True):
        kind = KINDS.get(item.type, SettlementKind.OTHER)
        fee = kind is SettlementKind.FEE
        yield SettledLine(
            ref=f"{item.type}:{item.links.refund or item.links.payment or item.links.mandate or ''}",
            kind=kind,
            amount=Money(abs(minor), payout.currency),
            settled_minor=0 if fee else minor,
            fee_minor=-minor if fee else 0,
            charge_ref=item.links.payment,
            operation_ref=item.links.refund or _dispute_ref(kind, item.links.payment),
            occurred_at=at,
            description=item.type,
        )


def _in_cents(payout: GoPayout, amounts: Sequence[Decimal]) -> Iterator[int]:
    """Fees may come to half a cent, and GoCardless rounds their sum alone: each takes what the sum so far comes to.

    Whole amounts stay as they are. A half at the very end goes the way that the payout went.
    """
    broken = [each for each in amounts if each != each.to_integral_value()]
    paid = payout.amount - sum(each for each in amounts if each == each.to_integral_value())
    total = sum(broken, Decimal(0))
    ends = Decimal(paid) if abs(total - paid) <= _HALF else total.quantize(_WHOLE, ROUND_HALF_EVEN)
    exact, told, left = Decimal(0), Decimal(0), len(broken)
    for amount in amounts:
        if amount == amount.to_integral_value():
            yield int(amount)
            continue
        exact, left = exact + amount, left - 1
        so_far = exact.quantize(_WHOLE, ROUND_HALF_EVEN) if left else ends
        yield int(so_far - told)
        told = so_far


def _row_line(row: Mapping[str, str | None], number: int) -> SettledLine:
    gross, net = (_minor(row[column], number) for column in ("gross_amount", "net_amount"))
    payment, refund = row.get("payments.id") or None, row.get("refunds.id") or None
    kind = _row_kind(row, gross)
    return SettledLine(
        ref=f"{kind}:{refund or payment or row.get('mandates.id') or ''}",
        kind=kind,
        amount=Money(abs(gross), row["currency"] or ""),
        settled_minor=gross,
        fee_minor=gross - net,
        charge_ref=payment,
        operation_ref=refund or _dispute_ref(kind, payment),
        occurred_at=_moment(row.get("resources.created_at"), number),
        description=(row.get("resources.description") or "")[:200],
    )


def _row_kind(row: Mapping[str, str | None], gross: int) -> SettlementKind:
    """An export says payment or refund; the sign says which way the money went."""
    match row["resources.type"]:
        case "payment" if gross >= 0:
            return SettlementKind.CHARGE
        case "payment" if row.get("resources.status") == "charged_back":
            return SettlementKind.DISPUTE
        case "payment":
            return SettlementKind.CHARGE_RETURNED
        case "refund":
            return SettlementKind.REFUND if gross <= 0 else SettlementKind.REFUND_RETURNED
    return SettlementKind.OTHER


def _dispute_ref(kind: SettlementKind, payment: str | None) -> str | None:
    return f"{payment}:chargeback" if kind is SettlementKind.DISPUTE and payment else None


def _named(payout_id: str, lines: Iterable[SettledLine]) -> Iterator[SettledLine]:
    """Make the names of lines unique at GoCardless: a payment may be paid out, fail and be paid out again."""
    seen: Counter[str] = Counter()
    for line in lines:
        seen[line.ref] += 1
        yield msgspec.structs.replace(line, ref=f"{payout_id}:{line.ref}:{seen[line.ref]}")


def _decimal(text: str | None) -> Decimal:
    if _AMOUNT.fullmatch(text or "") is None:
        raise SettlementUnreadable("an amount is no number like 9.80")
    value = Decimal((text or "").replace(",", ""))
    if abs(value) >= 2**53:
        raise SettlementUnreadable("an amount is out of bounds")
    return value


def _minor(text: str | None, number: int) -> int:
    try:
        minor = _decimal(text) * CENTS
    except SettlementUnreadable as wrong:
        raise SettlementUnreadable(wrong.reason, number) from None
    if minor != minor.to_integral_value():
        raise SettlementUnreadable("an amount has more than two decimals", number)
    return int(minor)


def _arrival(day: str | None) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat((day or "")[:10]), time(), UTC)
    except ValueError:
        return None


def _moment(text: str | None, number: int) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        raise SettlementUnreadable("resources.created_at is no date", number) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
