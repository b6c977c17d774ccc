"""Stripe's objects, as much of them as we read, and what their states mean for us.

Fields may be missing, null, an id or the whole object: events keep the shape of the API version of their endpoint.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.payment import Method, Network
from recoup_core.domain.redact import redact
from recoup_core.ports import Declined, Pending, Succeeded
from recoup_core.reference import classify
from recoup_plugins.gateways.stripe_amounts import from_stripe

ATTEMPT_KEY: Final = "recoup_attempt"
PAYMENT_KEY: Final = "recoup_payment"
"""Our metadata on a PaymentIntent."""

BLOCKED: Final = "previously_declined_do_not_retry"
"""Stripe's own block of a repeated charge (reference/network_retry_limits.yaml); it never reached the network."""

MAX_CODE: Final = 64

METHODS: Final[Mapping[str, Method]] = {
    "card": Method.CARD,
    "sepa_debit": Method.SEPA_DEBIT,
    "us_bank_account": Method.ACH_DEBIT,
    "ach_debit": Method.ACH_DEBIT,  # the name in older API versions
    "bacs_debit": Method.BACS_DEBIT,
}

TYPE_OF: Final[Mapping[Method, str]] = {
    Method.CARD: "card",
    Method.SEPA_DEBIT: "sepa_debit",
    Method.ACH_DEBIT: "us_bank_account",
    Method.BACS_DEBIT: "bacs_debit",
}

_NETWORKS: Final[Mapping[str, Network]] = {
    "visa": Network.VISA,
    "mastercard": Network.MASTERCARD,
    "amex": Network.AMERICAN_EXPRESS,
    "discover": Network.DISCOVER,
    "elo": Network.ELO,
}


class StripeCard(msgspec.Struct, frozen=True):
    """`payment_method.card`, or a bank account's details of the same shape."""

    brand: str | None = None
    network: str | None = None
    fingerprint: str | None = None
    country: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None


class StripeMethod(msgspec.Struct, frozen=True):
    """A PaymentMethod."""

    id: str | None = None
    type: str | None = None
    card: StripeCard | None = None
    sepa_debit: StripeCard | None = None
    us_bank_account: StripeCard | None = None
    bacs_debit: StripeCard | None = None
    customer: str | Mapping[str, Any] | None = None

    @property
    def account(self) -> StripeCard:
        """The card or bank account, empty where Stripe says nothing of it."""
        return self.card or self.sepa_debit or self.us_bank_account or self.bacs_debit or StripeCard()

    @property
    def card_network(self) -> Network | None:
        """The card's network: the one used, else the brand; None for bank accounts and where it is not said."""
        said = (self.card.network or self.card.brand) if self.card else None
        return _NETWORKS.get(said, Network.OTHER) if said else None


class StripeError(msgspec.Struct, frozen=True):
    """The `error` of a refused call, or a PaymentIntent's `last_payment_error`: the same shape."""

    code: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    message: str | None = None
    charge: str | None = None
    payment_intent: str | Mapping[str, Any] | None = None
    payment_method: StripeMethod | str | None = None

    @property
    def paid_with(self) -> StripeMethod:
        """The payment method, empty where Stripe says nothing of it, or only its id."""
        method = self.payment_method
        return StripeMethod(id=method) if isinstance(method, str) else method or StripeMethod()


class StripePaymentDetails(msgspec.Struct, frozen=True):
    """`payment_intent.payment_details`."""

    order_reference: str | None = None


class StripeIntent(msgspec.Struct, frozen=True):
    """A PaymentIntent."""

    id: str
    status: str
    amount: int
    currency: str
    amount_received: int | None = None
    amount_capturable: int = 0
    customer: str | Mapping[str, Any] | None = None
    payment_method: str | Mapping[str, Any] | None = None
    payment_method_types: tuple[str, ...] = ()
    capture_method: str | None = None
    last_payment_error: StripeError | None = None
    latest_charge: str | Mapping[str, Any] | None = None
    invoice: str | Mapping[str, Any] | None = None
    payment_details: StripePaymentDetails | None = None
    metadata: Mapping[str, str] = {}

    @property
    def attempt_id(self) -> UUID | None:
        """Our attempt, where our metadata names one."""
        return attempt_of(self.metadata)

    @property
    def try_ref(self) -> str | None:
        """The charge of the latest try: one PaymentIntent makes a charge for each."""
        failed = self.last_payment_error.charge if self.last_payment_error else None
        return ref(self.latest_charge) or failed

    @property
    def invoice_ref(self) -> str | None:
        """The invoice it was made for, where the object says so.

        Versions before 2025-03-31 have `invoice`; since then Stripe puts the invoice's id into the order reference,
        which a merchant may use for something else: only an invoice's id counts.
        """
        ordered = self.payment_details.order_reference if self.payment_details else None
        return ref(self.invoice) or (ordered if ordered and ordered.startswith("in_") else None)


class UnexpectedState(Exception):
    """A PaymentIntent is in a state that says neither yes nor no; the outcome stays unknown."""


def attempt_of(metadata: Mapping[str, str]) -> UUID | None:
    """Return our attempt, where the metadata name one; anybody at the merchant may write metadata."""
    try:
        return UUID(metadata[ATTEMPT_KEY])
    except (KeyError, ValueError):
        return None


def ref(value: str | Mapping[str, Any] | None) -> str | None:
    """Return the id of a field that is an id or an expanded object."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) and found else None


def decline_of(error: StripeError, *, blocked: bool = False) -> Decline:
    """Classify a card error by all five fields it may carry."""
    code = (error.decline_code or error.code or "unknown")[:MAX_CODE]
    return classify(
        DeclineSource.STRIPE,
        code,
        network=error.paid_with.card_network,
        network_code=error.network_decline_code,
        advice_code=error.network_advice_code,
        gateway_advice=error.advice_code,
        blocked_by_gateway=blocked or BLOCKED in {error.code, error.decline_code},
        message=redact(error.message) if error.message else None,
    )


def configuration_decline(code: str | None, message: str | None) -> Decline:
    """Return a definite no that is our fault, not the card's: a wrong key, parameter or currency. No money moved."""
    return Decline(
        code=re.sub(r"\W+", "_", code or "invalid_request")[:MAX_CODE],
        source=DeclineSource.STRIPE,
        category=DeclineCategory.CONFIGURATION,
        retryable=Retryable.AFTER_CUSTOMER_ACTION,
        message=redact(message) if message else None,
    )


def outcome_of(intent: StripeIntent) -> Succeeded | Declined | Pending:
    """Say what a PaymentIntent's status means; `UnexpectedState` where it leaves the question open."""
    match intent.status:
        case "succeeded":
            received = intent.amount if intent.amount_received is None else intent.amount_received
            amount = from_stripe(received, intent.currency)
            return Succeeded(gateway_ref=intent.id, amount=amount, try_ref=intent.try_ref)
        case "processing":
            return Pending(gateway_ref=intent.id, try_ref=intent.try_ref)
        case "requires_action":
            # off session nobody is there to act: the same as Stripe's decline of that name
            needed = StripeError(code="authentication_required")
            return Declined(decline=decline_of(needed), gateway_ref=intent.id, try_ref=intent.try_ref)
        case "requires_payment_method" if intent.last_payment_error is not None:
            error = intent.last_payment_error
            return Declined(decline=decline_of(error), gateway_ref=intent.id, try_ref=error.charge or intent.try_ref)
        case "canceled":
            decline = configuration_decline("payment_intent_canceled", "the PaymentIntent was canceled")
            return Declined(decline=decline, gateway_ref=intent.id)
        case _:
            raise UnexpectedState(f"the PaymentIntent {intent.id} is {redact(intent.status)}")
