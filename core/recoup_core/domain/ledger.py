"""Double entry: every entry sums to zero in every currency; corrections are reversals, nothing is edited."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from recoup_core.domain.capture import Capture
from recoup_core.domain.chart import (
    BAD_DEBT,
    CAPTURED,
    CHART,
    DISPUTE_LOST,
    DISPUTE_LOST_AT_ONCE,
    DISPUTE_TAKEN,
    FEE_CHARGED,
    GOODWILL_CREDITED,
    GOODWILL_PAID,
    GOODWILL_TAX,
    REFUND_CREDITED,
    REFUND_PAID,
    REFUND_TAX,
    WRITTEN_OFF,
    Movement,
)
from recoup_core.domain.chart import EntryKind as EntryKind  # stands beside the movements that are of a kind
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.errors import UnbalancedEntry
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Payment
from recoup_core.domain.refund import Destination, Purpose, Refund, RefundPart


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
    payment_id: UUID | None = None
    """None where a gateway's balance moved for no payment that is known here."""
    attempt_id: UUID | None = None
    capture_id: UUID | None = None
    refund_id: UUID | None = None
    part_id: UUID | None = None
    dispute_id: UUID | None = None
    case_id: UUID | None = None
    settlement_line_id: UUID | None = None
    """The line of a settlement report that says so."""
    reverses: UUID | None = None
    """The entry that a reversal takes back; an entry is taken back at most once."""
    turn: int = 1
    """Tells apart entries of one kind about one part or dispute: a gateway may take money back and send it again."""
    lines: int = 2
    """How many postings it has; the database lets none be added later."""
    postings: tuple[Posting, ...]
    occurred_at: datetime
    """When the money moved, as far as anybody told."""
    created_at: datetime
    """When it was booked."""

    def __post_init__(self) -> None:
        if len(self.postings) != self.lines:
            raise UnbalancedEntry(self.postings[0].currency if self.postings else "", 0)
        totals: dict[str, int] = defaultdict(int)
        for posting in self.postings:
            totals[posting.currency] += posting.amount_minor
        for currency, total in totals.items():
            if total != 0:
                raise UnbalancedEntry(currency, total)


def happened(told: datetime | None, booked: datetime) -> datetime:
    """Return when money moved: as told, but never after it was booked; a gateway's clock may be ahead of ours."""
    return booked if told is None else min(told, booked)


def postings(movement: Movement, amount: Money, gateway: str | None = None) -> tuple[Posting, Posting]:
    """Return the two postings of a movement; one that touches a gateway's account needs its name."""

    def account(name: str) -> str:
        if not CHART[name].per_gateway:
            return name
        if gateway is None:
            raise ValueError(f"{movement.name} is booked at a gateway, and none is given")
        return f"{name}:{gateway}"

    return (
        Posting(account(movement.debit), amount.amount_minor, amount.currency),
        Posting(account(movement.credit), -amount.amount_minor, amount.currency),
    )


def capture_entry(
    *,
    entry_id: UUID,
    merchant_id: str,
    payment_id: UUID,
    attempt_id: UUID | None,
    capture_id: UUID,
    gateway: str,
    amount_minor: int,
    currency: str,
    at: datetime,
    occurred_at: datetime | None = None,
) -> LedgerEntry:
    """Book a capture: the gateway now holds for us what the customer owed."""
    return LedgerEntry(
        id=entry_id,
        merchant_id=merchant_id,
        kind=CAPTURED.kind,
        payment_id=payment_id,
        attempt_id=attempt_id,
        capture_id=capture_id,
        postings=postings(CAPTURED, Money(amount_minor, currency), gateway),
        occurred_at=happened(occurred_at, at),
        created_at=at,
    )


def entry_of_capture(capture: Capture, *, at: datetime) -> LedgerEntry:
    """Book a capture as its row says; one that is only authorised books nothing and must not come here."""
    return capture_entry(
        entry_id=new_id(),
        merchant_id=capture.merchant_id,
        payment_id=capture.payment_id,
        attempt_id=capture.attempt_id,
        capture_id=capture.id,
        gateway=capture.gateway,
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        at=at,
        occurred_at=capture.captured_at,
    )


def refund_entries(
    *, part: RefundPart, refund: Refund, fee: Money | None = None, at: datetime, occurred_at: datetime | None = None
) -> tuple[LedgerEntry, ...]:
    """Book a part that has succeeded: the money, the tax in it, and the gateway's fee where it told one.

    `part` is as it is afterwards, with this success counted: `successes` numbers the entries. A void books nothing
    but a fee. The fee may be in another currency than the refund.
    """
    goodwill = refund.purpose is Purpose.GOODWILL
    credit = part.destination is Destination.STORE_CREDIT
    money = {
        (False, False): REFUND_PAID,
        (False, True): REFUND_CREDITED,
        (True, False): GOODWILL_PAID,
        (True, True): GOODWILL_CREDITED,
    }[goodwill, credit]
    booked: list[tuple[Movement, Money]] = []
    if not part.void:
        booked.append((money, part.amount))
        if part.tax_minor:
            booked.append((GOODWILL_TAX if goodwill else REFUND_TAX, Money(part.tax_minor, part.currency)))
    if fee is not None and fee.amount_minor > 0 and part.gateway is not None:
        booked.append((FEE_CHARGED, fee))
    return tuple(
        LedgerEntry(
            id=new_id(),
            merchant_id=part.merchant_id,
            kind=movement.kind,
            payment_id=part.payment_id,
            capture_id=part.capture_id,
            refund_id=part.refund_id,
            part_id=part.id,
            turn=part.successes,
            postings=postings(movement, amount, part.gateway),
            occurred_at=happened(occurred_at, at),
            created_at=at,
        )
        for movement, amount in booked
    )


def dispute_entries(
    *,
    dispute: Dispute,
    booked: Sequence[LedgerEntry],
    fee: Money | None = None,
    at: datetime,
    occurred_at: datetime | None = None,
) -> tuple[LedgerEntry, ...]:
    """Book what makes the ledger say what the dispute's state says, and the gateway's fee where it told one.

    `dispute` is as it is afterwards, its `turns` counted up by one for this change: they number the entries. `booked`
    is what `entries_of_dispute` found, the entries not taken back yet. Open takes the money, lost loses it, anything
    else brings all of it back by reversals; a fee stays charged. Booking the same state again books nothing.
    """
    standing = [entry for entry in booked if entry.kind is EntryKind.DISPUTE]
    lost = any(posting.account == BAD_DEBT for entry in standing for posting in entry.postings)
    entries: list[LedgerEntry] = []
    if dispute.state is DisputeState.OPEN and not standing:
        entries.append(_of_dispute(DISPUTE_TAKEN, dispute, dispute.amount, at, occurred_at))
    elif dispute.state is DisputeState.LOST and not lost:
        movement = DISPUTE_LOST if standing else DISPUTE_LOST_AT_ONCE
        entries.append(_of_dispute(movement, dispute, dispute.amount, at, occurred_at))
    elif dispute.state not in (DisputeState.OPEN, DisputeState.LOST):
        entries.extend(taken_back(standing, at=at, occurred_at=occurred_at))
    if fee is not None and fee.amount_minor > 0:
        entries.append(_of_dispute(FEE_CHARGED, dispute, fee, at, occurred_at))
    return tuple(entries)


def _of_dispute(
    movement: Movement, dispute: Dispute, amount: Money, at: datetime, occurred_at: datetime | None
) -> LedgerEntry:
    return LedgerEntry(
        id=new_id(),
        merchant_id=dispute.merchant_id,
        kind=movement.kind,
        payment_id=dispute.payment_id,
        capture_id=dispute.capture_id,
        dispute_id=dispute.id,
        turn=dispute.turns,
        postings=postings(movement, amount, dispute.gateway),
        occurred_at=happened(occurred_at, at),
        created_at=at,
    )


def write_off_entry(*, payment: Payment, case_id: UUID, at: datetime) -> LedgerEntry:
    """Book a debt that is given up: all that is outstanding, which must be more than nothing."""
    return LedgerEntry(
        id=new_id(),
        merchant_id=payment.merchant_id,
        kind=WRITTEN_OFF.kind,
        payment_id=payment.id,
        case_id=case_id,
        postings=postings(WRITTEN_OFF, payment.outstanding),
        occurred_at=at,
        created_at=at,
    )


def reversal_of(*, entry: LedgerEntry, at: datetime, occurred_at: datetime | None = None) -> LedgerEntry:
    """Take an entry back, posting by posting. The database refuses to take one back twice, or a reversal itself.

    It happened no earlier than the entry, whatever clocks say: on no date does an account stand at what never was.
    """
    return msgspec.structs.replace(
        entry,
        id=new_id(),
        kind=EntryKind.REVERSAL,
        reverses=entry.id,
        postings=tuple(Posting(p.account, -p.amount_minor, p.currency) for p in entry.postings),
        occurred_at=max(entry.occurred_at, happened(occurred_at, at)),
        created_at=at,
    )


def taken_back(
    entries: Iterable[LedgerEntry], *, at: datetime, occurred_at: datetime | None = None
) -> tuple[LedgerEntry, ...]:
    """Take back what moved; fees stay charged, because gateways keep them."""
    return tuple(
        reversal_of(entry=entry, at=at, occurred_at=occurred_at) for entry in entries if entry.kind is not EntryKind.FEE
    )
