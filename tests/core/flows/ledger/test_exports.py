"""The ledger in other books: CSV for spreadsheets, and text that beancount itself reads to the same balances."""

import csv
import io
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from beancount import loader
from beancount.core import data
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.chart import DISPUTE_TAKEN, FEE_CHARGED, GOODWILL_TAX, MOVEMENTS, WRITTEN_OFF
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import LedgerEntry, postings, reversal_of
from recoup_core.domain.money import Money, exponent
from recoup_core.domain.payment import Customer, Method, Payment
from recoup_core.flows.ledger import (
    COLUMNS,
    ExportAsk,
    ExportFormat,
    beancount_account,
    end_of,
    export,
    just_after,
    start_of,
    trial_balance,
)
from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger import Balance, Basis, read_balances

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


class Books:
    """A merchant's ledger, written to directly and read as exports."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.count = 0

    async def book(self, *amounts: Money, reference: str | None = None, **times: Any) -> list[LedgerEntry]:
        """Book amounts, a day apart and each by another movement, for a payment of their own."""
        self.count += 1
        payment = Payment(
            id=new_id(),
            merchant_id="default",
            reference=reference or f"inv-{self.count}",
            customer=Customer(ref="cus-1"),
            amount_minor=100_000,
            currency="EUR",
            gateway="sandbox",
            method=Method.CARD,
            created_at=START,
        )
        entries = []
        for number, amount in enumerate(amounts):
            movement = (FEE_CHARGED, DISPUTE_TAKEN, GOODWILL_TAX, WRITTEN_OFF)[number % 4]
            at = {"occurred_at": START + number * DAY, "created_at": START + number * DAY, **times}
            entries.append(
                LedgerEntry(
                    id=new_id(),
                    merchant_id="default",
                    kind=movement.kind,
                    payment_id=payment.id,
                    postings=postings(movement, amount, "sandbox-other"),
                    **at,
                )
            )
        await self.write(payment, *entries)
        return entries

    async def write(self, *rows: Any) -> None:
        changes = Changes()
        changes.add(*rows)
        async with self.database.transaction() as connection:
            await changes.write(connection)

    async def out(self, form: ExportFormat, **ask: Any) -> str:
        wanted = ExportAsk(**{"merchant_id": "default", "format": form, "zone": ZoneInfo("UTC"), **ask})
        return "".join([text async for text in export(self.database, wanted, START + 1000 * DAY)])

    async def rows(self, **ask: Any) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(await self.out(ExportFormat.CSV, **ask), newline="")))

    async def balances(self) -> dict[tuple[str, str], Decimal]:
        """The balances as beancount should have them: in major units, under its names."""
        return {
            (beancount_account(each.account), each.currency): Decimal(each.balance_minor).scaleb(
                -exponent(each.currency)
            )
            for each in await read_balances(self.database, "default", None)
            if each.balance_minor
        }


@pytest.fixture
async def books(database: Database) -> Books:
    """The books of a merchant without entries."""
    async with database.connection() as connection:
        await connection.execute("INSERT INTO merchant VALUES ('default', 'x', NULL, $1)", START)
    return Books(database)


def read_beancount(text: str) -> list[Any]:
    """Return what beancount reads, which must be without any complaint."""
    entries, errors, _ = loader.load_string(text)
    assert [error.message for error in errors] == []
    found: list[Any] = entries
    return found


def transactions(text: str) -> list[Any]:
    return [entry for entry in read_beancount(text) if isinstance(entry, data.Transaction)]


def sums(text: str) -> dict[tuple[str, str], Decimal]:
    """The balances that beancount comes to."""
    totals: Counter[tuple[str, str]] = Counter()
    for posting in (posting for entry in transactions(text) for posting in entry.postings):
        totals[posting.account, posting.units.currency] += posting.units.number
    return {key: total for key, total in totals.items() if total}


MIXED = (Money(1_999, "EUR"), Money(500, "JPY"), Money(12_345, "KWD"), Money(1, "USD"), Money(2**53 - 1, "EUR"))


async def test_beancount_comes_to_the_same_balances(books: Books) -> None:
    """Two, no and three decimals, the smallest and the largest amount, something taken back."""
    entries = await books.book(*MIXED)
    await books.write(reversal_of(entry=entries[0], at=START + 9 * DAY))

    text = await books.out(ExportFormat.BEANCOUNT)

    assert sums(text) == await books.balances()
    assert len(transactions(text)) == len(MIXED) + 1


async def test_beancount_is_told_what_each_entry_is(books: Books) -> None:
    """Accounts open on the day they are first used, currencies with their decimals, and where an entry comes from."""
    (entry,) = await books.book(Money(500, "JPY"), occurred_at=START - DAY)

    directives = read_beancount(await books.out(ExportFormat.BEANCOUNT))

    opened = [each for each in directives if isinstance(each, data.Open)]
    (commodity,) = [each for each in directives if isinstance(each, data.Commodity)]
    (transaction,) = [each for each in directives if isinstance(each, data.Transaction)]
    assert {(each.account, each.date) for each in opened} == {
        ("Expenses:Fees", START.date()),
        ("Assets:GatewayClearing:Sandbox-other", START.date()),
    }
    assert (commodity.currency, commodity.meta["precision"]) == ("JPY", 0)
    assert (transaction.payee, transaction.narration) == ("inv-1", "fee")
    assert transaction.links == {f"payment-{entry.payment_id}"}
    assert transaction.meta["entry"] == str(entry.id)
    assert transaction.meta["occurred"] == "2026-10-31T12:00:00+00:00"


@given(
    gateways=st.lists(st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable()), unique=True, max_size=8)
)
def test_whatever_a_gateway_is_called_beancount_takes_its_account(gateways: list[str]) -> None:
    """And no two of them become one."""
    names = [beancount_account(f"gateway_clearing:{name}") for name in gateways]

    text = "".join(f"2026-01-01 open {name}\n" for name in names)

    assert {each.account for each in read_beancount(text)} == set(names)
    assert len(set(names)) == len(gateways)


def test_gateways_that_differ_in_spelling_only_stay_apart() -> None:
    """By case, by what is escaped, and by what looks like an escape."""
    names = ["a_b", "a-b", "ax5fxb", "aX5FXb", "A_b", "-a", "x2dxa", "Stripe", "stripe"]

    assert len({beancount_account(f"gateway_clearing:{name}") for name in names}) == len(names)


def test_every_account_of_the_chart_is_one_of_beancounts() -> None:
    """By its kind."""
    names = {beancount_account(name) for movement in MOVEMENTS for name in (movement.debit, movement.credit)}

    assert {name.partition(":")[0] for name in names} == {"Assets", "Liabilities", "Income", "Expenses"}
    assert "Expenses:BadDebt" in names
    read_beancount("".join(f"2026-01-01 open {name}\n" for name in names))


@pytest.mark.parametrize("reference", ['say "hi"', "back\\slash", 'end\\"', "two\nlines", "=1+1", "ünïcödé 🙂"])
async def test_a_reference_is_text_in_both(books: Books, reference: str) -> None:
    """Whatever the merchant called the payment: no text breaks out of its field, and no spreadsheet calculates it."""
    await books.book(Money(5, "EUR"), reference=reference)

    (transaction,) = transactions(await books.out(ExportFormat.BEANCOUNT))
    (first, _) = await books.rows()

    assert transaction.payee == reference.replace("\n", " ")
    assert first["reference"] == ("'=1+1" if reference == "=1+1" else reference)


async def test_csv_has_a_row_for_each_posting(books: Books) -> None:
    """In minor and in major units, with both times; the rows of an entry sum to zero."""
    entries = await books.book(*MIXED)
    back = reversal_of(entry=entries[2], at=START + 9 * DAY)
    await books.write(back)

    rows = await books.rows()

    assert tuple(rows[0]) == COLUMNS
    assert [(row["entry_id"], row["line"]) for row in rows] == [
        (str(entry.id), line) for entry in [*entries, back] for line in ("1", "2")
    ]
    assert (rows[0]["account"], rows[0]["amount_minor"], rows[0]["amount"], rows[0]["currency"]) == (
        "fees", "1999", "19.99", "EUR",
    )  # fmt: skip
    assert [row["amount"] for row in rows[2:6]] == ["500", "-500", "12.345", "-12.345"]
    assert (rows[-1]["kind"], rows[-1]["reverses"]) == ("reversal", str(entries[2].id))
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["entry_id"]] += int(row["amount_minor"])
    assert set(totals.values()) == {0}


async def test_only_the_days_that_were_asked_for(books: Books) -> None:
    """Both included, in the zone that was asked for: what is the first there may be the second elsewhere."""
    late = datetime(2026, 11, 10, 23, 30, tzinfo=UTC)
    await books.book(Money(1, "EUR"), created_at=late, occurred_at=late - 9 * DAY)
    tenth, eleventh = date(2026, 11, 10), date(2026, 11, 11)

    async def count(first: date, last: date, **ask: Any) -> int:
        return len(await books.rows(first=first, last=last, **ask))

    assert await count(tenth, tenth) == 2
    assert await count(eleventh, eleventh) == 0
    assert await count(eleventh, eleventh, zone=BERLIN) == 2
    assert await count(tenth, tenth, basis=Basis.OCCURRED) == 0
    assert await count(date(2026, 11, 1), date(2026, 11, 1), basis=Basis.OCCURRED) == 2
    (transaction,) = transactions(await books.out(ExportFormat.BEANCOUNT, zone=BERLIN))
    assert transaction.date == eleventh


async def test_nothing_booked_is_an_empty_export(books: Books) -> None:
    """A header, and text that beancount reads."""
    assert await books.rows() == []
    assert read_beancount(await books.out(ExportFormat.BEANCOUNT)) == []


@pytest.mark.parametrize(
    ("day", "zone", "first", "after"),
    [
        ("2026-11-01", ZoneInfo("UTC"), "2026-11-01T00:00", "2026-11-02T00:00"),
        ("2026-03-29", BERLIN, "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("2026-11-01", NEW_YORK, "2026-11-01T04:00", "2026-11-02T05:00"),  # 25 hours
        ("2018-11-04", ZoneInfo("America/Sao_Paulo"), "2018-11-04T03:00", "2018-11-05T02:00"),  # midnight left out
        ("2026-11-01", ZoneInfo("America/Havana"), "2026-11-01T04:00", "2026-11-02T05:00"),  # midnight twice
    ],
)
def test_days_end_where_their_zone_ends_them(day: str, zone: ZoneInfo, first: str, after: str) -> None:
    """Clock changes, those at midnight included; and one day ends where the next begins."""
    asked = date.fromisoformat(day)

    assert f"{start_of(asked, zone):%Y-%m-%dT%H:%M}" == first
    assert f"{end_of(asked, zone):%Y-%m-%dT%H:%M}" == after


async def test_a_balance_at_a_moment_counts_that_moment(books: Books) -> None:
    """To the microsecond."""
    at = START + timedelta(microseconds=1)
    await books.book(Money(7, "EUR"), created_at=at)

    then = await read_balances(books.database, "default", just_after(at))
    before = await read_balances(books.database, "default", just_after(START))

    assert (len(then), len(before)) == (2, 0)


def test_a_trial_balance_that_is_off_says_so() -> None:
    """Currency by currency: a surplus in one never pays for a lack in another."""

    def balance(account: str, currency: str, debited: int, credited: int) -> Balance:
        return Balance(account=account, currency=currency, debited_minor=debited, credited_minor=credited)

    even = [balance("fees", "EUR", 10, 3), balance("tax", "EUR", 0, 7)]
    off = [balance("fees", "EUR", 7, 0), balance("tax", "USD", 0, 7)]

    assert trial_balance(even).balanced
    assert (trial_balance(even).totals["EUR"].debit_minor, trial_balance(even).totals["EUR"].credit_minor) == (7, 7)
    assert not trial_balance(off).balanced
    assert trial_balance([]).balanced
