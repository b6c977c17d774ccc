"""Adyen's refunds and voids: both are only taken for processing; what became of them is told by webhook.

Outcomes, by what Adyen answers:
  201 `received`                          Pending: the REFUND or CANCELLATION webhook tells
  400, 401, 403, 404, 422                 Refused, with a category by its code (reference/data/refund_rules.yaml)
  703, 429, `transient-error: true`, no connection   NotSent
  timeout, 5xx, 704 (the key is in use), unreadable, another refund's answer   raised: unknown

A void goes to `/cancels`, never to `/reversals`: that one would refund money that was captured meanwhile.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from recoup_plugins import (
    FailureCategory,
    Pending,
    RefundFailure,
    RefundOutcome,
    RefundReason,
    RefundRequest,
    Refused,
    refund_rules,
)
from recoup_plugins.gateways.adyen_amounts import NotExpressible, to_adyen
from recoup_plugins.gateways.adyen_charges import Amount, first_send
from recoup_plugins.gateways.adyen_client import AdyenApi
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost, AdyenBusy, AdyenRefused
from recoup_plugins.gateways.adyen_objects import MAX_CODE, PART, PSP_REFERENCE, reference_of

REASONS: Final[Mapping[RefundReason, str]] = {
    RefundReason.DUPLICATE: "DUPLICATE",
    RefundReason.FRAUDULENT: "FRAUD",
    RefundReason.REQUESTED_BY_CUSTOMER: "CUSTOMER REQUEST",
    RefundReason.OTHER: "OTHER",
}
"""`merchantRefundReason` (Checkout v72)."""

NOT_CAPTURED: Final = "not_captured"
ALREADY_CAPTURED: Final = "already_captured"
TOO_MUCH: Final = "insufficient_balance_on_payment"

_WORDS: Final = (
    (re.compile(r"(?:has|have|was|is)(?:n't| not) (?:been )?captured|not captured", re.IGNORECASE), NOT_CAPTURED),
    (re.compile(r"insufficient balance on payment", re.IGNORECASE), TOO_MUCH),
    (re.compile(r"chargeback|disputed", re.IGNORECASE), "charged_back"),
    (re.compile(r"already (?:been )?captured|settled", re.IGNORECASE), ALREADY_CAPTURED),
    (re.compile(r"insufficient funds|not enough (?:balance|funds)", re.IGNORECASE), "insufficient_funds"),
)
"""Adyen tells why in words alone; the codes on the right are ours."""


class ModificationAnswer(msgspec.Struct, frozen=True):
    """A `PaymentRefundResponse` or `PaymentCancelResponse`."""

    status: str
    pspReference: str
    paymentPspReference: str
    reference: str | None = None
    amount: Amount | None = None


async def refund(api: AdyenApi, request: RefundRequest, *, merchant: str, now: datetime) -> RefundOutcome:
    """Ask for the refund, or for the cancellation; see the module for what each answer means."""
    if PSP_REFERENCE.fullmatch(request.charge_ref) is None:
        return _own_refusal("charge_ref_unknown", "Adyen's payments are named by 16 digits and capital letters")
    try:
        body = modification_body(request, merchant)
    except NotExpressible as wrong:
        return _own_refusal("currency_not_expressible", str(wrong))
    calls = api.modifications
    call = calls.cancel_authorised_payment_by_psp_reference if request.void else calls.refund_captured_payment
    try:
        answer = await api.ask(call, body, request.charge_ref, key=request.idempotency_key)
    except AdyenBusy as busy:
        return busy.not_sent
    except AdyenRefused as refused:
        return _refused(refused, first_send(request, now))
    return _received(answer, request, body)


def modification_body(request: RefundRequest, merchant: str) -> dict[str, Any]:
    """Return what a refund or a void asks for; the amount is always said, a void is always of everything."""
    asked = {"merchantAccount": merchant, "reference": reference_of(PART, request.part_id)}
    if request.void:
        return asked
    return {**asked, "amount": to_adyen(request.amount), "merchantRefundReason": REASONS[request.reason]}


def failure_of(reason: str | None, otherwise: FailureCategory = FailureCategory.UNKNOWN) -> RefundFailure:
    """Return why a refund or a void failed, by Adyen's words in an event."""
    said = reason or "unknown"
    code = next((code for words, code in _WORDS if words.search(said)), None) or _slug(said)
    return RefundFailure(category=refund_rules("adyen").category(code) or otherwise, code=code, message=reason)


def _received(answer: dict[str, Any], request: RefundRequest, asked: Mapping[str, Any]) -> Pending:
    try:
        told = msgspec.convert(answer, type=ModificationAnswer)
    except msgspec.ValidationError as unreadable:
        raise AdyenAnswerLost(f"the answer is no modification ({unreadable})") from None
    amount = None if told.amount is None else {"currency": told.amount.currency, "value": told.amount.value}
    same = told.reference in (None, asked["reference"]) and amount in (None, asked.get("amount"))
    if told.status != "received" or not told.pspReference or not same:
        raise AdyenAnswerLost(f"the modification {told.pspReference} is {told.status}, or not the one asked for")
    if told.paymentPspReference != request.charge_ref:
        raise AdyenAnswerLost(f"the modification {told.pspReference} is of another payment")
    return Pending(gateway_ref=told.pspReference)


def _refused(refused: AdyenRefused, first: bool) -> Refused:
    if not first:
        raise AdyenAnswerLost(f"{refused}; an earlier send of the key may have arrived")
    code = f"error_{refused.code or refused.status}"
    known = refund_rules("adyen").category(code) or FailureCategory.CONFIGURATION
    return Refused(failure=RefundFailure(category=known, code=code[:MAX_CODE], message=refused.message))


def _own_refusal(code: str, message: str) -> Refused:
    """Refuse what was never sent."""
    return Refused(failure=RefundFailure(category=FailureCategory.CONFIGURATION, code=code, message=message))


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_").lower()[:MAX_CODE] or "unknown"
