"""`recoup policy history`: past decisions as a file, to be looked at or simulated elsewhere."""

from itertools import chain
from pathlib import Path

import click

from recoup_cli.admin import with_open_database
from recoup_cli.history_files import file_kind, writing
from recoup_cli.progress import progress
from recoup_cli.refusals import MISUSED, Refused
from recoup_cli.spans import counted, read_span, span_options
from recoup_core.flows.history import stored_cases
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.study.history import records_of
from recoup_core.settings import Settings
from recoup_core.storage.decisions import Span, count_cases
from recoup_core.storage.engine import Database


@click.group()
def history() -> None:
    """Past decisions as a file."""


@history.command(
    epilog="""\b
Examples:
  recoup policy history export last-month.jsonl --since 2026-10-01 --until 2026-11-01
  recoup policy history export retries.parquet --kind retry
"""
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@span_options
@click.option("--kind", type=click.Choice([kind.value for kind in PolicyKind]), help="Decisions of this kind only.")
@click.option("--merchant", help="Cases of this merchant only (default: of all).")
def export(file: Path, since: str | None, until: str | None, kind: str | None, merchant: str | None) -> None:
    """Write the decisions of the cases opened in a period to FILE (.jsonl, .csv or .parquet), one record each.

    The records are described in docs/policies/history.md. They hold no token, no card number and no customer's name;
    ids and amounts are real. `recoup policy simulate --history FILE` reads them.
    """
    file_kind(file)
    span = read_span(since, until, kind=kind, merchant=merchant)

    async def work(database: Database, _: Settings) -> tuple[int, int]:
        return await _export(database, span, file)

    try:
        cases, records = with_open_database(work)
    except FileExistsError:
        raise Refused(f"{file} is there already", "give another name, or remove it first", code=MISUSED) from None
    except OSError as error:
        raise Refused(f"{file} can't be written: {error.strerror}", code=MISUSED) from None
    click.echo(f"{file}: {counted(records, 'decision')} of {counted(cases, 'case')}")


async def _export(database: Database, span: Span, file: Path) -> tuple[int, int]:
    cases = records = 0
    total = await count_cases(database, span)
    with writing(file) as write, progress("exporting cases", total) as advance:
        async for page in stored_cases(database, span):
            rows = list(chain.from_iterable(map(records_of, page)))
            write(rows)
            here = len({case.case for case in page})  # a case of two kinds is on one page
            cases, records = cases + here, records + len(rows)
            advance(here)
    return cases, records
