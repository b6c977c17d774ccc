"""What Stripe's events say about charges: PaymentIntents, and the invoices that are collected with them.

A PaymentIntent's event tells of a try: its charge (`try_ref`) and, where it failed, why. An invoice's event tells who
goes on: it names neither the reason nor, since 2025-03-31, the charge, so `invoice.payment_failed` carries no outcome
of its own and counts as no try. An invoice that was paid is told by its PaymentIntent, by `invoice_payment.paid`, or
(versions before 2025-03-31) by `invoice.paid`, all with the same reference.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.payment import Method
from recoup_core.ports import Declined, Pending, ReportedFailure, Succeeded
from recoup_plugins.gateways.stripe_amounts import NotExpressible, from_stripe
from recoup_plugins.gateways.stripe_invoices import StripeInvoice, StripeInvoicePayment
from recoup_plugins.gateways.stripe_objects import (
    METHODS,
    StripeError,
    StripeIntent,
    StripeMethod,
    UnexpectedState,
    decline_of,
    outcome_of,
    ref,
)

INTENT_KINDS: Final = frozenset(
    f"payment_intent.{what}" for what in ("succeeded", "payment_failed", "processing", "canceled", "requires_action")
)
INVOICE_KINDS: Final = frozenset({"invoice.payment_failed", "invoice.paid"})
INVOICE_PAYMENT_KIND: Final = "invoice_payment.paid"

_ONLY_OURS: Final = frozenset({"payment_intent.canceled", "payment_intent.requires_action"})
"""Of a PaymentIntent that is not our attempt these are a checkout's daily life and mean nothing to us."""


class ToldCharge(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a `GatewayEvent` that are about a charge."""

    attempt_id: UUID | None = None
    gateway_ref: str | None = None
    outcome: Succeeded | Declined | Pending | None = None
    failure: ReportedFailure | None = None
    payment_reference: str | None = None


NOTHING: Final = ToldCharge()


def charge_told(kind: str, body: msgspec.Raw) -> ToldCharge:
    """Return what an event's object tells; an event of another kind, or of a shape we don't know, tells nothing."""
    try:
        if kind in INTENT_KINDS:
            return _of_intent(kind, msgspec.json.decode(body, type=StripeIntent))
        if kind in INVOICE_KINDS:
            return _of_invoice(kind, msgspec.json.decode(body, type=StripeInvoice))
        if kind == INVOICE_PAYMENT_KIND:
            return _of_invoice_payment(msgspec.json.decode(body, type=StripeInvoicePayment))
    except (msgspec.MsgspecError, RecursionError, NotExpressible, OverflowError, OSError, ValueError):
        return NOTHING
    return NOTHING


def _of_intent(kind: str, intent: StripeIntent) -> ToldCharge:
    ours = intent.attempt_id is not None
    told = _outcome(kind, intent) if ours or kind not in _ONLY_OURS else None
    if ours:
        return ToldCharge(attempt_id=intent.attempt_id, gateway_ref=intent.id, outcome=told)
    return ToldCharge(
        gateway_ref=intent.id,
        outcome=told,
        failure=_failed_intent(intent) if kind == "payment_intent.payment_failed" else None,
        payment_reference=_reference(intent),
    )


def _outcome(kind: str, intent: StripeIntent) -> Succeeded | Declined | Pending | None:
    """Say what the event tells: its kind first, since the object may have moved on since (or be an old shape)."""
    try:
        if kind == "payment_intent.payment_failed":
            error = intent.last_payment_error or StripeError()
            return Declined(decline=decline_of(error), gateway_ref=intent.id, try_ref=error.charge or intent.try_ref)
        return outcome_of(intent)
    except (UnexpectedState, NotExpressible):
        return None


def _failed_intent(intent: StripeIntent) -> ReportedFailure | None:
    """Read a failed payment that somebody else tried; None where too little is said to collect it later."""
    error = intent.last_payment_error or StripeError()
    paid_with = error.paid_with if error.payment_method else _expanded(intent.payment_method)
    method = METHODS.get(paid_with.type or next(iter(intent.payment_method_types), "card"))
    customer = ref(intent.customer)
    if method is None or customer is None:
        return None
    try:
        amount = from_stripe(intent.amount, intent.currency)
    except NotExpressible:
        return None
    return ReportedFailure(
        payment_reference=_reference(intent) or intent.id,
        amount=amount,
        method=method,
        customer_ref=intent.metadata.get("customer") or customer,
        token=paid_with.id or ref(intent.payment_method),
        gateway_customer=customer,
        fingerprint=paid_with.account.fingerprint,
        network=paid_with.card_network,
        country=paid_with.account.country,
        debt_ref=intent.invoice_ref,
    )


def _of_invoice(kind: str, invoice: StripeInvoice) -> ToldCharge:
    charge_ref = ref(invoice.payment_intent) or ref(invoice.charge)
    if kind == "invoice.payment_failed":
        return ToldCharge(
            gateway_ref=charge_ref, failure=_failed_invoice(invoice), payment_reference=_invoice_reference(invoice)
        )
    outcome = None
    if charge_ref is not None and invoice.amount_paid > 0:
        amount = from_stripe(invoice.amount_paid, invoice.currency)
        outcome = Succeeded(gateway_ref=charge_ref, amount=amount, try_ref=ref(invoice.charge))
    return ToldCharge(gateway_ref=charge_ref, outcome=outcome, payment_reference=_invoice_reference(invoice))


def _failed_invoice(invoice: StripeInvoice) -> ReportedFailure | None:
    """Say who goes on with an invoice: Stripe at its next attempt, or nobody any more."""
    customer = ref(invoice.customer)
    if customer is None:
        return None
    return ReportedFailure(
        payment_reference=_invoice_reference(invoice),
        amount=from_stripe(invoice.amount_remaining or invoice.amount_due, invoice.currency),
        method=Method.CARD,
        customer_ref=(invoice.metadata or {}).get("customer") or customer,
        gateway_customer=customer,
        debt_ref=invoice.id,
        next_attempt_at=invoice.next_attempt_at,
        retries_ended=invoice.next_payment_attempt is None and invoice.attempt_count > 0,
    )


def _of_invoice_payment(payment: StripeInvoicePayment) -> ToldCharge:
    paid_by = payment.charge_ref or payment.id  # paid outside Stripe: nothing that Stripe could refund
    if not payment.amount_paid:
        return NOTHING
    amount = from_stripe(payment.amount_paid, payment.currency)
    try_ref = ref(payment.payment.charge)
    return ToldCharge(
        gateway_ref=paid_by,
        outcome=Succeeded(gateway_ref=paid_by, amount=amount, try_ref=try_ref),
        payment_reference=ref(payment.invoice),
    )


def _reference(intent: StripeIntent) -> str | None:
    """The merchant's own name for the debt, where they put one on the intent; else its invoice's id."""
    return intent.metadata.get("invoice") or intent.metadata.get("reference") or intent.invoice_ref


def _invoice_reference(invoice: StripeInvoice) -> str:
    """The invoice's id: its PaymentIntent's events know no other name for it, and one debt has one."""
    return invoice.id


def _expanded(method: str | Mapping[str, Any] | None) -> StripeMethod:
    if not isinstance(method, Mapping):
        return StripeMethod()
    try:
        return msgspec.convert(method, type=StripeMethod)
    except msgspec.ValidationError:
        return StripeMethod()
