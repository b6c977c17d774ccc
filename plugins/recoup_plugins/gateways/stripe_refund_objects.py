"""Stripe's refunds, as much of them as we read, and what their states and refusals mean for us."""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
import stripe

from recoup_core.domain.redact import redact
from recoup_core.domain.refund import FailureCategory, RefundFailure
from recoup_core.ports import Canceled, Pending, Refunded, RefundReason, Refused
from recoup_core.reference import refund_rules
from recoup_plugins.gateways.stripe_amounts import from_stripe
from recoup_plugins.gateways.stripe_errors import code_of, error_of
from recoup_plugins.gateways.stripe_objects import MAX_CODE, UnexpectedState, ref

PART_KEY: Final = "recoup_part"
"""Our metadata on a refund."""

REASONS: Final[Mapping[RefundReason, str]] = {
    RefundReason.DUPLICATE: "duplicate",
    RefundReason.FRAUDULENT: "fraudulent",
    RefundReason.REQUESTED_BY_CUSTOMER: "requested_by_customer",
}
"""What Stripe takes; any other reason is left out (docs.stripe.com/api/refunds/create)."""

NOT_CAPTURED: Final = "charge_not_captured"

_TOO_MUCH: Final = re.compile(r"greater than (?:the )?(?:un-?refunded|charge|remaining)", re.IGNORECASE)
_UNCAPTURED: Final = re.compile(r"uncaptured|does not have a successful charge", re.IGNORECASE)
"""Stripe sends these two refusals with a message alone, without a code."""


class StripeRefund(msgspec.Struct, frozen=True):
    """A Refund."""

    id: str
    amount: int
    currency: str
    status: str | None = None
    charge: str | Mapping[str, Any] | None = None
    payment_intent: str | Mapping[str, Any] | None = None
    failure_reason: str | None = None
    failure_balance_transaction: str | Mapping[str, Any] | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def part_id(self) -> UUID | None:
        """Our part, where our metadata names one."""
        try:
            return UUID((self.metadata or {})[PART_KEY])
        except (KeyError, ValueError):
            return None

    @property
    def charge_refs(self) -> tuple[str, ...]:
        """The ids of what it gives back: the PaymentIntent's first, as our own charges are known by it."""
        return tuple(one for one in (ref(self.payment_intent), ref(self.charge)) if one)

    @property
    def came_back(self) -> bool:
        """Whether a failed refund's money was returned to the merchant's balance: it had left."""
        return self.status == "failed" and ref(self.failure_balance_transaction) is not None


def refund_outcome(refund: StripeRefund) -> Refunded | Refused | Pending | Canceled:
    """Say what a refund's status means; `UnexpectedState` where it leaves the question open."""
    match refund.status:
        case "succeeded":
            return Refunded(gateway_ref=refund.id, amount=from_stripe(refund.amount, refund.currency))
        case "pending" | "requires_action":
            return Pending(gateway_ref=refund.id)
        case "failed":
            return Refused(failure=failure_of(refund), gateway_ref=refund.id)
        case "canceled":
            return Canceled(gateway_ref=refund.id)
        case _:
            raise UnexpectedState(f"the refund {refund.id} is {redact(str(refund.status))}")


def failure_of(refund: StripeRefund) -> RefundFailure:
    """Return why a refund failed, by its `failure_reason`."""
    return _failure(refund.failure_reason or "unknown", FailureCategory.UNKNOWN, None)


def refusal(refused: stripe.StripeError) -> RefundFailure:
    """Return why a call about a refund was refused; a code in no table is our configuration, or the bank's no."""
    error = error_of(refused)
    code, message = code_of(refused), error.message or ""
    if code is None and _TOO_MUCH.search(message):
        code = "charge_already_refunded"
    elif code is None and _UNCAPTURED.search(message):
        code = NOT_CAPTURED
    is_card = isinstance(refused, stripe.CardError)
    code = (error.decline_code if is_card else None) or code or "invalid_request"
    return _failure(code, FailureCategory.REFUSED if is_card else FailureCategory.CONFIGURATION, message)


def own_refusal(code: str, category: FailureCategory, message: str) -> RefundFailure:
    """Return a refusal of ours: the request was never sent."""
    return RefundFailure(category=category, code=code, message=message)


def _failure(code: str, otherwise: FailureCategory, message: str | None) -> RefundFailure:
    return RefundFailure(
        category=refund_rules("stripe").category(code) or otherwise,
        code=re.sub(r"\W+", "_", code)[:MAX_CODE],
        message=redact(message) if message else None,
    )
