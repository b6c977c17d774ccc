"""The scheduler: finds due jobs, leases them and hands them to the workers. Any number of them may run.

A round claims only what the transport has room for, and gives back at once what was surely not sent; everything else
that goes wrong is mended by the lease. It never runs a job itself.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import msgspec

from recoup_core.health import Check, HealthServer
from recoup_core.settings import Settings
from recoup_core.settings_reader import Problem, SettingsInvalid
from recoup_core.storage.listening import Alarm, Pace
from recoup_core.telemetry import Metrics, configure_logging, get_logger, metrics
from recoup_workers.actors import parcels_for, queue_name
from recoup_workers.broker import use_uvloop
from recoup_workers.contract import JobRef, JobService, ServiceFactory, Transport
from recoup_workers.publisher import RabbitTransport

CLAIM_MAX: Final = 1000
"""Jobs leased in one round: 9 ms for 500 in a table of ten million (measured)."""
IDLE_MIN_S: Final = 0.01
"""A job that is due but locked by another scheduler must not make us spin."""
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 15.0
ROUND_TIMEOUT_S: Final = 60.0
"""Everything in a round has a shorter limit of its own; this one holds when one of those fails."""
SWEEP_EVERY_S: Final = 30.0
SWEEP_TIMEOUT_S: Final = 300.0
CLOSE_TIMEOUT_S: Final = 5.0
STOP_WITHIN_S: Final = 20.0
"""How long a stop waits for the round in progress."""

log = get_logger(__name__)


class Round(msgspec.Struct, frozen=True):
    """What one look at the job table came to."""

    claimed: int
    released: int = 0
    blocked: bool = False
    """The transport had no room, so nothing was asked for."""


class Scheduler:
    """Looks for due jobs until told to stop."""

    def __init__(
        self, service: JobService, transport: Transport, counts: Metrics, *, sweep_every_s: float = SWEEP_EVERY_S
    ) -> None:
        self._service = service
        self._transport = transport
        self._metrics = counts
        self._sweep_every_s = sweep_every_s
        self._one_round = asyncio.Lock()
        self._wake = asyncio.Event()
        self._alarm = Alarm()
        self.claimed = 0
        """Jobs claimed since the start."""
        self.last_round: Round | None = None

    def wake(self) -> None:
        """Look again at once: something has become due."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work in rounds until `stop` is set; the round in progress is finished, within `STOP_WITHIN_S`."""
        loops = [asyncio.create_task(loop(stop)) for loop in (self._rounds, self._sweeps, self._follows)]
        try:
            await stop.wait()
            self.wake()
            self._alarm.ring()
            await asyncio.wait(loops, timeout=STOP_WITHIN_S)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def round(self) -> Round:
        """Claim what is due and fits, and send it; raises what the database raises."""
        async with self._one_round, asyncio.timeout(ROUND_TIMEOUT_S):
            self.last_round = await self._round()
            return self.last_round

    async def _round(self) -> Round:
        settings = self._service.settings
        room = await self._transport.room()
        if room == 0:
            return Round(claimed=0, blocked=True)
        lease = timedelta(seconds=settings.worker.lease_s)
        limit = min(CLAIM_MAX, room * settings.worker.batch)
        refs = await self._service.jobs.claim(self._service.clock.now(), limit, lease)
        if not refs:
            return Round(claimed=0)
        self.claimed += len(refs)
        self._metrics.jobs_claimed.inc(len(refs))
        parcels = parcels_for(refs, settings.amqp.queue_prefix, settings.worker.batch)
        refused = [ref for parcel in await self._transport.send(parcels) for ref in parcel.refs]
        await self._release(refused)
        return Round(claimed=len(refs), released=len(refused))

    async def _release(self, refs: list[JobRef]) -> None:
        if not refs:
            return
        self._metrics.jobs_released.inc(len(refs))
        try:
            await self._service.jobs.release(refs)
        except Exception as failure:  # their leases end by themselves
            log.warning("jobs could not be given back", jobs=len(refs), error=str(failure))

    async def _rounds(self, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                pause_s = await self._pause_after(await self.round())
                failures = 0
            except Exception as failure:
                pause_s = min(BACKOFF_FIRST_S * 2**failures, BACKOFF_MAX_S)
                failures = min(failures + 1, 16)
                self._metrics.scheduler_failures.labels("round").inc()
                log.warning("a round failed", error=str(failure), kind=type(failure).__name__, next_in_s=pause_s)
            await self._sleep(pause_s)

    async def _pause_after(self, done: Round) -> float:
        """Return how long to wait: not at all while there is work, else until the next job or the next poll."""
        poll_s = self._service.settings.scheduler.poll_ms / 1000
        if done.claimed and not done.released:
            return 0.0
        if done.blocked or done.released:
            return poll_s
        now = self._service.clock.now()
        due_at = await self._service.jobs.next_due_at(now)
        return poll_s if due_at is None else min(poll_s, max(IDLE_MIN_S, (due_at - now).total_seconds()))

    async def _sleep(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _sweeps(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with asyncio.timeout(SWEEP_TIMEOUT_S):
                    await self._service.sweep(self._service.clock.now())
            except Exception as failure:
                self._metrics.scheduler_failures.labels("sweep").inc()
                log.warning("a sweep failed", error=str(failure), kind=type(failure).__name__)
            await _wait(stop, self._sweep_every_s)

    async def _follows(self, stop: asyncio.Event) -> None:
        """Hand events to their followers as they happen; what they put into the job table is looked for at once."""
        pace, failures = Pace(self._alarm), 0
        async with self._service.listening(self._alarm):
            while not stop.is_set():
                try:
                    async with asyncio.timeout(ROUND_TIMEOUT_S):
                        more = await self._service.follow(self._service.clock.now())
                    failures = 0
                except Exception as failure:
                    self._metrics.scheduler_failures.labels("follow").inc()
                    log.warning("following failed", error=str(failure), kind=type(failure).__name__)
                    await _wait(stop, min(BACKOFF_FIRST_S * 2**failures, BACKOFF_MAX_S))
                    failures, more = min(failures + 1, 16), False
                if not more and not stop.is_set():
                    await pace.rest(held=False)


def run_scheduler(factory: ServiceFactory, settings: Settings) -> int:
    """Run the scheduler process until SIGTERM or SIGINT; return its exit code. Main thread only."""
    configure_logging(settings.log.level, settings.log.format)
    use_uvloop()
    asyncio.run(_main(factory(settings), settings))
    return 0


async def _main(service: JobService, settings: Settings) -> None:
    if settings.amqp.url is None:
        raise SettingsInvalid([Problem("amqp.url", "is missing: a scheduler process sends its messages to RabbitMQ")])
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    queue = queue_name(settings.amqp.queue_prefix)
    transport = RabbitTransport(settings.amqp.url, queue, settings.scheduler.in_flight_max, metrics())

    async def can_send() -> None:
        if not transport.connected:
            raise ConnectionError("not connected to the broker")

    checks = {"database": database_check(service), "broker": can_send}
    port, host = settings.scheduler.metrics_port, settings.scheduler.metrics_host
    health = None if port is None else HealthServer(host, port, checks, metrics().registry)
    if health is not None:
        await health.start()
    if await open_service(service.open, stop):
        log.info("the scheduler runs", queue=queue)
        await Scheduler(service, transport, metrics()).run(stop)
        await transport.close()
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await service.close()
    if health is not None:
        await health.stop()
    log.info("the scheduler has stopped")


def database_check(service: JobService) -> Check:
    """Return a health check that asks the job table something cheap."""

    async def reachable() -> None:
        await service.jobs.next_due_at(service.clock.now())

    return reachable


async def open_service(open_it: Callable[[], Awaitable[object]], stop: asyncio.Event) -> bool:
    """Open the service however long its database takes to come; False when told to stop before that."""
    pause_s = BACKOFF_FIRST_S
    while not stop.is_set():
        try:
            await open_it()
        except Exception as failure:
            log.warning("the service can't be opened yet", error=str(failure), kind=type(failure).__name__)
            await _wait(stop, pause_s)
            pause_s = min(pause_s * 2, BACKOFF_MAX_S)
        else:
            return True
    return False


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
