"""What the sandbox's bank holds of each charge, and what its customers' banks do about it: disputes.

A charge of the bank's own is held once it succeeded; one that a merchant reported (`sbx_reported_...`) is believed at
first sight. What happens here happens "elsewhere": Recoup hears of it by webhook only.
"""

import sqlite3
from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.dispute import FREEZES, DisputeState
from recoup_core.domain.money import Money
from recoup_plugins.gateways.sandbox_books import SandboxBooks
from recoup_plugins.gateways.sandbox_refund_rows import Holding
from recoup_plugins.gateways.sandbox_refund_script import REPORTED, parse_refunds, script_of
from recoup_plugins.gateways.sandbox_rows import new_name
from recoup_plugins.gateways.sandbox_words import Habits

_PLAINLY: Final = Habits()


class NotHeld(Exception):
    """The bank does not know the charge or the dispute, or can't do this with it; nothing was done."""


class HoldingBooks(SandboxBooks):
    """The part of the bank that knows charges by their reference."""

    def hold(self, charge_ref: str, payment_reference: str, charged: Money) -> None:
        """Make a reported charge known before anything is refunded; the script in its reference applies.

        Any other reference than `sbx_reported_...` raises `NotHeld`.
        """
        with self._transaction() as db:
            if self._holding(db, charge_ref, payment_reference, charged) is None:
                raise NotHeld(f"{charge_ref} is no reference of a reported charge ({REPORTED}...)")

    def capture(self, charge_ref: str) -> None:
        """Capture an authorised charge, as a merchant does elsewhere, and tell so; `NotHeld` if it is none."""
        self._move_holding(charge_ref, "captured")

    def void_elsewhere(self, charge_ref: str) -> None:
        """Void an authorised charge, as a merchant does elsewhere, and tell so; `NotHeld` if it is none."""
        self._move_holding(charge_ref, "voided")

    def open_dispute(
        self,
        charge_ref: str,
        amount: Money | None = None,
        *,
        standing: DisputeState = DisputeState.OPEN,
        reason: str = "fraudulent",
        evidence_due_at: datetime | None = None,
        fee_minor: int = 0,
    ) -> str:
        """Let the customer dispute a charge, all of it unless told, and tell so; return the dispute's id."""
        with self._transaction() as db:
            holding = self._known(db, charge_ref)
            disputed = amount or Money(holding.charged_minor, holding.currency)
            dispute_id = f"dsp_{new_name()}"
            due = evidence_due_at.isoformat() if evidence_due_at else None
            row = [dispute_id, charge_ref, disputed.amount_minor, disputed.currency, standing, reason, due, fee_minor]
            db.execute("INSERT INTO dispute VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._tell_dispute(db, dispute_id)
        return dispute_id

    def move_dispute(self, dispute_ref: str, standing: DisputeState) -> None:
        """Let a dispute go on, and tell so."""
        with self._transaction() as db:
            moved = db.execute("UPDATE dispute SET standing = ? WHERE dispute_id = ?", [standing, dispute_ref])
            if moved.rowcount == 0:
                raise NotHeld(f"no dispute {dispute_ref}")
            self._tell_dispute(db, dispute_ref)

    def _holding(
        self, db: sqlite3.Connection, charge_ref: str, payment_reference: str, charged: Money
    ) -> Holding | None:
        """Return what is held of a charge; a reported one is believed; None for one that nobody knows."""
        known = self._find_holding(db, charge_ref)
        if known is not None or not charge_ref.startswith(REPORTED):
            return known
        return self._keep(db, charge_ref, payment_reference, charged, script_of(charge_ref))

    def _known(self, db: sqlite3.Connection, charge_ref: str) -> Holding:
        holding = self._find_holding(db, charge_ref)
        if holding is None:
            raise NotHeld(f"no charge {charge_ref}")
        return holding

    def _find_holding(self, db: sqlite3.Connection, charge_ref: str) -> Holding | None:
        row = db.execute("SELECT * FROM holding WHERE charge_id = ?", [charge_ref]).fetchone()
        if row is not None:
            return Holding(**dict(zip(Holding.__struct_fields__, row, strict=True)))
        self._settle_charges(db)
        charge = db.execute(
            "SELECT payment_reference, amount_minor, currency, token FROM charge"
            " WHERE charge_id = ? AND state = 'succeeded'",
            [charge_ref],
        ).fetchone()
        if charge is None:
            return None
        reference, amount_minor, currency, token = charge
        return self._keep(db, charge_ref, reference, Money(amount_minor, currency), script_of(token))

    def _keep(
        self, db: sqlite3.Connection, charge_ref: str, payment_reference: str, charged: Money, script: str
    ) -> Holding:
        holding = Holding(
            charge_id=charge_ref,
            payment_reference=payment_reference,
            charged_minor=charged.amount_minor,
            currency=charged.currency,
            script=script,
            state="authorized" if parse_refunds(script).authorized else "captured",
        )
        db.execute("INSERT INTO holding VALUES (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(holding))
        return holding

    def _move_holding(self, charge_ref: str, state: str) -> None:
        with self._transaction() as db:
            holding = self._known(db, charge_ref)
            if holding.state != "authorized":
                raise NotHeld(f"the charge {charge_ref} is {holding.state}")
            db.execute("UPDATE holding SET state = ? WHERE charge_id = ?", [state, charge_ref])
            data = {
                "charge_id": charge_ref,
                "payment_reference": holding.payment_reference,
                "amount_minor": holding.charged_minor,
                "currency": holding.currency,
            }
            self._post(db, f"evt_h_{new_name()}", f"charge.{state}", data, self._clock.now(), _PLAINLY)

    def _disputed(self, db: sqlite3.Connection, charge_ref: str) -> bool:
        """Whether money of the charge is frozen: a bank does not pay back what it has taken back."""
        rows = db.execute("SELECT standing FROM dispute WHERE charge_id = ?", [charge_ref]).fetchall()
        return any(DisputeState(standing) in FREEZES for (standing,) in rows)

    def _tell_dispute(self, db: sqlite3.Connection, dispute_id: str) -> None:
        row = db.execute("SELECT * FROM dispute WHERE dispute_id = ?", [dispute_id]).fetchone()
        names = ("dispute_id", "charge_id", "amount_minor", "currency", "standing", "reason", "evidence_due_at")
        data = {**dict(zip(names, row, strict=False)), "fee_minor": row[-1]}
        self._post(db, f"evt_d_{new_name()}", f"dispute.{data['standing']}", data, self._clock.now(), _PLAINLY)

    def _settle_charges(self, db: sqlite3.Connection) -> None:
        """Give pending charges whose time has come their result."""
        db.execute(
            "UPDATE charge SET state = iif(decline IS NULL, 'succeeded', 'declined')"
            " WHERE state = 'pending' AND settle_at <= ?",
            [self._clock.now().timestamp()],
        )
