"""Workers, schedulers, the API and the broker fail at random while every kind of answer and webhook comes in.

What strikes when follows from a seed (RECOUP_TEST_CHAOS_SEED for another one); how it falls upon the work is up to the
machine.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from tests.chaos.conftest import Chaos, MakeChaos
from tests.chaos.proxy import Proxy
from tests.stories.installation import SANDBOX, SECRET

from recoup_plugins.gateways.sandbox_webhooks import SandboxPostman

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

SEED = int(os.environ.get("RECOUP_TEST_CHAOS_SEED", "20261123"))
COPIES = 25
STRIKES_MAX = 10
STRIKES_MIN = 4
"""Fewer would mean that the work was done before it was struck at."""
EVERY_S = 0.7
WITHIN_S = 45.0
LOAD = (
    "tok_approve",
    "tok_approve+duplicate_webhook+shuffled_webhooks",
    "tok_insufficient_funds|processing_error|approve",
    "tok_insufficient_funds+shuffled_webhooks|lose*2+approve+duplicate_webhook",
    "tok_stolen_card",
    "tok_lose+stolen_card",
    "tok_lose_before*2+approve",
    "tok_error500*3+insufficient_funds|delay:1s+approve",
    "tok_unreachable*2+approve",
    "tok_busy+insufficient_funds|unreachable+approve",
    "tok_delay:2s+approve|approve",
    "tok_pending:1s+approve+shuffled_webhooks",
    "tok_pending:2s+insufficient_funds+duplicate_webhook|pending+approve+late_webhook:3s",
    "tok_lose+pending:1s+approve",
    "tok_lose+approve+late_webhook:2s",
)


class Monkey:
    """Strikes at an installation; what it ends it starts again."""

    def __init__(self, chaos: Chaos, proxy: Proxy, seed: int) -> None:
        self._house, self._proxy = chaos.house, proxy
        self._random = random.Random(seed)

    async def strike(self) -> None:
        """Do one of the bad things."""
        blows = (self._kill_worker, self._kill_worker, self._kill_scheduler, self._cut_broker, self._end_leases)
        await self._random.choice(blows)()

    async def _kill_worker(self) -> None:
        self._kill("worker")

    async def _kill_scheduler(self) -> None:
        self._kill("scheduler")

    def _kill(self, role: str) -> None:
        running = [each for each in self._house.processes if each.role == role and each.process.poll() is None]
        self._random.choice(running).kill()
        self._house.launch(role)

    async def _cut_broker(self) -> None:
        await self._proxy.cut()
        await asyncio.sleep(EVERY_S)
        await self._proxy.listen()

    async def _end_leases(self) -> None:
        await self._house.end_leases()


async def test_whatever_fails_nobody_pays_twice_and_no_debt_is_lost(
    database_url: str, proxy: Proxy, make_chaos: MakeChaos
) -> None:
    """All promises about money at once, with every answer that a gateway can give."""
    chaos = make_chaos(database_url, proxy.url)
    await chaos.seed(*LOAD)
    await chaos.multiply(COPIES - 1)
    base = await asyncio.to_thread(chaos.house.start_api)
    await asyncio.to_thread(chaos.house.start, "worker", "worker", "scheduler", "scheduler")
    monkey = Monkey(chaos, proxy, SEED)

    async with _postman(chaos, base):
        strikes = 0
        while strikes < STRIKES_MAX and await chaos.open_cases():
            await monkey.strike()
            strikes += 1
            await chaos.house.hurry()
            await asyncio.sleep(EVERY_S)
        await chaos.until_ended(WITHIN_S)

    assert strikes >= STRIKES_MIN
    await chaos.all_is_well()
    await asyncio.to_thread(chaos.house.delete_queues)


@asynccontextmanager
async def _postman(chaos: Chaos, base: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    url = f"{base}/api/billing/refund-retry-workflows/webhooks/{SANDBOX}"
    async with httpx.AsyncClient() as client:
        running = asyncio.create_task(SandboxPostman(chaos.house.bank, url, SECRET, client=client).run(stop))
        yield
        stop.set()
        await running
