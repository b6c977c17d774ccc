"""What a case's customer has stored to pay with, and the gateway's own page where it is renewed."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.flows.credentials.links import update_link
from recoup_core.flows.operate import NotFound
from recoup_core.storage.credentials import credentials_of_case
from recoup_core.wiring import Service
from recoup_server import examples
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, READS_ONE, takes
from recoup_server.reading import IdempotencyKey, by, read
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_credentials import (
    CredentialList,
    UpdateLinkIn,
    UpdateLinkOut,
    credentials_out,
    link_out,
)


@get(
    "/recovery-cases/{case_id:uuid}/credentials",
    operation_id="listCredentials",
    summary="See what the customer has stored",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["recovery-cases"],
)
async def get_credentials(
    service: NamedDependency[Service], caller: NamedDependency[Caller], case_id: FromPath[UUID]
) -> CredentialList:
    """Return every means of payment of the case's customer, and why those that are blocked are."""
    found = await credentials_of_case(service.database, caller.merchant_id, case_id)
    if found is None:
        raise NotFound("recovery case", case_id)
    return credentials_out(found)


@post(
    "/recovery-cases/{case_id:uuid}/update-link",
    status_code=200,
    operation_id="createUpdateLink",
    summary="Get a page where the customer renews a means of payment",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["recovery-cases"],
    opt=takes(UpdateLinkIn, own_gateway={}, another=examples.UPDATE_LINK) | {"answers": UpdateLinkOut},
)
async def post_update_link(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    case_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[UpdateLinkOut]:
    """Have the gateway make a page where the customer renews a means of payment, or pays.

    While a page works it is handed out again. Its address is a secret of the customer's: it stands in this answer only.
    """
    given = read(body, UpdateLinkIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    link = await update_link(service.context, case_id, who, given.gateway)
    return Response(link_out(link), headers=REPLAYED if replayed else {})


HANDLERS = (get_credentials, post_update_link)
