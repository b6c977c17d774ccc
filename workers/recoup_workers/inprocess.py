"""Scheduler, broker and workers inside one running asyncio application: nothing to install beside PostgreSQL.

Messages live in memory and die with the process; the leases bring their jobs back. One of these at a time a process,
for Dramatiq keeps the actors' loop in a global.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from recoup_core.telemetry import Metrics, get_logger, metrics
from recoup_workers.actors import declare_actors, queue_name
from recoup_workers.broker import memory_broker
from recoup_workers.contract import JobService, Parcel
from recoup_workers.scheduler import SWEEP_EVERY_S, Scheduler
from recoup_workers.worker import DRAIN_S, WORKER_TIMEOUT_MS

LOOK_EVERY_S: Final = 0.005
"""How often `drain` looks whether everything is done."""

log = get_logger(__name__)


class MemoryTransport:
    """Hands parcels to the broker in this process; it is full when `in_flight_max` are not finished."""

    def __init__(self, broker: StubBroker, queue: str, in_flight_max: int) -> None:
        self._broker = broker
        self._queue = queue
        self._in_flight_max = in_flight_max

    def in_flight(self) -> int:
        """Return how many parcels wait or are worked on."""
        return int(self._broker.queues[self._queue].unfinished_tasks)

    async def room(self) -> int:
        """Return how many parcels fit."""
        return max(0, self._in_flight_max - self.in_flight())

    async def send(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Put them into the queue; nothing is ever refused."""
        for parcel in parcels:
            self._broker.enqueue(parcel.message)
        return []

    async def close(self) -> None:
        """Nothing to let go of."""


class InProcess:
    """Runs due jobs on the loop it was made on, with a service that is already open and is not closed here."""

    def __init__(
        self, service: JobService, counts: Metrics | None = None, *, sweep_every_s: float = SWEEP_EVERY_S
    ) -> None:
        settings = service.settings
        queue = queue_name(settings.amqp.queue_prefix)
        self._broker = memory_broker(asyncio.get_running_loop())
        declare_actors(self._broker, service)
        self._transport = MemoryTransport(self._broker, queue, settings.scheduler.in_flight_max)
        self._scheduler = Scheduler(service, self._transport, counts or metrics(), sweep_every_s=sweep_every_s)
        self._worker = Worker(self._broker, worker_timeout=WORKER_TIMEOUT_MS, worker_threads=settings.worker.threads)
        self._worker.queue_prefetch = settings.worker.prefetch
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start working; returns once workers wait for jobs."""
        self._broker.emit_after("process_boot")  # starts the clock of the time limit; else only Dramatiq's CLI does
        await asyncio.to_thread(self._worker.start)
        self._task = asyncio.create_task(self._scheduler.run(self._stop))

    async def stop(self) -> None:
        """Claim nothing more, finish what is worked on within `DRAIN_S`, and end; the rest is left to its leases."""
        self._stop.set()
        if self._task is not None:
            await self._task
            await asyncio.to_thread(self._worker.stop, int(DRAIN_S * 1000))

    def wake(self) -> None:
        """Look for due jobs at once instead of at the next poll."""
        self._scheduler.wake()

    def idle(self) -> bool:
        """Return whether nothing is in flight and the latest look found nothing due."""
        latest = self._scheduler.last_round
        return latest is not None and not latest.claimed and not latest.blocked and self._transport.in_flight() == 0

    async def drain(self, timeout_s: float) -> bool:
        """Work until nothing is due and nothing in flight; False when that takes longer than `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            claimed, busy = self._scheduler.claimed, self._transport.in_flight()
            await self._scheduler.round()
            # What was in flight before the look may have made new jobs after it: only a look from rest to rest counts.
            if busy == 0 and self._scheduler.claimed == claimed and self.idle():
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False
