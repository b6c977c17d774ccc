"""Work on a stream a few pieces ahead: order is kept, and never more than a few pieces are in memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

AHEAD: Final = 4
"""Pieces under way at once: two processes stay busy while the next pieces are read."""

T = TypeVar("T")
R = TypeVar("R")


async def mapped(source: AsyncIterator[T], work: Callable[[T], Awaitable[R]], ahead: int = AHEAD) -> AsyncIterator[R]:
    """Yield `work(piece)` for each piece, in order; what is under way when the reader leaves is cancelled."""
    under_way: deque[asyncio.Future[R]] = deque()
    try:
        async for piece in source:
            under_way.append(asyncio.ensure_future(work(piece)))
            if len(under_way) >= ahead:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for each in under_way:
            each.cancel()
