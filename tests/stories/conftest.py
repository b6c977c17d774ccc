"""Installations for whole stories: the API, a scheduler and a worker, each a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.stories.client import ApiClient
from tests.stories.installation import Installation


class Running(msgspec.Struct, frozen=True):
    """An installation at work and a client of it."""

    house: Installation
    api: ApiClient
    base: str


Run = Callable[[str], Awaitable[Running]]


@pytest.fixture
async def run_installation(tmp_path: Path, database_url: str, amqp_url: str, queue_prefix: str) -> AsyncIterator[Run]:
    """Start everything with the given gateways; it is reaped when the test ends."""
    running: list[Running] = []

    async def run(gateways: str) -> Running:
        house = Installation(tmp_path / "house", database_url, amqp_url, queue_prefix, gateways)
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
