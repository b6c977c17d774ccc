"""Settlement: reports of gateways in, what they were matched to, and what does not fit."""

from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.settlement import LineState, Problem, SettlementException
from recoup_core.flows.operate import NotFound
from recoup_core.flows.settlement.exceptions import assign, resolve
from recoup_core.flows.settlement.fetching import ask_for_report
from recoup_core.flows.settlement.importing import import_report
from recoup_core.ports import MAX_SETTLEMENT_BYTES
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.settlement_exceptions import list_exceptions
from recoup_core.storage.settlements import list_lines, list_reports, report_standing
from recoup_core.wiring import Service
from recoup_server import examples_settlement as examples
from recoup_server.auth import READS, SETTLES, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import (
    Cursor,
    IdempotencyKey,
    Limit,
    by,
    cut,
    id_cursor,
    open_cursor,
    read,
    seal_cursor,
)
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_settlement import (
    AssignIn,
    ExceptionOut,
    ExceptionPage,
    FetchIn,
    FetchOut,
    ImportOut,
    LinePage,
    ReportDetailOut,
    ReportPage,
    ResolveIn,
    detail_out,
    exception_out,
    line_out,
    report_out,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

GatewayName = Annotated[str, QueryParameter(min_length=1, max_length=64, description="A gateway's name.")]
MaybeGateway = Annotated[str | None, QueryParameter(max_length=64, description="A gateway's name.")]


@post(
    "/settlements",
    status_code=200,
    operation_id="importSettlement",
    summary="Bring in a settlement report",
    guards=[SETTLES],
    responses=CHANGES,
    security=BEARER,
    tags=["settlement"],
    opt=takes(bytes),
    request_max_body_size=MAX_SETTLEMENT_BYTES,
)
async def post_settlement(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    gateway: GatewayName,
) -> ImportOut:
    """Store a report as its gateway lets one download it, or as recoup-settlement CSV, up to 64 MiB.

    The same content again changes nothing; a report may come in pieces under one name. A worker matches its lines.
    """
    done = await import_report(service.context, gateway, body, by(request, caller, None, b""))
    return ImportOut(report=report_out(done.report), fresh_lines=done.fresh_lines, known=done.known)


@post(
    "/settlements/fetch",
    status_code=202,
    operation_id="fetchSettlement",
    summary="Have a settlement report fetched",
    guards=[SETTLES],
    responses=CHANGES,
    security=BEARER,
    tags=["settlement"],
    opt=takes(FetchIn, named=examples.FETCH),
)
async def post_fetch(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
) -> FetchOut:
    """Have a worker fetch a report from its gateway; asked again, it is fetched again and taken in once."""
    given = read(body, FetchIn)
    wanted = await ask_for_report(service.context, given.gateway, given.report_ref, by(request, caller, None, body))
    return FetchOut(gateway=wanted.gateway, report_ref=wanted.report_ref)


@get(
    "/settlements",
    operation_id="listSettlements",
    summary="List settlement reports, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["settlement"],
)
async def get_settlements(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    gateway: MaybeGateway = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> ReportPage:
    """Return reports; `gateway` narrows the list."""
    before = id_cursor(cursor, "settlements")
    rows = await list_reports(service.database, caller.merchant_id, {"gateway": gateway}, before, limit + 1)
    page, following = cut(rows, limit, "settlements", attrgetter("id"))
    return ReportPage(items=[report_out(report) for report in page], next_cursor=following)


@get(
    "/settlements/{report_id:uuid}",
    operation_id="getSettlement",
    summary="Read a settlement report",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["settlement"],
)
async def get_settlement(
    service: NamedDependency[Service], caller: NamedDependency[Caller], report_id: FromPath[UUID]
) -> ReportDetailOut:
    """Return a report, and how many of its lines are matched."""
    rows = await list_reports(service.database, caller.merchant_id, {"id": report_id}, None, 1)
    if not rows:
        raise NotFound("settlement report", report_id)
    async with service.database.connection() as connection:
        standing = await report_standing(connection, report_id)
    return detail_out(rows[0], standing)


@get(
    "/settlements/{report_id:uuid}/lines",
    operation_id="listSettlementLines",
    summary="List the lines of a settlement report",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["settlement"],
)
async def get_lines(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    report_id: FromPath[UUID],
    status: Annotated[LineState | None, QueryParameter(name="state")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> LinePage:
    """Return a report's own lines, the last ones first; `state` narrows the list."""
    if not await list_reports(service.database, caller.merchant_id, {"id": report_id}, None, 1):
        raise NotFound("settlement report", report_id)
    before = id_cursor(cursor, "settlement-lines")
    filters = {"report": report_id, "state": status}
    rows = await list_lines(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "settlement-lines", attrgetter("id"))
    return LinePage(items=[line_out(line) for line in page], next_cursor=following)


@get(
    "/settlement-exceptions",
    operation_id="listSettlementExceptions",
    summary="List settlement exceptions, the oldest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["settlement"],
)
async def get_exceptions(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    gateway: MaybeGateway = None,
    kind: Annotated[Problem | None, QueryParameter(description="What does not fit.")] = None,
    owner: Annotated[str | None, QueryParameter(max_length=200, description="Whose turn it is.")] = None,
    report: Annotated[UUID | None, QueryParameter(description="A report's id.")] = None,
    resolved: Annotated[
        bool, QueryParameter(description="Those that are resolved, instead of those that wait.")
    ] = False,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> ExceptionPage:
    """Return what does not fit, with its age and its owner; filters narrow the list."""
    after = open_cursor(cursor, "settlement-exceptions", _time, UUID)
    filters = {"gateway": gateway, "kind": kind, "owner": owner, "report": report}
    place = None if after is None else (after[0], after[1])
    rows = await list_exceptions(service.database, caller.merchant_id, filters, place, limit + 1, resolved=resolved)
    now = service.clock.now()
    items = [exception_out(each, now) for each in rows[:limit]]
    return ExceptionPage(items=items, next_cursor=_next(rows, limit))


@get(
    "/settlement-exceptions/{exception_id:uuid}",
    operation_id="getSettlementException",
    summary="Read a settlement exception",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["settlement"],
)
async def get_exception(
    service: NamedDependency[Service], caller: NamedDependency[Caller], exception_id: FromPath[UUID]
) -> ExceptionOut:
    """Return an exception, resolved or not."""
    rows = await list_exceptions(service.database, caller.merchant_id, {"id": exception_id}, None, 1)
    if not rows:
        raise NotFound("settlement exception", exception_id)
    return exception_out(rows[0], service.clock.now())


@post(
    "/settlement-exceptions/{exception_id:uuid}/assign",
    status_code=200,
    operation_id="assignSettlementException",
    summary="Hand a settlement exception to somebody",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["settlement"],
    opt=takes(AssignIn, to_a_person=examples.ASSIGN) | {"answers": ExceptionOut},
)
async def post_assign(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    exception_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[ExceptionOut]:
    """Say whose turn it is: a role, or a person."""
    given = read(body, AssignIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    changed = await assign(service.context, exception_id, who, given.owner)
    return Response(exception_out(changed, service.clock.now()), headers=REPLAYED if replayed else {})


@post(
    "/settlement-exceptions/{exception_id:uuid}/resolve",
    status_code=200,
    operation_id="resolveSettlementException",
    summary="Resolve a settlement exception",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["settlement"],
    opt=takes(ResolveIn, explained=examples.RESOLVE) | {"answers": ExceptionOut},
)
async def post_resolve(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    exception_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[ExceptionOut]:
    """Close an exception with what was found out and done about it; it moves no money."""
    given = read(body, ResolveIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    changed = await resolve(service.context, exception_id, who, given.evidence)
    return Response(exception_out(changed, service.clock.now()), headers=REPLAYED if replayed else {})


def _next(rows: list[SettlementException], limit: int) -> str | None:
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return seal_cursor("settlement-exceptions", (last.opened_at - EPOCH) // MICROSECOND, last.id)


def _time(text: str) -> datetime:
    """Read a cursor's time; whoever forges one gets no further than a refusal."""
    try:
        return EPOCH + int(text) * MICROSECOND
    except OverflowError:
        raise ValueError(text) from None


HANDLERS = (
    post_settlement,
    post_fetch,
    get_settlements,
    get_settlement,
    get_lines,
    get_exceptions,
    get_exception,
    post_assign,
    post_resolve,
)
