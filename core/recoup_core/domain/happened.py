"""What happened: one append-only event per thing, and what waits for a person."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec


class EventKind(StrEnum):
    """Every kind of event Recoup writes; the names are part of the API."""

    PAYMENT_REPORTED = "payment.reported"
    PAYMENT_PAID = "payment.paid"
    PAYMENT_CLOSED = "payment.closed"
    CASE_OPENED = "case.opened"
    CASE_PAUSED = "case.paused"
    CASE_RESUMED = "case.resumed"
    CASE_RECOVERED = "case.recovered"
    CASE_EXHAUSTED = "case.exhausted"
    CASE_CANCELED = "case.canceled"
    CASE_WRITTEN_OFF = "case.written_off"
    CASE_REOPENED = "case.reopened"
    STEP_PLANNED = "step.planned"
    STEP_MOVED = "step.moved"
    STEP_SKIPPED = "step.skipped"
    DUNNING_PLANNED = "dunning.planned"
    """New dunning steps, all that one decision planned."""
    SUBSCRIPTION_PAUSE_REQUESTED = "subscription.pause_requested"
    """For the billing system, as the next two: it owns the subscription and does what is asked."""
    SUBSCRIPTION_DOWNGRADE_REQUESTED = "subscription.downgrade_requested"
    SUBSCRIPTION_CANCEL_REQUESTED = "subscription.cancel_requested"
    PAYMENT_CAPTURED = "payment.captured"
    """A payment that was collected elsewhere was reported, so that it can be refunded."""
    CAPTURE_VOIDED = "capture.voided"
    REFUND_REQUESTED = "refund.requested"
    REFUND_EDITED = "refund.edited"
    REFUND_INCOMPLETE = "refund.incomplete"
    REFUND_IN_REVIEW = "refund.in_review"
    REFUND_LEVEL_APPROVED = "refund.level_approved"
    REFUND_SENT_BACK = "refund.sent_back"
    REFUND_APPROVED = "refund.approved"
    REFUND_DENIED = "refund.denied"
    REFUND_REJECTED = "refund.rejected"
    REFUND_ESCALATED = "refund.escalated"
    REFUND_EXPIRED = "refund.expired"
    REFUND_CANCELED = "refund.canceled"
    REFUND_SUBMITTED = "refund.submitted"
    """A part left for its gateway."""
    REFUND_RESENT = "refund.resent"
    REFUND_NOT_SENT = "refund.not_sent"
    REFUND_PENDING = "refund.pending"
    REFUND_UNKNOWN = "refund.unknown"
    REFUND_PART_SUCCEEDED = "refund.part_succeeded"
    REFUND_PART_FAILED = "refund.part_failed"
    REFUND_WAITS = "refund.waits"
    """A part can't leave yet: a charge of the same payment is live, or the gateway's balance is too low."""
    REFUND_SUCCEEDED = "refund.succeeded"
    REFUND_FAILED = "refund.failed"
    REFUND_TAKEN_BACK = "refund.taken_back"
    """The gateway took a refund back that had succeeded; `data.requested_by` says who must be told."""
    REFUND_RETRIED = "refund.retried"
    REFUND_RESOLVED = "refund.resolved"
    """A person said, with evidence, what became of a part."""
    REFUND_REPORTED = "refund.reported"
    """A refund that another channel made."""
    STORE_CREDIT_ISSUED = "store_credit.issued"
    """For the billing system: it credits the customer."""
    DELEGATION_CREATED = "delegation.created"
    DELEGATION_REVOKED = "delegation.revoked"
    DISPUTE_OPENED = "dispute.opened"
    """Also an inquiry: `data.state` says which."""
    DISPUTE_CHANGED = "dispute.changed"
    DISPUTE_WON = "dispute.won"
    DISPUTE_LOST = "dispute.lost"
    DISPUTE_CLOSED = "dispute.closed"
    ATTEMPT_SUBMITTED = "attempt.submitted"
    ATTEMPT_RESENT = "attempt.resent"
    ATTEMPT_SUCCEEDED = "attempt.succeeded"
    ATTEMPT_DECLINED = "attempt.declined"
    ATTEMPT_PENDING = "attempt.pending"
    ATTEMPT_UNKNOWN = "attempt.unknown"
    ATTEMPT_NOT_SENT = "attempt.not_sent"
    ATTEMPT_REPORTED = "attempt.reported"
    ATTEMPT_RESOLVED = "attempt.resolved"
    CREDENTIAL_UPDATED = "credential.updated"
    TASK_OPENED = "task.opened"
    TASK_RESOLVED = "task.resolved"
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
    MERCHANT_CREATED = "merchant.created"
    POLICY_SUBMITTED = "policy.submitted"
    POLICY_SHADOWED = "policy.shadowed"
    POLICY_ACTIVATED = "policy.activated"
    POLICY_RETIRED = "policy.retired"
    POLICY_ROLLED_BACK = "policy.rolled_back"
    EXPERIMENT_STARTED = "experiment.started"
    EXPERIMENT_RAMPED = "experiment.ramped"
    EXPERIMENT_STOPPED = "experiment.stopped"
    CASE_MIGRATED = "case.migrated"
    REPLAY_DIFFERENCE = "replay.difference"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened; never edited, sealed in the audit chain soon after."""

    at: datetime
    merchant_id: str
    kind: EventKind
    actor: str
    """Who did it: `policy`, `gateway:<name>`, `key:<principal>`, `operator:<name>`, `system`."""
    case_id: UUID | None = None
    payment_id: UUID | None = None
    attempt_id: UUID | None = None
    refund_id: UUID | None = None
    correlation_id: str | None = None
    data: Mapping[str, Any] = {}


class TaskKind(StrEnum):
    """Why a person is needed."""

    UNKNOWN_OUTCOME = "unknown_outcome"
    OVERCOLLECTED = "overcollected"
    AMOUNT_MISMATCH = "amount_mismatch"
    MANUAL_REVIEW = "manual_review"
    DUNNING = "dunning"
    """A dunning policy asks a person to do something; the case goes on meanwhile."""
    STUCK_JOB = "stuck_job"
    PENDING_TOO_LONG = "pending_too_long"
    PAUSED_TOO_LONG = "paused_too_long"
    EVENT_REFUSED = "event_refused"
    """A gateway told of something that no rule lets us take in."""
    EXPERIMENT_DECIDED = "experiment_decided"
    """The stop rule of an experiment has something to say that a person must act on."""
    POLICY_UNREADABLE = "policy_unreadable"
    """The policy that a case is pinned to is no longer accepted by the parser; nothing can be decided."""
    REFUND_UNKNOWN = "refund_unknown"
    """Nobody knows whether a refund's money moved, and no look-up can tell."""
    REFUND_PENDING_TOO_LONG = "refund_pending_too_long"
    REFUND_FAILED = "refund_failed"
    """A refund did not go through, or was taken back: retry it, pay another way, or close it."""
    REFUND_OVERDUE = "refund_overdue"
    """A review has passed its time; whoever may decide by escalation is asked."""
    REFUND_WAITS = "refund_waits"
    """A refund has been sent back, or lacks evidence, for long."""
    OVER_REFUNDED = "over_refunded"
    """Facts from outside exceed a capture: refunded elsewhere, or refunded and disputed."""
    AUTHORIZATION_OPEN = "authorization_open"
    """A charge has been only authorised for long: capture it, or void it, before its issuer lets it go."""
    DISPUTE_EVIDENCE = "dispute_evidence"
    """A dispute needs evidence by a date."""
    REPLAY_DIFFERENCE = "replay_difference"
    """A stored decision, made again from what it was made from, does not come out the same."""


class HumanTask(msgspec.Struct, frozen=True, kw_only=True):
    """Something no rule may decide; stays in the queue until a person resolves it."""

    id: UUID
    merchant_id: str
    kind: TaskKind
    case_id: UUID | None = None
    payment_id: UUID | None = None
    attempt_id: UUID | None = None
    refund_id: UUID | None = None
    reason: str
    opened_at: datetime
    due_at: datetime
    """The age limit: past it the task is overdue on every list."""
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    resolution: str | None = None


def task_opened(task: HumanTask, actor: str, correlation_id: str | None) -> Event:
    """Return the event that tells of a new task."""
    return Event(
        at=task.opened_at,
        merchant_id=task.merchant_id,
        kind=EventKind.TASK_OPENED,
        actor=actor,
        case_id=task.case_id,
        payment_id=task.payment_id,
        attempt_id=task.attempt_id,
        refund_id=task.refund_id,
        correlation_id=correlation_id,
        data={"task": str(task.kind), "task_id": str(task.id), "reason": task.reason},
    )
