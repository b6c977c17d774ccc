"""A recovery case and its one timeline: what is planned, what was done, what was skipped and why."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.experiment import Arm
from recoup_core.domain.machine import Machine


class CaseState(StrEnum):
    """Where the effort to collect stands."""

    OPEN = "open"
    PAUSED = "paused"
    RECOVERED = "recovered"
    EXHAUSTED = "exhausted"
    WRITTEN_OFF = "written_off"
    CANCELED = "canceled"


class CaseEvent(StrEnum):
    """What can happen to a case."""

    PAUSE = "pause"
    RESUME = "resume"
    RECOVER = "recover"
    EXHAUST = "exhaust"
    WRITE_OFF = "write_off"
    CANCEL = "cancel"
    REOPEN = "reopen"


_S, _E = CaseState, CaseEvent

CASE_TRANSITIONS: Final[Mapping[tuple[CaseState, CaseEvent], CaseState]] = {
    (_S.OPEN, _E.PAUSE): _S.PAUSED,
    (_S.OPEN, _E.RECOVER): _S.RECOVERED,
    (_S.OPEN, _E.EXHAUST): _S.EXHAUSTED,
    (_S.OPEN, _E.WRITE_OFF): _S.WRITTEN_OFF,
    (_S.OPEN, _E.CANCEL): _S.CANCELED,
    (_S.PAUSED, _E.RESUME): _S.OPEN,
    (_S.PAUSED, _E.RECOVER): _S.RECOVERED,
    (_S.PAUSED, _E.EXHAUST): _S.EXHAUSTED,  # the answer to an attempt sent before the pause
    (_S.PAUSED, _E.WRITE_OFF): _S.WRITTEN_OFF,
    (_S.PAUSED, _E.CANCEL): _S.CANCELED,
    (_S.EXHAUSTED, _E.RECOVER): _S.RECOVERED,  # a success by any route, however late
    (_S.EXHAUSTED, _E.REOPEN): _S.OPEN,  # a new credential, or an operator's retry
    (_S.EXHAUSTED, _E.WRITE_OFF): _S.WRITTEN_OFF,
    (_S.EXHAUSTED, _E.CANCEL): _S.CANCELED,
    (_S.RECOVERED, _E.REOPEN): _S.OPEN,  # the money came back: it is owed again
    (_S.WRITTEN_OFF, _E.RECOVER): _S.RECOVERED,
    (_S.CANCELED, _E.RECOVER): _S.RECOVERED,
}

CASE: Final = Machine("recovery case", CASE_TRANSITIONS)


class StepKind(StrEnum):
    """What a step does when its time comes; retries and dunning share one timeline."""

    RETRY = "retry"
    MESSAGE = "message"
    PAUSE_SUBSCRIPTION = "pause_subscription"
    DOWNGRADE_SUBSCRIPTION = "downgrade_subscription"
    CANCEL_SUBSCRIPTION = "cancel_subscription"
    HUMAN_TASK = "human_task"
    WRITE_OFF = "write_off"


class StepState(StrEnum):
    """Whether a step is still to come."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"


class StepEvent(StrEnum):
    """What can happen to a step."""

    START = "start"
    FINISH = "finish"
    SKIP = "skip"
    MOVE = "move"


STEP_TRANSITIONS: Final[Mapping[tuple[StepState, StepEvent], StepState]] = {
    (StepState.PLANNED, StepEvent.START): StepState.RUNNING,
    (StepState.PLANNED, StepEvent.FINISH): StepState.DONE,  # what is done by writing it down: all but retries
    (StepState.PLANNED, StepEvent.SKIP): StepState.SKIPPED,
    (StepState.PLANNED, StepEvent.MOVE): StepState.PLANNED,
    (StepState.RUNNING, StepEvent.FINISH): StepState.DONE,
    (StepState.RUNNING, StepEvent.SKIP): StepState.SKIPPED,
}

STEP: Final = Machine("timeline step", STEP_TRANSITIONS)


class RecoveryCase(msgspec.Struct, frozen=True, kw_only=True):
    """The effort to collect one payment; pins the policy it opened with (promise 7)."""

    id: UUID
    merchant_id: str
    payment_id: UUID
    state: CaseState = CaseState.OPEN
    policy_name: str
    policy_digest: str
    """Digest of the exact policy text every decision of this case is made with."""
    dunning_name: str | None = None
    dunning_digest: str | None = None
    """Digest of the policy text its dunning steps are planned with; None where no dunning policy applied."""
    migrations: int = 0
    """How often it was moved to another version, by an explicit act."""
    experiment_id: UUID | None = None
    arm: Arm | None = None
    """Which side of the experiment it belongs to; stays for good."""
    experiment_ramp: int | None = None
    """Number of the period, with one share for the treatment, in which it opened."""
    stop_reason: str | None = None
    opened_at: datetime
    paused_at: datetime | None = None
    """Since when it has been paused; None while it is not."""
    closed_at: datetime | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """Every policy text that decisions of this case are made with."""
        return (self.policy_digest,) if self.dunning_digest is None else (self.policy_digest, self.dunning_digest)


class TimelineStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing planned for a case; carries the decision that explains it."""

    id: UUID
    merchant_id: str
    case_id: UUID
    payment_id: UUID
    kind: StepKind
    state: StepState = StepState.PLANNED
    due_at: datetime
    credential_id: UUID | None = None
    gateway: str | None = None
    rule: str
    decision_id: UUID | None = None
    """The decision that planned it; None where an operator or the customer did."""
    planned_by: str
    """`policy`, or the principal who asked for it."""
    key: str | None = None
    """Names a dunning step within its case; a step that was done is never planned again. None for retries."""
    detail: Mapping[str, Any] = {}
    """Of a dunning step: template and channels, plan, or the task's text; `refused` where it was tried in vain."""
    retry_step_id: UUID | None = None
    """The retry that a dunning step precedes or follows."""
    skipped_because: str | None = None
    held_until: datetime | None = None
    """The contact budget lets a message out no earlier."""
    held_because: str | None = None
    created_at: datetime
    finished_at: datetime | None = None
