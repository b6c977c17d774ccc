"""From the scheduler to RabbitMQ: a window of publisher confirms on one connection, on the scheduler's own loop.

pika's asyncio adapter keeps everything on one thread: no hand-over, no locks. What the broker did not surely refuse is
never reported as refused, for a job released while its message is alive would be worked on twice at the same time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import pika  # type: ignore[import-untyped]  # pika ships its annotations without py.typed
from dramatiq import Message
from dramatiq.brokers.rabbitmq import DEAD_MESSAGE_TTL
from dramatiq.common import compute_backoff, xq_name
from pika.adapters.asyncio_connection import AsyncioConnection  # type: ignore[import-untyped]  # as above

from recoup_core.secret import SecretUrl
from recoup_core.telemetry import Metrics, get_logger
from recoup_workers.broker import STACK_TIMEOUT_S, connection_parameters, queue_arguments
from recoup_workers.contract import Parcel

WINDOW: Final = 500
"""Messages sent before their confirms are awaited: 34,000 a second at this size, 1,500 at one (measured)."""
CONFIRM_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 5.0
"""For the broker's answer to a declaration."""
CLOSE_TIMEOUT_S: Final = 2.0
RECONNECT_FIRST_S: Final = 0.2
RECONNECT_MAX_S: Final = 10.0

log = get_logger(__name__)


class BrokerGone(Exception):
    """The connection ended, or the broker did not answer in time."""


class RabbitTransport:
    """Carries parcels to one queue; reconnects by itself, waiting longer after each failure."""

    def __init__(self, url: SecretUrl, queue: str, in_flight_max: int, metrics: Metrics) -> None:
        self._parameters = connection_parameters(url, "recoup scheduler")
        self._queue = queue
        self._in_flight_max = in_flight_max
        self._metrics = metrics
        self._link: _Link | None = None
        self._failures = 0
        self._retry_at = 0.0

    @property
    def connected(self) -> bool:
        """Whether the broker could be reached when last asked."""
        return self._link is not None and not self._link.lost

    async def room(self) -> int:
        """Return how many messages fit until `in_flight_max` wait in the queue; 0 while the broker is away."""
        link = await self._connected()
        if link is None:
            return 0
        try:
            depth = await link.depth()
        except BrokerGone as failure:
            await self._drop(failure)
            return 0
        self._metrics.queue_depth.set(depth)
        return max(0, self._in_flight_max - depth)

    async def send(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Publish them and return those that surely did not arrive: never sent, or returned as unroutable.

        One whose confirmation never came may have arrived, so it is left to its lease.
        """
        refused: list[Parcel] = []
        for start in range(0, len(parcels), WINDOW):
            window = parcels[start : start + WINDOW]
            if self._link is None:
                refused.extend(window)
                continue
            sent, unsure = await self._link.publish([parcel.message for parcel in window])
            refused.extend(parcel for parcel, arrived in zip(window, sent, strict=True) if not arrived)
            if unsure or not all(sent):
                await self._drop(BrokerGone(f"{unsure} messages without an answer, {sent.count(False)} refused"))
        return refused

    async def close(self) -> None:
        """Close the connection."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _connected(self) -> "_Link | None":
        if self._link is not None and not self._link.lost:
            return self._link
        if time.monotonic() < self._retry_at:
            return None
        await self.close()
        link = _Link(self._queue)
        try:
            await link.open(self._parameters)
        except BrokerGone as failure:
            await link.close()
            await self._drop(failure)
            return None
        self._link, self._failures = link, 0
        self._metrics.broker_up.set(1)
        log.info("connected to the broker", queue=self._queue)
        return link

    async def _drop(self, failure: BrokerGone) -> None:
        """Let the connection go; the next one declares the queue anew and so mends most things."""
        await self.close()
        first, most = int(RECONNECT_FIRST_S * 1000), int(RECONNECT_MAX_S * 1000)
        self._failures, wait_ms = compute_backoff(self._failures, factor=first, max_backoff=most)
        self._retry_at = time.monotonic() + wait_ms / 1000
        self._metrics.broker_up.set(0)
        log.warning("the broker is away", reason=str(failure), next_try_in_s=wait_ms / 1000)


class _Link:
    """One connection with one channel in confirm mode; used up once it is lost."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._connection: Any = None
        self._channel: Any = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._unconfirmed: dict[int, tuple[str, asyncio.Future[bool]]] = {}
        self._returned: set[str] = set()
        self._tag = 0
        self.lost: str | None = None
        """Why it can't be used any more."""

    async def open(self, parameters: Any) -> None:
        """Connect and declare the queue; `BrokerGone` says why that failed."""
        await self._answer(lambda done: self._connect(parameters, done), STACK_TIMEOUT_S)
        self._channel = await self._answer(lambda done: self._connection.channel(on_open_callback=done))
        self._channel.add_on_close_callback(self._on_lost)
        self._channel.add_on_return_callback(self._on_return)
        await self._answer(lambda done: self._channel.confirm_delivery(self._on_confirm, callback=done))
        await self._declare(xq_name(self._queue), {"x-message-ttl": DEAD_MESSAGE_TTL})
        await self._declare(self._queue, queue_arguments(self._queue))

    async def depth(self) -> int:
        """Return how many messages are ready in the queue (those held by workers don't count)."""
        declared = await self._answer(
            lambda done: self._channel.queue_declare(self._queue, passive=True, callback=done)
        )
        return int(declared.method.message_count)

    async def publish(self, messages: Sequence[Message[None]]) -> tuple[list[bool], int]:
        """Publish one window: for each whether it may have arrived, and how many got no answer at all."""
        answers = [self._publish(message) for message in messages]
        waiting = [answer for answer in answers if answer is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=CONFIRM_TIMEOUT_S)
        unsure = [answer for answer in waiting if not answer.done() or answer.exception() is not None]
        self._unconfirmed.clear()
        self._returned.clear()
        return [answer is not None and (answer in unsure or answer.result()) for answer in answers], len(unsure)

    async def close(self) -> None:
        """Close in good order, or give up after a while."""
        self._on_lost(None, "closed by us")
        if self._connection is None or self._connection.is_closed:
            return
        if not self._connection.is_closing:
            self._connection.close()
        await asyncio.wait([self._ended], timeout=CLOSE_TIMEOUT_S)

    def _publish(self, message: Message[None]) -> "asyncio.Future[bool] | None":
        if self.lost or not self._channel.is_open:
            return None
        properties = pika.BasicProperties(delivery_mode=2, message_id=message.message_id)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._tag += 1
        self._unconfirmed[self._tag] = (message.message_id, answer)
        self._channel.basic_publish("", message.queue_name, message.encode(), properties, mandatory=True)
        return answer

    def _connect(self, parameters: Any, done: Callable[[Any], None]) -> None:
        self._connection = AsyncioConnection(
            parameters,
            on_open_callback=done,
            on_open_error_callback=self._on_ended,
            on_close_callback=self._on_ended,
            custom_ioloop=asyncio.get_running_loop(),
        )

    async def _declare(self, name: str, arguments: dict[str, Any]) -> None:
        await self._answer(
            lambda done: self._channel.queue_declare(name, durable=True, arguments=arguments, callback=done)
        )

    async def _answer(self, ask: Callable[[Callable[[Any], None]], object], timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
        """Ask the broker and wait for its answer; `BrokerGone` when there is none."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)
        try:
            if self.lost:
                raise BrokerGone(self.lost)
            ask(lambda value: _settle(answer, value))
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise BrokerGone(f"no answer within {timeout_s} s") from None
        except pika.exceptions.AMQPError as failure:
            raise BrokerGone(repr(failure)) from failure
        finally:
            self._waiting.discard(answer)

    def _on_confirm(self, frame: Any) -> None:
        """Settle what the broker answered for; a nack is no promise that the message is gone, so it stays unsure."""
        confirmed = isinstance(frame.method, pika.spec.Basic.Ack)
        upto = frame.method.delivery_tag
        tags = [tag for tag in self._unconfirmed if tag <= upto] if frame.method.multiple else [upto]
        for tag in tags:
            message_id, answer = self._unconfirmed.pop(tag, ("", None))
            if answer is None or answer.done():
                continue
            if confirmed:
                answer.set_result(message_id not in self._returned)
            else:
                answer.set_exception(BrokerGone("the broker could not take the message"))

    def _on_return(self, _: object, __: object, properties: Any, ___: object) -> None:
        self._returned.add(properties.message_id)

    def _on_ended(self, _: object, reason: object) -> None:
        self._on_lost(None, reason)
        if not self._ended.done():
            self._ended.set_result(None)

    def _on_lost(self, _: object, reason: object) -> None:
        self.lost = self.lost or str(reason) or type(reason).__name__
        for answer in [*self._waiting, *(answer for _, answer in self._unconfirmed.values())]:
            if not answer.done():
                answer.set_exception(BrokerGone(self.lost))


def _settle(answer: "asyncio.Future[Any]", value: Any) -> None:
    if not answer.done():
        answer.set_result(value)
