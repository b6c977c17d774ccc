"""Examples of what billing systems send: answers to requests about subscriptions, charges that are to come."""

from typing import Any, Final

ACKNOWLEDGEMENTS: Final[dict[str, Any]] = {
    "done": {"done": True, "note": "paused in billing as of today"},
    "refused": {"done": False, "note": "annual plans can't be paused"},
}

CHARGE: Final[dict[str, Any]] = {
    "reference": "sub-4711-2027-01",
    "customer": {
        "ref": "cus-4711",
        "country": "DE",
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "locale": "de",
    },
    "amount_minor": 9900,
    "currency": "EUR",
    "charge_at": "2027-01-15T09:00:00Z",
    "method": "card",
    "network": "visa",
    "gateway": "sandbox",
    "expires_on": "2026-12",
    "subscription": {"plan": "pro", "interval": "year"},
}
CHARGES: Final[dict[str, Any]] = {"card_ends_before_it": CHARGE}
CHARGE_EDITS: Final[dict[str, Any]] = {
    "card_renewed": {"expires_on": "2030-11"},
    "postponed": {"charge_at": "2027-01-22T09:00:00Z"},
}
CALL_OFF: Final[dict[str, Any]] = {"reason": "the customer canceled"}
