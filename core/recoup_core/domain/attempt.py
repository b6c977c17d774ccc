"""One try to collect a payment: one credential, one gateway, one idempotency key made once."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.decline import Decline
from recoup_core.domain.machine import Machine
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network


class AttemptState(StrEnum):
    """What may be true of the money."""

    SCHEDULED = "scheduled"
    """Written down, certainly not sent."""
    SUBMITTED = "submitted"
    """From here on money may have moved."""
    PENDING = "pending"
    """The gateway took it and will tell the result later."""
    UNKNOWN = "unknown"
    """Nobody knows: reconcile first, never charge again blindly."""
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    NOT_SENT = "not_sent"
    """Given up without ever having left us: certain that no money moved."""
    CANCELED = "canceled"


class AttemptEvent(StrEnum):
    """What can happen to an attempt."""

    SUBMIT = "submit"
    SUCCEED = "succeed"
    DECLINE = "decline"
    PEND = "pend"
    LOSE = "lose"
    NOT_SEND = "not_send"
    GIVE_UP = "give_up"
    CANCEL = "cancel"


_S, _E = AttemptState, AttemptEvent

TRANSITIONS: Final[Mapping[tuple[AttemptState, AttemptEvent], AttemptState]] = {
    (_S.SCHEDULED, _E.SUBMIT): _S.SUBMITTED,
    (_S.SCHEDULED, _E.GIVE_UP): _S.NOT_SENT,  # the gateway could not be reached until patience ran out
    (_S.SCHEDULED, _E.CANCEL): _S.CANCELED,
    (_S.SCHEDULED, _E.SUCCEED): _S.SUCCEEDED,  # a webhook may know better than our "not sent"
    (_S.SUBMITTED, _E.SUCCEED): _S.SUCCEEDED,
    (_S.SUBMITTED, _E.DECLINE): _S.DECLINED,
    (_S.SUBMITTED, _E.PEND): _S.PENDING,
    (_S.SUBMITTED, _E.LOSE): _S.UNKNOWN,
    (_S.SUBMITTED, _E.NOT_SEND): _S.SCHEDULED,  # certain: same attempt, same key
    (_S.SUBMITTED, _E.GIVE_UP): _S.NOT_SENT,  # certain once more, and patience has run out
    (_S.PENDING, _E.SUCCEED): _S.SUCCEEDED,
    (_S.PENDING, _E.DECLINE): _S.DECLINED,
    (_S.PENDING, _E.LOSE): _S.UNKNOWN,  # older than a pending answer may be
    (_S.UNKNOWN, _E.SUBMIT): _S.SUBMITTED,  # a re-send with the same key, inside its lifetime
    (_S.UNKNOWN, _E.SUCCEED): _S.SUCCEEDED,
    (_S.UNKNOWN, _E.DECLINE): _S.DECLINED,
    (_S.UNKNOWN, _E.PEND): _S.PENDING,
    (_S.UNKNOWN, _E.GIVE_UP): _S.NOT_SENT,  # a person found out, with evidence, that it never arrived
    (_S.DECLINED, _E.SUCCEED): _S.SUCCEEDED,  # late success: the same object was paid after all
    (_S.NOT_SENT, _E.SUCCEED): _S.SUCCEEDED,
    (_S.CANCELED, _E.SUCCEED): _S.SUCCEEDED,
}

ATTEMPT: Final = Machine("attempt", TRANSITIONS)

LIVE: Final = frozenset({_S.SCHEDULED, _S.SUBMITTED, _S.PENDING, _S.UNKNOWN})
"""A payment has at most one attempt in these states (promise 3; a partial unique index holds it)."""

IN_FLIGHT: Final = frozenset({_S.SUBMITTED, _S.PENDING, _S.UNKNOWN})
"""Money may have moved; such an attempt counts against network limits as if declined."""


class Origin(StrEnum):
    """Who made the attempt; limits count them all."""

    POLICY = "policy"
    OPERATOR = "operator"
    CUSTOMER = "customer"
    REPORTED = "reported"
    """Made elsewhere (biller, gateway, checkout) and told to us."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try; written down before it is sent."""

    id: UUID
    merchant_id: str
    payment_id: UUID
    case_id: UUID
    step_id: UUID | None = None
    number: int
    """1 for the first failure, counting every origin."""
    origin: Origin
    gateway: str
    credential_id: UUID | None = None
    account_key: str | None = None
    method: Method
    network: Network | None = None
    amount_minor: int
    currency: str
    idempotency_key: str | None = None
    """Made once, before the first send; None for reported attempts."""
    gateway_ref: str | None = None
    try_ref: str | None = None
    """The gateway's id of this one try, where an object of it (`gateway_ref`) is tried many times."""
    state: AttemptState
    decline: Decline | None = None
    sends: int = 0
    """How often it left us with its key, the first time included."""
    claim: int = 0
    """The lease generation of the job that submitted it; a later one finding it submitted knows the sender died."""
    created_at: datetime
    submitted_at: datetime | None = None
    """When it first left us, or was made elsewhere: its key lives from here on."""
    last_sent_at: datetime | None = None
    """When it left us last; an earlier send that surely never arrived is no attempt, so limits count from here."""
    finished_at: datetime | None = None
    returned_at: datetime | None = None
    """When the customer's bank took back what it had collected; `decline` says why. It stays succeeded, because it was,
    and counts as the failed try that it turned out to be."""

    @property
    def amount(self) -> Money:
        """What is to be collected."""
        return Money(self.amount_minor, self.currency)

    @property
    def made_at(self) -> datetime:
        """The moment that limits and the order of declines go by."""
        return self.last_sent_at or self.submitted_at or self.created_at

    @property
    def failed(self) -> bool:
        """Whether it came to nothing: declined, or collected and returned."""
        return self.state is AttemptState.DECLINED or self.returned_at is not None

    @property
    def failed_at(self) -> datetime:
        """When it was known to have come to nothing; the latest decline is the one that failed last."""
        return self.returned_at or self.made_at

    @property
    def live(self) -> bool:
        """Whether it holds the payment's collection lease."""
        return self.state in LIVE
