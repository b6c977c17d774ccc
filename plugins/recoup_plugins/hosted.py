"""What every foreign object lives behind: calls into it that are limited in time and number, and checked answers."""

from threading import BoundedSemaphore
from typing import Any, ClassVar, Never

from recoup_core.domain.redact import redact
from recoup_core.ports import FeedbackRefused, SettlementUnreadable, WebhookRefused
from recoup_core.telemetry import get_logger, metrics
from recoup_plugins.apart import PluginFailed, PluginHung, run_apart
from recoup_plugins.hosting_answers import CHECKS
from recoup_plugins.limits import LIMITS, Limits
from recoup_plugins.room import NeverBegan, Room

log = get_logger(__name__)


class PluginBusy(Exception):
    """A foreign object is stuck or has too many calls open; nothing was asked of it."""


class Hosted:
    """Keeps one foreign object on a thread and an event loop of its own."""

    WHAT: ClassVar[str]
    """What logs call it: `gateway`, `notifier`."""

    def __init__(self, plugin: str, name: str, guest: object, limits: Limits = LIMITS) -> None:
        self.plugin, self.name = plugin, name
        self._guest: Any = guest
        self._limits = limits
        self._room = Room(f"plugin-{plugin}-{name}", limits)
        self._places = BoundedSemaphore(limits.parsed_at_once)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(plugin={self.plugin!r}, name={self.name!r})"

    async def health(self) -> None:
        """Raise where the provider can't be reached."""
        await self._call("health", limit_s=self._limits.health_s)

    def close(self) -> None:
        """End its loop; calls that are still open never answer."""
        self._room.close()

    async def _call(self, call: str, *given: object, limit_s: float | None = None) -> Any:
        async def work() -> object:
            try:
                return CHECKS[call](await getattr(self._guest, call)(*given))
            except SettlementUnreadable as unreadable:
                return _unreadable(unreadable)

        try:
            return await self._room.run(work, limit_s or self._limits.call_s)
        except NeverBegan as never:
            self._faulty(call, "busy", str(never), PluginBusy(f"the plugin {self.plugin} {never}"))
        except PluginFailed as failed:
            self._faulty(call, "failed", str(failed), failed)
        except PluginHung as hung:
            self._faulty(call, "hung", str(hung), hung)

    def _plain(self, call: str, limit_s: float, *given: object) -> Any:
        """Return what a plain method answers; the contract's own refusals are returned, too, as plain copies."""

        def work() -> object:
            try:
                return CHECKS[call](getattr(self._guest, call)(*given))
            except WebhookRefused as refused:
                return WebhookRefused(redact(str(refused.reason)))
            except FeedbackRefused as refused:
                return FeedbackRefused(redact(str(refused.reason)))
            except SettlementUnreadable as unreadable:
                return _unreadable(unreadable)

        if not self._places.acquire(timeout=limit_s):
            self._faulty(
                call, "busy", "calls hang", PluginBusy(f"{self._limits.parsed_at_once} calls of {self.plugin} hang")
            )
        try:
            return run_apart(work, limit_s, f"plugin-{self.plugin}-{call}", self._places.release)
        except PluginFailed as failed:
            self._faulty(call, "failed", str(failed), failed)
        except PluginHung as hung:
            self._faulty(call, "hung", str(hung), hung)

    def _faulty(self, call: str, fault: str, because: str, failure: Exception) -> Never:
        """Count and log what a plugin did wrong, by its name, and raise the failure."""
        metrics().plugin_faults.labels(self.plugin, self.name, call, fault).inc()
        told = {self.WHAT: self.name, "call": call, "fault": fault, "because": because}
        log.warning("plugin_call_failed", plugin=self.plugin, **told)
        raise failure from None


def _unreadable(told: SettlementUnreadable) -> SettlementUnreadable:
    """Return a plain copy: what a plugin raises may be of a class of its own."""
    line = told.line if type(told.line) is int else None
    return SettlementUnreadable(redact(str(told.reason)), line)
