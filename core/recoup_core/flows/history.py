"""Past cases as a stream, and what would have been decided in them under other texts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from recoup_core.flows.ahead import mapped
from recoup_core.flows.registry import effective
from recoup_core.rules.sets.simulation import SimulationPlan, SimulationReport, TextIn
from recoup_core.rules.study.history import HistoryCase
from recoup_core.storage.decisions import PAGE, Span, read_case_history
from recoup_core.storage.engine import Database
from recoup_core.storage.versions import live_set

MAX_SIMULATED: Final = 5_000_000
"""Cases of one simulation: a bound for what runs away, not for what is wanted."""

MAX_SCANNED: Final = 100_000
"""Cases that an answer to one request may look at, to find those of a period."""

Simulate = Callable[[Sequence[HistoryCase]], Awaitable[SimulationReport]]
"""Simulates cases somewhere: in a thread, or in another process."""


async def stored_cases(
    database: Database, span: Span, limit: int = MAX_SIMULATED, page: int = PAGE
) -> AsyncIterator[Sequence[HistoryCase]]:
    """Yield the cases opened in the span, oldest first, a page at a time and at most `limit` of them."""
    after: UUID | None = None
    left = limit
    while left > 0:
        found = await read_case_history(database, span, after, page)
        cases = found.cases[:left]
        if cases:
            yield cases
        left -= len(cases)
        if found.after is None:
            return
        after = found.after


async def latest_cases(
    database: Database, span: Span, limit: int, most_scanned: int = MAX_SCANNED
) -> AsyncIterator[Sequence[HistoryCase]]:
    """Yield at most `limit` of the cases opened in the span, the latest first, and look at so many others at most."""
    after: UUID | None = None
    left = limit
    while left > 0 and most_scanned > 0:
        found = await read_case_history(database, span, after, newest=True)
        cases = found.cases[:left]
        if cases:
            yield cases
        left, most_scanned = left - len(cases), most_scanned - found.scanned
        if found.after is None:
            return
        after = found.after


async def simulate(
    cases: AsyncIterator[Sequence[HistoryCase]], work: Simulate
) -> AsyncIterator[tuple[int, SimulationReport]]:
    """Yield, page by page, how many cases were taken and what would change in them."""
    async for part in mapped(cases, work):
        yield part.read.cases, part


async def planned_with_live(database: Database, merchant_id: str, new: Sequence[TextIn]) -> SimulationPlan:
    """Return the plan in which the new texts stand beside what else is in force for the merchant."""
    async with database.connection() as connection:
        live = await live_set(connection, merchant_id)
    others = [TextIn(source=version.source, text=version.body) for version in effective(live.versions)]
    return SimulationPlan(new=tuple(new), others=tuple(others))
