"""What a refused or failed call to Adyen says: nothing left, a definite no, or nothing that can be relied on.

The SDK leaves network errors as `requests` raises them, and makes one class of errors of 404 and 500: what counts is
the status, Adyen's own code and the header `transient-error`, never the class.
"""

import ssl
from collections.abc import Mapping
from typing import Any, Final

import Adyen
import requests
import urllib3

from recoup_plugins import NotSent

TRANSIENT: Final = "transient-error"
"""Header of answers that Adyen did not keep: the same key goes again (docs.adyen.com, API idempotency)."""

_KEY_STORE_DOWN: Final = "703"
_KEY_IN_USE: Final = "704"
"""Adyen's codes about keys (docs.adyen.com, API idempotency)."""

_MAX_CAUSES: Final = 8
_NEVER_CONNECTED: Final = (
    requests.exceptions.ConnectTimeout,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NameResolutionError,
    ssl.SSLCertVerificationError,
)
"""No connection came about, or none that a request could be sent over."""


class AdyenAnswerLost(Exception):
    """Adyen gave no answer that says whether money moved. The text holds no key and no request."""


class AdyenRefused(Exception):
    """Adyen refused the request itself (4xx) before anything moved."""

    def __init__(self, status: int, code: str | None, message: str | None) -> None:
        super().__init__(f"Adyen refused the request: {status} {code or ''}".rstrip())
        self.status, self.code, self.message = status, code, message


class AdyenBusy(Exception):
    """Adyen did nothing and takes the same key again later, or was never reached."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.not_sent = NotSent(reason=reason, retry_after_s=retry_after_s)


def told_by(raised: Exception) -> AdyenBusy | AdyenRefused | AdyenAnswerLost:
    """Say what an exception of the SDK, or below it, means; raise it `from None`: the SDK's errors hold the request."""
    if not isinstance(raised, Adyen.AdyenError):
        return AdyenBusy("no connection to Adyen") if _never_sent(raised) else AdyenAnswerLost(type(raised).__name__)
    status = raised.status_code if isinstance(raised.status_code, int) else 0
    code = str(raised.error_code) if raised.error_code else None
    headers: Mapping[str, str] = raised.headers if hasattr(raised.headers, "get") else {}
    if code == _KEY_IN_USE:
        # whoever uses the key may be moving the money right now: "not sent" would be a lie
        return AdyenAnswerLost(f"{status} {code}: the key is in use")
    if code == _KEY_STORE_DOWN or status == 429 or str(headers.get(TRANSIENT, "")).lower() == "true":
        return AdyenBusy(f"Adyen is busy ({code or status})", _wait(headers))
    if 400 <= status < 500:
        return AdyenRefused(status, code, _message(raised.message))
    return AdyenAnswerLost(f"{type(raised).__name__} {status} {code or ''}".rstrip())


def _never_sent(raised: BaseException) -> bool:
    """Whether no connection came about; the reason may stand in an argument of what wraps it."""
    at: object = raised
    for _ in range(_MAX_CAUSES):
        if isinstance(at, _NEVER_CONNECTED):
            return True
        if not isinstance(at, BaseException):
            return False
        wrapped = getattr(at, "reason", None) or (at.args[0] if at.args else None)
        at = wrapped if isinstance(wrapped, BaseException) else at.__cause__ or at.__context__
    return False


def _message(body: Any) -> str | None:
    """Return Adyen's words from an error's body, which the SDK leaves as text where it is no JSON."""
    said = body.get("message") or body.get("detail") if isinstance(body, Mapping) else None
    return said if isinstance(said, str) else None


def _wait(headers: Mapping[str, str]) -> float | None:
    said = str(headers.get("Retry-After", ""))
    return float(said) if said.isascii() and said.isdigit() and len(said) < 6 else None
