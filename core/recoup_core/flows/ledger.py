"""The ledger for accountants: balances at a moment or at the end of a day, the trial balance, and exports as text."""

import csv
import io
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from recoup_core.domain.chart import AccountKind, account_of
from recoup_core.domain.money import Money, exponent
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger import Balance, Basis, ReferencedEntry, stream_entries, time_of

BLOCK: Final = 64 * 1024
"""Characters after which an export hands on what it has."""


class ExportFormat(StrEnum):
    """How an export is written."""

    CSV = "csv"
    BEANCOUNT = "beancount"


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Both columns of a trial balance in one currency; equal in a ledger that is whole."""

    debit_minor: int
    credit_minor: int


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Every account's balance on its side, and what the sides come to by currency."""

    rows: tuple[Balance, ...]
    totals: Mapping[str, Totals]

    @property
    def balanced(self) -> bool:
        """Whether both sides come to the same in every currency."""
        return all(total.debit_minor == total.credit_minor for total in self.totals.values())


class ExportAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are wanted, and as what."""

    merchant_id: str
    format: ExportFormat
    first: date | None = None
    """The first day; None: from the beginning."""
    last: date | None = None
    """The last day, included; None: up to now."""
    zone: ZoneInfo
    """Whose days they are, and of which zone the dates of transactions are."""
    basis: Basis = Basis.BOOKED


# ----------------------------------------------------------------------------------------------------- moments and days

FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(9990, 12, 31)
"""Days that can be asked for; beyond them the calendar of the language ends, and with it every zone's arithmetic."""


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the first moment of a day in a zone; of a day that begins twice, the earlier one."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the first moment that is no longer part of a day in a zone."""
    return start_of(day + timedelta(days=1), zone)


def just_after(moment: datetime) -> datetime:
    """Return the bound that lets in what is of that very moment: times are kept to the microsecond."""
    return moment + timedelta(microseconds=1)


def trial_balance(balances: Sequence[Balance]) -> TrialBalance:
    """Set balances on their sides and add the sides up."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for balance in balances:
        sums[balance.currency][balance.balance_minor < 0] += abs(balance.balance_minor)
    totals = {currency: Totals(debit_minor=d, credit_minor=c) for currency, (d, c) in sorted(sums.items())}
    return TrialBalance(rows=tuple(balances), totals=totals)


# -------------------------------------------------------------------------------------------------------------- exports


def export(database: Database, ask: ExportAsk, now: datetime) -> AsyncIterator[str]:
    """Give the export in blocks of text. Entries are read page by page, so it is as large as it has to be."""
    since = None if ask.first is None else start_of(ask.first, ask.zone)
    before = now if ask.last is None else end_of(ask.last, ask.zone)
    entries = stream_entries(database, ask.merchant_id, since, before, ask.basis)
    return _blocks(as_csv(entries) if ask.format is ExportFormat.CSV else as_beancount(entries, ask))


async def _blocks(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    waiting, size = [], 0
    async for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= BLOCK:
            yield "".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting)


_SUBJECTS: Final = (
    *("payment_id", "attempt_id", "capture_id", "refund_id", "part_id", "dispute_id", "case_id"),
    "settlement_line_id",
)
COLUMNS: Final = (
    *("entry_id", "kind", "booked_at", "occurred_at", "reference", *_SUBJECTS, "reverses"),
    *("line", "account", "amount_minor", "amount", "currency"),
)
"""The columns of the CSV export, one row a posting; `amount` is `amount_minor` in major units."""


async def as_csv(entries: AsyncIterator[ReferencedEntry]) -> AsyncIterator[str]:
    """Give RFC 4180 text: a header, then one row for each posting."""
    yield _rows([COLUMNS])
    async for entry in entries:
        yield _rows(_csv_rows(entry))


def _csv_rows(entry: ReferencedEntry) -> Iterator[Sequence[object]]:
    subjects = [getattr(entry, name) or "" for name in _SUBJECTS]
    times = (entry.created_at.isoformat(), entry.occurred_at.isoformat())
    about = (entry.id, entry.kind, *times, _harmless(entry.reference), *subjects, entry.reverses or "")
    for number, posting in enumerate(entry.postings, 1):
        amount, _, currency = str(Money(posting.amount_minor, posting.currency)).partition(" ")
        yield (*about, number, _harmless(posting.account), posting.amount_minor, amount, currency)


def _rows(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _harmless(text: str) -> str:
    """Spreadsheets take text that begins like this for a formula (OWASP, CSV injection); quoted, it is text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


_ROOTS: Final = {
    AccountKind.ASSETS: "Assets",
    AccountKind.LIABILITIES: "Liabilities",
    AccountKind.INCOME: "Income",
    AccountKind.EXPENSES: "Expenses",
}


async def as_beancount(entries: AsyncIterator[ReferencedEntry], ask: ExportAsk) -> AsyncIterator[str]:
    """Give beancount text: accounts and currencies are opened where they are first used, each entry a transaction."""
    yield f'option "title" "Recoup: {_quoted(ask.merchant_id)}"\n\n'
    known: set[str] = set()
    async for entry in entries:
        day = time_of(entry, ask.basis).astimezone(ask.zone).date()
        for posting in entry.postings:
            account = beancount_account(posting.account)
            if posting.currency not in known:
                yield f"{day} commodity {posting.currency}\n  precision: {exponent(posting.currency)}\n\n"
            if account not in known:
                yield f"{day} open {account}\n\n"
            known |= {posting.currency, account}
        yield _transaction(entry, day)


def _transaction(entry: ReferencedEntry, day: date) -> str:
    about = {"payment": entry.payment_id, "refund": entry.refund_id, "settlement": entry.settlement_line_id}
    links = [f"^{name}-{subject}" for name, subject in about.items() if subject is not None]
    lines = [
        " ".join([f'{day} * "{_quoted(entry.reference)}" "{entry.kind.replace("_", " ")}"', *links]),
        f'  entry: "{entry.id}"',
        f'  booked: "{entry.created_at.isoformat()}"',
        f'  occurred: "{entry.occurred_at.isoformat()}"',
    ]
    for name in ("capture_id", "part_id", "dispute_id", "case_id"):
        subject = getattr(entry, name)
        if subject is not None:
            lines.append(f'  {name.removesuffix("_id")}: "{subject}"')
    if entry.reverses is not None:
        lines.append(f'  reverses: "{entry.reverses}"')
    lines += [f"  {beancount_account(p.account)}  {Money(p.amount_minor, p.currency)}" for p in entry.postings]
    return "\n".join(lines) + "\n\n"


def beancount_account(name: str) -> str:
    """Return an account's name as beancount takes it; two accounts never get the same one.

    `gateway_clearing:stripe` is `Assets:GatewayClearing:Stripe`. What beancount doesn't allow within a gateway's name
    is written as its code point between two `X`: no capital stands for itself there but the first letter.
    """
    family, _, gateway = name.partition(":")
    parts = [_ROOTS[account_of(family).kind], "".join(word.capitalize() for word in family.split("_"))]
    if gateway:
        parts.append(_component(gateway))
    return ":".join(parts)


def _component(gateway: str) -> str:
    first, rest = gateway[0], gateway[1:]
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789"
    begins = first.upper() if first in allowed else f"X{ord(first):X}X"
    return begins + "".join(each if each in allowed + "-" else f"X{ord(each):X}X" for each in rest)


def _quoted(text: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')
