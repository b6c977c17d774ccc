"""What answers carry: only what was meant for callers, never a merchant's id, an idempotency key or a job's lease."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import Decline
from recoup_core.domain.happened import HumanTask, TaskKind
from recoup_core.domain.message import MessageState
from recoup_core.domain.payment import Customer, Method, Network, Payment, PaymentState, RetryOwner
from recoup_core.domain.recovery import CaseState, RecoveryCase, StepKind, StepState, TimelineStep
from recoup_core.domain.subscription_request import RequestState, Wish
from recoup_core.flows.recover import Opened
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.errors import Problem as PolicyProblem
from recoup_core.storage.listing import CaseRow


class Out(msgspec.Struct, frozen=True, kw_only=True):
    """What all answers share."""


class StepOut(Out, frozen=True, kw_only=True):
    """One step of a case's timeline."""

    id: UUID
    kind: StepKind
    state: StepState
    due_at: datetime
    gateway: str | None
    credential_id: UUID | None
    rule: str
    """The policy's rule that planned it, or what a person asked for."""
    planned_by: str
    skipped_because: str | None
    held_until: datetime | None
    """The contact budget lets a message out no earlier."""
    held_because: str | None
    key: str | None
    """Of a dunning step: names it within its case. None for retries."""
    detail: Mapping[str, Any]
    """Of a dunning step: `template` and `channels`, `plan`, or `text`; `refused`: why it was tried in vain."""
    retry_step_id: UUID | None
    """The retry that a dunning step precedes or follows."""
    decision_id: UUID | None
    """The decision that planned it."""
    created_at: datetime
    finished_at: datetime | None


class AttemptOut(Out, frozen=True, kw_only=True):
    """One try to collect, by whomever it was made."""

    id: UUID
    payment_id: UUID
    case_id: UUID
    number: int
    origin: Origin
    state: AttemptState
    gateway: str
    gateway_ref: str | None
    try_ref: str | None
    """The gateway's id of this one try, where an object of it (`gateway_ref`) is tried many times."""
    credential_id: UUID | None
    method: Method
    network: Network | None
    amount_minor: int
    currency: str
    decline: Decline | None
    sends: int
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None
    returned_at: datetime | None
    """When the customer's bank took back what it had collected; `decline` says why."""


class PaymentOut(Out, frozen=True, kw_only=True):
    """One debt."""

    id: UUID
    reference: str
    state: PaymentState
    customer: Customer
    amount_minor: int
    currency: str
    captured_minor: int
    gateway: str
    gateway_ref: str | None
    method: Method
    subscription: Mapping[str, Any]
    order_ref: str | None
    """The order that it belongs to."""
    first_failed_at: datetime | None
    """None where it never failed: it was reported as collected."""
    paid_at: datetime | None
    created_at: datetime


class CaseOut(Out, frozen=True, kw_only=True):
    """The effort to collect one payment."""

    id: UUID
    payment_id: UUID
    state: CaseState
    policy_name: str
    policy_digest: str
    """The exact policy text this case keeps to its end."""
    dunning_name: str | None
    """The dunning policy it keeps; None where none applied."""
    dunning_digest: str | None
    stop_reason: str | None
    opened_at: datetime
    closed_at: datetime | None


class CaseDetail(Out, frozen=True, kw_only=True):
    """A payment, its case, and what comes next."""

    payment: PaymentOut
    case: CaseOut
    next_step: StepOut | None
    """The retry that is planned or under way; None where nothing is."""


class CasePage(Out, frozen=True, kw_only=True):
    """A page of cases with their payments, newest first."""

    items: list[CaseDetail]
    next_cursor: str | None
    """Give it back as `cursor` for the next page; None on the last."""


class AttemptPage(Out, frozen=True, kw_only=True):
    """A page of attempts, newest first."""

    items: list[AttemptOut]
    next_cursor: str | None


class TaskOut(Out, frozen=True, kw_only=True):
    """Something that waits for a person, or waited."""

    id: UUID
    kind: TaskKind
    reason: str
    case_id: UUID | None
    payment_id: UUID | None
    attempt_id: UUID | None
    refund_id: UUID | None
    inbound_id: UUID | None
    """The gateway's event that it is about."""
    opened_at: datetime
    due_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    resolution: str | None


class TaskPage(Out, frozen=True, kw_only=True):
    """A page of open tasks, newest first."""

    items: list[TaskOut]
    next_cursor: str | None


class EventOut(Out, frozen=True, kw_only=True):
    """One thing that happened."""

    id: int
    at: datetime
    kind: str
    actor: str
    case_id: UUID | None
    payment_id: UUID | None
    attempt_id: UUID | None
    refund_id: UUID | None
    correlation_id: str | None
    data: Mapping[str, Any]


class EventPage(Out, frozen=True, kw_only=True):
    """Events, oldest first, in an order in which nothing is ever slipped in behind the cursor."""

    items: list[EventOut]
    next_cursor: str
    """Always set: keep it, and ask again with it for what happened since."""
    has_more: bool
    """Whether more may be had at once; a page can be empty and have more."""


class DecisionOut(Out, frozen=True, kw_only=True):
    """Why: the facts, the rules considered, the limits that spoke, and what was decided."""

    id: UUID
    kind: PolicyKind
    policy_digest: str
    rule: str
    facts: Mapping[str, Any]
    outcome: Mapping[str, Any]
    explanation: Mapping[str, Any]
    decided_at: datetime


class SubscriptionRequestOut(Out, frozen=True, kw_only=True):
    """One thing that the billing system is asked to do with a subscription."""

    id: UUID
    """The `request` of the events that tell it."""
    case_id: UUID
    payment_id: UUID
    step_id: UUID | None
    """The step of the timeline that asks; None where the debt's payment does (`restore`)."""
    wish: Wish
    plan: str | None
    """The plan to move to (`downgrade`)."""
    subscription: Mapping[str, Any]
    """As it was reported with the payment."""
    state: RequestState
    """`asked` and `overdue` wait for an answer."""
    asked: int
    """How often the event was told."""
    asked_at: datetime
    """When it was told last."""
    answered_by: str | None
    note: str | None
    created_at: datetime
    finished_at: datetime | None


class TimelineMessage(Out, frozen=True, kw_only=True):
    """A message of a step; its words stand at `messages/{id}`, its address with the customer."""

    id: UUID
    channel: str
    template: str
    locale: str
    state: MessageState
    because: str | None
    """Why it failed, came back, was canceled, or waits."""
    created_at: datetime
    sent_at: datetime | None


class TimelineEntry(Out, frozen=True, kw_only=True):
    """One thing on the timeline: a step with its attempt and its reason, an attempt made elsewhere, or a decision."""

    at: datetime
    kind: Literal["step", "attempt", "decision", "request"]
    """`attempt`: one that no step led to. `decision`: one about dunning, or that led to no step, such as to stop."""
    future: bool
    """Whether it is still to come."""
    step: StepOut | None
    attempt: AttemptOut | None
    decision: DecisionOut | None
    messages: list[TimelineMessage] = []
    """What the step said, by which channel, and what became of it."""
    requests: list[SubscriptionRequestOut] = []
    """What the step asked the billing system for, or (`request`) the payment of the debt did."""


class TimelineOut(Out, frozen=True, kw_only=True):
    """The whole story of a case, past and future, in order."""

    case: CaseOut
    payment: PaymentOut
    entries: list[TimelineEntry]
    events: list[EventOut]


class CatchUpOut(Out, frozen=True, kw_only=True):
    """How far a gateway was asked for events whose webhooks may never have come."""

    reached_at: datetime
    """All that happened before is stored."""
    lag_s: int
    """How long ago that is, in seconds; usually below half an hour."""
    trouble: str | None
    """Why it could not be asked the last time."""


class GatewayOut(Out, frozen=True, kw_only=True):
    """A configured gateway account and how it is."""

    name: str
    methods: list[Method]
    finds_charges: bool
    """Whether it can be asked what became of a charge."""
    key_lifetime_s: int
    """How long it surely remembers an idempotency key, in seconds."""
    can: list[str]
    """What else it can do, by the names of `Capabilities` (`refunds`, `voids`, `update_links`, ...)."""
    retries_by: RetryOwner
    """Who tries failed payments of this account again, as the settings say."""
    health: Literal["ok", "failing"]
    trouble: str | None
    """The kind of error of the last check; its text stays in the logs."""
    checked_at: datetime
    catches_up: CatchUpOut | None
    """Null where the gateway can't be asked for its events, or was not yet."""


class GatewayList(Out, frozen=True, kw_only=True):
    """The merchant's gateways."""

    items: list[GatewayOut]


class PolicyOut(Out, frozen=True, kw_only=True):
    """A policy in force."""

    name: str
    kind: str
    digest: str
    source: str
    note: str
    engine: str
    """Which evaluator answers: `durable_rules` or `closures`."""
    applies_to: Mapping[str, list[str]]
    rules: list[str]


class PolicyList(Out, frozen=True, kw_only=True):
    """The policies in force."""

    items: list[PolicyOut]


class PolicyCheckOut(Out, frozen=True, kw_only=True):
    """What was found in a policy's text; a text with problems is an answer, not an error."""

    valid: bool
    problems: list[PolicyProblem]
    digest: str | None
    """The name of this exact text, where it is valid."""
    engine: str | None


class WebhookOut(Out, frozen=True, kw_only=True):
    """The webhook is stored; it is applied soon after."""

    new_events: int
    """0 where all of it had been received before."""


def attempt_out(attempt: Attempt) -> AttemptOut:
    """Return an attempt as callers see it."""
    return msgspec.convert(attempt, AttemptOut, from_attributes=True)


def task_out(task: HumanTask) -> TaskOut:
    """Return a task as callers see it."""
    return msgspec.convert(task, TaskOut, from_attributes=True)


def row_out(row: CaseRow | Opened) -> CaseDetail:
    """Return a payment with its case as callers see them."""
    return detail_out(row.payment, row.case, row.next_step)


def file_out(file: CaseFile) -> CaseDetail:
    """Return what callers see of a case file."""
    coming = (s for s in file.steps if s.kind is StepKind.RETRY and s.state in (StepState.PLANNED, StepState.RUNNING))
    return detail_out(file.payment, file.case, next(coming, None))


def detail_out(payment: Payment, case: RecoveryCase, step: TimelineStep | None) -> CaseDetail:
    """Return a payment, its case and the next step as callers see them."""
    return CaseDetail(
        payment=msgspec.convert(payment, PaymentOut, from_attributes=True),
        case=msgspec.convert(case, CaseOut, from_attributes=True),
        next_step=None if step is None else msgspec.convert(step, StepOut, from_attributes=True),
    )
