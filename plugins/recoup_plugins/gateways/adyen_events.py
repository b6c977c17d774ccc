"""Adyen's events in our words: charges by whomever, and everything else through `adyen_news`.

An AUTHORISATION names our attempt by the reference we gave the payment, which is signed; each try has a pspReference
of its own, also those that Auto Rescue makes of a payment of ours.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_plugins import (
    CaptureNews,
    CredentialNews,
    Declined,
    DisputeNews,
    GatewayEvent,
    Method,
    RefundNews,
    ReportedFailure,
    SettlementNews,
    Succeeded,
    WebhookRefused,
)
from recoup_plugins.gateways.adyen_amounts import NotExpressible, from_adyen
from recoup_plugins.gateways.adyen_news import News, news_of, token_news
from recoup_plugins.gateways.adyen_objects import (
    ATTEMPT,
    RESCUED,
    configuration_decline,
    decline_of,
    method_of,
    network_of,
    ours_in,
    text_in,
)
from recoup_plugins.gateways.adyen_webhooks import Item, time_of

AUTHORISATION: Final = "AUTHORISATION"
OFFER_CLOSED: Final = "OFFER_CLOSED"

_RESCUE_ENDS: Final[Mapping[str, bool]] = {"AUTORESCUE": False, "CANCEL_AUTORESCUE": True}
"""The events after which Auto Rescue tries no more, and the `success` that says so: the first is told of a rescue that
failed, the second of one that was called off."""

_CHARGES: Final = frozenset({AUTHORISATION, OFFER_CLOSED, *_RESCUE_ENDS})

NEXT_RESCUE: Final = timedelta(days=1)
"""Adyen says that it will try again, never when; only that somebody does is relied on."""

_TOKENS: Final = ("recurring.recurringDetailReference", "tokenization.storedPaymentMethodId")
_SHOPPERS: Final = ("recurring.shopperReference", "tokenization.shopperReference", "shopperReference")


class TokenEvent(msgspec.Struct, frozen=True):
    """A webhook about the life of a token."""

    type: str
    eventId: str
    environment: str
    createdAt: Any = None
    data: Mapping[str, Any] = {}


def read_items(items: Sequence[tuple[Item, dict[str, Any]]], now: datetime) -> list[GatewayEvent]:
    """Translate the verified items of a standard webhook."""
    return [_read_item(item, raw, now) for item, raw in items]


def read_token_event(envelope: dict[str, Any], now: datetime, *, merchant: str, live: bool) -> GatewayEvent:
    """Translate a verified webhook about a token."""
    try:
        event = msgspec.convert(envelope, type=TokenEvent)
    except msgspec.ValidationError as unreadable:
        raise WebhookRefused(f"the body is no event ({unreadable})") from None
    if event.environment != ("live" if live else "test") or event.data.get("merchantAccount") != merchant:
        raise WebhookRefused("it is of another environment or merchant account")
    return GatewayEvent(
        external_id=f"{merchant}|{event.type}|{event.eventId}|{text_in(event.data, 'storedPaymentMethodId') or ''}",
        kind=event.type,
        occurred_at=time_of(event.createdAt, now),
        credential=token_news(event.type, event.data),
        payload=envelope,
    )


def _read_item(item: Item, raw: dict[str, Any], now: datetime) -> GatewayEvent:
    told = GatewayEvent(
        external_id=f"{item.merchantAccountCode}|{item.eventCode}|{item.pspReference}|{str(item.succeeded).lower()}",
        kind=item.eventCode,
        occurred_at=time_of(item.eventDate, now),
        payload=raw,
    )
    try:
        if item.eventCode in _CHARGES:
            return _with_charge(told, item)
        return _with_news(told, news_of(item))
    except NotExpressible:  # a currency we don't collect in: kept, and means nothing
        return told


def _with_news(told: GatewayEvent, news: News) -> GatewayEvent:
    return msgspec.structs.replace(
        told,
        refund=news if isinstance(news, RefundNews) else None,
        dispute=news if isinstance(news, DisputeNews) else None,
        capture=news if isinstance(news, CaptureNews) else None,
        credential=news if isinstance(news, CredentialNews) else None,
        settlement=news if isinstance(news, SettlementNews) else None,
    )


def _with_charge(told: GatewayEvent, item: Item) -> GatewayEvent:
    """Say what an event tells of a charge: ours by its reference, or one made elsewhere."""
    outcome = _outcome(item)
    if outcome is None or item.amount.value <= 0:  # a verification of a card moves nothing
        return told
    ours = ours_in(ATTEMPT, item.merchantReference)
    return msgspec.structs.replace(
        told,
        attempt_id=ours,
        gateway_ref=outcome.gateway_ref,
        outcome=outcome,
        failure=_failure(item, told.occurred_at, ours) if isinstance(outcome, Declined) else None,
        payment_reference=item.merchantReference or None if ours is None else None,
    )


def _outcome(item: Item) -> Succeeded | Declined | None:
    """Say what became of the charge.

    A rescue that succeeded was told by an AUTHORISATION of its own; one that ended in vain is no further try, and
    speaks of the payment it was for.
    """
    psp = item.pspReference
    if item.eventCode == OFFER_CLOSED:
        closed = configuration_decline("offer_closed", "it was not paid in time")
        return Declined(decline=closed, gateway_ref=psp, try_ref=psp) if item.succeeded else None
    if item.eventCode in _RESCUE_ENDS:
        if item.succeeded is not _RESCUE_ENDS[item.eventCode]:
            return None
        psp = item.payment_ref
    elif item.succeeded:
        return Succeeded(gateway_ref=psp, try_ref=psp, amount=from_adyen(item.amount.value, item.amount.currency))
    told = {"paymentMethod": item.paid_with, **item.additionalData}
    return Declined(decline=decline_of(None, item.why, told), gateway_ref=psp, try_ref=psp)


def _failure(item: Item, at: datetime, ours: UUID | None) -> ReportedFailure | None:
    """Read a failed payment that somebody else tried without the shopper, or that Auto Rescue is going to try.

    None where it is ours and ours alone, where it was a checkout, which the shopper tries again, or where too little is
    said to collect it later.
    """
    rescued, ended = text_in(item.additionalData, RESCUED), item.eventCode in _RESCUE_ENDS
    token, shopper = text_in(item.additionalData, *_TOKENS), text_in(item.additionalData, *_SHOPPERS)
    reference = item.merchantReference or ""
    brand = item.paid_with or text_in(item.additionalData, "paymentMethodVariant")
    method = method_of(brand) or (Method.CARD if ended and brand is None else None)
    if method is None or not reference or (ours is not None and rescued != "true"):
        return None
    if not (ours is not None or ended or _by_merchant(item, token, shopper)):
        return None
    return ReportedFailure(
        payment_reference=reference,
        amount=from_adyen(item.amount.value, item.amount.currency),
        method=method,
        customer_ref=shopper or reference,  # the end of a rescue names no shopper
        token=token,
        gateway_customer=shopper,
        fingerprint=text_in(item.additionalData, "alias"),
        network=network_of(brand),
        country=text_in(item.additionalData, "issuerCountry", "cardIssuingCountry"),
        next_attempt_at=at + NEXT_RESCUE if rescued == "true" else None,
        retries_ended=rescued == "false" or ended,
    )


def _by_merchant(item: Item, token: str | None, shopper: str | None) -> bool:
    """Whether a stored method was charged while the shopper was away, as far as the event tells."""
    by_shopper = text_in(item.additionalData, "shopperInteraction") not in (None, "ContAuth")
    return token is not None and shopper is not None and not by_shopper
