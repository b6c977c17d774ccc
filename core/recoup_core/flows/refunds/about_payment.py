"""What is told and asked about a payment by disputes and by refunds that somebody else made."""

from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Payment
from recoup_core.domain.refund import HOLDING, RefundPart
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.planning import TASK_AGE
from recoup_core.flows.refunds.draft import LockedRefunds
from recoup_core.storage.changes import Changes
from recoup_core.storage.disputes import payment_tasks

WANTS_EVIDENCE: Final = frozenset({DisputeState.INQUIRY, DisputeState.OPEN})


class PaymentDraft:
    """One payment under its lock, for what concerns it as a whole: its events, and the tasks about it."""

    def __init__(self, locked: LockedRefunds, payment_id: UUID, actor: str, correlation_id: str | None) -> None:
        self._locked = locked
        self._actor = actor
        self._correlation_id = correlation_id
        self.account: PaymentAccount = locked.accounts[payment_id]

    @property
    def changes(self) -> Changes:
        """What is to be written."""
        return self._locked.changes

    @property
    def connection(self) -> asyncpg.Connection:
        """The connection that holds the locks."""
        return self._locked.connection

    def keep_payment(self, payment: Payment) -> None:
        """Rewrite the payment; what follows in this transaction sees it as it is now."""
        self.changes.update(payment)
        self.account = msgspec.structs.replace(self.account, payment=payment)

    @property
    def now(self) -> datetime:
        """The present of this transaction."""
        return self._locked.now

    def tell(self, kind: EventKind, **data: object) -> None:
        """Add an event about this payment; its reference is always in it."""
        self._add_event(kind, {"reference": self.account.payment.reference, **data})

    def tell_dispute(self, kind: EventKind, dispute: Dispute, **data: object) -> None:
        """Add an event about a dispute of this payment."""
        due = dispute.evidence_due_at
        self._add_event(
            kind,
            {
                "dispute": str(dispute.id),
                "state": str(dispute.state),
                "gateway": dispute.gateway,
                "gateway_ref": dispute.gateway_ref,
                "amount_minor": dispute.amount_minor,
                "currency": dispute.currency,
                "reason": dispute.reason,
                "evidence_due_at": due.isoformat() if due else None,
                "reference": self.account.payment.reference,
                **data,
            },
        )

    async def ask_amount(self, reason: str) -> None:
        """Put before a person an amount that contradicts what is known; nothing is guessed."""
        await self._ask(TaskKind.AMOUNT_MISMATCH, reason, None)

    async def ask_returned(self, reason: str) -> None:
        """Put before a person a charge that came back where it can't simply be collected again."""
        await self._ask(TaskKind.CHARGE_RETURNED, reason, None)

    async def ask_evidence(self, dispute: Dispute) -> None:
        """Ask for evidence while it may help, with the gateway's own date; close the question once the dispute ends."""
        reason = f"{dispute.gateway} dispute {dispute.gateway_ref} wants evidence"
        if dispute.state in WANTS_EVIDENCE:
            await self._ask(TaskKind.DISPUTE_EVIDENCE, reason, dispute)
            return
        for task in await self._waiting(TaskKind.DISPUTE_EVIDENCE):
            if task.reason == reason:
                self._close(task, f"the dispute is {dispute.state}")

    async def ask_if_over(self, capture_id: UUID) -> None:
        """Put before a person what exceeds a charge, after what this transaction has released."""
        capture = self.account.capture(capture_id)
        if capture is None:
            return
        parts: list[RefundPart] = list(self._locked.changes.rows(RefundPart))
        released = sum(p.amount_minor for p in parts if p.capture_id == capture.id and p.state not in HOLDING)
        over = capture.over_minor - released
        if over > 0:
            name = f"the charge {capture.gateway_ref or capture.id} of {self.account.payment.reference}"
            await self._ask(
                TaskKind.OVER_REFUNDED, f"refunds and disputes exceed {name} by {Money(over, capture.currency)}", None
            )

    async def _ask(self, kind: TaskKind, reason: str, dispute: Dispute | None) -> None:
        due = dispute.evidence_due_at if dispute else None
        waiting = next((task for task in await self._waiting(kind) if task.reason == reason), None)
        if waiting is not None:
            if due not in (None, waiting.due_at):  # the bank has moved its date: so has the task, on every list
                self._locked.changes.update(msgspec.structs.replace(waiting, due_at=due))
            return
        payment, now = self.account.payment, self._locked.now
        task = HumanTask(
            id=new_id(),
            merchant_id=payment.merchant_id,
            kind=kind,
            payment_id=payment.id,
            reason=reason,
            opened_at=now,
            due_at=due or now + TASK_AGE,
        )
        self._locked.changes.add(task, task_opened(task, self._actor, self._correlation_id))

    async def _waiting(self, kind: TaskKind) -> list[HumanTask]:
        return await payment_tasks(self._locked.connection, self.account.payment.id, kind)

    def _close(self, task: HumanTask, resolution: str) -> None:
        now = self._locked.now
        resolved = msgspec.structs.replace(task, resolved_at=now, resolved_by=self._actor, resolution=resolution)
        self._locked.changes.update(resolved)
        self._add_event(EventKind.TASK_RESOLVED, {"task": str(task.kind), "task_id": str(task.id)})

    def _add_event(self, kind: EventKind, data: dict[str, object]) -> None:
        payment = self.account.payment
        self._locked.changes.add(
            Event(
                at=self._locked.now,
                merchant_id=payment.merchant_id,
                kind=kind,
                actor=self._actor,
                payment_id=payment.id,
                correlation_id=self._correlation_id,
                data=data,
            )
        )
