"""RabbitMQ goes away under load and comes back: the database is the truth, so nothing is lost with the messages."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pika
import pika.exceptions
import pytest
from tests.chaos.conftest import Chaos, MakeChaos
from tests.chaos.proxy import Proxy
from tests.stories.client import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

COPIES = 400
LOAD = ("tok_approve", "tok_insufficient_funds|approve", "tok_lose+approve", "tok_stolen_card")
SOME = 100
OUTAGE_S = 2.0
WITHIN_S = 40.0
NODE_START_S = 60.0


async def test_a_broker_out_of_reach_under_load_loses_nothing(
    database_url: str, proxy: Proxy, make_chaos: MakeChaos
) -> None:
    """Every connection is reset in the midst of work, and new ones are refused for a while."""
    chaos = make_chaos(database_url, proxy.url)
    await _work_begins(chaos)

    await proxy.cut()
    await asyncio.sleep(OUTAGE_S)
    before = await chaos.open_cases()
    await proxy.listen()
    await chaos.until_ended(WITHIN_S)

    assert before > 0
    await chaos.all_is_well()
    await asyncio.to_thread(chaos.house.delete_queues)


async def test_a_broker_that_is_killed_and_started_again_loses_nothing(
    database_url: str, private_rabbit: "PrivateRabbit", make_chaos: MakeChaos
) -> None:
    """A node of the test's own dies with all it holds in memory; queues and unconfirmed messages with it."""
    await asyncio.to_thread(private_rabbit.start)
    chaos = make_chaos(database_url, private_rabbit.url)
    await _queues_on_disk(chaos, private_rabbit)
    await _work_begins(chaos)

    await asyncio.to_thread(private_rabbit.kill)
    before = await chaos.open_cases()
    await asyncio.to_thread(private_rabbit.start)
    await chaos.until_ended(WITHIN_S)

    assert before > 0
    await chaos.all_is_well()


async def _queues_on_disk(chaos: Chaos, node: "PrivateRabbit") -> None:
    """Have the queues declared and the node stopped and started in order.

    RabbitMQ 3.10 keeps the list of its quorum queues in memory for up to three minutes: killed sooner after a queue was
    declared, it comes back with a queue that exists and answers nobody, until somebody deletes it.
    """
    for process in await asyncio.to_thread(chaos.house.start, "worker", "scheduler"):
        assert await asyncio.to_thread(process.stop) == 0
    await asyncio.to_thread(node.stop)
    await asyncio.to_thread(node.start)


async def _work_begins(chaos: Chaos) -> None:
    await chaos.seed(*LOAD)
    await chaos.multiply(COPIES - 1)
    await asyncio.to_thread(chaos.house.start, "worker", "worker", "scheduler")

    async def some() -> bool:
        return await chaos.ended() >= SOME

    await eventually(some, f"{SOME} cases to end", pause_s=0.02)


class PrivateRabbit:
    """A RabbitMQ node on a port and in a folder of its own, run by Debian's inner script without a service."""

    def __init__(self, script: Path, folder: Path) -> None:
        self._script, self._folder = script, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/%2F"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the node and wait until it takes connections."""
        self._folder.mkdir(exist_ok=True)
        config = self._folder / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.local = 127.0.0.1:{self._port}\n")
        (self._folder / "enabled_plugins").write_text("[].\n")
        folders = {"HOME": "", "RABBITMQ_MNESIA_BASE": "mnesia", "RABBITMQ_LOG_BASE": "log"}
        self._process = subprocess.Popen(
            [self._script],
            stdin=subprocess.DEVNULL,
            stdout=(self._folder / "out.log").open("ab"),
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            start_new_session=True,
            env={
                "PATH": os.environ["PATH"],
                **{name: str(self._folder / below) for name, below in folders.items()},
                "RABBITMQ_NODENAME": f"recoup{self._port}@localhost",
                "RABBITMQ_CONFIG_FILE": str(config),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
                "RABBITMQ_DIST_PORT": str(self._port + 1 if self._port < 65535 else self._port - 1),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
            },
        )
        deadline = time.monotonic() + NODE_START_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "out.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the private RabbitMQ did not start"
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the node in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(NODE_START_S)

    def kill(self) -> None:
        """Kill -9 the node and what it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        try:
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True


@pytest.fixture
def private_rabbit(tmp_path: Path, leave_out: Callable[[str, str], NoReturn]) -> Iterator[PrivateRabbit]:
    """A node that may be killed: the run's own broker is shared and never touched."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if not found or shutil.which("erl") is None:
        leave_out("RabbitMQ's own programs", "apt-get install rabbitmq-server")
    node = PrivateRabbit(found[-1], tmp_path / "rabbit")
    yield node
    node.kill()
