"""A merchant before each of the providers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.matrix.columns import PROVIDERS
from tests.matrix.shop import Shop


@pytest.fixture
async def shop_at(database_url: str, clock: Any) -> AsyncIterator[Callable[[str], Awaitable[Shop]]]:
    """`await shop_at("stripe")` opens a merchant before that provider."""
    async with AsyncExitStack() as stack:

        async def at(column: str) -> Shop:
            provider = PROVIDERS[column](clock)
            stack.callback(provider.close)
            shop = Shop(provider, database_url, clock)
            await shop.service.open()
            stack.push_async_callback(shop.service.close)
            return shop

        yield at
