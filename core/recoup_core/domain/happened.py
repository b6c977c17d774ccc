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
    SUBSCRIPTION_RESTORE_REQUESTED = "subscription.restore_requested"
    """The debt was paid after all: what was taken away is given back."""
    SUBSCRIPTION_REQUEST_ACKNOWLEDGED = "subscription.request_acknowledged"
    SUBSCRIPTION_REQUEST_REFUSED = "subscription.request_refused"
    SUBSCRIPTION_REQUEST_WITHDRAWN = "subscription.request_withdrawn"
    """It was not acknowledged, and is no longer wanted."""
    MESSAGE_QUEUED = "message.queued"
    """Written down with what it says, as the events below tell what became of it; `data` never holds an address."""
    MESSAGE_HELD_BACK = "message.held_back"
    """The contact budget lets it out later, or not at all: `data.because`."""
    MESSAGE_SENT = "message.sent"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_FAILED = "message.failed"
    MESSAGE_BOUNCED = "message.bounced"
    MESSAGE_COMPLAINED = "message.complained"
    MESSAGE_UNKNOWN = "message.unknown"
    """It may have reached its reader, and is not sent again."""
    MESSAGE_CANCELED = "message.canceled"
    CUSTOMER_CHANGED = "customer.changed"
    """How a customer is reached, and whether at all; `data` names the fields, never their values."""
    CUSTOMER_ERASED = "customer.erased"
    ADDRESS_BLOCKED = "address.blocked"
    """Nothing is sent there any more: it bounced, its reader complained, or unsubscribed."""
    ADDRESS_RELEASED = "address.released"
    UPDATE_PAGE_OPENED = "update_page.opened"
    """A customer opened the page that a message links to."""
    CHARGE_ANNOUNCED = "upcoming_charge.announced"
    """The billing system told of a charge that is to come, so that its customer can be told."""
    CHARGE_CHANGED = "upcoming_charge.changed"
    CHARGE_CALLED_OFF = "upcoming_charge.called_off"
    CHARGE_MADE = "upcoming_charge.made"
    NOTICE_PLANNED = "notice.planned"
    NOTICE_SKIPPED = "notice.skipped"
    LATE_SUCCESS = "payment.late_success"
    """Money came in after the debt had been given up or its subscription ended; `data.action` says what follows."""
    WEBHOOK_ENDPOINT_CREATED = "webhook_endpoint.created"
    WEBHOOK_ENDPOINT_CHANGED = "webhook_endpoint.changed"
    WEBHOOK_ENDPOINT_SECRET_ROLLED = "webhook_endpoint.secret_rolled"  # noqa: S105 # an event's name
    WEBHOOK_ENDPOINT_DISABLED = "webhook_endpoint.disabled"
    """By a person, or because nothing reached it for long: `data.because`."""
    WEBHOOK_ENDPOINT_ENABLED = "webhook_endpoint.enabled"
    WEBHOOK_ENDPOINT_DELETED = "webhook_endpoint.deleted"
    WEBHOOK_REPLAYED = "webhook.replayed"
    ANOMALY_DETECTED = "anomaly.detected"
    ANOMALY_OVER = "anomaly.over"
    STAFF_MUTED = "staff.muted"
    STAFF_UNMUTED = "staff.unmuted"
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
    CREDENTIAL_FOUND = "credential.found"
    """The gateway keeps a further means of payment of the customer: a policy may use it as backup."""
    CREDENTIAL_BLOCKED = "credential.blocked"
    """It is not tried again: taken back, suspected of fraud, or its charge was disputed."""
    UPDATE_LINK_CREATED = "update_link.created"
    """The gateway made a page where the customer renews a means of payment, or pays."""
    CAPTURE_RETURNED = "capture.returned"
    """Money that had come in was taken back by the customer's bank; the debt is owed again."""
    INBOUND_EVENT_DEAD = "inbound_event.dead"
    """A gateway's event could not be applied, time after time; a person is asked."""
    INBOUND_EVENT_RETRIED = "inbound_event.retried"
    INBOUND_EVENT_DISMISSED = "inbound_event.dismissed"
    SETTLEMENT_IMPORTED = "settlement.imported"
    SETTLEMENT_EXCEPTION_OPENED = "settlement.exception_opened"
    SETTLEMENT_EXCEPTION_ASSIGNED = "settlement.exception_assigned"
    SETTLEMENT_EXCEPTION_RESOLVED = "settlement.exception_resolved"
    TASK_OPENED = "task.opened"
    TASK_RESOLVED = "task.resolved"
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
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
    SUBSCRIPTION_UNACKNOWLEDGED = "subscription_unacknowledged"
    """The billing system never said that it did what it was asked for, or refused it."""
    LATE_SUCCESS = "late_success"
    """Money came in late, and the policy leaves it to a person what becomes of it."""
    MESSAGE_UNDELIVERABLE = "message_undeliverable"
    """A message that a policy wanted reached its customer by no channel."""
    VULNERABLE_CUSTOMER = "vulnerable_customer"
    """Messages to a vulnerable customer were held back: a person speaks with them."""
    WEBHOOK_ENDPOINT_DISABLED = "webhook_endpoint_disabled"
    """Nothing reached an endpoint for long, and it was switched off."""
    EVENT_NOT_FOLLOWED = "event_not_followed"
    """An event could not be spread to webhooks or the staff, time after time, and was left out."""
    STUCK_JOB = "stuck_job"
    PENDING_TOO_LONG = "pending_too_long"
    PAUSED_TOO_LONG = "paused_too_long"
    TWO_OWNERS = "two_owners"
    """Somebody else is going to try this debt again by himself: say who goes on."""
    CHARGE_RETURNED = "charge_returned"
    """Money came back after refunds had gone out of it, or where nobody collects it any more."""
    EVENT_DEAD = "event_dead"
    """A gateway's event could not be applied, time after time: apply it again, or dismiss it."""
    SETTLEMENT_EXCEPTION = "settlement_exception"
    """A settlement report says something else than we do."""
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
    inbound_id: UUID | None = None
    """The gateway's event that it is about."""
    about_id: UUID | None = None
    """What else it is about: a request to the billing system."""
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
