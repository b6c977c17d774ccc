"""The rows of the sandbox's bank that are about settlement, and its report as a file."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.ports import ReportedSettlement, SettledLine, SettlementUnreadable

SETTLEMENT_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS settlement (
    report_ref TEXT PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (
    line_ref TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS settled_of ON settled (subject, kind);
"""

UNSETTLED_CHARGES: Final = """
    SELECT c.charge_id, c.attempt_id, c.payment_reference, c.amount_minor, c.created_at FROM charge c
    WHERE c.state = 'succeeded' AND c.currency = ?1
      AND NOT EXISTS (SELECT 1 FROM holding h WHERE h.charge_id = c.charge_id AND h.state <> 'captured')
      AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.line_ref = 'charge_' || c.charge_id)
    UNION ALL
    SELECT h.charge_id, NULL, h.payment_reference, h.charged_minor, NULL FROM holding h
    WHERE h.state = 'captured' AND h.currency = ?1
      AND NOT EXISTS (SELECT 1 FROM charge c WHERE c.charge_id = h.charge_id)
      AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.line_ref = 'charge_' || h.charge_id)
    ORDER BY 1"""

UNSETTLED_REFUNDS: Final = """
    SELECT r.refund_id, r.part_id, r.charge_id, r.payment_reference, r.amount_minor, r.fee_minor, r.created_at,
        NOT EXISTS (SELECT 1 FROM settled s WHERE s.line_ref = 'refund_' || r.refund_id),
        r.state = 'taken_back'
            AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.line_ref = 'refund_returned_' || r.refund_id)
    FROM refund r WHERE r.state IN ('succeeded', 'taken_back') AND NOT r.void AND r.currency = ?1 ORDER BY 1"""

UNSETTLED_DISPUTES: Final = """
    SELECT d.dispute_id, d.charge_id, d.amount_minor, d.fee_minor, d.standing,
        (SELECT count(*) FROM settled s WHERE s.subject = d.dispute_id AND s.kind = 'dispute'),
        (SELECT count(*) FROM settled s WHERE s.subject = d.dispute_id AND s.kind = 'dispute_returned')
    FROM dispute d WHERE d.currency = ?1 ORDER BY 1"""


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ref: str
    kind: SettlementKind
    amount_minor: int
    currency: str
    settled_minor: int
    fee_minor: int = 0
    charge_ref: str | None = None
    operation_ref: str | None = None
    attempt_id: UUID | None = None
    part_id: UUID | None = None
    payment_reference: str | None = None
    occurred_at: datetime


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    report_ref: str
    currency: str
    payout_ref: str
    paid_out_minor: int
    paid_out_at: datetime
    lines: list[_Line]


def write_file(report: ReportedSettlement) -> bytes:
    """Return a report as the sandbox's site lets one download it: JSON, one object."""
    lines = [
        _Line(
            ref=line.ref,
            kind=line.kind,
            amount_minor=line.amount.amount_minor,
            currency=line.amount.currency,
            settled_minor=line.settled_minor,
            fee_minor=line.fee_minor,
            charge_ref=line.charge_ref,
            operation_ref=line.operation_ref,
            attempt_id=line.attempt_id,
            part_id=line.part_id,
            payment_reference=line.payment_reference,
            occurred_at=line.occurred_at,
        )
        for line in report.lines
    ]
    assert report.paid_out_at is not None  # the bank says when
    file = _File(
        report_ref=report.report_ref,
        currency=report.currency,
        payout_ref=report.payout_ref or report.report_ref,
        paid_out_minor=report.paid_out_minor or 0,
        paid_out_at=report.paid_out_at,
        lines=lines,
    )
    return msgspec.json.encode(file)


def read_file(content: bytes) -> ReportedSettlement:
    """Read such a file; raises `SettlementUnreadable`."""
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
        raise SettlementUnreadable(f"it is no report of the sandbox: {wrong}") from None
    return ReportedSettlement(
        report_ref=file.report_ref,
        currency=file.currency,
        payout_ref=file.payout_ref,
        paid_out_minor=file.paid_out_minor,
        paid_out_at=file.paid_out_at,
        lines=tuple(
            SettledLine(
                ref=line.ref,
                kind=line.kind,
                amount=Money(line.amount_minor, line.currency),
                settled_minor=line.settled_minor,
                fee_minor=line.fee_minor,
                charge_ref=line.charge_ref,
                operation_ref=line.operation_ref,
                attempt_id=line.attempt_id,
                part_id=line.part_id,
                payment_reference=line.payment_reference,
                occurred_at=line.occurred_at,
            )
            for line in file.lines
        ),
    )
