"""What core asks of the outside: a gateway that moves money, and a clock.

Flows speak to gateways only through this contract; plugin authors import it from `recoup_plugins`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID

import msgspec

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.decline import Decline
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network
from recoup_core.domain.refund import RefundFailure

CHARGE_TIMEOUT_S: Final = 30.0
"""A gateway call that has not answered by then is an unknown outcome."""

MAX_WEBHOOK_BYTES: Final = 1024 * 1024


class Clock(Protocol):
    """Tells the time; tests and the demo bring their own."""

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return datetime.now(UTC)


class ChargeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a gateway needs to collect once; the same key always comes with the same request."""

    idempotency_key: str
    """Made once per attempt and stored before the first send; at most 64 characters."""
    attempt_id: UUID
    payment_reference: str
    amount: Money
    method: Method
    token: str
    gateway_customer: str | None = None
    first_sent_at: datetime
    """When the key was first used; the search for a lost answer starts there."""
    gateway_ref: str | None = None
    """The gateway's own id of this attempt where an earlier answer told it."""
    correlation_id: str | None = None


class Succeeded(msgspec.Struct, frozen=True, kw_only=True, tag="succeeded"):
    """The money was collected."""

    gateway_ref: str
    amount: Money
    """What was really collected, in the gateway's words turned into minor units."""


class Declined(msgspec.Struct, frozen=True, kw_only=True, tag="declined"):
    """A definite no; no money moved."""

    decline: Decline
    gateway_ref: str | None = None


class Pending(msgspec.Struct, frozen=True, kw_only=True, tag="pending"):
    """Taken for processing; the result comes by webhook or look-up."""

    gateway_ref: str


class NotSent(msgspec.Struct, frozen=True, kw_only=True, tag="not_sent"):
    """Certain that nothing left, or that the gateway did nothing: the same key may be sent again."""

    reason: str
    retry_after_s: float | None = None


class NotFound(msgspec.Struct, frozen=True, kw_only=True, tag="not_found"):
    """The gateway knows no charge of this attempt (as far as its look-up can tell)."""


ChargeOutcome = Succeeded | Declined | Pending | NotSent
FoundCharge = Succeeded | Declined | Pending | NotFound


class RefundReason(StrEnum):
    """What a gateway is told; merchants' own reasons map to it."""

    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    """Stripe also blocks the card then: told only where the merchant's own reason says so."""
    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    OTHER = "other"


class RefundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a gateway needs to give money back once; the same key always comes with the same request."""

    idempotency_key: str
    """Made once per part and stored before the first send; at most 64 characters."""
    part_id: UUID
    payment_reference: str
    charge_ref: str
    """The gateway's own id of the charge that goes back."""
    charged: Money
    """The whole charge."""
    amount: Money
    """What goes back of it; always said, also for all of it."""
    void: bool = False
    """Cancel the authorisation instead: then `amount` is all of `charged`."""
    method: Method
    reason: RefundReason = RefundReason.OTHER
    first_sent_at: datetime
    """When the key was first used; the search for a lost answer starts there."""
    gateway_ref: str | None = None
    """The gateway's own id of this refund where an earlier answer told it."""
    correlation_id: str | None = None


class Refunded(msgspec.Struct, frozen=True, kw_only=True, tag="refunded"):
    """The gateway has given the money back (or voided the charge); it may still take it back later."""

    gateway_ref: str
    amount: Money
    fee: Money | None = None
    """What the gateway charges for it, where it says so."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A definite no; no money moved."""

    failure: RefundFailure
    gateway_ref: str | None = None


class TakenBack(msgspec.Struct, frozen=True, kw_only=True, tag="taken_back"):
    """A refund that had succeeded, or seemed to, came back to the merchant."""

    gateway_ref: str
    failure: RefundFailure


class Canceled(msgspec.Struct, frozen=True, kw_only=True, tag="canceled"):
    """A refund was canceled before the money left the gateway."""

    gateway_ref: str | None = None


RefundOutcome = Refunded | Refused | Pending | NotSent
FoundRefund = Refunded | Refused | Pending | Canceled | TakenBack | NotFound
CancelOutcome = Canceled | Refused | NotSent


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


class CaptureNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's event says about an authorisation: captured, or voided."""

    charge_ref: str
    other_charge_refs: tuple[str, ...] = ()
    amount: Money
    standing: CaptureState


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
    payload: Mapping[str, Any]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway can do; flows ask before they try."""

    methods: frozenset[Method]
    key_lifetime: timedelta
    """How long the gateway surely remembers an idempotency key; past it nothing is re-sent."""
    finds_charges: bool
    """Whether `find_charge` can answer at all."""
    find_lag: timedelta = timedelta()
    """How long after a charge `find_charge` may still say `NotFound` wrongly."""
    refunds: bool = False
    """Whether `refund` and `find_refund` are there; without, money only goes back as store credit."""
    finds_refunds: bool = False
    """Whether `find_refund` can answer at all."""
    refund_find_lag: timedelta = timedelta()
    """How long after a refund `find_refund` may still say `NotFound` wrongly."""
    voids: bool = False
    """Whether `refund` takes `void`."""
    cancels_refunds: bool = False
    """Whether `cancel_refund` is there."""
    refund_windows: Mapping[Method, timedelta] = {}
    """Per method how long after the charge the gateway takes refunds; a method that is not listed has no limit."""


class Gateway(Protocol):
    """Moves money at one provider account. Methods are called concurrently from one event loop and never block it."""

    name: str
    """The instance's name from the settings; unique."""
    capabilities: Capabilities

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Collect `request.amount` at most once per `request.idempotency_key`.

        Answer within `CHARGE_TIMEOUT_S` with Succeeded, Declined, Pending, or NotSent when it is certain that
        nothing left. Whatever is raised counts as an unknown outcome and is settled through `find_charge`.
        """
        ...

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """Say what became of a charge whose answer was lost; raise when the gateway can't be asked."""
        ...

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Verify the raw body in constant time and translate it.

        Header names come in lower case. A wrong, missing or stale signature raises `WebhookRefused`; an event of a
        kind that is not known is returned with neither outcome nor failure, never refused.
        """
        ...

    async def health(self) -> None:
        """Return when the provider answers an authenticated, harmless call within 5 s; raise otherwise."""
        ...


class RefundGateway(Gateway, Protocol):
    """A gateway that gives money back: `capabilities.refunds` says so."""

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Give `request.amount` back at most once per `request.idempotency_key`, or void the charge.

        Answer within `CHARGE_TIMEOUT_S` with Refunded, Refused, Pending, or NotSent when it is certain that nothing
        left. "Received for processing" is Pending. Whatever is raised counts as unknown and is settled by look-up.
        """
        ...

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Say what became of a refund whose answer was lost, or that is pending; raise when nobody can be asked."""
        ...


class CancelingGateway(RefundGateway, Protocol):
    """A gateway that can cancel a pending refund: `capabilities.cancels_refunds` says so."""

    async def cancel_refund(self, request: RefundRequest) -> CancelOutcome:
        """Cancel a pending refund; Refused where it is too late. Whatever is raised leaves it pending."""
        ...


class WebhookRefused(DomainError):
    """A webhook's signature is missing, wrong or too old, or its body can't be read."""

    code: ClassVar[str] = "webhook_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the webhook was refused: {reason}")
        self.reason = reason
