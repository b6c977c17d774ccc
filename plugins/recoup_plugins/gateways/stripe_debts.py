"""Collecting on the debt's own object: the PaymentIntent that failed, or the invoice that is still open.

A second object beside the first could be paid as well, by the customer or by Stripe. So the first is used where it
fits: looked at, marked with our attempt (under a key of its own) and then charged under the attempt's key. A re-send
repeats the same two calls; if the object has changed so much that another way would be taken, Stripe refuses the key
for it, and the outcome stays unknown until a look-up tells.

  succeeded                          Succeeded: the flow books it once (a rest that was never captured is a new intent)
  processing                         Pending
  waits for capture                  Declined as CONFIGURATION: somebody authorized it and has to capture or cancel it
  another amount, currency, customer or method, captured by hand, canceled   a PaymentIntent of our own
  belongs to an invoice              the invoice is paid (`stripe_invoices`)
"""

from typing import Final

import stripe

from recoup_core.ports import ChargeOutcome, ChargeRequest, Declined, FoundCharge, NotFound
from recoup_plugins.gateways import stripe_invoices
from recoup_plugins.gateways.stripe_amounts import to_stripe
from recoup_plugins.gateways.stripe_calls import CLAIM, Account, keyed, pages, read
from recoup_plugins.gateways.stripe_charge_objects import StripeCharge, our_try
from recoup_plugins.gateways.stripe_charges import our_metadata, retrieve
from recoup_plugins.gateways.stripe_errors import error_of
from recoup_plugins.gateways.stripe_objects import TYPE_OF, StripeIntent, configuration_decline, outcome_of, ref

CHARGEABLE: Final = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})
"""What may be confirmed (docs.stripe.com/payments/paymentintents/lifecycle); a decline leads back to the first."""

_UNEXPECTED_STATE: Final = "payment_intent_unexpected_state"


async def charge_debt(account: Account, request: ChargeRequest) -> ChargeOutcome | None:
    """Collect on the debt's own object; None where the attempt needs a PaymentIntent of its own."""
    debt = request.debt_ref or ""
    if debt.startswith("in_"):
        return await stripe_invoices.charge_invoice(account, request, debt)
    if not debt.startswith("pi_"):
        return None
    intent = await retrieve(account, debt)
    invoice = await stripe_invoices.invoice_of(account, intent)
    if invoice is not None:
        return await stripe_invoices.charge_invoice(account, request, invoice)
    standing = _standing(intent, request)
    if standing is not None:
        return standing
    return await _confirm(account, request, intent) if account.same_intent and _fits(intent, request) else None


async def find_debt(account: Account, request: ChargeRequest) -> FoundCharge | None:
    """Say what became of a charge on the debt's own object; None where it may have made an object of its own."""
    debt = request.debt_ref or ""
    if debt.startswith("in_"):
        return await stripe_invoices.find_on_invoice(account, request, debt)
    if not debt.startswith("pi_"):
        return None
    intent = await retrieve(account, debt)
    invoice = await stripe_invoices.invoice_of(account, intent)
    if invoice is not None:
        return await stripe_invoices.find_on_invoice(account, request, invoice)
    return await _find_try(account, request, intent)


def _standing(intent: StripeIntent, request: ChargeRequest) -> ChargeOutcome | None:
    """Say how the debt stands where it can't be charged (again); None where it can, or where it is out of use."""
    if intent.status == "succeeded":
        received = intent.amount if intent.amount_received is None else intent.amount_received
        rest = intent.amount - received
        return None if to_stripe(request.amount) <= rest else outcome_of(intent)
    if intent.status == "processing":
        return outcome_of(intent)
    if intent.status == "requires_capture":
        told = "it is authorized; capture or cancel it at Stripe"
        decline = configuration_decline("payment_intent_requires_capture", told)
        return Declined(decline=decline, gateway_ref=intent.id, try_ref=intent.try_ref)
    return None


def _fits(intent: StripeIntent, request: ChargeRequest) -> bool:
    """Whether confirming it collects exactly what is asked, at once and from the customer who is asked."""
    types = intent.payment_method_types
    return (
        intent.status in CHARGEABLE
        and intent.amount == to_stripe(request.amount)
        and intent.currency == request.amount.currency.lower()
        and intent.capture_method != "manual"
        and ref(intent.customer) in {None, request.gateway_customer}
        and (not types or TYPE_OF[request.method] in types)
    )


async def _confirm(account: Account, request: ChargeRequest, intent: StripeIntent) -> ChargeOutcome:
    """Mark the PaymentIntent as ours, then confirm it: its charges keep the mark of the moment they are made."""
    intents = account.client.v1.payment_intents
    try:
        await intents.update_async(
            intent.id, {"metadata": our_metadata(request)}, keyed(request.idempotency_key + CLAIM)
        )
        answer = await intents.confirm_async(
            intent.id, {"payment_method": request.token, "off_session": True}, keyed(request.idempotency_key)
        )
    except stripe.InvalidRequestError as refusal:
        if error_of(refusal).code != _UNEXPECTED_STATE:
            raise
        return await _overtaken(account, intent.id, refusal)
    return outcome_of(read(answer, StripeIntent))


async def _overtaken(account: Account, intent_ref: str, refusal: stripe.InvalidRequestError) -> ChargeOutcome:
    """Somebody else charged or canceled it between our look and our call."""
    intent = await retrieve(account, intent_ref)
    if intent.status in {"succeeded", "processing"}:
        return outcome_of(intent)
    decline = configuration_decline(_UNEXPECTED_STATE, error_of(refusal).message)
    return Declined(decline=decline, gateway_ref=intent_ref)


async def _find_try(account: Account, request: ChargeRequest, intent: StripeIntent) -> FoundCharge | None:
    """Find our try among the PaymentIntent's charges: each keeps the metadata it was made with."""
    asked = pages(account.client.v1.charges.list_async, {"payment_intent": intent.id}, StripeCharge)
    found = our_try([one async for one in asked], request.attempt_id, intent.last_payment_error)
    if found is not None:
        return found
    if intent.attempt_id != request.attempt_id:
        return None
    if intent.status in {"succeeded", "processing", "requires_action"}:
        return outcome_of(intent)
    return NotFound()
