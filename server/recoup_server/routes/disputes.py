"""Disputes: what customers' banks ask or took back, told by gateways, or by hand where a gateway tells nothing."""

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.dispute import DisputeState
from recoup_core.flows.disputes import report_dispute
from recoup_core.flows.operate import NotFound
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.refund_lists import list_disputes
from recoup_core.wiring import Service
from recoup_server import examples_refunds as examples
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, cut, id_cursor, read
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_disputes import DisputeIn, DisputeOut, DisputePage, dispute_out


@get(
    "/disputes",
    operation_id="listDisputes",
    summary="List disputes, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["disputes"],
)
async def get_disputes(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[DisputeState | None, QueryParameter(name="state")] = None,
    payment: Annotated[UUID | None, QueryParameter(description="A payment's id.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> DisputePage:
    """Return disputes; `state` and `payment` narrow the list."""
    before = id_cursor(cursor, "disputes")
    filters = {"state": status, "payment": payment}
    rows = await list_disputes(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "disputes", attrgetter("id"))
    return DisputePage(items=[dispute_out(dispute) for dispute in page], next_cursor=following)


@get(
    "/disputes/{dispute_id:uuid}",
    operation_id="getDispute",
    summary="Read a dispute",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["disputes"],
)
async def get_dispute(
    service: NamedDependency[Service], caller: NamedDependency[Caller], dispute_id: FromPath[UUID]
) -> DisputeOut:
    """Return a dispute."""
    rows = await list_disputes(service.database, caller.merchant_id, {"id": dispute_id}, None, 1)
    if not rows:
        raise NotFound("dispute", dispute_id)
    return dispute_out(rows[0])


@post(
    "/disputes",
    status_code=200,
    operation_id="reportDispute",
    summary="Tell of a dispute by hand",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["disputes"],
    opt=takes(DisputeIn, **examples.DISPUTES) | {"answers": DisputeOut},
)
async def post_dispute(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[DisputeOut]:
    """Take in a dispute, or how one that is known goes on, where the gateway does not tell it by webhook.

    While it is open, and once it is lost, its money can't be refunded; what was not sent yet is decided anew.
    """
    given = read(body, DisputeIn).report()
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    dispute = await report_dispute(service.context, given, who)
    return Response(dispute_out(dispute), headers=REPLAYED if replayed else {})


HANDLERS = (get_disputes, get_dispute, post_dispute)
