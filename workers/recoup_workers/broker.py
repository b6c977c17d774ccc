"""The two brokers: RabbitMQ with quorum queues, and one in memory for a single process.

The broker is transport only: no delays, no retries, no results. What is lost here comes back when its lease ends.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import pika  # type: ignore[import-untyped]  # pika ships its annotations without py.typed
from dramatiq import Broker, Consumer, Message, Middleware, Worker
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import xq_name
from dramatiq.middleware import AgeLimit, AsyncIO, MiddlewareError, TimeLimit

from recoup_core.secret import SecretUrl
from recoup_core.telemetry import get_logger

HEARTBEAT_S: Final = 20
"""A peer that has been silent for two of these is gone (AMQP 0-9-1 heartbeats)."""
SOCKET_TIMEOUT_S: Final = 5.0
STACK_TIMEOUT_S: Final = 10.0
"""TCP, TLS and the AMQP handshake together."""
BLOCKED_TIMEOUT_S: Final = 30.0
"""A broker short of memory or disk may hold a connection back this long before we let go of it."""
OPEN_TRIES_MAX: Final = 60
OPEN_WAIT_S: Final = 1.0
"""A worker waits a minute for the database to be there, then ends and is started again by whoever runs it."""

log = get_logger(__name__)


def connection_parameters(url: SecretUrl, name: str) -> Any:
    """Return pika's parameters for the URL, every wait of them bounded; `name` is shown at the broker."""
    parameters = pika.URLParameters(url.reveal())
    parameters.heartbeat = HEARTBEAT_S
    parameters.socket_timeout = SOCKET_TIMEOUT_S
    parameters.stack_timeout = STACK_TIMEOUT_S
    parameters.blocked_connection_timeout = BLOCKED_TIMEOUT_S
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": name}
    return parameters


def queue_arguments(queue_name: str) -> dict[str, str]:
    """Return what a queue is declared with, by workers and publisher alike: replicated, with a place for the dead."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": xq_name(queue_name),
    }


class QuorumBroker(RabbitmqBroker):
    """Dramatiq's RabbitMQ broker with quorum queues and without delay queues.

    Dramatiq has no option for either. Delayed messages would be held unacknowledged in a worker's memory, block those
    behind them, and be redelivered whenever RabbitMQ's consumer timeout strikes (dramatiq #827).
    """

    def __init__(self, url: SecretUrl, middleware: list[Middleware]) -> None:
        super().__init__(confirm_delivery=True, url="amqp://127.0.0.1", middleware=middleware)
        self.parameters = connection_parameters(url, "recoup worker")

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make the queue known, and on the server too where `ensure` says so; there is no delay queue beside it."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.queues_pending.add(queue_name)
            self.emit_after("declare_queue", queue_name)
        if ensure:
            self._ensure_queue(queue_name)  # type: ignore[no-untyped-call]  # Dramatiq leaves it without annotations

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Open a consumer; it has a connection of its own, so the one that declared the queue is let go."""
        consumer = super().consume(queue_name, prefetch, timeout)
        del self.connection
        return consumer

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Publish one message and wait for the confirmation; a delay is refused."""
        if delay is not None:
            raise ValueError("long waits belong to the job table, not to the broker")
        return super().enqueue(message)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, str]:
        return queue_arguments(queue_name)

    def _declare_dq_queue(self, queue_name: str) -> None:
        """Nothing is ever delayed."""


class AppLoop(Middleware):
    """Runs actors on an application's own loop instead of a thread's: one service, one pool, one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def before_worker_boot(self, _broker: Broker, _worker: Worker) -> None:
        """Let Dramatiq find the application's loop where it looks for its own thread's."""
        thread = EventLoopThread(logging.getLogger(__name__))
        thread.loop.close()
        thread.loop = self._loop
        set_event_loop_thread(thread)

    def after_worker_shutdown(self, _broker: Broker, _worker: Worker) -> None:
        """Forget the loop; it is the application's to stop."""
        set_event_loop_thread(None)


class Lifetime(Protocol):
    """What lives on the worker's loop from before the first message until after the last."""

    async def open(self) -> None:
        """Start; may be called again after it raised."""
        ...

    async def close(self) -> None:
        """End."""
        ...


class ServiceNotReady(MiddlewareError):
    """The service could not be opened in time; the worker must not take messages."""


class ServiceMiddleware(Middleware):
    """Opens the service on the actors' loop before the first message is taken; closes it after the last is done.

    Opening in `after_worker_boot` would be too late, for consumers run by then; closing in `before_worker_shutdown`
    would be too early, for messages are still worked on.
    """

    def __init__(self, service: Lifetime, stop: threading.Event, *, wait_s: float = OPEN_WAIT_S) -> None:
        self._service = service
        self._stop = stop
        self._wait_s = wait_s

    def before_worker_boot(self, _broker: Broker, _worker: Worker) -> None:
        """Open the service, waiting for what it needs; raise `ServiceNotReady` when that takes too long."""
        for _ in range(OPEN_TRIES_MAX):
            try:
                return _on_loop(self._service.open)
            except Exception as failure:
                log.warning("the service can't be opened yet", error=str(failure), kind=type(failure).__name__)
            if self._stop.wait(self._wait_s):
                break
        raise ServiceNotReady("the service could not be opened")

    def after_worker_shutdown(self, _broker: Broker, _worker: Worker) -> None:
        """Close the service while its loop still runs."""
        _on_loop(self._service.close)


def _on_loop(work: Callable[[], Any]) -> None:
    thread = get_event_loop_thread()
    if thread is None:
        raise ServiceNotReady("the actors' loop is not running")
    thread.run_coroutine(work())


def use_uvloop() -> None:
    """Make the event loops that follow uvloop's: a third faster (measured); it can't be had on Windows."""
    with suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def rabbit_broker(url: SecretUrl, service: Lifetime, stop: threading.Event) -> QuorumBroker:
    """Return the broker of a worker process, not yet connected.

    The order matters: the loop starts before the service opens on it, and stops after the service has closed.
    """
    return QuorumBroker(url, [AgeLimit(), TimeLimit(), AsyncIO(), ServiceMiddleware(service, stop)])


def memory_broker(loop: asyncio.AbstractEventLoop) -> StubBroker:
    """Return a broker inside this process whose actors run on `loop`; the service is the application's to open."""
    return StubBroker([AgeLimit(), TimeLimit(), AppLoop(loop)])
