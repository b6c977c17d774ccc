"""Who of the staff is told what, and muting it."""

from typing import Any, Final

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.flows.staff.muting import list_staff, mute, unmute
from recoup_core.wiring import Service
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, takes
from recoup_server.reading import IdempotencyKey, by, read
from recoup_server.schemas_staff import MuteIn, StaffList, StaffReaderOut, UnmuteIn, reader_out

MUTES: Final = {"mute": {"kind": "task_opened", "until": "2027-01-08T08:00:00Z"}}
UNMUTES: Final = {"unmute": {"kind": "task_opened"}}


@get(
    "/staff-notifications",
    operation_id="listStaffNotifications",
    summary="See who of the staff is told what",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["staff"],
)
async def get_staff(service: NamedDependency[Service], caller: NamedDependency[Caller]) -> StaffList:
    """Return the merchant's readers by name: what each is told of, what is muted, and when they last heard."""
    views = await list_staff(service.context, caller.merchant_id)
    return StaffList(items=[reader_out(view) for view in views])


@post(
    "/staff-notifications/{reader:str}/mute",
    status_code=200,
    operation_id="muteStaffNotifications",
    summary="Mute notifications of one reader",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["staff"],
    opt=takes(MuteIn, **MUTES),
)
async def post_mute(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    reader: FromPath[str],
    idempotency_key: IdempotencyKey,
) -> StaffReaderOut:
    """Tell a reader nothing of a kind for a time, or until it is unmuted; what waits to be told is dropped."""
    wanted = read(body, MuteIn)
    who = by(request, caller, idempotency_key, body)
    return reader_out(await mute(service.context, reader, wanted.kind, wanted.until, who))


@post(
    "/staff-notifications/{reader:str}/unmute",
    status_code=200,
    operation_id="unmuteStaffNotifications",
    summary="Unmute notifications of one reader",
    guards=[WORKS, once],
    responses=CHANGES,
    security=BEARER,
    tags=["staff"],
    opt=takes(UnmuteIn, **UNMUTES),
)
async def post_unmute(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    reader: FromPath[str],
    idempotency_key: IdempotencyKey,
) -> StaffReaderOut:
    """Tell a reader again what happens from now on."""
    wanted = read(body, UnmuteIn)
    who = by(request, caller, idempotency_key, body)
    return reader_out(await unmute(service.context, reader, wanted.kind, who))


HANDLERS = (get_staff, post_mute, post_unmute)
