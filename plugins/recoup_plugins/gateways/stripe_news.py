"""What Stripe's events say about refunds, authorisations, disputes and payouts, in our words.

An object of a shape we don't know says nothing: the event is kept all the same.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.ports import CaptureNews, DisputeNews, RefundNews, SettlementNews, TakenBack
from recoup_plugins.gateways.stripe_amounts import NotExpressible, from_stripe
from recoup_plugins.gateways.stripe_objects import StripeIntent, UnexpectedState, ref
from recoup_plugins.gateways.stripe_refund_objects import StripeRefund, failure_of, refund_outcome

STANDINGS: Final[Mapping[str, DisputeState]] = {
    "warning_needs_response": DisputeState.INQUIRY,
    "warning_under_review": DisputeState.INQUIRY,
    "warning_closed": DisputeState.CLOSED,
    "prevented": DisputeState.CLOSED,
    "needs_response": DisputeState.OPEN,
    "under_review": DisputeState.OPEN,
    "won": DisputeState.WON,
    "lost": DisputeState.LOST,
    # an appeal follows a loss: until it is decided the money stays away
    "appeal_needs_response": DisputeState.LOST,
    "appeal_under_review": DisputeState.LOST,
}
"""docs.stripe.com/api/disputes/object; a status that is not listed is no news."""


class _Fee(msgspec.Struct, frozen=True):
    fee: int = 0
    currency: str = ""


class _Due(msgspec.Struct, frozen=True):
    due_by: int | None = None


class _Dispute(msgspec.Struct, frozen=True):
    id: str
    amount: int
    currency: str
    status: str
    charge: str | Mapping[str, Any] | None = None
    payment_intent: str | Mapping[str, Any] | None = None
    reason: str | None = None
    evidence_details: _Due | None = None
    balance_transactions: tuple[_Fee, ...] = ()


class _Charge(msgspec.Struct, frozen=True):
    id: str
    currency: str
    amount_captured: int
    payment_intent: str | Mapping[str, Any] | None = None


class _Payout(msgspec.Struct, frozen=True):
    id: str
    automatic: bool = True


News = RefundNews | DisputeNews | CaptureNews | SettlementNews


def news_of(kind: str, body: msgspec.Raw) -> News | None:
    """Return what an event's object tells; None for kinds and objects that say nothing of these."""
    tell = _KINDS.get(kind)
    if tell is None:
        return None
    try:
        return tell(body)
    except (msgspec.MsgspecError, NotExpressible, UnexpectedState, OverflowError, OSError, ValueError, RecursionError):
        return None


def _of_refund(body: msgspec.Raw) -> RefundNews:
    refund = msgspec.json.decode(body, type=StripeRefund)
    first, *others = refund.charge_refs or (None,)
    taken_back = TakenBack(gateway_ref=refund.id, failure=failure_of(refund)) if refund.came_back else None
    return RefundNews(
        refund_ref=refund.id,
        part_id=refund.part_id,
        charge_ref=first,
        other_charge_refs=tuple(one for one in others if one),
        amount=from_stripe(refund.amount, refund.currency),
        outcome=taken_back or refund_outcome(refund),
    )


def _of_dispute(body: msgspec.Raw) -> DisputeNews | None:
    dispute = msgspec.json.decode(body, type=_Dispute)
    refs = [one for one in (ref(dispute.payment_intent), ref(dispute.charge)) if one]
    if dispute.status not in STANDINGS or not refs:
        return None
    due = dispute.evidence_details.due_by if dispute.evidence_details else None
    return DisputeNews(
        dispute_ref=dispute.id,
        charge_ref=refs[0],
        other_charge_refs=tuple(refs[1:]),
        amount=from_stripe(dispute.amount, dispute.currency),
        standing=STANDINGS[dispute.status],
        reason=dispute.reason,
        evidence_due_at=datetime.fromtimestamp(due, UTC) if due else None,
        fee=_fee(dispute),
    )


def _fee(dispute: _Dispute) -> Money | None:
    """Sum what Stripe charges for the dispute, in the currency of the merchant's balance."""
    fees = [one for one in dispute.balance_transactions if one.fee]
    if len({one.currency for one in fees}) != 1:
        return None
    total = sum(one.fee for one in fees)
    return from_stripe(total, fees[0].currency) if total > 0 else None


def _of_authorized(body: msgspec.Raw) -> CaptureNews | None:
    intent = msgspec.json.decode(body, type=StripeIntent)
    if intent.amount_capturable <= 0:
        return None
    return _intent_news(intent, intent.amount_capturable, CaptureState.AUTHORIZED)


def _of_canceled(body: msgspec.Raw) -> CaptureNews | None:
    """An intent that was canceled after it had been authorised: it has a charge, which holds nothing any more."""
    intent = msgspec.json.decode(body, type=StripeIntent)
    if intent.attempt_id is not None or ref(intent.latest_charge) is None or intent.last_payment_error is not None:
        return None
    return _intent_news(intent, intent.amount, CaptureState.VOIDED)


def _intent_news(intent: StripeIntent, amount: int, standing: CaptureState) -> CaptureNews:
    charge = ref(intent.latest_charge)
    return CaptureNews(
        charge_ref=intent.id,
        other_charge_refs=(charge,) if charge else (),
        amount=from_stripe(amount, intent.currency),
        standing=standing,
    )


def _of_captured(body: msgspec.Raw) -> CaptureNews:
    charge = msgspec.json.decode(body, type=_Charge)
    intent = ref(charge.payment_intent)
    return CaptureNews(
        charge_ref=intent or charge.id,
        other_charge_refs=(charge.id,) if intent else (),
        amount=from_stripe(charge.amount_captured, charge.currency),
        standing=CaptureState.CAPTURED,
    )


def _of_payout(body: msgspec.Raw) -> SettlementNews | None:
    """A payout that somebody made by hand names no transactions: there is nothing to fetch."""
    payout = msgspec.json.decode(body, type=_Payout)
    return SettlementNews(report_ref=payout.id) if payout.automatic else None


_KINDS: Final[Mapping[str, Callable[[msgspec.Raw], News | None]]] = {
    "refund.created": _of_refund,
    "refund.updated": _of_refund,
    "refund.failed": _of_refund,
    "charge.refund.updated": _of_refund,
    **{
        f"charge.dispute.{what}": _of_dispute
        for what in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
    },
    "payment_intent.amount_capturable_updated": _of_authorized,
    "payment_intent.canceled": _of_canceled,
    "charge.captured": _of_captured,
    "payout.paid": _of_payout,
    "payout.reconciliation_completed": _of_payout,
}
"""`charge.refunded` is not among them: its object is the charge, and it is no proof of success."""

KINDS: Final = frozenset(_KINDS)
