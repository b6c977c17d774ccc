"""The worker process: takes messages from RabbitMQ and runs their jobs until it is told to stop.

A stop lets what is worked on finish and gives the rest back to the broker. Kill it instead, and the broker hands the
messages to another worker; the jobs' claims and leases see to it that nothing is done twice.
"""

import asyncio
import signal
import threading
from types import FrameType
from typing import Final

from dramatiq import Worker

from recoup_core.health import HealthServer
from recoup_core.settings import Settings
from recoup_core.settings_reader import Problem, SettingsInvalid
from recoup_core.telemetry import configure_logging, get_logger, metrics
from recoup_workers.actors import declare_actors
from recoup_workers.broker import ServiceNotReady, rabbit_broker, use_uvloop
from recoup_workers.contract import JobService, ServiceFactory
from recoup_workers.scheduler import database_check

DRAIN_S: Final = 40.0
"""How long a stop waits for running jobs: a gateway call may take 30 s. Whoever runs us must wait longer to kill."""
WORKER_TIMEOUT_MS: Final = 250
"""How soon idle threads notice a stop."""
SIGNAL_CHECK_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 5.0
"""For the service's connections; one that is still in use would be waited for without end."""

log = get_logger(__name__)


class _Resident:
    """What lives on the actors' loop: the health port first, for it tells that the service is not open yet."""

    def __init__(self, service: JobService, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._health: HealthServer | None = None
        self._opened = False
        self.worker: Worker | None = None

    async def open(self) -> None:
        port = self._settings.worker.metrics_port
        if port is not None and self._health is None:
            checks = {"database": database_check(self._service), "broker": self._consuming}
            health = HealthServer(self._settings.worker.metrics_host, port, checks, metrics().registry)
            await health.start()
            self._health = health
        await self._service.open()
        self._opened = True

    async def close(self) -> None:
        if self._health is not None:
            await self._health.stop()
        if self._opened:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._service.close()

    async def _consuming(self) -> None:
        """Raise unless every consumer of the worker has an open connection to the broker."""
        threads = list(self.worker.consumers.values()) if self.worker else []
        connections = [getattr(thread.consumer, "connection", None) for thread in threads]
        if not connections or not all(connection is not None and connection.is_open for connection in connections):
            raise ConnectionError("not consuming from the broker")


def run_worker(factory: ServiceFactory, settings: Settings, *, drain_s: float = DRAIN_S) -> int:
    """Run a worker process until SIGTERM or SIGINT and return its exit code. Main thread only.

    0 after a stop, even one that left jobs to their leases; 1 when the service could not be opened.
    """
    if settings.amqp.url is None:
        raise SettingsInvalid([Problem("amqp.url", "is missing: a worker process takes its messages from RabbitMQ")])
    configure_logging(settings.log.level, settings.log.format)
    use_uvloop()  # before the broker boots: it makes the actors' loop
    stop = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    service = factory(settings)
    resident = _Resident(service, settings)
    broker = rabbit_broker(settings.amqp.url, resident, stop)
    declare_actors(broker, service)
    broker.emit_after("process_boot")  # starts the clock of the time limit
    resident.worker = worker = Worker(broker, worker_timeout=WORKER_TIMEOUT_MS, worker_threads=settings.worker.threads)
    worker.queue_prefetch = settings.worker.prefetch
    return _run(worker, stop, drain_s)


def _run(worker: Worker, stop: threading.Event, drain_s: float) -> int:
    try:
        worker.start()
    except ServiceNotReady as failure:
        worker.broker.emit_after("worker_shutdown", worker)  # ends the actors' loop, whose thread would keep us alive
        if stop.is_set():
            return 0
        log.error("the worker can't start", error=str(failure))
        return 1
    log.info("the worker runs", threads=worker.worker_threads, prefetch=worker.queue_prefetch)
    while not stop.wait(SIGNAL_CHECK_S):
        pass
    worker.stop(timeout=int(drain_s * 1000))
    worker.broker.close()
    log.info("the worker has stopped")
    return 0
