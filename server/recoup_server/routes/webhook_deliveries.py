"""What was sent to webhook endpoints, each try with its answer, and sending it again."""

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.webhook import DeliveryState
from recoup_core.flows.operate import NotFound
from recoup_core.flows.webhooks_out.replaying import Span, replay, replay_delivery
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.webhook_deliveries import list_deliveries, list_tries
from recoup_core.storage.webhooks import find_endpoint
from recoup_core.wiring import Service
from recoup_server import examples_webhooks as examples
from recoup_server.auth import SETTLES, Caller, once
from recoup_server.openapi import BEARER, CHANGES, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, Text, by, cut, id_cursor, read
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_webhooks import (
    WebhookDeliveryDetailOut,
    WebhookDeliveryOut,
    WebhookDeliveryPage,
    WebhookReplayIn,
    WebhookReplayOut,
    delivery_detail_out,
    delivery_out,
)

Req = Request[Any, Any, Any]


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/replay",
    status_code=200,
    operation_id="replayWebhookEvents",
    summary="Send the events of a time again",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
    opt=takes(WebhookReplayIn, since_yesterday=examples.REPLAY) | {"answers": WebhookReplayOut},
)
async def post_replay(
    request: Req,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[WebhookReplayOut]:
    """Send what failed, was dropped or was never sent since a moment; up to 5,000 events a call, `after` goes on."""
    given = read(body, WebhookReplayIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    done = await replay(service.context, endpoint_id, who, Span(**msgspec.structs.asdict(given)))
    return Response(WebhookReplayOut(replayed=done.replayed, after=done.after), headers=REPLAYED if replayed else {})


@get(
    "/webhook-endpoints/{endpoint_id:uuid}/deliveries",
    operation_id="listWebhookDeliveries",
    summary="List what was sent to a webhook endpoint, newest first",
    guards=[SETTLES],
    responses=READS_ONE,
    security=BEARER,
    tags=["webhook-endpoints"],
)
async def get_deliveries(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    status: Annotated[DeliveryState | None, QueryParameter(name="state")] = None,
    kind: Text = None,
    event: Annotated[int | None, QueryParameter(ge=1, le=2**53 - 1, description="An event's number.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> WebhookDeliveryPage:
    """Return deliveries; `state`, `kind` and `event` narrow the list."""
    if await find_endpoint(service.database, caller.merchant_id, endpoint_id) is None:
        raise NotFound("webhook endpoint", endpoint_id)
    before = id_cursor(cursor, "webhook-deliveries")
    filters = {"endpoint": endpoint_id, "state": status, "kind": kind, "event": event}
    rows = await list_deliveries(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "webhook-deliveries", attrgetter("id"))
    return WebhookDeliveryPage(items=[delivery_out(row) for row in page], next_cursor=following)


@get(
    "/webhook-endpoints/{endpoint_id:uuid}/deliveries/{delivery_id:uuid}",
    operation_id="getWebhookDelivery",
    summary="Read what became of an event on its way to a webhook endpoint",
    guards=[SETTLES],
    responses=READS_ONE,
    security=BEARER,
    tags=["webhook-endpoints"],
)
async def get_delivery(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    delivery_id: FromPath[UUID],
) -> WebhookDeliveryDetailOut:
    """Return a delivery with each of its tries: when, how long, what came back."""
    filters = {"endpoint": endpoint_id, "id": delivery_id}
    rows = await list_deliveries(service.database, caller.merchant_id, filters, None, 1)
    if not rows:
        raise NotFound("webhook delivery", delivery_id)
    return delivery_detail_out(rows[0], await list_tries(service.database, delivery_id))


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/deliveries/{delivery_id:uuid}/replay",
    status_code=200,
    operation_id="replayWebhookDelivery",
    summary="Send one event again",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
    opt={"answers": WebhookDeliveryOut},
)
async def post_delivery_replay(
    request: Req,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    delivery_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[WebhookDeliveryOut]:
    """Send one delivery again now, under the id that it had, whatever became of it."""
    who = by(request, caller, idempotency_key, b"")
    replayed = await answered(service, who)
    done = await replay_delivery(service.context, endpoint_id, delivery_id, who)
    return Response(delivery_out(done), headers=REPLAYED if replayed else {})


HANDLERS = (post_replay, get_deliveries, get_delivery, post_delivery_replay)
