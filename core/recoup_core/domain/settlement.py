"""Settlement: what gateways say that they paid out, line by line, and what of it does not fit."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine
from recoup_core.domain.money import Money


class SettlementKind(StrEnum):
    """What a movement of the balance at a gateway was for."""

    CHARGE = "charge"
    """Money of a customer came in."""
    CHARGE_RETURNED = "charge_returned"
    """A charge that had succeeded was taken back (a bank debit that failed late)."""
    REFUND = "refund"
    REFUND_RETURNED = "refund_returned"
    """A refund came back to the merchant."""
    DISPUTE = "dispute"
    """Disputed money was taken."""
    DISPUTE_RETURNED = "dispute_returned"
    """Disputed money was given back."""
    FEE = "fee"
    """A fee by itself; a fee for another line stands on that line."""
    PAYOUT = "payout"
    """Money went to the merchant's bank, or came from there."""
    OTHER = "other"
    """Anything else: reserves, corrections, balance carried over."""


class LineState(StrEnum):
    """How far a line of a report got."""

    WAITING = "waiting"
    """Stored; nothing is booked for it yet."""
    MATCHED = "matched"
    """It settles what is known here (or is a payout, a fee, another movement), and is booked."""
    UNMATCHED = "unmatched"
    """Nothing here explains it: booked as suspense, and tried again for a while."""


class LineEvent(StrEnum):
    """What can happen to a line."""

    MATCH = "match"
    DOUBT = "doubt"


LINE: Final = Machine(
    "settlement_line",
    {
        (LineState.WAITING, LineEvent.MATCH): LineState.MATCHED,
        (LineState.WAITING, LineEvent.DOUBT): LineState.UNMATCHED,
        (LineState.UNMATCHED, LineEvent.MATCH): LineState.MATCHED,
        (LineState.UNMATCHED, LineEvent.DOUBT): LineState.UNMATCHED,
    },
)


class SettlementReport(msgspec.Struct, frozen=True, kw_only=True):
    """One report of a gateway, as far as it has been delivered: it may come in pieces, and twice."""

    id: UUID
    merchant_id: str
    gateway: str
    report_ref: str
    """The gateway's own name of it."""
    currency: str
    payout_ref: str | None = None
    paid_out_minor: int | None = None
    """What went to the bank, where the report tells; negative where the gateway collected."""
    paid_out_at: datetime | None = None
    told: int = 0
    """How many lines it has told in all, those told again included: the next one's number is one more."""
    lines: int = 0
    """How many lines are its own."""
    borrowed: int = 0
    """How many of its lines another report had brought before; they stay with that one."""
    earned_minor: int = 0
    """What its lines come to before payouts, those of others included: after fees, signed."""
    payouts_minor: int = 0
    """What its payout lines come to; negative where money went to the bank."""
    received_at: datetime
    received_from: str
    """Who brought it."""

    @property
    def adds_up(self) -> bool:
        """Whether what it earned is what was paid out, as far as it says."""
        if self.paid_out_minor is None:
            return True
        return self.paid_out_minor == self.earned_minor == -self.payouts_minor


class SettlementLine(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of the balance at a gateway, and what it turned out to settle."""

    id: UUID
    merchant_id: str
    report_id: UUID
    gateway: str
    number: int
    """Its place among the report's own lines, 1 for the first."""
    ref: str
    """The gateway's own id of the movement; unique at the gateway."""
    kind: SettlementKind
    amount_minor: int
    currency: str
    settled_minor: int
    """What the balance changed by before fees, signed, in `settled_currency`."""
    settled_currency: str
    fee_minor: int = 0
    """What the gateway kept, in `settled_currency`; negative where it gave a fee back."""
    charge_refs: tuple[str, ...] = ()
    operation_ref: str | None = None
    attempt_ref: UUID | None = None
    """Our attempt's id as the gateway says it; it may be nobody's."""
    part_ref: UUID | None = None
    """Our part's id as the gateway says it; it may be nobody's."""
    payment_reference: str | None = None
    occurred_at: datetime
    description: str = ""
    state: LineState = LineState.WAITING
    payment_id: UUID | None = None
    capture_id: UUID | None = None
    """The charge it settles, or the return of it."""
    part_id: UUID | None = None
    """The part it settles, or the return of it."""
    dispute_id: UUID | None = None
    """The dispute whose money it moved."""
    booked_minor: int = 0
    """What the ledger's own entry of that charge, refund or dispute did to the clearing account, in `currency`."""
    fee_booked_minor: int = 0
    """How much of the fee had been told and booked with the refund or the dispute, in `settled_currency`."""
    tries: int = 0
    """How often it was looked at again."""
    next_try_at: datetime | None = None
    """When an unmatched line is looked at again; None: no more, or there is no need."""

    @property
    def amount(self) -> Money:
        """What was charged, refunded or disputed."""
        return Money(self.amount_minor, self.currency)

    @property
    def settled(self) -> Money:
        """What the balance changed by before fees."""
        return Money(self.settled_minor, self.settled_currency)


class Problem(StrEnum):
    """What does not fit between a gateway's reports and our books."""

    UNKNOWN_CHARGE = "unknown_charge"
    """The gateway settled a charge that nobody has told us of."""
    UNKNOWN_REFUND = "unknown_refund"
    UNKNOWN_DISPUTE = "unknown_dispute"
    AMOUNT_DIFFERS = "amount_differs"
    """It settled another amount than is booked; the difference stands as suspense."""
    CURRENCY_DIFFERS = "currency_differs"
    SETTLED_TWICE = "settled_twice"
    """Another line has settled the same thing already."""
    CONTRADICTS = "contradicts"
    """It settled what, as we know it, can't have happened: a refund that was voided, for instance."""
    NOT_SETTLED = "not_settled"
    """It is in our books and in no report after the days that the settings allow for."""
    DOES_NOT_ADD_UP = "does_not_add_up"
    """The report's lines don't come to what it says was paid out."""
    TOLD_DIFFERENTLY = "told_differently"
    """A report or a line came again and says something else; the first word is kept."""
    NOT_FETCHED = "not_fetched"
    """A report that the gateway announced, or a person asked for, could not be fetched."""


class SettlementException(msgspec.Struct, frozen=True, kw_only=True):
    """Something that does not fit, until it is explained by a later report or resolved by a person."""

    id: UUID
    merchant_id: str
    gateway: str
    kind: Problem
    subject: str
    """What it is about, `line:<id>`, `charge:<id>`, ...: one of a kind is open per subject at most."""
    reason: str
    report_id: UUID | None = None
    line_id: UUID | None = None
    payment_id: UUID | None = None
    amount_minor: int | None = None
    """How much money it is about, signed as settled, where that can be said."""
    currency: str | None = None
    owner: str
    """The role or the person whose turn it is."""
    opened_at: datetime
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    resolution: str | None = None
    """What was done about it, with the evidence."""


class WantedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that is to be fetched."""

    id: UUID
    """Made of gateway and report: wanted again, it is the same."""
    gateway: str
    report_ref: str
    wanted_at: datetime
    tries: int = 0
