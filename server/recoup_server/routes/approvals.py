"""Approvals: what waits for the caller, and yes, no or back, about one refund or many; four eyes by every route."""

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.approval import Verdict
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.approvals import BulkItem, decide_many, decide_refund
from recoup_core.flows.refunds.people import in_person
from recoup_core.flows.refunds.queue import queue
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.refund_lists import Decidable
from recoup_core.wiring import Service
from recoup_server import examples_refunds as examples
from recoup_server.auth import APPROVES, Caller, once
from recoup_server.openapi import BEARER, CHANGES, EDITS, ETAG, LISTS, takes
from recoup_server.reading import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    by,
    cut,
    id_cursor,
    read,
    version_of,
    versioned,
)
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.routes.refunds import told
from recoup_server.schemas_approvals import BulkOut, WaitingPage, bulk_out, waiting_out
from recoup_server.schemas_refunds_in import ApproveIn, BulkIn, RejectIn, SendBackIn
from recoup_server.schemas_refunds_out import RefundDetail

Asked = Request[Any, Any, Any]

_DECIDES: Final[dict[str, Any]] = {
    "status_code": 200,
    "guards": [APPROVES, once, versioned],
    "responses": EDITS,
    "response_headers": ETAG,
    "security": BEARER,
    "tags": ["approvals"],
}
_ANSWERS: Final[dict[str, Any]] = {"answers": RefundDetail}


def _refund_id(waiting: Decidable) -> UUID:
    return waiting.refund.id


@get(
    "/approvals",
    operation_id="listApprovals",
    summary="List the refunds that wait for you, oldest first",
    guards=[APPROVES],
    responses=LISTS,
    security=BEARER,
    tags=["approvals"],
)
async def get_approvals(
    request: Asked,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    role: Annotated[str | None, QueryParameter(max_length=64, description="One approval role.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> WaitingPage:
    """Return what the key's own approval roles, and those lent to its principal, may decide now.

    What the caller touched, or has approved a level of, is not among it.
    """
    after = id_cursor(cursor, "approvals")
    rows = await queue(service.context, by(request, caller, None, b""), after, limit + 1, role=role)
    page, following = cut(rows, limit, "approvals", _refund_id)
    return WaitingPage(items=[waiting_out(row) for row in page], next_cursor=following)


@post(
    "/refunds/{refund_id:uuid}/approve",
    operation_id="approveRefund",
    summary="Approve a refund",
    opt=takes(ApproveIn, **examples.APPROVALS) | _ANSWERS,
    **_DECIDES,
)
async def post_approve(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    refund_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
) -> Response[RefundDetail]:
    """Approve the open level of exactly this version; behind the last level the money goes out."""
    given = read(body, ApproveIn)
    who = by(request, caller, idempotency_key, body)
    return await _decided(service, refund_id, who, Verdict.APPROVE, given.comment, if_match)


@post(
    "/refunds/{refund_id:uuid}/reject",
    operation_id="rejectRefund",
    summary="Reject a refund",
    opt=takes(RejectIn, not_ours=examples.REJECTION) | _ANSWERS,
    **_DECIDES,
)
async def post_reject(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    refund_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
) -> Response[RefundDetail]:
    """End it with a no; what it reserved is free again."""
    given = read(body, RejectIn)
    who = by(request, caller, idempotency_key, body)
    return await _decided(service, refund_id, who, Verdict.REJECT, given.comment, if_match)


@post(
    "/refunds/{refund_id:uuid}/send-back",
    operation_id="sendBackRefund",
    summary="Send a refund back to whoever asked",
    opt=takes(SendBackIn, receipt_missing=examples.SENDING_BACK) | _ANSWERS,
    **_DECIDES,
)
async def post_send_back(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    refund_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
) -> Response[RefundDetail]:
    """Ask for a change; it stays reserved, and is decided anew once it is handed in again."""
    given = read(body, SendBackIn)
    who = by(request, caller, idempotency_key, body)
    return await _decided(service, refund_id, who, Verdict.SEND_BACK, given.comment, if_match)


@post(
    "/refunds/bulk",
    status_code=200,
    operation_id="decideRefunds",
    summary="Say the same about many refunds",
    guards=[APPROVES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["approvals"],
    opt=takes(BulkIn, **examples.BULKS) | {"answers": BulkOut},
)
async def post_bulk(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[BulkOut]:
    """Decide up to 100 refunds, each by itself and at the version given; the answer says per refund what became of it.

    The same call again gives the same answers, and finishes what was interrupted.
    """
    given = read(body, BulkIn)
    items = [BulkItem(refund_id=item.refund_id, if_match=item.version) for item in given.items]
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, in_person(who))
    results = await decide_many(service.context, items, who, given.verdict, given.comment)
    return Response(bulk_out(results), headers=REPLAYED if replayed else {})


async def _decided(
    service: Service, refund_id: UUID, who: By, verdict: Verdict, comment: str | None, if_match: str
) -> Response[RefundDetail]:
    replayed = await answered(service, in_person(who))
    file = await decide_refund(service.context, refund_id, who, verdict, comment, version_of(if_match))
    return await told(service, file, replayed=replayed)


HANDLERS = (get_approvals, post_approve, post_reject, post_send_back, post_bulk)
