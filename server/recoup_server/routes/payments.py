"""Payments: a failed one is reported here, and everything that was reported can be read."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.payment import PaymentState
from recoup_core.flows.operate import NotFound
from recoup_core.flows.recover import open_case
from recoup_core.storage.listing import DEFAULT_PAGE, CaseRow, list_payments
from recoup_core.wiring import Service
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.examples import PAYMENT
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, cut, id_cursor, read
from recoup_server.schemas_in import PaymentIn
from recoup_server.schemas_out import CaseDetail, CasePage, row_out

REPLAYED = {"Idempotent-Replayed": "true"}
"""Sent with an answer that was remembered from an earlier call."""

Text = Annotated[str | None, QueryParameter(max_length=200)]


def _payment_id(row: CaseRow) -> UUID:
    return row.payment.id


@post(
    "/payments",
    status_code=202,
    operation_id="reportFailedPayment",
    summary="Report a failed payment",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["payments"],
    opt=takes(PaymentIn, insufficient_funds=PAYMENT) | {"answers": CaseDetail},
)
async def report_payment(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[CaseDetail]:
    """Open a recovery case for a payment that failed, under the policy that applies today, and plan the first retry."""
    report = read(body, PaymentIn).report(caller.merchant_id)
    who = by(request, caller, idempotency_key, body)
    opened = await open_case(service.context, report, who.actor, who.correlation_id, who.call)
    return Response(row_out(opened), headers=REPLAYED if opened.replayed else {})


@get(
    "/payments",
    operation_id="listPayments",
    summary="List payments, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["payments"],
)
async def get_payments(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[PaymentState | None, QueryParameter(name="state")] = None,
    customer: Text = None,
    reference: Text = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> CasePage:
    """Return payments with their cases; `state`, `customer` and `reference` narrow the list."""
    filters = {"state": status, "customer": customer, "reference": reference}
    before = id_cursor(cursor, "payments")
    rows = await list_payments(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "payments", _payment_id)
    return CasePage(items=[row_out(row) for row in page], next_cursor=following)


@get(
    "/payments/{payment_id:uuid}",
    operation_id="getPayment",
    summary="Read a payment",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["payments"],
)
async def get_payment(
    service: NamedDependency[Service], caller: NamedDependency[Caller], payment_id: FromPath[UUID]
) -> CaseDetail:
    """Return a payment with its case and the next step."""
    rows = await list_payments(service.database, caller.merchant_id, {"id": payment_id}, None, 1)
    if not rows:
        raise NotFound("payment", payment_id)
    return row_out(rows[0])


HANDLERS = (report_payment, get_payments, get_payment)
