"""Messages to customers: what was said, by which channel, and what became of it."""

from operator import attrgetter
from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from recoup_core.domain.message import MessageState
from recoup_core.flows.operate import NotFound
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.messages import list_messages
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.openapi import BEARER, LISTS, READS_ONE
from recoup_server.reading import Cursor, Limit, Text, cut, id_cursor
from recoup_server.schemas_customers import MessageDetail, MessagePage, message_detail, message_out


@get(
    "/messages",
    operation_id="listMessages",
    summary="List messages to customers, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["messages"],
)
async def get_messages(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[MessageState | None, QueryParameter(name="state")] = None,
    case: Annotated[UUID | None, QueryParameter(description="A recovery case's id.")] = None,
    customer: Text = None,
    channel: Text = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> MessagePage:
    """Return messages without their words; the filters narrow the list."""
    filters = {"state": status, "case": case, "customer": customer, "channel": channel}
    before = id_cursor(cursor, "messages")
    rows = await list_messages(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "messages", attrgetter("id"))
    return MessagePage(items=[message_out(row) for row in page], next_cursor=following)


@get(
    "/messages/{message_id:uuid}",
    operation_id="getMessage",
    summary="Read a message word for word",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["messages"],
)
async def get_message(
    service: NamedDependency[Service], caller: NamedDependency[Caller], message_id: FromPath[UUID]
) -> MessageDetail:
    """Return a message as it was written; the keys in its links are masked."""
    rows = await list_messages(service.database, caller.merchant_id, {"id": message_id}, None, 1)
    if not rows:
        raise NotFound("message", message_id)
    return message_detail(rows[0])


HANDLERS = (get_messages, get_message)
