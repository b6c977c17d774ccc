"""What the staff is told of: kinds of notes, and one message to one reader about what gathered of one kind."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

import msgspec

from recoup_core.domain.machine import Machine

_NAMESPACE: Final = UUID("6f1d0c2e-53a0-5b0e-9a77-2d1c8a7f4b11")
"""Ids of topics are made of what they are about, so that two processes make the same one."""


class StaffKind(StrEnum):
    """What somebody of the staff may be told of; names that settings and mutes use."""

    APPROVAL_WAITING = "approval_waiting"
    """A refund waits for a decision."""
    APPROVAL_OVERDUE = "approval_overdue"
    """A refund waited too long: others may decide by now, or nobody any more."""
    REFUND_FAILED = "refund_failed"
    """A refund did not go through, or came back."""
    TASK_OPENED = "task_opened"
    TASKS_AGING = "tasks_aging"
    """Once a day, while tasks are past their due time."""
    GATEWAY_FAILING = "gateway_failing"
    RECOVERY_FALLING = "recovery_falling"
    ENDPOINT_DISABLED = "endpoint_disabled"
    POLICY_ACTIVATED = "policy_activated"
    """A policy was put in force, taken out of it, or rolled back."""
    DAILY_DIGEST = "daily_digest"


class StaffState(StrEnum):
    """What may be true of a message to the staff."""

    QUEUED = "queued"
    SENDING = "sending"
    """Handed to its notifier; from here on it may have reached its reader."""
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELED = "canceled"


class StaffEvent(StrEnum):
    """What can happen to a message to the staff."""

    SEND = "send"
    NOT_SEND = "not_send"
    ACCEPT = "accept"
    FAIL = "fail"
    LOSE = "lose"
    CANCEL = "cancel"


_S, _E = StaffState, StaffEvent

STAFF_MESSAGE: Final = Machine(
    "staff_message",
    {
        (_S.QUEUED, _E.SEND): _S.SENDING,
        (_S.QUEUED, _E.CANCEL): _S.CANCELED,
        (_S.QUEUED, _E.FAIL): _S.FAILED,
        (_S.SENDING, _E.SEND): _S.SENDING,  # once more with the same id, where its notifier tells doubles apart
        (_S.SENDING, _E.NOT_SEND): _S.QUEUED,
        (_S.SENDING, _E.ACCEPT): _S.SENT,
        (_S.SENDING, _E.FAIL): _S.FAILED,
        (_S.SENDING, _E.LOSE): _S.UNKNOWN,
    },
)


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One reader and one kind: what gathers there goes out together, and can be muted."""

    id: UUID
    merchant_id: str
    reader: str
    kind: StaffKind
    muted: bool = False
    muted_until: datetime | None = None
    """None while muted: until somebody unmutes it."""
    muted_by: str | None = None
    last_sent_at: datetime | None = None

    def quiet(self, now: datetime) -> bool:
        """Return whether nothing is told at this moment."""
        return self.muted and (self.muted_until is None or now < self.muted_until)


class StaffMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent at once; its words never change, so that a second sending is word for word the first."""

    id: UUID
    merchant_id: str
    topic_id: UUID
    notifier: str
    channel: str
    locale: str
    state: StaffState = StaffState.QUEUED
    subject: str
    text: str
    notes: int
    sends: int = 0
    because: str | None = None
    created_at: datetime
    sent_at: datetime | None = None
    finished_at: datetime | None = None


class StaffNote(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that one reader is told of once; its line holds nothing about customers."""

    topic_id: UUID
    thing: str
    line: str
    at: datetime


def topic_id(merchant_id: str, reader: str, kind: StaffKind) -> UUID:
    """Return the id of a reader's topic."""
    return uuid5(_NAMESPACE, "\x1f".join((merchant_id, reader, kind)))
