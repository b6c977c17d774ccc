"""Adyen's payments with stored methods: what is sent, and what each answer means for the money.

Outcomes, by what Adyen answers:
  Authorised, PartiallyAuthorised         Succeeded, with the amount it names (the account captures by itself)
  Refused, Error, Cancelled               Declined, classified
  Pending, Received                       Pending: the AUTHORISATION webhook tells
  Redirect-, Identify-, ChallengeShopper  Declined: authentication required, nobody is there
  400, 401, 403, 404, 422                 Declined as CONFIGURATION: refused before any money moved
  703, 429, `transient-error: true`       NotSent, to be sent again with the same key
  no connection                           NotSent
  timeout, 5xx, 704 (the key is in use), unreadable, another payment's answer   raised: unknown

A 4xx on a later send of a key says nothing of its first send, which may have arrived: raised as well.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from recoup_plugins import (
    ChargeOutcome,
    ChargeRequest,
    Declined,
    DeclineSource,
    Money,
    Pending,
    RefundRequest,
    Succeeded,
    classify,
)
from recoup_plugins.gateways.adyen_amounts import NotExpressible, from_adyen, to_adyen
from recoup_plugins.gateways.adyen_client import AdyenApi
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost, AdyenBusy, AdyenRefused
from recoup_plugins.gateways.adyen_objects import (
    ATTEMPT,
    TYPE_OF,
    authentication_needed,
    configuration_decline,
    decline_of,
    reference_of,
)

MAX_ORDER_REFERENCE: Final = 1000
"""Characters of `merchantOrderReference` (Checkout v72)."""

FIRST_SEND: Final = timedelta(seconds=5)
"""How long after it was written down a request may leave for the first time; a lost answer is asked for after more."""

_TOKEN_GONE: Final = frozenset({"800", "803"})
"""Contract not found, PaymentDetail not found: the shopper's stored method is no longer there (error codes page)."""

_REVOKED: Final = "50"
"""The refusal that means the same."""

_MONEY: Final = frozenset({"Authorised", "PartiallyAuthorised"})
_NO: Final = frozenset({"Refused", "Error", "Cancelled"})
_WAITS: Final = frozenset({"Pending", "Received"})
_SHOPPER: Final = frozenset({"RedirectShopper", "IdentifyShopper", "ChallengeShopper"})


class Amount(msgspec.Struct, frozen=True):
    """An `Amount`."""

    value: int
    currency: str


class PaymentAnswer(msgspec.Struct, frozen=True):
    """A `PaymentResponse`, as much of it as we read."""

    resultCode: str
    pspReference: str = ""
    """Left out where the shopper has to act first."""
    merchantReference: str | None = None
    amount: Amount | None = None
    refusalReason: str | None = None
    refusalReasonCode: str | None = None
    additionalData: Mapping[str, Any] = {}


async def charge(
    api: AdyenApi, request: ChargeRequest, *, merchant: str, return_url: str, now: datetime
) -> ChargeOutcome:
    """Collect with the stored method; see the module for what each answer means."""
    try:
        body = payment_body(request, merchant, return_url)
    except NotExpressible as wrong:
        return Declined(decline=configuration_decline("currency_not_expressible", str(wrong)))
    if request.gateway_customer is None:
        wrong_customer = "Adyen charges a stored method only together with its shopperReference"
        return Declined(decline=configuration_decline("shopper_reference_missing", wrong_customer))
    try:
        answer = await api.ask(api.payments.payments, body, key=request.idempotency_key)
    except AdyenBusy as busy:
        return busy.not_sent
    except AdyenRefused as refused:
        return _refused(refused, first_send(request, now))
    return outcome_of(_read(answer), request)


def payment_body(request: ChargeRequest, merchant: str, return_url: str) -> dict[str, Any]:
    """Return the payment of an attempt; the same attempt always gives the same one."""
    return {
        "merchantAccount": merchant,
        "amount": to_adyen(request.amount),
        "reference": reference_of(ATTEMPT, request.attempt_id),
        "merchantOrderReference": request.payment_reference[:MAX_ORDER_REFERENCE],
        "paymentMethod": {"type": TYPE_OF[request.method], "storedPaymentMethodId": request.token},
        "shopperReference": request.gateway_customer,
        "shopperInteraction": "ContAuth",
        "recurringProcessingModel": "Subscription" if request.subscription else "UnscheduledCardOnFile",
        "returnUrl": return_url,  # wanted by the document even where no shopper can return
        "additionalData": {"retry.orderAttemptNumber": str(request.number), "retry.skipRetry": "true"},
    }


def outcome_of(answer: PaymentAnswer, request: ChargeRequest) -> ChargeOutcome:
    """Say what a payment's result means; `AdyenAnswerLost` where it leaves the question open."""
    if answer.merchantReference not in (None, reference_of(ATTEMPT, request.attempt_id)):
        raise AdyenAnswerLost(f"the payment {answer.pspReference} is not the one that was asked for")
    psp = answer.pspReference
    if answer.resultCode in _SHOPPER:
        return Declined(decline=authentication_needed(answer.resultCode), gateway_ref=psp or None, try_ref=psp or None)
    if not psp:
        raise AdyenAnswerLost("the payment has no pspReference")
    if answer.resultCode in _MONEY:
        return Succeeded(gateway_ref=psp, try_ref=psp, amount=_collected(answer, request))
    if answer.resultCode in _NO:
        decline = decline_of(answer.refusalReasonCode, answer.refusalReason, answer.additionalData)
        return Declined(decline=decline, gateway_ref=psp, try_ref=psp)
    if answer.resultCode in _WAITS:
        return Pending(gateway_ref=psp, try_ref=psp)
    raise AdyenAnswerLost(f"the payment {psp} is {answer.resultCode}")


def first_send(request: ChargeRequest | RefundRequest, now: datetime) -> bool:
    """Whether this is the first send of the key, as far as the time tells: it leaves as soon as it is written down."""
    return now - request.first_sent_at < FIRST_SEND


def _collected(answer: PaymentAnswer, request: ChargeRequest) -> Money:
    if answer.amount is not None:
        try:
            return from_adyen(answer.amount.value, answer.amount.currency)
        except NotExpressible as wrong:
            raise AdyenAnswerLost(str(wrong)) from None
    if answer.resultCode == "Authorised":
        return request.amount
    raise AdyenAnswerLost(f"the payment {answer.pspReference} is {answer.resultCode} without an amount")


def _read(answer: dict[str, Any]) -> PaymentAnswer:
    try:
        return msgspec.convert(answer, type=PaymentAnswer)
    except msgspec.ValidationError as unreadable:
        raise AdyenAnswerLost(f"the answer is no payment ({unreadable})") from None


def _refused(refused: AdyenRefused, first: bool) -> Declined:
    if not first:
        raise AdyenAnswerLost(f"{refused}; an earlier send of the key may have arrived")
    if refused.code in _TOKEN_GONE:
        gone = classify(DeclineSource.ADYEN, _REVOKED, message=refused.message)
        return Declined(decline=msgspec.structs.replace(gone, code=f"error_{refused.code}"))
    return Declined(decline=configuration_decline(f"error_{refused.code or refused.status}", refused.message))
