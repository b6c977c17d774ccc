"""Refunds as people read them: the list, one with everything that holds now, and its whole story."""

from operator import attrgetter
from typing import Annotated
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from recoup_core.domain.refund import RefundState
from recoup_core.flows.operate import NotFound
from recoup_core.flows.refunds.settle import hurry_refund
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.refund_lists import list_refunds, read_refund, read_refund_story
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.openapi import BEARER, ETAG, LISTS, READS_ONE
from recoup_server.reading import Cursor, Limit, Text, cut, etag, id_cursor
from recoup_server.refund_timeline import refund_timeline
from recoup_server.schemas_refunds_out import RefundDetail, RefundPage, RefundTimelineOut, refund_detail, refund_out


@get(
    "/refunds",
    operation_id="listRefunds",
    summary="List refunds, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["refunds"],
)
async def get_refunds(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[RefundState | None, QueryParameter(name="state")] = None,
    payment: Annotated[UUID | None, QueryParameter(description="Any payment that it goes back over.")] = None,
    customer: Text = None,
    order: Text = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> RefundPage:
    """Return refunds; `state`, `payment`, `customer` and `order` narrow the list."""
    filters = {"state": status, "payment": payment, "customer": customer, "order": order}
    before = id_cursor(cursor, "refunds")
    rows = await list_refunds(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "refunds", attrgetter("id"))
    return RefundPage(items=[refund_out(refund) for refund in page], next_cursor=following)


@get(
    "/refunds/{refund_id:uuid}",
    operation_id="getRefund",
    summary="Read a refund",
    guards=[READS],
    responses=READS_ONE,
    response_headers=ETAG,
    security=BEARER,
    tags=["refunds"],
    opt={"answers": RefundDetail},
)
async def get_refund(
    service: NamedDependency[Service], caller: NamedDependency[Caller], refund_id: FromPath[UUID]
) -> Response[RefundDetail]:
    """Return a refund with its parts, lines and approvals, and why the policy answered as it did."""
    found = await read_refund(service.database, caller.merchant_id, refund_id)
    if found is None:
        raise NotFound("refund", refund_id)
    file, background = found
    await hurry_refund(service.context, file.parts)
    return Response(refund_detail(file, background), headers=etag(file.refund.version))


@get(
    "/refunds/{refund_id:uuid}/timeline",
    operation_id="getRefundTimeline",
    summary="Read a refund's whole story",
    guards=[READS],
    responses=READS_ONE,
    response_headers=ETAG,
    security=BEARER,
    tags=["refunds"],
    opt={"answers": RefundTimelineOut},
)
async def get_timeline(
    service: NamedDependency[Service], caller: NamedDependency[Caller], refund_id: FromPath[UUID]
) -> Response[RefundTimelineOut]:
    """Return what was decided, what people said and what became of each part, in order, and all that happened."""
    story = await read_refund_story(service.database, caller.merchant_id, refund_id)
    if story is None:
        raise NotFound("refund", refund_id)
    return Response(refund_timeline(story), headers=etag(story.file.refund.version))


HANDLERS = (get_refunds, get_refund, get_timeline)
