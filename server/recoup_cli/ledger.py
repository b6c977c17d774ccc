"""`recoup ledger`: does it add up, what did every account come to, and out with it to other books."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from zoneinfo import ZoneInfo

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refusals import FAILED, MISUSED, Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.money import Money
from recoup_core.flows import ledger as books
from recoup_core.rules.timing.hours import known_zone
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger import Balance, Basis, read_balances, zone_of
from recoup_core.storage.ledger_checks import verify_ledger

DAY: Final = click.DateTime(["%Y-%m-%d"])
MOMENT: Final = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"])

F = TypeVar("F", bound=Callable[..., Any])

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose ledger.")
zone_option = click.option("--zone", help="Whose days are meant, as an IANA name; else the merchant's own.")
by_option = click.option(
    "--by",
    type=click.Choice([str(basis) for basis in Basis]),
    default=str(Basis.BOOKED),
    show_default=True,
    help="Whether it counts when entries were booked, or when the money moved.",
)


at_option = click.option("--at", type=MOMENT, metavar="MOMENT", help="By this moment (2026-11-30T12:00:00Z).")
end_option = click.option("--date", "day", type=DAY, metavar="DATE", help="By the end of this day (2026-11-30).")


def when_options(command: F) -> F:
    """Let a command ask about one moment."""
    return merchant_option(end_option(at_option(zone_option(by_option(command)))))


_CALLED: Final = {
    "ledger_entry": "entries",
    "capture": "captures",
    "payment": "payments",
    "payment_line": "lines of payments",
    "refund": "refunds",
    "refund_part": "parts of refunds",
    "dispute": "disputes",
}
"""What was looked at, as people call it; postings are looked at by the entries that they stand in."""


@click.group()
def ledger() -> None:
    """Look at the double-entry ledger: captures, refunds, taxes, fees, disputes, write-offs and their reversals."""


@ledger.command(epilog="Example: recoup ledger verify && echo it adds up")
def verify() -> int:
    """Hold every entry against what it is about, of all merchants, and name the first row that does not fit.

    \b
    entries    balanced, whole, reversals take back what they name
    captures   booked once; what refunds and disputes hold of them
    payments   captured, goodwill, lines, what was written off
    refunds    paid back, lines; every part and its tax as booked
    disputes   taken, lost and won as booked

    Exits with 0 when all of it fits, with 1 otherwise.
    """
    result = with_open_database(lambda database, _: verify_ledger(database))
    seen = ", ".join(f"{count} {_CALLED[table]}" for table, count in result.rows.items() if table in _CALLED)
    if result.fault is not None:
        fault = result.fault
        click.echo(f"the ledger does not add up: {fault.table} {fault.id} ({fault.check}) {fault.message}", err=True)
        click.echo(f"  looked at so far: {seen}", err=True)
        return FAILED
    click.echo(f"the ledger adds up: {seen}")
    return 0


@ledger.command(epilog="Example: recoup ledger balances --date 2026-11-30")
@when_options
def balances(merchant: str, day: datetime | None, at: datetime | None, zone: str | None, by: str) -> None:
    """Show what every account came to: now, at a moment, or at the end of a day."""
    for line in _table(_balances(merchant, day, at, zone, by)):
        click.echo(line)


@ledger.command(epilog="Example: recoup ledger trial-balance --date 2026-11-30 --by occurred")
@when_options
def trial_balance(merchant: str, day: datetime | None, at: datetime | None, zone: str | None, by: str) -> int:
    """Show every account on its side, and the sums of both sides.

    Exits with 1 where they are not equal.
    """
    trial = books.trial_balance(_balances(merchant, day, at, zone, by))
    for line in _table(trial.rows):
        click.echo(line)
    for currency, total in trial.totals.items():
        sides = f"{Money(total.debit_minor, currency)} debit, {Money(total.credit_minor, currency)} credit"
        click.echo(f"total: {sides}")
    if not trial.balanced:
        click.echo("the sides are not equal: `recoup ledger verify` names the entry", err=True)
        return FAILED
    return 0


@ledger.command(epilog="Example: recoup ledger export --format beancount --from 2026-11-01 --until 2026-11-30")
@merchant_option
@click.option("--format", "form", type=click.Choice(["csv", "beancount"]), required=True)
@click.option("--from", "first", type=DAY, metavar="DATE", help="The first day; else from the beginning.")
@click.option("--until", "last", type=DAY, metavar="DATE", help="The last day, included; else up to now.")
@zone_option
@by_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file, instead of printing it.")
def export(
    merchant: str, form: str, first: datetime | None, last: datetime | None, zone: str | None, by: str, out: Path | None
) -> None:
    """Write the entries of some days out, oldest first, as CSV or as beancount text (docs/ledger.md)."""
    days = _day(first, "--from"), _day(last, "--until")

    async def work(database: Database, _: Settings) -> None:
        ask = books.ExportAsk(
            merchant_id=merchant,
            format=books.ExportFormat(form),
            first=days[0],
            last=days[1],
            zone=await _zone(database, merchant, zone),
            basis=Basis(by),
        )
        await _write(books.export(database, ask, datetime.now(UTC)), out)

    with_open_database(work)
    if out is not None:
        click.echo(f"wrote {out}", err=True)


async def _write(texts: AsyncIterator[str], out: Path | None) -> None:
    with nullcontext(sys.stdout) if out is None else _whole_file(out) as file:
        async for text in texts:
            file.write(text)


@contextmanager
def _whole_file(out: Path) -> Iterator[IO[str]]:
    """Open a file that gets its name when it is complete: half an export never looks like a whole one."""
    begun = out.with_name(f"{out.name}.part")
    try:
        with begun.open("w", encoding="utf-8", newline="") as file:
            yield file
        begun.replace(out)
    except OSError as error:
        raise Refused(f"{out} can't be written: {error.strerror}") from error
    finally:
        begun.unlink(missing_ok=True)


def _balances(merchant: str, day: datetime | None, at: datetime | None, zone: str | None, by: str) -> Sequence[Balance]:
    if day is not None and at is not None:
        raise Refused("--date and --at are two ways to say when: give one of them", code=MISUSED)
    asked = _day(day, "--date")
    if at is not None:
        _day(at, "--at")

    async def look(database: Database, _: Settings) -> Sequence[Balance]:
        calendar = await _zone(database, merchant, zone)
        before = books.just_after(at) if at is not None else None if asked is None else books.end_of(asked, calendar)
        return await read_balances(database, merchant, before, Basis(by))

    return with_open_database(look)


async def _zone(database: Database, merchant: str, wanted: str | None) -> ZoneInfo:
    """Return the zone whose days are meant; a merchant or a zone that does not exist is `Refused`."""
    own = await zone_of(database, merchant)
    if own is None:
        raise Refused(f"there is no merchant {merchant}", "gateways in recoup.toml name merchants")
    zone = known_zone(wanted or own)
    if zone is None:
        raise Refused(f"{wanted or own!r} is not a time zone's IANA name", code=MISUSED)
    return zone


def _day(moment: datetime | None, option: str) -> date | None:
    if moment is None:
        return None
    if not books.FIRST_DAY <= moment.date() <= books.LAST_DAY:
        raise Refused(f"{option} is not between {books.FIRST_DAY} and {books.LAST_DAY}", code=MISUSED)
    return moment.date()


def _table(rows: Sequence[Balance]) -> list[str]:
    if not rows:
        return ["nothing is booked"]
    width = max(len(row.account) for row in rows)
    amounts = [str(Money(abs(row.balance_minor), row.currency)) for row in rows]
    wide = max(map(len, amounts))
    return [
        f"{row.account:<{width}}  {amount:>{wide}}  {'' if row.balance_minor == 0 else row.side}".rstrip()
        for row, amount in zip(rows, amounts, strict=True)
    ]
