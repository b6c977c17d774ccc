"""What `RefundConformance` needs of a plugin's tests: a gateway beside a provider that can be told what to do."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from recoup_plugins import Gateway, Money, RefundRequest

if TYPE_CHECKING:
    from recoup_plugins.conformance import SignedWebhook  # imports pytest, which only the kit needs


class RefundScenario(StrEnum):
    """What the provider is to do with refunds of the charge that the bench is asked for."""

    APPROVE = "approve"
    """Approve every refund that fits."""
    REFUSE = "refuse"
    """Refuse with the bench's `refused_code`."""
    PENDING = "pending"
    """Take it for processing; it is not finished as long as the test runs."""
    LOSE_ANSWER = "lose_answer"
    """Give the money back, then break the connection instead of answering; answer the second time."""
    UNREACHABLE = "unreachable"
    """Refuse the connection."""
    AUTHORIZED = "authorized"
    """The charge is only authorised: the request is a void. Not asked for without `capabilities.voids`."""


class RefundWebhook(StrEnum):
    """What the provider's webhook is to tell."""

    REFUNDED = "refunded"
    """The refund of the given request succeeded."""
    ELSEWHERE = "elsewhere"
    """The same, of a refund that is not ours: nothing in it names our part."""
    TAKEN_BACK = "taken_back"
    """The refund of the given request failed after it had succeeded; its money is back with the merchant."""
    DISPUTED = "disputed"
    """The customer disputes the whole charge, and the provider has taken its money back."""


class RefundBench(Protocol):
    """A gateway that refunds, beside a provider that can be told what to do and asked what it did."""

    gateway: Gateway
    refused_code: str
    """The provider's raw code of `RefundScenario.REFUSE`."""

    def refundable(self, scenario: RefundScenario, charged: Money) -> RefundRequest:
        """Make a fresh charge that the provider treats so; return a request that gives all of it back."""
        ...

    def refunded(self, request: RefundRequest) -> Money | None:
        """Return what the provider itself says went back, or is pending, of the request's charge; None for nothing."""
        ...

    def webhook(self, kind: RefundWebhook, request: RefundRequest, sent_at: datetime) -> "SignedWebhook":
        """Return a webhook signed as the provider signs at that time; the same arguments make the same event."""
        ...

    def now(self) -> datetime:
        """Return the gateway's clock."""
        ...
