"""Webhooks of gateways: no API key, the gateway's own signature instead; stored before they are answered."""

from typing import Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.flows.intake import receive_webhook
from recoup_core.ports import WebhookAnswer, WebhookRefused
from recoup_core.telemetry import current_correlation
from recoup_core.wiring import Service
from recoup_server.errors import PROBLEM_JSON, problem_of
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
) -> Response[WebhookOut]:
    """Verify the signature on the raw body, store what it tells, and answer; it is applied by a worker.

    The answer, also to a wrong signature, is the one that this gateway wants.
    """
    headers = dict(request.headers.items())  # names come in lower case, as ASGI has them
    known = service.context.gateways.get(gateway)
    wanted = WebhookAnswer() if known is None else known.capabilities.webhook_answer
    try:
        fresh = await receive_webhook(service.context, gateway, headers, body, current_correlation())
    except WebhookRefused as refused:
        return _refusal(refused, wanted.refused_status)
    if wanted.body is None:
        return Response(WebhookOut(new_events=fresh), status_code=wanted.status)
    plain = cast("WebhookOut", wanted.body)  # the document tells of our own answer; gateways don't read it
    return Response(plain, status_code=wanted.status, media_type=wanted.content_type)


def _refusal(refused: WebhookRefused, status: int) -> Response[WebhookOut]:
    problem, _ = problem_of(refused)
    told = cast("WebhookOut", msgspec.structs.replace(problem, status=status))
    return Response(told, status_code=status, media_type=PROBLEM_JSON)


HANDLERS = (post_webhook,)
