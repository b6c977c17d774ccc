"""Refunds: what is asked back and why, what people and policy said, and the parts in which the money goes.

A refund is the request; a part is what of it goes back over one capture: one gateway call, one idempotency key made
once. A failed part is never sent again: what follows it is a new part with a key of its own.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine
from recoup_core.domain.money import Money


class Purpose(StrEnum):
    """What the money is given for."""

    REFUND = "refund"
    GOODWILL = "goodwill"


class Destination(StrEnum):
    """Where the money goes."""

    ORIGINAL_METHOD = "original_method"
    STORE_CREDIT = "store_credit"


class Channel(StrEnum):
    """How the request came."""

    API = "api"
    CONSOLE = "console"
    COMMAND_LINE = "command_line"
    REPORTED = "reported"
    """Made elsewhere and told by the gateway: counted, never decided on."""


class Spread(StrEnum):
    """How a refund of an order goes over its payments."""

    NEWEST_FIRST = "newest_first"
    AS_GIVEN = "as_given"


class RefundState(StrEnum):
    """What is true of the request."""

    INCOMPLETE = "incomplete"
    """The policy waits for evidence."""
    IN_REVIEW = "in_review"
    SENT_BACK = "sent_back"
    """An approver asks the requester to change something."""
    APPROVED = "approved"
    """The money is on its way, or will be; the parts say how far it got."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """A gateway refused it or took it back: open, for a person to retry, pay another way or close."""
    DENIED = "denied"
    """By policy."""
    REJECTED = "rejected"
    """By a person."""
    EXPIRED = "expired"
    CANCELED = "canceled"


class RefundEvent(StrEnum):
    """What can happen to a request."""

    ASK_EVIDENCE = "ask_evidence"
    REVIEW = "review"
    APPROVE = "approve"
    DENY = "deny"
    SEND_BACK = "send_back"
    REJECT = "reject"
    EXPIRE = "expire"
    CANCEL = "cancel"
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"


_S, _E = RefundState, RefundEvent
_UNDECIDED: Final = (_S.INCOMPLETE, _S.IN_REVIEW, _S.SENT_BACK)
_ANSWERS: Final = (
    (_E.ASK_EVIDENCE, _S.INCOMPLETE),
    (_E.REVIEW, _S.IN_REVIEW),
    (_E.APPROVE, _S.APPROVED),
    (_E.DENY, _S.DENIED),
    (_E.EXPIRE, _S.EXPIRED),
    (_E.CANCEL, _S.CANCELED),
)

REFUND: Final = Machine(
    "refund",
    {
        **{(state, event): after for state in _UNDECIDED for event, after in _ANSWERS},
        (_S.IN_REVIEW, _E.SEND_BACK): _S.SENT_BACK,
        (_S.IN_REVIEW, _E.REJECT): _S.REJECTED,
        (_S.APPROVED, _E.SUCCEED): _S.SUCCEEDED,
        (_S.APPROVED, _E.FAIL): _S.FAILED,
        (_S.APPROVED, _E.CANCEL): _S.CANCELED,
        (_S.APPROVED, _E.REVIEW): _S.IN_REVIEW,  # a dispute came before anything was sent: decided anew
        (_S.APPROVED, _E.DENY): _S.DENIED,
        (_S.APPROVED, _E.ASK_EVIDENCE): _S.INCOMPLETE,
        (_S.SUCCEEDED, _E.FAIL): _S.FAILED,  # the gateway took it back
        (_S.FAILED, _E.RETRY): _S.APPROVED,
        (_S.FAILED, _E.REVIEW): _S.IN_REVIEW,  # a retry that is decided on anew: another way, or facts changed
        (_S.FAILED, _E.DENY): _S.DENIED,
        (_S.FAILED, _E.ASK_EVIDENCE): _S.INCOMPLETE,
        (_S.FAILED, _E.CANCEL): _S.CANCELED,
        (_S.FAILED, _E.SUCCEED): _S.SUCCEEDED,  # a success that is told late is the truth
        (_S.FAILED, _E.FAIL): _S.FAILED,
        (_S.CANCELED, _E.SUCCEED): _S.SUCCEEDED,
        (_S.CANCELED, _E.FAIL): _S.FAILED,  # what was paid before it was closed came back
    },
)

UNDECIDED: Final = frozenset(_UNDECIDED)
"""Neither policy nor people have said yes or no."""

OPEN: Final = UNDECIDED | {_S.APPROVED, _S.FAILED}
"""Somebody or something still has to act."""

HOLDS_LINES: Final = OPEN | {_S.SUCCEEDED}
"""States in which the lines of a refund count as asked back."""


class PartState(StrEnum):
    """What may be true of a part's money."""

    RESERVED = "reserved"
    """Asked for and not approved: it counts against the capture all the same (promise 4)."""
    SCHEDULED = "scheduled"
    """Approved, certainly not sent."""
    SUBMITTED = "submitted"
    """From here on money may have moved."""
    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TAKEN_BACK = "taken_back"
    """Succeeded, and later reversed by the gateway: the money is back with the merchant."""
    CANCELED = "canceled"
    """Released without having been sent, or canceled at the gateway."""


class PartEvent(StrEnum):
    """What can happen to a part."""

    SCHEDULE = "schedule"
    UNSCHEDULE = "unschedule"
    SUBMIT = "submit"
    SUCCEED = "succeed"
    FAIL = "fail"
    PEND = "pend"
    LOSE = "lose"
    NOT_SEND = "not_send"
    CANCEL = "cancel"
    TAKE_BACK = "take_back"


_P, _V = PartState, PartEvent

PART: Final = Machine(
    "refund part",
    {
        (_P.RESERVED, _V.SCHEDULE): _P.SCHEDULED,
        (_P.RESERVED, _V.CANCEL): _P.CANCELED,
        (
            _P.RESERVED,
            _V.SUCCEED,
        ): _P.SUCCEEDED,  # sent after all, and decided anew meanwhile
        (_P.SCHEDULED, _V.UNSCHEDULE): _P.RESERVED,  # decided anew before it was sent
        (_P.SCHEDULED, _V.SUBMIT): _P.SUBMITTED,
        (_P.SCHEDULED, _V.CANCEL): _P.CANCELED,
        (_P.SCHEDULED, _V.FAIL): _P.FAILED,  # given up without ever leaving: certain that no money moved
        (_P.SCHEDULED, _V.SUCCEED): _P.SUCCEEDED,  # store credit; or a webhook knows better than our "not sent"
        (_P.SUBMITTED, _V.SUCCEED): _P.SUCCEEDED,
        (_P.SUBMITTED, _V.FAIL): _P.FAILED,
        (_P.SUBMITTED, _V.PEND): _P.PENDING,
        (_P.SUBMITTED, _V.LOSE): _P.UNKNOWN,
        (_P.SUBMITTED, _V.NOT_SEND): _P.SCHEDULED,  # certain: same part, same key
        (_P.PENDING, _V.SUCCEED): _P.SUCCEEDED,
        (_P.PENDING, _V.FAIL): _P.FAILED,
        (_P.PENDING, _V.LOSE): _P.UNKNOWN,
        (_P.PENDING, _V.CANCEL): _P.CANCELED,  # the gateway still could
        (_P.UNKNOWN, _V.SUBMIT): _P.SUBMITTED,  # a re-send with the same key, inside its lifetime
        (_P.UNKNOWN, _V.SUCCEED): _P.SUCCEEDED,
        (_P.UNKNOWN, _V.FAIL): _P.FAILED,
        (_P.UNKNOWN, _V.PEND): _P.PENDING,
        (_P.SUCCEEDED, _V.TAKE_BACK): _P.TAKEN_BACK,
        # told before the success that it takes back, or without it: events come in any order
        (_P.RESERVED, _V.TAKE_BACK): _P.TAKEN_BACK,
        (_P.SCHEDULED, _V.TAKE_BACK): _P.TAKEN_BACK,
        (_P.SUBMITTED, _V.TAKE_BACK): _P.TAKEN_BACK,
        (_P.PENDING, _V.TAKE_BACK): _P.TAKEN_BACK,
        (_P.UNKNOWN, _V.TAKE_BACK): _P.TAKEN_BACK,
        (_P.FAILED, _V.TAKE_BACK): _P.TAKEN_BACK,
        (_P.CANCELED, _V.TAKE_BACK): _P.TAKEN_BACK,
        (_P.TAKEN_BACK, _V.SUCCEED): _P.SUCCEEDED,  # the gateway tried again by itself
        (_P.FAILED, _V.SUCCEED): _P.SUCCEEDED,
        (_P.CANCELED, _V.SUCCEED): _P.SUCCEEDED,
    },
)

HOLDING: Final = frozenset({_P.RESERVED, _P.SCHEDULED, _P.SUBMITTED, _P.PENDING, _P.UNKNOWN, _P.SUCCEEDED})
"""States in which a part counts against its capture; a trigger and a CHECK hold it (promise 4)."""

IN_FLIGHT_PARTS: Final = frozenset({_P.SUBMITTED, _P.PENDING, _P.UNKNOWN})
"""Money may have moved."""

UNSENT: Final = frozenset({_P.RESERVED, _P.SCHEDULED})
"""Certain that no money has moved."""


class FailureCategory(StrEnum):
    """Why a refund did not go through; decides what can be done."""

    INSUFFICIENT_BALANCE = "insufficient_balance"
    """The merchant's balance at the gateway is too low: tried again by policy."""
    NOT_CAPTURED = "not_captured"
    """The charge is only authorized: to be voided instead."""
    ALREADY_CAPTURED = "already_captured"
    """Asked to void what was captured meanwhile: to be refunded instead."""
    ALREADY_REFUNDED = "already_refunded"
    """The gateway has less left than asked: somebody refunds by another channel."""
    DISPUTED = "disputed"
    METHOD_GONE = "method_gone"
    """Card or account is closed, lost or expired: pay the customer another way."""
    REFUSED = "refused"
    """The customer's bank refused the credit."""
    TOO_OLD = "too_old"
    CONFIGURATION = "configuration"
    """The gateway refused the request itself before anything moved."""
    UNKNOWN = "unknown"


class RefundFailure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a part failed or was taken back."""

    category: FailureCategory
    code: str
    """The provider's own word."""
    message: str | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that supports a reason: a kind the policy knows (`photo`) and where it can be seen."""

    kind: str
    ref: str
    """A link or a file's name in the merchant's own system; Recoup keeps no files."""


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """One request to give money back."""

    id: UUID
    merchant_id: str
    payment_id: UUID
    """The payment; of an order, the first that money goes back over."""
    order_ref: str | None = None
    """Set where it goes over the payments of one order."""
    customer_ref: str
    purpose: Purpose = Purpose.REFUND
    destination: Destination = Destination.ORIGINAL_METHOD
    amount_minor: int
    currency: str
    reason: str
    note: str | None = None
    evidence: tuple[Evidence, ...] = ()
    spread: Spread | None = None
    channel: Channel = Channel.API
    requested_by: str
    """The principal behind the key; the agent, for the policy's bounds."""
    touched_by: tuple[str, ...]
    """Every principal who ever made, edited or submitted it: none of them may approve it (promise 8)."""
    state: RefundState
    revision: int = 1
    """Counts edits; an approval counts for the revision it was given to."""
    version: int = 1
    """Counts every change: the ETag."""
    policy_name: str | None = None
    policy_digest: str | None = None
    decision_id: UUID | None = None
    levels: tuple[tuple[str, ...], ...] = ()
    """Of the review: per level the roles of which one decides it."""
    level: int = 0
    """How many levels have approved this revision: the index of the open one."""
    escalate_to: tuple[str, ...] = ()
    open_roles: tuple[str, ...] = ()
    """Who may decide now: the open level's roles and, once escalated, `escalate_to`. Empty outside review."""
    decide_by: datetime | None = None
    escalated_at: datetime | None = None
    expires_at: datetime | None = None
    """When an undecided request is closed."""
    stop_reason: str | None = None
    """Why it was denied, rejected, canceled or failed."""
    answers_dispute_id: UUID | None = None
    """The inquiry that it answers, so that the question does not become a dispute."""
    refunded_minor: int = 0
    """What went back for good so far."""
    created_at: datetime
    approved_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def amount(self) -> Money:
        """What is asked back."""
        return Money(self.amount_minor, self.currency)


class RefundPart(msgspec.Struct, frozen=True, kw_only=True):
    """What of a refund goes back over one capture, or as store credit; written down before it is sent."""

    id: UUID
    merchant_id: str
    refund_id: UUID
    payment_id: UUID
    capture_id: UUID | None = None
    """None: goodwill as store credit, which no capture stands behind."""
    number: int
    """1 for the refund's first part."""
    revision: int
    destination: Destination
    gateway: str | None = None
    """None for store credit."""
    void: bool = False
    """Cancels an authorisation instead of refunding a capture."""
    amount_minor: int
    currency: str
    tax_minor: int = 0
    """The tax within `amount_minor`, for the ledger."""
    idempotency_key: str | None = None
    """Made once, before the first send; None where no gateway is asked, or others made it."""
    gateway_ref: str | None = None
    state: PartState
    failure: RefundFailure | None = None
    follows: UUID | None = None
    """The failed part that this one replaces."""
    not_before: datetime | None = None
    """When it may leave: after a wait that the policy gives."""
    sends: int = 0
    claim: int = 0
    successes: int = 0
    """How often it succeeded: a gateway may take money back and send it again."""
    created_at: datetime
    submitted_at: datetime | None = None
    last_sent_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def amount(self) -> Money:
        """What goes back."""
        return Money(self.amount_minor, self.currency)


class RefundLine(msgspec.Struct, frozen=True, kw_only=True):
    """What of a refund is about one line of the payment; all lines of a revision sum to its amount."""

    id: UUID
    merchant_id: str
    refund_id: UUID
    payment_line_id: UUID
    revision: int
    quantity: int
    """0 where only money comes back, not pieces."""
    amount_minor: int
    tax_minor: int
    holds: bool = True
    """False once the revision was replaced or the refund is over without money."""
