"""What one step of a flow wants written, and the two statements that write it all.

Flows decide on values and collect them here; nothing is written until `write`, so one transaction costs two round
trips however many rows it touches, and many flows' changes can be committed together.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.approval import Approval, Delegation
from recoup_core.domain.attempt import Attempt
from recoup_core.domain.capture import Capture, PaymentLine
from recoup_core.domain.customer import Address
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.happened import Event, HumanTask
from recoup_core.domain.ledger import LedgerEntry
from recoup_core.domain.message import Message
from recoup_core.domain.payment import Credential, Payment
from recoup_core.domain.recovery import RecoveryCase, TimelineStep
from recoup_core.domain.refund import (
    Refund,
    RefundLine,
    RefundPart,
)
from recoup_core.domain.settlement import SettlementException, SettlementLine, SettlementReport, WantedReport
from recoup_core.domain.subscription_request import SubscriptionRequest
from recoup_core.domain.upcoming import Notice, UpcomingCharge
from recoup_core.rules.facts import PolicyKind


class JobRef(msgspec.Struct, frozen=True):
    """A claimed job: which, of what kind, about what, and the token of the lease it is held by."""

    id: int
    kind: str
    subject_id: UUID
    claim: int
    correlation_id: str | None = None
    due_at: datetime | None = None


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be done not before `due_at`; one per kind and subject, putting it again moves it."""

    kind: str
    subject_id: UUID
    due_at: datetime
    correlation_id: str | None = None


class StoredDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with everything that explains it, kept for good (promise 9)."""

    id: UUID
    merchant_id: str
    case_id: UUID | None = None
    refund_id: UUID | None = None
    charge_id: UUID | None = None
    """What it is about: a case, a refund, or an upcoming charge."""
    kind: PolicyKind = PolicyKind.RETRY
    policy_digest: str
    rule: str
    facts: msgspec.Raw
    situation: msgspec.Raw
    """What timing, credential choice and limits were told: with it the whole decision can be made again."""
    outcome: msgspec.Raw
    explanation: msgspec.Raw
    decided_at: datetime


class IdempotentCall(msgspec.Struct, frozen=True, kw_only=True):
    """An API call's answer under its key, so that the same call gets the same answer."""

    merchant_id: str
    key: str
    request_hash: str
    """As PostgreSQL reads bytea: `\\x` and hex."""
    status: int
    body: str
    created_at: datetime


class ToldCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """What a report tells of its customer; what it leaves out stays as it is known."""

    merchant_id: str
    ref: str
    name: str | None = None
    locale: str | None = None
    created_at: datetime
    changed_at: datetime


class PostingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A posting as its table knows it."""

    entry_id: UUID
    line: int
    account: str
    amount_minor: int
    currency: str


class JobKey(msgspec.Struct, frozen=True):
    """A job by what it is about, whoever holds it."""

    kind: str
    subject_id: UUID


Updatable = (
    Payment
    | RecoveryCase
    | TimelineStep
    | Attempt
    | Credential
    | Capture
    | Dispute
    | Refund
    | RefundPart
    | RefundLine
    | Delegation
    | HumanTask
    | SettlementReport
    | SettlementLine
    | SettlementException
    | Message
    | SubscriptionRequest
    | UpcomingCharge
    | Notice
)
"""Rows that are rewritten by their id."""

INSERTED: Final[dict[type, str]] = {
    ToldCustomer: "customer",
    Address: "customer_address",
    Credential: "credential",
    Payment: "payment",
    RecoveryCase: "recovery_case",
    UpcomingCharge: "upcoming_charge",
    StoredDecision: "decision",
    TimelineStep: "timeline_step",
    Attempt: "attempt",
    Capture: "capture",
    PaymentLine: "payment_line",
    Dispute: "dispute",
    Refund: "refund",
    RefundPart: "refund_part",
    RefundLine: "refund_line",
    Approval: "refund_approval",
    Delegation: "delegation",
    WantedReport: "settlement_wanted",
    SettlementException: "settlement_exception",
    LedgerEntry: "ledger_entry",
    PostingRow: "ledger_posting",
    Message: "message",
    SubscriptionRequest: "subscription_request",
    Notice: "notice",
    HumanTask: "human_task",
    Event: "event",
    IdempotentCall: "idempotent_call",
    NewJob: "job",
}

UPDATED: Final[dict[type, str]] = {
    Payment: "payment",
    RecoveryCase: "recovery_case",
    TimelineStep: "timeline_step",
    Attempt: "attempt",
    Credential: "credential",
    Capture: "capture",
    Dispute: "dispute",
    RefundLine: "refund_line",
    RefundPart: "refund_part",
    Refund: "refund",
    Delegation: "delegation",
    HumanTask: "human_task",
    SettlementReport: "settlement_report",
    SettlementLine: "settlement_line",
    SettlementException: "settlement_exception",
    Message: "message",
    SubscriptionRequest: "subscription_request",
    UpcomingCharge: "upcoming_charge",
    Notice: "notice",
    JobRef: "job",
    JobKey: "job",
}

_NOT_COLUMNS: Final[dict[type, frozenset[str]]] = {
    LedgerEntry: frozenset({"postings"}),
    # kept by triggers, so that no writer can get them wrong
    Payment: frozenset({"goodwill_minor"}),
    Capture: frozenset({"held_minor", "disputed_minor", "over_minor"}),
    PaymentLine: frozenset({"held_quantity", "held_minor", "held_tax_minor"}),
}


class Changes:
    """New rows, changed rows and finished jobs of one transaction. Callers hold the payments' locks."""

    def __init__(self) -> None:
        self._new: dict[type, list[Any]] = {}
        self._changed: dict[type, dict[Any, Any]] = {}

    def add(self, *rows: msgspec.Struct) -> None:
        """Insert rows; a ledger entry brings its postings along."""
        for row in rows:
            if isinstance(row, NewJob):
                self._forget_new_job(row.kind, row.subject_id)
            self._new.setdefault(type(row), []).append(row)
            if isinstance(row, LedgerEntry):
                self.add(
                    *(
                        PostingRow(
                            entry_id=row.id,
                            line=line,
                            account=p.account,
                            amount_minor=p.amount_minor,
                            currency=p.currency,
                        )
                        for line, p in enumerate(row.postings, 1)
                    )
                )

    def update(self, row: Updatable) -> None:
        """Rewrite a row by its id; a later update of the same row replaces an earlier one, a new row stays new."""
        pending = self._new.get(type(row), [])
        for index, new in enumerate(pending):
            if new.id == row.id:
                pending[index] = row
                return
        self._changed.setdefault(type(row), {})[row.id] = row

    def finish(self, ref: JobRef) -> None:
        """Delete a job, if it is still held by this lease."""
        self._changed.setdefault(JobRef, {})[ref.id] = ref

    def drop_job(self, kind: str, subject_id: UUID) -> None:
        """Delete a job whoever holds it, one just put included: what it was for is over."""
        self._forget_new_job(kind, subject_id)
        self._changed.setdefault(JobKey, {})[(kind, subject_id)] = JobKey(kind, subject_id)

    def _forget_new_job(self, kind: str, subject_id: UUID) -> None:
        jobs = self._new.get(NewJob, [])
        jobs[:] = [job for job in jobs if (job.kind, job.subject_id) != (kind, subject_id)]

    def rows(self, kind: type[Any]) -> Sequence[Any]:
        """Return the new and changed rows of a type, for flows that look at what another decided."""
        return [*self._new.get(kind, ()), *self._changed.get(kind, {}).values()]

    async def write(self, connection: asyncpg.Connection) -> None:
        """Write everything: changes first, so that what they free (a lease, a slot) is free for what is new."""
        changed = [kind for kind in UPDATED if self._changed.get(kind)]
        if changed:
            await connection.fetch(_update_sql(tuple(changed)), *(_json(self._changed[k].values()) for k in changed))
        new = [kind for kind in INSERTED if self._new.get(kind)]
        if new:
            await connection.fetch(_insert_sql(tuple(new)), *(_json(self._new[k]) for k in new))


def _json(rows: Iterable[Any]) -> str:
    return msgspec.json.encode(list(rows)).decode()


def columns(kind: type) -> list[str]:
    """Return the columns a row type fills, in order."""
    skipped = _NOT_COLUMNS.get(kind, frozenset())
    return [name for name in kind.__struct_fields__ if name not in skipped]  # type: ignore[attr-defined]  # all are Structs


@cache
def _insert_sql(kinds: tuple[type, ...]) -> str:
    parts = [_insert_part(kind, number, kinds) for number, kind in enumerate(kinds, 1)]
    return f"WITH {', '.join(parts)} SELECT 1 WHERE false"


def _insert_part(kind: type, number: int, kinds: tuple[type, ...]) -> str:
    table, names = INSERTED[kind], ", ".join(columns(kind))
    rows = f"jsonb_populate_recordset(null::{table}, ${number}::jsonb)"
    if kind is NewJob:
        return (
            f"n{number} AS (INSERT INTO job ({names}, visible_at) SELECT {names}, due_at FROM {rows}"
            " ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = excluded.due_at, visible_at = excluded.due_at,"
            " claim = nextval('job_claim'), claims = 0, correlation_id = excluded.correlation_id)"
        )
    if kind is ToldCustomer:
        return (
            f"n{number} AS (INSERT INTO {table} AS t ({names}) SELECT {names} FROM {rows}"
            " ON CONFLICT (merchant_id, ref) DO UPDATE SET name = coalesce(excluded.name, t.name),"
            " locale = coalesce(excluded.locale, t.locale), changed_at = excluded.changed_at RETURNING ref)"
        )
    if kind is Address:  # told once more: used again, and blocked as it was
        # PostgreSQL runs such parts in any order; what this one asks for runs before it, and so the customer's lock,
        # which everybody takes before those of addresses, is taken first here, too
        locked = f" WHERE EXISTS (SELECT FROM n{1 + kinds.index(ToldCustomer)})" if ToldCustomer in kinds else ""
        return (
            f"n{number} AS (INSERT INTO {table} ({names}) SELECT {names} FROM {rows}{locked}"
            " ON CONFLICT (merchant_id, customer_ref, channel, address) DO UPDATE SET told_at = excluded.told_at)"
        )
    if kind is WantedReport:
        return (
            f"n{number} AS (INSERT INTO {table} ({names}) SELECT {names} FROM {rows} ON CONFLICT (id) DO UPDATE SET"
            " wanted_at = excluded.wanted_at, tries = 0, fetched_at = NULL, trouble = NULL)"
        )
    return f"n{number} AS (INSERT INTO {table} ({names}) SELECT {names} FROM {rows})"


@cache
def _update_sql(kinds: tuple[type, ...]) -> str:
    parts = [_update_part(kind, number) for number, kind in enumerate(kinds, 1)]
    return f"WITH {', '.join(parts)} SELECT 1 WHERE false"


def _update_part(kind: type, number: int) -> str:
    table = UPDATED[kind]
    # The LIMIT takes nothing away. It tells the planner how many rows there are: such a function counts for a hundred,
    # and to join a hundred rows it reads whole tables of some thousand instead of their keys.
    rows = (
        f"(SELECT * FROM jsonb_populate_recordset(null::{table}, ${number}::jsonb)"
        f" LIMIT jsonb_array_length(${number}::jsonb)) r"
    )
    if kind is JobRef:
        return f"c{number} AS (DELETE FROM job j USING {rows} WHERE j.id = r.id AND j.claim = r.claim)"
    if kind is JobKey:
        return f"c{number} AS (DELETE FROM job j USING {rows} WHERE j.kind = r.kind AND j.subject_id = r.subject_id)"
    sets = ", ".join(f"{name} = r.{name}" for name in columns(kind) if name != "id")
    return f"c{number} AS (UPDATE {table} t SET {sets} FROM {rows} WHERE t.id = r.id)"
