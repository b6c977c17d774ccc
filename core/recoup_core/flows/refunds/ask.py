"""What is asked for: a refund, an edit of one, and what is wrong with the words of it before anything is read."""

import re
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers_in
from recoup_core.domain.money import MAX_AMOUNT_MINOR, exponent
from recoup_core.domain.refund import Destination, Evidence, Purpose, Spread
from recoup_core.flows.refunds.refusals import RefundInvalid

MAX_REASON: Final = 100
"""Characters of a reason, as the table holds them; a policy's own words are shorter."""
MAX_NOTE: Final = 1_000
MAX_EVIDENCE: Final = 20
MAX_EVIDENCE_REF: Final = 500
MAX_LINES: Final = 500
MAX_PAYMENTS: Final = 50
"""Payments of one order that one refund goes over."""
MAX_QUANTITY: Final = 1_000_000
"""Pieces of one line, as the table holds them."""

_EVIDENCE_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
"""As policies write it (`rules/language/reasons.py`)."""


class AskedLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked back of one line: pieces, money, both, or (neither given) all that is left of it."""

    line: str
    """The merchant's own name for the line."""
    quantity: int | None = None
    """Pieces that come back; without `amount_minor` their share of what is left of the line."""
    amount_minor: int | None = None
    """Money, with tax; beside `quantity` what is paid for those pieces."""
    tax_only: bool = False
    """Only the line's tax comes back: `amount_minor` of it, or all that is left."""


class AskedPayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes back over one payment of an order."""

    payment_id: UUID
    amount_minor: int


class RefundAsk(msgspec.Struct, frozen=True, kw_only=True):
    """A request for money back: of one payment (`payment_id`), or of the payments of one order (`order_ref`)."""

    payment_id: UUID | None = None
    order_ref: str | None = None
    payments: tuple[AskedPayment, ...] = ()
    """Of an order: how much goes over which payment, in this order; none: the newest captures first."""
    spread: Spread | None = None
    amount_minor: int
    """In all; always said, never guessed (prior art, trap 14)."""
    currency: str
    reason: str
    note: str | None = None
    purpose: Purpose = Purpose.REFUND
    destination: Destination = Destination.ORIGINAL_METHOD
    lines: tuple[AskedLine, ...] = ()
    """None: the amount is shared over what is left of the payment's lines."""
    evidence: tuple[Evidence, ...] = ()
    answers_dispute_id: UUID | None = None
    """The inquiry that the refund answers."""


class RefundEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different; None leaves a thing as it is.

    `lines` and `payments` replace what was asked for and come with the amount; so does a new amount alone: it is then
    shared anew. `evidence` replaces what was handed in.
    """

    amount_minor: int | None = None
    lines: tuple[AskedLine, ...] | None = None
    payments: tuple[AskedPayment, ...] | None = None
    reason: str | None = None
    note: str | None = None
    destination: Destination | None = None
    evidence: tuple[Evidence, ...] | None = None


def check_ask(ask: RefundAsk) -> None:
    """Raise what is wrong with a request by itself: `RefundInvalid`, `UnknownCurrency`, `CardNumberRefused`."""
    refuse_card_numbers_in(ask)
    exponent(ask.currency)
    _check_amount(ask.amount_minor, "amount_minor")
    _check_target(ask)
    _check_payments(ask.payments, ask.amount_minor)
    _check_lines(ask.lines)
    _check_reason(ask.reason)
    _check_note(ask.note)
    _check_evidence(ask.evidence)


def check_edit(edit: RefundEdit) -> None:
    """Raise what is wrong with an edit by itself: `RefundInvalid`, `CardNumberRefused`."""
    refuse_card_numbers_in(edit)
    if edit.amount_minor is not None:
        _check_amount(edit.amount_minor, "amount_minor")
    elif edit.lines is not None or edit.payments is not None:
        raise RefundInvalid("amount_minor", "must be given with new lines or payments")
    _check_payments(edit.payments or (), edit.amount_minor or 0)
    _check_lines(edit.lines or ())
    if edit.reason is not None:
        _check_reason(edit.reason)
    _check_note(edit.note)
    _check_evidence(edit.evidence or ())


def _check_target(ask: RefundAsk) -> None:
    order = ask.order_ref is not None or bool(ask.payments)
    if order == (ask.payment_id is not None):
        raise RefundInvalid("payment_id", "give either a payment, or an order")
    if not order and ask.spread is not None:
        raise RefundInvalid("spread", "says how an order goes back; one payment has none")
    if ask.spread is Spread.AS_GIVEN and not ask.payments:
        raise RefundInvalid("payments", "must be given where the spread is as_given")
    if ask.spread is Spread.NEWEST_FIRST and ask.payments:
        raise RefundInvalid("payments", "are taken as given; leave them out for newest_first")


def _check_amount(amount_minor: int, field: str) -> None:
    if not 1 <= amount_minor <= MAX_AMOUNT_MINOR:
        raise RefundInvalid(field, f"must lie between 1 and {MAX_AMOUNT_MINOR}")


def _check_payments(payments: tuple[AskedPayment, ...], amount_minor: int) -> None:
    if len(payments) > MAX_PAYMENTS:
        raise RefundInvalid("payments", f"at most {MAX_PAYMENTS} payments of an order")
    for index, each in enumerate(payments):
        _check_amount(each.amount_minor, f"payments[{index}].amount_minor")
    if len({each.payment_id for each in payments}) < len(payments):
        raise RefundInvalid("payments", "the same payment is given twice")
    if payments and sum(each.amount_minor for each in payments) != amount_minor:
        raise RefundInvalid("payments", "their amounts don't sum to amount_minor")


def _check_lines(lines: tuple[AskedLine, ...]) -> None:
    if len(lines) > MAX_LINES:
        raise RefundInvalid("lines", f"at most {MAX_LINES} lines")
    if len({each.line for each in lines}) < len(lines):
        raise RefundInvalid("lines", "the same line is given twice")
    for index, each in enumerate(lines):
        if each.quantity is not None and not 1 <= each.quantity <= MAX_QUANTITY:
            raise RefundInvalid(f"lines[{index}].quantity", f"must lie between 1 and {MAX_QUANTITY}")
        if each.amount_minor is not None:
            _check_amount(each.amount_minor, f"lines[{index}].amount_minor")
        if each.tax_only and each.quantity is not None:
            raise RefundInvalid(f"lines[{index}].quantity", "tax comes back without pieces")


def _check_reason(reason: str) -> None:
    if not 1 <= len(reason) <= MAX_REASON or not reason.isprintable():
        raise RefundInvalid("reason", f"must be 1 to {MAX_REASON} printable characters")


def _check_note(note: str | None) -> None:
    if note is not None and (len(note) > MAX_NOTE or "\x00" in note):
        raise RefundInvalid("note", f"must be at most {MAX_NOTE} characters of text")


def _check_evidence(evidence: tuple[Evidence, ...]) -> None:
    if len(evidence) > MAX_EVIDENCE:
        raise RefundInvalid("evidence", f"at most {MAX_EVIDENCE} pieces")
    for index, each in enumerate(evidence):
        if not _EVIDENCE_KIND.fullmatch(each.kind):
            raise RefundInvalid(f"evidence[{index}].kind", "must be lower-case letters, digits and _, at most 60")
        if not 1 <= len(each.ref) <= MAX_EVIDENCE_REF or not each.ref.isprintable():
            raise RefundInvalid(f"evidence[{index}].ref", f"must be 1 to {MAX_EVIDENCE_REF} printable characters")
