"""Whatever a foreign notifier does wrong is a failed call of its own; the others go on, and no reader is told twice."""

import asyncio
import itertools
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from tests.plugins.nasty import QUICK, Found

from recoup_core.flows.guard import Unknown
from recoup_core.flows.notifier_guard import send_guarded
from recoup_core.telemetry import metrics
from recoup_plugins import (
    Accepted,
    Feedback,
    FeedbackKind,
    FeedbackRefused,
    NotAccepted,
    NotifierCapabilities,
    NotifierSettings,
    NotNow,
    OutgoingMessage,
    PluginMisconfigured,
    hookimpl,
)
from recoup_plugins.apart import PluginFailed, PluginHung
from recoup_plugins.hosting_notifiers import HostedNotifier
from recoup_plugins.limits import LIMITS, Limits
from recoup_plugins.manager import PluginManager, load_plugins
from recoup_plugins.notifier_bench import Reader, Seen
from recoup_plugins.notifier_building import NotifierBroken
from recoup_plugins.notifier_conformance import NotifierConformance, a_message

BOUND_S = 20.0
"""No test waits longer; nothing here is slow."""


class Foreign:
    """A notifier that does everything right, in memory; its readers keep what they see by the message's id."""

    capabilities: Any = NotifierCapabilities(channels=frozenset({"chat"}), deduplicates=True, feedback=True)

    def __init__(self, settings: NotifierSettings) -> None:
        self.name = settings.name
        self.taken: dict[Any, OutgoingMessage] = {}
        self.lost: set[Any] = set()
        self.is_away = False

    async def send(self, message: OutgoingMessage) -> Any:
        if self.is_away:
            return NotNow(reason="nobody is there")
        if message.to == "nobody":
            return NotAccepted(reason="no such room", bad_address=True)
        self.taken[message.id] = message
        if message.to == "lost" and message.id not in self.lost:
            self.lost.add(message.id)
            raise ConnectionResetError("no answer")
        await asyncio.sleep(1 if message.to == "slow" else 0)
        return Accepted(provider_ref=str(message.id))

    def parse_feedback(self, headers: Mapping[str, str], body: bytes) -> Any:
        raise FeedbackRefused("it is not signed")

    async def health(self) -> None:
        return None


def a_plugin(factory: Callable[[NotifierSettings], Any], kind: str = "nasty") -> types.ModuleType:
    @hookimpl
    def register_notifiers(register: Any) -> None:
        register(kind, factory)

    module = types.ModuleType(kind)
    vars(module).update(register_notifiers=register_notifiers, RECOUP_CONTRACT=(1, 2))
    return module


def foreign(**nasty: Any) -> Callable[[NotifierSettings], Any]:
    def build(settings: NotifierSettings) -> Any:
        notifier = Foreign(settings)
        for name, what in nasty.items():
            setattr(notifier, name, types.MethodType(what, notifier) if callable(what) else what)
        return notifier

    return build


def built(factory: Callable[[NotifierSettings], Any], limits: Limits = LIMITS) -> HostedNotifier:
    manager: PluginManager = load_plugins([Found("nasty_plugin", lambda: a_plugin(factory))], limits)
    made = manager.build_notifiers([NotifierSettings(name="chat", plugin="nasty")])["chat"]
    assert isinstance(made, HostedNotifier)
    return made


def hosted(limits: Limits = LIMITS, **nasty: Any) -> HostedNotifier:
    """Return a notifier of a foreign plugin as an installation would run it."""
    return built(foreign(**nasty), limits)


@pytest.fixture
def healthy() -> HostedNotifier:
    """Another plugin's notifier, beside the nasty one."""
    return hosted()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a plugin blocks on; opened at the end."""
    event = threading.Event()
    yield event
    event.set()


async def goes_on(notifier: HostedNotifier) -> bool:
    async with asyncio.timeout(BOUND_S):
        return isinstance(await send_guarded(notifier, a_message(notifier, "room", "chat")), Accepted)


class InMemoryBench:
    """A third party's notifier, asked as an installation asks it: behind its host."""

    def __init__(self) -> None:
        self.inside: list[Foreign] = []
        self.notifier = built(self._make)

    def _make(self, settings: NotifierSettings) -> Foreign:
        self.inside.append(Foreign(settings))
        return self.inside[0]

    def address(self, reader: Reader) -> str:
        return {Reader.NOBODY: "nobody", Reader.LOST_ANSWER: "lost", Reader.SLOW: "slow"}.get(reader, "room")

    def seen(self) -> list[Seen]:
        return [Seen(one.to, f"{one.subject}\n{one.text}") for one in self.inside[0].taken.values()]

    def away(self) -> None:
        self.inside[0].is_away = True


class TestThirdPartyConformance(NotifierConformance):
    """The kit, on somebody else's notifier behind its host: being hosted changes nothing for those who do it right."""

    CHANNEL = "chat"

    @pytest.fixture
    def bench(self) -> Iterator[InMemoryBench]:
        bench = InMemoryBench()
        yield bench
        bench.notifier.close()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("api_key=sk_live_hidden"), "ValueError"),
        (SystemExit(1), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
        (MemoryError(), "MemoryError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_is_raised_is_unknown(raised: BaseException, said: str, healthy: HostedNotifier) -> None:
    """Also what would end a process: the reader may have it, and the reason names the exception without secrets."""

    async def send(self: Any, message: Any) -> Any:
        raise raised

    nasty = hosted(send=send)

    for _ in range(2):
        answer = await send_guarded(nasty, a_message(nasty, "room", "chat"))
        assert isinstance(answer, Unknown)
        assert said in answer.reason
        assert "hidden" not in answer.reason
    assert await goes_on(healthy)


async def test_an_exit_in_a_task_of_the_plugins_own_ends_nothing() -> None:
    """A loop that a background task stopped turns again."""

    async def send(self: Any, message: OutgoingMessage) -> Any:
        async def exits() -> None:
            sys.exit(1)

        self.task = asyncio.get_running_loop().create_task(exits())
        await asyncio.sleep(0.01)
        return Accepted()

    nasty = hosted(send=send)

    assert await goes_on(nasty)
    assert await goes_on(nasty)


@pytest.mark.parametrize(
    "answer",
    [None, "accepted", Accepted, Accepted(provider_ref=7), NotNow(reason="", retry_after_s="soon"), [Accepted()]],  # type: ignore[arg-type]
    ids=["None", "text", "class", "ref", "wait", "list"],
)
async def test_what_is_no_outcome_is_unknown(answer: Any, healthy: HostedNotifier) -> None:
    """Never taken for sent, and never for unsent."""

    async def send(self: Any, message: Any) -> Any:
        return answer

    nasty = hosted(send=send)

    message = a_message(nasty, "room", "chat")
    with pytest.raises(PluginFailed):
        await nasty.send(message)
    assert isinstance(await send_guarded(nasty, message), Unknown)
    assert await goes_on(healthy)


async def test_a_send_that_never_ends_is_unknown(healthy: HostedNotifier) -> None:
    """It may have been sent; others of the same notifier go on meanwhile."""

    async def send(self: Any, message: OutgoingMessage) -> Any:
        await asyncio.sleep(3600 if message.to == "for ever" else 0)
        return Accepted()

    nasty = hosted(QUICK, send=send)
    stuck = asyncio.create_task(send_guarded(nasty, a_message(nasty, "for ever", "chat")))
    await asyncio.sleep(0)

    assert await goes_on(nasty)
    assert await goes_on(healthy)
    assert isinstance(await asyncio.wait_for(stuck, BOUND_S), Unknown)


async def test_behind_a_blocked_loop_nothing_begins_and_that_is_certain(
    gate: threading.Event, healthy: HostedNotifier
) -> None:
    """A synchronous SDK that waits for ever: who never got to it comes again later, and nobody else waits."""
    heard: list[str] = []

    async def send(self: Any, message: OutgoingMessage) -> Any:
        heard.append(message.to)
        gate.wait(BOUND_S)
        return Accepted()

    nasty = hosted(Limits(begin_s=0.3, call_s=60, grace_s=60), send=send)
    first = asyncio.create_task(send_guarded(nasty, a_message(nasty, "first", "chat")))
    await asyncio.sleep(0.1)

    began = time.monotonic()
    second = await send_guarded(nasty, a_message(nasty, "second", "chat"))

    assert isinstance(second, NotNow)
    assert second.retry_after_s == LIMITS.busy_again_s
    assert time.monotonic() - began < BOUND_S / 2
    assert await goes_on(healthy)
    gate.set()
    assert isinstance(await first, Accepted)
    assert heard == ["first"]


async def test_too_many_open_sends_are_not_now() -> None:
    """The next one never began."""

    async def send(self: Any, message: OutgoingMessage) -> Any:
        await asyncio.sleep(3600)

    nasty = hosted(Limits(calls_at_once=2, call_s=60), send=send)
    open_ones = [asyncio.create_task(nasty.send(a_message(nasty, "room", "chat"))) for _ in range(2)]
    await asyncio.sleep(0.2)

    assert isinstance(await send_guarded(nasty, a_message(nasty, "room", "chat")), NotNow)
    nasty.close()
    for each in open_ones:
        each.cancel()


def test_feedback_that_hangs_is_ended(healthy: HostedNotifier) -> None:
    """Python that loops for ever is interrupted."""

    def parse_feedback(self: Any, headers: Any, body: Any) -> Any:
        for _ in itertools.count():
            time.sleep(0)

    nasty = hosted(QUICK, parse_feedback=parse_feedback)

    with pytest.raises(PluginHung):
        nasty.parse_feedback({}, b"")
    with pytest.raises(FeedbackRefused):
        healthy.parse_feedback({}, b"")


@pytest.mark.parametrize(
    "told", [None, 7, ["bounced"], [Feedback(kind="bounced", message_id="x")], itertools.repeat(0)]
)  # type: ignore[arg-type]
def test_feedback_of_wrong_types_is_a_failure(told: Any) -> None:
    """It reaches no customer's address."""

    def parse_feedback(self: Any, headers: Any, body: Any) -> Any:
        return told

    with pytest.raises(PluginFailed):
        hosted(parse_feedback=parse_feedback).parse_feedback({}, b"")


def test_feedback_comes_as_plain_copies() -> None:
    """What the plugin changes later does not count."""
    mine = [Feedback(kind=FeedbackKind.BOUNCED, address="anna@example.com")]

    def parse_feedback(self: Any, headers: Any, body: Any) -> Any:
        return mine

    told = hosted(parse_feedback=parse_feedback).parse_feedback({}, b"")
    mine.clear()

    assert [one.kind for one in told] == [FeedbackKind.BOUNCED]


def test_a_refusal_is_no_failure_and_shows_no_secret() -> None:
    """The route answers it as what it is."""

    def parse_feedback(self: Any, headers: Any, body: Any) -> Any:
        raise FeedbackRefused("signed with api_key=sk_live_hidden")

    with pytest.raises(FeedbackRefused) as refusal:
        hosted(parse_feedback=parse_feedback).parse_feedback({}, b"")

    assert "hidden" not in str(refusal.value)


async def test_a_health_that_hangs_is_ended() -> None:
    """`GET /notifiers` answers all the same."""

    async def health(self: Any) -> None:
        await asyncio.sleep(3600)

    with pytest.raises(PluginHung):
        await hosted(QUICK, health=health).health()


async def test_capabilities_are_those_it_was_built_with() -> None:
    """A plugin can't promise later that it tells doubles apart."""
    bench = InMemoryBench()
    bench.inside[0].capabilities = NotifierCapabilities(channels=frozenset({"sms"}), deduplicates=False)

    assert bench.notifier.capabilities.channels == {"chat"}
    assert bench.notifier.capabilities.deduplicates


async def test_faults_are_counted_by_plugin_and_call() -> None:
    """Whoever looks at the graph sees which plugin it is."""

    async def send(self: Any, message: Any) -> Any:
        raise ValueError

    nasty = hosted(send=send)
    counter = metrics().plugin_faults.labels("nasty_plugin", "chat", "send", "failed")
    before = counter._value.get()

    await send_guarded(nasty, a_message(nasty, "room", "chat"))

    assert counter._value.get() == before + 1


def exits(settings: Any) -> Any:
    raise SystemExit(3)


def hangs(settings: Any) -> Any:
    time.sleep(BOUND_S)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (exits, "SystemExit"),
        (hangs, "took longer|did not end|more than"),
        (lambda settings: object(), "its name must be"),
        (foreign(name="other"), "its name must be"),
        (foreign(capabilities=None), "no `capabilities`"),
        (foreign(capabilities=NotifierCapabilities(channels=frozenset())), "name no channel"),
        (foreign(capabilities=NotifierCapabilities(channels=frozenset({"E-Mail"}))), "can't be written"),
        (foreign(send=lambda self, message: Accepted()), "`send` must be an `async def`"),
        (foreign(health=None), "`health` must be an `async def`"),
        (foreign(parse_feedback=None), "`parse_feedback` must be a plain"),
    ],
)
def test_a_notifier_that_can_not_be_right_stops_the_start(factory: Any, said: str) -> None:
    """With the plugin's name and what it breaks, before anything is sent by it."""
    with pytest.raises(NotifierBroken, match=said) as broken:
        built(factory, Limits(build_s=0.5))

    assert (broken.value.plugin, broken.value.notifier) == ("nasty_plugin", "chat")


def test_a_wrong_kind_is_told_with_the_nearest() -> None:
    """A typing error in the settings."""
    manager = load_plugins([Found("nasty_plugin", lambda: a_plugin(foreign()))])

    with pytest.raises(PluginMisconfigured, match="did you mean nasty"):
        manager.build_notifiers([NotifierSettings(name="chat", plugin="nasti")])
