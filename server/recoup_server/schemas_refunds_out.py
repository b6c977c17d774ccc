"""What answers about refunds carry: the request, its parts and lines, what people said, and why."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from recoup_core.domain.approval import Approval, Verdict
from recoup_core.domain.refund import (
    Channel,
    Destination,
    Evidence,
    PartState,
    Purpose,
    Refund,
    RefundFailure,
    RefundLine,
    RefundPart,
    RefundState,
    Spread,
)
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.refunds.preview import RefundPreview
from recoup_core.storage.refund_lists import Background, LineName
from recoup_server.schemas_out import DecisionOut, EventOut, Out, TaskOut, task_out
from recoup_server.timeline import decision_out


class RefundOut(Out, frozen=True, kw_only=True):
    """One request to give money back."""

    id: UUID
    payment_id: UUID
    """Of an order: the first payment that it goes back over."""
    order_ref: str | None
    customer_ref: str
    purpose: Purpose
    destination: Destination
    amount_minor: int
    currency: str
    refunded_minor: int
    """What went back for good so far."""
    reason: str
    note: str | None
    evidence: list[Evidence]
    spread: Spread | None
    channel: Channel
    requested_by: str
    touched_by: list[str]
    """Everybody who made, edited or submitted it: none of them may decide it."""
    state: RefundState
    revision: int
    """Counts edits; an approval is for one revision."""
    version: int
    """Counts every change: the `ETag`, to be given back as `If-Match`."""
    policy_name: str | None
    policy_digest: str | None
    levels: list[list[str]]
    """Of the review: per level the roles of which one decides it."""
    level: int
    """How many levels have approved this revision."""
    open_roles: list[str]
    """Who may decide now; empty outside review."""
    decide_by: datetime | None
    escalated_at: datetime | None
    expires_at: datetime | None
    """When an undecided request is closed."""
    stop_reason: str | None
    """Why it was denied, rejected, canceled or failed."""
    answers_dispute_id: UUID | None
    created_at: datetime
    approved_at: datetime | None
    finished_at: datetime | None


class RefundPartOut(Out, frozen=True, kw_only=True):
    """What of a refund goes back over one capture, or as store credit."""

    id: UUID
    payment_id: UUID
    capture_id: UUID | None
    """None for goodwill as store credit, which no capture stands behind."""
    number: int
    revision: int
    destination: Destination
    gateway: str | None
    gateway_ref: str | None
    """The gateway's id of the refund."""
    void: bool
    """Whether an authorisation is canceled instead of money being sent."""
    amount_minor: int
    currency: str
    tax_minor: int
    """The tax within `amount_minor`."""
    state: PartState
    failure: RefundFailure | None
    follows: UUID | None
    """The failed part that it replaces."""
    not_before: datetime | None
    sends: int
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None


class RefundLineOut(Out, frozen=True, kw_only=True):
    """What of a refund is about one line of a payment."""

    payment_id: UUID
    payment_line_id: UUID
    line: str
    """The merchant's name for it."""
    quantity: int
    """0 where only money comes back, not pieces."""
    amount_minor: int
    tax_minor: int


class ApprovalOut(Out, frozen=True, kw_only=True):
    """What one person said about one revision at one level."""

    id: UUID
    revision: int
    level: int
    role: str
    """The role by which they decided."""
    principal: str
    on_behalf_of: str | None
    """Who lent them the role, where it is not their own."""
    verdict: Verdict
    comment: str | None
    channel: str
    decided_at: datetime


class RefundDetail(Out, frozen=True, kw_only=True):
    """A refund with everything about it that holds now, and why."""

    refund: RefundOut
    reference: str
    """The merchant's name for its payment."""
    parts: list[RefundPartOut]
    """Of all revisions, by number; those of earlier ones are canceled."""
    lines: list[RefundLineOut]
    """What it is about now; they sum to the amount. None where the payment has no lines."""
    approvals: list[ApprovalOut]
    """Of all revisions, oldest first; only those of the present one count."""
    decision: DecisionOut | None
    """The policy's answer to the present revision; None for a refund that was made elsewhere."""
    open_tasks: list[TaskOut]


class PreviewPartOut(Out, frozen=True, kw_only=True):
    """What would go back over one capture, or as store credit."""

    payment_id: UUID
    capture_id: UUID | None
    destination: Destination
    gateway: str | None
    void: bool
    amount_minor: int
    currency: str
    tax_minor: int


class PreviewOut(Out, frozen=True, kw_only=True):
    """What a refund would be answered if it were asked for now; nothing of it is stored or reserved."""

    outcome: Mapping[str, Any]
    """By its `type`: `approve`, `review` with its levels, `incomplete` with what is missing, or `deny`."""
    rule: str
    explanation: Mapping[str, Any]
    refundable_minor: int
    """What is left before this refund."""
    parts: list[PreviewPartOut]
    lines: list[RefundLineOut]


class RefundPage(Out, frozen=True, kw_only=True):
    """A page of refunds, newest first."""

    items: list[RefundOut]
    next_cursor: str | None


class RefundEntry(Out, frozen=True, kw_only=True):
    """One thing on a refund's timeline: a decision of the policy, a person's verdict, or a part."""

    at: datetime
    kind: Literal["decision", "approval", "part"]
    future: bool
    """Whether it is still to come: an approved part that has not left."""
    decision: DecisionOut | None = None
    approval: ApprovalOut | None = None
    part: RefundPartOut | None = None


class RefundTimelineOut(Out, frozen=True, kw_only=True):
    """The whole story of a refund, in order."""

    refund: RefundOut
    entries: list[RefundEntry]
    events: list[EventOut]
    """Everything that happened, oldest first."""


def refund_out(refund: Refund) -> RefundOut:
    """Return a refund as callers see it."""
    return msgspec.convert(refund, RefundOut, from_attributes=True)


def part_out(part: RefundPart) -> RefundPartOut:
    """Return a part as callers see it."""
    return msgspec.convert(part, RefundPartOut, from_attributes=True)


def approval_out(approval: Approval) -> ApprovalOut:
    """Return a verdict as callers see it."""
    return msgspec.convert(approval, ApprovalOut, from_attributes=True)


def refund_detail(file: RefundFile, background: Background) -> RefundDetail:
    """Return a refund's file as callers see it."""
    return RefundDetail(
        refund=refund_out(file.refund),
        reference=background.reference,
        parts=[part_out(part) for part in file.parts],
        lines=_lines(file.current_lines, background.lines),
        approvals=[approval_out(approval) for approval in file.approvals],
        decision=None if background.decision is None else decision_out(background.decision),
        open_tasks=[task_out(task) for task in file.open_tasks],
    )


def preview_out(preview: RefundPreview, names: Iterable[LineName]) -> PreviewOut:
    """Return what a refund would be answered as callers see it."""
    return PreviewOut(
        outcome=msgspec.to_builtins(preview.outcome),
        rule=preview.rule,
        explanation=msgspec.to_builtins(preview.explanation),
        refundable_minor=preview.refundable_minor,
        parts=[msgspec.convert(part, PreviewPartOut, from_attributes=True) for part in preview.parts],
        lines=_lines(preview.lines, names),
    )


def _lines(lines: Iterable[RefundLine], names: Iterable[LineName]) -> list[RefundLineOut]:
    known = {name.id: name for name in names}
    return [
        RefundLineOut(
            payment_id=known[line.payment_line_id].payment_id,
            payment_line_id=line.payment_line_id,
            line=known[line.payment_line_id].ref,
            quantity=line.quantity,
            amount_minor=line.amount_minor,
            tax_minor=line.tax_minor,
        )
        for line in lines
    ]
