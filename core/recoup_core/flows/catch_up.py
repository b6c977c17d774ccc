"""Webhooks that never came: gateways that can be asked for their events are asked, again and again, from where we were.

What is learnt so is stored as a webhook's events are, under the same ids: what came by webhook as well falls away.
Nothing is lost while a provider, or we, were away: the next walk begins where the last one was complete.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.errors import DomainError
from recoup_core.flows.context import Context
from recoup_core.flows.inbound_reading import NoPage, ReadPage, list_page
from recoup_core.flows.intake import store_events
from recoup_core.ports import Gateway
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.feeds import Feed, begin_feeds, feeds_of, jobless_feeds, lock_feed, write_feed

CATCH_UP: Final = "catch_up"
"""Job kind: ask a gateway for its events. Subject: the gateway's feed."""

EVERY: Final = timedelta(minutes=15)

OVERLAP: Final = timedelta(minutes=10)
"""A walk begins so long before the end of the last one: providers list an event some moments after it happened."""

PAGES_A_RUN: Final = 20
"""Pages of one run, within a job's lease; the next run goes on at once where this one stopped."""

LONG_WALK: Final = timedelta(hours=6)
"""A walk that takes longer goes on every quarter of an hour only: its pages may lead in a circle."""

RUN_S: Final = 60.0
"""A run that has taken so long asks for no further page: the lease of its job is to outlive it."""

PAGES_BY_HAND: Final = 1_000
"""Pages of one walk that a person asked for."""

RESTART_AFTER: Final = 2
"""Failures in a row after which a walk begins anew: its cursor may be what the provider no longer takes."""

log = structlog.get_logger(__name__)


class CannotList(DomainError):
    """A gateway can't be asked for its events, or not now."""

    code = "events_not_listed"

    def __init__(self, gateway: str, why: str) -> None:
        super().__init__(f"the gateway {gateway} can't be asked for its events: {why}")


class CaughtUp(msgspec.Struct, frozen=True):
    """What a walk through a gateway's events came to."""

    seen: int
    new: int
    complete: bool
    """False where the walk was longer than its bound."""


async def start_feeds(context: Context, now: datetime) -> None:
    """Let every gateway that lists its events be asked, from now on; a feed that lost its job gets it back."""
    names = [name for name, gateway in context.gateways.items() if gateway.capabilities.lists_events]
    if not names:
        return
    async with context.database.transaction() as connection:
        await begin_feeds(connection, names, now)
        started = await jobless_feeds(connection, CATCH_UP, names, now)
    if started:
        log.info("gateways_are_asked_for_events", feeds=len(started))


async def run_catch_up(context: Context, refs: Sequence[JobRef]) -> None:
    """Walk on through the events of each gateway, a bounded number of pages; none waits for another."""
    ended = await asyncio.gather(*(_run(context, ref) for ref in refs), return_exceptions=True)
    for ref, failure in zip(refs, ended, strict=True):
        if isinstance(failure, Exception):  # the job comes back with its lease's end
            log.error("catch_up_failed", feed_id=str(ref.subject_id), error=type(failure).__name__)


async def catch_up(context: Context, gateway_name: str, since: datetime | None = None) -> CaughtUp:
    """Ask a gateway for all its events since then, now; by default since where its feed is complete.

    Raises `CannotList`. The feed itself goes on as it did.
    """
    gateway = _listing(context, gateway_name)
    if gateway is None:
        raise CannotList(gateway_name, "it is not configured, or has no list of events")
    if since is None:
        feeds = await feeds_of(context.database, [gateway_name])
        since = feeds[gateway_name].reached_at - OVERLAP if feeds else context.clock.now() - EVERY - OVERLAP
    seen, new, cursor = 0, 0, None
    for _ in range(PAGES_BY_HAND):
        page = await _ask(context, gateway, since, cursor)
        if isinstance(page, NoPage):
            raise CannotList(gateway_name, page.reason)
        async with context.database.transaction() as connection:
            new += await store_events(context, connection, gateway_name, page.events, "catch_up", None)
        seen, cursor = seen + len(page.events), page.cursor
        if cursor is None:
            return CaughtUp(seen, new, complete=True)
    return CaughtUp(seen, new, complete=False)


async def _run(context: Context, ref: JobRef) -> None:
    feed = await _begin(context, ref)
    gateway = None if feed is None else _listing(context, feed.gateway)
    if feed is None or gateway is None:
        return
    began = time.monotonic()
    for _ in range(PAGES_A_RUN):
        if time.monotonic() - began >= RUN_S:
            break
        assert feed.walk_from is not None  # a walk is under way
        page = await _ask(context, gateway, feed.walk_from, feed.cursor)
        following = await _take_page(context, ref, feed.id, feed.cursor, page)
        if following is None:
            return
        feed = following
    assert feed.walk_started_at is not None  # a walk is under way
    now = context.clock.now()
    hurried = now - feed.walk_started_at < LONG_WALK
    await _put(context, ref, feed.id, now if hurried else now + EVERY)


async def _begin(context: Context, ref: JobRef) -> Feed | None:
    """Return the feed with its walk, a new one where none is under way; None where it is not to be asked."""
    async with context.database.transaction() as connection:
        feed = await lock_feed(connection, ref.subject_id)
        if feed is None or _listing(context, feed.gateway) is None:  # it left the settings, or can't any more
            changes = Changes()
            changes.finish(ref)
            await changes.write(connection)
            return None
        if feed.walk_from is None:
            now = context.clock.now()
            feed = msgspec.structs.replace(feed, walk_from=feed.reached_at - OVERLAP, walk_started_at=now)
            await write_feed(connection, feed)
        return feed


async def _take_page(
    context: Context, ref: JobRef, feed_id: UUID, asked: str | None, page: ReadPage | NoPage
) -> Feed | None:
    """Store a page and how far it leads, in one transaction; return the feed where there is more to ask for."""
    now = context.clock.now()
    async with context.database.transaction() as connection:
        feed = await lock_feed(connection, feed_id)
        if feed is None or feed.walk_from is None or feed.cursor != asked:
            return None  # another run has gone on; its job is put
        following = _failed(feed, page) if isinstance(page, NoPage) else _walked(feed, page, now)
        if isinstance(page, ReadPage):
            await store_events(context, connection, feed.gateway, page.events, "catch_up", ref.correlation_id)
        await write_feed(connection, following)
        if isinstance(page, ReadPage) and following.walk_from is not None:
            return following
        changes = Changes()
        changes.add(NewJob(kind=CATCH_UP, subject_id=feed_id, due_at=now + EVERY, correlation_id=ref.correlation_id))
        await changes.write(connection)
    return None


def _walked(feed: Feed, page: ReadPage, now: datetime) -> Feed:
    feed = msgspec.structs.replace(feed, cursor=page.cursor, asked_at=now, failures=0, trouble=None)
    if page.cursor is not None:
        return feed
    # complete up to its beginning: what happened meanwhile may have been listed behind us
    assert feed.walk_started_at is not None  # a walk has a beginning
    reached = max(feed.reached_at, feed.walk_started_at)
    return msgspec.structs.replace(feed, reached_at=reached, walk_from=None, walk_started_at=None)


def _failed(feed: Feed, page: NoPage) -> Feed:
    log.warning("gateway_events_not_listed", gateway=feed.gateway, error=page.reason)
    feed = msgspec.structs.replace(feed, failures=feed.failures + 1, trouble=page.reason)
    if feed.failures % RESTART_AFTER:
        return feed
    return msgspec.structs.replace(feed, cursor=None, walk_from=None, walk_started_at=None)


async def _put(context: Context, ref: JobRef, feed_id: UUID, due_at: datetime) -> None:
    async with context.database.transaction() as connection:
        changes = Changes()
        changes.add(NewJob(kind=CATCH_UP, subject_id=feed_id, due_at=due_at, correlation_id=ref.correlation_id))
        await changes.write(connection)


async def _ask(context: Context, gateway: Gateway, since: datetime, cursor: str | None) -> ReadPage | NoPage:
    started = time.perf_counter()
    page = await list_page(gateway, since, cursor)
    spent = time.perf_counter() - started
    context.measures.gateway_call(gateway.name, "list_events", type(page).__name__.lower(), spent)
    return page


def _listing(context: Context, name: str) -> Gateway | None:
    gateway = context.gateways.get(name)
    return gateway if gateway is not None and gateway.capabilities.lists_events else None
