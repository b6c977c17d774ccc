"""A case file being worked on: each change is seen by what follows, and collected to be written together."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import ATTEMPT, Attempt, AttemptEvent
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import PAYMENT, Credential, PaymentEvent
from recoup_core.domain.recovery import CASE, STEP, CaseEvent, CaseState, StepEvent, StepKind, StepState, TimelineStep
from recoup_core.rules.deciding.contact import ContactRules
from recoup_core.rules.deciding.deciders import AnyDecision
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.texts import Pinned
from recoup_core.rules.facts import Facts, PolicyKind
from recoup_core.storage.changes import Changes, NewJob, StoredDecision

COLLECT: Final = "collect"
"""Job kind: send what a due retry step says. Subject: the step."""
DUE_STEP: Final = "step"
"""Job kind: do what a due dunning step says. Subject: the step."""
SETTLE: Final = "settle"
"""Job kind: find out what became of an attempt. Subject: the attempt."""
INBOUND: Final = "inbound"
"""Job kind: apply a gateway's stored event. Subject: the inbound event."""

SYSTEM: Final = "system"
POLICY: Final = "policy"


def job_of(step: TimelineStep) -> str:
    """Return the kind of job that wakes a step."""
    return COLLECT if step.kind is StepKind.RETRY else DUE_STEP


class Draft:
    """One payment's file, the changes made to it so far, who makes them and when."""

    def __init__(
        self,
        file: CaseFile,
        changes: Changes,
        now: datetime,
        actor: str,
        correlation_id: str | None,
        dunning: Pinned | None = None,
        backup_gateways: frozenset[str] = frozenset(),
        retry: Pinned | None = None,
        contact: ContactRules | None = None,
    ) -> None:
        self.file = file
        self.dunning = dunning
        """What the case's dunning steps are planned with; None where it has no dunning policy."""
        self.retry = retry
        """What the case's retries are decided with; None for a case that is just being opened."""
        self.contact = contact
        """When customers are written to; None: messages are planned whatever the hour."""
        self.backup_gateways = backup_gateways
        """Gateways that may be asked what else the customer has stored."""
        self.changes = changes
        self.now = now
        self.actor = actor
        self.correlation_id = correlation_id

    # -- what happened

    def tell(self, kind: EventKind, attempt_id: UUID | None = None, **data: Any) -> None:
        """Add an event about this payment."""
        payment, case = self.file.payment, self.file.case
        self.changes.add(
            Event(
                at=self.now,
                merchant_id=payment.merchant_id,
                kind=kind,
                actor=self.actor,
                case_id=case.id,
                payment_id=payment.id,
                attempt_id=attempt_id,
                correlation_id=self.correlation_id,
                data=data,
            )
        )

    def ask_human(self, task: HumanTask) -> None:
        """Put a task in the queue and tell so."""
        self.changes.add(task)
        self.changes.add(task_opened(task, self.actor, self.correlation_id))

    def close_tasks(self, kinds: Collection[TaskKind], resolution: str, attempt_id: UUID | None = None) -> None:
        """Take tasks of these kinds (about one attempt, if given) out of the queue: what they asked is answered."""
        for task in self.file.open_tasks:
            if task.kind in kinds and attempt_id in (None, task.attempt_id):
                resolved = msgspec.structs.replace(
                    task, resolved_at=self.now, resolved_by=self.actor, resolution=resolution
                )
                self.changes.update(resolved)
                self.tell(EventKind.TASK_RESOLVED, task.attempt_id, task=str(task.kind), task_id=str(task.id))
        self.file = self.file.without_tasks(kinds, attempt_id)

    # -- decisions

    def keep_decision(
        self, kind: PolicyKind, decision: AnyDecision, facts: Facts, situation: msgspec.Struct
    ) -> StoredDecision:
        """Write down what the case's policy of a kind decided, with everything to decide it once more."""
        case = self.file.case
        digest = case.dunning_digest if kind is PolicyKind.DUNNING else case.policy_digest
        assert digest is not None  # the decision was made with its text
        stored = StoredDecision(
            id=new_id(),
            merchant_id=case.merchant_id,
            case_id=case.id,
            kind=kind,
            policy_digest=digest,
            rule=decision.rule,
            facts=msgspec.Raw(msgspec.json.encode(facts)),
            situation=msgspec.Raw(msgspec.json.encode(situation)),
            outcome=msgspec.Raw(msgspec.json.encode(decision.outcome)),
            explanation=msgspec.Raw(msgspec.json.encode(decision.explanation)),
            decided_at=self.now,
        )
        self.changes.add(stored)
        return stored

    # -- attempts

    def add_attempt(self, attempt: Attempt) -> None:
        """Write down a new attempt."""
        self.changes.add(attempt)
        self.file = self.file.with_attempt(attempt)

    def move_attempt(self, attempt: Attempt, event: AttemptEvent, **fields: Any) -> Attempt:
        """Apply an event to an attempt; an illegal one is refused before anything is collected."""
        moved = msgspec.structs.replace(attempt, state=ATTEMPT.after(attempt.state, event), **fields)
        self.changes.update(moved)
        self.file = self.file.with_attempt(moved)
        return moved

    # -- steps

    def add_step(self, step: TimelineStep) -> None:
        """Write down a new step and the job that wakes it."""
        self.changes.add(step)
        self.file = self.file.with_step(step)
        self.put_job_of(step)

    def move_step(self, step: TimelineStep, event: StepEvent, **fields: Any) -> TimelineStep:
        """Apply an event to a step; a finished one drops its job."""
        state = STEP.after(step.state, event)
        if state in (StepState.DONE, StepState.SKIPPED):
            fields["finished_at"] = self.now
            self.changes.drop_job(job_of(step), step.id)
        moved = msgspec.structs.replace(step, state=state, **fields)
        self.changes.update(moved)
        self.file = self.file.with_step(moved)
        return moved

    def skip_step(self, step: TimelineStep, because: str, **fields: Any) -> None:
        """Leave a step out for good, and say why."""
        self.move_step(step, StepEvent.SKIP, skipped_because=because, **fields)
        self.tell(EventKind.STEP_SKIPPED, step=str(step.id), because=because)

    # -- payment, case, credentials

    def move_case(self, event: CaseEvent, **fields: Any) -> None:
        """Apply an event to the case; closing states get their time."""
        state = CASE.after(self.file.case.state, event)
        closed = state not in (CaseState.OPEN, CaseState.PAUSED)
        case = msgspec.structs.replace(self.file.case, state=state, closed_at=self.now if closed else None, **fields)
        self.changes.update(case)
        self.file = self.file.with_case(case)

    def repin(self, kind: PolicyKind, policy: CompiledPolicy) -> None:
        """Move the case to another version; counted, so that no other way can do it."""
        pins = {"policy_name": policy.policy.name, "policy_digest": policy.digest}
        if kind is PolicyKind.DUNNING:
            pins = {"dunning_name": policy.policy.name, "dunning_digest": policy.digest}
            self.dunning = policy
        case = msgspec.structs.replace(self.file.case, migrations=self.file.case.migrations + 1, **pins)
        self.changes.update(case)
        self.file = self.file.with_case(case)

    def move_payment(self, event: PaymentEvent | None, **fields: Any) -> None:
        """Apply an event to the payment, or change fields that are no state."""
        payment = self.file.payment
        state = payment.state if event is None else PAYMENT.after(payment.state, event)
        payment = msgspec.structs.replace(payment, state=state, **fields)
        self.changes.update(payment)
        self.file = self.file.with_payment(payment)

    def add_credential(self, credential: Credential) -> None:
        """Write down a new credential."""
        self.changes.add(credential)
        self.file = self.file.with_credential(credential)

    def change_credential(self, credential: Credential, **fields: Any) -> Credential:
        """Change a credential's role or validity; return it as it is now."""
        changed = msgspec.structs.replace(credential, **fields)
        self.changes.update(changed)
        self.file = self.file.with_credential(changed)
        return changed

    # -- jobs

    def put_job_of(self, step: TimelineStep, at: datetime | None = None) -> None:
        """Have a step woken at its time, or at another one."""
        self.put_job(job_of(step), step.id, at or step.due_at)

    def put_job(self, kind: str, subject_id: UUID, due_at: datetime) -> None:
        """Have something done not before `due_at`; a job of the same kind and subject moves."""
        self.changes.add(NewJob(kind=kind, subject_id=subject_id, due_at=due_at, correlation_id=self.correlation_id))
