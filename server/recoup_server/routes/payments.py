"""Payments: a failed or a collected one is reported here; all of them can be read, and what of them can go back."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.payment import PaymentState
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.captured import report_captured
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.recover import open_case
from recoup_core.storage.calls import recall
from recoup_core.storage.listing import DEFAULT_PAGE, PaymentRow, list_payments
from recoup_core.storage.refund_lists import read_account
from recoup_core.wiring import Service
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.examples import PAYMENT
from recoup_server.examples_refunds import CAPTURES
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, Text, by, cut, id_cursor, read
from recoup_server.schemas_in import PaymentIn
from recoup_server.schemas_out import CaseDetail, row_out
from recoup_server.schemas_payments import (
    CapturedIn,
    PaymentDetail,
    PaymentPage,
    RefundableOut,
    payment_row_out,
    refundable_out,
)

REPLAYED = {"Idempotent-Replayed": "true"}
"""Sent with an answer that was remembered from an earlier call."""


def _payment_id(row: PaymentRow) -> UUID:
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


@post(
    "/payments/captured",
    status_code=201,
    operation_id="reportCapturedPayment",
    summary="Report a collected payment",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["payments"],
    opt=takes(CapturedIn, **CAPTURES) | {"answers": RefundableOut},
)
async def report_captured_payment(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[RefundableOut]:
    """Tell of a payment that was collected elsewhere, so that it can be refunded here, and what of it went back."""
    report = read(body, CapturedIn).report(caller.merchant_id)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    account = await report_captured(service.context, report, who.actor, who.correlation_id, who.call)
    return Response(_refundable(service, account), headers=REPLAYED if replayed else {})


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
    order: Text = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> PaymentPage:
    """Return payments, each with its case if it ever failed; the parameters narrow the list."""
    filters = {"state": status, "customer": customer, "reference": reference, "order": order}
    before = id_cursor(cursor, "payments")
    rows = await list_payments(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "payments", _payment_id)
    return PaymentPage(items=[payment_row_out(row) for row in page], next_cursor=following)


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
) -> PaymentDetail:
    """Return a payment, its case and the next step if it ever failed, and how much went back or still can."""
    rows = await list_payments(service.database, caller.merchant_id, {"id": payment_id}, None, 1)
    if not rows:
        raise NotFound("payment", payment_id)
    return payment_row_out(rows[0])


@get(
    "/payments/{payment_id:uuid}/refundable",
    operation_id="getRefundable",
    summary="Read what can be refunded of a payment",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["payments"],
)
async def get_refundable(
    service: NamedDependency[Service], caller: NamedDependency[Caller], payment_id: FromPath[UUID]
) -> RefundableOut:
    """Return what is left of each charge and each line, until when its gateway takes refunds, and open disputes."""
    account = await read_account(service.database, caller.merchant_id, payment_id)
    if account is None:
        raise NotFound("payment", payment_id)
    return _refundable(service, account)


async def answered(service: Service, who: By) -> bool:
    """Return whether this very call was answered before; a key used for another one raises `IdempotencyKeyReused`."""
    assert who.call is not None  # the guard saw a key
    async with service.database.connection() as connection:
        return await recall(connection, who.merchant_id, who.call) is not None


def _refundable(service: Service, account: PaymentAccount) -> RefundableOut:
    return refundable_out(account, service.context.gateways, service.clock.now())


HANDLERS = (report_payment, report_captured_payment, get_payments, get_payment, get_refundable)
