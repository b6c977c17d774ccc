"""Settings, plugins and policies become one `Service` per process; nothing is opened before `open`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

import structlog

from recoup_core.flows.context import Context, Measures
from recoup_core.flows.deploy import apply_files
from recoup_core.flows.experiments import watch
from recoup_core.flows.jobs import run_jobs
from recoup_core.flows.recorder import Recorder
from recoup_core.flows.registry import PolicyRegistry
from recoup_core.flows.shadow import follow_shadows
from recoup_core.flows.sweep import FIRST, sweep
from recoup_core.ports import Clock, Gateway, SystemClock
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import Settings
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database, DatabaseUnavailable
from recoup_core.storage.jobs import JobQueue
from recoup_core.storage.merchants import ensure_merchants
from recoup_core.storage.tables import bind_tables

WATCH_EVERY: Final = timedelta(hours=1)
"""How often the stop rule of experiments is asked: their cases take days to mature."""

log = structlog.get_logger(__name__)


class Service:
    """Everything a process works with. `open` and `close` belong to one event loop."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        gateways: Mapping[str, Gateway],
        book: PolicyBook,
        measures: Measures,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.clock = clock or SystemClock()
        merchants = {entry.name: entry.merchant for entry in settings.gateways}
        self.folder = book
        """The policies of the folder; what is in force stands in the database (`context.policies`)."""
        registry = PolicyRegistry(database, book.texts)
        self.context = Context(database, registry, gateways, merchants, self.clock, measures)
        self.jobs = JobQueue(database)
        self._recorder: Recorder | None = None
        self._swept_to = FIRST
        self._watched_at: datetime | None = None

    async def open(self) -> Self:
        """Connect, make sure that the merchants of the gateways exist, and put changed files of policies in force.

        Raises `PolicyInvalid` where a changed file would be ambiguous beside what was put in force by other ways.
        """
        await self.database.open()
        bind_tables(self.database.engine)
        now = self.clock.now()
        self._recorder = Recorder(self.context)
        names = {"default", *self.context.gateway_merchants.values()}
        merchant = self.settings.merchant
        await ensure_merchants(self.database, names, merchant.acquirer_country, now, timezone=merchant.timezone)
        await apply_files(self.context, self.folder)
        return self

    async def close(self) -> None:
        """Give the connections back."""
        await self.database.close()

    async def run_jobs(self, refs: Sequence[JobRef]) -> None:
        """Run the jobs that are still held by their claim; a bad one never fails its neighbours, and nothing raises."""
        assert self._recorder is not None  # open() came first
        lease = timedelta(seconds=self.settings.worker.lease_s)
        try:
            held = await self.jobs.renew(refs, self.clock.now(), lease)
        except DatabaseUnavailable as away:
            log.warning("jobs_wait_for_the_database", jobs=len(refs), error=str(away))
            return
        for stale in set(refs) - set(held):
            self.context.measures.job_run(stale.kind, "stale")
        await run_jobs(self.context, self._recorder, held)

    async def sweep(self, now: datetime) -> None:
        """One round of what keeps anything from being stuck; shadows catch up, experiments are looked at."""
        self._swept_to = await sweep(self.context, self.jobs, now, self._swept_to)
        await follow_shadows(self.context, now)
        if self._watched_at is None or now - self._watched_at >= WATCH_EVERY:
            self._watched_at = now
            await watch(self.context)


def shipped_policies() -> Path:
    """Return where the policies that come with Recoup are: in the wheel, or in a checkout beside the rooms."""
    packaged = Path(__file__).parent / "policies"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "policies"
