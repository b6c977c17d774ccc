"""What events mean once their objects were looked at: amounts, customers, whose try it was, money that came back.

A webhook has to be answered in seconds and may hold 250 events: its objects are looked at when the list of events is
read (Recoup does so every quarter of an hour), which brings them along. What is learnt so is told as an event of its
own, under the event's id with `:object` behind it: both are stored once, whichever comes first.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec

from recoup_gocardless.calls import Calls, GoCardlessRefused, read
from recoup_gocardless.charging import events_of
from recoup_gocardless.declines import decline_of
from recoup_gocardless.news import dispute_of, refund_of
from recoup_gocardless.objects import ATTEMPT_KEY, METHODS, PAYMENT_KEY, GoEvent, GoMandate, GoPayment, GoRefund
from recoup_gocardless.tries import FAILED, Try, tries_of, try_ref, try_with
from recoup_plugins import (
    CaptureNews,
    CaptureState,
    CredentialChange,
    CredentialNews,
    Declined,
    GatewayEvent,
    Method,
    ReportedFailure,
    Succeeded,
)

SUFFIX: Final = ":object"

SUCCESS_PLUS_WITHIN: Final = timedelta(days=28)
"""GoCardless says that it tries again and not when: this bound, an assumption, stands for the day."""

RENEWED: Final[Mapping[str, CredentialChange]] = {
    "active": CredentialChange.ADDED,
    "reinstated": CredentialChange.UPDATED,
    "transferred": CredentialChange.UPDATED,
    "replaced": CredentialChange.REPLACED,
}
"""What happens to mandates that can be used. `transferred`: the customer's bank moved the account."""

NOT_FAILED: Final = frozenset({"api", "gocardless"})
"""Who cancels payments without the customer or the bank having a part in it."""


async def looked_at(calls: Calls, event: GoEvent, bare: GatewayEvent, linked: Mapping[str, Any]) -> GatewayEvent | None:
    """Return what an event means beyond what it says; None where that is nothing. `linked` are its page's objects."""
    more: GatewayEvent | None = None
    if event.resource_type == "payments" and (found := _linked(linked, "payments", event.links.payment)):
        more = await _of_payment(calls, event, bare, read(found, GoPayment))
    elif event.resource_type == "refunds" and (found := _linked(linked, "refunds", event.links.refund)):
        more = _of_refund(event, bare, read(found, GoRefund))
    elif event.resource_type == "mandates" and (found := _linked(linked, "mandates", event.links.mandate)):
        more = await _of_mandate(calls, event, bare, read(found, GoMandate))
    return None if more is None or more == bare else msgspec.structs.replace(more, external_id=event.id + SUFFIX)


async def _of_payment(calls: Calls, event: GoEvent, bare: GatewayEvent, payment: GoPayment) -> GatewayEvent | None:
    if event.action in FAILED:
        return await _of_failure(calls, event, bare, payment)
    if bare.outcome is not None or bare.dispute is not None:
        return None  # said by itself already
    if event.action == "confirmed":
        succeeded = Succeeded(gateway_ref=payment.id, amount=payment.money)
        return msgspec.structs.replace(bare, outcome=succeeded, payment_reference=_reference(payment))
    return msgspec.structs.replace(bare, dispute=dispute_of(event, payment.id, payment.money))


async def _of_failure(calls: Calls, event: GoEvent, bare: GatewayEvent, payment: GoPayment) -> GatewayEvent | None:
    """A debit that failed after it had been collected is a return; else somebody's try failed."""
    which = try_with(tries_of(payment, await events_of(calls, payment.id)), event.id) or Try(1, payment.attempt_id, ())
    method = METHODS.get(payment.scheme or event.details.scheme or "")
    if method is None:
        return None
    decline = decline_of(event.details, method)
    if which.events and which.collected_before(event.id):
        news = CaptureNews(charge_ref=payment.id, amount=payment.money, standing=CaptureState.RETURNED, decline=decline)
        return msgspec.structs.replace(bare, attempt_id=which.attempt_id, outcome=None, capture=news)
    declined = Declined(decline=decline, gateway_ref=payment.id, try_ref=try_ref(payment.id, which.number))
    if which.attempt_id is not None:
        if which.attempt_id == bare.attempt_id:
            return None  # said by itself already
        return msgspec.structs.replace(bare, attempt_id=which.attempt_id, outcome=declined)
    if event.action == "cancelled" and event.details.origin in NOT_FAILED:
        return None  # called off by the merchant: nothing failed
    failure = await _failure(calls, event, payment, method)
    return msgspec.structs.replace(bare, attempt_id=None, outcome=declined, failure=failure)


async def _failure(calls: Calls, event: GoEvent, payment: GoPayment, method: Method) -> ReportedFailure | None:
    """Describe a failed payment that somebody else made; None where its customer can't be told."""
    if payment.links.mandate is None:
        return None
    try:
        mandate = await calls.get("mandates", payment.links.mandate, GoMandate)
    except GoCardlessRefused:
        return None  # the customer's data were removed
    customer = mandate.links.customer
    if customer is None:
        return None
    again = event.details.will_attempt_retry
    return ReportedFailure(
        payment_reference=_reference(payment) or payment.id,
        amount=payment.money,
        method=method,
        customer_ref=payment.marked("customer") or customer,
        token=mandate.id,
        gateway_customer=customer,
        fingerprint=mandate.links.customer_bank_account,
        next_attempt_at=event.created_at + SUCCESS_PLUS_WITHIN if again else None,
        retries_ended=again is False,
    )


def _of_refund(event: GoEvent, bare: GatewayEvent, refund: GoRefund) -> GatewayEvent | None:
    news = refund_of(event, refund.id, refund.money)
    if bare.refund is not None or news is None:
        return None
    told = msgspec.structs.replace(news, part_id=refund.part_id, charge_ref=refund.links.payment)
    return msgspec.structs.replace(bare, refund=told)


async def _of_mandate(calls: Calls, event: GoEvent, bare: GatewayEvent, mandate: GoMandate) -> GatewayEvent | None:
    change = RENEWED.get(event.action)
    if change is None:
        return None
    now = mandate.credential
    if change is CredentialChange.REPLACED:
        if event.links.new_mandate is None:
            return None
        now = (await calls.get("mandates", event.links.new_mandate, GoMandate)).credential
    if now is None:
        return None
    news = CredentialNews(
        change=change,
        token=mandate.id,
        gateway_customer=mandate.links.customer,
        now=now,
        reason=event.details.cause,
    )
    return msgspec.structs.replace(bare, credential=news)


def _linked(linked: Mapping[str, Any], resource: str, identity: str | None) -> Mapping[str, Any] | None:
    """Find an object among those that a page brings along."""
    return next((each for each in linked.get(resource) or () if identity and each.get("id") == identity), None)


def _reference(payment: GoPayment) -> str | None:
    """The merchant's own name for the debt: ours where we made the payment, else what they put into its metadata."""
    if payment.marked(ATTEMPT_KEY):
        return payment.marked(PAYMENT_KEY)
    return payment.marked("invoice") or payment.marked("reference")
