"""Money that one gateway holds for a payment, what of it is still refundable, and the lines it was charged for."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network


class CaptureState(StrEnum):
    """Whether the money was only promised or really came in."""

    AUTHORIZED = "authorized"
    """Promised by the issuer; it is voided, not refunded."""
    CAPTURED = "captured"
    VOIDED = "voided"
    RETURNED = "returned"
    """It had come in, and the customer's bank took it back: a bank debit that failed late."""


class CaptureEvent(StrEnum):
    """What can happen to it."""

    CAPTURE = "capture"
    VOID = "void"
    RETURN = "return"


CAPTURE: Final = Machine(
    "capture",
    {
        (CaptureState.AUTHORIZED, CaptureEvent.CAPTURE): CaptureState.CAPTURED,
        (CaptureState.AUTHORIZED, CaptureEvent.VOID): CaptureState.VOIDED,
        (CaptureState.CAPTURED, CaptureEvent.RETURN): CaptureState.RETURNED,
    },
)


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """One charge of one gateway for a payment; refunds go back over captures, never over more than one holds.

    The three counters are kept by the database's triggers alone (promise 4); flows read them.
    """

    id: UUID
    merchant_id: str
    payment_id: UUID
    attempt_id: UUID | None = None
    """The attempt that collected it, where Recoup or a report has one."""
    gateway: str
    gateway_ref: str | None = None
    """The gateway's id of the charge; without it nothing can be refunded over this capture."""
    method: Method
    network: Network | None = None
    amount_minor: int
    currency: str
    state: CaptureState = CaptureState.CAPTURED
    held_minor: int = 0
    """What refunds have asked for, are sending or have paid back, those made elsewhere included."""
    disputed_minor: int = 0
    """Under dispute, or lost in one."""
    over_minor: int = 0
    """By how much facts from outside (a refund made elsewhere, a dispute, a late success) exceed the capture."""
    captured_at: datetime | None = None
    created_at: datetime

    @property
    def amount(self) -> Money:
        """What was charged."""
        return Money(self.amount_minor, self.currency)

    @property
    def free_minor(self) -> int:
        """What can still be asked back; voided and returned money is gone already."""
        if self.state in (CaptureState.VOIDED, CaptureState.RETURNED):
            return 0
        return max(0, self.amount_minor - self.held_minor - self.disputed_minor)


class LineKind(StrEnum):
    """What a line of a payment was charged for."""

    ITEM = "item"
    SHIPPING = "shipping"
    FEE = "fee"
    TAX = "tax"
    """Tax that stands on a line of its own; else it is a line's `tax_minor`."""


class PaymentLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what was charged; all lines sum to the payment. The three counters are kept by triggers."""

    id: UUID
    merchant_id: str
    payment_id: UUID
    number: int
    """Its place, 1 for the first."""
    ref: str
    """The merchant's own name for the line; unique within the payment."""
    kind: LineKind = LineKind.ITEM
    description: str = ""
    quantity: int = 1
    amount_minor: int
    """With tax, after discounts."""
    tax_minor: int = 0
    """The tax within `amount_minor`."""
    held_quantity: int = 0
    held_minor: int = 0
    held_tax_minor: int = 0
