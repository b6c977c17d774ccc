"""A webhook is read apart and in time: whatever a plugin does with it, it is taken, refused, or asked for once more."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.flows.inbound_reading import (
    MAX_EVENTS,
    READ_AT_ONCE,
    NoPage,
    Readers,
    ReadPage,
    WebhookUnread,
    list_page,
)
from recoup_core.ports import EventPage, Gateway, GatewayEvent, ReportedFailure, WebhookRefused

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
PATIENCE_S = 20.0
"""Longer than any of it takes; a test that needs it has failed."""


def told(external_id: str = "evt-1", **fields: Any) -> GatewayEvent:
    """An event as plugins make them."""
    return GatewayEvent(**{"external_id": external_id, "kind": "k", "occurred_at": NOW, "payload": {}, **fields})


def owed(**fields: Any) -> ReportedFailure:
    """A failed payment as plugins tell of it."""
    return ReportedFailure(
        payment_reference="inv-1", amount=Money(100, "EUR"), method=Method.CARD, customer_ref="c", **fields
    )


class Odd:
    """A plugin that does what a test wants instead of reading."""

    def __init__(self, act: Callable[[], Any], name: str = "odd") -> None:
        self.name = name
        self._act = act

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        return cast("Sequence[GatewayEvent]", self._act())

    async def list_events(self, since: datetime, cursor: str | None) -> EventPage:
        return cast("EventPage", self._act())


def odd(act: Callable[[], Any], name: str = "odd") -> Gateway:
    """The plugin as core sees it."""
    return cast("Gateway", Odd(act, name))


def raising(failure: BaseException) -> Callable[[], Any]:
    """Do nothing but raise."""

    def act() -> Any:
        raise failure

    return act


async def test_events_come_back_with_what_is_stored_of_them() -> None:
    """In their order, as JSON that is read back the same."""
    read = await Readers().parse(odd(lambda: [told("a"), told("b")]), {}, b"")

    assert [each.event.external_id for each in read] == ["a", "b"]
    assert all(b'"external_id"' in each.body for each in read)


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("sk_live_secret"),
        RecursionError(),
        SystemExit(3),
        KeyboardInterrupt(),
        MemoryError(),
        StopIteration(),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_whatever_a_plugin_raises_is_told_by_its_name_and_nothing_else(failure: BaseException) -> None:
    """The gateway should send it again; no text of the plugin's leaves us, and the process goes on."""
    with pytest.raises(WebhookUnread) as unread:
        await Readers().parse(odd(raising(failure)), {}, b"")

    assert "'odd'" in str(unread.value)
    assert "sk_live" not in str(unread.value)


async def test_a_refusal_is_the_plugins_own() -> None:
    """Only the plugin knows a wrong signature."""
    with pytest.raises(WebhookRefused):
        await Readers().parse(odd(raising(WebhookRefused("no signature"))), {}, b"")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "events",
        {"external_id": "a"},
        [{"external_id": "a"}],
        [told(), "more"],
        [told("")],
        [told("x" * 256)],
        [told(kind="")],
        [told(occurred_at="yesterday")],
        [told(occurred_at=NOW.replace(tzinfo=None))],
        [told(failure=owed(next_attempt_at=NOW.replace(tzinfo=None)))],
        [told(attempt_id="no id")],
        [told(payload={"a": object()})],
        [told("nul\0")],
        [told("surrogate \ud800")],
        [told(str(number)) for number in range(MAX_EVENTS + 1)],
    ],
    ids=range(16),
)
async def test_what_is_no_event_is_not_stored(answer: Any) -> None:
    """One bad event spoils its webhook: all of it is stored, or nothing."""
    with pytest.raises(WebhookUnread):
        await Readers().parse(odd(lambda: answer), {}, b"")


async def test_a_nul_character_costs_the_payload_and_not_the_event() -> None:
    """PostgreSQL stores none; an event that could never be stored would be sent for ever."""
    (read,) = await Readers().parse(odd(lambda: [told(payload={"text": "a\0b"})]), {}, b"")

    assert read.event.payload == {"removed": "it held a NUL character"}


async def test_a_hanging_plugin_holds_up_neither_the_loop_nor_other_gateways() -> None:
    """Its own webhooks run out of time, one after the other; everybody else's are read at once."""
    go_on = threading.Event()
    readers = Readers()
    stuck = odd(lambda: go_on.wait(PATIENCE_S), "stuck")

    async def ask() -> None:
        with pytest.raises(WebhookUnread, match="stuck"):
            await readers.parse(stuck, {}, b"", timeout_s=0.05)

    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(ask() for _ in range(READ_AT_ONCE + 5)))
            healthy = await readers.parse(odd(lambda: [told()], "healthy"), {}, b"")
    finally:
        go_on.set()

    assert len(healthy) == 1


async def test_a_plugin_that_came_back_is_read_again() -> None:
    """What hung counts only until it really ends."""
    readers, hung = Readers(), threading.Event()
    acts: list[Callable[[], Any]] = [lambda: hung.wait(PATIENCE_S)] * READ_AT_ONCE
    gateway = odd(lambda: acts.pop()() if acts else [told()])
    for _ in range(READ_AT_ONCE):
        with pytest.raises(WebhookUnread):
            await readers.parse(gateway, {}, b"", timeout_s=0.02)

    hung.set()

    assert len(await readers.parse(gateway, {}, b"", timeout_s=PATIENCE_S)) == 1


async def test_many_webhooks_at_once_are_all_read() -> None:
    """More than are read at the same time wait for their turn."""
    readers = Readers()
    gateway = odd(lambda: time.sleep(0.001) or [told()])

    read = await asyncio.gather(*(readers.parse(gateway, {}, b"") for _ in range(10 * READ_AT_ONCE)))

    assert all(len(events) == 1 for events in read)


@pytest.mark.parametrize(
    "act",
    [
        raising(ValueError("sk_live_secret")),
        raising(asyncio.CancelledError()),
        lambda: None,
        lambda: EventPage(events=cast("Any", ("x",))),
        lambda: EventPage(events=(), cursor=""),
        lambda: EventPage(events=(), cursor=cast("Any", 7)),
        lambda: EventPage(events=(), cursor="c" * 5_000),
    ],
    ids=range(7),
)
async def test_a_page_that_is_none_is_a_reason(act: Callable[[], Any]) -> None:
    """Asking goes on later, and what is shown holds no secret."""
    page = await list_page(odd(act), NOW, None)

    assert isinstance(page, NoPage)
    assert "sk_live" not in page.reason


async def test_a_page_that_never_comes_is_a_reason() -> None:
    """As any gateway call, it has a limit."""

    class Slow(Odd):
        async def list_events(self, since: datetime, cursor: str | None) -> EventPage:
            await asyncio.sleep(PATIENCE_S)
            raise AssertionError("nobody waits so long")

    page = await list_page(cast("Gateway", Slow(lambda: None)), NOW, None, timeout_s=0.01)

    assert page == NoPage("TimeoutError: no answer in time")


async def test_a_page_holds_events_and_where_to_go_on() -> None:
    """As the gateway gave them."""
    page = await list_page(odd(lambda: EventPage(events=(told("a"),), cursor="next")), NOW, None)

    assert isinstance(page, ReadPage)
    assert ([each.event.external_id for each in page.events], page.cursor) == (["a"], "next")
