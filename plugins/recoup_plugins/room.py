"""A thread with an event loop on which one foreign gateway works, and calls into it that never wait for ever."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from enum import Enum
from typing import Any, Final

from recoup_core.telemetry import get_logger
from recoup_plugins.apart import PluginFailed, PluginHung, interrupt, told
from recoup_plugins.limits import Limits

FIRST_PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 5.0
"""Before a loop that a plugin broke turns again; longer each time."""

log = get_logger(__name__)


class NeverBegan(Exception):
    """It is certain that the plugin did not see a call, and will not."""


class Room:
    """The loop's thread starts with the first call, as a daemon: no plugin keeps a process from ending."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._name, self._limits = name, limits
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._in_flight = 0
        self._stuck = self._closed = False

    async def run(self, work: Callable[[], Awaitable[object]], limit_s: float) -> Any:
        """Return what the work returns over there; raises `NeverBegan`, `PluginFailed` or `PluginHung`.

        May be called from any loop. When the caller is canceled, so is the work, as far as it listens.
        """
        call = self._submit(work)
        begun, done = asyncio.wrap_future(call.begun), asyncio.wrap_future(call.done)
        ways: list[asyncio.Future[Any]] = [begun, done]
        try:
            await asyncio.wait(ways, timeout=self._limits.begin_s, return_when=asyncio.FIRST_COMPLETED)
            if call.withdraw():
                self._leave()
                self._mark_stuck()
                raise NeverBegan(f"has been busy for {self._limits.begin_s:g} s without taking the call")
            await asyncio.wait({done}, timeout=limit_s)
            if not done.done():
                raise PluginHung(f"it did not answer within {limit_s:g} s")
        finally:
            self._let_go(call)
            begun.cancel()
            done.cancel()
        failure, answer = done.result()
        if failure is not None:
            raise PluginFailed(failure)
        return answer

    def close(self) -> None:
        """Let the loop end; nothing is waited for."""
        with self._lock:
            self._closed = True
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _submit(self, work: Callable[[], Awaitable[object]]) -> "_Call":
        with self._lock:
            if self._stuck or self._closed:
                raise NeverBegan("is stuck" if self._stuck else "is closed")
            if self._in_flight >= self._limits.calls_at_once:
                raise NeverBegan(f"has {self._in_flight} open calls")
            call = _Call(work, self._leave)
            self._open().call_soon_threadsafe(call.start, context=copy_context())
            self._in_flight += 1
        return call

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.SelectorEventLoop()  # not uvloop's: plugins are tested on Python's own
            self._thread = threading.Thread(target=self._live, name=self._name, daemon=True)
            self._thread.start()
        return self._loop

    def _live(self) -> None:
        """Turn the loop until the room is closed; a plugin can stop it, but not for good."""
        assert self._loop is not None  # `_open` made it before the thread
        asyncio.set_event_loop(self._loop)
        pause_s = 0.0
        while not self._closed:
            began = time.monotonic()
            try:
                self._loop.run_forever()
            except BaseException as failure:  # SystemExit in a task of the plugin's own, or `Interrupted`
                log.warning("plugin_stopped_its_loop", thread=self._name, because=told(failure))
                # a loop that is broken for good must not keep a processor and the log busy
                pause_s = FIRST_PAUSE_S if time.monotonic() - began > LONGEST_PAUSE_S else 2 * pause_s + FIRST_PAUSE_S
                with suppress(BaseException):
                    time.sleep(min(pause_s, LONGEST_PAUSE_S))
        with self._lock:
            self._loop.close()

    def _leave(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def _mark_stuck(self) -> None:
        """Refuse calls at once until the loop turns again."""
        assert self._loop is not None  # a call was submitted
        with self._lock:
            self._stuck = True
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._turns)

    def _turns(self) -> None:
        with self._lock:
            self._stuck = False

    def _let_go(self, call: "_Call") -> None:
        """End a call that nobody waits for any more: withdrawn, or canceled as far as it listens."""
        if call.withdraw():
            self._leave()
        if call.fate is _Fate.BEGUN and not call.done.done():
            self._cancel(call)

    def _cancel(self, call: "_Call") -> None:
        """Cancel a call over there; what keeps the loop from even hearing of it is interrupted after a while."""
        heard = threading.Event()

        def cancel() -> None:
            heard.set()
            call.cancel()

        def insist() -> None:
            if not heard.is_set() and self._thread is not None:
                interrupt(self._thread)

        assert self._loop is not None  # the call began
        with suppress(RuntimeError):  # the room was closed meanwhile
            self._loop.call_soon_threadsafe(cancel)
        timer = threading.Timer(self._limits.grace_s, insist)
        timer.daemon = True
        timer.start()


class _Fate(Enum):
    """What became of a call on its way in."""

    WAITING = "waiting"
    BEGUN = "begun"
    WITHDRAWN = "withdrawn"


class _Call:
    """One call on its way into a room. Begun or withdrawn, never both."""

    def __init__(self, work: Callable[[], Awaitable[object]], leave: Callable[[], None]) -> None:
        self._work, self._leave = work, leave
        self._lock = threading.Lock()
        self.fate = _Fate.WAITING
        self._task: asyncio.Task[None] | None = None
        self.begun: Future[None] = Future()
        self.done: Future[tuple[str | None, object]] = Future()
        for future in (self.begun, self.done):
            future.set_running_or_notify_cancel()  # from now on a caller's cancellation doesn't reach it

    def start(self) -> None:
        """Begin on the room's loop, unless withdrawn."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def withdraw(self) -> bool:
        """Keep a call that still waits from ever beginning; false where it began, or was withdrawn before."""
        return self._become(_Fate.WITHDRAWN)

    def cancel(self) -> None:
        """Cancel the work; on the room's loop."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        if not self._become(_Fate.BEGUN):
            return
        self.begun.set_result(None)
        try:
            ended: tuple[str | None, object] = (None, await self._work())
        except BaseException as failure:  # anything at all: it is a failure of this call and of nothing else
            ended = (told(failure), None)
        self._leave()
        self.done.set_result(ended)

    def _become(self, fate: _Fate) -> bool:
        with self._lock:
            if self.fate is not _Fate.WAITING:
                return False
            self.fate = fate
            return True
