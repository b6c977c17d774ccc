"""Charges that are to come: told by the billing system, so that their customers are told in time."""

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.upcoming import ChargeFile, ChargeState
from recoup_core.flows.operate import NotFound
from recoup_core.flows.upcoming.announcing import announce, call_off, edit, made
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.upcoming import list_charges, load_charges
from recoup_core.wiring import Service
from recoup_server import examples_billing as examples
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, Text, by, cut, id_cursor, read, refuse_hidden
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_upcoming import (
    CallOffIn,
    ChargeEditIn,
    UpcomingChargeFileOut,
    UpcomingChargeIn,
    UpcomingChargePage,
    charge_out,
    file_out,
)


@post(
    "/upcoming-charges",
    status_code=200,
    operation_id="announceCharge",
    summary="Tell of a charge that is to come",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["upcoming charges"],
    opt=takes(UpcomingChargeIn, **examples.CHARGES) | {"answers": UpcomingChargeFileOut},
)
async def post_charge(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[UpcomingChargeFileOut]:
    """Store a charge, and plan what its customer is told before it by the notice policy of today."""
    given = read(body, UpcomingChargeIn).announcement(caller.merchant_id)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _answer(await announce(service.context, given, who), replayed)


@get(
    "/upcoming-charges",
    operation_id="listUpcomingCharges",
    summary="List charges to come, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["upcoming charges"],
)
async def get_charges(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[ChargeState | None, QueryParameter(name="state")] = None,
    customer: Text = None,
    reference: Text = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> UpcomingChargePage:
    """Return charges; `state`, `customer` and `reference` narrow the list."""
    before = id_cursor(cursor, "upcoming-charges")
    filters = {"state": status, "customer": customer, "reference": reference}
    rows = await list_charges(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "upcoming-charges", attrgetter("id"))
    return UpcomingChargePage(items=[charge_out(row) for row in page], next_cursor=following)


@get(
    "/upcoming-charges/{charge_id:uuid}",
    operation_id="getUpcomingCharge",
    summary="Read a charge to come with its notices",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["upcoming charges"],
)
async def get_charge(
    service: NamedDependency[Service], caller: NamedDependency[Caller], charge_id: FromPath[UUID]
) -> UpcomingChargeFileOut:
    """Return a charge and what is, was or will be said before it."""
    async with service.database.connection() as connection:
        file = (await load_charges(connection, [charge_id])).get(charge_id)
    if file is None or file.charge.merchant_id != caller.merchant_id:
        raise NotFound("upcoming charge", charge_id)
    return file_out(file)


@patch(
    "/upcoming-charges/{charge_id:uuid}",
    operation_id="editUpcomingCharge",
    summary="Change a charge to come",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["upcoming charges"],
    opt=takes(ChargeEditIn, **examples.CHARGE_EDITS) | {"answers": UpcomingChargeFileOut},
)
async def patch_charge(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    charge_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[UpcomingChargeFileOut]:
    """Take in another amount, another time, or a renewed card; the notices follow."""
    given = read(body, ChargeEditIn).edit()
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _answer(await edit(service.context, charge_id, who, given), replayed)


@post(
    "/upcoming-charges/{charge_id:uuid}/call-off",
    status_code=200,
    operation_id="callOffCharge",
    summary="Say that a charge will not be made",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["upcoming charges"],
    opt=takes(CallOffIn, canceled=examples.CALL_OFF) | {"answers": UpcomingChargeFileOut},
)
async def post_call_off(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    charge_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[UpcomingChargeFileOut]:
    """Leave out every notice still to come."""
    given = read(body, CallOffIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _answer(await call_off(service.context, charge_id, who, given.reason), replayed)


@post(
    "/upcoming-charges/{charge_id:uuid}/made",
    status_code=200,
    operation_id="chargeMade",
    summary="Say that a charge was made",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["upcoming charges"],
    opt={"answers": UpcomingChargeFileOut},
)
async def post_made(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    charge_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[UpcomingChargeFileOut]:
    """Close the charge; one that failed is reported as a payment under the same reference instead."""
    refuse_hidden(body)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _answer(await made(service.context, charge_id, who), replayed)


def _answer(file: ChargeFile, replayed: bool) -> Response[UpcomingChargeFileOut]:
    return Response(file_out(file), headers=REPLAYED if replayed else {})


HANDLERS = (post_charge, get_charges, get_charge, patch_charge, post_call_off, post_made)
