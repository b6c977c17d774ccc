"""Stripe's invoices as debts: paid where they are open, left alone where Stripe goes on by itself.

An invoice is looked at first: paid is Succeeded; void, uncollectible or a draft is Declined as CONFIGURATION; with a
next attempt of Stripe's own (Smart Retries, or the first automatic one still to come) it is `Owned` and nothing is
sent. Else our attempt is put into its metadata, and `pay` is called under the attempt's key.

The PaymentIntent behind the invoice is marked as well, so that its charges and events name our attempt. Stripe says
that such a PaymentIntent "can't be edited", though it has let metadata be written: where it refuses, a lost answer is
looked for among the charges made since with our payment method, and only a single one counts as ours.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import msgspec
import stripe

from recoup_core.domain.redact import redact
from recoup_core.ports import ChargeOutcome, ChargeRequest, Declined, FoundCharge, NotFound, Owned, Succeeded
from recoup_plugins.gateways.stripe_amounts import from_stripe, to_stripe
from recoup_plugins.gateways.stripe_calls import CLAIM, CLAIM_INTENT, Account, keyed, pages, read
from recoup_plugins.gateways.stripe_charge_objects import StripeCharge, charge_outcome, our_try
from recoup_plugins.gateways.stripe_charges import our_metadata, refused, retrieve
from recoup_plugins.gateways.stripe_errors import CLOCK_SLACK_S, StripeAnswerLost, lost
from recoup_plugins.gateways.stripe_objects import (
    StripeIntent,
    attempt_of,
    configuration_decline,
    outcome_of,
    ref,
)

if TYPE_CHECKING:
    from stripe.params import InvoiceUpdateParams

_NOT_OPEN: Final[Mapping[str, str]] = {
    "void": "the invoice was voided",
    "uncollectible": "the invoice was given up as uncollectible",
    "draft": "the invoice is a draft",
}


class StripeInvoice(msgspec.Struct, frozen=True):
    """An Invoice, of any version: since 2025-03-31 it names neither its PaymentIntent nor its charge."""

    id: str
    currency: str
    status: str | None = None
    amount_due: int = 0
    amount_paid: int = 0
    amount_remaining: int = 0
    auto_advance: bool | None = None
    attempted: bool = False
    attempt_count: int = 0
    next_payment_attempt: int | None = None
    collection_method: str | None = None
    hosted_invoice_url: str | None = None
    customer: str | Mapping[str, Any] | None = None
    payment_intent: str | Mapping[str, Any] | None = None
    charge: str | Mapping[str, Any] | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def attempt_id(self) -> UUID | None:
        """The attempt of ours that was made last, or was to be."""
        return attempt_of(self.metadata or {})

    @property
    def next_attempt_at(self) -> datetime | None:
        """When Stripe tries by itself."""
        return None if self.next_payment_attempt is None else datetime.fromtimestamp(self.next_payment_attempt, UTC)

    @property
    def runs_by_itself(self) -> bool:
        """Whether Stripe is going to collect it: a next attempt is planned, or the first has yet to be made."""
        first = bool(self.auto_advance) and not self.attempted and self.collection_method != "send_invoice"
        return self.next_payment_attempt is not None or first


class StripePaidWith(msgspec.Struct, frozen=True):
    """`invoice_payment.payment`."""

    type: str = ""
    payment_intent: str | Mapping[str, Any] | None = None
    charge: str | Mapping[str, Any] | None = None


class StripePaidAt(msgspec.Struct, frozen=True):
    """`invoice_payment.status_transitions`."""

    paid_at: int | None = None


class StripeInvoicePayment(msgspec.Struct, frozen=True):
    """An InvoicePayment: what stands between an invoice and a PaymentIntent since 2025-03-31."""

    id: str
    invoice: str | Mapping[str, Any] | None = None
    status: str = ""
    amount_paid: int | None = None
    currency: str = ""
    payment: StripePaidWith = msgspec.field(default_factory=StripePaidWith)
    status_transitions: StripePaidAt = msgspec.field(default_factory=StripePaidAt)

    @property
    def charge_ref(self) -> str | None:
        """What can be refunded."""
        return ref(self.payment.payment_intent) or ref(self.payment.charge)


async def read_invoice(account: Account, invoice_ref: str) -> StripeInvoice:
    """Read one invoice."""
    return read(await account.client.v1.invoices.retrieve_async(invoice_ref), StripeInvoice)


async def invoice_of(account: Account, intent: StripeIntent) -> str | None:
    """Return the invoice that a PaymentIntent collects for; None where it stands for itself."""
    if intent.invoice_ref is not None or not account.has_invoice_payments:
        return intent.invoice_ref
    params: dict[str, Any] = {"payment": {"type": "payment_intent", "payment_intent": intent.id}}
    async for payment in pages(account.client.v1.invoice_payments.list_async, params, StripeInvoicePayment):
        if payment.status != "canceled":
            return ref(payment.invoice)
    return None


async def charge_invoice(account: Account, request: ChargeRequest, invoice_ref: str) -> ChargeOutcome:
    """Pay an open invoice once; see the module for what is answered without sending anything."""
    invoice = await read_invoice(account, invoice_ref)
    if invoice.status == "paid":
        return await _paid(account, invoice)
    if invoice.status != "open":
        told = _NOT_OPEN.get(invoice.status or "", f"the invoice is {redact(str(invoice.status))}")
        return Declined(decline=configuration_decline(f"invoice_{invoice.status}", told))
    intent = await _open_intent(account, invoice)
    if intent is not None and intent.status == "processing":
        return outcome_of(intent)
    if invoice.attempt_id != request.attempt_id and invoice.runs_by_itself:
        return Owned(reason="Stripe collects this invoice by itself", next_attempt_at=invoice.next_attempt_at)
    asked = (to_stripe(request.amount), request.amount.currency.lower())
    if asked != (invoice.amount_remaining, invoice.currency):
        rest = from_stripe(invoice.amount_remaining, invoice.currency)
        decline = configuration_decline("invoice_amount_differs", f"{rest} of the invoice is open")
        return Declined(decline=decline, gateway_ref=intent.id if intent else None)
    return await _pay(account, request, invoice, intent)


async def find_on_invoice(account: Account, request: ChargeRequest, invoice_ref: str) -> FoundCharge:
    """Say what became of our `pay`; never sent where the invoice does not carry our mark."""
    invoice = await read_invoice(account, invoice_ref)
    if invoice.attempt_id != request.attempt_id:
        return NotFound()
    if invoice.status == "paid":
        return await _paid(account, invoice)
    intent = await _open_intent(account, invoice)
    if intent is None:
        return NotFound()
    if intent.status in {"processing", "requires_action"}:
        return outcome_of(intent)
    since = int(request.first_sent_at.timestamp()) - CLOCK_SLACK_S
    params = {"payment_intent": intent.id, "created": {"gte": since}}
    tries = [one async for one in pages(account.client.v1.charges.list_async, params, StripeCharge)]
    error = intent.last_payment_error
    if intent.attempt_id == request.attempt_id:
        return our_try(tries, request.attempt_id, error) or NotFound()
    alike = [one for one in tries if one.payment_method == request.token]
    if len(alike) > 1:
        raise StripeAnswerLost(f"{len(alike)} tries of the invoice can't be told apart")
    if not alike:
        return NotFound()
    return charge_outcome(alike[0], error if error and error.charge == alike[0].id else None)


async def _mark(account: Account, request: ChargeRequest, invoice: StripeInvoice, intent: StripeIntent | None) -> None:
    """Put our attempt on the invoice, and on its PaymentIntent where Stripe lets us."""
    metadata = our_metadata(request)
    claim = cast("InvoiceUpdateParams", {"metadata": metadata})
    await account.client.v1.invoices.update_async(invoice.id, claim, keyed(request.idempotency_key + CLAIM))
    if intent is None:
        return
    try:
        await account.client.v1.payment_intents.update_async(
            intent.id, {"metadata": metadata}, keyed(request.idempotency_key + CLAIM_INTENT)
        )
    except stripe.InvalidRequestError:
        return  # the invoice carries our mark all the same


async def _pay(
    account: Account, request: ChargeRequest, invoice: StripeInvoice, intent: StripeIntent | None
) -> ChargeOutcome:
    """Mark the invoice as ours, then pay it."""
    invoices = account.client.v1.invoices
    await _mark(account, request, invoice, intent)
    try:
        answer = await invoices.pay_async(
            invoice.id, {"payment_method": request.token, "off_session": True}, keyed(request.idempotency_key)
        )
    except stripe.CardError as refusal:
        declined = await refused(account, refusal)
        if isinstance(declined, Declined) and declined.gateway_ref is None:
            return msgspec.structs.replace(declined, gateway_ref=intent.id if intent else None)
        return declined
    except stripe.InvalidRequestError:
        again = await read_invoice(account, invoice.id)
        if again.status != "paid":
            raise
        return await _paid(account, again)  # somebody paid it between our look and our call
    try:
        return await _answered(account, read(answer, StripeInvoice))
    except stripe.StripeError as unread:
        raise lost(unread) from None  # money may have moved: whatever keeps us from looking is no "not sent"


async def _answered(account: Account, invoice: StripeInvoice) -> ChargeOutcome:
    """Say what became of a `pay` that Stripe took."""
    if invoice.status == "paid":
        return await _paid(account, invoice)
    # a bank debit is under way, or (as older versions answer) the charge was declined: the intent tells
    intent = await _open_intent(account, invoice)
    if intent is None:
        raise StripeAnswerLost(f"the invoice is {invoice.status} and has no PaymentIntent")
    return outcome_of(intent)


async def _paid(account: Account, invoice: StripeInvoice) -> Succeeded:
    """Name the charge that paid the invoice, so that it can be refunded; the latest, where several did."""
    named = ref(invoice.payment_intent) or ref(invoice.charge)
    if named is not None or not account.has_invoice_payments:
        amount = from_stripe(invoice.amount_paid, invoice.currency)
        return Succeeded(gateway_ref=named or invoice.id, amount=amount, try_ref=ref(invoice.charge))
    paid = [one for one in await _payments(account, invoice) if one.status == "paid"]
    if not paid:  # credited or settled outside Stripe: there is nothing that Stripe could refund
        return Succeeded(gateway_ref=invoice.id, amount=from_stripe(invoice.amount_paid, invoice.currency))
    latest = max(paid, key=lambda one: one.status_transitions.paid_at or 0)
    amount = from_stripe(latest.amount_paid or 0, latest.currency or invoice.currency)
    intent_ref = ref(latest.payment.payment_intent)
    try_ref = (await retrieve(account, intent_ref)).try_ref if intent_ref else ref(latest.payment.charge)
    return Succeeded(gateway_ref=latest.charge_ref or latest.id, amount=amount, try_ref=try_ref)


async def _open_intent(account: Account, invoice: StripeInvoice) -> StripeIntent | None:
    """Return the PaymentIntent that an open invoice is collected with."""
    named = ref(invoice.payment_intent)
    if named is None and account.has_invoice_payments:
        payments = await _payments(account, invoice)
        named = next((ref(one.payment.payment_intent) for one in payments if one.status == "open"), None)
    return None if named is None else await retrieve(account, named)


async def _payments(account: Account, invoice: StripeInvoice) -> list[StripeInvoicePayment]:
    params: dict[str, Any] = {"invoice": invoice.id}
    return [one async for one in pages(account.client.v1.invoice_payments.list_async, params, StripeInvoicePayment)]
