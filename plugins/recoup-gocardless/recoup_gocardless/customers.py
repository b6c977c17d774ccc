"""What a customer has stored at GoCardless, and the page where they store something new."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from recoup_gocardless.calls import UNAUTHORIZED, Calls, GoCardlessRefused, nothing_else_is_certain
from recoup_gocardless.objects import PAYMENT_KEY, SCHEMES, USABLE_MANDATES, GoMandate
from recoup_plugins import LinkAnswer, NoLink, StoredCredential, UpdateLink, UpdateLinkRequest

MAX_METADATA: Final = 500

CURRENCIES: Final = {"sepa_core": "EUR", "bacs": "GBP", "ach": "USD"}
"""What mandates of a scheme are made for."""


class _BillingRequest(msgspec.Struct, frozen=True):
    id: str


class _Flow(msgspec.Struct, frozen=True):
    authorisation_url: str
    expires_at: datetime | None = None


async def list_credentials(calls: Calls, gateway_customer: str) -> Sequence[StoredCredential]:
    """Return the customer's mandates that can be used: working ones before new ones, the newest first."""
    with nothing_else_is_certain():
        params = {"customer": gateway_customer, "status": ",".join(USABLE_MANDATES)}
        listed = await calls.whole("mandates", params, GoMandate)
    usable = [each for each in listed if each.status in USABLE_MANDATES]
    usable.sort(key=lambda each: each.created_at, reverse=True)
    usable.sort(key=lambda each: USABLE_MANDATES.index(each.status))
    return [each.credential for each in usable if each.credential is not None]


async def update_link(calls: Calls, request: UpdateLinkRequest, return_url: str | None) -> LinkAnswer:
    """Make a page where the customer gives a new mandate; it collects nothing.

    The billing request behind the page is made once per key; a page of it that was lost is made again. What can't be
    asked for now is raised, and means "later".
    """
    scheme = SCHEMES.get(request.method)
    if scheme is None:
        return NoLink(reason="GoCardless collects bank debits only")
    if request.gateway_customer is None or not request.gateway_customer.startswith("CU"):
        return NoLink(reason="the customer's id at GoCardless (CU...) is not known")
    try:
        billing_request = await _billing_request(calls, request, scheme)
        flow = await calls.create("billing_request_flows", _flow(request, billing_request, return_url), None, _Flow)
    except GoCardlessRefused as refused:
        if refused.status in UNAUTHORIZED:
            raise
        return NoLink(reason=f"GoCardless refuses a page for this customer ({refused.reason})")
    return UpdateLink(url=flow.authorisation_url, pays=False, expires_at=flow.expires_at)


async def _billing_request(calls: Calls, request: UpdateLinkRequest, scheme: str) -> str:
    params = {
        "mandate_request": {"scheme": scheme, "currency": CURRENCIES[scheme]},
        "links": {"customer": request.gateway_customer},
        "metadata": {PAYMENT_KEY: request.payment_reference[:MAX_METADATA]},
    }
    try:
        return (await calls.create("billing_requests", params, request.idempotency_key, _BillingRequest)).id
    except GoCardlessRefused as refused:
        if refused.conflict is None:
            raise
        return refused.conflict  # the same link was asked for before


def _flow(request: UpdateLinkRequest, billing_request: str, return_url: str | None) -> dict[str, Any]:
    params: dict[str, Any] = {"links": {"billing_request": billing_request}}
    back = request.return_url or return_url
    if back is not None:
        params |= {"redirect_uri": back, "exit_uri": back}
    if request.locale is not None:
        params["language"] = request.locale.replace("_", "-").partition("-")[0].lower()
    return params
