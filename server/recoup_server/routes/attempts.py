"""Attempts: every try to collect, ours and others'; what nobody else could settle is settled here by hand."""

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.flows.operate import NotFound, resolve_attempt
from recoup_core.flows.settle import hurry_settlement
from recoup_core.storage.listing import DEFAULT_PAGE, list_attempts
from recoup_core.wiring import Service
from recoup_server.auth import READS, SETTLES, Caller, once
from recoup_server.examples import RESOLVE_ATTEMPT
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, cut, id_cursor, read
from recoup_server.routes.cases import told
from recoup_server.routes.payments import answered
from recoup_server.schemas_in import ResolveAttemptIn
from recoup_server.schemas_out import AttemptOut, AttemptPage, CaseDetail, attempt_out


@get(
    "/attempts",
    operation_id="listAttempts",
    summary="List attempts, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["attempts"],
)
async def get_attempts(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    payment: Annotated[UUID | None, QueryParameter(description="A payment's id.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> AttemptPage:
    """Return attempts; `payment` narrows the list."""
    before = id_cursor(cursor, "attempts")
    rows = await list_attempts(service.database, caller.merchant_id, {"payment": payment}, before, limit + 1)
    page, following = cut(rows, limit, "attempts", attrgetter("id"))
    return AttemptPage(items=[attempt_out(attempt) for attempt in page], next_cursor=following)


@get(
    "/attempts/{attempt_id:uuid}",
    operation_id="getAttempt",
    summary="Read an attempt",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["attempts"],
)
async def get_attempt(
    service: NamedDependency[Service], caller: NamedDependency[Caller], attempt_id: FromPath[UUID]
) -> AttemptOut:
    """Return an attempt. One whose outcome is open is looked up soon after: who asks, wants to know."""
    rows = await list_attempts(service.database, caller.merchant_id, {"id": attempt_id}, None, 1)
    if not rows:
        raise NotFound("attempt", attempt_id)
    await hurry_settlement(service.context, rows)
    return attempt_out(rows[0])


@post(
    "/attempts/{attempt_id:uuid}/resolve",
    status_code=200,
    operation_id="resolveAttempt",
    summary="Settle an attempt by hand",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["attempts"],
    opt=takes(ResolveAttemptIn, never_arrived=RESOLVE_ATTEMPT) | {"answers": CaseDetail},
)
async def post_resolve_attempt(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    attempt_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[CaseDetail]:
    """Say, with evidence, what became of an attempt whose outcome no look-up could tell."""
    given = read(body, ResolveAttemptIn).resolution()
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return told(await resolve_attempt(service.context, attempt_id, who, given), replayed)


HANDLERS = (get_attempts, get_attempt, post_resolve_attempt)
