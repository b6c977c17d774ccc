"""What a gateway says that it settled: every movement of its balance up to a payout."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind


class SettledLine(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of the merchant's balance at the gateway."""

    ref: str
    """The gateway's own id of the movement, unique at the gateway: a line that comes twice is known by it."""
    kind: SettlementKind
    amount: Money
    """What was charged, refunded or disputed, in the currency of the charge; never negative."""
    settled_minor: int
    """What the balance changed by before fees, signed, in the report's currency."""
    fee_minor: int = 0
    """What the gateway kept for it, in the report's currency; negative where it gave a fee back."""
    charge_ref: str | None = None
    """The gateway's id of the charge it is about."""
    other_charge_refs: tuple[str, ...] = ()
    operation_ref: str | None = None
    """The gateway's id of the refund or the dispute it is about."""
    attempt_id: UUID | None = None
    part_id: UUID | None = None
    """Ours, where the gateway carries them back."""
    payment_reference: str | None = None
    occurred_at: datetime
    description: str = ""


class ReportedSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """One report: the lines between two payouts, in one currency.

    The net of the lines (`settled_minor` less `fee_minor`, payouts included) must come to what the report says itself,
    where it says so: a report that doesn't add up is taken in and put before a person.
    """

    report_ref: str
    """The gateway's own name of the report or the payout; a report that comes twice is known by it."""
    currency: str
    lines: tuple[SettledLine, ...]
    payout_ref: str | None = None
    paid_out_minor: int | None = None
    """What was sent to the bank, where the report tells; negative where the gateway collected."""
    paid_out_at: datetime | None = None


class SettlementUnreadable(DomainError):
    """A settlement report can't be read; says where and why, and never repeats what might be a secret."""

    code: ClassVar[str] = "settlement_unreadable"

    def __init__(self, reason: str, line: int | None = None) -> None:
        where = "" if line is None else f"line {line}: "
        super().__init__(f"the settlement report can't be read: {where}{reason}")
        self.reason, self.line = reason, line
