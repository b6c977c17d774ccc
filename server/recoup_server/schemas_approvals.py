"""What requests and answers about the approval queue, verdicts on many refunds and delegations carry."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.approval import Delegation
from recoup_core.flows.refunds.approvals import BulkResult
from recoup_core.flows.refunds.delegations import DelegationAsk
from recoup_core.storage.merchants import MAX_PRINCIPAL
from recoup_core.storage.refund_lists import Decidable
from recoup_server.errors import Problem, problem_of
from recoup_server.schemas_in import Body, Moment
from recoup_server.schemas_keys import MAX_APPROVES, ApprovalRole
from recoup_server.schemas_out import Out
from recoup_server.schemas_refunds_out import RefundOut, refund_out

Principal = Annotated[str, Meta(min_length=1, max_length=MAX_PRINCIPAL, description="As API keys name it.")]


class WaitingOut(Out, frozen=True, kw_only=True):
    """A refund that the caller may decide now."""

    refund: RefundOut
    reference: str
    """The merchant's name for its payment."""
    waits_for: list[str]
    """Any of these roles decides it now."""
    own: bool
    """Whether one of them is the caller's own."""
    on_behalf_of: list[str]
    """Who has lent the caller one of them."""
    decide_by: datetime | None
    escalated: bool
    """Whether `decide_by` is over, so that the policy's next roles may decide as well."""


class WaitingPage(Out, frozen=True, kw_only=True):
    """A page of refunds that wait for the caller, oldest first."""

    items: list[WaitingOut]
    next_cursor: str | None


class BulkItemOut(Out, frozen=True, kw_only=True):
    """What became of one refund of the call."""

    refund_id: UUID
    ok: bool
    refund: RefundOut | None
    """As it is now; None where it was refused."""
    problem: Problem | None
    """Why it was refused, as a call about it alone would say."""


class BulkOut(Out, frozen=True, kw_only=True):
    """What became of each refund, in the order asked."""

    decided: int
    refused: int
    items: list[BulkItemOut]


class DelegationIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Approval roles to be lent for a time."""

    owner: Principal | None = None
    """Who lends; left out: the caller. For others only an administrator may."""
    delegate: Principal
    roles: Annotated[tuple[ApprovalRole, ...], Meta(min_length=1, max_length=MAX_APPROVES)]
    starts_at: Moment | None = None
    """Left out: at once."""
    ends_at: Moment
    """At most 90 days ahead."""

    def ask(self) -> DelegationAsk:
        """Return the request as flows know it."""
        return msgspec.convert(self, DelegationAsk, from_attributes=True)


class DelegationOut(Out, frozen=True, kw_only=True):
    """Approval roles, lent for a time; worth what the owner could decide at that moment."""

    id: UUID
    owner: str
    delegate: str
    roles: list[str]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    created_at: datetime
    revoked_at: datetime | None


class DelegationPage(Out, frozen=True, kw_only=True):
    """A page of delegations, newest first, those that are over included."""

    items: list[DelegationOut]
    next_cursor: str | None


def waiting_out(waiting: Decidable) -> WaitingOut:
    """Return a refund of the queue as callers see it."""
    refund = waiting.refund
    return WaitingOut(
        refund=refund_out(refund),
        reference=waiting.reference,
        waits_for=list(refund.open_roles),
        own=waiting.own,
        on_behalf_of=list(waiting.owners),
        decide_by=refund.decide_by,
        escalated=refund.escalated_at is not None,
    )


def bulk_out(results: list[BulkResult]) -> BulkOut:
    """Return what became of each refund as callers see it."""
    done = sum(result.ok for result in results)
    return BulkOut(decided=done, refused=len(results) - done, items=[_bulk_item(result) for result in results])


def delegation_out(delegation: Delegation) -> DelegationOut:
    """Return a delegation as callers see it."""
    return msgspec.convert(delegation, DelegationOut, from_attributes=True)


def _bulk_item(result: BulkResult) -> BulkItemOut:
    return BulkItemOut(
        refund_id=result.refund_id,
        ok=result.ok,
        refund=None if result.file is None else refund_out(result.file.refund),
        problem=None if result.problem is None else problem_of(result.problem)[0],
    )
