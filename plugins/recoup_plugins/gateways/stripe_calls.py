"""How Stripe is called: one account's client, keys and time limits, pages read to their end.

Every call that changes something carries a key of ours, stored before the first send; the SDK never sends twice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

import httpx
import msgspec
import stripe

from recoup_plugins.gateways.stripe_errors import LIST_PAGE, LIST_PAGES, StripeAnswerLost
from recoup_plugins.gateways.stripe_options import StripeOptions

CONNECT_TIMEOUT_S: Final = 3.0

INVOICES_HAVE_PAYMENTS_SINCE: Final = "2025-03-31"
"""docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices: before, an invoice
and its PaymentIntent name each other; since, InvoicePayments stand between them."""

CLAIM: Final = "-claim"
"""Ends the key of the call that puts our metadata on an object before it is charged; the attempt's own key is
the charge's. Attempt keys have at most 64 characters, Stripe's 255."""

CLAIM_INTENT: Final = "-claim-intent"
"""The same for the PaymentIntent behind an invoice."""

Shape = TypeVar("Shape", bound=msgspec.Struct)


class Account(NamedTuple):
    """One Stripe account, as the calls need it."""

    client: stripe.StripeClient
    version: str
    """The `Stripe-Version` asked for."""
    same_intent: bool = True
    """Whether a debt's own PaymentIntent is tried again."""

    @property
    def has_invoice_payments(self) -> bool:
        """Whether this version knows InvoicePayments."""
        return self.version >= INVOICES_HAVE_PAYMENTS_SINCE


def make_client(options: StripeOptions, version: str) -> stripe.StripeClient:
    """Make the client; this reads the certificate bundle, so it is done on first use."""
    stripe.enable_telemetry = False
    timeout = httpx.Timeout(options.timeout_s, connect=min(CONNECT_TIMEOUT_S, options.timeout_s))
    return stripe.StripeClient(
        options.api_key,
        stripe_version=version,
        base_addresses={"api": options.api_base} if options.api_base else {},
        max_network_retries=0,
        http_client=stripe.HTTPXClient(timeout=timeout),
    )


def keyed(key: str) -> stripe.RequestOptions:
    """Return the options of a call that changes something."""
    return {"idempotency_key": key, "max_network_retries": 0}


def read(answer: Any, shape: type[Shape]) -> Shape:
    """Read the SDK's object as a plain value: its missing attributes raise, ours have defaults."""
    return msgspec.convert(answer.to_dict(), type=shape)


async def pages(
    ask: Callable[[Any], Awaitable[Any]],
    params: dict[str, Any],
    shape: type[Shape],
    *,
    limit: int = LIST_PAGES,
) -> AsyncIterator[Shape]:
    """Go through a list, newest first; raise `StripeAnswerLost` where it is longer than the limit's pages.

    Whoever finds what is looked for stops early; who doesn't has seen everything.
    """
    params = {**params, "limit": LIST_PAGE}
    for _ in range(limit):
        page = await ask(params)
        for listed in page.data:
            yield read(listed, shape)
        if not page.has_more or not page.data:
            return
        params = {**params, "starting_after": page.data[-1].id}
    raise StripeAnswerLost(f"not among the first {limit * LIST_PAGE} objects; there are more")
