"""A refund being worked on: each change is seen by what follows, and collected to be written together."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.approval import Approval
from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import (
    HOLDING,
    HOLDS_LINES,
    PART,
    REFUND,
    PartEvent,
    PartState,
    RefundEvent,
    RefundLine,
    RefundPart,
    RefundState,
)
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.planning import TASK_AGE
from recoup_core.storage.cases import lock_payments
from recoup_core.storage.changes import Changes, NewJob
from recoup_core.storage.refunds import load_accounts, load_refunds, payments_of_refunds

SEND_REFUND: Final = "refund"
"""Job kind: send a scheduled part. Subject: the part."""
SETTLE_REFUND: Final = "settle_refund"
"""Job kind: find out what became of a part. Subject: the part."""
REFUND_TIMER: Final = "refund_timer"
"""Job kind: escalate, expire or ask about an undecided refund. Subject: the refund."""

FINAL_PARTS: Final = frozenset({PartState.SUCCEEDED, PartState.FAILED, PartState.TAKEN_BACK, PartState.CANCELED})
_FINAL: Final = frozenset(
    {RefundState.SUCCEEDED, RefundState.DENIED, RefundState.REJECTED, RefundState.EXPIRED, RefundState.CANCELED}
)

LOCK_ROUNDS: Final = 5
"""Times that an edit may move a refund to other payments between looking and locking; one is rare."""


class RefundDraft:
    """One refund's file with the accounts of its payments, the changes so far, who makes them and when."""

    def __init__(
        self,
        file: RefundFile,
        accounts: Mapping[UUID, PaymentAccount],
        changes: Changes,
        now: datetime,
        actor: str,
        correlation_id: str | None,
    ) -> None:
        self.file = file
        self.accounts = accounts
        """By payment id; their counters are as read, before this draft's changes."""
        self.changes = changes
        self.now = now
        self.actor = actor
        self.correlation_id = correlation_id

    @property
    def account(self) -> PaymentAccount:
        """The account of the refund's first payment."""
        return self.accounts[self.file.refund.payment_id]

    # -- what happened

    def tell(self, kind: EventKind, **data: Any) -> None:
        """Add an event about this refund; amounts and the payment's reference are always in it."""
        refund = self.file.refund
        known = {
            "amount_minor": refund.amount_minor,
            "currency": refund.currency,
            "reference": self.account.payment.reference,
        }
        self.changes.add(
            Event(
                at=self.now,
                merchant_id=refund.merchant_id,
                kind=kind,
                actor=self.actor,
                payment_id=refund.payment_id,
                refund_id=refund.id,
                correlation_id=self.correlation_id,
                data=known | data,
            )
        )

    def ask_human(self, kind: TaskKind, reason: str, age: timedelta = TASK_AGE) -> None:
        """Put a task about this refund in the queue, unless one of the kind waits there already."""
        if any(task.kind is kind for task in self.file.open_tasks):
            return
        refund = self.file.refund
        task = HumanTask(
            id=new_id(),
            merchant_id=refund.merchant_id,
            kind=kind,
            payment_id=refund.payment_id,
            refund_id=refund.id,
            reason=reason,
            opened_at=self.now,
            due_at=self.now + age,
        )
        self.changes.add(task, task_opened(task, self.actor, self.correlation_id))
        self.file = msgspec.structs.replace(self.file, open_tasks=(*self.file.open_tasks, task))

    def close_tasks(self, kinds: Collection[TaskKind], resolution: str) -> None:
        """Take tasks of these kinds out of the queue: what they asked is answered."""
        for task in self.file.open_tasks:
            if task.kind in kinds:
                resolved = msgspec.structs.replace(
                    task, resolved_at=self.now, resolved_by=self.actor, resolution=resolution
                )
                self.changes.update(resolved)
                self.tell(EventKind.TASK_RESOLVED, task=str(task.kind), task_id=str(task.id))
                self.file = self.file.without_task(task.id)

    # -- the refund

    def move(self, event: RefundEvent, **fields: Any) -> None:
        """Apply an event to the refund; an illegal one is refused before anything is collected.

        Outside review nobody may decide; a refund that is over gets its time, and without money it lets its lines go.
        """
        refund = self.file.refund
        state = REFUND.after(refund.state, event)
        if state is not RefundState.IN_REVIEW:
            fields.setdefault("open_roles", ())
        fields["finished_at"] = self.now if state in _FINAL else None
        self.change(state=state, **fields)
        if state not in HOLDS_LINES and self.file.succeeded_minor == 0:
            self.release_lines()

    def change(self, **fields: Any) -> None:
        """Rewrite the refund; its version counts up once a transaction."""
        refund = self.file.refund
        bumped = any(row.id == refund.id for row in self.changes.rows(type(refund)))
        version = refund.version if bumped else refund.version + 1
        changed = msgspec.structs.replace(refund, version=version, **fields)
        self.changes.update(changed)
        self.file = self.file.with_refund(changed)

    # -- parts, lines, approvals

    def add_part(self, part: RefundPart) -> None:
        """Write down a part in place of one that let go of its money; the lines that it is for count again."""
        self.changes.add(part)
        self.file = self.file.with_part(part)
        self.hold_lines(part.payment_id)

    def move_part(self, part: RefundPart, event: PartEvent, **fields: Any) -> RefundPart:
        """Apply an event to a part; final states get their time, and their jobs go.

        Lines are let go of with the money: what failed can be asked for again, piece by piece.
        """
        state = PART.after(part.state, event)
        fields.setdefault("finished_at", self.now if state in FINAL_PARTS else None)
        if state in FINAL_PARTS:
            self.changes.drop_job(SEND_REFUND, part.id)
            self.changes.drop_job(SETTLE_REFUND, part.id)
        moved = msgspec.structs.replace(part, state=state, **fields)
        self.changes.update(moved)
        self.file = self.file.with_part(moved)
        if state not in HOLDING and not self._holds(part.payment_id):
            self.release_lines(part.payment_id)
        return moved

    def release_lines(self, payment_id: UUID | None = None) -> None:
        """Let go of the lines that the refund has asked for, of one payment or of all."""
        for line in self.file.lines:
            if line.holds and payment_id in (None, self._payment_of(line)):
                self._keep_line(msgspec.structs.replace(line, holds=False))

    def hold_lines(self, payment_id: UUID) -> None:
        """Let the lines of one payment that the refund is about count again; callers see to it that there is room."""
        for line in self.file.current_lines:
            if not line.holds and self._payment_of(line) == payment_id:
                self._keep_line(msgspec.structs.replace(line, holds=True))

    def _keep_line(self, line: RefundLine) -> None:
        self.changes.update(line)
        self.file = self.file.with_line(line)

    def _payment_of(self, line: RefundLine) -> UUID | None:
        lines = ((each.id, payment_id) for payment_id, account in self.accounts.items() for each in account.lines)
        return next((payment_id for line_id, payment_id in lines if line_id == line.payment_line_id), None)

    def _holds(self, payment_id: UUID) -> bool:
        """Whether any part of the refund counts against a payment."""
        return any(part.payment_id == payment_id and part.state in HOLDING for part in self.file.parts)

    def add_approval(self, approval: Approval) -> None:
        """Write down what an approver said."""
        self.changes.add(approval)
        self.file = self.file.with_approval(approval)

    # -- jobs

    def put_job(self, kind: str, subject_id: UUID, due_at: datetime) -> None:
        """Have something done not before `due_at`; a job of the same kind and subject moves."""
        self.changes.add(NewJob(kind=kind, subject_id=subject_id, due_at=due_at, correlation_id=self.correlation_id))


class LockedRefunds:
    """Refund files under their payments' locks in one transaction, and what is to be written before it commits."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        now: datetime,
        files: Mapping[UUID, RefundFile],
        accounts: Mapping[UUID, PaymentAccount],
        changes: Changes | None = None,
    ) -> None:
        self.connection = connection
        self.now = now
        self.accounts = accounts
        self.changes = changes or Changes()
        self._drafts = {
            refund_id: RefundDraft(file, accounts, self.changes, now, "", None) for refund_id, file in files.items()
        }

    @property
    def refund_ids(self) -> Collection[UUID]:
        """The refunds that are locked."""
        return self._drafts.keys()

    def draft(self, refund_id: UUID, actor: str, correlation_id: str | None) -> RefundDraft | None:
        """Return the draft of a refund, as left by who had it before; None where there is none."""
        draft = self._drafts.get(refund_id)
        if draft is not None:
            draft.actor, draft.correlation_id = actor, correlation_id
        return draft


def locked_refunds(
    context: Context, refund_ids: Collection[UUID], *, more_payments: Collection[UUID] = ()
) -> AbstractAsyncContextManager[LockedRefunds]:
    """Lock the payments of refunds (and more of them), hand out the files, write the changes, commit."""
    return _locked_refunds(context, refund_ids, more_payments)


@asynccontextmanager
async def _locked_refunds(
    context: Context, refund_ids: Collection[UUID], more_payments: Collection[UUID]
) -> AsyncIterator[LockedRefunds]:
    async with context.database.connection() as connection:
        wanted = await _payments(connection, refund_ids, more_payments)
    for _ in range(LOCK_ROUNDS):
        async with context.database.transaction() as connection:
            await lock_payments(connection, wanted)
            found = await _payments(connection, refund_ids, more_payments)
            if found <= wanted:
                files = await load_refunds(connection, refund_ids)
                accounts = await load_accounts(connection, wanted)
                locked = LockedRefunds(connection, context.clock.now(), files, accounts)
                yield locked
                await locked.changes.write(connection)
                break
            wanted = found
    else:
        raise RuntimeError(f"{len(refund_ids)} refunds are moved to other payments without end")
    count_events(context, locked.changes)


async def _payments(
    connection: asyncpg.Connection, refund_ids: Collection[UUID], more: Collection[UUID]
) -> frozenset[UUID]:
    found = await payments_of_refunds(connection, refund_ids)
    return frozenset(more).union(*found.values())
