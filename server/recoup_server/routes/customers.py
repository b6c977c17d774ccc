"""Customers: how they are reached, and whether at all."""

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, RawBody

from recoup_core.flows.customers.changing import change_customer, erase, release
from recoup_core.flows.operate import NotFound
from recoup_core.storage.customers import KnownCustomer, list_customers, read_customer
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.wiring import Service
from recoup_server import examples_customers as examples
from recoup_server.auth import READS, SETTLES, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, open_cursor, read, seal_cursor
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_customers import (
    BecauseIn,
    CustomerDetail,
    CustomerPage,
    CustomerPatch,
    CustomerPut,
    customer_detail,
    customer_out,
)

Asked = Request[Any, Any, Any]
_TAGS: Final = ["customers"]


@get(
    "/customers",
    operation_id="listCustomers",
    summary="List customers by their names",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=_TAGS,
)
async def get_customers(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    do_not_contact: FromQuery[bool | None] = None,
    vulnerable: FromQuery[bool | None] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> CustomerPage:
    """Return customers that somebody told how to reach; `do_not_contact` and `vulnerable` narrow the list."""
    parts = open_cursor(cursor, "customers", bytes.fromhex)
    after = "" if parts is None else parts[0].decode()
    async with service.database.connection() as connection:
        rows = await list_customers(
            connection, caller.merchant_id, after, limit + 1, do_not_contact=do_not_contact, vulnerable=vulnerable
        )
    page = rows[:limit]
    following = seal_cursor("customers", page[-1].ref.encode().hex()) if len(rows) > limit else None
    return CustomerPage(items=[customer_out(row) for row in page], next_cursor=following)


@get(
    "/customers/{customer_ref:str}",
    operation_id="getCustomer",
    summary="Read a customer",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=_TAGS,
)
async def get_customer(
    service: NamedDependency[Service], caller: NamedDependency[Caller], customer_ref: FromPath[str]
) -> CustomerDetail:
    """Return a customer with their addresses and what became of those."""
    async with service.database.connection() as connection:
        known = await read_customer(connection, caller.merchant_id, customer_ref)
    if known is None:
        raise NotFound("customer", customer_ref)
    return customer_detail(known)


_CHANGES: Final[dict[str, Any]] = {
    "status_code": 200,
    "responses": CHANGES,
    "security": BEARER,
    "tags": _TAGS,
}


@post(
    "/customers",
    operation_id="setCustomer",
    summary="Say how a customer is reached, as a whole",
    guards=[WORKS, once],
    opt=takes(CustomerPut, **examples.WHOLE) | {"answers": CustomerDetail},
    **_CHANGES,
)
async def post_customer(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[CustomerDetail]:
    """Make a customer, or put them as they are given here: what is left out is taken away."""
    given = read(body, CustomerPut)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _told(await change_customer(service.context, given.ref, who, given.change()), replayed)


@patch(
    "/customers/{customer_ref:str}",
    operation_id="changeCustomer",
    summary="Change how a customer is reached",
    guards=[WORKS, once],
    opt=takes(CustomerPatch, **examples.CHANGES) | {"answers": CustomerDetail},
    **_CHANGES,
)
async def patch_customer(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    customer_ref: FromPath[str],
    idempotency_key: IdempotencyKey,
) -> Response[CustomerDetail]:
    """Change what is given. It holds from the next message on, one that waits to be sent included."""
    given = read(body, CustomerPatch)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _told(await change_customer(service.context, customer_ref, who, given.change(), make=False), replayed)


@post(
    "/customers/{customer_ref:str}/addresses/{address_id:uuid}/release",
    operation_id="releaseAddress",
    summary="Write to a blocked address again",
    guards=[SETTLES, once],
    opt=takes(BecauseIn, **examples.RELEASES) | {"answers": CustomerDetail},
    **_CHANGES,
)
async def post_release(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    customer_ref: FromPath[str],
    address_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[CustomerDetail]:
    """Lift the block of an address, and of the customer's whole channel; only on the customer's own word."""
    given = read(body, BecauseIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _told(await release(service.context, customer_ref, address_id, who, given.because), replayed)


@post(
    "/customers/{customer_ref:str}/erase",
    operation_id="eraseCustomer",
    summary="Erase a customer's name, addresses and messages",
    guards=[SETTLES, once],
    opt=takes(BecauseIn, **examples.ERASURES) | {"answers": CustomerDetail},
    **_CHANGES,
)
async def post_erase(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    customer_ref: FromPath[str],
    idempotency_key: IdempotencyKey,
) -> Response[CustomerDetail]:
    """Erase what names the person, for good. Payments, cases and events stay: they hold ids, amounts and reasons."""
    given = read(body, BecauseIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return _told(await erase(service.context, customer_ref, who, given.because), replayed)


def _told(known: KnownCustomer, replayed: bool) -> Response[CustomerDetail]:
    return Response(customer_detail(known), headers=REPLAYED if replayed else {})


HANDLERS = (get_customers, get_customer, post_customer, patch_customer, post_release, post_erase)
