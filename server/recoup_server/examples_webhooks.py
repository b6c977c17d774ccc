"""Examples of bodies about outbound webhooks."""

from typing import Any, Final

ENDPOINT: Final[dict[str, Any]] = {
    "url": "https://billing.example.com/hooks/recoup",
    "description": "The billing system",
    "kinds": ["case.*", "subscription.*", "refund.succeeded"],
    "ordered": False,
}
ENDPOINT_EDIT: Final[dict[str, Any]] = {"description": "The billing system, all of it", "kinds": []}
DISABLE: Final[dict[str, Any]] = {"because": "The billing system moves to another host."}
ROLL: Final[dict[str, Any]] = {"hours": 48}
REPLAY: Final[dict[str, Any]] = {"since": "2026-11-22T18:00:00Z"}
EVENT: Final[dict[str, Any]] = {
    "type": "case.recovered",
    "timestamp": "2026-11-23T09:00:00Z",
    "data": {
        "id": 4711,
        "merchant_id": "default",
        "actor": "gateway:sandbox",
        "case_id": "0198d5f0-0000-7000-8000-000000000002",
        "payment_id": "0198d5f0-0000-7000-8000-000000000001",
        "attempt_id": None,
        "refund_id": None,
        "correlation_id": "6f1c5f0e",
        "data": {},
    },
}
"""What is posted to endpoints."""
