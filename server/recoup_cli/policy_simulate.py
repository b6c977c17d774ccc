"""`recoup policy simulate`: what would a new text have decided otherwise in the cases of the past?"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

from recoup_cli.admin import with_open_database
from recoup_cli.checking import files_of, text_of
from recoup_cli.compose import release
from recoup_cli.crew import crew
from recoup_cli.history_files import file_kind, read_chunks
from recoup_cli.progress import progress
from recoup_cli.refusals import MISUSED, Refused
from recoup_cli.report_html import check_place, write_page
from recoup_cli.simulation_html import report_page
from recoup_cli.single import MERCHANT
from recoup_cli.spans import read_span, span_options
from recoup_core.flows.history import MAX_SIMULATED, planned_with_live, simulate, stored_cases
from recoup_core.rules.deciding.words import moment
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.names import is_names
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.simulation import SimulationPlan, SimulationReport, Simulator, TextIn
from recoup_core.rules.sets.simulation.report import add
from recoup_core.rules.sets.simulation.text import report_lines
from recoup_core.rules.study.history import HistoryCase
from recoup_core.settings import Settings
from recoup_core.storage.decisions import Span, count_cases
from recoup_core.storage.engine import Database

STORED: Final = "stored"
BYTES_OF_A_CASE: Final = 6_000
"""About; only to know whether a file is large."""


@click.command(
    "simulate",
    epilog="""\b
Examples:
  recoup policy simulate --history stored new.yaml --since 2026-10-01
  recoup policy simulate --history last-month.jsonl policies --html report.html
""",
)
@click.argument(
    "texts", nargs=-1, required=True, metavar="NEW.yaml|DIR...", type=click.Path(path_type=Path, exists=True)
)
@click.option(
    "--history", "history", required=True, metavar="stored|FILE", help="Past cases: the database's, or a file."
)
@span_options
@click.option("--limit", type=click.IntRange(1, MAX_SIMULATED), default=MAX_SIMULATED, help="At most so many cases.")
@click.option("--merchant", default=MERCHANT, show_default=True, help="Whose stored cases.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.option(
    "--html", "html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report to a page, too."
)
def simulate_command(
    texts: tuple[Path, ...],
    history: str,
    since: str | None,
    until: str | None,
    limit: int,
    merchant: str,
    as_json: bool,
    html: Path | None,
) -> None:
    """Decide past cases again under new texts, and say what would change: attempts, times, stops, messages, approvals.

    With stored cases the new texts stand beside what else is in force for the merchant, as if they went live; the
    period is that in which cases were opened. A file is one that `recoup policy history export` wrote, or your own of
    the same format (docs/policies/history.md). A case is followed until the first decision that comes out otherwise;
    what can't be known is named and never guessed.
    """
    if html is not None:
        check_place(html)
    new, kinds = _texts(texts)
    if history == STORED:
        (kind,) = kinds if len(kinds) == 1 else (None,)
        report = _stored(new, read_span(since, until, kind=kind, merchant=merchant), limit)
    else:
        if since or until:
            raise Refused("--since and --until are for stored cases", code=MISUSED)
        report = _of_file(new, Path(history), limit)
    if html is not None:
        about = (f"New texts: {', '.join(text.source for text in new)}", f"History: {history}")
        made = f"Made {moment(datetime.now(UTC))} by recoup {release()}"
        write_page(html, report_page(report, about, made))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    for line in report_lines(report):
        click.echo(line)
    if html is not None:
        click.echo(f"\nthe report as a page: {html}")


def _texts(paths: Sequence[Path]) -> tuple[tuple[TextIn, ...], frozenset[str]]:
    """Read and compile the new texts, publish gate included: what could not go live is not simulated.

    Returns them, and the kinds they are of.
    """
    problems: list[Problem] = []
    kinds: set[str] = set()
    texts: list[TextIn] = []
    for path in files_of(paths, problems):
        text = text_of(path, str(path), problems)
        if text is None or is_names(text):
            continue
        try:
            compiled = compile_policy(parse_policy(text, source=str(path)))
        except PolicyInvalid as refusal:
            problems.extend(refusal.problems)
            continue
        compiled.close()
        kinds.add(compiled.policy.kind.value)
        texts.append(TextIn(source=str(path), text=text))
    if problems:
        raise PolicyInvalid(problems)
    if not texts:
        raise Refused("there is no policy to simulate, only names", code=MISUSED)
    return tuple(texts), frozenset(kinds)


def _stored(new: tuple[TextIn, ...], span: Span, limit: int) -> SimulationReport:
    async def work(database: Database, _: Settings) -> SimulationReport:
        plan = await planned_with_live(database, span.merchant_id or MERCHANT, new)
        count = await count_cases(database, span)
        return await _simulate(plan, stored_cases(database, span, limit), None if count is None else min(count, limit))

    return with_open_database(work)


def _of_file(new: tuple[TextIn, ...], path: Path, limit: int) -> SimulationReport:
    file_kind(path)
    try:
        size = path.stat().st_size
        about = min(limit, size // BYTES_OF_A_CASE)
        return asyncio.run(_simulate(SimulationPlan(new=new), _cases(read_chunks(path), limit), None, about))
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}", code=MISUSED) from None


async def _cases(chunks: Iterable[list[HistoryCase]], limit: int) -> AsyncIterator[Sequence[HistoryCase]]:
    left = limit
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


async def _simulate(
    plan: SimulationPlan, cases: AsyncIterator[Sequence[HistoryCase]], total: int | None, about: int | None = None
) -> SimulationReport:
    plan.book()  # refuses what would be ambiguous before any process is started
    report = SimulationReport()
    async with crew(partial(Simulator, plan), about or total) as work:
        with progress("simulating cases", total) as advance:
            async for count, part in simulate(cases, work):
                add(report, part)
                advance(count)
    return report
