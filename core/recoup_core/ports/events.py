"""What a gateway tells by itself, in our words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.decline import Decline
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network
from recoup_core.ports.charges import Declined, Pending, Succeeded
from recoup_core.ports.credentials import CredentialNews
from recoup_core.ports.refunds import Canceled, Refunded, Refused, TakenBack


class RefundNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's event says about a refund, ours or one that somebody else made."""

    refund_ref: str
    """The gateway's id of the refund."""
    part_id: UUID | None = None
    """Ours, where the event carries it back."""
    charge_ref: str | None = None
    """The gateway's id of the charge: a refund made elsewhere is known by it."""
    other_charge_refs: tuple[str, ...] = ()
    """Further ids of the same charge, under which it may have been reported (Stripe: `ch_...` beside `pi_...`)."""
    amount: Money
    outcome: Refunded | Refused | Pending | TakenBack | Canceled


class DisputeNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's event says about a dispute."""

    dispute_ref: str
    charge_ref: str
    other_charge_refs: tuple[str, ...] = ()
    amount: Money
    standing: DisputeState
    reason: str | None = None
    evidence_due_at: datetime | None = None
    fee: Money | None = None
    """All that the gateway has charged for it so far, told any number of times; only what is new is booked."""


class CaptureNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's event says about a charge: captured, voided, or returned after it had been collected."""

    charge_ref: str
    other_charge_refs: tuple[str, ...] = ()
    amount: Money
    """What was captured, which may be less than was authorised; of the other standings, the whole charge."""
    standing: CaptureState
    decline: Decline | None = None
    """Why the money came back, where it did: a bank debit may fail days after it succeeded."""


class SettlementNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's event says about a settlement: a report can be fetched under this name."""

    report_ref: str


class ReportedFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed payment that a gateway's event tells of and that may open a case."""

    payment_reference: str
    amount: Money
    method: Method
    customer_ref: str
    token: str | None = None
    gateway_customer: str | None = None
    fingerprint: str | None = None
    network: Network | None = None
    country: str | None = None
    debt_ref: str | None = None
    """The gateway's own object that later tries are made on, where that is another one than the event's
    `gateway_ref` (Stripe: the invoice of an intent)."""
    subscription: Mapping[str, Any] = {}
    next_attempt_at: datetime | None = None
    """When somebody else (the gateway, a biller at it) will try again by itself: then the debt has its owner."""
    retries_ended: bool = False
    """Whether such an owner has given up."""


class GatewayEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One verified event of a gateway, in our words; `payload` keeps what it said."""

    external_id: str
    """Unique at the gateway; the same event delivered again has the same id."""
    kind: str
    """The gateway's own name (`payment_intent.succeeded`)."""
    occurred_at: datetime
    attempt_id: UUID | None = None
    """Ours, where the event carries it back (metadata)."""
    gateway_ref: str | None = None
    outcome: Succeeded | Declined | Pending | None = None
    """None: nothing for us to do; the event is kept all the same."""
    failure: ReportedFailure | None = None
    """Set where the event tells of a failed payment that is not our attempt."""
    payment_reference: str | None = None
    """The merchant's name for the debt, where the event carries it: a success elsewhere is known by it."""
    refund: RefundNews | None = None
    dispute: DisputeNews | None = None
    capture: CaptureNews | None = None
    credential: CredentialNews | None = None
    settlement: SettlementNews | None = None
    payload: Mapping[str, Any]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events that a gateway was asked for, the oldest first where it can."""

    events: tuple[GatewayEvent, ...]
    cursor: str | None = None
    """What the next page is asked for with; None: there is no more."""
