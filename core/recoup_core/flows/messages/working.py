"""A message being worked on under its lock: its next state, what is told of it, and who is asked when it failed."""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.message import MESSAGE, Message, MessageEvent, MessageState
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.redact import hide_addresses, redact
from recoup_core.storage.changes import Changes
from recoup_core.storage.messages import MessageFile

UNDELIVERED_AGE: Final = timedelta(days=3)
"""A task about a message that reached nobody, or left its customer to people, is overdue after this."""

IN_VAIN: Final = frozenset({MessageState.FAILED, MessageState.BOUNCED})
"""States of a message that certainly reached nobody."""

_ENDS: Final = IN_VAIN | {MessageState.DELIVERED, MessageState.UNKNOWN, MessageState.CANCELED}


class Working:
    """One message, and the changes made to it so far."""

    def __init__(self, file: MessageFile, changes: Changes, now: datetime, actor: str) -> None:
        self.file = file
        self.message: Message = file.message
        self.changes, self.now, self.actor = changes, now, actor

    def allows(self, event: MessageEvent) -> bool:
        """Whether that can still happen to it."""
        return MESSAGE.allows(self.message.state, event)

    def move(self, event: MessageEvent, **fields: Any) -> None:
        """Apply an event; an end gets its time."""
        state = MESSAGE.after(self.message.state, event)
        ended = {"finished_at": self.now} if state in _ENDS else {}
        self.change(state=state, **ended, **fields)
        self.file.siblings[self.message.id] = state

    def change(self, **fields: Any) -> None:
        """Rewrite what is no state."""
        self.message = msgspec.structs.replace(self.message, **fields)
        self.changes.update(self.message)

    def said(self, reason: str | None) -> str:
        """Return foreign words as they may be kept and shown: short, without secrets and addresses."""
        return redact(hide_addresses(reason or "", self.message.to_address))

    def tell(self, kind: EventKind, **data: Any) -> None:
        """Add an event about the message."""
        message = self.message
        by = {"step": message.step_id, "notice": message.notice_id}
        self.changes.add(
            Event(
                at=self.now,
                merchant_id=message.merchant_id,
                kind=kind,
                actor=self.actor,
                case_id=message.case_id,
                payment_id=message.payment_id,
                correlation_id=message.correlation_id,
                data={
                    "message": str(message.id),
                    "customer": message.customer_ref,
                    "channel": message.channel,
                    "template": message.template,
                    **{name: str(value) for name, value in by.items() if value is not None},
                    **data,
                },
            )
        )

    def fail(self, because: str) -> None:
        """It certainly is not sent, and never will be."""
        self.move(MessageEvent.FAIL, because=because)
        self.tell(EventKind.MESSAGE_FAILED, because=because)
        self.ask_where_in_vain()

    def cancel(self, because: str) -> None:
        """It is no longer wanted, and has not left."""
        self.move(MessageEvent.CANCEL, because=because)
        self.tell(EventKind.MESSAGE_CANCELED, because=because)

    def lose(self, because: str) -> None:
        """It may have reached its reader; it is not sent again."""
        self.move(MessageEvent.LOSE, because=because)
        self.tell(EventKind.MESSAGE_UNKNOWN, because=because)

    def ask_where_in_vain(self) -> None:
        """Ask a person where a message reached its customer by no channel, once while that question is open."""
        file, message = self.file, self.message
        if file.asked or not all(state in IN_VAIN for state in file.siblings.values()):
            return
        if file.payment is not None and file.payment is not PaymentState.OWED:
            return
        reason = f"{message.template}: reached the customer by no channel ({message.because})"
        self._ask(TaskKind.MESSAGE_UNDELIVERABLE, reason)
        self.file = msgspec.structs.replace(file, asked=True)

    def leave_to_people(self, because: str) -> None:
        """It is not sent, for its customer is vulnerable: a person speaks with them, and is asked to, once."""
        self.cancel(because)
        about = self.message.step_id or self.message.notice_id
        asked = any(
            task.kind is TaskKind.VULNERABLE_CUSTOMER and (task.case_id, task.about_id) == (self.message.case_id, about)
            for task in self.changes.rows(HumanTask)
        )  # the same step's message by another channel may be in this very batch
        if asked or self.file.asked_to_speak or self.file.payment not in (None, PaymentState.OWED):
            return
        self._ask(TaskKind.VULNERABLE_CUSTOMER, f"{self.message.template}: {because}")

    def _ask(self, kind: TaskKind, reason: str) -> None:
        message = self.message
        task = HumanTask(
            id=new_id(),
            merchant_id=message.merchant_id,
            kind=kind,
            case_id=message.case_id,
            payment_id=message.payment_id,
            about_id=message.step_id or message.notice_id,
            reason=reason,
            opened_at=self.now,
            due_at=self.now + UNDELIVERED_AGE,
        )
        self.changes.add(task, task_opened(task, self.actor, message.correlation_id))
