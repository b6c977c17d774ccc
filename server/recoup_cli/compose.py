"""The composition root: settings, plugins and policies become one `Service`. Nothing connects before `Service.open`."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from recoup_cli.refusals import Refused
from recoup_core.ports import Clock, Gateway, Notifier
from recoup_core.rules.engine.ruleset import engine_unavailable_reason
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import Settings
from recoup_core.settings_people import NotifierEntry
from recoup_core.storage.engine import Database
from recoup_core.storage.migrate import pending
from recoup_core.telemetry import Metrics, get_logger, metrics
from recoup_core.wiring import Service, shipped_policies
from recoup_plugins.manager import PluginManager, load_plugins
from recoup_plugins.settings import GatewaySettings, NotifierSettings

SANDBOX = "sandbox"
"""The plugin that takes a clock as an option, so that a demo's bank lives in the demo's time."""

log = get_logger(__name__)


def release() -> str:
    """Return the version of the installed distribution."""
    return version("recoup")


def policy_folder(settings: Settings) -> Path:
    """Return where this installation's policies are."""
    return settings.policies.dir or shipped_policies()


def loaded_plugins() -> PluginManager:
    """Load what is installed; a plugin that can't be loaded is only logged."""
    plugins = load_plugins()
    for problem in plugins.problems:
        log.warning("a plugin is disabled", plugin=problem.plugin, because=problem.broke)
    for doubt in plugins.warnings:
        log.warning("a plugin should be renewed", plugin=doubt.plugin, because=doubt.broke)
    return plugins


def build_gateways(settings: Settings, clock: Clock | None, plugins: PluginManager) -> Mapping[str, Gateway]:
    """Build the configured gateways. Raises `PluginMisconfigured` and `GatewayBroken`."""
    entries = [
        GatewaySettings(
            name=entry.name,
            plugin=entry.plugin,
            merchant=entry.merchant,
            retries_by=entry.retries_by,
            options=entry.plain_options() | ({"clock": clock} if clock and entry.plugin == SANDBOX else {}),
        )
        for entry in settings.gateways
    ]
    return plugins.build_gateways(entries)


def build_notifiers(settings: Settings, plugins: PluginManager) -> Mapping[str, Notifier]:
    """Build the configured notifiers. Raises `PluginMisconfigured`, `NotifierBroken`, and `Refused` for a channel."""
    entries = settings.notifiers
    notifiers = plugins.build_notifiers([notifier_settings(entry) for entry in entries])
    for entry in entries:
        able = notifiers[entry.name].capabilities.channels
        if missing := sorted(set(entry.channels) - able):
            raise Refused(
                f"the notifier {entry.name} has no channel {', '.join(missing)}",
                f"it serves {', '.join(sorted(able))}",
            )
    return notifiers


def notifier_settings(entry: NotifierEntry) -> NotifierSettings:
    """Return one notifier of the settings as its plugin gets it."""
    return NotifierSettings(
        name=entry.name, plugin=entry.plugin, merchant=entry.merchant, options=entry.plain_options()
    )


def build_service(settings: Settings, *, clock: Clock | None = None) -> Service:
    """Wire everything; `clock` is for the demo. Raises `PolicyInvalid`, `PluginMisconfigured` and `Refused`."""
    book = PolicyBook.load(policy_folder(settings))
    for warning in book.warnings:
        log.warning(
            "a policy is doubtful", finding=warning.code, at=f"{warning.file}:{warning.line}", told=str(warning)
        )
    if settings.api.public_url is None and any(entry.customers for entry in settings.notifiers):
        log.warning("links in messages lead to this machine alone", because="api.public_url is not set")
    if (reason := engine_unavailable_reason()) is not None:
        log.warning("durable_rules can't be had; the plain evaluator decides", because=reason)
    database = Database(
        database_url(settings), pool_min=settings.database.pool_min, pool_max=settings.database.pool_max
    )
    plugins = loaded_plugins()
    gateways, notifiers = build_gateways(settings, clock, plugins), build_notifiers(settings, plugins)
    return Service(settings, database, gateways, book, _watched(book), clock, notifiers)


def _watched(book: PolicyBook) -> Metrics:
    """Return the process's metrics, which from now on also tell how often the rules engine had to be stood in for."""
    found = metrics()
    found.engine_fallbacks.set_function(lambda: float(book.texts.fallbacks))
    return found


def database_url(settings: Settings) -> str:
    """Return the configured URL; `Refused` where there is none."""
    if settings.database.url is None:
        raise Refused(
            "no database is configured",
            "set RECOUP_DATABASE_URL (postgresql://user:password@host/name), or run everything in one process with"
            " `recoup up`",
        )
    return settings.database.url.reveal()


async def refuse_pending(settings: Settings) -> None:
    """Raise `Refused` while the database lacks migrations: an old schema under new code must not serve."""
    missing = await pending(database_url(settings))
    if missing:
        raise Refused(
            f"the database lacks {len(missing)} migration{'s' if len(missing) > 1 else ''} ({', '.join(missing)})",
            "run `recoup migrate` first",
        )
