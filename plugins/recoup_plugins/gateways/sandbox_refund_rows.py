"""The rows of the sandbox's bank that are about money going back: what it holds, refunds, disputes, and totals."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from recoup_core.domain.refund import RefundFailure

REFUND_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS holding (
    charge_id TEXT PRIMARY KEY,
    payment_reference TEXT NOT NULL,
    charged_minor INTEGER NOT NULL CHECK (charged_minor > 0),
    currency TEXT NOT NULL,
    script TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('authorized', 'captured', 'voided'))
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refund (
    idempotency_key TEXT PRIMARY KEY,
    refund_id TEXT NOT NULL UNIQUE,
    part_id TEXT,
    charge_id TEXT NOT NULL,
    payment_reference TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    void INTEGER NOT NULL,
    step INTEGER NOT NULL,
    sends INTEGER NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('unsent', 'pending', 'succeeded', 'refused', 'canceled', 'taken_back')),
    failure BLOB,
    fee_minor INTEGER NOT NULL DEFAULT 0,
    settle_at REAL,
    back_at REAL,
    back_failure BLOB,
    created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refund_of_charge ON refund (charge_id);
CREATE INDEX IF NOT EXISTS refund_of_part ON refund (part_id);
CREATE INDEX IF NOT EXISTS refund_pending ON refund (settle_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS refund_coming_back ON refund (back_at) WHERE state = 'succeeded';
CREATE TABLE IF NOT EXISTS dispute (
    dispute_id TEXT PRIMARY KEY,
    charge_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    standing TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence_due_at TEXT,
    fee_minor INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dispute_of_charge ON dispute (charge_id);
"""


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank holds of one charge."""

    charge_id: str
    payment_reference: str
    charged_minor: int
    currency: str
    script: str
    """What happens to its refunds."""
    state: str


class BankRefund(msgspec.Struct, frozen=True, kw_only=True):
    """The bank's row of one refund; one that was made elsewhere has no part of ours."""

    idempotency_key: str
    refund_id: str
    part_id: str | None
    charge_id: str
    payment_reference: str
    amount_minor: int
    currency: str
    void: bool
    step: int
    sends: int
    state: str
    failure: RefundFailure | None = None
    fee_minor: int = 0
    settle_at: float | None = None
    back_at: float | None = None
    back_failure: RefundFailure | None = None


class RefundTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank knows of the refunds of one charge, or of one payment."""

    back_minor: int
    """What went back for good, refunds made elsewhere included; what was taken back is none of it."""
    currency: str
    refunds: int
    """Refunds behind `back_minor`."""
    elsewhere_minor: int
    """What of `back_minor` Recoup did not ask for."""
    pending_minor: int
    taken_back_minor: int
    voided_minor: int
    keys: int
    """Distinct idempotency keys of ours."""
    sends: int


class RefundTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The bank's count of money that went back: the truth that Recoup's books are compared with."""

    by_charge: Mapping[str, RefundTotal]
    by_payment: Mapping[str, RefundTotal]


SELECT_REFUND: Final = (
    "SELECT idempotency_key, refund_id, part_id, charge_id, payment_reference, amount_minor, currency, void, step,"
    " sends, state, failure, fee_minor, settle_at, back_at, back_failure FROM refund"
)
INSERT_REFUND: Final = "INSERT INTO refund VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
"""`BankRefund`'s fields in their order, then the time."""

UPDATE_REFUND: Final = (
    "UPDATE refund SET sends = :sends, state = :state, failure = :failure, fee_minor = :fee_minor,"
    " settle_at = :settle_at, back_at = :back_at, back_failure = :back_failure WHERE idempotency_key = :idempotency_key"
)

TOTALS: Final = """
    SELECT charge_id, max(payment_reference),
        sum(iif(state = 'succeeded' AND NOT void, amount_minor, 0)),
        coalesce(max(iif(state <> 'refused', currency, NULL)), max(currency)),
        sum(state = 'succeeded' AND NOT void),
        sum(iif(state = 'succeeded' AND part_id IS NULL, amount_minor, 0)),
        sum(iif(state = 'pending', amount_minor, 0)),
        sum(iif(state = 'taken_back', amount_minor, 0)),
        sum(iif(state = 'succeeded' AND void, amount_minor, 0)),
        count(part_id),
        sum(iif(part_id IS NULL, 0, sends))
    FROM refund GROUP BY charge_id ORDER BY charge_id
"""
"""The charge, its payment, then `RefundTotal`'s fields in their order."""

_BLOBS: Final = ("failure", "back_failure")


def read_refund(row: tuple[Any, ...]) -> BankRefund:
    """Read a row selected with `SELECT_REFUND`."""
    values = dict(zip(BankRefund.__struct_fields__, row, strict=True))
    for field in _BLOBS:
        blob = values[field]
        values[field] = msgspec.json.decode(blob, type=RefundFailure) if blob is not None else None
    return BankRefund(**{**values, "void": bool(values["void"])})


def refund_values(refund: BankRefund) -> dict[str, Any]:
    """Return the row's columns as SQLite keeps them."""
    values = msgspec.structs.asdict(refund)
    return {**values, **{field: values[field] and msgspec.json.encode(values[field]) for field in _BLOBS}}


def read_totals(rows: Sequence[tuple[Any, ...]]) -> RefundTotals:
    """Read the rows of `TOTALS`; a payment's total is the sum of its charges'."""
    charges: dict[str, RefundTotal] = {}
    payments: dict[str, RefundTotal] = {}
    for charge_id, reference, *numbers in rows:
        total = RefundTotal(**dict(zip(RefundTotal.__struct_fields__, numbers, strict=True)))
        charges[charge_id] = total
        payments[reference] = _sum(payments[reference], total) if reference in payments else total
    return RefundTotals(by_charge=charges, by_payment=payments)


def _sum(one: RefundTotal, other: RefundTotal) -> RefundTotal:
    counted = (field for field in RefundTotal.__struct_fields__ if field != "currency")
    return msgspec.structs.replace(one, **{field: getattr(one, field) + getattr(other, field) for field in counted})
