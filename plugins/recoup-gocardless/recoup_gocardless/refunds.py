"""Giving money back: one refund per part, under the part's own key and metadata.

  paid                                    Refunded; it may still bounce, told by an event
  created, on its way                     Pending
  failed, bounced, canceled               Refused
  4xx                                     Refused, with a category by its code (recoup's refund_rules.yaml)
  401                                     NotSent
  429, no connection, somebody else refunded the same payment just now   NotSent
  anything else                           raised: unknown

Every call says what the refunds of the payment will come to with it (`total_amount_confirmation`): of two who refund at
once without knowing of each other, one is refused. GoCardless switches refunds on for an account only when asked to:
until then every refund is refused as `refunds_not_enabled`.
"""

from typing import Any, Final

from recoup_gocardless.calls import (
    Calls,
    GoCardlessAnswerLost,
    GoCardlessNotAsked,
    GoCardlessRefused,
    nothing_else_is_certain,
)
from recoup_gocardless.objects import AMOUNT_KEY, CHARGE_KEY, PART_KEY, GoPayment, GoRefund, money_text
from recoup_plugins import (
    Canceled,
    FailureCategory,
    FoundRefund,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundFailure,
    RefundOutcome,
    RefundRequest,
    Refused,
    TakenBack,
    refund_rules,
)

NOT_ENABLED: Final = "refunds_not_enabled"
TOO_MUCH: Final = "refund_exceeds_payment"
NO_VOID: Final = "bank_debits_are_not_voided"
UNKNOWN_CHARGE: Final = "charge_ref_unknown"
"""Words of ours, for refusals that GoCardless has none for."""

RACE_WAIT_S: Final = 5.0

NO_TOKEN: Final = 401
FORBIDDEN: Final = 403

PENDING: Final = frozenset({"created", "pending_submission", "submitted"})
CAME_BACK: Final = frozenset({"bounced", "funds_returned"})


async def refund(calls: Calls, request: RefundRequest) -> RefundOutcome:
    """Give the amount back; see the module for what each answer means."""
    if request.void:
        return own_refusal(NO_VOID, "a bank debit has no authorisation that could be voided")
    if not request.charge_ref.startswith("PM"):
        return own_refusal(UNKNOWN_CHARGE, "GoCardless's payments are named PM...")
    try:
        return await _refund(calls, request)
    except GoCardlessNotAsked as unsent:
        return NotSent(reason=unsent.reason, retry_after_s=unsent.wait_s)
    except GoCardlessRefused as refused:
        return await _refusal(calls, request, refused)


async def find(calls: Calls, request: RefundRequest) -> FoundRefund:
    """Get the part's refund by its id, or look for our metadata among those of the payment."""
    with nothing_else_is_certain():
        if request.gateway_ref is not None and request.gateway_ref.startswith("RF"):
            return outcome_of(await calls.get("refunds", request.gateway_ref, GoRefund))
        if not request.charge_ref.startswith("PM"):
            return NotFound()
        made = await _of_part(calls, request)
        return NotFound() if made is None else outcome_of(made)


def outcome_of(refund: GoRefund) -> Refunded | Refused | Pending | Canceled | TakenBack:
    """Say what a refund's state means."""
    status = refund.status or "created"  # older versions of the API say none
    if status == "paid":
        return Refunded(gateway_ref=refund.id, amount=refund.money)
    if status in PENDING:
        return Pending(gateway_ref=refund.id)
    if status == "cancelled":
        return Canceled(gateway_ref=refund.id)
    if status in CAME_BACK:
        return TakenBack(gateway_ref=refund.id, failure=failure_of(status, None))
    if status == "failed":
        return Refused(failure=failure_of(status, None), gateway_ref=refund.id)
    raise GoCardlessAnswerLost("the refund is in a state that we don't know")


def failure_of(code: str, message: str | None) -> RefundFailure:
    """Return why a refund did not go through, by GoCardless's word; one in no table is our configuration."""
    category = refund_rules("gocardless").category(code) or FailureCategory.CONFIGURATION
    return RefundFailure(category=category, code=code, message=message or None)


def own_refusal(code: str, message: str) -> Refused:
    """Return a refusal of ours: nothing was sent."""
    return Refused(failure=failure_of(code, message))


async def _refund(calls: Calls, request: RefundRequest) -> RefundOutcome:
    payment = await calls.get("payments", request.charge_ref, GoPayment)
    if payment.currency != request.amount.currency:
        return own_refusal("currency_mismatch", f"the payment is in {payment.currency}")
    made = await _of_part(calls, request)
    if made is not None:
        return _sent(made, request)
    left = payment.amount - payment.amount_refunded
    if request.amount.amount_minor > left:
        return own_refusal(TOO_MUCH, f"{left} of {payment.money} can be refunded, in minor units")
    try:
        made = await calls.create("refunds", _params(request, payment), request.idempotency_key, GoRefund)
    except GoCardlessRefused as refused:
        if refused.conflict is None:
            raise
        with nothing_else_is_certain():  # it exists: whatever keeps us from reading it, the money is on its way
            made = await calls.get("refunds", refused.conflict, GoRefund)
    return _sent(made, request)


def _params(request: RefundRequest, payment: GoPayment) -> dict[str, Any]:
    return {
        "amount": request.amount.amount_minor,
        "total_amount_confirmation": payment.amount_refunded + request.amount.amount_minor,
        "links": {"payment": payment.id},
        "metadata": {
            PART_KEY: str(request.part_id),
            CHARGE_KEY: payment.id,
            AMOUNT_KEY: money_text(request.amount),
        },
    }


def _sent(made: GoRefund, request: RefundRequest) -> RefundOutcome:
    if made.part_id != request.part_id or made.money != request.amount:
        raise GoCardlessAnswerLost("the key made another refund than this one")
    outcome = outcome_of(made)
    if isinstance(outcome, Canceled):
        return Refused(failure=failure_of("cancelled", None), gateway_ref=made.id)
    if isinstance(outcome, TakenBack):
        return Refused(failure=outcome.failure, gateway_ref=made.id)
    return outcome


async def _of_part(calls: Calls, request: RefundRequest) -> GoRefund | None:
    """A payment takes a handful of refunds; all of them are looked at."""
    listed = await calls.whole("refunds", {"payment": request.charge_ref}, GoRefund)
    return next((each for each in listed if each.part_id == request.part_id), None)


async def _refusal(calls: Calls, request: RefundRequest, refused: GoCardlessRefused) -> RefundOutcome:
    """Say what a refused call means; nothing was given back by it."""
    if refused.status == NO_TOKEN:
        return NotSent(reason=f"GoCardless does not let us in ({refused.reason})")
    if refused.status == FORBIDDEN:
        return own_refusal(NOT_ENABLED, "this account may not refund; GoCardless switches that on when asked to")
    if refused.reason != "total_amount_confirmation_invalid":
        return Refused(failure=failure_of(refused.reason, refused.message))
    with nothing_else_is_certain():  # somebody refunded meanwhile; perhaps the same part, by another worker
        made = await _of_part(calls, request)
    if made is not None:
        return _sent(made, request)
    return NotSent(reason="another refund of this payment was made meanwhile", retry_after_s=RACE_WAIT_S)
