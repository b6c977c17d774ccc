"""`python -m tests.core.flows.policies.starting URL COUNT TEXT...`: real processes that start at the same moment.

Piccolo's tables know one engine per process, so services side by side in one process would share connections that
processes don't, and could wait for themselves.
"""

import asyncio
import multiprocessing
import sys
from multiprocessing.synchronize import Barrier

from tests.core.flows.policies.conftest import Installation

from recoup_core.ports.clock import SystemClock


def open_one(url: str, texts: list[str], together: Barrier) -> None:
    """Start a process when all are ready, and end it."""
    together.wait(timeout=60)
    asyncio.run(_open_one(url, texts))


async def _open_one(url: str, texts: list[str]) -> None:
    installation = Installation(url, SystemClock())
    try:
        await installation.start(*texts)
    finally:
        await installation.stop()


def main(url: str, count: int, texts: list[str]) -> int:
    """Start them all; return how many failed."""
    forks = multiprocessing.get_context("fork")  # this process has no threads, and imported everything once
    together = forks.Barrier(count)
    processes = [forks.Process(target=open_one, args=(url, texts, together)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
