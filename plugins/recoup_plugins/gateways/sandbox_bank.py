"""The sandbox's bank: its own count of money moved, in its own SQLite file, outside Recoup's database.

Tests compare it with Recoup's books, so it must not lie: one row per idempotency key, every send one transaction.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from recoup_core.ports import ChargeRequest, ReportedFailure
from recoup_plugins.gateways.sandbox_books import SHUFFLE_WINDOW_S, KeyReused
from recoup_plugins.gateways.sandbox_odds import declined_at
from recoup_plugins.gateways.sandbox_rows import (
    BY_ATTEMPT,
    BY_KEY,
    INSERT,
    BankCharge,
    PaymentTotal,
    new_name,
    read_charge,
)
from recoup_plugins.gateways.sandbox_script import ScriptedDecline, Step
from recoup_plugins.gateways.sandbox_settlement import SettlementBooks
from recoup_plugins.gateways.sandbox_words import BEFORE


class SandboxBank(SettlementBooks):
    """One bank: its charges here, refunds, disputes and webhooks in the books it is built on."""

    def send(self, request: ChargeRequest, steps: Sequence[Step]) -> tuple[BankCharge, Step]:
        """Do what the script says for this send; the same key moves money once. `KeyReused` if it was another's."""
        with self._transaction() as db:
            now = self._clock.now()
            known = db.execute(BY_KEY, [request.idempotency_key]).fetchone()
            charge = self._again(db, request, known) if known else self._first(db, request, steps, now)
            step = steps[min(charge.step, len(steps) - 1)]
            if charge.state == "unsent" and step.fault_of_send(charge.sends) not in BEFORE:
                charge = self._execute(db, request, charge, step, now)
            return charge, step

    def find(self, attempt_id: str, idempotency_key: str) -> BankCharge | None:
        """Return what became of an attempt; None when the bank never did anything for it."""
        with self._transaction() as db:
            self._settle_charges(db)
            row = db.execute(BY_ATTEMPT, [attempt_id, idempotency_key]).fetchone()
        return read_charge(row) if row else None

    def totals(self) -> Mapping[str, PaymentTotal]:
        """Return the bank's count by payment reference: the truth that Recoup's books are compared with."""
        with self._transaction() as db:
            self._settle_charges(db)
            rows = db.execute(
                "SELECT payment_reference, currency, count(*), sum(sends), sum(state = 'succeeded'),"
                " sum(CASE state WHEN 'succeeded' THEN amount_minor ELSE 0 END)"
                " FROM charge GROUP BY payment_reference, currency ORDER BY payment_reference"
            ).fetchall()
        return {
            reference: PaymentTotal(moved_minor=moved, currency=currency, charges=charges, attempts=keys, sends=sends)
            for reference, currency, keys, sends, charges, moved in rows
        }

    def announce_failure(self, failure: ReportedFailure, decline: ScriptedDecline) -> str:
        """Put a webhook in the outbox that tells of a failed payment nobody at Recoup tried; return its event id."""
        with self._transaction() as db:
            event_id = f"evt_{new_name()}"
            data = {
                "charge_id": f"sbx_{new_name()}",
                "decline": msgspec.to_builtins(decline),
                "failure": msgspec.to_builtins(failure),
            }
            self._post(db, event_id, "charge.failed_elsewhere", data, self._clock.now(), Step())
        return event_id

    def _first(
        self, db: sqlite3.Connection, request: ChargeRequest, steps: Sequence[Step], now: datetime
    ) -> BankCharge:
        step: int = db.execute(
            "SELECT count(*) FROM charge WHERE payment_reference = ? AND token = ?",
            [request.payment_reference, request.token],
        ).fetchone()[0]
        charge = BankCharge(
            charge_id=f"sbx_{new_name()}",
            attempt_id=str(request.attempt_id),
            payment_reference=request.payment_reference,
            amount_minor=request.amount.amount_minor,
            currency=request.amount.currency,
            step=min(step, len(steps) - 1),
            sends=1,
            state="unsent",
            decline=None,
            settle_at=None,
        )
        db.execute(
            INSERT,
            [
                request.idempotency_key,
                now.timestamp(),
                *(getattr(charge, field) for field in BankCharge.__struct_fields__),
                request.token,
            ],
        )
        return charge

    def _again(self, db: sqlite3.Connection, request: ChargeRequest, row: tuple[Any, ...]) -> BankCharge:
        charge, token = read_charge(row), row[-1]
        was = (charge.attempt_id, charge.payment_reference, charge.amount_minor, charge.currency, token)
        amount = request.amount
        same = (str(request.attempt_id), request.payment_reference, amount.amount_minor, amount.currency, request.token)
        if was != same:
            raise KeyReused("idempotency_error: the key was used before with another request")
        db.execute("UPDATE charge SET sends = sends + 1 WHERE idempotency_key = ?", [request.idempotency_key])
        return msgspec.structs.replace(charge, sends=charge.sends + 1)

    def _execute(
        self, db: sqlite3.Connection, request: ChargeRequest, charge: BankCharge, step: Step, now: datetime
    ) -> BankCharge:
        decline = step.decline
        if step.odds is not None:
            code = declined_at(step.odds, charge.payment_reference, now)
            decline = ScriptedDecline(code) if code is not None else None
        final = "declined" if decline is not None else "succeeded"
        settled_at = now + timedelta(seconds=step.pending_s or 0.0)
        done = msgspec.structs.replace(
            charge,
            state=final if step.pending_s is None else "pending",
            decline=decline,
            settle_at=None if step.pending_s is None else settled_at.timestamp(),
        )
        db.execute(
            "UPDATE charge SET state = ?, decline = ?, settle_at = ? WHERE idempotency_key = ?",
            [done.state, decline and msgspec.json.encode(decline), done.settle_at, request.idempotency_key],
        )
        self._tell(db, done, step, now, final, settled_at)
        return done

    def _tell(
        self, db: sqlite3.Connection, charge: BankCharge, step: Step, now: datetime, final: str, settled_at: datetime
    ) -> None:
        """Write the webhooks of one charge; shuffled, "pending" leaves after the result it should precede."""
        data: dict[str, object] = {
            "charge_id": charge.charge_id,
            "attempt_id": charge.attempt_id,
            "payment_reference": charge.payment_reference,
            "amount_minor": charge.amount_minor,
            "currency": charge.currency,
            "decline": msgspec.to_builtins(charge.decline),
        }
        if step.pending_s is not None:
            pending = {**data, "decline": None}
            at = settled_at + timedelta(seconds=SHUFFLE_WINDOW_S) if step.shuffled else now
            self._post(db, f"evt_p_{charge.charge_id}", "charge.pending", pending, at, step)
        self._post(db, f"evt_r_{charge.charge_id}", f"charge.{final}", data, settled_at, step)
