"""Stripe's charges, the single tries of a PaymentIntent: as much of them as we read, and what became of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.redact import redact
from recoup_core.ports import Declined, Pending, Succeeded
from recoup_plugins.gateways.stripe_amounts import from_stripe
from recoup_plugins.gateways.stripe_objects import (
    BLOCKED,
    StripeError,
    UnexpectedState,
    attempt_of,
    decline_of,
    ref,
)

_GENERIC: Final = "generic_decline"
"""What the refused call says where Stripe's own block is the reason; the charge alone tells the two apart."""


class StripeChargeOutcome(msgspec.Struct, frozen=True):
    """`charge.outcome`: a network's and Stripe's words for a decline."""

    type: str | None = None
    reason: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None


class StripeCharge(msgspec.Struct, frozen=True):
    """A Charge."""

    id: str = ""
    status: str = ""
    amount: int = 0
    amount_captured: int | None = None
    currency: str = ""
    captured: bool = True
    payment_intent: str | Mapping[str, Any] | None = None
    payment_method: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    outcome: StripeChargeOutcome | None = None
    metadata: Mapping[str, str] = {}

    @property
    def attempt_id(self) -> UUID | None:
        """Our attempt: a charge keeps the metadata that its PaymentIntent had when it was made."""
        return attempt_of(self.metadata)

    @property
    def blocked(self) -> bool:
        """Whether Stripe itself refused to send a repeated charge."""
        return self.outcome is not None and self.outcome.reason == BLOCKED

    @property
    def error(self) -> StripeError:
        """Its failure, in the shape of the refused call's error."""
        told = self.outcome or StripeChargeOutcome()
        reason = _GENERIC if self.blocked else told.reason
        return StripeError(
            code=self.failure_code,
            decline_code=reason if self.failure_code in {None, "card_declined"} else None,
            advice_code=told.advice_code,
            network_advice_code=told.network_advice_code,
            network_decline_code=told.network_decline_code,
            message=self.failure_message,
            charge=self.id,
        )


def charge_outcome(charge: StripeCharge, error: StripeError | None = None) -> Succeeded | Declined | Pending:
    """Say what became of one try; `error` is its refusal where the PaymentIntent still holds it (it says more)."""
    charge_ref = ref(charge.payment_intent) or charge.id
    match charge.status:
        case "succeeded" if charge.captured:
            received = charge.amount if charge.amount_captured is None else charge.amount_captured
            return Succeeded(gateway_ref=charge_ref, amount=from_stripe(received, charge.currency), try_ref=charge.id)
        case "pending":
            return Pending(gateway_ref=charge_ref, try_ref=charge.id)
        case "failed":
            decline = decline_of(error or charge.error, blocked=charge.blocked)
            return Declined(decline=decline, gateway_ref=charge_ref, try_ref=charge.id)
        case _:
            raise UnexpectedState(f"the charge {charge.id} is {redact(charge.status)}")


def our_try(
    tries: Sequence[StripeCharge], attempt_id: UUID, error: StripeError | None
) -> Succeeded | Declined | Pending | None:
    """Return what became of our try among an object's charges, newest first; None where none carries our mark.

    A later try by the customer carries it, too, since the object does: money that came counts before a decline, and of
    declines the first is ours. `error` is the object's latest.
    """
    ours = [one for one in reversed(tries) if one.attempt_id == attempt_id]
    found = [charge_outcome(one, error if error and error.charge == one.id else None) for one in ours]
    by_weight = ([one for one in found if isinstance(one, kind)] for kind in (Succeeded, Pending, Declined))
    return next((some[0] for some in by_weight if some), None)
