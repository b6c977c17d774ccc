"""Refunds that somebody made elsewhere: counted like our own, decided on by nobody."""

from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.capture import Capture, PaymentLine
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.refund import Channel, Destination, PartState, Refund, RefundLine, RefundPart, RefundState
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.flows.refunds.lines import line_shares
from recoup_core.storage.changes import Changes

MADE_ELSEWHERE: Final = "made_elsewhere"
"""The reason of a refund about which nobody gave one."""


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as it was told of."""

    gateway_ref: str
    amount: Money
    at: datetime
    """When it was made."""


def reported_refund(
    account: PaymentAccount,
    capture: Capture,
    told: Elsewhere,
    changes: Changes,
    now: datetime,
    actor: str,
    correlation_id: str | None,
) -> RefundDraft:
    """Return a new draft of a refund made elsewhere, its one part on its way; what became of it is recorded next.

    It takes its share of what is left of the payment's lines, so that the ledger can book the tax in it.
    """
    requester = f"gateway:{capture.gateway}"
    refund = Refund(
        id=new_id(),
        merchant_id=account.payment.merchant_id,
        payment_id=account.payment.id,
        customer_ref=account.payment.customer.ref,
        amount_minor=told.amount.amount_minor,
        currency=told.amount.currency,
        reason=MADE_ELSEWHERE,
        channel=Channel.REPORTED,
        requested_by=requester,
        touched_by=(requester,),
        state=RefundState.APPROVED,
        created_at=now,
        approved_at=told.at,
    )
    lines = tuple(
        RefundLine(
            id=new_id(),
            merchant_id=refund.merchant_id,
            refund_id=refund.id,
            payment_line_id=line_id,
            revision=refund.revision,
            quantity=share.quantity,
            amount_minor=share.amount_minor,
            tax_minor=share.tax_minor,
        )
        for line_id, share in line_shares(account.lines, told.amount, (), {})
    )
    part = _part(refund, capture, told, sum(line.tax_minor for line in lines), now)
    changes.add(refund, part, *lines)
    file = RefundFile(refund=refund, parts=(part,), lines=lines)
    draft = RefundDraft(file, {account.payment.id: account}, changes, now, actor, correlation_id)
    draft.tell(EventKind.REFUND_REPORTED, gateway=capture.gateway, gateway_ref=told.gateway_ref, part=str(part.id))
    return draft


def counting(account: PaymentAccount, draft: RefundDraft) -> PaymentAccount:
    """Return the account as it is once the draft's lines count: the next refund takes its share of what is left."""
    taken = {line.payment_line_id: line for line in draft.file.lines if line.holds}
    return msgspec.structs.replace(account, lines=tuple(_counted(line, taken.get(line.id)) for line in account.lines))


def _counted(line: PaymentLine, taken: RefundLine | None) -> PaymentLine:
    if taken is None:
        return line
    return msgspec.structs.replace(
        line,
        held_quantity=line.held_quantity + taken.quantity,
        held_minor=line.held_minor + taken.amount_minor,
        held_tax_minor=line.held_tax_minor + taken.tax_minor,
    )


def _part(refund: Refund, capture: Capture, told: Elsewhere, tax_minor: int, now: datetime) -> RefundPart:
    return RefundPart(
        id=new_id(),
        merchant_id=refund.merchant_id,
        refund_id=refund.id,
        payment_id=refund.payment_id,
        capture_id=capture.id,
        number=1,
        revision=refund.revision,
        destination=Destination.ORIGINAL_METHOD,
        gateway=capture.gateway,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        tax_minor=tax_minor,
        gateway_ref=told.gateway_ref,
        state=PartState.SUBMITTED,
        created_at=now,
        submitted_at=told.at,
    )
