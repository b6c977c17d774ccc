"""What the conformance of optional parts needs of a plugin's tests: the gateway, and what its provider holds."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from recoup_plugins import (
    ChargeRequest,
    CredentialGateway,
    EventGateway,
    Gateway,
    LinkGateway,
    Money,
    SettlementGateway,
    UpdateLinkRequest,
    WebhookAnswer,
)

if TYPE_CHECKING:
    from recoup_plugins.conformance import SignedWebhook  # imports pytest, which only the kit needs


class CredentialBench(Protocol):
    """For `CredentialConformance`."""

    gateway: CredentialGateway

    def customer(self, stored: int) -> tuple[str, Sequence[str]]:
        """Make a customer with so many means of payment; their id, and the tokens, the preferred one first."""
        ...

    def unknown_customer(self) -> str:
        """Return an id of the provider's own form that belongs to nobody."""
        ...

    def away(self) -> None:
        """Let the provider refuse connections from now on."""
        ...


class LinkBench(Protocol):
    """For `LinkConformance`."""

    gateway: LinkGateway

    def link_request(self, *, possible: bool) -> UpdateLinkRequest:
        """Return a fresh request that the provider has a page for, or none."""
        ...

    def away(self) -> None:
        """Let the provider refuse connections from now on."""
        ...


class Happened(NamedTuple):
    """Events that a provider has, as it would have told them."""

    since: datetime
    """Before the first of them, after everything else."""
    webhooks: "Sequence[SignedWebhook]"


class EventListBench(Protocol):
    """For `EventListConformance`."""

    gateway: EventGateway
    per_page: int
    """How many events a page holds at the most."""

    def happen(self, count: int) -> Happened:
        """Let so many things happen at the provider; return the webhooks that tell of exactly these."""
        ...

    def away(self) -> None:
        """Let the provider refuse connections from now on."""
        ...


class BrokenReport(NamedTuple):
    """A settlement report in which one line can't be read."""

    content: bytes
    line: int | None
    """Its number as an editor shows it; None where the format has no lines."""


class SettlementBench(Protocol):
    """For `SettlementConformance`."""

    gateway: SettlementGateway

    def report(self) -> bytes:
        """Return a report with charges, refunds, fees and, where the provider has them there, a payout."""
        ...

    def broken_report(self) -> BrokenReport:
        """Return the same with an amount that is none."""
        ...


class WebhookAnswerBench(Protocol):
    """For `WebhookAnswerConformance`."""

    gateway: Gateway
    wanted: WebhookAnswer
    """What the provider's documentation asks for."""


class SameObjectBench(Protocol):
    """For `SameObjectConformance`."""

    gateway: Gateway

    def debt(self, amount: Money, *, declines: int) -> ChargeRequest:
        """Make an object of a debt at the provider that declines so many tries and then approves; with `debt_ref`."""
        ...

    def next_try(self, request: ChargeRequest) -> ChargeRequest:
        """Return the next attempt of the same debt: another attempt and another key."""
        ...

    def payable(self, request: ChargeRequest) -> int:
        """Return how many objects the provider has that could be, or were, paid for the debt."""
        ...

    def moved(self, request: ChargeRequest) -> Money | None:
        """Return what the provider itself says was collected for the debt; None for nothing."""
        ...
