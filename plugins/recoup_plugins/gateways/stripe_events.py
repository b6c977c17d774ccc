"""Stripe's webhooks: verified on the raw body, then translated.

What Stripe's own verification leaves open is closed here: timestamps in the future are refused, too, and of several
secrets (two while one is rolled) any may fit.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import stripe

from recoup_core.ports import (
    MAX_WEBHOOK_BYTES,
    CaptureNews,
    Declined,
    DisputeNews,
    GatewayEvent,
    Pending,
    RefundNews,
    ReportedFailure,
    Succeeded,
    WebhookRefused,
)
from recoup_plugins.gateways.stripe_amounts import NotExpressible, from_stripe
from recoup_plugins.gateways.stripe_news import news_of
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

TOLERANCE_S: Final = 300
"""Stripe's own default (docs.stripe.com/webhooks), applied before and after."""

_NO_SDK_AGE_CHECK: Final = None
"""The SDK looks at its own clock and only backwards; the age is checked here."""

_INTENT_KINDS: Final = frozenset(
    f"payment_intent.{what}" for what in ("succeeded", "payment_failed", "processing", "canceled", "requires_action")
)

_ONLY_OURS: Final = frozenset({"payment_intent.canceled", "payment_intent.requires_action"})
"""Of a PaymentIntent that is not our attempt these are a checkout's daily life and mean nothing to us."""


class _Data(msgspec.Struct):
    object: msgspec.Raw = msgspec.Raw(b"{}")


class _Event(msgspec.Struct):
    id: str
    type: str
    created: int
    data: _Data = msgspec.field(default_factory=_Data)


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> None:
    """Return when one of the secrets signed the body within the tolerance; raise `WebhookRefused` otherwise."""
    if len(body) > MAX_WEBHOOK_BYTES:
        raise WebhookRefused("the body is too long")
    header = headers.get("stripe-signature", "")
    fitting = [secret for secret in secrets if _signed(body, header, secret)]
    if not fitting:
        raise WebhookRefused("no signature fits")
    if abs(_signed_at(header) - now.timestamp()) > TOLERANCE_S:
        raise WebhookRefused("the timestamp is too old or in the future")


def read_event(body: bytes) -> GatewayEvent:
    """Translate a verified body; one that is no event at all raises `WebhookRefused`."""
    try:
        event = msgspec.json.decode(body, type=_Event)
        payload: Mapping[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        occurred_at = datetime.fromtimestamp(event.created, UTC)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError, OSError) as unreadable:
        raise WebhookRefused(f"the body is no event ({type(unreadable).__name__})") from None
    intent = _intent(event)
    ours = intent is not None and intent.attempt_id is not None
    news = news_of(event.type, event.data.object)
    told = intent is not None and (ours or event.type not in _ONLY_OURS)
    return GatewayEvent(
        external_id=event.id,
        kind=event.type,
        occurred_at=occurred_at,
        attempt_id=intent.attempt_id if intent is not None else None,
        gateway_ref=intent.id if intent is not None else None,
        outcome=_outcome(event.type, intent) if intent is not None and told else None,
        failure=_failure(event.type, intent) if intent is not None and not ours else None,
        payment_reference=_reference(intent) if intent is not None and not ours else None,
        payload=payload,
        refund=news if isinstance(news, RefundNews) else None,
        dispute=news if isinstance(news, DisputeNews) else None,
        capture=news if isinstance(news, CaptureNews) else None,
    )


def _signed(body: bytes, header: str, secret: str) -> bool:
    """Ask the SDK; it raises more kinds than its own on garbage (notes on gateways, 4.2)."""
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret, tolerance=_NO_SDK_AGE_CHECK))
    except (stripe.SignatureVerificationError, ValueError, TypeError, OverflowError):
        return False


def _signed_at(header: str) -> int:
    """Read the time as the SDK does (the first `t`, up to a second `=`), so that it is the signed one."""
    fields = [part.split("=", 2) for part in header.split(",")]
    return int(next(field[1] for field in fields if field[0] == "t"))


def _intent(event: _Event) -> StripeIntent | None:
    """Read the event's PaymentIntent; an event of another kind, or of a shape we don't know, has none."""
    if event.type not in _INTENT_KINDS:
        return None
    try:
        return msgspec.json.decode(event.data.object, type=StripeIntent)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _outcome(kind: str, intent: StripeIntent) -> Succeeded | Declined | Pending | None:
    """Say what the event tells: its kind first, since the object may have moved on since (or be an old shape)."""
    try:
        if kind == "payment_intent.payment_failed":
            error = intent.last_payment_error or StripeError()
            return Declined(decline=decline_of(error), gateway_ref=intent.id)
        return outcome_of(intent)
    except (UnexpectedState, NotExpressible):
        return None


def _failure(kind: str, intent: StripeIntent) -> ReportedFailure | None:
    """Read a failed payment that somebody else tried; None where too little is said to collect it later."""
    if kind != "payment_intent.payment_failed":
        return None
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
    )


def _reference(intent: StripeIntent) -> str | None:
    """The merchant's own name for the debt, where they put one on the intent."""
    return intent.metadata.get("invoice") or intent.metadata.get("reference")


def _expanded(method: str | Mapping[str, Any] | None) -> StripeMethod:
    if not isinstance(method, Mapping):
        return StripeMethod()
    try:
        return msgspec.convert(method, type=StripeMethod)
    except msgspec.ValidationError:
        return StripeMethod()
