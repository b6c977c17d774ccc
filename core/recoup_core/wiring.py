"""Settings, plugins and policies become one `Service` per process; nothing is opened before `open`."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, time, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Self

import msgspec
import structlog

from recoup_core.flows.context import Context, GatewayRules, Measures
from recoup_core.flows.deploy import apply_files
from recoup_core.flows.experiments import watch
from recoup_core.flows.following import follow
from recoup_core.flows.jobs import run_jobs
from recoup_core.flows.links import Links
from recoup_core.flows.messaging import Messaging, Route, StaffReader
from recoup_core.flows.recorder import Recorder
from recoup_core.flows.registry import PolicyRegistry
from recoup_core.flows.shadow import follow_shadows
from recoup_core.flows.staff.anomalies import look_for_anomalies
from recoup_core.flows.staff.digest import tell_the_day
from recoup_core.flows.sweep import FIRST, sweep
from recoup_core.ports import Clock, Gateway, Notifier, SystemClock
from recoup_core.rules.deciding.contact import ContactRules
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.settings_people import ContactSettings, StaffEntry
from recoup_core.signing import SigningKeys
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database, DatabaseUnavailable
from recoup_core.storage.jobs import JobQueue
from recoup_core.storage.keys import installation_key
from recoup_core.storage.listening import Alarm, listening
from recoup_core.storage.merchants import ensure_merchants
from recoup_core.storage.tables import bind_tables
from recoup_core.templates.checking import load_templates
from recoup_core.templates.variables import Brand
from recoup_core.web.calling import Caller
from recoup_core.web.urls import reach_of

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
        notifiers: Mapping[str, Notifier] | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.clock = clock or SystemClock()
        merchants = {entry.name: entry.merchant for entry in settings.gateways}
        self.folder = book
        """The policies of the folder; what is in force stands in the database (`context.policies`)."""
        registry = PolicyRegistry(database, book.texts)
        rules = {entry.name: rules_of(entry) for entry in settings.gateways}
        self.context = Context(
            database,
            registry,
            gateways,
            merchants,
            self.clock,
            measures,
            rules,
            messaging=messaging_of(settings, notifiers or {}),
            webhooks=caller_of(settings),
        )
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
        await load_key(self.settings, self.database, self.context.messaging)
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
        await tell_the_day(self.context, now)
        if self._watched_at is None or now - self._watched_at >= WATCH_EVERY:
            self._watched_at = now
            await watch(self.context)
            await look_for_anomalies(self.context, now)

    async def follow(self, now: datetime) -> bool:
        """Let the followers take what events are new; return whether it is worth calling again at once."""
        return await follow(self.context, now)

    def listening(self, alarm: Alarm) -> AbstractAsyncContextManager[None]:
        """Ring the alarm, while the block runs, when something has happened, in whatever process."""
        return listening(self.database, alarm)


def rules_of(entry: GatewayEntry) -> GatewayRules:
    """Return what the settings say about a gateway, as flows know it."""
    return GatewayRules(
        retries_by=entry.retries_by,
        opens_cases=entry.opens_cases,
        finds_backups=entry.finds_backups,
        settles_within=timedelta(days=entry.settles_within_days),
        settles_others=entry.settles_others,
        exceptions_to=entry.exceptions_to,
    )


def messaging_of(settings: Settings, notifiers: Mapping[str, Notifier]) -> Messaging:
    """Return how people are reached, as the settings say."""
    keys = SigningKeys()
    routes = [
        Route(
            notifier=entry.name,
            merchant=entry.merchant,
            channels=notifiers[entry.name].capabilities.channels & frozenset(entry.channels)
            if entry.channels
            else notifiers[entry.name].capabilities.channels,
            customers=entry.customers,
        )
        for entry in settings.notifiers
        if entry.name in notifiers
    ]
    return Messaging(
        notifiers=notifiers,
        routes=routes,
        staff=[_reader(entry) for entry in settings.staff],
        brands={entry.merchant: msgspec.convert(entry, Brand, from_attributes=True) for entry in settings.brands},
        contact=_contact(settings.contact),
        templates=load_templates(shipped_templates(), settings.messages.dir, settings.messages.locale),
        links=Links(public_url(settings), keys),
        link_lifetime=timedelta(days=settings.messages.link_days),
        locale=settings.messages.locale,
        keys=keys,
    )


def caller_of(settings: Settings) -> Caller:
    """Return what posts to the endpoints of outbound webhooks, within the reach that the settings give it."""
    allowed = [ip_network(network) for network in settings.webhooks.allow]
    return Caller(reach_of(allowed, settings.webhooks.ports, development=settings.environment == "development"))


async def load_key(settings: Settings, database: Database, messaging: Messaging) -> None:
    """Give the links their key: the settings', or the one that was made once and stands in the database."""
    configured = settings.secrets.key
    messaging.keys.load(configured.reveal().encode() if configured else await installation_key(database))


def public_url(settings: Settings) -> str:
    """Return how the outside reaches this installation."""
    return settings.api.public_url or f"http://{settings.api.host}:{settings.api.port}"


def _reader(entry: StaffEntry) -> StaffReader:
    return StaffReader(
        name=entry.name,
        merchant=entry.merchant,
        notifier=entry.notifier,
        channel=entry.channel,
        to=entry.to,
        about=frozenset(entry.about),
        locale=entry.locale,
        timezone=entry.timezone,
    )


def _contact(settings: ContactSettings) -> ContactRules:
    quiet = (time.fromisoformat(settings.quiet_from), time.fromisoformat(settings.quiet_to))
    return ContactRules(
        per_week=settings.per_week,
        min_gap=timedelta(hours=settings.min_gap_h),
        quiet=None if quiet[0] == quiet[1] else quiet,
        sundays=settings.sundays,
        holidays=settings.holidays,
        vulnerable_per_week=settings.vulnerable_per_week,
        reset_on_recovery=settings.reset_on_recovery,
    )


def shipped_templates() -> Path:
    """Return where the templates that come with Recoup are."""
    return shipped_policies() / "templates"


def shipped_policies() -> Path:
    """Return where the policies that come with Recoup are: in the wheel, or in a checkout beside the rooms."""
    packaged = Path(__file__).parent / "policies"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "policies"
