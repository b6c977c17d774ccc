"""Worker and scheduler as real processes on a real RabbitMQ: start, work, drain, die."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pika
import pytest

from recoup_core.settings import Settings
from recoup_workers.actors import parcels_for, queue_name
from recoup_workers.broker import queue_arguments
from recoup_workers.contract import JobRef

pytestmark = pytest.mark.rabbitmq

SOON_S = 15.0
SCRIPT = Path(__file__).with_name("worker_process.py")


class Running:
    """A process and what it noted."""

    def __init__(self, process: "subprocess.Popen[bytes]", notes: Path) -> None:
        self.process = process
        self._notes = notes

    def notes(self) -> list[str]:
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def wait_for(self, line: str) -> None:
        deadline = time.monotonic() + SOON_S
        while line not in self.notes():
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {line!r}"
            assert time.monotonic() < deadline, f"no {line!r} in {self.notes()}"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SOON_S)


Start = Callable[..., Running]


@pytest.fixture
def start(rabbit_settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Start a process on this test's queue; whatever still runs is killed afterwards."""
    started: list[Running] = []

    def start_process(role: str = "worker", notes: str = "notes", **environ: str) -> Running:
        assert rabbit_settings.amqp.url is not None
        own = {name: value for name, value in os.environ.items() if not name.startswith("RECOUP_")}
        given = {
            "RECOUP_AMQP_URL": rabbit_settings.amqp.url.reveal(),
            "RECOUP_AMQP_QUEUE_PREFIX": rabbit_settings.amqp.queue_prefix,
            "RECOUP_WORKER_THREADS": "2",
            "RECOUP_WORKER_PREFETCH": "2",
            "NOTES": str(tmp_path / notes),
        }
        process = subprocess.Popen([sys.executable, str(SCRIPT), role], env=own | given | environ, cwd=tmp_path)
        started.append(Running(process, tmp_path / notes))
        return started[-1]

    yield start_process
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(SOON_S)


@pytest.fixture
def put(rabbit_settings: Settings, rabbit_channel: Any) -> Callable[..., None]:
    """Put jobs into the queue, one a message, each taking so many milliseconds."""
    prefix = rabbit_settings.amqp.queue_prefix
    queue = queue_name(prefix)
    rabbit_channel.queue_declare(queue, durable=True, arguments=queue_arguments(queue))
    rabbit_channel.confirm_delivery()

    def put_jobs(numbers: range, takes_ms: int) -> None:
        refs = [JobRef(number, "collect", UUID(int=number), 1, str(takes_ms)) for number in numbers]
        for parcel in parcels_for(refs, prefix, 1):
            rabbit_channel.basic_publish("", queue, parcel.message.encode(), pika.BasicProperties(delivery_mode=2))

    return put_jobs


def left(channel: Any, settings: Settings) -> int:
    return int(channel.queue_declare(queue_name(settings.amqp.queue_prefix), passive=True).method.message_count)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_worked_on_and_gives_back_the_rest(
    start: Start, put: Callable[..., None], rabbit_settings: Settings, rabbit_channel: Any, number: signal.Signals
) -> None:
    """A deploy neither cuts a gateway call short nor takes messages with it."""
    put(range(10), takes_ms=1000)
    worker = start()
    worker.wait_for("begin 0")

    code = worker.stop(number)

    begun = {line.split()[1] for line in worker.notes() if line.startswith("begin")}
    ended = {line.split()[1] for line in worker.notes() if line.startswith("end")}
    assert code == 0
    assert begun == ended
    assert worker.notes()[-1] == "close"
    assert left(rabbit_channel, rabbit_settings) == 10 - len(ended) > 0


def test_a_drain_is_bounded(
    start: Start, put: Callable[..., None], rabbit_settings: Settings, rabbit_channel: Any
) -> None:
    """A job that does not end is left to the broker and its lease, not waited for until somebody kills us."""
    put(range(1), takes_ms=60_000)
    worker = start(DRAIN_S="0.5")
    worker.wait_for("begin 0")

    code = worker.stop()

    assert code == 0
    assert worker.notes() == ["open", "begin 0", "close"]
    assert left(rabbit_channel, rabbit_settings) == 1


def test_a_killed_workers_messages_go_to_another(start: Start, put: Callable[..., None]) -> None:
    """kill -9: nothing is lost, for nothing was acknowledged."""
    put(range(4), takes_ms=600)
    first = start(notes="first")
    first.wait_for("begin 0")
    first.stop(signal.SIGKILL)
    ended = {line for line in first.notes() if line.startswith("end")}

    second = start(notes="second")

    for number in range(4):
        if f"end {number}" not in ended:
            second.wait_for(f"end {number}")
    assert second.stop() == 0
    assert "begin 0" in second.notes()


async def test_a_worker_comes_back_when_the_broker_does(
    start: Start, put: Callable[..., None], amqp_url: str, broker_proxy: Any
) -> None:
    """A job in work when the connection breaks is finished; the next ones are taken over a new connection."""
    async with broker_proxy(amqp_url) as (proxy, url):
        worker = start(RECOUP_AMQP_URL=url.reveal())
        put(range(1), takes_ms=300)
        await asyncio.to_thread(worker.wait_for, "begin 0")

        await proxy.cut()
        await asyncio.to_thread(worker.wait_for, "end 0")
        await proxy.listen()
        put(range(1, 2), takes_ms=0)
        await asyncio.to_thread(worker.wait_for, "end 1")

        assert await asyncio.to_thread(worker.stop) == 0


def test_a_worker_waits_for_its_database(start: Start, put: Callable[..., None]) -> None:
    """No message is taken before the service is open."""
    put(range(1), takes_ms=0)

    worker = start(FAIL_OPENING="2")
    worker.wait_for("end 0")

    assert worker.notes()[:2] == ["open", "begin 0"]
    assert worker.stop() == 0


def test_a_worker_can_be_stopped_while_it_waits(start: Start, unused_port: int) -> None:
    """Nobody has to be killed for a database that does not come; meanwhile the health port says what is wrong."""
    worker = start(FAIL_OPENING="1000", RECOUP_WORKER_METRICS_PORT=str(unused_port))
    wait_for_port(unused_port)

    live = get(unused_port, "/health/live")

    assert live[0] == 200
    assert get(unused_port, "/health/ready")[0] == 503
    assert worker.stop() == 0
    assert worker.notes() == []


def test_a_worker_tells_its_health(start: Start, unused_port: int) -> None:
    """Ready once it consumes; metrics on the same port."""
    worker = start(RECOUP_WORKER_METRICS_PORT=str(unused_port))
    worker.wait_for("open")
    wait_until(lambda: get(unused_port, "/health/ready")[0] == 200)

    assert json.loads(get(unused_port, "/health/ready")[1])["checks"] == {"database": "ok", "broker": "ok"}
    assert "process_cpu_seconds_total" in get(unused_port, "/metrics")[1]
    assert worker.stop() == 0


def test_a_scheduler_process_sweeps_and_stops(start: Start, unused_port: int) -> None:
    """SIGTERM ends it in good order."""
    scheduler = start("scheduler", RECOUP_SCHEDULER_METRICS_PORT=str(unused_port), FAIL_OPENING="1")
    scheduler.wait_for("sweep")
    wait_until(lambda: get(unused_port, "/health/ready")[0] == 200)

    code = scheduler.stop()

    assert code == 0
    assert scheduler.notes() == ["open", "sweep", "close"]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_port(port: int) -> None:
    def answers() -> bool:
        try:
            return get(port, "/health/live")[0] == 200
        except OSError:
            return False

    wait_until(answers)
