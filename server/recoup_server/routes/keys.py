"""API keys of the merchant: made, listed and taken back by its administrators."""

from datetime import MAXYEAR
from uuid import UUID

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.flows.operate import NotFound
from recoup_core.storage.merchants import ApiKey, list_keys, mint_key, revoke_key
from recoup_core.wiring import Service
from recoup_server.auth import ADMINISTERS, Caller
from recoup_server.errors import RequestInvalid
from recoup_server.examples import API_KEY, APPROVER_KEY
from recoup_server.openapi import BEARER, LISTS, READS_ONE, refusals, takes
from recoup_server.reading import read
from recoup_server.schemas_keys import ApiKeyIn, ApiKeyList, ApiKeyOut, MintedKeyOut


@get(
    "/api-keys",
    operation_id="listApiKeys",
    summary="List API keys",
    guards=[ADMINISTERS],
    responses=LISTS,
    security=BEARER,
    tags=["api-keys"],
)
async def get_keys(service: NamedDependency[Service], caller: NamedDependency[Caller]) -> ApiKeyList:
    """Return the merchant's keys, newest first, at most 1,000; never their secrets."""
    return ApiKeyList(items=[_out(key) for key in await list_keys(service.database, caller.merchant_id)])


@post(
    "/api-keys",
    status_code=201,
    operation_id="createApiKey",
    summary="Make an API key",
    guards=[ADMINISTERS],
    responses=refusals(400, 401, 403, 413, 503),
    security=BEARER,
    tags=["api-keys"],
    opt=takes(ApiKeyIn, billing_system=API_KEY, approver=APPROVER_KEY),
)
async def post_key(body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]) -> MintedKeyOut:
    """Make a key for the merchant; the secret is in this answer and nowhere else."""
    given = read(body, ApiKeyIn)
    now = service.clock.now()
    if given.expires_at is not None and given.expires_at <= now:
        raise RequestInvalid("expires_at", "lies in the past")
    if given.expires_at is not None and given.expires_at.year == MAXYEAR:  # in UTC it may lie beyond all calendars
        raise RequestInvalid("expires_at", "lies where calendars end; leave it out for a key without an end")
    minted = await mint_key(
        service.database,
        caller.merchant_id,
        given.principal,
        frozenset(given.roles),
        now,
        approves=given.approves,
        actor=caller.actor,
        expires_at=given.expires_at,
    )
    return MintedKeyOut(key=_out(minted.key), secret=minted.secret)


@delete(
    "/api-keys/{key_id:uuid}",
    status_code=200,
    operation_id="revokeApiKey",
    summary="Take an API key back",
    guards=[ADMINISTERS],
    responses=READS_ONE,
    security=BEARER,
    tags=["api-keys"],
)
async def delete_key(
    service: NamedDependency[Service], caller: NamedDependency[Caller], key_id: FromPath[UUID]
) -> ApiKeyOut:
    """Revoke a key for good; every process refuses it within five seconds."""
    now = service.clock.now()
    key = await revoke_key(service.database, caller.merchant_id, key_id, now, actor=caller.actor)
    if key is None:
        raise NotFound("API key", key_id)
    return _out(key)


def _out(key: ApiKey) -> ApiKeyOut:
    return msgspec.convert(key, ApiKeyOut, from_attributes=True)


HANDLERS = (get_keys, post_key, delete_key)
