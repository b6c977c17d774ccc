"""What a scenario asks of a provider, whichever it is: a gateway beside a counterpart that can be told what to do."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from recoup_core.domain.decline import Decline
from recoup_core.domain.payment import Method
from recoup_plugins import Gateway
from recoup_plugins.conformance import SignedWebhook


class Behaviour(StrEnum):
    """What the provider does with one try."""

    APPROVE = "approve"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    EXPIRED = "expired"
    """The means of payment is no longer good: an expired card, a closed account."""
    AUTHENTICATION = "authentication"
    """The customer has to be there."""
    DO_NOT_RETRY = "do_not_retry"
    """The issuer, the bank or the network says never again."""
    UNKNOWN_CODE = "unknown_code"
    """A code that nobody has heard of."""
    PROCESSING_ERROR = "processing_error"
    """The issuer could not be reached."""


class Trouble(StrEnum):
    """What happens on the line to the provider."""

    NONE = "none"
    LOST_ANSWER = "lost_answer"
    """The provider does what it is asked, and the connection breaks instead of an answer; once."""
    SLOW_ANSWER = "slow_answer"
    """The provider does what it is asked, and answers after our patience; once."""
    DOWN = "down"
    """Nobody answers."""
    HTML = "html"
    """Something in between answers with a page for people, and the provider hears nothing."""


class Provider(Protocol):
    """One column of the matrix."""

    gateway: Gateway
    method: Method

    def close(self) -> None:
        """Stop whatever was started for it."""
        ...

    def credential(self, *behaviours: Behaviour) -> tuple[str, str | None]:
        """Return a token, and the gateway's customer, whose tries go as told, the last one again and again."""
        ...

    def first_decline(self) -> Decline:
        """Return how the failure that opens a case was declined; it may be tried again."""
        ...

    def trouble(self, trouble: Trouble) -> None:
        """Let the line be so from now on."""
        ...

    def settle(self) -> None:
        """Let what the provider works on behind the scenes come to its end (bank debits, refunds)."""
        ...

    def webhooks(self) -> Sequence[SignedWebhook]:
        """Return every webhook of what happened so far, in order, signed now; a webhook keeps its place and its id."""
        ...

    def collected(self, reference: str) -> int:
        """Return what the provider itself collected for a payment, in minor units; refunds don't count."""
        ...

    def returned(self, reference: str) -> int:
        """Return what the provider itself gave back of it."""
        ...

    def tries(self, reference: str) -> int:
        """Return how many tries of a payment reached the provider, each key counted once."""
        ...

    def fail_refunds(self, reference: str) -> None:
        """Let the refunds of a payment that went through come back later, and tell so."""
        ...

    def open_dispute(self, reference: str) -> None:
        """Let the customer dispute the charge of a payment, and tell so."""
        ...
