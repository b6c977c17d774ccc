"""Gateways' events as people handle them: what became of each, and a second chance for what could not be applied."""

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.inbound import InboundState
from recoup_core.flows.dead_letters import apply_again, dismiss
from recoup_core.flows.operate import NotFound
from recoup_core.storage.inbound import list_inbound, read_inbound
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.wiring import Service
from recoup_server.auth import READS, SETTLES, WORKS, Caller, once
from recoup_server.examples import DISMISS_EVENT
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, Text, by, cut, id_cursor, read, refuse_hidden
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_inbound import (
    DismissIn,
    InboundDetailOut,
    InboundOut,
    InboundPage,
    inbound_detail_out,
    inbound_out,
)


@get(
    "/inbound-events",
    operation_id="listInboundEvents",
    summary="List what gateways told, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["inbound-events"],
)
async def get_inbound_events(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[InboundState | None, QueryParameter(name="state")] = None,
    gateway: Text = None,
    kind: Text = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> InboundPage:
    """Return events without what they say; `state`, `gateway` and `kind` narrow the list."""
    filters = {"state": status, "gateway": gateway, "kind": kind}
    before = id_cursor(cursor, "inbound")
    rows = await list_inbound(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "inbound", attrgetter("id"))
    return InboundPage(items=[inbound_out(row) for row in page], next_cursor=following)


@get(
    "/inbound-events/{inbound_id:uuid}",
    operation_id="getInboundEvent",
    summary="Read what a gateway told",
    guards=[WORKS],
    responses=READS_ONE,
    security=BEARER,
    tags=["inbound-events"],
)
async def get_inbound_event(
    service: NamedDependency[Service], caller: NamedDependency[Caller], inbound_id: FromPath[UUID]
) -> InboundDetailOut:
    """Return an event with its body: that may tell of a customer, so it is for those who work on cases."""
    found = await read_inbound(service.database, caller.merchant_id, inbound_id)
    if found is None:
        raise NotFound("inbound event", inbound_id)
    return inbound_detail_out(found)


@post(
    "/inbound-events/{inbound_id:uuid}/apply",
    status_code=200,
    operation_id="applyInboundEvent",
    summary="Hand an event in again",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["inbound-events"],
    opt={"answers": InboundOut},
)
async def post_apply(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    inbound_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[InboundOut]:
    """Have an event applied that is dead, refused, dismissed or was ignored; a worker does it soon after."""
    refuse_hidden(body)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    row = await apply_again(service.context, inbound_id, who)
    return Response(inbound_out(row), headers=REPLAYED if replayed else {})


@post(
    "/inbound-events/{inbound_id:uuid}/dismiss",
    status_code=200,
    operation_id="dismissInboundEvent",
    summary="Say that an event is not to be applied",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["inbound-events"],
    opt=takes(DismissIn, test_event=DISMISS_EVENT) | {"answers": InboundOut},
)
async def post_dismiss(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    inbound_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[InboundOut]:
    """Put aside, with a reason, an event that is dead, refused or waits to be applied; its task is done with."""
    given = read(body, DismissIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    row = await dismiss(service.context, inbound_id, who, given.reason)
    return Response(inbound_out(row), headers=REPLAYED if replayed else {})


HANDLERS = (get_inbound_events, get_inbound_event, post_apply, post_dismiss)
