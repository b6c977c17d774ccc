"""Work spread over the cores of this machine: chunks go to processes of their own, answers come back in order."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context
from typing import Any, Final, Generic, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")

MAX_PROCESSES: Final = 8
"""More only wait for the one process that reads."""

MANY: Final = 5_000
"""Rows from which on the start of processes (about a second) pays."""

_work: Callable[[Any], Any] | None = None
"""What this process was started for; made once in each."""


class Crew(Generic[T, R]):
    """Runs `make()(chunk)`: in other processes, or in a thread of this one where there is little to do."""

    def __init__(self, make: Callable[[], Callable[[T], R]], pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool
        self._here = None if pool else make()

    async def __call__(self, chunk: T) -> R:
        """Work on one chunk; what it raises is raised here."""
        if self._here is not None:
            return await asyncio.to_thread(self._here, chunk)
        done = await asyncio.get_running_loop().run_in_executor(self._pool, _run, chunk)
        return cast("R", done)


@asynccontextmanager
async def crew(make: Callable[[], Callable[[T], R]], count: int | None) -> AsyncIterator[Crew[T, R]]:
    """Give a crew for about `count` rows (None: very many); `make` travels to other processes, so it is importable."""
    processes = min(os.cpu_count() or 1, MAX_PROCESSES)
    if processes == 1 or (count is not None and count < MANY):
        yield Crew(make, None)
        return
    # spawned, not forked: this process has threads and connections that must not be copied half-way
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_start, initargs=(make,))
    try:
        yield Crew(make, pool)
    finally:
        await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)


def _start(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _work  # noqa: PLW0603 - one per process, set before its first chunk
    _work = make()


def _run(chunk: Any) -> Any:
    assert _work is not None  # the pool's initializer ran
    return _work(chunk)
