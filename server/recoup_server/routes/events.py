"""Events: everything that happened, in an order that a reader can follow without missing one."""

from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from recoup_core.domain.happened import EventKind
from recoup_core.storage.listing import DEFAULT_PAGE, FeedPosition, feed_position, read_feed
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.errors import RequestInvalid
from recoup_server.openapi import BEARER, LISTS
from recoup_server.reading import Cursor, Limit, open_cursor, seal_cursor
from recoup_server.schemas_out import EventPage
from recoup_server.timeline import event_out

MAX_ID = 2**63 - 1


@get(
    "/events",
    operation_id="listEvents",
    summary="Follow what happens",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["events"],
)
async def get_events(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    kind: Annotated[list[EventKind] | None, QueryParameter(max_items=len(EventKind))] = None,
    case: Annotated[UUID | None, QueryParameter(description="A recovery case's id.")] = None,
    refund: Annotated[UUID | None, QueryParameter(description="A refund's id.")] = None,
    since: Annotated[int | None, QueryParameter(ge=1, le=MAX_ID, description="Start after this event.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> EventPage:
    """Return events, oldest first, in commit order; keep `next_cursor` and ask again for what came since."""
    position = await _position(service, caller, cursor, since)
    page = await read_feed(service.database, caller.merchant_id, position, limit, kind, case, refund)
    return EventPage(
        items=[event_out(event) for event in page.events],
        next_cursor=seal_cursor("events", page.position.txid, page.position.event_id),
        has_more=page.more,
    )


async def _position(service: Service, caller: Caller, cursor: str | None, since: int | None) -> FeedPosition:
    parts = open_cursor(cursor, "events", place, place)
    if parts is not None:
        return FeedPosition(*parts)
    if since is None:
        return FeedPosition(0, 0)
    found = await feed_position(service.database, caller.merchant_id, since)
    if found is None:
        raise RequestInvalid("since", "is no event of this merchant")
    return found


def place(text: str) -> int:
    """Read one half of a position; whoever forges a cursor gets no further than a refusal."""
    number = int(text)
    if not 0 <= number <= MAX_ID:
        raise ValueError(text)
    return number


HANDLERS = (get_events,)
