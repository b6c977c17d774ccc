"""Simulation: what new texts would have decided otherwise in the merchant's own past cases."""

import asyncio
from collections.abc import Sequence

from litestar import post
from litestar.di import NamedDependency
from litestar.params import RawBody

from recoup_core.flows.history import latest_cases, planned_with_live, simulate
from recoup_core.rules.deciding.what_if import FIRST_YEAR, LAST_YEAR
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.simulation import SimulationReport, Simulator, TextIn
from recoup_core.rules.sets.simulation.report import add
from recoup_core.rules.sets.simulation.text import report_lines
from recoup_core.rules.study.history import HistoryCase
from recoup_core.storage.decisions import BEGINNING, Span
from recoup_core.wiring import Service
from recoup_server.auth import WRITES_POLICIES, Caller
from recoup_server.errors import RequestInvalid
from recoup_server.examples import SIMULATE
from recoup_server.openapi import BEARER, refusals, takes
from recoup_server.reading import read
from recoup_server.schemas_simulation import SimulateIn, SimulateOut


@post(
    "/policies/simulate",
    status_code=200,
    operation_id="simulatePolicies",
    summary="Try policies' texts on past cases",
    guards=[WRITES_POLICIES],
    responses=refusals(400, 401, 403, 413, 422, 503),
    security=BEARER,
    tags=["policies"],
    opt=takes(SimulateIn, small=SIMULATE),
)
async def post_simulate(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]
) -> SimulateOut:
    """Return what would change if the texts went live beside what else is in force: counts, amounts, examples.

    A case is followed until the first decision that comes out otherwise; what can't be known is named, not guessed.
    """
    given = read(body, SimulateIn)
    span = _span(given, caller.merchant_id, service)
    new = tuple(TextIn(source=each.name, text=each.text) for each in given.texts)
    async with service.context.policies.workbench.place():
        report = await _simulated(service, new, span, given.limit)
    return SimulateOut(words=list(report_lines(report)), report=report)


async def _simulated(service: Service, new: tuple[TextIn, ...], span: Span, limit: int) -> SimulationReport:
    assert span.merchant_id is not None  # a key is one merchant's
    kinds = await asyncio.to_thread(_check, new)
    plan = await planned_with_live(service.database, span.merchant_id, new)
    simulator = await asyncio.to_thread(Simulator, plan)
    turn = asyncio.Lock()

    async def work(cases: Sequence[HistoryCase]) -> SimulationReport:
        async with turn:  # pages are read ahead, and one question has one thread
            return await asyncio.to_thread(simulator, cases)

    report = SimulationReport()
    async for _, part in simulate(latest_cases(service.database, _of_kind(span, kinds), limit), work):
        add(report, part)
    return report


def _span(given: SimulateIn, merchant_id: str, service: Service) -> Span:
    for name, at in (("since", given.since), ("until", given.until)):
        if at is not None and not FIRST_YEAR <= at.year <= LAST_YEAR:  # further out the database can't follow
            raise RequestInvalid(name, f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    since, until = given.since or BEGINNING, given.until or service.clock.now()
    if since >= until:
        raise RequestInvalid("since", "must lie before `until`")
    return Span(since=since, until=until, merchant_id=merchant_id)


def _check(texts: tuple[TextIn, ...]) -> frozenset[str]:
    """Compile the new texts, publish gate included; return their kinds, or raise `PolicyInvalid` with all problems."""
    problems: list[Problem] = []
    kinds: set[str] = set()
    for each in texts:
        try:
            compiled = compile_policy(parse_policy(each.text, source=each.source))
        except PolicyInvalid as refusal:
            problems.extend(refusal.problems)
        else:
            kinds.add(compiled.policy.kind.value)
            compiled.close()
    if problems:
        raise PolicyInvalid(problems)
    return frozenset(kinds)


def _of_kind(span: Span, kinds: frozenset[str]) -> Span:
    """Return the span narrowed to the one kind that is simulated, so that the limit counts cases of that kind."""
    (kind,) = kinds if len(kinds) == 1 else (None,)
    return Span(since=span.since, until=span.until, merchant_id=span.merchant_id, kind=kind)


HANDLERS = (post_simulate,)
