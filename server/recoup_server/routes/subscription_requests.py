"""What the billing system is asked to do with subscriptions: it reads events, or this list, and answers here."""

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, RawBody

from recoup_core.domain.subscription_request import RequestState, Wish
from recoup_core.flows.operate import NotFound
from recoup_core.flows.subscription_requests.answering import acknowledge
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.subscription_requests import list_requests
from recoup_core.wiring import Service
from recoup_server import examples_billing as examples
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, cut, id_cursor, read
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_out import SubscriptionRequestOut
from recoup_server.schemas_subscriptions import (
    AcknowledgeIn,
    SubscriptionRequestPage,
    request_out,
)


@get(
    "/subscription-requests",
    operation_id="listSubscriptionRequests",
    summary="List what the billing system is asked for, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["subscriptions"],
)
async def get_requests(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[RequestState | None, QueryParameter(name="state")] = None,
    wish: FromQuery[Wish | None] = None,
    case: Annotated[UUID | None, QueryParameter(description="A recovery case's id.")] = None,
    payment: Annotated[UUID | None, QueryParameter(description="A payment's id.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> SubscriptionRequestPage:
    """Return requests; a billing system that missed events finds here with `state=asked` what it has not answered."""
    before = id_cursor(cursor, "subscription-requests")
    filters = {"state": status, "wish": wish, "case": case, "payment": payment}
    rows = await list_requests(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "subscription-requests", attrgetter("id"))
    return SubscriptionRequestPage(items=[request_out(row) for row in page], next_cursor=following)


@get(
    "/subscription-requests/{request_id:uuid}",
    operation_id="getSubscriptionRequest",
    summary="Read a request to the billing system",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["subscriptions"],
)
async def get_request(
    service: NamedDependency[Service], caller: NamedDependency[Caller], request_id: FromPath[UUID]
) -> SubscriptionRequestOut:
    """Return a request."""
    rows = await list_requests(service.database, caller.merchant_id, {"id": request_id}, None, 1)
    if not rows:
        raise NotFound("subscription request", request_id)
    return request_out(rows[0])


@post(
    "/subscription-requests/{request_id:uuid}/acknowledge",
    status_code=200,
    operation_id="acknowledgeSubscriptionRequest",
    summary="Say that a request was carried out, or never will be",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["subscriptions"],
    opt=takes(AcknowledgeIn, **examples.ACKNOWLEDGEMENTS) | {"answers": SubscriptionRequestOut},
)
async def post_acknowledge(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    request_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[SubscriptionRequestOut]:
    """Take in the billing system's answer: nothing is told again; a refusal is put before a person.

    The same answer may come any number of times. A request that was withdrawn meanwhile stays so, and says it.
    """
    given = read(body, AcknowledgeIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    done = await acknowledge(service.context, request_id, who, done=given.done, note=given.note)
    return Response(request_out(done), headers=REPLAYED if replayed else {})


HANDLERS = (get_requests, get_request, post_acknowledge)
