"""Delegations: approval roles lent to a colleague for a time, and taken back."""

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.principal import canonical
from recoup_core.flows.refunds.delegations import delegate, revoke_delegation
from recoup_core.flows.refunds.people import in_person
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.merchants import Role
from recoup_core.storage.refund_lists import list_delegations
from recoup_core.wiring import Service
from recoup_server import examples_refunds as examples
from recoup_server.auth import APPROVES, READS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, Text, by, cut, id_cursor, read, refuse_hidden
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_approvals import DelegationIn, DelegationOut, DelegationPage, delegation_out


@get(
    "/delegations",
    operation_id="listDelegations",
    summary="List delegations, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["approvals"],
)
async def get_delegations(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    owner: Text = None,
    delegate_: Annotated[str | None, QueryParameter(name="delegate", max_length=200)] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> DelegationPage:
    """Return delegations, those that are over included; `owner` and `delegate` narrow the list."""
    before = id_cursor(cursor, "delegations")
    filters = {
        "owner": None if owner is None else canonical(owner),
        "delegate": None if delegate_ is None else canonical(delegate_),
    }
    rows = await list_delegations(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "delegations", attrgetter("id"))
    return DelegationPage(items=[delegation_out(each) for each in page], next_cursor=following)


@post(
    "/delegations",
    status_code=201,
    operation_id="createDelegation",
    summary="Lend approval roles",
    guards=[APPROVES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["approvals"],
    opt=takes(DelegationIn, **examples.DELEGATIONS) | {"answers": DelegationOut},
)
async def post_delegation(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    idempotency_key: IdempotencyKey,
) -> Response[DelegationOut]:
    """Lend roles that you have yourself; an administrator may do so for others. Four eyes count both people."""
    ask = read(body, DelegationIn).ask()
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, in_person(who))
    made = await delegate(service.context, ask, who, admin=Role.ADMIN in caller.roles)
    return Response(delegation_out(made), headers=REPLAYED if replayed else {})


@post(
    "/delegations/{delegation_id:uuid}/revoke",
    status_code=200,
    operation_id="revokeDelegation",
    summary="Take lent roles back",
    guards=[APPROVES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["approvals"],
    opt={"answers": DelegationOut},
)
async def post_revoke(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    delegation_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[DelegationOut]:
    """End it at once; what was approved by it stays approved."""
    refuse_hidden(body)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, in_person(who))
    revoked = await revoke_delegation(service.context, delegation_id, who, admin=Role.ADMIN in caller.roles)
    return Response(delegation_out(revoked), headers=REPLAYED if replayed else {})


HANDLERS = (get_delegations, post_delegation, post_revoke)
