"""What requests and answers about settlement carry."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.settlement import (
    LineState,
    Problem,
    SettlementException,
    SettlementKind,
    SettlementLine,
    SettlementReport,
)
from recoup_core.flows.settlement.exceptions import MAX_EVIDENCE, MAX_OWNER
from recoup_core.storage.settlements import Standing
from recoup_server.schemas_in import Body, Name
from recoup_server.schemas_out import Out


class FetchIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report that is to be fetched from its gateway."""

    gateway: Name
    report_ref: Name
    """The gateway's own name of it."""


class AssignIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose turn it is."""

    owner: Annotated[str, Meta(min_length=1, max_length=MAX_OWNER)]
    """A role, or a person."""


class ResolveIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found out and done about an exception."""

    evidence: Annotated[str, Meta(min_length=1, max_length=MAX_EVIDENCE)]


class FetchOut(Out, frozen=True, kw_only=True):
    """A report that will be fetched."""

    gateway: str
    report_ref: str


class ReportOut(Out, frozen=True, kw_only=True):
    """One settlement report, as far as it has been delivered."""

    id: UUID
    gateway: str
    report_ref: str
    currency: str
    payout_ref: str | None
    paid_out_minor: int | None
    """What went to the bank, where the report tells; negative where the gateway collected."""
    paid_out_at: datetime | None
    lines: int
    """How many lines are its own."""
    borrowed: int
    """How many of its lines another report had brought before."""
    earned_minor: int
    """What its lines come to before payouts, after fees."""
    payouts_minor: int
    adds_up: bool
    """Whether what it earned is what was paid out, as far as it says."""
    received_at: datetime


class ReportPage(Out, frozen=True, kw_only=True):
    """A page of reports, newest first."""

    items: list[ReportOut]
    next_cursor: str | None


class ReportDetailOut(Out, frozen=True, kw_only=True):
    """A report, and how far its lines got."""

    report: ReportOut
    waiting: int
    matched: int
    unmatched: int


class ImportOut(Out, frozen=True, kw_only=True):
    """What an upload came to; its lines are matched by a worker."""

    report: ReportOut
    fresh_lines: int
    """Lines that no report had told of before."""
    known: bool
    """Whether this very content had been taken in before: then nothing was done."""


class LineOut(Out, frozen=True, kw_only=True):
    """One movement of the balance at a gateway, and what it turned out to settle."""

    id: UUID
    report_id: UUID
    number: int
    ref: str
    kind: SettlementKind
    amount_minor: int
    currency: str
    settled_minor: int
    """What the balance changed by before fees, signed."""
    settled_currency: str
    fee_minor: int
    charge_refs: tuple[str, ...]
    operation_ref: str | None
    payment_reference: str | None
    occurred_at: datetime
    description: str
    state: LineState
    payment_id: UUID | None
    capture_id: UUID | None
    part_id: UUID | None
    dispute_id: UUID | None


class LinePage(Out, frozen=True, kw_only=True):
    """A page of lines, the last ones first."""

    items: list[LineOut]
    next_cursor: str | None


class ExceptionOut(Out, frozen=True, kw_only=True):
    """Something that does not fit between a gateway's reports and our books."""

    id: UUID
    gateway: str
    kind: Problem
    reason: str
    report_id: UUID | None
    line_id: UUID | None
    payment_id: UUID | None
    amount_minor: int | None
    """How much money it is about, signed as settled or booked, where that can be said."""
    currency: str | None
    owner: str
    """The role or the person whose turn it is."""
    opened_at: datetime
    age_s: int
    """How long it has waited, or did wait, in seconds."""
    resolved_at: datetime | None
    resolved_by: str | None
    """`system` where a later report explained it."""
    resolution: str | None
    """What was done about it, with the evidence."""


class ExceptionPage(Out, frozen=True, kw_only=True):
    """A page of exceptions, the oldest first."""

    items: list[ExceptionOut]
    next_cursor: str | None


def report_out(report: SettlementReport) -> ReportOut:
    """Return a report as callers see it."""
    return msgspec.convert(report, ReportOut, from_attributes=True)


def detail_out(report: SettlementReport, standing: Standing) -> ReportDetailOut:
    """Return a report as callers see it, with how far it got."""
    return ReportDetailOut(
        report=report_out(report),
        waiting=standing.waiting,
        matched=standing.matched,
        unmatched=standing.unmatched,
    )


def line_out(line: SettlementLine) -> LineOut:
    """Return a line as callers see it."""
    return msgspec.convert(line, LineOut, from_attributes=True)


def exception_out(exception: SettlementException, now: datetime) -> ExceptionOut:
    """Return an exception as callers see it."""
    shown = {name: getattr(exception, name) for name in ExceptionOut.__struct_fields__ if name != "age_s"}
    age = (exception.resolved_at or now) - exception.opened_at
    return ExceptionOut(**shown, age_s=max(0, int(age.total_seconds())))
