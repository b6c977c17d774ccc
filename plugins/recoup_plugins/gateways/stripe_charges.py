"""Stripe's charges that make a PaymentIntent of their own, and what a refused call means for any charge."""

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import stripe

from recoup_core.ports import ChargeOutcome, ChargeRequest, Declined, FoundCharge, NotFound
from recoup_plugins.gateways.stripe_amounts import to_stripe
from recoup_plugins.gateways.stripe_calls import Account, keyed, pages, read
from recoup_plugins.gateways.stripe_charge_objects import StripeCharge
from recoup_plugins.gateways.stripe_errors import CLOCK_SLACK_S, REFUSED_BEFORE, code_of, error_of, lost, not_sent
from recoup_plugins.gateways.stripe_objects import (
    ATTEMPT_KEY,
    PAYMENT_KEY,
    TYPE_OF,
    StripeError,
    StripeIntent,
    configuration_decline,
    decline_of,
    outcome_of,
    ref,
)

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams

DETAILS_TIMEOUT_S: Final = 5.0

ALLOWED_TYPES_SINCE: Final = "2026-07-29"
"""docs.stripe.com/changelog/dahlia/2026-07-29/allowed-payment-method-types-parameter"""

MAX_METADATA: Final = 500
"""Characters of one value (docs.stripe.com/metadata)."""


async def create(account: Account, request: ChargeRequest) -> ChargeOutcome:
    """Create and confirm one PaymentIntent off session; raises what the SDK raises."""
    params = _create_params(request, account.version)
    answer = await account.client.v1.payment_intents.create_async(params, keyed(request.idempotency_key))
    return outcome_of(read(answer, StripeIntent))


async def find_by_metadata(account: Account, request: ChargeRequest) -> FoundCharge:
    """List, since lists are strongly consistent; Stripe's search lags by a minute or more."""
    params: dict[str, Any] = {"created": {"gte": int(request.first_sent_at.timestamp()) - CLOCK_SLACK_S}}
    if request.gateway_customer is not None:
        params["customer"] = request.gateway_customer
    async for intent in pages(account.client.v1.payment_intents.list_async, params, StripeIntent):
        if intent.attempt_id == request.attempt_id:
            return outcome_of(intent)
    return NotFound()


async def retrieve(account: Account, intent_ref: str) -> StripeIntent:
    """Read one PaymentIntent; an id that Stripe told us and no longer knows raises, since it means another account."""
    return read(await account.client.v1.payment_intents.retrieve_async(intent_ref), StripeIntent)


async def refused(account: Account, refusal: stripe.StripeError) -> ChargeOutcome:
    """Say what a refused call means: declined, rejected, not sent; raise where money may have moved."""
    error = error_of(refusal)
    if isinstance(refusal, stripe.CardError):
        decline = decline_of(error, blocked=await _blocked(account, error))
        return Declined(decline=decline, gateway_ref=ref(error.payment_intent), try_ref=error.charge)
    unsent = not_sent(refusal)
    if unsent is not None:
        return unsent
    if isinstance(refusal, REFUSED_BEFORE):
        return Declined(decline=configuration_decline(code_of(refusal), error.message))
    # 5xx and unreadable answers; and a key that is in use (409) or was used with another body: its first request
    # may have moved money
    raise lost(refusal) from None


def our_metadata(request: ChargeRequest) -> dict[str, str]:
    """Return what finds the attempt again on Stripe's object."""
    return {ATTEMPT_KEY: str(request.attempt_id), PAYMENT_KEY: request.payment_reference[:MAX_METADATA]}


async def _blocked(account: Account, error: StripeError) -> bool:
    """Ask the charge whether a generic decline was Stripe's own block: only its `outcome.reason` tells."""
    if error.decline_code != "generic_decline" or error.charge is None:
        return False
    try:
        async with asyncio.timeout(DETAILS_TIMEOUT_S):
            charge = await account.client.v1.charges.retrieve_async(error.charge)
        return read(charge, StripeCharge).blocked
    except (stripe.StripeError, TimeoutError, msgspec.ValidationError):
        return False  # the decline itself is certain; the network limits hold without this hint


def _create_params(request: ChargeRequest, version: str) -> "PaymentIntentCreateParams":
    params: dict[str, Any] = {
        "amount": to_stripe(request.amount),
        "currency": request.amount.currency.lower(),
        "payment_method": request.token,
        _types_parameter(version): [TYPE_OF[request.method]],
        "confirm": True,
        "off_session": True,
        "metadata": our_metadata(request),
    }
    if request.gateway_customer is not None:
        params["customer"] = request.gateway_customer
    # a plain mapping until here: which name the types have depends on the version, the SDK's types know one
    return cast("PaymentIntentCreateParams", params)


def _types_parameter(version: str) -> str:
    """Name the list of method types: old versions don't know the new name, `2026-09-30.endive` refuses the old one."""
    return "allowed_payment_method_types" if version >= ALLOWED_TYPES_SINCE else "payment_method_types"
