"""Webhooks of gateways: no API key, the gateway's own signature instead; stored before they are answered."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.flows.intake import receive_webhook
from recoup_core.telemetry import current_correlation
from recoup_core.wiring import Service
from recoup_server.openapi import PUBLIC, takes
from recoup_server.schemas_out import WebhookOut


@post(
    "/webhooks/{gateway:str}",
    status_code=200,
    operation_id="receiveWebhook",
    summary="Take a gateway's webhook",
    responses=PUBLIC,
    security=[{}],
    tags=["webhooks"],
    opt=takes(bytes),
)
async def post_webhook(
    request: Request[Any, Any, Any], body: RawBody, service: NamedDependency[Service], gateway: FromPath[str]
) -> WebhookOut:
    """Verify the signature on the raw body, store what it tells, and answer; it is applied by a worker."""
    headers = dict(request.headers.items())  # names come in lower case, as ASGI has them
    fresh = await receive_webhook(service.context, gateway, headers, body, current_correlation())
    return WebhookOut(new_events=fresh)


HANDLERS = (post_webhook,)
