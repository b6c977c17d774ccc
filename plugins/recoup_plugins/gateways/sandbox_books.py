"""The file behind the sandbox's bank: transactions, and the webhooks that are written within them.

Safe across threads, processes and kill -9 (write-ahead log; a killed writer's transaction is rolled back by the next
one). With `durable` it survives a power cut, too, at a tenth of the speed.
"""

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from recoup_core.ports import Clock, SystemClock
from recoup_plugins.gateways.sandbox_refund_rows import REFUND_SCHEMA
from recoup_plugins.gateways.sandbox_rows import SCHEMA, Delivery
from recoup_plugins.gateways.sandbox_settlement_rows import SETTLEMENT_SCHEMA
from recoup_plugins.gateways.sandbox_words import Habits

LOCK_WAIT_S: Final = 10.0
"""How long one process waits for another's transaction, which takes well under a millisecond."""

OPEN_AGAIN_S: Final = 0.02
"""How long a process that came second to open a new file waits before it comes again."""

SHUFFLE_WINDOW_S: Final = 2.0
"""Shuffled webhooks leave at a random moment of this window."""


class KeyReused(Exception):
    """The same idempotency key came with another request, as Stripe's `idempotency_error`; nothing was done."""


class SandboxBooks:
    """One file. `path=None` is a private one in memory; objects with one path, in any process, are one bank."""

    def __init__(self, path: str | None = None, *, durable: bool = False, clock: Clock | None = None) -> None:
        self._path = path or ":memory:"
        self._durable = durable
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

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

    def _post(
        self, db: sqlite3.Connection, event_id: str, kind: str, data: Mapping[str, object], at: datetime, how: Habits
    ) -> None:
        """Put a webhook in the outbox, to leave at the given time."""
        body = {"id": event_id, "type": kind, "created": at.isoformat(), "data": data}
        due_at = at.timestamp() + how.webhook_late_s
        if how.shuffled:
            due_at += secrets.randbelow(1000) / 1000 * SHUFFLE_WINDOW_S
        db.execute(
            "INSERT INTO outbox (event_id, body, due_at, copies) VALUES (?, ?, ?, ?)",
            [event_id, msgspec.json.encode(body), due_at, how.webhook_copies],
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
        """Open on first use: a gateway is made without I/O.

        Of several processes that open a new file at once, SQLite lets one switch it to WAL and refuses the others
        without waiting, whatever the time limit: those come again.
        """
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            db = sqlite3.connect(self._path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
                db.executescript(SCHEMA + REFUND_SCHEMA + SETTLEMENT_SCHEMA)
            except sqlite3.OperationalError:
                db.close()
                if time.monotonic() >= until:
                    raise
                time.sleep(OPEN_AGAIN_S)
            else:
                return db
