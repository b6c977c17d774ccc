"""Examples of answers about payments and refunds, by the name of their shape, shown in the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

from recoup_server import examples_settlement as settlement
from recoup_server.examples_refunds import CAPTURED, DISPUTE_ID, PAYMENT_ID, REFUND_ID

_CAPTURE_ID: Final = "0198d5f0-0000-7000-8000-00000000000a"
_LINE_ID: Final = "0198d5f0-0000-7000-8000-00000000000b"
_PART_ID: Final = "0198d5f0-0000-7000-8000-00000000000c"
_DECISION_ID: Final = "0198d5f0-0000-7000-8000-00000000000d"
_APPROVAL_ID: Final = "0198d5f0-0000-7000-8000-00000000000e"
_DELEGATION_ID: Final = "0198d5f0-0000-7000-8000-00000000000f"
_DIGEST: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_ASKED_AT: Final = "2026-11-23T09:00:00Z"
_DECIDE_BY: Final = "2026-11-25T09:00:00Z"
_APPROVED_AT: Final = "2026-11-23T11:30:00Z"

_PAYMENT: Final[dict[str, Any]] = {
    "id": PAYMENT_ID,
    "reference": CAPTURED["reference"],
    "state": "paid",
    "customer": CAPTURED["customer"],
    "amount_minor": 12000,
    "currency": "EUR",
    "captured_minor": 12000,
    "gateway": "sandbox",
    "gateway_ref": CAPTURED["gateway_ref"],
    "method": "card",
    "subscription": {},
    "order_ref": CAPTURED["order_ref"],
    "first_failed_at": None,
    "paid_at": CAPTURED["captured_at"],
    "created_at": "2026-11-20T10:00:02Z",
}

_PAYMENT_DETAIL: Final[dict[str, Any]] = {
    "payment": _PAYMENT,
    "case": None,
    "next_step": None,
    "refundable_minor": 9000,
    "refunded_minor": 0,
}

_DISPUTE: Final[dict[str, Any]] = {
    "id": DISPUTE_ID,
    "payment_id": PAYMENT_ID,
    "capture_id": _CAPTURE_ID,
    "gateway": "sandbox",
    "gateway_ref": "dp_question",
    "amount_minor": 12000,
    "currency": "EUR",
    "state": "inquiry",
    "reason": "product_not_received",
    "evidence_due_at": "2026-12-07T23:59:59Z",
    "opened_at": "2026-11-22T08:00:00Z",
    "closed_at": None,
}

_UPDATE_LINK: Final[dict[str, Any]] = {
    "id": "0198d5f0-0000-7000-8000-000000000010",
    "gateway": "sandbox",
    "url": "https://pages.sandbox.invalid/aaaabbbbccccdddd",
    "pays": True,
    "expires_at": "2026-11-30T09:00:00Z",
}

_BACKUP: Final[dict[str, Any]] = {
    "id": "0198d5f0-0000-7000-8000-000000000011",
    "gateway": "sandbox",
    "method": "card",
    "network": "mastercard",
    "role": "backup",
    "issuer_country": "DE",
    "valid": True,
    "blocked_because": None,
    "renewed_at": None,
    "created_at": "2026-11-23T09:00:01Z",
}

_BLOCKED: Final[dict[str, Any]] = {
    **_BACKUP,
    "id": "0198d5f0-0000-7000-8000-000000000012",
    "network": "visa",
    "role": "primary",
    "valid": False,
    "blocked_because": "disputed",
    "created_at": "2026-11-01T09:00:00Z",
}

_REFUNDABLE: Final[dict[str, Any]] = {
    "payment": _PAYMENT,
    "refundable_minor": 9000,
    "goodwill_left_minor": 12000,
    "refunds": 1,
    "captures": [
        {
            "id": _CAPTURE_ID,
            "gateway": "sandbox",
            "gateway_ref": CAPTURED["gateway_ref"],
            "method": "card",
            "network": "visa",
            "state": "captured",
            "amount_minor": 12000,
            "currency": "EUR",
            "free_minor": 9000,
            "held_minor": 3000,
            "disputed_minor": 0,
            "over_minor": 0,
            "captured_at": CAPTURED["captured_at"],
            "way": "refund",
            "refundable_until": None,
        }
    ],
    "lines": [
        {
            "id": _LINE_ID,
            "number": 1,
            "ref": "shirt",
            "kind": "item",
            "description": "Shirt, blue",
            "quantity": 3,
            "amount_minor": 9000,
            "tax_minor": 1437,
            "left_quantity": 2,
            "left_minor": 6000,
            "left_tax_minor": 958,
        }
    ],
    "disputes": [_DISPUTE],
}

_REFUND: Final[dict[str, Any]] = {
    "id": REFUND_ID,
    "payment_id": PAYMENT_ID,
    "order_ref": None,
    "customer_ref": "customer-815",
    "purpose": "refund",
    "destination": "original_method",
    "amount_minor": 3000,
    "currency": "EUR",
    "refunded_minor": 0,
    "reason": "requested_by_customer",
    "note": "one of three was too small",
    "evidence": [],
    "spread": None,
    "channel": "api",
    "requested_by": "bea",
    "touched_by": ["bea"],
    "state": "in_review",
    "revision": 1,
    "version": 1,
    "policy_name": "consumer",
    "policy_digest": _DIGEST,
    "levels": [["support_lead"]],
    "level": 0,
    "open_roles": ["support_lead"],
    "decide_by": _DECIDE_BY,
    "escalated_at": None,
    "expires_at": "2026-12-07T09:00:00Z",
    "stop_reason": None,
    "answers_dispute_id": None,
    "created_at": _ASKED_AT,
    "approved_at": None,
    "finished_at": None,
}

_APPROVED: Final[dict[str, Any]] = {
    **_REFUND,
    "state": "approved",
    "version": 2,
    "level": 1,
    "open_roles": [],
    "approved_at": _APPROVED_AT,
}

_PART: Final[dict[str, Any]] = {
    "id": _PART_ID,
    "payment_id": PAYMENT_ID,
    "capture_id": _CAPTURE_ID,
    "number": 1,
    "revision": 1,
    "destination": "original_method",
    "gateway": "sandbox",
    "gateway_ref": None,
    "void": False,
    "amount_minor": 3000,
    "currency": "EUR",
    "tax_minor": 479,
    "state": "reserved",
    "failure": None,
    "follows": None,
    "not_before": None,
    "sends": 0,
    "created_at": _ASKED_AT,
    "submitted_at": None,
    "finished_at": None,
}

_LINE: Final[dict[str, Any]] = {
    "payment_id": PAYMENT_ID,
    "payment_line_id": _LINE_ID,
    "line": "shirt",
    "quantity": 1,
    "amount_minor": 3000,
    "tax_minor": 479,
}

_REVIEW: Final[dict[str, Any]] = {
    "type": "review",
    "levels": [["support_lead"]],
    "decide_by": _DECIDE_BY,
    "escalate_to": ["finance"],
    "expires_at": "2026-12-07T09:00:00Z",
}

_EXPLANATION: Final[dict[str, Any]] = {
    "policy": "consumer",
    "digest": _DIGEST,
    "rule": "one approver",
    "rules": [
        {
            "rule": "one approver",
            "line": 79,
            "verdict": "true",
            "fired": True,
            "conditions": [
                {
                    "fact": "amount",
                    "path": "amount.lte",
                    "line": 80,
                    "operator": "lte",
                    "expected": ["500.00 EUR"],
                    "actual": "30.00 EUR",
                    "verdict": "true",
                }
            ],
        }
    ],
    "actions": [{"action": "review", "applied": True, "because": ["all levels decide, in order: support_lead"]}],
    "reason": {"given": "requested_by_customer", "listed": True, "allowed": [], "evidence": [], "missing": []},
    "bounds": [],
}

_DECISION: Final[dict[str, Any]] = {
    "id": _DECISION_ID,
    "kind": "refund",
    "policy_digest": _DIGEST,
    "rule": "one approver",
    "facts": {"amount": {"amount_minor": 3000, "currency": "EUR"}, "reason": "requested_by_customer", "age_days": 3},
    "outcome": _REVIEW,
    "explanation": _EXPLANATION,
    "decided_at": _ASKED_AT,
}

_APPROVAL: Final[dict[str, Any]] = {
    "id": _APPROVAL_ID,
    "revision": 1,
    "level": 0,
    "role": "support_lead",
    "principal": "anna",
    "on_behalf_of": None,
    "verdict": "approve",
    "comment": "called the customer, all is in order",
    "channel": "api",
    "decided_at": _APPROVED_AT,
}

_DETAIL: Final[dict[str, Any]] = {
    "refund": _REFUND,
    "reference": CAPTURED["reference"],
    "parts": [_PART],
    "lines": [_LINE],
    "approvals": [],
    "decision": _DECISION,
    "open_tasks": [],
}

_SCHEDULED: Final[dict[str, Any]] = {**_PART, "state": "scheduled"}

_TIMELINE: Final[dict[str, Any]] = {
    "refund": _APPROVED,
    "entries": [
        {"at": _ASKED_AT, "kind": "decision", "future": False, "decision": _DECISION, "approval": None, "part": None},
        {
            "at": _APPROVED_AT,
            "kind": "approval",
            "future": False,
            "decision": None,
            "approval": _APPROVAL,
            "part": None,
        },
        {"at": _ASKED_AT, "kind": "part", "future": True, "decision": None, "approval": None, "part": _SCHEDULED},
    ],
    "events": [
        {
            "id": 4711,
            "at": _APPROVED_AT,
            "kind": "refund.approved",
            "actor": "key:anna",
            "case_id": None,
            "payment_id": PAYMENT_ID,
            "attempt_id": None,
            "refund_id": REFUND_ID,
            "correlation_id": "ticket-4711",
            "data": {"amount_minor": 3000, "currency": "EUR", "reference": CAPTURED["reference"]},
        }
    ],
}

_PREVIEW: Final[dict[str, Any]] = {
    "outcome": _REVIEW,
    "rule": "one approver",
    "explanation": _EXPLANATION,
    "refundable_minor": 12000,
    "parts": [
        {
            "payment_id": PAYMENT_ID,
            "capture_id": _CAPTURE_ID,
            "destination": "original_method",
            "gateway": "sandbox",
            "void": False,
            "amount_minor": 3000,
            "currency": "EUR",
            "tax_minor": 479,
        }
    ],
    "lines": [_LINE],
}

_WAITING: Final[dict[str, Any]] = {
    "refund": _REFUND,
    "reference": CAPTURED["reference"],
    "waits_for": ["support_lead"],
    "own": False,
    "on_behalf_of": ["anna"],
    "decide_by": _DECIDE_BY,
    "escalated": False,
}

_CONFLICT: Final[dict[str, Any]] = {
    "type": "urn:recoup:problem:version_conflict",
    "title": "Version conflict",
    "status": 412,
    "detail": "the refund has changed since: it is at version 4, not 3; read it again",
    "code": "version_conflict",
    "correlation_id": "ticket-4711",
    "field": "If-Match",
}

_BULK: Final[dict[str, Any]] = {
    "decided": 1,
    "refused": 1,
    "items": [
        {"refund_id": REFUND_ID, "ok": True, "refund": _APPROVED, "problem": None},
        {"refund_id": "0198d5f0-0000-7000-8000-000000000004", "ok": False, "refund": None, "problem": _CONFLICT},
    ],
}

_DELEGATION: Final[dict[str, Any]] = {
    "id": _DELEGATION_ID,
    "owner": "anna",
    "delegate": "colleague",
    "roles": ["support_lead"],
    "starts_at": "2026-12-20T23:00:00Z",
    "ends_at": "2027-01-03T23:00:00Z",
    "created_by": "anna",
    "created_at": _ASKED_AT,
    "revoked_at": None,
}


def _page(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"items": [item], "next_cursor": None}


ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "PaymentDetail": {"collected": _PAYMENT_DETAIL},
    "PaymentPage": {"one": _page(_PAYMENT_DETAIL)},
    "RefundableOut": {"one_shirt_waits": _REFUNDABLE},
    "RefundDetail": {
        "in_review": _DETAIL,
        "approved": {**_DETAIL, "refund": _APPROVED, "parts": [_SCHEDULED], "approvals": [_APPROVAL]},
    },
    "RefundPage": {"one": _page(_REFUND)},
    "RefundTimelineOut": {"approved": _TIMELINE},
    "PreviewOut": {"one_approver": _PREVIEW},
    "WaitingPage": {"lent_role": _page(_WAITING)},
    "BulkOut": {"one_had_changed": _BULK},
    "DelegationOut": {"while_on_leave": _DELEGATION},
    "DelegationPage": {"one": _page(_DELEGATION)},
    **settlement.ANSWERS,
    "DisputeOut": {"inquiry": _DISPUTE},
    "DisputePage": {"one": _page(_DISPUTE)},
    "UpdateLinkOut": {"pays": _UPDATE_LINK},
    "CredentialList": {"backup_took_over": {"items": [_BACKUP, _BLOCKED]}},
}
"""By the name of the answer's shape: what a caller may get."""
