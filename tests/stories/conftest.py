"""Installations for whole stories: the API, a scheduler and a worker, each a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stories.client import ApiClient
from tests.stories.installation import Installation
from tests.stories.traps_shop import DECIDED, RefundShop, open_refund_shop, policy


class Running(msgspec.Struct, frozen=True):
    """An installation at work and a client of it."""

    house: Installation
    api: ApiClient
    base: str


Run = Callable[..., Awaitable[Running]]


@pytest.fixture
async def run_installation(tmp_path: Path, database_url: str, amqp_url: str, queue_prefix: str) -> AsyncIterator[Run]:
    """Start everything with the given gateways, and policies beside the story's; it is reaped when the test ends."""
    running: list[Running] = []

    async def run(gateways: str, *policies: str) -> Running:
        house = Installation(tmp_path / "house", database_url, amqp_url, queue_prefix, gateways)
        for number, text in enumerate(policies):
            (house.folder / "policies" / f"more-{number}.yaml").write_text(text)
        started = asyncio.to_thread(house.start, "worker", "scheduler")
        try:
            base, _, key = await asyncio.gather(
                asyncio.to_thread(house.start_api), started, asyncio.to_thread(house.make_key, "agent", "viewer")
            )
        except BaseException:
            house.reap()
            raise
        running.append(Running(house, ApiClient(base, key), base))
        return running[-1]

    yield run
    for each in running:
        await each.api.close()
        each.house.reap()
        await asyncio.to_thread(each.house.delete_queues)


@pytest.fixture
async def refund_shop_under(database_url: str, clock: Any) -> AsyncIterator[Callable[[str], Awaitable[RefundShop]]]:
    """Opens a shop in this process under a refund policy of the test's own."""
    async with AsyncExitStack() as opened:

        async def under(text: str) -> RefundShop:
            return await opened.enter_async_context(open_refund_shop(database_url, clock, text))

        yield under


@pytest.fixture
async def refund_shop(refund_shop_under: Callable[[str], Awaitable[RefundShop]]) -> RefundShop:
    """A shop whose policy approves every refund at once, as long as there is no dispute."""
    return await refund_shop_under(policy(DECIDED))
