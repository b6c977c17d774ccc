"""A worker or scheduler process for the tests: notes in a file what it does, job by job."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path

from recoup_core.ports import SystemClock
from recoup_core.settings import Settings, load_settings
from recoup_core.storage.listening import Alarm
from recoup_workers.contract import JobRef
from recoup_workers.scheduler import run_scheduler
from recoup_workers.worker import run_worker


class NoJobs:
    """An empty job table."""

    async def claim(self, now: datetime, limit: int, lease: timedelta) -> list[JobRef]:
        return []

    async def release(self, refs: Sequence[JobRef]) -> None:
        return

    async def next_due_at(self, now: datetime) -> datetime | None:
        return None


class FileService:
    """Writes `begin <id>` and `end <id>`; a job takes as many milliseconds as its correlation id says."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.jobs = NoJobs()
        self._notes = Path(os.environ["NOTES"])
        self._failures = int(os.environ.get("FAIL_OPENING", "0"))

    async def open(self) -> None:
        if self._failures:
            self._failures -= 1
            raise ConnectionError("not yet")
        self._note("open")

    async def close(self) -> None:
        self._note("close")

    async def run_jobs(self, refs: Sequence[JobRef]) -> None:
        for ref in refs:
            self._note(f"begin {ref.id}")
            await asyncio.sleep(int(ref.correlation_id or 0) / 1000)
            self._note(f"end {ref.id}")

    async def sweep(self, now: datetime) -> None:
        self._note("sweep")

    async def follow(self, now: datetime) -> bool:
        return False

    def listening(self, alarm: Alarm) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def _note(self, line: str) -> None:
        with self._notes.open("a") as notes:
            notes.write(line + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "scheduler":
        sys.exit(run_scheduler(FileService, load_settings()))
    sys.exit(run_worker(FileService, load_settings(), drain_s=float(os.environ.get("DRAIN_S", "20"))))
