"""`recoup ledger`: balances, the trial balance, exports and the verification, as people and scripts see them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from recoup_cli.main import cli
from recoup_core.domain.chart import FEE_CHARGED
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import LedgerEntry, postings
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method, Payment
from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import Database

START = datetime(2026, 11, 1, 23, 30, tzinfo=UTC)
"""Half past midnight of the second in Berlin."""


def in_thread(work: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def on_database(url: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    in_thread(work())


@pytest.fixture
def booked(configured: str) -> str:
    """A fee of 0.25 EUR booked on the first, and one of 30 JPY booked a month later; the merchant is in Berlin."""
    payment = Payment(
        id=new_id(),
        merchant_id="default",
        reference="inv-1",
        customer=Customer(ref="cus-1"),
        amount_minor=1,
        currency="EUR",
        gateway="sandbox",
        method=Method.CARD,
        created_at=START,
    )
    fees = [
        LedgerEntry(
            id=new_id(),
            merchant_id="default",
            kind=FEE_CHARGED.kind,
            payment_id=payment.id,
            postings=postings(FEE_CHARGED, amount, "sandbox"),
            occurred_at=START,
            created_at=booked_at,
        )
        for amount, booked_at in ((Money(25, "EUR"), START), (Money(30, "JPY"), START + timedelta(days=30)))
    ]

    async def write() -> None:
        database = Database(configured, pool_max=1)
        await database.open()
        changes = Changes()
        changes.add(payment, *fees)
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO merchant VALUES ('default', 'x', NULL, now(), 'Europe/Berlin')")
            await changes.write(connection)
        await database.close()

    in_thread(write())
    return configured


def test_balances_are_shown_by_account_and_currency(booked: str, recoup: Callable[..., Any]) -> None:
    """In major units, with the side they are on."""
    done = recoup("ledger", "balances")

    assert done.code == 0
    assert done.out.splitlines() == [
        "fees                      0.25 EUR  debit",
        "fees                        30 JPY  debit",
        "gateway_clearing:sandbox  0.25 EUR  credit",
        "gateway_clearing:sandbox    30 JPY  credit",
    ]


@pytest.mark.parametrize(
    ("when", "lines"),
    [
        (("--date", "2026-11-01"), 1),  # in Berlin the second had begun
        (("--date", "2026-11-02"), 2),
        (("--date", "2026-11-01", "--zone", "UTC"), 2),
        (("--date", "2026-11-02", "--by", "occurred"), 4),
        (("--at", "2026-11-01T23:29:59Z"), 1),
        (("--at", "2026-11-01T23:30:00Z"), 2),
        (("--at", "2026-11-02T00:30:00+01:00"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_balances_of_a_moment_or_a_day(
    booked: str, recoup: Callable[..., Any], when: tuple[str, ...], lines: int
) -> None:
    """Days are the merchant's unless another zone is named."""
    done = recoup("ledger", "balances", *when)

    assert done.code == 0
    assert len(done.out.splitlines()) == lines
    assert (done.out.strip() == "nothing is booked") == (lines == 1)


def test_the_trial_balance_adds_both_sides_up(booked: str, recoup: Callable[..., Any]) -> None:
    """By currency."""
    done = recoup("ledger", "trial-balance")

    assert done.code == 0
    assert done.out.splitlines()[-2:] == [
        "total: 0.25 EUR debit, 0.25 EUR credit",
        "total: 30 JPY debit, 30 JPY credit",
    ]


def test_a_ledger_that_is_off_fails_both_ways(booked: str, recoup: Callable[..., Any]) -> None:
    """Somebody with all rights altered a posting: the sums say so, and the verification names the entry."""
    on_database(
        booked,
        "ALTER TABLE ledger_posting DISABLE TRIGGER ALL",
        "UPDATE ledger_posting SET amount_minor = 26 WHERE account = 'fees' AND currency = 'EUR'",
    )

    trial, verified = recoup("ledger", "trial-balance"), recoup("ledger", "verify")

    assert (trial.code, verified.code) == (1, 1)
    assert "the sides are not equal" in trial.err
    assert "ledger_entry " in verified.err
    assert "(balance) is off by 1 EUR" in verified.err
    assert verified.out == ""


def test_a_whole_ledger_verifies(booked: str, recoup: Callable[..., Any]) -> None:
    """And says what it looked at."""
    done = recoup("ledger", "verify")

    assert done.code == 0
    assert done.out.startswith("the ledger adds up: 2 entries, ")


def test_an_export_is_printed_or_written(booked: str, recoup: Callable[..., Any], tmp_path: Path) -> None:
    """The same text either way; the file gets its name when it is complete."""
    printed = recoup("ledger", "export", "--format", "csv", "--until", "2026-11-02")
    written = recoup("ledger", "export", "--format", "csv", "--until", "2026-11-02", "--out", tmp_path / "x.csv")

    assert (printed.code, written.code, written.out) == (0, 0, "")
    rows = (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()
    assert rows == printed.out.splitlines()
    assert len(rows) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_an_export_for_beancount(booked: str, recoup: Callable[..., Any]) -> None:
    """Dated by the merchant's calendar."""
    done = recoup("ledger", "export", "--format", "beancount", "--from", "2026-11-02", "--until", "2026-11-02")

    assert done.code == 0
    assert '2026-11-02 * "inv-1" "fee"' in done.out
    assert "  Expenses:Fees  0.25 EUR" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("balances", "--date", "2026-11-01", "--at", "2026-11-01T10:00:00Z"), 2, "two ways to say when"),
        (("balances", "--zone", "Europe/Bern", "--date", "2026-11-01"), 2, "not a time zone"),
        (("balances", "--date", "9999-12-31"), 2, "is not between"),
        (("export", "--format", "csv", "--from", "0001-01-01"), 2, "is not between"),
        (("balances", "--at", "2026-11-01T10:00:00"), 2, "does not match"),
        (("trial-balance", "--merchant", "defualt"), 1, "no merchant defualt"),
        (("export", "--format", "csv", "--out", "nowhere/x.csv"), 1, "can't be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_can_not_be_meant_is_refused(
    booked: str, recoup: Callable[..., Any], arguments: tuple[str, ...], code: int, told: str
) -> None:
    """One clear line, and 2 where the command itself is wrong."""
    done = recoup("ledger", *arguments)

    assert done.code == code
    assert told in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", ["verify", "balances", "trial-balance", "export"])
def test_every_command_shows_how_it_is_used(command: str) -> None:
    """An example to copy."""
    shown = CliRunner().invoke(cli, ["ledger", command, "--help"]).output

    assert f"Example: recoup ledger {command}" in " ".join(shown.split())
