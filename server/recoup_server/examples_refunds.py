"""Examples of request bodies about refunds, shown in the OpenAPI document; tests send them."""

from typing import Any, Final

PAYMENT_ID: Final = "0198d5f0-0000-7000-8000-000000000001"
SECOND_PAYMENT_ID: Final = "0198d5f0-0000-7000-8000-000000000002"
REFUND_ID: Final = "0198d5f0-0000-7000-8000-000000000003"
SECOND_REFUND_ID: Final = "0198d5f0-0000-7000-8000-000000000004"
DISPUTE_ID: Final = "0198d5f0-0000-7000-8000-000000000005"

CAPTURED: Final[dict[str, Any]] = {
    "reference": "invoice-2026-0211",
    "order_ref": "order-5150",
    "amount_minor": 12000,
    "currency": "EUR",
    "customer": {"ref": "customer-815", "country": "DE", "segment": "consumer"},
    "gateway": "sandbox",
    "gateway_ref": "sbx_reported_order_5150",
    "method": "card",
    "network": "visa",
    "captured_at": "2026-11-20T10:00:00Z",
    "lines": [
        {"ref": "shirt", "description": "Shirt, blue", "quantity": 3, "amount_minor": 9000, "tax_minor": 1437},
        {"ref": "hat", "description": "Hat", "amount_minor": 2400, "tax_minor": 383},
        {"ref": "shipping", "kind": "shipping", "amount_minor": 600, "tax_minor": 96},
    ],
}
"""120.00 EUR with what it was charged for; lines with their tax sum to the payment."""

CAPTURED_BARE: Final[dict[str, Any]] = {
    "reference": "invoice-2026-0212",
    "amount_minor": 4900,
    "currency": "EUR",
    "customer": {"ref": "customer-816"},
    "gateway": "sandbox",
    "gateway_ref": "sbx_reported_subscription",
    "method": "card",
    "captured_at": "2026-11-20T10:00:00Z",
    "subscription": {
        "plan": "pro",
        "interval": "month",
        "period_start": "2026-11-20",
        "period_end": "2026-12-20",
    },
    "refunds": [{"gateway_ref": "re_made_elsewhere", "amount_minor": 900, "at": "2026-11-21T09:30:00Z"}],
}
"""A subscription's payment without lines, of which 9.00 EUR went back already."""

CAPTURES: Final[dict[str, Any]] = {
    "with_lines": CAPTURED,
    "subscription_with_an_earlier_refund": CAPTURED_BARE,
    "authorized_only": {
        **{key: value for key, value in CAPTURED_BARE.items() if key not in ("subscription", "refunds")},
        "reference": "invoice-2026-0213",
        "gateway_ref": "sbx_reported_booking~authorized",
        "authorized": True,
    },
}

_OF_PAYMENT: Final[dict[str, Any]] = {"payment_id": PAYMENT_ID, "currency": "EUR", "reason": "requested_by_customer"}
_OF_ORDER: Final[dict[str, Any]] = {"order_ref": "order-5150", "currency": "EUR", "reason": "cancellation"}

PARTIAL: Final[dict[str, Any]] = {**_OF_PAYMENT, "amount_minor": 2500, "note": "arrived two days late"}

REFUNDS: Final[dict[str, Any]] = {
    "full": {**_OF_PAYMENT, "amount_minor": 12000},
    "partial": PARTIAL,
    "one_of_three_shirts": {**_OF_PAYMENT, "amount_minor": 3000, "lines": [{"line": "shirt", "quantity": 1}]},
    "shipping": {**_OF_PAYMENT, "amount_minor": 600, "lines": [{"line": "shipping"}]},
    "some_money_of_a_line": {**_OF_PAYMENT, "amount_minor": 500, "lines": [{"line": "hat", "amount_minor": 500}]},
    "only_the_tax": {**_OF_PAYMENT, "amount_minor": 383, "lines": [{"line": "hat", "tax_only": True}]},
    "with_evidence": {
        **_OF_PAYMENT,
        "amount_minor": 2400,
        "reason": "damaged",
        "lines": [{"line": "hat", "quantity": 1}],
        "evidence": [{"kind": "photo", "ref": "https://files.example.com/tickets/4711/hat.jpg"}],
    },
    "store_credit": {**_OF_PAYMENT, "amount_minor": 1200, "destination": "store_credit"},
    "goodwill_as_store_credit": {
        **_OF_PAYMENT,
        "amount_minor": 1000,
        "purpose": "goodwill",
        "destination": "store_credit",
        "reason": "late_delivery",
    },
    "order_newest_first": {**_OF_ORDER, "amount_minor": 13000, "spread": "newest_first"},
    "order_as_given": {
        **_OF_ORDER,
        "amount_minor": 3000,
        "spread": "as_given",
        "payments": [
            {"payment_id": PAYMENT_ID, "amount_minor": 1000},
            {"payment_id": SECOND_PAYMENT_ID, "amount_minor": 2000},
        ],
    },
    "answers_an_inquiry": {**_OF_PAYMENT, "amount_minor": 12000, "answers_dispute_id": DISPUTE_ID},
}
"""One body per shape."""

EDITS: Final[dict[str, Any]] = {
    "less": {"amount_minor": 2000, "note": "the customer keeps the hat"},
    "evidence": {"evidence": [{"kind": "photo", "ref": "https://files.example.com/tickets/4711/hat.jpg"}]},
    "by_line": {"amount_minor": 6000, "lines": [{"line": "shirt", "quantity": 2}]},
    "as_store_credit": {"destination": "store_credit"},
}

CANCEL: Final[dict[str, Any]] = {"reason": "the customer keeps the goods"}

RETRIES: Final[dict[str, Any]] = {"same_way": {}, "as_store_credit": {"destination": "store_credit"}}

RESOLUTIONS: Final[dict[str, Any]] = {
    "never_arrived": {
        "outcome": "never_arrived",
        "evidence": "the provider's support found no such refund, ticket 4711",
    },
    "succeeded": {
        "outcome": "succeeded",
        "evidence": "listed in the provider's settlement report of 21 November",
        "gateway_ref": "re_found_by_hand",
    },
}

APPROVALS: Final[dict[str, Any]] = {"yes": {}, "with_comment": {"comment": "called the customer, all is in order"}}
REJECTION: Final[dict[str, Any]] = {"comment": "the goods were never sent back"}
SENDING_BACK: Final[dict[str, Any]] = {"comment": "please add a photo of the damage"}

BULKS: Final[dict[str, Any]] = {
    "approve": {
        "verdict": "approve",
        "items": [{"refund_id": REFUND_ID, "version": 1}, {"refund_id": SECOND_REFUND_ID, "version": 3}],
    },
    "reject": {
        "verdict": "reject",
        "items": [{"refund_id": REFUND_ID, "version": 1}],
        "comment": "the shop was closed in that week; nobody can have ordered",
    },
}

DELEGATIONS: Final[dict[str, Any]] = {
    "while_on_leave": {
        "delegate": "colleague",
        "roles": ["support_lead"],
        "starts_at": "2026-12-21T00:00:00+01:00",
        "ends_at": "2027-01-04T00:00:00+01:00",
    },
    "for_somebody_else": {
        "owner": "head-of-finance",
        "delegate": "deputy",
        "roles": ["finance"],
        "ends_at": "2026-12-01T00:00:00Z",
    },
}

DISPUTES: Final[dict[str, Any]] = {
    "opened": {
        "payment_id": PAYMENT_ID,
        "gateway_ref": "dp_first",
        "amount_minor": 12000,
        "currency": "EUR",
        "state": "open",
        "reason": "product_not_received",
        "evidence_due_at": "2026-12-07T23:59:59Z",
    },
    "inquiry": {
        "payment_id": PAYMENT_ID,
        "gateway_ref": "dp_question",
        "amount_minor": 12000,
        "currency": "EUR",
        "state": "inquiry",
    },
}
