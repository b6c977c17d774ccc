"""Double entry: every entry sums to zero in every currency; corrections are reversals, nothing is edited."""

from collections import defaultdict
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from recoup_core.domain.errors import UnbalancedEntry


class EntryKind(StrEnum):
    """Why money moved."""

    CAPTURE = "capture"


class Posting(msgspec.Struct, frozen=True):
    """One line of an entry: debits are positive, credits negative, in minor units."""

    account: str
    amount_minor: int
    currency: str


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One balanced movement; refuses to exist unbalanced."""

    id: UUID
    merchant_id: str
    kind: EntryKind
    payment_id: UUID
    attempt_id: UUID
    postings: tuple[Posting, ...]
    created_at: datetime

    def __post_init__(self) -> None:
        totals: dict[str, int] = defaultdict(int)
        for posting in self.postings:
            totals[posting.currency] += posting.amount_minor
        for currency, total in totals.items():
            if total != 0:
                raise UnbalancedEntry(currency, total)


def capture_entry(
    *,
    entry_id: UUID,
    merchant_id: str,
    payment_id: UUID,
    attempt_id: UUID,
    gateway: str,
    amount_minor: int,
    currency: str,
    at: datetime,
) -> LedgerEntry:
    """Book a capture: the gateway now holds for us what the customer owed."""
    return LedgerEntry(
        id=entry_id,
        merchant_id=merchant_id,
        kind=EntryKind.CAPTURE,
        payment_id=payment_id,
        attempt_id=attempt_id,
        postings=(
            Posting(f"gateway_clearing:{gateway}", amount_minor, currency),
            Posting("receivable", -amount_minor, currency),
        ),
        created_at=at,
    )
