"""Examples of bodies about settlement, and of its answers by the name of their shape."""

from collections.abc import Mapping
from typing import Any, Final

REPORT_ID: Final = "0198d5f0-0000-7000-8000-000000000101"
EXCEPTION_ID: Final = "0198d5f0-0000-7000-8000-000000000102"
LINE_ID: Final = "0198d5f0-0000-7000-8000-000000000103"

UNKNOWN_CHARGE_CSV: Final = """\
recoup-settlement,1
report_ref,settlement_2026_11_20
currency,EUR
payout_ref,po_2026_11_21
paid_out,116.40
paid_out_at,2026-11-21T06:00:00Z

line_ref,kind,amount,currency,settled,fee,charge_ref,payment_reference,occurred_at
txn_1,charge,120.00,EUR,120.00,3.60,ch_1,INV-2026-1042,2026-11-20T10:00:00Z
"""
"""A report in our own format; it is also the one that docs/settlement.md shows."""

FETCH: Final[dict[str, Any]] = {"gateway": "sandbox", "report_ref": "settlement_2026_11_20"}
ASSIGN: Final[dict[str, Any]] = {"owner": "maria"}
RESOLVE: Final[dict[str, Any]] = {
    "evidence": "The charge belongs to the web shop's own orders; its ledger has it as order 4711."
}

_REPORT: Final[dict[str, Any]] = {
    "id": REPORT_ID,
    "gateway": "sandbox",
    "report_ref": "settlement_2026_11_20",
    "currency": "EUR",
    "payout_ref": "po_2026_11_21",
    "paid_out_minor": 96800,
    "paid_out_at": "2026-11-21T06:00:00Z",
    "lines": 14,
    "borrowed": 0,
    "earned_minor": 96800,
    "payouts_minor": -96800,
    "adds_up": True,
    "received_at": "2026-11-21T08:00:00Z",
}
_LINE: Final[dict[str, Any]] = {
    "id": LINE_ID,
    "report_id": REPORT_ID,
    "number": 1,
    "ref": "txn_1",
    "kind": "charge",
    "amount_minor": 12000,
    "currency": "EUR",
    "settled_minor": 12000,
    "settled_currency": "EUR",
    "fee_minor": 360,
    "charge_refs": ["ch_1"],
    "operation_ref": None,
    "payment_reference": "INV-2026-1042",
    "occurred_at": "2026-11-20T10:00:00Z",
    "description": "",
    "state": "unmatched",
    "payment_id": None,
    "capture_id": None,
    "part_id": None,
    "dispute_id": None,
}
_EXCEPTION: Final[dict[str, Any]] = {
    "id": EXCEPTION_ID,
    "gateway": "sandbox",
    "kind": "unknown_charge",
    "reason": "sandbox line txn_1 (charge of 120.00 EUR): nobody has told of this charge",
    "report_id": REPORT_ID,
    "line_id": LINE_ID,
    "payment_id": None,
    "amount_minor": 12000,
    "currency": "EUR",
    "owner": "finance",
    "opened_at": "2026-11-21T08:00:02Z",
    "age_s": 86400,
    "resolved_at": None,
    "resolved_by": None,
    "resolution": None,
}


def _page(item: dict[str, Any]) -> dict[str, Any]:
    return {"items": [item], "next_cursor": None}


ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "FetchOut": {"soon": FETCH},
    "ReportPage": {"one": _page(_REPORT)},
    "ReportDetailOut": {"one_unknown_charge": {"report": _REPORT, "waiting": 0, "matched": 13, "unmatched": 1}},
    "ImportOut": {"new": {"report": _REPORT, "fresh_lines": 14, "known": False}},
    "LinePage": {"one": _page(_LINE)},
    "ExceptionPage": {"one": _page(_EXCEPTION)},
    "ExceptionOut": {"unknown_charge": _EXCEPTION},
}
"""By the name of the answer's shape: what a caller may get."""
