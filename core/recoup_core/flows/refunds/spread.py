"""In which parts a refund goes, and for which lines: under the payments' locks, never above what is free.

Each part gets the tax of its share of the lines, so that the ledger can book it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.refund import Destination, PartState, Refund, RefundLine, RefundPart
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.domain.shares import Share, largest_remainder
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.lines import LineShares, line_shares
from recoup_core.flows.refunds.sources import Own, Source, beside, taken_from
from recoup_core.ports import Gateway

KEY_PREFIX: Final = "recoup-"
"""Before the part's id in its idempotency key, so that people at the gateway see whose it is."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The parts in which a refund would go and what they are for."""

    parts: tuple[RefundPart, ...]
    lines: tuple[RefundLine, ...]


def spread(
    ask: RefundAsk,
    refund: Refund,
    accounts: Sequence[PaymentAccount],
    gateways: Mapping[str, Gateway],
    now: datetime,
    own: Own,
    number: int = 1,
    kept: LineShares = (),
) -> Plan:
    """Return parts (from that number on) and lines for the refund's present revision; `kept` lines stay as they are.

    Raises `RefundExceedsRefundable`, `GoodwillExceedsPayment`, `GatewayCannotRefund`, `RefundWindowOver`,
    `RefundInvalid`, `CurrencyMismatch`, `LineExceedsRefundable`, `RefundLinesDiffer`.
    """
    taken = taken_from(ask, accounts, gateways, now, own)
    parts: list[RefundPart] = []
    lines: list[RefundLine] = []
    by_id = {account.payment.id: account for account in accounts}
    for payment_id in dict.fromkeys(source.payment_id for source, _ in taken):
        of_payment = [(source, amount) for source, amount in taken if source.payment_id == payment_id]
        amounts = [amount for _, amount in of_payment]
        amount_of_lines = Money(sum(amounts), ask.currency)
        shares: LineShares = ()
        if not beside(ask):
            shares = kept or line_shares(by_id[payment_id].lines, amount_of_lines, ask.lines, own.lines)
        lines += [_line(refund, line_id, share) for line_id, share in shares]
        taxes = largest_remainder(sum(share.tax_minor for _, share in shares), amounts)
        for (source, amount), tax in zip(of_payment, taxes, strict=True):
            parts.append(_part(refund, source, amount, tax, number + len(parts), now))
    return Plan(parts=tuple(parts), lines=tuple(lines))


def _line(refund: Refund, line_id: UUID, share: Share) -> RefundLine:
    return RefundLine(
        id=new_id(),
        merchant_id=refund.merchant_id,
        refund_id=refund.id,
        payment_line_id=line_id,
        revision=refund.revision,
        quantity=share.quantity,
        amount_minor=share.amount_minor,
        tax_minor=share.tax_minor,
    )


def _part(refund: Refund, source: Source, amount: int, tax: int, number: int, now: datetime) -> RefundPart:
    part_id = new_id()
    sent = refund.destination is Destination.ORIGINAL_METHOD
    return RefundPart(
        id=part_id,
        merchant_id=refund.merchant_id,
        refund_id=refund.id,
        payment_id=source.payment_id,
        capture_id=source.capture.id if source.capture else None,
        number=number,
        revision=refund.revision,
        destination=refund.destination,
        gateway=source.capture.gateway if sent and source.capture else None,
        void=sent and source.whole_only,
        amount_minor=amount,
        currency=refund.currency,
        tax_minor=tax,
        idempotency_key=f"{KEY_PREFIX}{part_id}" if sent else None,
        state=PartState.RESERVED,
        created_at=now,
    )


def following(part: RefundPart, number: int, now: datetime) -> RefundPart:
    """Return the part that goes in place of one that failed, was taken back or canceled: a key of its own.

    Whether it voids or refunds is chosen anew when it leaves, from the capture as it is then.
    """
    part_id = new_id()
    return RefundPart(
        id=part_id,
        merchant_id=part.merchant_id,
        refund_id=part.refund_id,
        payment_id=part.payment_id,
        capture_id=part.capture_id,
        number=number,
        revision=part.revision,
        destination=part.destination,
        gateway=part.gateway,
        void=part.void,
        amount_minor=part.amount_minor,
        currency=part.currency,
        tax_minor=part.tax_minor,
        idempotency_key=f"{KEY_PREFIX}{part_id}" if part.gateway is not None else None,
        state=PartState.SCHEDULED,
        follows=part.id,
        created_at=now,
    )
