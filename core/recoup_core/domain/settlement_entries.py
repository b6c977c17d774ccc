"""The entries of settlement lines: after them the clearing account has changed by exactly what was settled.

A charge, a refund or a dispute is booked when it happens. Its line books what that entry doesn't know: the fee, another
currency, a difference. What nothing explains stands as suspense, so that a report adds up to the cent all the same.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from recoup_core.domain.chart import ADJUSTED, EXCHANGED, FEE_CHARGED, PAID_OUT, SUSPENDED, Movement
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import EntryKind, LedgerEntry, Posting, happened, postings, reversal_of
from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind, SettlementLine


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the entries of a line are about, besides the line."""

    payment_id: UUID | None = None
    capture_id: UUID | None = None
    refund_id: UUID | None = None


def matched_entries(line: SettlementLine, about: About, *, at: datetime) -> tuple[LedgerEntry, ...]:
    """Book a line that is matched: `booked_minor` and `fee_booked_minor` say what other entries have booked already."""
    if line.kind is SettlementKind.FEE:
        kept = line.fee_minor - line.settled_minor - line.fee_booked_minor
        return _entries(line, about, at, (FEE_CHARGED, kept))
    fee = line.fee_minor - line.fee_booked_minor
    if line.kind is SettlementKind.PAYOUT:
        return _entries(line, about, at, (PAID_OUT, -line.settled_minor), (FEE_CHARGED, fee))
    if line.kind is SettlementKind.OTHER:
        return _entries(line, about, at, (ADJUSTED, line.settled_minor), (FEE_CHARGED, fee))
    if line.currency != line.settled_currency:
        return (*_exchanged(line, about, at), *_entries(line, about, at, (FEE_CHARGED, fee)))
    off = line.settled_minor - line.booked_minor
    return _entries(line, about, at, (SUSPENDED, off), (FEE_CHARGED, fee))


def doubted_entries(line: SettlementLine, *, at: datetime) -> tuple[LedgerEntry, ...]:
    """Book a line that nothing explains: all of it is suspense, and its fee is a fee all the same."""
    return _entries(line, About(), at, (SUSPENDED, line.settled_minor), (FEE_CHARGED, line.fee_minor))


def cleared(entries: Iterable[LedgerEntry], *, at: datetime) -> tuple[LedgerEntry, ...]:
    """Take back what a line was booked as while nothing explained it."""
    return tuple(reversal_of(entry=entry, at=at) for entry in entries if entry.kind is not EntryKind.REVERSAL)


def _entries(line: SettlementLine, about: About, at: datetime, *moved: tuple[Movement, int]) -> tuple[LedgerEntry, ...]:
    """Return an entry for each movement by more than nothing; a negative amount moves the other way."""
    return tuple(
        _entry(line, about, at, movement, postings(movement, Money(minor, line.settled_currency), line.gateway))
        for movement, minor in moved
        if minor
    )


def _exchanged(line: SettlementLine, about: About, at: datetime) -> tuple[LedgerEntry, ...]:
    """Move what was booked in the charge's currency out of the clearing account, and what was settled into it."""
    sold = Money(line.booked_minor, line.currency)
    bought = Money(-line.settled_minor, line.settled_currency)
    lines = [
        posting
        for money in (sold, bought)
        if money.amount_minor
        for posting in postings(EXCHANGED, money, line.gateway)
    ]
    return (_entry(line, about, at, EXCHANGED, tuple(lines)),) if lines else ()


def _entry(
    line: SettlementLine, about: About, at: datetime, movement: Movement, lines: tuple[Posting, ...]
) -> LedgerEntry:
    return LedgerEntry(
        id=new_id(),
        merchant_id=line.merchant_id,
        kind=movement.kind,
        payment_id=about.payment_id,
        capture_id=about.capture_id,
        refund_id=about.refund_id,
        settlement_line_id=line.id,
        lines=len(lines),
        postings=lines,
        occurred_at=happened(line.occurred_at, at),
        created_at=at,
    )
