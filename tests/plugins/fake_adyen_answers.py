"""How the fake Adyen answers and signs: JSON, errors of Adyen's shape, references, and webhooks with an HMAC per item.

The signature is written here from the documentation, not with the SDK's helper, so that the plugin is checked by
something else than itself.
"""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from recoup_plugins.conformance import SignedWebhook

KEY = "AQEfake"
MERCHANT = "AcmeECOM"
HMAC_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
OLD_HMAC_KEY = "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174"

SIGNED = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class LoseAnswer(Exception):
    """Break the connection instead of answering."""


def psp_reference() -> str:
    """16 characters as Adyen makes them; few digits, so that none looks like a card number."""
    return "".join(random.SystemRandom().choices("BCDFGHJKLMNPQRSTVWXZ", k=14)) + "82"


def as_json(status: int, value: Any, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def error(status: int, code: str, message: str = "told", *, transient: bool = False, **headers: str) -> Answer:
    body = {"status": status, "errorCode": code, "message": message, "errorType": "validation"}
    return as_json(status, body, **({"transient-error": "true"} if transient else {}), **headers)


def notification(
    code: str,
    *,
    psp: str,
    value: int,
    currency: str,
    at: datetime,
    reference: str = "",
    original: str | None = None,
    success: bool = True,
    reason: str = "",
    method: str | None = None,
    additional: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make a `NotificationRequestItem` without its signature."""
    item: dict[str, Any] = {
        "additionalData": dict(additional or {}),
        "amount": {"currency": currency, "value": value},
        "eventCode": code,
        "eventDate": at.isoformat(timespec="seconds"),
        "merchantAccountCode": MERCHANT,
        "merchantReference": reference,
        "pspReference": psp,
        "reason": reason,
        "success": "true" if success else "false",
    }
    return item | ({"originalReference": original} if original else {}) | ({"paymentMethod": method} if method else {})


def signature(item: Mapping[str, Any], key: str = HMAC_KEY) -> str:
    """Sign the eight fields, as docs.adyen.com describes it."""
    named = [str(item.get(name) or "") for name in SIGNED]
    amount = [str(item["amount"]["value"]), item["amount"]["currency"]]
    text = ":".join([*named, *amount, item["eventCode"], str(item["success"])])
    return base64.b64encode(hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).digest()).decode()


def signed(*items: Mapping[str, Any], key: str = HMAC_KEY, live: str = "false") -> SignedWebhook:
    """Wrap items into one webhook, each with its signature."""
    wrapped = [
        {
            "NotificationRequestItem": {
                **item,
                "additionalData": {**item["additionalData"], "hmacSignature": signature(item, key)},
            }
        }
        for item in items
    ]
    body = json.dumps({"live": live, "notificationItems": wrapped}).encode()
    return SignedWebhook({"content-type": "application/json"}, body)
