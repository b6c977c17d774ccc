"""The contract of a gateway: what it can do, and the methods that do it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final, Protocol

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.payment import Method
from recoup_core.ports.charges import ChargeOutcome, ChargeRequest, FoundCharge
from recoup_core.ports.credentials import LinkAnswer, StoredCredential, UpdateLinkRequest
from recoup_core.ports.events import EventPage, GatewayEvent
from recoup_core.ports.refunds import CancelOutcome, FoundRefund, RefundOutcome, RefundRequest
from recoup_core.ports.settlement import ReportedSettlement

CHARGE_TIMEOUT_S: Final = 30.0
"""A gateway call that has not answered by then is an unknown outcome."""

MAX_WEBHOOK_BYTES: Final = 1024 * 1024

MAX_SETTLEMENT_BYTES: Final = 64 * 1024 * 1024
"""The largest settlement report that is read at once; some 300,000 lines."""


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider wants its webhook to be answered once it was stored."""

    status: int = 200
    content_type: str = "application/json"
    body: str | None = None
    """None: how many events were new, as JSON."""
    refused_status: int = 400
    """The HTTP status of a webhook whose signature is wrong."""


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
    lists_credentials: bool = False
    """Whether `list_credentials` is there: a policy's backup is looked for among them."""
    update_links: bool = False
    """Whether `update_link` is there."""
    lists_events: bool = False
    """Whether `list_events` is there: webhooks that never came are caught up with."""
    reads_settlements: bool = False
    """Whether `read_settlement` is there: reports can be uploaded."""
    fetches_settlements: bool = False
    """Whether `fetch_settlement` is there: reports come by themselves."""
    retries_itself: bool = False
    """Whether this account is set so that the provider retries failed charges by itself. Then the settings must not
    say that Recoup does (`retries_by`): a debt has one owner."""
    webhook_answer: WebhookAnswer = WebhookAnswer()
    """What the provider wants to hear when its webhook was stored."""


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


class CredentialGateway(Gateway, Protocol):
    """A gateway that can say what else a customer has stored: `capabilities.lists_credentials` says so."""

    async def list_credentials(self, gateway_customer: str) -> Sequence[StoredCredential]:
        """Return what may be charged without the customer, the one the customer prefers first; raise when unsure."""
        ...


class LinkGateway(Gateway, Protocol):
    """A gateway with pages of its own for customers: `capabilities.update_links` says so."""

    async def update_link(self, request: UpdateLinkRequest) -> LinkAnswer:
        """Make a page where the customer renews a means of payment, or pays; the same key gives the same page.

        `NoLink` where the gateway has none for this customer. Whatever is raised means: try again later.
        """
        ...


class EventGateway(Gateway, Protocol):
    """A gateway that can be asked for its events once more: `capabilities.lists_events` says so."""

    async def list_events(self, since: datetime, cursor: str | None) -> EventPage:
        """Return what happened from `since` on, page by page, with the same ids as the webhooks have."""
        ...


class SettlementGateway(Gateway, Protocol):
    """A gateway whose settlement reports can be read: `capabilities.reads_settlements` says so."""

    def read_settlement(self, content: bytes) -> ReportedSettlement:
        """Read a report as the provider's site lets one download it; raises `SettlementUnreadable`."""
        ...


class SettlementSource(SettlementGateway, Protocol):
    """A gateway whose reports can be fetched: `capabilities.fetches_settlements` says so."""

    async def fetch_settlement(self, report_ref: str) -> ReportedSettlement:
        """Fetch the report that an event (`SettlementNews`) or a person named; raises `SettlementUnreadable`."""
        ...


class WebhookRefused(DomainError):
    """A webhook's signature is missing, wrong or too old, or its body can't be read."""

    code: ClassVar[str] = "webhook_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the webhook was refused: {reason}")
        self.reason = reason
