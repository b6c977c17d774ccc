"""The sandbox's refunds: the bank's own count of money that went back, one row per idempotency key.

Never more goes back than was charged, whoever asks: the bank refuses by itself, inside the transaction that would
have moved the money.
"""

import sqlite3
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.refund import RefundFailure
from recoup_core.ports import RefundRequest
from recoup_plugins.gateways.sandbox_books import SHUFFLE_WINDOW_S, KeyReused
from recoup_plugins.gateways.sandbox_holdings import HoldingBooks, NotHeld
from recoup_plugins.gateways.sandbox_refund_rows import (
    INSERT_REFUND,
    SELECT_REFUND,
    TOTALS,
    UPDATE_REFUND,
    BankRefund,
    Holding,
    RefundTotals,
    read_refund,
    read_totals,
    refund_values,
)
from recoup_plugins.gateways.sandbox_refund_script import TAKEN_BACK, RefundStep, failure_of, parse_refunds, script_of
from recoup_plugins.gateways.sandbox_rows import new_name
from recoup_plugins.gateways.sandbox_words import BEFORE

_PLAINLY: Final = RefundStep()


class RefundBooks(HoldingBooks):
    """The part of the bank that gives money back."""

    def refund(self, request: RefundRequest) -> tuple[BankRefund, RefundStep]:
        """Do what the charge's script says for this send; the same key moves money once, or raises `KeyReused`."""
        with self._transaction() as db:
            now = self._clock.now()
            self._settle_refunds(db)
            holding = self._holding(db, request.charge_ref, request.payment_reference, request.charged)
            row = db.execute(f"{SELECT_REFUND} WHERE idempotency_key = ?", [request.idempotency_key]).fetchone()
            refund = self._sent_again(db, request, read_refund(row)) if row else self._first_send(db, request, now)
            step = parse_refunds(holding.script if holding else script_of(request.charge_ref)).step(refund.step)
            if refund.state == "unsent" and step.fault_of_send(refund.sends) not in BEFORE:
                refund = self._give_back(db, holding, refund, step, now)
            return refund, step

    def find_refund(self, part_id: str, idempotency_key: str) -> BankRefund | None:
        """Return what became of a part; None when the bank never did anything for it."""
        with self._transaction() as db:
            return self._find_refund(db, part_id, idempotency_key)

    def cancel_refund(self, part_id: str, idempotency_key: str) -> BankRefund | None:
        """Cancel a refund that is still pending; return it as it stands then, None if the bank has none."""
        with self._transaction() as db:
            refund = self._find_refund(db, part_id, idempotency_key)
            if refund is None or refund.state != "pending":
                return refund
            canceled = self._change(db, refund, state="canceled", settle_at=None, back_at=None)
            self._unpost(db, refund)
            self._tell_refund(db, canceled, "canceled", self._clock.now(), _PLAINLY)
            return canceled

    def refund_elsewhere(self, charge_ref: str, amount: Money) -> str:
        """Refund without Recoup, as from a dashboard, and tell so; return the refund's id. `NotHeld` if it can't."""
        with self._transaction() as db:
            now = self._clock.now()
            self._settle_refunds(db)
            holding = self._known(db, charge_ref)
            name = new_name()
            refund = BankRefund(
                idempotency_key=f"elsewhere_{name}",
                refund_id=f"sbr_{name}",
                part_id=None,
                charge_id=charge_ref,
                payment_reference=holding.payment_reference,
                amount_minor=amount.amount_minor,
                currency=amount.currency,
                void=False,
                step=0,
                sends=1,
                state="succeeded",
            )
            failure = self._refusal(db, holding, refund)
            if failure is not None:
                raise NotHeld(f"the bank refuses: {failure.code}")
            db.execute(INSERT_REFUND, [*refund_values(refund).values(), now.timestamp()])
            self._tell_refund(db, refund, "succeeded", now, _PLAINLY)
        return refund.refund_id

    def take_back(self, refund_ref: str, code: str = TAKEN_BACK) -> None:
        """Let a refund that succeeded come back to the merchant, and tell so; `NotHeld` if there is none."""
        with self._transaction() as db:
            now = self._clock.now()
            self._settle_refunds(db)
            row = db.execute(f"{SELECT_REFUND} WHERE refund_id = ?", [refund_ref]).fetchone()
            refund = read_refund(row) if row else None
            if refund is None or refund.state != "succeeded" or refund.void:
                raise NotHeld(f"no refund {refund_ref} that could come back")
            back = self._change(db, refund, state="taken_back", back_at=now.timestamp(), back_failure=failure_of(code))
            db.execute("DELETE FROM outbox WHERE event_id = ?", [f"evt_b_{refund_ref}"])
            self._tell_refund(db, back, "taken_back", now, _PLAINLY)

    def refund_totals(self) -> RefundTotals:
        """Return the bank's count by charge and by payment reference."""
        with self._transaction() as db:
            self._settle_refunds(db)
            return read_totals(db.execute(TOTALS).fetchall())

    def _first_send(self, db: sqlite3.Connection, request: RefundRequest, now: datetime) -> BankRefund:
        before: int = db.execute(
            "SELECT count(*) FROM refund WHERE charge_id = ? AND part_id IS NOT NULL", [request.charge_ref]
        ).fetchone()[0]
        refund = BankRefund(
            idempotency_key=request.idempotency_key,
            refund_id=f"sbr_{new_name()}",
            part_id=str(request.part_id),
            charge_id=request.charge_ref,
            payment_reference=request.payment_reference,
            amount_minor=request.amount.amount_minor,
            currency=request.amount.currency,
            void=request.void,
            step=before,
            sends=1,
            state="unsent",
        )
        db.execute(INSERT_REFUND, [*refund_values(refund).values(), now.timestamp()])
        return refund

    def _sent_again(self, db: sqlite3.Connection, request: RefundRequest, refund: BankRefund) -> BankRefund:
        was = (refund.part_id, refund.charge_id, Money(refund.amount_minor, refund.currency), refund.void)
        if was != (str(request.part_id), request.charge_ref, request.amount, request.void):
            raise KeyReused("idempotency_error: the key was used before with another request")
        return self._change(db, refund, sends=refund.sends + 1)

    def _give_back(
        self, db: sqlite3.Connection, holding: Holding | None, refund: BankRefund, step: RefundStep, now: datetime
    ) -> BankRefund:
        own = self._refusal(db, holding, refund)
        failure = own or step.failure
        waits = step.pending_s is not None and own is None and not refund.void  # the bank's own no is said at once
        settled_at = now + timedelta(seconds=step.pending_s or 0.0)
        back_at = settled_at + timedelta(seconds=step.taken_back_s or 0.0)
        comes_back = failure is None and step.taken_back is not None
        final = "succeeded" if failure is None else "refused"
        done = self._change(
            db,
            refund,
            state="pending" if waits else final,
            failure=failure,
            fee_minor=step.fee_minor,
            settle_at=settled_at.timestamp() if waits else None,
            back_at=back_at.timestamp() if comes_back else None,
            back_failure=step.taken_back if comes_back else None,
        )
        if refund.void and final == "succeeded":
            db.execute("UPDATE holding SET state = 'voided' WHERE charge_id = ?", [refund.charge_id])
        if waits:
            last = timedelta(seconds=SHUFFLE_WINDOW_S)  # shuffled, "pending" leaves after what it should precede
            self._tell_refund(db, done, "pending", settled_at + last if step.shuffled else now, step)
        self._tell_refund(db, done, final, settled_at, step)
        if comes_back:
            self._tell_refund(db, done, "taken_back", back_at, step)
        return done

    def _refusal(self, db: sqlite3.Connection, holding: Holding | None, refund: BankRefund) -> RefundFailure | None:
        """Return why the bank itself does not do it, whatever the script says; None when it can."""
        if holding is None:
            return failure_of("resource_missing")
        if refund.currency != holding.currency:
            return failure_of("currency_mismatch", "configuration")
        if holding.state == "voided":
            return failure_of("charge_already_refunded")
        if refund.void and holding.state == "captured":
            return failure_of("charge_already_captured")
        if refund.void:
            return None if refund.amount_minor == holding.charged_minor else failure_of("parameter_invalid_integer")
        if holding.state == "authorized":
            return failure_of("charge_not_captured")
        if self._disputed(db, holding.charge_id):
            return failure_of("charge_disputed")
        gone: int = db.execute(
            "SELECT coalesce(sum(amount_minor), 0) FROM refund"
            " WHERE charge_id = ? AND state IN ('pending', 'succeeded')",
            [holding.charge_id],
        ).fetchone()[0]
        return failure_of("charge_already_refunded") if gone + refund.amount_minor > holding.charged_minor else None

    def _find_refund(self, db: sqlite3.Connection, part_id: str, idempotency_key: str) -> BankRefund | None:
        self._settle_refunds(db)
        row = db.execute(
            f"{SELECT_REFUND} WHERE (part_id = ? OR idempotency_key = ?) AND state <> 'unsent'",
            [part_id, idempotency_key],
        ).fetchone()
        return read_refund(row) if row else None

    def _settle_refunds(self, db: sqlite3.Connection) -> None:
        """Give pending refunds whose time has come their result, and take back what comes back by now."""
        now = self._clock.now().timestamp()
        db.execute(
            "UPDATE refund SET state = iif(failure IS NULL, 'succeeded', 'refused')"
            " WHERE state = 'pending' AND settle_at <= ?",
            [now],
        )
        db.execute("UPDATE refund SET state = 'taken_back' WHERE state = 'succeeded' AND back_at <= ?", [now])

    def _change(self, db: sqlite3.Connection, refund: BankRefund, **changes: Any) -> BankRefund:
        changed = msgspec.structs.replace(refund, **changes)
        db.execute(UPDATE_REFUND, refund_values(changed))
        return changed

    def _tell_refund(
        self, db: sqlite3.Connection, refund: BankRefund, kind: str, at: datetime, step: RefundStep
    ) -> None:
        failure = {"refused": refund.failure, "taken_back": refund.back_failure}.get(kind)
        data: dict[str, object] = {
            "refund_id": refund.refund_id,
            "part_id": refund.part_id,
            "charge_id": refund.charge_id,
            "payment_reference": refund.payment_reference,
            "amount_minor": refund.amount_minor,
            "currency": refund.currency,
            "fee_minor": refund.fee_minor,
            "refund_failure": msgspec.to_builtins(failure),
        }
        letter = {"pending": "p", "taken_back": "b", "canceled": "c"}.get(kind, "r")
        self._post(db, f"evt_{letter}_{refund.refund_id}", f"refund.{kind}", data, at, step)

    def _unpost(self, db: sqlite3.Connection, refund: BankRefund) -> None:
        """Take back the webhooks of a result that will not come."""
        ids = [f"evt_{letter}_{refund.refund_id}" for letter in "rb"]
        db.execute("DELETE FROM outbox WHERE event_id IN (?, ?) AND state = 'waiting'", ids)
