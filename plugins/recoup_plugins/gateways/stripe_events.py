"""Stripe's webhooks: verified on the raw body, then translated.

What Stripe's own verification leaves open is closed here: timestamps in the future are refused, too, and of several
secrets (two while one is rolled) any may fit.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import stripe

from recoup_core.ports import (
    MAX_WEBHOOK_BYTES,
    CaptureNews,
    DisputeNews,
    EventPage,
    GatewayEvent,
    RefundNews,
    SettlementNews,
    WebhookRefused,
)
from recoup_plugins.gateways import stripe_credential_news
from recoup_plugins.gateways.stripe_calls import Account
from recoup_plugins.gateways.stripe_charge_events import INTENT_KINDS, INVOICE_KINDS, INVOICE_PAYMENT_KIND, charge_told
from recoup_plugins.gateways.stripe_errors import LIST_PAGE, lost
from recoup_plugins.gateways.stripe_news import KINDS as NEWS_KINDS
from recoup_plugins.gateways.stripe_news import news_of

if TYPE_CHECKING:
    from stripe.params import EventListParams

TOLERANCE_S: Final = 300
"""Stripe's own default (docs.stripe.com/webhooks), applied before and after."""

KINDS: Final = frozenset(
    {*INTENT_KINDS, *INVOICE_KINDS, INVOICE_PAYMENT_KIND, *NEWS_KINDS, *stripe_credential_news.KINDS}
)
"""The events that mean something to us: what an endpoint has to send. Others are kept all the same."""

REMOVED: Final = "[removed]"

_NO_SDK_AGE_CHECK: Final = None
"""The SDK looks at its own clock and only backwards; the age is checked here."""


class _Data(msgspec.Struct):
    object: msgspec.Raw = msgspec.Raw(b"{}")


class _Event(msgspec.Struct):
    id: str
    type: str
    created: int
    data: msgspec.Raw = msgspec.Raw(b"{}")


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
        payload: Mapping[str, Any] = _shown(msgspec.json.decode(body, type=dict[str, Any]))
        about = msgspec.json.decode(event.data, type=_Data).object
        occurred_at = datetime.fromtimestamp(event.created, UTC)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError, OSError) as unreadable:
        raise WebhookRefused(f"the body is no event ({type(unreadable).__name__})") from None
    charge = charge_told(event.type, about)
    news = news_of(event.type, about)
    return GatewayEvent(
        external_id=event.id,
        kind=event.type,
        occurred_at=occurred_at,
        attempt_id=charge.attempt_id,
        gateway_ref=charge.gateway_ref,
        outcome=charge.outcome,
        failure=charge.failure,
        payment_reference=charge.payment_reference,
        payload=payload,
        refund=news if isinstance(news, RefundNews) else None,
        dispute=news if isinstance(news, DisputeNews) else None,
        capture=news if isinstance(news, CaptureNews) else None,
        settlement=news if isinstance(news, SettlementNews) else None,
        credential=stripe_credential_news.credential_news(event.type, event.data),
    )


async def list_events(account: Account, since: datetime, cursor: str | None) -> EventPage:
    """Return one page of Stripe's events, those that mean something to us; the pages lead from now back to `since`.

    Stripe filters by twenty kinds at most and we know more, so the others are left out here.
    """
    params: dict[str, Any] = {"created": {"gte": int(since.timestamp())}, "limit": LIST_PAGE}
    if cursor is not None:
        params["starting_after"] = cursor
    try:
        page = await account.client.v1.events.list_async(cast("EventListParams", params))
    except stripe.StripeError as refusal:
        raise lost(refusal) from None
    known = [read_event(msgspec.json.encode(one.to_dict())) for one in page.data if one.type in KINDS]
    return EventPage(events=tuple(reversed(known)), cursor=page.data[-1].id if page.has_more and page.data else None)


def _shown(value: Any, name: str = "") -> Any:
    """Return what Stripe said without what whoever holds it may act by: pages of the customer's, secrets of intents."""
    if isinstance(value, dict):
        return {key: _shown(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner, name) for inner in value]
    bearer = isinstance(value, str) and (name == "client_secret" or value.startswith(("https://", "http://")))
    return REMOVED if bearer else value


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
