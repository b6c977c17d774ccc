"""Whatever one foreign plugin does wrong is a failed call of its own; the others go on."""

import asyncio
import contextlib
import itertools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from tests.plugins.nasty import QUICK, Found, a_plugin, built, foreign, hosted, now
from tests.plugins.refund_benches import SandboxBench

from recoup_core.flows.guard import Unknown, charge_guarded, find_charge_guarded, refund_guarded
from recoup_core.telemetry import metrics
from recoup_plugins import (
    ChargeRequest,
    Declined,
    EventPage,
    Gateway,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    NotSent,
    ReportedSettlement,
    SettlementUnreadable,
    StoredCredential,
    Succeeded,
    WebhookRefused,
    classify,
)
from recoup_plugins import DeclineSource as Source
from recoup_plugins.apart import PluginFailed, PluginHung
from recoup_plugins.hosting import HostedGateway, PluginBusy
from recoup_plugins.limits import Limits
from recoup_plugins.manager import GatewayBroken, load_plugins
from recoup_plugins.refund_conformance import RefundConformance

BOUND_S = 20.0
"""No test waits longer; nothing here is slow."""

Build = Callable[..., ChargeRequest]


@pytest.fixture
def healthy() -> Gateway:
    """Another plugin's gateway, beside the nasty one."""
    return hosted()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a plugin blocks on, as on a socket that says nothing; opened at the end."""
    event = threading.Event()
    yield event
    event.set()


async def goes_on(gateway: Gateway, request: ChargeRequest) -> bool:
    async with asyncio.timeout(BOUND_S):
        return isinstance(await charge_guarded(gateway, request), Succeeded)


class Worst(BaseException):
    """Neither an Exception nor anything that Python knows."""


class Mute(Exception):
    """Can't even print itself."""

    def __str__(self) -> str:
        raise SystemExit(3)


# --- what is raised ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("api_key=sk_live_hidden"), "ValueError"),
        (SystemExit(1), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (Worst("worst"), "Worst: worst"),
        (Mute(), "Mute: (no message)"),
        (MemoryError(), "MemoryError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_is_raised_is_unknown(
    raised: BaseException, said: str, healthy: Gateway, a_request: Build
) -> None:
    """Also what would end a process: money may have moved, and the reason names the exception without secrets."""

    async def charge(self: Any, request: Any) -> Any:
        raise raised

    nasty = hosted(charge=charge)

    answers = [await charge_guarded(nasty, a_request()) for _ in range(2)]

    for answer in answers:
        assert isinstance(answer, Unknown)
        assert said in answer.reason
        assert "hidden" not in answer.reason
    assert await goes_on(healthy, a_request())


async def test_an_exit_in_a_task_of_the_plugins_own_ends_nothing(a_request: Build) -> None:
    """A loop that a background task stopped turns again."""

    async def charge(self: Any, request: ChargeRequest) -> Any:
        async def exits() -> None:
            sys.exit(1)

        self.task = asyncio.get_running_loop().create_task(exits())
        await asyncio.sleep(0.01)
        return Succeeded(gateway_ref="ch_a", amount=request.amount)

    nasty = hosted(charge=charge)

    assert await goes_on(nasty, a_request())
    assert await goes_on(nasty, a_request())


async def test_a_plugin_that_stops_its_loop_goes_on(a_request: Build) -> None:
    """`loop.stop()` is not for plugins, and does nothing."""

    async def charge(self: Any, request: ChargeRequest) -> Any:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return Succeeded(gateway_ref="ch_a", amount=request.amount)

    assert await goes_on(hosted(charge=charge), a_request())


# --- what never ends --------------------------------------------------------------------------------------------------


async def test_a_call_that_never_answers_is_unknown_and_others_of_the_same_plugin_go_on(
    a_request: Build, healthy: Gateway
) -> None:
    """A coroutine that waits harms nobody, its own gateway included."""
    waits = iter([True])

    async def charge(self: Any, request: ChargeRequest) -> Any:
        if next(waits, False):
            await asyncio.Event().wait()
        return Succeeded(gateway_ref="ch_a", amount=request.amount)

    nasty = hosted(charge=charge)

    answer = await charge_guarded(nasty, a_request(), timeout_s=0.2)

    assert isinstance(answer, Unknown)
    assert await goes_on(nasty, a_request())
    assert await goes_on(healthy, a_request())


async def test_a_caller_that_goes_away_cancels_the_call(a_request: Build) -> None:
    """What nobody waits for is not kept."""
    canceled = threading.Event()

    async def charge(self: Any, request: ChargeRequest) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    await charge_guarded(hosted(charge=charge), a_request(), timeout_s=0.2)

    assert await asyncio.to_thread(canceled.wait, BOUND_S)


async def test_a_plugin_that_blocks_its_loop_harms_only_itself(
    gate: threading.Event, healthy: Gateway, a_request: Build
) -> None:
    """What had begun is unknown; what never began is certainly not sent; once unblocked, it works again."""
    seen: list[str] = []

    async def charge(self: Any, request: ChargeRequest) -> Any:
        seen.append(request.idempotency_key)
        gate.wait(BOUND_S)
        return Succeeded(gateway_ref="ch_a", amount=request.amount)

    nasty = hosted(QUICK, charge=charge)
    first, second, third = a_request(), a_request(), a_request()

    blocked = await charge_guarded(nasty, first, timeout_s=0.3)
    waiting = await charge_guarded(nasty, second)
    at_once = await charge_guarded(nasty, third)
    looked = await find_charge_guarded(nasty, second)

    assert isinstance(blocked, Unknown)
    assert isinstance(waiting, NotSent)
    assert isinstance(at_once, NotSent)
    assert isinstance(looked, Unknown)
    assert await goes_on(healthy, a_request())
    gate.set()
    assert await until_it_works(nasty, a_request)
    assert second.idempotency_key not in seen
    assert third.idempotency_key not in seen


async def test_an_endless_loop_is_interrupted(healthy: Gateway, a_request: Build) -> None:
    """Python code that never ends is ended after its time, and does not eat the processor for good."""
    loops = iter([True])
    left = threading.Event()

    async def charge(self: Any, request: ChargeRequest) -> Any:
        try:
            while next(loops, False):
                for _ in itertools.count():
                    pass
        finally:
            left.set()
        return Succeeded(gateway_ref="ch_a", amount=request.amount)

    nasty = hosted(QUICK, charge=charge)

    answer = await charge_guarded(nasty, a_request(), timeout_s=0.3)

    assert isinstance(answer, Unknown)
    assert await goes_on(healthy, a_request())
    assert await asyncio.to_thread(left.wait, BOUND_S)
    assert await until_it_works(nasty, a_request)


async def test_calls_that_pile_up_are_refused_before_they_are_sent(a_request: Build) -> None:
    """A plugin that never ends its calls can't hold more than so many; a refund is certain not to be sent, too."""
    entered: list[object] = []

    async def charge(self: Any, request: ChargeRequest) -> Any:
        entered.append(request)
        await asyncio.Event().wait()

    nasty = hosted(Limits(calls_at_once=3), charge=charge)
    open_calls = [asyncio.ensure_future(charge_guarded(nasty, a_request())) for _ in range(3)]
    await until(lambda: len(entered) == 3)

    more = await charge_guarded(nasty, a_request())

    assert isinstance(more, NotSent)
    assert more.retry_after_s
    assert len(entered) == 3
    with pytest.raises(PluginBusy):
        await nasty.health()
    for call in open_calls:
        call.cancel()
    assert await until_it_answers(nasty)


async def test_a_closed_gateway_is_not_sent_to(a_request: Build) -> None:
    """Its loop has ended; that is certain."""
    nasty = hosted()
    assert isinstance(nasty, HostedGateway)
    assert await goes_on(nasty, a_request())

    nasty.close()

    assert isinstance(await charge_guarded(nasty, a_request()), NotSent)


# --- what is answered -------------------------------------------------------------------------------------------------


class Sly(str):
    """A text that runs code."""

    __slots__ = ()

    def __len__(self) -> int:
        raise SystemExit(4)


def declined(**changes: Any) -> Declined:
    decline = classify(Source.ISO8583, "51", **changes)
    return Declined(decline=decline)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "NoneType"),
        (object(), "object"),
        (Succeeded, "ABCMeta|StructMeta"),
        ({"gateway_ref": "ch_a"}, "dict"),
        (Succeeded(gateway_ref=Sly("ch_a"), amount=Money(1999, "EUR")), "wrong type"),
        (Succeeded(gateway_ref="ch_a", amount=Money(True, "EUR")), "wrong type"),
        (Succeeded(gateway_ref="ch_a", amount=19.99), "wrong type"),  # type: ignore[arg-type] # it is meant to be wrong
        (declined(message="x" * 5_000_000), "larger than"),
    ],
    ids=["nothing", "object", "class", "dict", "sly text", "bool", "float", "huge"],
)
async def test_a_wrong_answer_is_unknown(answer: Any, said: str, healthy: Gateway, a_request: Build) -> None:
    """Nothing of it reaches anybody: not its size, not its methods."""

    async def charge(self: Any, request: Any) -> Any:
        return answer

    outcome = await charge_guarded(hosted(charge=charge), a_request())

    assert isinstance(outcome, Unknown)
    assert any(part in outcome.reason for part in said.split("|"))
    assert await goes_on(healthy, a_request())


async def test_an_answer_is_a_copy(a_request: Build) -> None:
    """What a plugin changes after it answered changes nothing."""
    payload = {"status": "paid"}

    def parse_event(self: Any, headers: Any, body: bytes) -> Any:
        return [an_event(payload)]

    (event,) = hosted(parse_event=parse_event).parse_event({}, b"")
    payload["status"] = "changed"

    assert event.payload == {"status": "paid"}


def an_event(payload: Any) -> GatewayEvent:
    return GatewayEvent(external_id="evt_a", kind="moon.rose", occurred_at=now(), payload=payload)


def nested(depth: int) -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    return deep


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (lambda: None, "NoneType"),
        (lambda: 7, "int"),
        (lambda: itertools.repeat(an_event({})), "more than"),
        (lambda: [an_event({}), "event"], "str among"),
        (lambda: [an_event(nested(200))], "nested"),
        (lambda: [an_event({"a": object()})], "wrong type"),
        (lambda: [an_event({"a": "x" * 5_000_000})], "larger than"),
    ],
    ids=["nothing", "number", "endless", "among", "deep", "object", "huge"],
)
def test_wrong_events_are_a_failure_of_the_plugin(events: Callable[[], Any], said: str) -> None:
    """Never a refusal of the webhook: the provider delivers it again, when the plugin may have been mended."""
    with pytest.raises(PluginFailed, match=said):
        hosted(parse_event=lambda self, headers, body: events()).parse_event({}, b"{}")


async def test_lists_have_an_end() -> None:
    """An endless list is given up, and a good one comes through."""
    stored = StoredCredential(token="tok_a", method=Method.CARD)

    async def endless(self: Any, gateway_customer: str) -> Any:
        return itertools.repeat(stored)

    async def good(self: Any, gateway_customer: str) -> Any:
        return [stored]

    with pytest.raises(PluginFailed, match="more than"):
        await hosted(list_credentials=endless).list_credentials("cus_a")  # type: ignore[attr-defined] # optional part
    assert await hosted(list_credentials=good).list_credentials("cus_a") == (stored,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("cursor", [None, "next"])
async def test_pages_of_events_come_through(cursor: str | None) -> None:
    """And what is no page does not."""
    page = EventPage(events=(an_event({"a": 1}),), cursor=cursor)

    async def good(self: Any, since: Any, cursor: Any) -> Any:
        return page

    assert await hosted(list_events=good).list_events(now(), None) == page  # type: ignore[attr-defined]
    with pytest.raises(PluginFailed, match="NoneType"):
        await hosted().list_events(now(), None)  # type: ignore[attr-defined]


# --- plain calls ------------------------------------------------------------------------------------------------------


def blocks(gate: threading.Event) -> Callable[..., Any]:
    return lambda self, *given: gate.wait(BOUND_S)


def loops(gate: threading.Event) -> Callable[..., Any]:
    def loop(self: Any, *given: Any) -> Any:
        while not gate.is_set():
            pass

    return loop


@pytest.mark.parametrize("hangs", [blocks, loops])
async def test_a_parser_that_hangs_is_left(
    hangs: Callable[..., Any], gate: threading.Event, healthy: Gateway, a_request: Build
) -> None:
    """A webhook is no way to stop an installation."""
    nasty = hosted(QUICK, parse_event=hangs(gate))

    with pytest.raises(PluginHung):
        await asyncio.to_thread(nasty.parse_event, {}, b"{}")

    assert await goes_on(healthy, a_request())
    assert await goes_on(nasty, a_request())


def test_parsers_that_hang_hold_so_many_threads_and_no_more(gate: threading.Event) -> None:
    """The next one is refused at its time limit; when they end, there is room again."""
    began: list[int] = []

    def parse_event(self: Any, headers: Any, body: bytes) -> Any:
        began.append(1)
        gate.wait(BOUND_S)
        return []

    nasty = hosted(Limits(parse_s=0.3, parsed_at_once=2), parse_event=parse_event)
    for _ in range(2):
        with pytest.raises(PluginHung):
            nasty.parse_event({}, b"{}")

    with pytest.raises(PluginBusy):
        nasty.parse_event({}, b"{}")

    assert len(began) == 2


class Refusal(WebhookRefused):
    """A plugin's own kind of refusal, with a surprise."""

    def __str__(self) -> str:
        raise SystemExit(5)


@pytest.mark.parametrize("kind", [WebhookRefused, Refusal])
def test_a_refused_webhook_stays_refused(kind: type[WebhookRefused]) -> None:
    """By a plain `WebhookRefused`, its reason without secrets."""

    def parse_event(self: Any, headers: Any, body: bytes) -> Any:
        raise kind("stale, secret=hidden")

    with pytest.raises(WebhookRefused) as refusal:
        hosted(parse_event=parse_event).parse_event({}, b"{}")

    assert type(refusal.value) is WebhookRefused
    assert "stale" in refusal.value.reason
    assert "hidden" not in str(refusal.value)


def test_a_parser_that_exits_exits_nothing() -> None:
    """SystemExit in a plugin is a failed call."""

    def parse_event(self: Any, headers: Any, body: bytes) -> Any:
        sys.exit(1)

    with pytest.raises(PluginFailed, match="SystemExit"):
        hosted(parse_event=parse_event).parse_event({}, b"{}")


def test_a_report_is_read_or_refused_with_its_line(gate: threading.Event) -> None:
    """Settlement reports come back as plain values; a hang ends."""
    report = ReportedSettlement(report_ref="po_a", currency="EUR", lines=())

    def refuses(self: Any, content: bytes) -> Any:
        raise SettlementUnreadable("no amount", line=7)

    read = hosted(read_settlement=lambda self, content: report).read_settlement(b"")  # type: ignore[attr-defined]
    with pytest.raises(SettlementUnreadable) as refusal:
        hosted(read_settlement=refuses).read_settlement(b"")  # type: ignore[attr-defined]
    with pytest.raises(PluginHung):
        hosted(QUICK, read_settlement=blocks(gate)).read_settlement(b"")  # type: ignore[attr-defined]
    with pytest.raises(PluginFailed, match="NoneType"):
        hosted().read_settlement(b"")  # type: ignore[attr-defined]

    assert read == report
    assert refusal.value.line == 7


# --- at start ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (lambda gate: gate.wait(BOUND_S), "did not end within"),
        (lambda gate: loops(gate)(None), "did not end within"),
        (lambda gate: sys.exit(1), "SystemExit"),
    ],
    ids=["blocks", "loops", "exits"],
)
def test_an_import_that_does_not_end_disables_only_that_plugin(
    load: Callable[..., Any], said: str, gate: threading.Event
) -> None:
    """The start goes on without it, and says its name."""
    manager = load_plugins([Found("nasty_plugin", lambda: load(gate))], QUICK)
    beside = load_plugins([Found("good", lambda: a_plugin(foreign(), "good"))])

    (problem,) = [one for one in manager.problems if one.plugin == "nasty_plugin"]
    assert said in problem.broke
    assert "good" in beside.kinds


def test_a_plugin_that_registers_after_its_time_registers_nothing(gate: threading.Event) -> None:
    """What was told to be disabled does not appear later."""
    late = threading.Event()

    def register_gateways(register: Any) -> None:
        with contextlib.suppress(BaseException):  # told to stop, it doesn't listen
            gate.wait(BOUND_S)
        try:
            register("late", foreign())
        finally:
            late.set()

    module = a_plugin(foreign())
    hook = module.register_gateways
    vars(module)["register_gateways"] = _same_hook(register_gateways, hook)
    manager = load_plugins([Found("nasty_plugin", lambda: module)], QUICK)

    gate.set()
    assert late.wait(BOUND_S)

    assert "late" not in manager.kinds
    assert "nasty_plugin" in {problem.plugin for problem in manager.problems}


def _same_hook(function: Any, hook: Any) -> Any:
    function.recoup_impl = hook.recoup_impl
    return function


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (lambda gate, settings: gate.wait(BOUND_S), "did not end within"),
        (lambda gate, settings: loops(gate)(None), "did not end within"),
        (lambda gate, settings: sys.exit(1), "SystemExit"),
        (lambda gate, settings: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["blocks", "loops", "exits", "raises"],
)
def test_a_gateway_that_can_not_be_built_is_named(
    factory: Callable[..., Any], said: str, gate: threading.Event
) -> None:
    """A configured gateway that is not there stops the start with its name, within a bounded time."""
    plugin = a_plugin(lambda settings: factory(gate, settings))
    manager = load_plugins([Found("nasty_plugin", lambda: plugin)], QUICK)

    with pytest.raises(GatewayBroken, match=said) as refusal:
        built(manager)

    assert (refusal.value.plugin, refusal.value.gateway) == ("nasty_plugin", "nasty-eu")


# --- the whole contract, through the host -----------------------------------------------------------------------------


class TestHostedSandbox(RefundConformance):
    """A good gateway is as good when it is hosted."""

    @pytest.fixture
    def bench(self, a_refund: Callable[..., Any]) -> Iterator[SandboxBench]:
        bench = SandboxBench(a_refund, None)
        bench.gateway = HostedGateway("sandbox_plugin", "sandbox", bench.sandbox.capabilities, bench.sandbox)
        yield bench
        bench.gateway.close()


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_not_sent_was_never_seen(seed: int, a_request: Build) -> None:
    """Whatever the moment: a call that the plugin saw is never called `NotSent`, for then it is sent again."""
    dice = random.Random(seed)
    seen: set[str] = set()

    async def charge(self: Any, request: ChargeRequest) -> Any:
        seen.add(request.idempotency_key)
        time.sleep(dice.choice((0, 0, 0.002, 0.02)))  # noqa: ASYNC251 # a synchronous SDK
        return Succeeded(gateway_ref="ch_a", amount=request.amount)

    nasty = hosted(Limits(begin_s=0.01, calls_at_once=20), charge=charge)
    requests = [a_request() for _ in range(60)]

    async def send(request: ChargeRequest) -> str:
        await asyncio.sleep(dice.random() / 5)
        outcome = await charge_guarded(nasty, request, timeout_s=dice.choice((0.005, 5)))
        return request.idempotency_key if isinstance(outcome, NotSent) else ""

    not_sent = set(await asyncio.gather(*map(send, requests))) - {""}
    assert await until_it_works(nasty, a_request)

    assert not_sent & seen == set()
    assert not_sent


def test_calls_come_from_any_loop(a_request: Build) -> None:
    """The API and a worker in one process share a gateway."""
    gateway = hosted()
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(asyncio.run(charge_guarded(gateway, a_request()))))
        for _ in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)

    assert [type(answer) for answer in answers] == [Succeeded] * 4


# --- what is told -----------------------------------------------------------------------------------------------------


async def test_metrics_and_logs_name_the_plugin_and_the_call(a_refund: Callable[..., Any]) -> None:
    """Who runs Recoup sees which plugin to look at."""

    async def refund(self: Any, request: Any) -> Any:
        raise ValueError("no")

    labels = {"plugin": "nasty_plugin", "gateway": "nasty-eu", "call": "refund", "fault": "failed"}
    registry = metrics().registry
    before = registry.get_sample_value("recoup_plugin_faults_total", labels) or 0

    with structlog.testing.capture_logs() as lines:
        await refund_guarded(hosted(refund=refund), a_refund())

    assert registry.get_sample_value("recoup_plugin_faults_total", labels) == before + 1
    (line,) = [line for line in lines if line["event"] == "plugin_call_failed"]
    assert labels.items() <= line.items()


def test_only_foreign_gateways_are_hosted() -> None:
    """Built-in ones are ours, and stay on the loop; a hosted one shows its names and nothing else."""
    gateways = load_plugins([Found("nasty_plugin", lambda: a_plugin(foreign()))]).build_gateways(
        [
            GatewaySettings(name="a", plugin="nasty", options={"api_key": "sk_live_hidden"}),
            GatewaySettings(name="b", plugin="sandbox"),
        ]
    )

    assert repr(gateways["a"]) == "HostedGateway(plugin='nasty_plugin', name='a')"
    assert not isinstance(gateways["b"], HostedGateway)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not true():  # noqa: ASYNC110 # another thread makes it true
            await asyncio.sleep(0.02)


async def until_it_works(gateway: Gateway, a_request: Build) -> bool:
    for _ in range(round(BOUND_S / 0.05)):
        if isinstance(await charge_guarded(gateway, a_request()), Succeeded):
            return True
        await asyncio.sleep(0.05)
    return False


async def until_it_answers(gateway: Gateway) -> bool:
    for _ in range(round(BOUND_S / 0.05)):
        try:
            await gateway.health()
        except PluginBusy:
            await asyncio.sleep(0.05)
        else:
            return True
    return False


async def test_a_loop_that_is_broken_for_good_keeps_nobody_busy(a_request: Build, healthy: Gateway) -> None:
    """It is tried again with growing waits: neither a processor nor the log is filled by it."""

    async def charge(self: Any, request: ChargeRequest) -> Any:
        asyncio.get_running_loop()._selector.close()  # type: ignore[attr-defined]
        return Succeeded(gateway_ref="ch_a", amount=request.amount)

    broken = hosted(QUICK, charge=charge)
    with structlog.testing.capture_logs() as lines:
        await broken.charge(a_request())
        await asyncio.sleep(0.5)

    assert 0 < len([line for line in lines if line["event"] == "plugin_stopped_its_loop"]) < 20
    assert isinstance(await broken.charge(a_request()), NotSent)
    assert isinstance(await healthy.charge(a_request()), Succeeded)
