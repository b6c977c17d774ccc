"""Outbound webhooks: where a merchant's events are sent, what became of each, and sending them again."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.domain.webhook import WebhookEndpoint
from recoup_core.flows.operate import NotFound
from recoup_core.flows.webhooks_out.endpoints import (
    ENDPOINTS_MAX,
    EndpointEdit,
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    disable_endpoint,
    enable_endpoint,
    roll_secret,
)
from recoup_core.flows.webhooks_out.messages import secret_of
from recoup_core.flows.webhooks_out.replaying import try_endpoint
from recoup_core.storage.webhooks import find_endpoint, list_endpoints
from recoup_core.wiring import Service
from recoup_server import examples_webhooks as examples
from recoup_server.auth import ADMINISTERS, SETTLES, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import IdempotencyKey, by, read
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_webhooks import (
    WebhookAnswerOut,
    WebhookDisableIn,
    WebhookEndpointEditIn,
    WebhookEndpointIn,
    WebhookEndpointList,
    WebhookEndpointOut,
    WebhookEndpointSecretOut,
    WebhookRollIn,
    answer_out,
    endpoint_out,
)

Req = Request[Any, Any, Any]


def _shown(service: Service, endpoint: WebhookEndpoint) -> WebhookEndpointSecretOut:
    return WebhookEndpointSecretOut(
        endpoint=endpoint_out(endpoint), secret=secret_of(endpoint, service.context.messaging.keys)
    )


@post(
    "/webhook-endpoints",
    status_code=201,
    operation_id="createWebhookEndpoint",
    summary="Make a webhook endpoint",
    guards=[ADMINISTERS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
    opt=takes(WebhookEndpointIn, billing_system=examples.ENDPOINT) | {"answers": WebhookEndpointSecretOut},
)
async def post_endpoint(
    request: Req,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[WebhookEndpointSecretOut]:
    """Have events sent to an address, from now on; the answer holds the secret that it verifies them with."""
    given = read(body, WebhookEndpointIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    done = await create_endpoint(service.context, who, EndpointEdit(**msgspec.structs.asdict(given)))
    return Response(_shown(service, done), headers=REPLAYED if replayed else {}, status_code=201)


@get(
    "/webhook-endpoints",
    operation_id="listWebhookEndpoints",
    summary="List webhook endpoints",
    guards=[SETTLES],
    responses=LISTS,
    security=BEARER,
    tags=["webhook-endpoints"],
)
async def get_endpoints(service: NamedDependency[Service], caller: NamedDependency[Caller]) -> WebhookEndpointList:
    """Return all of the merchant's endpoints, newest first; never their secrets."""
    rows = await list_endpoints(service.database, caller.merchant_id, ENDPOINTS_MAX)
    return WebhookEndpointList(items=[endpoint_out(row) for row in rows])


@get(
    "/webhook-endpoints/{endpoint_id:uuid}",
    operation_id="getWebhookEndpoint",
    summary="Read a webhook endpoint",
    guards=[SETTLES],
    responses=READS_ONE,
    security=BEARER,
    tags=["webhook-endpoints"],
)
async def get_endpoint(
    service: NamedDependency[Service], caller: NamedDependency[Caller], endpoint_id: FromPath[UUID]
) -> WebhookEndpointOut:
    """Return an endpoint, and how sending to it goes."""
    return endpoint_out(await _endpoint(service, caller, endpoint_id))


@get(
    "/webhook-endpoints/{endpoint_id:uuid}/secret",
    operation_id="getWebhookEndpointSecret",
    summary="Reveal a webhook endpoint's secret",
    guards=[ADMINISTERS],
    responses=READS_ONE,
    security=BEARER,
    tags=["webhook-endpoints"],
)
async def get_secret(
    service: NamedDependency[Service], caller: NamedDependency[Caller], endpoint_id: FromPath[UUID]
) -> WebhookEndpointSecretOut:
    """Return the secret that signs now; it is derived, and stored nowhere."""
    return _shown(service, await _endpoint(service, caller, endpoint_id))


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/secret/roll",
    status_code=200,
    operation_id="rollWebhookEndpointSecret",
    summary="Give a webhook endpoint another secret",
    guards=[ADMINISTERS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
    opt=takes(WebhookRollIn, two_days=examples.ROLL) | {"answers": WebhookEndpointSecretOut},
)
async def post_roll(
    request: Req,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[WebhookEndpointSecretOut]:
    """Make another secret; the one before signs beside it for `hours` hours, any older one no more."""
    given = read(body, WebhookRollIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    done = await roll_secret(service.context, endpoint_id, who, given.hours)
    return Response(_shown(service, done), headers=REPLAYED if replayed else {})


@patch(
    "/webhook-endpoints/{endpoint_id:uuid}",
    operation_id="changeWebhookEndpoint",
    summary="Change a webhook endpoint",
    guards=[ADMINISTERS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
    opt=takes(WebhookEndpointEditIn, all_kinds=examples.ENDPOINT_EDIT) | {"answers": WebhookEndpointOut},
)
async def patch_endpoint(
    request: Req,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[WebhookEndpointOut]:
    """Change what is given; what waits goes to the new address."""
    given = read(body, WebhookEndpointEditIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    done = await change_endpoint(service.context, endpoint_id, who, EndpointEdit(**msgspec.structs.asdict(given)))
    return Response(endpoint_out(done), headers=REPLAYED if replayed else {})


@delete(
    "/webhook-endpoints/{endpoint_id:uuid}",
    status_code=200,
    operation_id="deleteWebhookEndpoint",
    summary="Delete a webhook endpoint",
    guards=[ADMINISTERS],
    responses=READS_ONE,
    security=BEARER,
    tags=["webhook-endpoints"],
)
async def remove_endpoint(
    request: Req, service: NamedDependency[Service], caller: NamedDependency[Caller], endpoint_id: FromPath[UUID]
) -> WebhookEndpointOut:
    """Send nothing more there, and drop what waits."""
    return endpoint_out(await delete_endpoint(service.context, endpoint_id, by(request, caller, None, b"")))


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/disable",
    status_code=200,
    operation_id="disableWebhookEndpoint",
    summary="Switch a webhook endpoint off",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
    opt=takes(WebhookDisableIn, moving=examples.DISABLE) | {"answers": WebhookEndpointOut},
)
async def post_disable(
    request: Req,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[WebhookEndpointOut]:
    """Send nothing there until it is enabled: what waits is dropped, and can be replayed then."""
    given = read(body, WebhookDisableIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    done = await disable_endpoint(service.context, endpoint_id, who, given.because)
    return Response(endpoint_out(done), headers=REPLAYED if replayed else {})


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/enable",
    status_code=200,
    operation_id="enableWebhookEndpoint",
    summary="Switch a webhook endpoint on",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
    opt={"answers": WebhookEndpointOut},
)
async def post_enable(
    request: Req,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    endpoint_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[WebhookEndpointOut]:
    """Send there again what happens from now on; `replay` sends what it missed."""
    who = by(request, caller, idempotency_key, b"")
    replayed = await answered(service, who)
    done = await enable_endpoint(service.context, endpoint_id, who)
    return Response(endpoint_out(done), headers=REPLAYED if replayed else {})


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/test",
    status_code=200,
    operation_id="testWebhookEndpoint",
    summary="Send a test to a webhook endpoint",
    guards=[SETTLES],
    responses=CHANGES,
    security=BEARER,
    tags=["webhook-endpoints"],
)
async def post_test(
    request: Req, service: NamedDependency[Service], caller: NamedDependency[Caller], endpoint_id: FromPath[UUID]
) -> WebhookAnswerOut:
    """Send a message of the kind `webhook.test` now, also where the endpoint is off, and return what came back."""
    return answer_out(await try_endpoint(service.context, endpoint_id, by(request, caller, None, b"")))


async def _endpoint(service: Service, caller: Caller, endpoint_id: UUID) -> WebhookEndpoint:
    endpoint = await find_endpoint(service.database, caller.merchant_id, endpoint_id)
    if endpoint is None:
        raise NotFound("webhook endpoint", endpoint_id)
    return endpoint


HANDLERS = (
    post_endpoint,
    get_endpoints,
    get_endpoint,
    get_secret,
    post_roll,
    patch_endpoint,
    remove_endpoint,
    post_disable,
    post_enable,
    post_test,
)
