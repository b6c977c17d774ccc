"""Giving money back: what a gateway is asked, and what it may answer."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.refund import RefundFailure
from recoup_core.ports.charges import NotFound, NotSent, Pending


class RefundReason(StrEnum):
    """What a gateway is told; merchants' own reasons map to it."""

    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    """Stripe also blocks the card then: told only where the merchant's own reason says so."""
    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    OTHER = "other"


class RefundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a gateway needs to give money back once; the same key always comes with the same request."""

    idempotency_key: str
    """Made once per part and stored before the first send; at most 64 characters."""
    part_id: UUID
    payment_reference: str
    charge_ref: str
    """The gateway's own id of the charge that goes back."""
    charged: Money
    """The whole charge."""
    amount: Money
    """What goes back of it; always said, also for all of it."""
    void: bool = False
    """Cancel the authorisation instead: then `amount` is all of `charged`."""
    method: Method
    reason: RefundReason = RefundReason.OTHER
    first_sent_at: datetime
    """When the key was first used; the search for a lost answer starts there."""
    gateway_ref: str | None = None
    """The gateway's own id of this refund where an earlier answer told it."""
    correlation_id: str | None = None


class Refunded(msgspec.Struct, frozen=True, kw_only=True, tag="refunded"):
    """The gateway has given the money back (or voided the charge); it may still take it back later."""

    gateway_ref: str
    amount: Money
    fee: Money | None = None
    """What the gateway charges for it, where it says so."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A definite no; no money moved."""

    failure: RefundFailure
    gateway_ref: str | None = None


class TakenBack(msgspec.Struct, frozen=True, kw_only=True, tag="taken_back"):
    """A refund that had succeeded, or seemed to, came back to the merchant."""

    gateway_ref: str
    failure: RefundFailure


class Canceled(msgspec.Struct, frozen=True, kw_only=True, tag="canceled"):
    """A refund was canceled before the money left the gateway."""

    gateway_ref: str | None = None


RefundOutcome = Refunded | Refused | Pending | NotSent
FoundRefund = Refunded | Refused | Pending | Canceled | TakenBack | NotFound
CancelOutcome = Canceled | Refused | NotSent
