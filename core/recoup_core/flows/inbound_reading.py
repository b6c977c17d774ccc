"""What a plugin makes of a gateway's own words: read apart from everything else, in limited time, and checked.

A webhook comes from outside and is read by code that may be foreign: whatever that does (raise, hang, answer with
something else), the webhook is not taken, the gateway is told so and sends it again, and nobody else notices.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final, TypeVar, cast

import msgspec
import structlog

from recoup_core.domain.errors import DomainError
from recoup_core.domain.redact import redact
from recoup_core.flows.scrubbing import scrubbed
from recoup_core.ports import EventGateway, EventPage, Gateway, GatewayEvent, WebhookRefused

PARSE_TIMEOUT_S: Final = 3.0
"""Gateways wait ten seconds (docs.adyen.com/development-resources/webhooks); the rest is the database's."""

LIST_TIMEOUT_S: Final = 30.0
"""For one page of events, as for any call to a gateway."""

READ_AT_ONCE: Final = 8
"""Webhooks of one gateway that are read at the same time, others wait; one that hangs counts until it really ends."""

MAX_EVENTS: Final = 1_000
"""Events of one webhook or page; gateways send 250 at most (developer.gocardless.com/api-reference: webhooks)."""

MAX_ID: Final = 255
"""Characters of an event's id and kind."""

MAX_CURSOR: Final = 2_000

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


class WebhookUnread(DomainError):
    """A plugin could not read a webhook that may be good: it is not stored, and the gateway should send it again."""

    code = "webhook_unread"

    def __init__(self, gateway: str, why: str) -> None:
        super().__init__(f"the plugin of the gateway {gateway!r} could not read the webhook: {why}")
        self.gateway = gateway


class EventsUnusable(Exception):
    """A plugin answered with something that is no event, or none that can be kept; the text may be shown."""


class ReadEvent(msgspec.Struct, frozen=True):
    """One event, and what is stored of it."""

    event: GatewayEvent
    body: bytes
    """The event as JSON, without secrets and card numbers."""


class ReadPage(msgspec.Struct, frozen=True):
    """One page of events that a gateway was asked for."""

    events: tuple[ReadEvent, ...]
    cursor: str | None


class NoPage(msgspec.Struct, frozen=True):
    """A gateway could not be asked; the reason is safe to store and show."""

    reason: str


class Readers:
    """Reads webhooks on threads of their own, a few of each gateway at once; used from one event loop."""

    def __init__(self) -> None:
        self._rooms: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(READ_AT_ONCE))

    async def parse(
        self, gateway: Gateway, headers: Mapping[str, str], body: bytes, *, timeout_s: float = PARSE_TIMEOUT_S
    ) -> tuple[ReadEvent, ...]:
        """Return a webhook's events; raises `WebhookRefused` as the plugin does, and `WebhookUnread` for all else."""
        name = gateway.name
        room = self._rooms[name]
        try:
            async with asyncio.timeout(timeout_s):
                await room.acquire()
                return await on_a_thread(lambda: _read(gateway, headers, body), room.release)
        except (WebhookRefused, WebhookUnread):
            raise
        except TimeoutError:
            log.error("webhook_unread", gateway=name, error="no answer in time")
            raise WebhookUnread(name, "it took too long") from None
        except EventsUnusable as unusable:
            log.error("webhook_unread", gateway=name, error=str(unusable))
            raise WebhookUnread(name, "it made something else than events of it") from None


async def list_page(
    gateway: Gateway, since: datetime, cursor: str | None, *, timeout_s: float = LIST_TIMEOUT_S
) -> ReadPage | NoPage:
    """Ask a gateway for a page of its events; whatever goes wrong is `NoPage`. For those that `lists_events` only."""
    try:
        async with asyncio.timeout(timeout_s):
            page = await cast("EventGateway", gateway).list_events(since, cursor)
        if type(page) is not EventPage:
            return NoPage(f"the plugin answered with a {type(page).__name__}")
        following = page.cursor
        msgspec.convert(following, str | None)  # a plugin's struct doesn't check itself
        if following is not None and not 0 < len(following) <= MAX_CURSOR:
            return NoPage("the plugin's cursor can't be kept")
        if following is not None and following == cursor:
            return NoPage("the plugin's cursor leads to the same page again")
        return ReadPage(_checked(page.events), following)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0:  # ours; one that a plugin lets escape is its failure
            raise
        return NoPage("CancelledError: the plugin canceled itself")
    except TimeoutError:
        return NoPage("TimeoutError: no answer in time")
    except Exception as raised:  # a plugin is foreign code: it may raise anything
        return NoPage(_told(raised))


async def on_a_thread(work: Callable[[], Result], ended: Callable[[], None]) -> Result:
    """Run work on a daemon thread: one that hangs keeps neither the loop nor the process's end waiting."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def hand_over(give: Callable[[], None]) -> None:
        ended()
        if not future.done():  # else nobody waits any more
            give()

    def run() -> None:
        give: Callable[[], None]
        try:
            give = partial(future.set_result, work())
        except Exception as failure:
            give = partial(future.set_exception, failure)
        if not loop.is_closed():
            loop.call_soon_threadsafe(hand_over, give)

    try:
        threading.Thread(target=run, name="webhook", daemon=True).start()
    except RuntimeError:  # the process has as many as it may: the place is free again, the gateway sends once more
        ended()
        raise EventsUnusable("no thread could be started") from None
    return await future


def _read(gateway: Gateway, headers: Mapping[str, str], body: bytes) -> tuple[ReadEvent, ...]:
    """Call the plugin, on its thread; everything but its refusal becomes `WebhookUnread` or `EventsUnusable`."""
    try:
        events = gateway.parse_event(headers, body)
    except WebhookRefused:
        raise
    except BaseException as raised:  # SystemExit and its like, too: it is a plugin's failure, not our end
        log.error("webhook_unread", gateway=gateway.name, error=_told(raised))
        raise WebhookUnread(gateway.name, "it failed") from None
    return _checked(events)


def _checked(events: object) -> tuple[ReadEvent, ...]:
    if not isinstance(events, list | tuple) or len(events) > MAX_EVENTS:
        raise EventsUnusable(f"the plugin answered with a {type(events).__name__}, or with too many events")
    return tuple(_usable(event) for event in events)


def _usable(event: object) -> ReadEvent:
    """Return an event that can be stored and read back; PostgreSQL keeps no NUL, not even in JSON."""
    if type(event) is not GatewayEvent:
        raise EventsUnusable(f"the plugin answered with a {type(event).__name__} among its events")
    try:
        body = scrubbed(event)
        if b"\\u0000" in body:
            body = scrubbed(msgspec.structs.replace(event, payload={"removed": "it held a NUL character"}))
        kept = msgspec.json.decode(body, type=GatewayEvent)
    except (msgspec.MsgspecError, TypeError, ValueError, AttributeError, RecursionError) as wrong:
        raise EventsUnusable(f"an event has fields of a wrong type: {_told(wrong)}") from None
    if not 0 < len(kept.external_id) <= MAX_ID or not 0 < len(kept.kind) <= MAX_ID or b"\\u0000" in body:
        raise EventsUnusable("an event has an id, a kind or a text that can't be kept")
    moments = (
        kept.occurred_at,
        kept.failure.next_attempt_at if kept.failure else None,
        kept.dispute.evidence_due_at if kept.dispute else None,
    )
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        raise EventsUnusable("an event happened, or is due, at a time without its zone")
    return ReadEvent(kept, body)


def _told(raised: BaseException) -> str:
    try:
        return f"{type(raised).__name__}: {redact(str(raised))}"
    except Exception:  # an exception may even fail to print itself
        return f"{type(raised).__name__}: (no message)"
