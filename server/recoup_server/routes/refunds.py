"""Refunds: asked for, changed, handed in again, canceled and tried again; reading them is `refund_reads`."""

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.refunds.requests import (
    cancel_refund,
    edit_refund,
    preview_refund,
    request_refund,
    retry_refund,
    submit_refund,
)
from recoup_core.flows.refunds.settle import resolve_part
from recoup_core.storage.refund_lists import read_background, read_line_names
from recoup_core.wiring import Service
from recoup_server import examples_refunds as examples
from recoup_server.auth import SETTLES, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, EDITS, ETAG, takes
from recoup_server.reading import (
    IdempotencyKey,
    IfMatch,
    MaybeIfMatch,
    by,
    etag,
    read,
    refuse_hidden,
    version_of,
    versioned,
)
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_refunds_in import (
    CancelRefundIn,
    RefundEditIn,
    RefundIn,
    ResolvePartIn,
    RetryRefundIn,
)
from recoup_server.schemas_refunds_out import PreviewOut, RefundDetail, preview_out, refund_detail

Asked = Request[Any, Any, Any]

_TELLS: Final[dict[str, Any]] = {"response_headers": ETAG, "security": BEARER, "tags": ["refunds"]}
_ACTS: Final[dict[str, Any]] = {"guards": [WORKS, once], "responses": EDITS, "status_code": 200, **_TELLS}
_CHANGES_A_VERSION: Final[dict[str, Any]] = {**_ACTS, "guards": [WORKS, once, versioned]}
_ANSWERS: Final[dict[str, Any]] = {"answers": RefundDetail}


@post(
    "/refunds",
    status_code=201,
    operation_id="requestRefund",
    summary="Ask for a refund",
    guards=[WORKS, once],
    responses=CHANGES,
    opt=takes(RefundIn, **examples.REFUNDS) | _ANSWERS,
    **_TELLS,
)
async def post_refund(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[RefundDetail]:
    """Reserve the amount and ask the policy: `state` says whether it goes out, waits for people, or is denied.

    A denial is an answer, with its reason. More than is left of the payment is refused, and nothing is stored.
    """
    ask = read(body, RefundIn).ask()
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return await told(service, await request_refund(service.context, ask, who), replayed=replayed)


@post(
    "/refunds/preview",
    status_code=200,
    operation_id="previewRefund",
    summary="Say what a refund would be answered",
    guards=[WORKS],
    responses=CHANGES,
    security=BEARER,
    tags=["refunds"],
    opt=takes(RefundIn, **examples.REFUNDS),
)
async def post_preview(
    request: Asked, body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]
) -> PreviewOut:
    """Check and decide as for a request, with its shares by line and capture; nothing is stored or reserved."""
    ask = read(body, RefundIn).ask()
    preview = await preview_refund(service.context, ask, by(request, caller, None, body))
    names = await read_line_names(service.database, [line.payment_line_id for line in preview.lines])
    return preview_out(preview, names)


@patch(
    "/refunds/{refund_id:uuid}",
    operation_id="editRefund",
    summary="Change a refund",
    opt=takes(RefundEditIn, **examples.EDITS) | _ANSWERS,
    **_CHANGES_A_VERSION,
)
async def patch_refund(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    refund_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
) -> Response[RefundDetail]:
    """Change what is asked for, before any money has left: a new revision, decided anew, without the approvals."""
    edit = read(body, RefundEditIn).edit()
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    file = await edit_refund(service.context, refund_id, edit, who, version_of(if_match))
    return await told(service, file, replayed=replayed)


@post(
    "/refunds/{refund_id:uuid}/submit",
    operation_id="submitRefund",
    summary="Hand a refund in again",
    opt=_ANSWERS,
    **_CHANGES_A_VERSION,
)
async def post_submit(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    refund_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
) -> Response[RefundDetail]:
    """Have it decided anew as it is, after it was sent back or when evidence it lacked is there."""
    refuse_hidden(body)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    file = await submit_refund(service.context, refund_id, who, version_of(if_match))
    return await told(service, file, replayed=replayed)


@post(
    "/refunds/{refund_id:uuid}/cancel",
    operation_id="cancelRefund",
    summary="Cancel a refund",
    opt=takes(CancelRefundIn, changed_their_mind=examples.CANCEL) | _ANSWERS,
    **_ACTS,
)
async def post_cancel(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    refund_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
    if_match: MaybeIfMatch = None,
) -> Response[RefundDetail]:
    """End it and let go of what it reserved; one that is pending at its gateway only where that can still cancel."""
    given = read(body, CancelRefundIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    file = await cancel_refund(service.context, refund_id, who, given.reason, _maybe(if_match))
    return await told(service, file, replayed=replayed)


@post(
    "/refunds/{refund_id:uuid}/retry",
    operation_id="retryRefund",
    summary="Try a failed refund again",
    opt=takes(RetryRefundIn, **examples.RETRIES) | _ANSWERS,
    **_ACTS,
)
async def post_retry(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    refund_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
    if_match: MaybeIfMatch = None,
) -> Response[RefundDetail]:
    """Send what is missing again, by new parts with keys of their own; another way is decided on anew."""
    given = read(body, RetryRefundIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    file = await retry_refund(service.context, refund_id, who, given.destination, _maybe(if_match))
    return await told(service, file, replayed=replayed)


@post(
    "/refund-parts/{part_id:uuid}/resolve",
    status_code=200,
    operation_id="resolveRefundPart",
    summary="Settle a part of a refund by hand",
    guards=[SETTLES, once],
    responses=CHANGES,
    opt=takes(ResolvePartIn, **examples.RESOLUTIONS) | _ANSWERS,
    **_TELLS,
)
async def post_resolve_part(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    part_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[RefundDetail]:
    """Say, with evidence, what became of a part whose outcome no look-up could tell."""
    given = read(body, ResolvePartIn).resolution()
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return await told(service, await resolve_part(service.context, part_id, who, given), replayed=replayed)


async def told(service: Service, file: RefundFile, *, replayed: bool) -> Response[RefundDetail]:
    """Return the answer to an operation on a refund, with its version; the route says the status."""
    background = await read_background(service.database, file)
    headers = etag(file.refund.version) | (REPLAYED if replayed else {})
    return Response(refund_detail(file, background), headers=headers)


def _maybe(if_match: str | None) -> int | None:
    return None if if_match is None else version_of(if_match)


HANDLERS = (post_refund, post_preview, patch_refund, post_submit, post_cancel, post_retry, post_resolve_part)
