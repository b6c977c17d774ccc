"""The live stream of events: what happens, as it happens, for clients that keep a connection open."""

from collections.abc import Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from recoup_core.domain.happened import EventKind
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.following import Narrow, kinds_of
from recoup_core.storage.listing import FeedPosition, feed_position
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller, KeyRing
from recoup_server.errors import RequestInvalid, Unauthorized
from recoup_server.openapi import BEARER, STREAMS
from recoup_server.reading import open_cursor
from recoup_server.routes.events import MAX_ID, place
from recoup_server.stream import Hub

KINDS_MAX: Final = len(EventKind)
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx holds answers back otherwise
}


@get(
    "/events/stream",
    operation_id="streamEvents",
    summary="Hear what happens, as it happens",
    guards=[READS],
    responses=STREAMS,
    security=BEARER,
    tags=["events"],
    media_type="text/event-stream",
)
async def get_stream(
    request: Request[Any, Any, Any],
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    kind: Annotated[
        list[str] | None,
        QueryParameter(max_items=KINDS_MAX, description="Kinds, or groups of them like `refund.*`; repeatable."),
    ] = None,
    case: Annotated[UUID | None, QueryParameter(description="A recovery case's id.")] = None,
    refund: Annotated[UUID | None, QueryParameter(description="A refund's id.")] = None,
    payment: Annotated[UUID | None, QueryParameter(description="A payment's id.")] = None,
    since: Annotated[int | None, QueryParameter(ge=1, le=MAX_ID, description="Start after this event.")] = None,
    last_event_id: Annotated[
        str | None,
        HeaderParameter(
            name="Last-Event-ID",
            max_length=200,
            description="The `id` of the last event that was received, or `next_cursor` of the list of events.",
        ),
    ] = None,
) -> Stream:
    """Server-sent events in commit order: `id` resumes exactly, `event` is the kind, `data` is what the list has.

    Without `Last-Event-ID` and `since` it starts at now. It ends when the key does, when the client is too slow, and
    when the server stops: come back with `Last-Event-ID`, as browsers' `EventSource` does by itself.
    """
    wanted = Narrow(kinds=_kinds(kind), case_id=case, refund_id=refund, payment_id=payment)
    after = await _after(service, caller, last_event_id, since)
    hub: Hub = request.app.state["hub"]
    hub.admit(caller.merchant_id)
    secret = request.headers.get("authorization", "").partition(" ")[2].strip()

    async def allowed() -> bool:
        ring: KeyRing = request.app.state["keys"]
        try:
            await ring.find(secret)
        except Unauthorized:
            return False
        except DatabaseUnavailable:  # nobody knows; it is asked again
            return True
        return True

    frames = hub.tell(caller.merchant_id, wanted, after, allowed)
    return Stream(frames, media_type="text/event-stream", headers=HEADERS)


def _kinds(patterns: Sequence[str] | None) -> frozenset[str] | None:
    if not patterns:
        return None
    try:
        return kinds_of(patterns, [str(kind) for kind in EventKind])
    except LookupError:
        raise RequestInvalid("kind", "is no kind of event, nor a group of them like `refund.*`") from None


async def _after(service: Service, caller: Caller, last: str | None, since: int | None) -> FeedPosition | None:
    if last:
        parts = open_cursor(last, "events", place, place)
        assert parts is not None
        return FeedPosition(*parts)
    if since is None:
        return None
    found = await feed_position(service.database, caller.merchant_id, since)
    if found is None:
        raise RequestInvalid("since", "is no event of this merchant")
    return found


HANDLERS = (get_stream,)
