"""Stripe's refunds, voids and their look-ups: one refund object per part, under the part's own key and metadata.

Outcomes of a refund, by what Stripe answers:
  succeeded                               Refunded; it may still fail later, told by `refund.failed`
  pending, requires_action                Pending
  failed, canceled                        Refused
  400, 401, 402, 403, 404                 Refused, with a category by its code (reference/data/refund_rules.yaml)
  429, 409 on a lock, no connection       NotSent
  timeout, 5xx, unreadable, the key still in use or used with another body   raised: unknown

A void cancels the PaymentIntent; a charge made without one can't be voided safely, since Stripe's only call for it
would refund money that was captured meanwhile.
"""

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import stripe

from recoup_core.domain.refund import FailureCategory
from recoup_core.ports import (
    Canceled,
    CancelOutcome,
    FoundRefund,
    NotFound,
    NotSent,
    Refunded,
    RefundOutcome,
    RefundRequest,
    Refused,
)
from recoup_plugins.gateways.stripe_amounts import NotExpressible, to_stripe
from recoup_plugins.gateways.stripe_errors import (
    CLOCK_SLACK_S,
    LIST_PAGE,
    LIST_PAGES,
    REFUSED_BEFORE,
    StripeAnswerLost,
    error_of,
    lost,
    not_sent,
)
from recoup_plugins.gateways.stripe_objects import PAYMENT_KEY, UnexpectedState, ref
from recoup_plugins.gateways.stripe_refund_objects import (
    PART_KEY,
    REASONS,
    StripeRefund,
    own_refusal,
    refund_outcome,
    refusal,
)

if TYPE_CHECKING:
    from stripe.params import RefundCreateParams, RefundListParams

MAX_METADATA: Final = 500
"""Characters of one value (docs.stripe.com/metadata)."""

_DEFINITE: Final = (*REFUSED_BEFORE, stripe.CardError)
_UNEXPECTED_STATE: Final = "payment_intent_unexpected_state"
_UNKNOWN_CHARGE: Final = Refused(
    failure=own_refusal(
        "charge_ref_unknown", FailureCategory.CONFIGURATION, "Stripe's charges are named pi_..., ch_... or py_..."
    )
)
_VOIDS_INTENTS_ONLY: Final = Refused(
    failure=own_refusal(
        "void_needs_payment_intent", FailureCategory.CONFIGURATION, "only a PaymentIntent can be voided safely"
    )
)


async def refund(client: stripe.StripeClient, request: RefundRequest) -> RefundOutcome:
    """Give the amount back by PaymentIntent or charge; see the module for what each answer means."""
    charge = _charge(request.charge_ref)
    if charge is None:
        return _UNKNOWN_CHARGE
    try:
        params = _create_params(request, charge)
    except NotExpressible as wrong:
        return Refused(failure=own_refusal("currency_not_expressible", FailureCategory.CONFIGURATION, str(wrong)))
    try:
        answer = await client.v1.refunds.create_async(
            params, {"idempotency_key": request.idempotency_key, "max_network_retries": 0}
        )
    except stripe.StripeError as refused:
        return _no(refused)
    outcome = refund_outcome(_refund(answer))
    if isinstance(outcome, Canceled):
        failure = own_refusal("canceled", FailureCategory.UNKNOWN, "the refund was canceled at Stripe")
        return Refused(failure=failure, gateway_ref=outcome.gateway_ref)
    return outcome


async def find(client: stripe.StripeClient, request: RefundRequest) -> FoundRefund:
    """Retrieve by id, or list the charge's refunds for our metadata: lists are strongly consistent."""
    charge = _charge(request.charge_ref)
    try:
        if request.gateway_ref is not None and request.gateway_ref.startswith(("re_", "pyr_")):
            # an id that Stripe told us and no longer knows means another account: raised, never NotFound
            return refund_outcome(_refund(await client.v1.refunds.retrieve_async(request.gateway_ref)))
        return NotFound() if charge is None else await _find_by_metadata(client, request, charge)
    except stripe.StripeError as refused:
        raise lost(refused) from None


async def cancel(client: stripe.StripeClient, request: RefundRequest) -> CancelOutcome:
    """Cancel a refund that Stripe has not sent; only `requires_action` can be, anything else is refused."""
    if request.gateway_ref is None:
        raise StripeAnswerLost("the refund's id at Stripe is not known yet")
    try:
        answer = await client.v1.refunds.cancel_async(request.gateway_ref, {}, {"max_network_retries": 0})
    except stripe.StripeError as refused:
        return _no(refused)
    outcome = refund_outcome(_refund(answer))
    if isinstance(outcome, Canceled):
        return outcome
    raise UnexpectedState(f"the refund {request.gateway_ref} was canceled and is not")


async def void(client: stripe.StripeClient, request: RefundRequest) -> RefundOutcome:
    """Cancel the PaymentIntent; refused as already captured where its money came in meanwhile."""
    try:
        intent = await _intent_of(client, request)
        if intent is None:
            return _VOIDS_INTENTS_ONLY
        options: stripe.RequestOptions = {"idempotency_key": request.idempotency_key, "max_network_retries": 0}
        try:
            answer = await client.v1.payment_intents.cancel_async(intent, {}, options)
        except stripe.InvalidRequestError as refused:
            if error_of(refused).code != _UNEXPECTED_STATE:
                raise
            answer = await client.v1.payment_intents.retrieve_async(intent)
    except stripe.StripeError as refused:
        return _no(refused)
    outcome = _voided(answer, request)
    if outcome is None:
        raise UnexpectedState(f"the PaymentIntent {answer.id} is {answer.status} and was to be canceled")
    return outcome


async def find_void(client: stripe.StripeClient, request: RefundRequest) -> FoundRefund:
    """Look at the PaymentIntent: canceled is voided, succeeded is captured, anything else waits to be voided."""
    try:
        intent = await _intent_of(client, request)
        if intent is None:
            return _VOIDS_INTENTS_ONLY
        return _voided(await client.v1.payment_intents.retrieve_async(intent), request) or NotFound()
    except stripe.StripeError as refused:
        raise lost(refused) from None


def _voided(intent: stripe.PaymentIntent, request: RefundRequest) -> Refunded | Refused | None:
    """Say what became of a void, whoever did it: a canceled authorisation holds none of the customer's money."""
    if intent.status == "canceled":
        return Refunded(gateway_ref=intent.id, amount=request.amount)
    if intent.status == "succeeded":
        failure = own_refusal("charge_already_captured", FailureCategory.ALREADY_CAPTURED, "captured meanwhile")
        return Refused(failure=failure, gateway_ref=intent.id)
    return None


async def _intent_of(client: stripe.StripeClient, request: RefundRequest) -> str | None:
    """Return the PaymentIntent behind the charge; None where there is none."""
    if request.charge_ref.startswith("pi_"):
        return request.charge_ref
    if _charge(request.charge_ref) is None:
        return None
    charge = await client.v1.charges.retrieve_async(request.charge_ref)
    return ref(charge.to_dict().get("payment_intent"))


async def _find_by_metadata(client: stripe.StripeClient, request: RefundRequest, charge: dict[str, str]) -> FoundRefund:
    since = int(request.first_sent_at.timestamp()) - CLOCK_SLACK_S
    params = cast("RefundListParams", {**charge, "created": {"gte": since}, "limit": LIST_PAGE})
    for _ in range(LIST_PAGES):
        page = await client.v1.refunds.list_async(params)
        for listed in page.data:
            found = _refund(listed)
            if found.part_id == request.part_id:
                return refund_outcome(found)
        if not page.has_more or not page.data:
            return NotFound()
        params["starting_after"] = page.data[-1].id
    raise StripeAnswerLost(f"not among the first {LIST_PAGES * LIST_PAGE} refunds; there are more")


def _no(refused: stripe.StripeError) -> NotSent | Refused:
    """Say what a refused call means: nothing left, a definite no, or (raised) nothing certain."""
    unsent = not_sent(refused)
    if unsent is not None:
        return unsent
    if isinstance(refused, _DEFINITE):
        return Refused(failure=refusal(refused))
    raise lost(refused) from None


def _charge(charge_ref: str) -> dict[str, str] | None:
    """Name the charge as Stripe's parameters do; None for a reference of another shape."""
    if charge_ref.startswith("pi_"):
        return {"payment_intent": charge_ref}
    return {"charge": charge_ref} if charge_ref.startswith(("ch_", "py_")) else None


def _create_params(request: RefundRequest, charge: dict[str, str]) -> "RefundCreateParams":
    params: dict[str, Any] = {
        **charge,
        "amount": to_stripe(request.amount),
        "metadata": {PART_KEY: str(request.part_id), PAYMENT_KEY: request.payment_reference[:MAX_METADATA]},
    }
    if request.reason in REASONS:
        params["reason"] = REASONS[request.reason]
    return cast("RefundCreateParams", params)


def _refund(answer: stripe.Refund) -> StripeRefund:
    """Read the SDK's object as a plain value: its missing attributes raise, ours have defaults."""
    return msgspec.convert(answer.to_dict(), type=StripeRefund)
