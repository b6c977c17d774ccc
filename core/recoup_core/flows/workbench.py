"""Where policy authors' questions are worked on: beside the event loop, and never in the way of a decision.

Checking, comparing and trying texts takes seconds of a core. A few questions are worked on at once, a few wait, and
the rest are refused at once: a queue without end would only hold answers that nobody waits for any more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from recoup_core.domain.errors import DomainError

AT_ONCE: Final = 2
"""Questions worked on; each takes a core for a while, and Python's threads share one."""

WAITING: Final = 8
"""Questions that wait; with each taking seconds, a longer queue outlasts its clients."""

T = TypeVar("T")


class WorkbenchBusy(DomainError):
    """So many questions about policies wait already; nothing was done."""

    code = "workbench_busy"

    def __init__(self) -> None:
        super().__init__("too many texts of policies are being checked, compared or tried; try again in a moment")


class Workbench:
    """The places of one process; lives on one event loop."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._inside = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for one question, however many threads it takes one after the other; raises `WorkbenchBusy`."""
        if self._inside >= self._most:
            raise WorkbenchBusy
        self._inside += 1
        try:
            async with self._free:
                yield
        finally:
            self._inside -= 1

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Work on one question in a thread; raises `WorkbenchBusy`."""
        async with self.place():
            return await asyncio.to_thread(work, *arguments)
