"""`recoup policy replay`: does every stored decision still come out as it was stored?"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final

import click
import msgspec

from recoup_cli.admin import with_open_database
from recoup_cli.crew import crew
from recoup_cli.progress import progress
from recoup_cli.refusals import FAILED
from recoup_cli.spans import counted, read_span, span_options
from recoup_core.flows.replay import replay as replay_all
from recoup_core.rules.deciding.words import moment
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.study.replay import Difference, Redoer
from recoup_core.settings import Settings
from recoup_core.storage.decisions import Span, count_decisions
from recoup_core.storage.engine import Database
from recoup_core.telemetry import configure_logging

MAX_TOLD: Final = 100
"""Differences that are printed; all are logged and put before a person."""


class ReplayOut(msgspec.Struct, kw_only=True):
    """What a replay came to."""

    since: datetime
    until: datetime
    decisions: int = 0
    """Those that were made again."""
    different: int = 0
    differences: list[Difference] = []
    """The first `MAX_TOLD`."""


@click.command(
    epilog="Examples: recoup policy replay   |   recoup policy replay --since 2026-11-01 --kind retry --json"
)
@span_options
@click.option("--kind", type=click.Choice([kind.value for kind in PolicyKind]), help="Decisions of this kind only.")
@click.option("--merchant", help="Decisions of this merchant only (default: of all).")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def replay(since: str | None, until: str | None, kind: str | None, merchant: str | None, as_json: bool) -> int:
    """Make every stored decision of a period again, from its own row and its pinned text, and compare.

    Rule, outcome and explanation must come out exactly as they are stored. A difference means that this version of
    Recoup decides otherwise than the one that decided, or that somebody altered what is stored: each is logged as an
    error and becomes a task for a person. Exits with 1 when there is any.
    """
    span = read_span(since, until, kind=kind, merchant=merchant)

    async def work(database: Database, settings: Settings) -> ReplayOut:
        configure_logging(settings.log.level, settings.log.format)  # an alarm must be heard, on standard error
        return await _replay(database, span)

    out = with_open_database(work)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(out)).decode())
    else:
        for line in _told(out):
            click.echo(line)
    return FAILED if out.different else 0


async def _replay(database: Database, span: Span) -> ReplayOut:
    out = ReplayOut(since=span.since, until=span.until)
    total = await count_decisions(database, span)
    make = partial(Redoer, EngineChoice.BEST)
    async with crew(make, total) as redo:
        with progress("replaying decisions", total) as advance:
            async for done in replay_all(database, span, redo, datetime.now(UTC)):
                out.decisions += done.count
                out.different += len(done.differences)
                out.differences += done.differences[: max(0, MAX_TOLD - len(out.differences))]
                advance(done.count)
    return out


def _told(out: ReplayOut) -> Iterator[str]:
    for each in out.differences:
        yield f"{each.decision_id}  {each.about}  {each.kind}, decided {moment(each.decided_at)}: {each.because}"
        for detail in each.details:
            yield f"    {detail.where}: stored {detail.stored}, now {detail.now}"
    if out.different > len(out.differences):
        yield f"and {out.different - len(out.differences)} more (all are in the log and in the tasks)"
    if out.different:
        yield f"{counted(out.decisions, 'decision')} made again: {out.different:,} come out otherwise"
    else:
        yield f"{counted(out.decisions, 'decision')} made again: all come out as they were stored"
