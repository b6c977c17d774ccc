"""The sandbox's settlement: its bank closes its books, pays out what it holds, and says so line by line.

What happened since the last report stands in the next one: charges with their fee, refunds, what came back, disputes
by the money they moved, and the payout. Each line is told once.
"""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from recoup_core.domain.dispute import FREEZES, DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.ports import ReportedSettlement, SettledLine, SettlementUnreadable
from recoup_plugins.gateways.sandbox_credentials import WalletBooks
from recoup_plugins.gateways.sandbox_rows import new_name
from recoup_plugins.gateways.sandbox_settlement_rows import (
    UNSETTLED_CHARGES,
    UNSETTLED_DISPUTES,
    UNSETTLED_REFUNDS,
    read_file,
    write_file,
)
from recoup_plugins.gateways.sandbox_words import Habits

CHARGE_FEE_PART: Final = 50
"""The bank keeps one fiftieth (2 %) of every charge, rounded down."""

_PLAINLY: Final = Habits()


class SettlementBooks(WalletBooks):
    """The part of the bank that pays out."""

    def settle(self, currency: str = "EUR") -> str:
        """Close the books of one currency, pay out, and tell that a report is ready; return its name."""
        with self._transaction() as db:
            now = self._clock.now()
            self._settle_charges(db)
            self._settle_refunds(db)
            lines = [*_charges(db, currency, now), *_refunds(db, currency, now), *_disputes(db, currency, now)]
            report = _report(lines, currency, now)
            db.execute("INSERT INTO settlement VALUES (?, ?)", [report.report_ref, write_file(report)])
            db.executemany(
                "INSERT INTO settled VALUES (?, ?, ?)",
                [[line.ref, line.operation_ref or line.charge_ref or line.ref, line.kind] for line in lines],
            )
            data = {"report_ref": report.report_ref}
            self._post(db, f"evt_s_{report.report_ref}", "settlement.ready", data, now, _PLAINLY)
        return report.report_ref

    def settlement_file(self, report_ref: str) -> bytes:
        """Return a report as its site lets one download it; raises `SettlementUnreadable` for one there is not."""
        with self._transaction() as db:
            row = db.execute("SELECT body FROM settlement WHERE report_ref = ?", [report_ref]).fetchone()
        if row is None:
            raise SettlementUnreadable("the sandbox has no report of this name")
        return bytes(row[0])

    def settlement(self, report_ref: str) -> ReportedSettlement:
        """Return a report in our words; raises `SettlementUnreadable` for one there is not."""
        return read_file(self.settlement_file(report_ref))


def _charges(db: sqlite3.Connection, currency: str, now: datetime) -> Iterator[SettledLine]:
    for charge_id, attempt_id, reference, amount_minor, created_at in db.execute(UNSETTLED_CHARGES, [currency]):
        yield SettledLine(
            ref=f"charge_{charge_id}",
            kind=SettlementKind.CHARGE,
            amount=Money(amount_minor, currency),
            settled_minor=amount_minor,
            fee_minor=amount_minor // CHARGE_FEE_PART,
            charge_ref=charge_id,
            attempt_id=UUID(attempt_id) if attempt_id else None,
            payment_reference=reference,
            occurred_at=_moment(created_at, now),
        )


def _refunds(db: sqlite3.Connection, currency: str, now: datetime) -> Iterator[SettledLine]:
    for ref, part_id, charge_id, reference, minor, fee, created_at, paid, back in db.execute(
        UNSETTLED_REFUNDS, [currency]
    ):
        for told, kind, settled, kept in (
            (paid, SettlementKind.REFUND, -minor, fee),
            (back, SettlementKind.REFUND_RETURNED, minor, 0),
        ):
            if told:
                yield SettledLine(
                    ref=f"{kind}_{ref}",
                    kind=kind,
                    amount=Money(minor, currency),
                    settled_minor=settled,
                    fee_minor=kept,
                    charge_ref=charge_id,
                    operation_ref=ref,
                    part_id=UUID(part_id) if part_id else None,
                    payment_reference=reference,
                    occurred_at=_moment(created_at, now),
                )


def _disputes(db: sqlite3.Connection, currency: str, now: datetime) -> Iterator[SettledLine]:
    """Tell what a dispute did to the balance since the last report; one that came and went in between did nothing."""
    for ref, charge_id, minor, fee, standing, taken, returned in db.execute(UNSETTLED_DISPUTES, [currency]):
        frozen = DisputeState(standing) in FREEZES
        if frozen == (taken > returned):
            continue
        kind = SettlementKind.DISPUTE if frozen else SettlementKind.DISPUTE_RETURNED
        yield SettledLine(
            ref=f"{kind}_{ref}_{taken + returned + 1}",
            kind=kind,
            amount=Money(minor, currency),
            settled_minor=-minor if frozen else minor,
            fee_minor=fee if frozen else 0,
            charge_ref=charge_id,
            operation_ref=ref,
            occurred_at=now,
        )


def _report(lines: list[SettledLine], currency: str, now: datetime) -> ReportedSettlement:
    name = f"sbs_{new_name()}"
    total = sum(line.settled_minor - line.fee_minor for line in lines)
    payout = SettledLine(
        ref=f"payout_{name}",
        kind=SettlementKind.PAYOUT,
        amount=Money(abs(total), currency),
        settled_minor=-total,
        occurred_at=now,
    )
    return ReportedSettlement(
        report_ref=name,
        currency=currency,
        lines=(*lines, payout) if total else tuple(lines),
        payout_ref=f"po_{name}",
        paid_out_minor=total,
        paid_out_at=now,
    )


def _moment(timestamp: float | None, now: datetime) -> datetime:
    return now if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
