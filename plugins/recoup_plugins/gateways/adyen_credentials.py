"""Stored methods at Adyen, and pages where a customer pays and stores a new one (pay by link)."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import msgspec

from recoup_plugins import LinkAnswer, Method, NoLink, StoredCredential, UpdateLink, UpdateLinkRequest
from recoup_plugins.gateways.adyen_amounts import NotExpressible, to_adyen
from recoup_plugins.gateways.adyen_client import AdyenApi
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost, AdyenRefused
from recoup_plugins.gateways.adyen_objects import MAX_REFERENCE, method_of, network_of
from recoup_plugins.gateways.card_months import month_on_card

LONGEST_LINK: Final = timedelta(days=70)
"""Checkout v72, `expiresAt`."""

LINK_MARGIN: Final = timedelta(minutes=5)
"""Between two clocks, so that the longest wish is not refused."""

WITHOUT_SHOPPER: Final = frozenset({"Subscription", "UnscheduledCardOnFile"})
"""Models of a stored method that may be charged while the shopper is away."""

_WRONG_REQUEST: Final = frozenset({400, 422})
_LOCALE: Final = re.compile(r"[a-z]{2}-[A-Z]{2}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")


class _Stored(msgspec.Struct, frozen=True):
    id: str
    type: str | None = None
    brand: str | None = None
    alias: str | None = None
    expiryMonth: str | None = None
    expiryYear: str | None = None
    createdAt: str | None = None
    supportedRecurringProcessingModels: tuple[str, ...] = ()

    def expired(self, now: datetime) -> bool:
        """Whether its card's last month is over; false where Adyen says nothing."""
        month = self.expires_on
        return month is not None and month < f"{now:%Y-%m}"

    @property
    def expires_on(self) -> str | None:
        """The month on the card, where Adyen says it."""
        return month_on_card(self.expiryYear, self.expiryMonth)


class _StoredList(msgspec.Struct, frozen=True):
    storedPaymentMethods: tuple[_Stored, ...] = ()


class _Link(msgspec.Struct, frozen=True):
    url: str
    expiresAt: str | None = None


async def list_credentials(api: AdyenApi, shopper: str, *, merchant: str, now: datetime) -> Sequence[StoredCredential]:
    """Return what may be charged without the shopper, the newest first: Adyen knows no preferred one."""
    asked = {"merchantAccount": merchant, "shopperReference": shopper}
    encoded = {name: quote(value, safe="") for name, value in asked.items()}  # the SDK only joins them
    answer = await api.ask(api.stored.get_tokens_for_stored_payment_details, query_parameters=encoded)
    listed = _read(answer, _StoredList).storedPaymentMethods
    newest = sorted(listed, key=lambda stored: stored.createdAt or "", reverse=True)
    usable = (one for one in newest if WITHOUT_SHOPPER & {*one.supportedRecurringProcessingModels})
    return [found for one in usable if not one.expired(now) and (found := _credential(one, shopper)) is not None]


async def update_link(
    api: AdyenApi, request: UpdateLinkRequest, *, merchant: str, return_url: str, now: datetime
) -> LinkAnswer:
    """Make a payment link: it pays the debt, and stores the method where the shopper is known to Adyen."""
    if len(request.payment_reference) > MAX_REFERENCE:
        return NoLink(reason=f"Adyen's references have at most {MAX_REFERENCE} characters")
    try:
        body = _link_body(request, merchant, return_url, now)
    except NotExpressible as wrong:
        return NoLink(reason=str(wrong))
    try:
        answer = await api.ask(api.links.payment_links, body, key=request.idempotency_key)
    except AdyenRefused as refused:
        if refused.status in _WRONG_REQUEST:
            return NoLink(reason=f"Adyen refused the link: {refused.message or refused.code or refused.status}")
        raise
    link = _read(answer, _Link)
    if not link.url.startswith("https://"):
        raise AdyenAnswerLost("the link has no https address")
    return UpdateLink(url=link.url, pays=True, expires_at=_moment(link.expiresAt))


def _link_body(request: UpdateLinkRequest, merchant: str, return_url: str, now: datetime) -> dict[str, Any]:
    """Its reference is the payment's own: the AUTHORISATION webhook brings it back, signed."""
    expires_at = min(request.expires_at, now + LONGEST_LINK - LINK_MARGIN)
    body: dict[str, Any] = {
        "merchantAccount": merchant,
        "amount": to_adyen(request.amount),
        "reference": request.payment_reference,
        "merchantOrderReference": request.payment_reference,
        "returnUrl": request.return_url or return_url,
        "expiresAt": expires_at.astimezone(UTC).isoformat(timespec="seconds"),
    }
    if request.gateway_customer is not None:
        body |= {
            "shopperReference": request.gateway_customer,
            "storePaymentMethodMode": "enabled",
            "recurringProcessingModel": "UnscheduledCardOnFile",
        }
    if request.locale is not None and _LOCALE.fullmatch(request.locale.replace("_", "-")):
        body["shopperLocale"] = request.locale.replace("_", "-")
    if request.country is not None and _COUNTRY.fullmatch(request.country):
        body["countryCode"] = request.country
    return body


def _credential(stored: _Stored, shopper: str) -> StoredCredential | None:
    method = method_of(stored.type)
    if method is None and network_of(stored.brand) is not None:
        method = Method.CARD
    if method is None or not stored.id:
        return None
    return StoredCredential(
        token=stored.id,
        gateway_customer=shopper,
        method=method,
        network=network_of(stored.brand) if method is Method.CARD else None,
        fingerprint=stored.alias,
        expires_on=stored.expires_on if method is Method.CARD else None,
    )


def _moment(said: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(said) if said else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None


def _read(answer: dict[str, Any], shape: type[Any]) -> Any:
    try:
        return msgspec.convert(answer, type=shape)
    except msgspec.ValidationError as unreadable:
        raise AdyenAnswerLost(f"the answer can't be read ({unreadable})") from None
