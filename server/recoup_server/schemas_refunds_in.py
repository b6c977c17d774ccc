"""What requests about refunds carry: what is asked back, and what people say to it."""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.approval import Verdict
from recoup_core.domain.refund import (
    Destination,
    Evidence,
    Purpose,
    Spread,
)
from recoup_core.flows.operate import HUMAN_EVIDENCE
from recoup_core.flows.refunds.approvals import BULK_MOST, COMMENT_MAX
from recoup_core.flows.refunds.ask import (
    MAX_EVIDENCE,
    MAX_EVIDENCE_REF,
    MAX_LINES,
    MAX_NOTE,
    MAX_PAYMENTS,
    MAX_QUANTITY,
    AskedLine,
    AskedPayment,
    RefundAsk,
    RefundEdit,
)
from recoup_core.flows.refunds.settle import PartResolution
from recoup_server.schemas_in import AmountMinor, Body, Currency, Name

MAX_VERSION: Final = 2**31 - 1

Word = Annotated[
    str,
    Meta(pattern="^[a-z][a-z0-9_]*$", min_length=1, max_length=60, description="As refund policies write it."),
]
Note = Annotated[str, Meta(min_length=1, max_length=MAX_NOTE)]
Comment = Annotated[str, Meta(min_length=1, max_length=COMMENT_MAX)]
Version = Annotated[int, Meta(ge=1, le=MAX_VERSION, description="The version that was read: the `ETag`.")]


class EvidenceIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that supports the reason."""

    kind: Word
    """What it is (`photo`); policies say what a reason needs."""
    ref: Annotated[str, Meta(min_length=1, max_length=MAX_EVIDENCE_REF)]
    """Where it can be seen: a link or a file's name in your own system; Recoup keeps no files."""


class RefundLineIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked back of one line of the payment: pieces, money, or its tax alone."""

    line: Name
    """Your name for the line, as the payment was reported with."""
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)] | None = None
    """So many pieces, at their exact share; the last piece takes what is left."""
    amount_minor: AmountMinor | None = None
    """So much of it, with tax; beside `quantity`, for so many pieces."""
    tax_only: bool = False
    """Only the tax within what else is said; of the whole line where nothing is."""


class RefundPaymentIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of the refund goes back over one payment of the order."""

    payment_id: UUID
    amount_minor: AmountMinor


_Lines = Annotated[tuple[RefundLineIn, ...], Meta(max_length=MAX_LINES)]
_Payments = Annotated[tuple[RefundPaymentIn, ...], Meta(max_length=MAX_PAYMENTS)]
_Evidence = Annotated[tuple[EvidenceIn, ...], Meta(max_length=MAX_EVIDENCE)]


class RefundIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A refund of one payment (`payment_id`), or over the payments of one order (`order_ref` with `spread`)."""

    payment_id: UUID | None = None
    order_ref: Name | None = None
    spread: Spread | None = None
    """Of an order: `as_given` by `payments`, or `newest_first`, which holds where neither is said."""
    payments: _Payments = ()
    """Of an order that is spread as given: how much goes back over which payment, in this order."""
    amount_minor: AmountMinor
    """Always said, also for all of it; lines must come to it."""
    currency: Currency
    reason: Word
    note: Note | None = None
    """For whoever decides; the customer is not told."""
    purpose: Purpose = Purpose.REFUND
    destination: Destination = Destination.ORIGINAL_METHOD
    lines: _Lines = ()
    """What it is about. Without lines the amount is spread over what is left of all lines."""
    evidence: _Evidence = ()
    answers_dispute_id: UUID | None = None
    """The bank's inquiry that this refund answers."""

    def ask(self) -> RefundAsk:
        """Return the request as flows know it."""
        return RefundAsk(
            payment_id=self.payment_id,
            order_ref=self.order_ref,
            payments=_payments(self.payments),
            spread=self.spread,
            amount_minor=self.amount_minor,
            currency=self.currency,
            reason=self.reason,
            note=self.note,
            purpose=self.purpose,
            destination=self.destination,
            lines=_lines(self.lines),
            evidence=_evidence(self.evidence),
            answers_dispute_id=self.answers_dispute_id,
        )


class RefundEditIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays. Every edit is decided anew and voids approvals."""

    amount_minor: AmountMinor | None = None
    """Must be said where `lines` or `payments` are."""
    lines: _Lines | None = None
    payments: _Payments | None = None
    reason: Word | None = None
    note: Note | None = None
    destination: Destination | None = None
    evidence: _Evidence | None = None
    """All of it: what was there before is replaced."""

    def edit(self) -> RefundEdit:
        """Return the edit as flows know it."""
        return RefundEdit(
            amount_minor=self.amount_minor,
            lines=None if self.lines is None else _lines(self.lines),
            payments=None if self.payments is None else _payments(self.payments),
            reason=self.reason,
            note=self.note,
            destination=self.destination,
            evidence=None if self.evidence is None else _evidence(self.evidence),
        )


class CancelRefundIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a refund is canceled."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class RetryRefundIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a refund that failed is tried again."""

    destination: Destination | None = None
    """Left out: the same way, by the approvals it has. Another way is decided on anew."""


class ApproveIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A yes."""

    comment: Comment | None = None


class RejectIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A no, for good."""

    comment: Comment
    """Why."""


class SendBackIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question to whoever asked."""

    comment: Comment
    """What has to be different."""


class BulkItemIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One refund as it was read."""

    refund_id: UUID
    version: Version


class BulkIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One verdict about many refunds; each is decided by itself."""

    verdict: Verdict
    items: Annotated[tuple[BulkItemIn, ...], Meta(min_length=1, max_length=BULK_MOST)]
    comment: Comment | None = None
    """Needed to reject or to send back."""


class ResolvePartIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person found out about a part whose outcome nobody else could tell."""

    outcome: Literal["succeeded", "failed", "never_arrived"]
    evidence: Annotated[str, Meta(min_length=1, max_length=HUMAN_EVIDENCE)]
    gateway_ref: Name | None = None
    """The gateway's id of the refund, where there is one."""

    def resolution(self) -> PartResolution:
        """Return the resolution as flows know it."""
        return msgspec.convert(self, PartResolution, from_attributes=True)


def _lines(given: tuple[RefundLineIn, ...]) -> tuple[AskedLine, ...]:
    return tuple(msgspec.convert(line, AskedLine, from_attributes=True) for line in given)


def _payments(given: tuple[RefundPaymentIn, ...]) -> tuple[AskedPayment, ...]:
    return tuple(msgspec.convert(each, AskedPayment, from_attributes=True) for each in given)


def _evidence(given: tuple[EvidenceIn, ...]) -> tuple[Evidence, ...]:
    return tuple(msgspec.convert(each, Evidence, from_attributes=True) for each in given)
