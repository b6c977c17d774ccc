"""The sandbox's bank: its own count of money moved, in its own SQLite file, outside Recoup's database.

Tests compare it with Recoup's books, so it must not lie: one row per idempotency key, every send one transaction.
Safe across threads, processes and kill -9 (write-ahead log; a killed writer's transaction is rolled back by the next
one). With `durable` it survives a power cut, too, at a tenth of the speed.
"""

import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from recoup_core.ports import ChargeRequest, Clock, ReportedFailure, SystemClock
from recoup_plugins.gateways.sandbox_odds import declined_at
from recoup_plugins.gateways.sandbox_rows import (
    BY_ATTEMPT,
    BY_KEY,
    INSERT,
    SCHEMA,
    BankCharge,
    Delivery,
    PaymentTotal,
    new_name,
    read_charge,
)
from recoup_plugins.gateways.sandbox_script import BEFORE, ScriptedDecline, Step

LOCK_WAIT_S: Final = 10.0
"""How long one process waits for another's transaction, which takes well under a millisecond."""

SHUFFLE_WINDOW_S: Final = 2.0
"""Shuffled webhooks leave at a random moment of this window."""


class KeyReused(Exception):
    """The same idempotency key came with another request, as Stripe's `idempotency_error`; nothing was done."""


class SandboxBank:
    """One bank. `path=None` is a private one in memory; objects with one path, in any process, are one bank."""

    def __init__(self, path: str | None = None, *, durable: bool = False, clock: Clock | None = None) -> None:
        self._path = path or ":memory:"
        self._durable = durable
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

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
            self._settle(db)
            row = db.execute(BY_ATTEMPT, [attempt_id, idempotency_key]).fetchone()
        return read_charge(row) if row else None

    def totals(self) -> Mapping[str, PaymentTotal]:
        """Return the bank's count by payment reference: the truth that Recoup's books are compared with."""
        with self._transaction() as db:
            self._settle(db)
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

    def due_deliveries(self, limit: int) -> Sequence[Delivery]:
        """Return at most `limit` webhooks that are due, the earliest first."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT id, event_id, body, copies, tries FROM outbox WHERE state = 'waiting' AND due_at <= ?"
                " ORDER BY due_at, id LIMIT ?",
                [self._clock.now().timestamp(), limit],
            ).fetchall()
        return [Delivery(id=i, event_id=e, body=bytes(b), copies=c, tries=t) for i, e, b, c, t in rows]

    def record_delivery(self, delivery: Delivery, *, delivered: bool, retry_in: timedelta | None) -> None:
        """Note how a delivery went; without `retry_in` a failed one is given up."""
        state = "delivered" if delivered else "waiting" if retry_in is not None else "given_up"
        due_at = (self._clock.now() + (retry_in or timedelta())).timestamp()
        with self._transaction() as db:
            db.execute(
                "UPDATE outbox SET state = ?, tries = tries + 1, due_at = ? WHERE id = ?", [state, due_at, delivery.id]
            )

    def waiting_deliveries(self) -> int:
        """Return how many webhooks are still to be delivered, due or not."""
        with self._transaction() as db:
            count: int = db.execute("SELECT count(*) FROM outbox WHERE state = 'waiting'").fetchone()[0]
        return count

    def close(self) -> None:
        """Close the file; a private bank forgets everything."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

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

    def _post(
        self, db: sqlite3.Connection, event_id: str, kind: str, data: Mapping[str, object], at: datetime, step: Step
    ) -> None:
        body = {"id": event_id, "type": kind, "created": at.isoformat(), "data": data}
        due_at = at.timestamp() + step.webhook_late_s
        if step.shuffled:
            due_at += secrets.randbelow(1000) / 1000 * SHUFFLE_WINDOW_S
        db.execute(
            "INSERT INTO outbox (event_id, body, due_at, copies) VALUES (?, ?, ?, ?)",
            [event_id, msgspec.json.encode(body), due_at, step.webhook_copies],
        )

    def _settle(self, db: sqlite3.Connection) -> None:
        """Give pending charges whose time has come their result."""
        db.execute(
            "UPDATE charge SET state = iif(decline IS NULL, 'succeeded', 'declined')"
            " WHERE state = 'pending' AND settle_at <= ?",
            [self._clock.now().timestamp()],
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: IMMEDIATE, so that it waits for its turn at the start and never fails in the midst."""
        with self._lock:
            db = self._connection = self._connection or self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        """Open on first use: a gateway is made without I/O."""
        db = sqlite3.connect(self._path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        db.executescript(SCHEMA)
        return db
