"""Stripe's settlements: the balance transactions of an automatic payout, in our words.

A payout that somebody made by hand names no transactions (docs.stripe.com/payouts/reconciliation): such an account is
read from the balance report by other means, and fetching it is refused.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import stripe

from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.ports import ReportedSettlement, SettledLine, SettlementUnreadable
from recoup_plugins.gateways.stripe_amounts import NotExpressible, from_stripe
from recoup_plugins.gateways.stripe_calls import Account, pages, read
from recoup_plugins.gateways.stripe_errors import LIST_PAGE, REFUSED_BEFORE, StripeAnswerLost, code_of, lost
from recoup_plugins.gateways.stripe_objects import PAYMENT_KEY, attempt_of, ref
from recoup_plugins.gateways.stripe_refund_objects import PART_KEY

MAX_LINES: Final = 300_000
"""The largest payout that is fetched; larger ones are uploaded as a report."""

KINDS: Final[Mapping[str, SettlementKind]] = {
    "charge": SettlementKind.CHARGE,
    "charge_failure": SettlementKind.CHARGE_RETURNED,
    "refund": SettlementKind.REFUND,
    "refund_failure": SettlementKind.REFUND_RETURNED,
    "dispute": SettlementKind.DISPUTE,
    "dispute_reversal": SettlementKind.DISPUTE_RETURNED,
    "fee": SettlementKind.FEE,
    "network_cost": SettlementKind.FEE,
    "tax": SettlementKind.FEE,
    "payout": SettlementKind.PAYOUT,
    "payout_reversal": SettlementKind.PAYOUT,
}
"""docs.stripe.com/reports/reporting-categories; whatever is not listed moved the balance for another reason."""

UNCAPTURED: Final = "partial_capture_reversal"
"""What was authorized and not captured: Stripe books the whole and takes the rest off; together they are the charge."""

OPERATIONS: Final = frozenset(
    {
        SettlementKind.REFUND,
        SettlementKind.REFUND_RETURNED,
        SettlementKind.DISPUTE,
        SettlementKind.DISPUTE_RETURNED,
    }
)
"""Lines whose source is a refund or a dispute."""


class _Source(msgspec.Struct, frozen=True):
    """The charge, refund, dispute or payout that moved the balance."""

    id: str | None = None
    object: str | None = None
    amount: int | None = None
    currency: str | None = None
    charge: str | Mapping[str, Any] | None = None
    payment_intent: str | Mapping[str, Any] | None = None
    metadata: Mapping[str, str] | None = None


class _Transaction(msgspec.Struct, frozen=True):
    """A BalanceTransaction, its source expanded."""

    id: str
    amount: int
    fee: int
    net: int
    currency: str
    created: int
    reporting_category: str
    source: str | _Source | None = None
    description: str | None = None


class _Payout(msgspec.Struct, frozen=True):
    id: str
    amount: int
    currency: str
    arrival_date: int
    automatic: bool = True
    reconciliation_status: str = "completed"


async def fetch(account: Account, report_ref: str) -> ReportedSettlement:
    """Fetch a payout's transactions; raises `SettlementUnreadable` where Stripe has none for it."""
    if not report_ref.startswith("po_"):
        raise SettlementUnreadable("Stripe's settlements are named by their payout (po_...)")
    try:
        payout = read(await account.client.v1.payouts.retrieve_async(report_ref), _Payout)
        if not payout.automatic:
            raise SettlementUnreadable("the payout was made by hand: Stripe does not say what it holds")
        if payout.reconciliation_status == "in_progress":
            raise StripeAnswerLost("Stripe is still working out what the payout holds")
        params = {"payout": payout.id, "expand": ["data.source"]}
        ask = account.client.v1.balance_transactions.list_async
        rows = [one async for one in pages(ask, params, _Transaction, limit=MAX_LINES // LIST_PAGE)]
    except REFUSED_BEFORE as refusal:
        raise SettlementUnreadable(f"Stripe does not hand the payout out ({code_of(refusal)})") from None
    except stripe.StripeError as refusal:
        raise lost(refusal) from None
    return _report(payout, rows)


def _report(payout: _Payout, rows: Iterable[_Transaction]) -> ReportedSettlement:
    try:
        lines = joined((one.reporting_category, _line(one)) for one in rows)
        paid_out = minor(payout.amount, payout.currency)
    except NotExpressible as wrong:
        raise SettlementUnreadable(str(wrong)) from None
    return ReportedSettlement(
        report_ref=payout.id,
        currency=payout.currency.upper(),
        lines=lines,
        payout_ref=payout.id,
        paid_out_minor=paid_out,
        paid_out_at=datetime.fromtimestamp(payout.arrival_date, UTC),
    )


def _line(row: _Transaction) -> SettledLine:
    kind = KINDS.get(row.reporting_category, SettlementKind.OTHER)
    source = row.source if isinstance(row.source, _Source) else _Source(id=row.source)
    is_charge = source.object == "charge"
    refs = charge_refs(ref(source.payment_intent), source.id if is_charge else ref(source.charge))
    metadata = source.metadata or {}
    return SettledLine(
        ref=row.id,
        kind=kind,
        amount=_about(row, source),
        settled_minor=minor(row.amount, row.currency),
        fee_minor=minor(row.fee, row.currency),
        charge_ref=refs[0] if refs else None,
        other_charge_refs=refs[1:],
        operation_ref=source.id if kind in OPERATIONS else None,
        attempt_id=attempt_of(metadata),
        part_id=part_of(metadata),
        payment_reference=metadata.get(PAYMENT_KEY) or metadata.get("reference"),
        occurred_at=datetime.fromtimestamp(row.created, UTC),
        description=row.description or row.reporting_category,
    )


def _about(row: _Transaction, source: _Source) -> Money:
    """Return what the line is about in the customer's currency, which may be another one than the balance's."""
    if source.amount is not None and source.currency not in {None, row.currency}:
        return from_stripe(abs(source.amount), source.currency or row.currency)
    return from_stripe(abs(row.amount), row.currency)


def minor(amount: int, currency: str) -> int:
    """Return Stripe's signed integer as ISO 4217 minor units."""
    size = from_stripe(abs(amount), currency).amount_minor
    return size if amount >= 0 else -size


def charge_refs(intent: str | None, charge: str | None) -> tuple[str, ...]:
    """Return the names of a charge: the PaymentIntent's first, as our own charges are known by it."""
    return tuple(one for one in (intent, charge) if one)


def part_of(metadata: Mapping[str, str]) -> UUID | None:
    """Return our part, where the metadata name one."""
    try:
        return UUID(metadata[PART_KEY])
    except (KeyError, ValueError):
        return None


def joined(lines: Iterable[tuple[str, SettledLine]]) -> tuple[SettledLine, ...]:
    """Return the lines, with what was never captured taken off the charge it belongs to."""
    kept: dict[str, SettledLine] = {}
    reversals: list[SettledLine] = []
    for category, line in lines:
        if category == UNCAPTURED:
            reversals.append(line)
        elif line.ref in kept:
            raise SettlementUnreadable(f"the transaction {line.ref} stands twice")
        else:
            kept[line.ref] = line
    by_charge = {one.charge_ref: one for one in kept.values() if one.kind is SettlementKind.CHARGE and one.charge_ref}
    for reversal in reversals:
        charge = by_charge.get(reversal.charge_ref or "")
        if charge is None:  # its charge stands in another report
            kept[reversal.ref] = reversal
            continue
        kept[charge.ref] = by_charge[reversal.charge_ref or ""] = msgspec.structs.replace(
            charge,
            amount=charge.amount - reversal.amount,
            settled_minor=charge.settled_minor + reversal.settled_minor,
            fee_minor=charge.fee_minor + reversal.fee_minor,
        )
    return tuple(kept.values())
