"""Builds configured notifiers, and refuses those that do not keep the contract before anything is sent by them."""

import inspect
import re
from typing import ClassVar, Final

from recoup_core.domain.errors import DomainError
from recoup_core.domain.redact import redact
from recoup_core.ports import Notifier, NotifierCapabilities
from recoup_plugins.apart import PluginFailed, PluginHung, run_apart
from recoup_plugins.hosting_answers import CHECKS
from recoup_plugins.hosting_notifiers import HostedNotifier
from recoup_plugins.limits import Limits
from recoup_plugins.settings import NotifierFactory, NotifierSettings, PluginMisconfigured

CHANNEL: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""How policies write a channel."""


class NotifierBroken(DomainError):
    """A notifier object does not keep the contract of `recoup_plugins.Notifier`."""

    code: ClassVar[str] = "notifier_broken"

    def __init__(self, plugin: str, notifier: str, broke: str) -> None:
        super().__init__(f"the notifier {notifier} of the plugin {plugin} breaks its contract: {broke}")
        self.plugin, self.notifier, self.broke = plugin, notifier, broke


def build_notifier(
    plugin: str, factory: NotifierFactory, settings: NotifierSettings, limits: Limits, *, built_in: bool
) -> Notifier:
    """Build one notifier; foreign ones within their limit of time, and kept apart from then on.

    Raises `PluginMisconfigured` and `NotifierBroken`.
    """
    if not built_in:
        return _build_apart(plugin, factory, settings, limits)
    notifier = factory(settings)
    broke = broken_notifier(notifier, settings)
    if broke is not None:
        raise NotifierBroken(plugin, settings.name, broke)
    return notifier


def _build_apart(plugin: str, factory: NotifierFactory, settings: NotifierSettings, limits: Limits) -> HostedNotifier:
    def work() -> HostedNotifier | PluginMisconfigured | str:
        try:
            notifier = factory(settings)
        except PluginMisconfigured as wrong:
            return PluginMisconfigured(settings.plugin, redact(str(wrong.field)), redact(str(wrong.message)))
        broke = broken_notifier(notifier, settings)
        if broke is not None:
            return redact(broke)
        can = CHECKS["notifier_capabilities"](notifier.capabilities)
        return HostedNotifier(plugin, settings.name, can, notifier, limits)

    try:
        built = run_apart(work, limits.build_s, f"plugin-{plugin}-build")
    except (PluginFailed, PluginHung) as broken:
        raise NotifierBroken(plugin, settings.name, f"it can't be built: {broken}") from None
    if isinstance(built, PluginMisconfigured):
        raise built
    if isinstance(built, str):
        raise NotifierBroken(plugin, settings.name, built)
    return built


def broken_notifier(notifier: object, settings: NotifierSettings) -> str | None:
    """Return what a notifier object misses of the contract, or None; what can only be seen in use is the guard's."""
    if getattr(notifier, "name", None) != settings.name:
        return f"its name must be the settings' {settings.name!r}, it is {getattr(notifier, 'name', None)!r}"
    can = getattr(notifier, "capabilities", None)
    if not isinstance(can, NotifierCapabilities):
        return "it has no `capabilities` of type NotifierCapabilities"
    if not can.channels:
        return "its capabilities name no channel"
    wrong = next((channel for channel in can.channels if not CHANNEL.fullmatch(channel)), None)
    if wrong is not None:
        return f"its channel {wrong!r} can't be written in a policy (small letters, digits and underscores)"
    for method in ("send", "health"):
        if not inspect.iscoroutinefunction(getattr(notifier, method, None)):
            return f"`{method}` must be an `async def` method"
    parse = getattr(notifier, "parse_feedback", None)
    if can.feedback and (not callable(parse) or inspect.iscoroutinefunction(parse)):
        return "`parse_feedback` must be a plain method"
    return None
