"""What requests and answers about disputes carry."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.flows.disputes import MAX_REASON, DisputeReport
from recoup_server.schemas_in import AmountMinor, Body, Currency, Moment, Name
from recoup_server.schemas_out import Out


class DisputeIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dispute that the gateway does not tell of by webhook, or how one that is known goes on."""

    payment_id: UUID
    capture_id: UUID | None = None
    """Which charge of the payment; may be left out where it has one."""
    gateway_ref: Name
    """The gateway's id of the dispute; told again under it, it goes on."""
    amount_minor: AmountMinor
    currency: Currency
    state: DisputeState
    """How far it got."""
    reason: Annotated[str, Meta(min_length=1, max_length=MAX_REASON)] | None = None
    """The gateway's word for why."""
    evidence_due_at: Moment | None = None
    fee_minor: Annotated[int, Meta(ge=0, le=MAX_AMOUNT_MINOR)] = 0
    """What the gateway charges for it."""

    def report(self) -> DisputeReport:
        """Return the report as flows know it."""
        return DisputeReport(
            payment_id=self.payment_id,
            capture_id=self.capture_id,
            gateway_ref=self.gateway_ref,
            amount_minor=self.amount_minor,
            currency=self.currency,
            standing=self.state,
            reason=self.reason,
            evidence_due_at=self.evidence_due_at,
            fee_minor=self.fee_minor,
        )


class DisputeOut(Out, frozen=True, kw_only=True):
    """One dispute of one charge; its money can't be refunded while it is open, or once it is lost."""

    id: UUID
    payment_id: UUID
    capture_id: UUID
    gateway: str
    gateway_ref: str
    """The gateway's id of the dispute."""
    amount_minor: int
    currency: str
    state: DisputeState
    reason: str | None
    """The gateway's word for why."""
    evidence_due_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None


class DisputePage(Out, frozen=True, kw_only=True):
    """A page of disputes, newest first."""

    items: list[DisputeOut]
    next_cursor: str | None


def dispute_out(dispute: Dispute) -> DisputeOut:
    """Return a dispute as callers see it."""
    return msgspec.convert(dispute, DisputeOut, from_attributes=True)
