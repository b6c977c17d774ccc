"""What a refused or failed call to Stripe says: nothing left, a definite no, or nothing that can be relied on."""

from collections.abc import Mapping
from typing import Final, cast

import httpx
import msgspec
import stripe

from recoup_core.ports import NotSent
from recoup_plugins.gateways.stripe_objects import StripeError

LIST_PAGE: Final = 100
"""Stripe's largest page."""

LIST_PAGES: Final = 10
"""How many pages of one customer's or charge's objects are searched for a lost answer before giving up."""

CLOCK_SLACK_S: Final = 60

REFUSED_BEFORE: Final = (stripe.InvalidRequestError, stripe.AuthenticationError, stripe.PermissionError)
"""400, 401, 403 and 404: refused before any money moved."""

_BUSY_CODES: Final = frozenset({"lock_timeout", "rate_limit"})

_NEVER_CONNECTED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class StripeAnswerLost(Exception):
    """Stripe gave no answer that says whether money moved. The text holds no key and no request."""


def error_of(refused: stripe.StripeError) -> StripeError:
    """Read the answer's `error`; empty where there was none (the SDK's `code` is None on some classes)."""
    if refused.error is None:
        return StripeError()
    try:
        return msgspec.convert(refused.error.to_dict(), type=StripeError)
    except msgspec.ValidationError:
        return StripeError()


def code_of(refused: stripe.StripeError) -> str | None:
    """Return Stripe's code, or a word for the status where it sends none."""
    return error_of(refused).code or {401: "authentication_error", 403: "permission_error"}.get(
        refused.http_status or 0
    )


def not_sent(refused: stripe.StripeError) -> NotSent | None:
    """Return NotSent where it is certain that Stripe did nothing and takes the same key again later."""
    if isinstance(refused, stripe.APIConnectionError) and isinstance(refused.__cause__, _NEVER_CONNECTED):
        return NotSent(reason=f"no connection to Stripe ({type(refused.__cause__).__name__})")
    code = error_of(refused).code
    if refused.http_status == 429 or code in _BUSY_CODES:
        return NotSent(reason=f"Stripe is busy ({code or refused.http_status})", retry_after_s=_wait(refused))
    return None


def lost(refused: stripe.StripeError) -> StripeAnswerLost:
    """Say what may be known; raise it `from None`, since the SDK's error holds the request and its headers."""
    cause = type(refused.__cause__).__name__ if refused.__cause__ is not None else ""
    facts = (type(refused).__name__, refused.http_status, error_of(refused).code, cause, refused.request_id)
    return StripeAnswerLost(" ".join(str(fact) for fact in facts if fact))


def _wait(refused: stripe.StripeError) -> float | None:
    """Return the seconds of `Retry-After`, which the SDK itself ignores."""
    said = cast("Mapping[str, str]", refused.headers or {}).get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 6 else None
