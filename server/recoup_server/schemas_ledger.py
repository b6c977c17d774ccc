"""The ledger as the API shows it: amounts in minor units, debits positive, credits negative."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from recoup_core.domain.chart import CHART, MOVEMENTS, AccountKind, EntryKind, Side, account_of
from recoup_core.domain.ledger import LedgerEntry
from recoup_core.flows.ledger import TrialBalance
from recoup_core.storage.ledger import Balance, Basis
from recoup_server.schemas_out import Out


class AccountOut(Out, frozen=True, kw_only=True):
    """One account of the chart."""

    name: str
    kind: AccountKind
    normal: Side
    """The side its balance is on unless something unusual happened."""
    per_gateway: bool
    """Whether there is one for each gateway, `<name>:<gateway>`."""
    meaning: str


class MovementOut(Out, frozen=True, kw_only=True):
    """One way in which money moves."""

    name: str
    kind: EntryKind
    debit: str
    credit: str
    meaning: str


class ChartOut(Out, frozen=True, kw_only=True):
    """Every account, and every movement that is ever booked besides reversals, which negate an entry."""

    accounts: list[AccountOut]
    movements: list[MovementOut]


class BalanceOut(Out, frozen=True, kw_only=True):
    """What one account came to in one currency."""

    account: str
    currency: str
    kind: AccountKind
    debited_minor: int
    """All debits together."""
    credited_minor: int
    """All credits together."""
    balance_minor: int
    """Debits less credits."""


class BalancesOut(Out, frozen=True, kw_only=True):
    """Every account at one moment."""

    by: Basis
    before: datetime | None
    """The first moment that no longer counts; none: everything counts."""
    items: list[BalanceOut]


class TrialRowOut(Out, frozen=True, kw_only=True):
    """One account's balance, in the column of its side."""

    account: str
    currency: str
    debit_minor: int
    credit_minor: int


class TotalOut(Out, frozen=True, kw_only=True):
    """What both columns come to in one currency."""

    currency: str
    debit_minor: int
    credit_minor: int


class TrialBalanceOut(Out, frozen=True, kw_only=True):
    """Every account's balance at one moment, and the sums that have to be equal."""

    by: Basis
    before: datetime | None
    """The first moment that no longer counts; none: everything counts."""
    balanced: bool
    items: list[TrialRowOut]
    totals: list[TotalOut]


class PostingOut(Out, frozen=True, kw_only=True):
    """One line of an entry."""

    account: str
    amount_minor: int
    """A debit is positive, a credit negative."""
    currency: str


class EntryOut(Out, frozen=True, kw_only=True):
    """One balanced movement, and what it is about."""

    id: UUID
    kind: EntryKind
    payment_id: UUID | None
    """None where a gateway's balance moved for no payment that is known here."""
    attempt_id: UUID | None
    capture_id: UUID | None
    refund_id: UUID | None
    part_id: UUID | None
    dispute_id: UUID | None
    case_id: UUID | None
    settlement_line_id: UUID | None
    """The line of a settlement report that says so."""
    reverses: UUID | None
    """The entry that this one takes back."""
    postings: list[PostingOut]
    occurred_at: datetime
    """When the money moved, as far as anybody told."""
    created_at: datetime
    """When it was booked."""


class EntryPageOut(Out, frozen=True, kw_only=True):
    """Entries, newest first; a filtered page may be short or empty while `next_cursor` goes on."""

    items: list[EntryOut]
    next_cursor: str | None


def chart_out() -> ChartOut:
    """Return the chart as the API shows it."""
    return ChartOut(
        accounts=[
            AccountOut(name=a.name, kind=a.kind, normal=a.normal, per_gateway=a.per_gateway, meaning=a.meaning)
            for a in CHART.values()
        ],
        movements=[
            MovementOut(name=m.name, kind=m.kind, debit=m.debit, credit=m.credit, meaning=m.meaning) for m in MOVEMENTS
        ],
    )


def balances_out(balances: Sequence[Balance], before: datetime | None, by: Basis) -> BalancesOut:
    """Return balances as the API shows them."""
    items = [
        BalanceOut(
            account=each.account,
            currency=each.currency,
            kind=account_of(each.account).kind,
            debited_minor=each.debited_minor,
            credited_minor=each.credited_minor,
            balance_minor=each.balance_minor,
        )
        for each in balances
    ]
    return BalancesOut(by=by, before=before, items=items)


def trial_out(trial: TrialBalance, before: datetime | None, by: Basis) -> TrialBalanceOut:
    """Return a trial balance as the API shows it."""
    return TrialBalanceOut(
        by=by,
        before=before,
        balanced=trial.balanced,
        items=[
            TrialRowOut(
                account=row.account,
                currency=row.currency,
                debit_minor=max(0, row.balance_minor),
                credit_minor=max(0, -row.balance_minor),
            )
            for row in trial.rows
        ],
        totals=[
            TotalOut(currency=currency, debit_minor=total.debit_minor, credit_minor=total.credit_minor)
            for currency, total in trial.totals.items()
        ],
    )


def entry_out(entry: LedgerEntry) -> EntryOut:
    """Return an entry as the API shows it."""
    shown = {name: getattr(entry, name) for name in EntryOut.__struct_fields__ if name != "postings"}
    postings = [
        PostingOut(account=each.account, amount_minor=each.amount_minor, currency=each.currency)
        for each in entry.postings
    ]
    return EntryOut(**shown, postings=postings)
