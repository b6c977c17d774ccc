"""Settings, plugins and policies become one `Service` per process; nothing is opened before `open`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import structlog

from recoup_core.flows.context import Context, Measures
from recoup_core.flows.jobs import run_jobs
from recoup_core.flows.recorder import Recorder
from recoup_core.flows.sweep import FIRST, sweep
from recoup_core.ports import Clock, Gateway, SystemClock
from recoup_core.rules.book import PolicyBook
from recoup_core.settings import Settings
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database, DatabaseUnavailable
from recoup_core.storage.jobs import JobQueue
from recoup_core.storage.lookups import PolicyText, keep_policy_texts
from recoup_core.storage.merchants import ensure_merchants
from recoup_core.storage.tables import bind_tables

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
        self.context = Context(database, book, gateways, merchants, self.clock, measures)
        self.jobs = JobQueue(database)
        self._recorder: Recorder | None = None
        self._swept_to = FIRST

    async def open(self) -> Self:
        """Connect, make sure that the merchants of the gateways exist and that today's policies are kept for good."""
        await self.database.open()
        bind_tables(self.database.engine)
        now = self.clock.now()
        self._recorder = Recorder(self.context)
        names = {"default", *self.context.gateway_merchants.values()}
        await ensure_merchants(self.database, names, self.settings.merchant.acquirer_country, now)
        await keep_policy_texts(
            self.database,
            [
                PolicyText(
                    digest=compiled.digest,
                    kind=compiled.policy.kind,
                    name=compiled.policy.name,
                    source=compiled.policy.source,
                    body=compiled.policy.text,
                    first_used_at=now,
                )
                for compiled in self.context.book.policies
            ],
        )
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
        """One round of what keeps anything from being stuck."""
        self._swept_to = await sweep(self.context, self.jobs, now, self._swept_to)


def shipped_policies() -> Path:
    """Return where the policies that come with Recoup are: in the wheel, or in a checkout beside the rooms."""
    packaged = Path(__file__).parent / "policies"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "policies"
