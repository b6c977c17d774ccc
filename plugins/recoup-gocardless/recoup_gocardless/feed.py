"""The list of events, from a moment on: what a webhook told and what it didn't, with the objects looked at."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from recoup_gocardless.calls import Calls, GoCardlessAnswerLost, nothing_else_is_certain, read
from recoup_gocardless.lookedat import looked_at
from recoup_gocardless.news import event_of
from recoup_gocardless.objects import GoEvent
from recoup_plugins import EventPage, GatewayEvent

KINDS: Final[Mapping[str, str | None]] = {
    "payments": "payment",
    "refunds": "refund",
    "mandates": "mandate",
    "payouts": None,
}
"""What is asked for, one after the other, and what comes along: objects are brought for one kind at a time only."""

PAGE: Final = 25
"""Events of a page: each failure among them takes two calls more, and a page has half a minute."""

LOOKS_AT_ONCE: Final = 5


async def list_events(calls: Calls, since: datetime, cursor: str | None) -> EventPage:
    """Return a page of events, the oldest first; the cursor names the kind and GoCardless's own place in its list."""
    kind, _, after = (cursor or next(iter(KINDS))).partition(":")
    if kind not in KINDS:
        raise GoCardlessAnswerLost("the cursor is none of ours")
    params: dict[str, Any] = {"resource_type": kind, "created_at[gte]": since.isoformat(), "limit": PAGE}
    if KINDS[kind] is not None:
        params["include"] = KINDS[kind]
    if after:
        params["after"] = after
    with nothing_else_is_certain():
        page = await calls.page("events", params)
        turns = asyncio.Semaphore(LOOKS_AT_ONCE)
        told = await asyncio.gather(*(_told(calls, turns, raw, page.linked) for raw in reversed(page.items)))
    following = f"{kind}:{page.after}" if page.after and page.items else _next_kind(kind)
    return EventPage(events=tuple(event for each in told for event in each), cursor=following)


async def _told(
    calls: Calls, turns: asyncio.Semaphore, raw: Mapping[str, Any], linked: Mapping[str, Any]
) -> tuple[GatewayEvent, ...]:
    event = read(raw, GoEvent)
    bare = event_of(raw, event)
    async with turns:
        more = await looked_at(calls, event, bare, linked)
    return (bare,) if more is None else (bare, more)


def _next_kind(kind: str) -> str | None:
    """Name the kind that is listed next; None after the last one."""
    kinds = list(KINDS)
    rest = kinds[kinds.index(kind) + 1 :]
    return rest[0] if rest else None
