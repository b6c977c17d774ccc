"""Disputes: the customer went to their bank. Money under dispute, or lost in one, is never refunded as well."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine
from recoup_core.domain.money import Money


class DisputeState(StrEnum):
    """How far it got."""

    INQUIRY = "inquiry"
    """The bank asks; no money has moved, and a refund may still answer it."""
    OPEN = "open"
    """The gateway has taken the money back provisionally."""
    WON = "won"
    LOST = "lost"
    CLOSED = "closed"
    """An inquiry that came to nothing."""


class DisputeEvent(StrEnum):
    """What can happen to it."""

    OPEN = "open"
    WIN = "win"
    LOSE = "lose"
    CLOSE = "close"


_S, _E = DisputeState, DisputeEvent

DISPUTE: Final = Machine(
    "dispute",
    {
        (_S.INQUIRY, _E.OPEN): _S.OPEN,
        (_S.INQUIRY, _E.CLOSE): _S.CLOSED,
        (_S.INQUIRY, _E.WIN): _S.WON,
        (_S.INQUIRY, _E.LOSE): _S.LOST,
        (_S.CLOSED, _E.OPEN): _S.OPEN,  # asked first, disputed later all the same
        (_S.OPEN, _E.WIN): _S.WON,
        (_S.OPEN, _E.LOSE): _S.LOST,
        (_S.OPEN, _E.CLOSE): _S.WON,  # withdrawn: the money stays with us
        (_S.WON, _E.OPEN): _S.OPEN,  # a second chargeback
        (_S.WON, _E.LOSE): _S.LOST,
        (_S.LOST, _E.WIN): _S.WON,  # decided the other way in the end
    },
)

FREEZES: Final = frozenset({_S.OPEN, _S.LOST})
"""States in which the disputed money counts against its capture."""


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """One dispute of one charge."""

    id: UUID
    merchant_id: str
    payment_id: UUID
    capture_id: UUID
    gateway: str
    gateway_ref: str
    amount_minor: int
    currency: str
    state: DisputeState
    reason: str | None = None
    """The gateway's word for why."""
    evidence_due_at: datetime | None = None
    turns: int = 0
    """How often money moved because of it: numbers its ledger entries."""
    opened_at: datetime
    closed_at: datetime | None = None

    @property
    def amount(self) -> Money:
        """What is disputed."""
        return Money(self.amount_minor, self.currency)
