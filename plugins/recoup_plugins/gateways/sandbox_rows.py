"""The rows of the sandbox's bank: its SQLite schema, and its charges, totals and webhooks as values."""

from typing import Any, Final

import msgspec

from recoup_core.domain.ids import new_id
from recoup_plugins.gateways.sandbox_script import ScriptedDecline

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS charge (
    idempotency_key TEXT PRIMARY KEY,
    attempt_id TEXT NOT NULL,
    charge_id TEXT NOT NULL UNIQUE,
    payment_reference TEXT NOT NULL,
    token TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    step INTEGER NOT NULL,
    sends INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('unsent', 'pending', 'succeeded', 'declined')),
    decline BLOB,
    settle_at REAL,
    created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS charge_of_payment ON charge (payment_reference, token);
CREATE INDEX IF NOT EXISTS charge_of_attempt ON charge (attempt_id);
CREATE INDEX IF NOT EXISTS charge_pending ON charge (settle_at) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    due_at REAL NOT NULL,
    copies INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up'))
);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_at) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS wallet (
    position INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    gateway_customer TEXT NOT NULL,
    stored BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS wallet_of_customer ON wallet (gateway_customer);
CREATE TABLE IF NOT EXISTS page (
    idempotency_key TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    pays INTEGER NOT NULL,
    expires_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hosted_page (
    name TEXT PRIMARY KEY,
    page BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asking (
    gateway_customer TEXT NOT NULL,
    what TEXT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (gateway_customer, what)
) WITHOUT ROWID;
"""


class BankCharge(msgspec.Struct, frozen=True, kw_only=True):
    """The bank's row of one attempt."""

    charge_id: str
    attempt_id: str
    payment_reference: str
    amount_minor: int
    currency: str
    step: int
    sends: int
    """How often the gateway was asked with this key, whatever became of it."""
    state: str
    decline: ScriptedDecline | None
    settle_at: float | None


class PaymentTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank knows of one payment."""

    moved_minor: int
    currency: str
    charges: int
    """Charges that moved money; more than one for a debt is a double charge."""
    attempts: int
    """Distinct idempotency keys."""
    sends: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook that is due; `copies` are sent one after the other."""

    id: int
    event_id: str
    body: bytes
    copies: int
    tries: int


_SELECT: Final = (
    "SELECT charge_id, attempt_id, payment_reference, amount_minor, currency, step, sends, state, decline, settle_at,"
    " token FROM charge"
)
BY_KEY: Final = f"{_SELECT} WHERE idempotency_key = ?"
BY_ATTEMPT: Final = f"{_SELECT} WHERE (attempt_id = ? OR idempotency_key = ?) AND state <> 'unsent'"
INSERT: Final = (
    "INSERT INTO charge (idempotency_key, created_at, charge_id, attempt_id, payment_reference, amount_minor,"
    " currency, step, sends, state, decline, settle_at, token) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""The columns after `created_at` are `BankCharge`'s fields in their order, then the token."""


def read_charge(row: tuple[Any, ...]) -> BankCharge:
    """Read a row selected with `BY_KEY` or `BY_ATTEMPT`."""
    values = dict(zip(BankCharge.__struct_fields__, row, strict=False))
    decline = values["decline"]
    values["decline"] = msgspec.json.decode(decline, type=ScriptedDecline) if decline is not None else None
    return BankCharge(**values)


_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")


def new_name() -> str:
    """Return a fresh time-ordered name without digits, which no search for card numbers can take for one."""
    return new_id().hex.translate(_LETTERS)
