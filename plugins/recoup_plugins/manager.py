"""Finds plugins, takes what they register, and builds the configured gateways and notifiers.

A plugin that can't be imported or registered, or that was written for another contract, is reported by name in
`problems` and disables only itself. Foreign plugins are loaded and built on threads of their own, within limits.
What does not keep the contract is refused when it is built, before any money could move or anything be sent.
"""

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Final, Protocol

import msgspec
import pluggy

from recoup_core.domain.errors import DomainError
from recoup_core.domain.payment import RetryOwner
from recoup_core.domain.redact import redact
from recoup_core.ports import Capabilities, Gateway, Notifier
from recoup_plugins import hookspecs
from recoup_plugins.apart import PluginFailed, PluginHung, run_apart, told
from recoup_plugins.contract import CONTRACT, Fit, fit_of
from recoup_plugins.hosting import HostedGateway
from recoup_plugins.hosting_answers import CHECKS
from recoup_plugins.limits import LIMITS, Limits
from recoup_plugins.notifier_building import build_notifier
from recoup_plugins.settings import (
    GatewayFactory,
    GatewaySettings,
    NotifierFactory,
    NotifierSettings,
    PluginMisconfigured,
)

ENTRY_POINT_GROUP: Final = "recoup.plugins"

BUILT_IN: Final = ("adyen", "sandbox", "stripe")
"""Modules of `recoup_plugins.gateways`; loaded first, so that nobody takes their kinds."""

BUILT_IN_NOTIFIERS: Final = ("apprise", "outbox", "smtp", "webhook")
"""The same of `recoup_plugins.notifiers`."""

HOOKS: Final = ("register_gateways", "register_notifiers")
"""A plugin implements one of them at the least."""

_ASYNC_METHODS: Final = ("charge", "find_charge", "health")
_ASYNC_IF: Final[Mapping[str, tuple[str, ...]]] = {
    "refunds": ("refund", "find_refund"),
    "cancels_refunds": ("cancel_refund",),
    "lists_credentials": ("list_credentials",),
    "update_links": ("update_link",),
    "lists_events": ("list_events",),
    "fetches_settlements": ("fetch_settlement",),
}
"""Per capability the methods it promises."""
_PLAIN_IF: Final[Mapping[str, tuple[str, ...]]] = {"reads_settlements": ("read_settlement",)}


class PluginProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a plugin is disabled."""

    plugin: str
    broke: str
    """What it broke, in words for its author."""


class GatewayBroken(DomainError):
    """A gateway object does not keep the contract of `recoup_plugins.Gateway`."""

    code: ClassVar[str] = "gateway_broken"

    def __init__(self, plugin: str, gateway: str, broke: str) -> None:
        super().__init__(f"the gateway {gateway} of the plugin {plugin} breaks its contract: {broke}")
        self.plugin, self.gateway, self.broke = plugin, gateway, broke


class EntryPointLike(Protocol):
    """The part of `importlib.metadata.EntryPoint` that is used."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        ...

    def load(self) -> object:
        """Import the plugin."""
        ...


class LoadedPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that is there, and the kinds of gateways and notifiers it registered."""

    name: str
    built_in: bool
    fit: Fit
    factories: Mapping[str, GatewayFactory]
    notifiers: Mapping[str, NotifierFactory] = {}


class PluginManager:
    """Holds the kinds of gateways and notifiers that can be configured. Made by `load_plugins`."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._hooks = pluggy.PluginManager("recoup")
        self._hooks.add_hookspecs(hookspecs)
        self._plugins: list[LoadedPlugin] = []
        self._owners: dict[str, LoadedPlugin] = {}
        self._notifier_owners: dict[str, LoadedPlugin] = {}
        self._problems: list[PluginProblem] = []

    @property
    def plugins(self) -> Sequence[LoadedPlugin]:
        """The plugins that are there, in the order they were loaded."""
        return tuple(self._plugins)

    @property
    def problems(self) -> Sequence[PluginProblem]:
        """The plugins that are disabled, in the order they were met."""
        return tuple(self._problems)

    @property
    def warnings(self) -> Sequence[PluginProblem]:
        """What plugins that are there should change before it disables them."""
        return tuple(PluginProblem(plugin=p.name, broke=p.fit.warning) for p in self._plugins if p.fit.warning)

    @property
    def kinds(self) -> Sequence[str]:
        """What settings may name as a gateway's `plugin`, sorted."""
        return tuple(sorted(self._owners))

    @property
    def notifier_kinds(self) -> Sequence[str]:
        """What settings may name as a notifier's `plugin`, sorted."""
        return tuple(sorted(self._notifier_owners))

    def add(self, name: str, load: Callable[[], object], *, built_in: bool = False) -> None:
        """Import one plugin and take what it registers; all of it or, with a problem noted, nothing.

        A foreign one has `limits.load_s` for it, on a thread of its own.
        """
        take = partial(self._take, name, load, built_in)
        try:
            loaded = take() if built_in else run_apart(take, self._limits.load_s, f"plugin-{name}-load")
        except (PluginFailed, PluginHung) as broken:
            self._problems.append(PluginProblem(plugin=name, broke=str(broken)))
        except Exception as broken:  # an SDK that can't be imported disables its gateway and nothing else
            self._problems.append(PluginProblem(plugin=name, broke=told(broken)))
        else:
            self._plugins.append(loaded)
            self._owners.update(dict.fromkeys(loaded.factories, loaded))
            self._notifier_owners.update(dict.fromkeys(loaded.notifiers, loaded))

    def build_gateways(self, settings: Sequence[GatewaySettings]) -> Mapping[str, Gateway]:
        """Return the configured gateways by name; the first wrong setting raises, naming plugin and field.

        Foreign ones come as `HostedGateway`: what they do wrong later harms only themselves.
        """
        gateways: dict[str, Gateway] = {}
        for one in settings:
            if one.name in gateways:
                raise PluginMisconfigured(one.plugin, "name", f"two gateways are named {one.name}")
            try:
                gateways[one.name] = self._build(one)
            except PluginMisconfigured as wrong:
                told = f"{wrong.message} (gateway {one.name})"
                raise PluginMisconfigured(wrong.plugin, wrong.field, told) from None
        return gateways

    def build_notifiers(self, settings: Sequence[NotifierSettings]) -> Mapping[str, Notifier]:
        """Return the configured notifiers by name; the first wrong setting raises, naming plugin and field.

        Foreign ones come as `HostedNotifier`.
        """
        notifiers: dict[str, Notifier] = {}
        for one in settings:
            if one.name in notifiers:
                raise PluginMisconfigured(one.plugin, "name", f"two notifiers are named {one.name}")
            try:
                owner = self._owner(one.plugin, self._notifier_owners)
                factory = owner.notifiers[one.plugin]
                built = build_notifier(owner.name, factory, one, self._limits, built_in=owner.built_in)
            except PluginMisconfigured as wrong:
                told = f"{wrong.message} (notifier {one.name})"
                raise PluginMisconfigured(wrong.plugin, wrong.field, told) from None
            notifiers[one.name] = built
        return notifiers

    def _take(self, name: str, load: Callable[[], object], built_in: bool) -> LoadedPlugin:
        plugin = load()
        fit = Fit(written_for=CONTRACT, declared=True) if built_in else fit_of(plugin)
        self._hooks.register(plugin, name)  # checks that the hooks' arguments fit
        if not self._implemented(plugin):
            raise TypeError(f"it implements no hook of recoup (mark {' or '.join(HOOKS)} with recoup_plugins.hookimpl)")
        return LoadedPlugin(
            name=name,
            built_in=built_in,
            fit=fit,
            factories=self._ask(name, plugin, "register_gateways", self._owners),
            notifiers=self._ask(name, plugin, "register_notifiers", self._notifier_owners),
        )

    def _implemented(self, plugin: object) -> frozenset[str]:
        return frozenset(caller.name for caller in self._hooks.get_hookcallers(plugin) or ()).intersection(HOOKS)

    def _ask(self, name: str, plugin: object, hook: str, owners: Mapping[str, LoadedPlugin]) -> Mapping[str, Any]:
        registered: dict[str, Any] = {}

        def register(kind: object, factory: object) -> None:
            if not isinstance(kind, str) or not kind or not callable(factory):
                raise TypeError("register(kind, factory) takes a non-empty str and a callable")
            if kind in registered or kind in owners:
                owner = owners[kind].name if kind in owners else name
                raise ValueError(f"the kind {kind} is already registered by {owner}")
            registered[kind] = factory

        if hook in self._implemented(plugin):
            others = [other for other in self._hooks.get_plugins() if other is not plugin]
            self._hooks.subset_hook_caller(hook, others)(register=register)
        return dict(registered)  # a plugin that registers later than it is asked registers nothing

    def _owner(self, kind: str, owners: Mapping[str, LoadedPlugin]) -> LoadedPlugin:
        if kind not in owners:
            why = "; ".join(f"{problem.plugin} is disabled: {problem.broke}" for problem in self._problems)
            known = f"known are {', '.join(sorted(owners)) or 'none'}"
            near = difflib.get_close_matches(kind, owners, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise PluginMisconfigured(kind, "plugin", f"no plugin registers it{hint}; {known}. {why}".strip())
        return owners[kind]

    def _build(self, settings: GatewaySettings) -> Gateway:
        owner = self._owner(settings.plugin, self._owners)
        factory = owner.factories[settings.plugin]
        if not owner.built_in:
            return _build_apart(owner.name, factory, settings, self._limits)
        gateway = factory(settings)
        broke = broken_contract(gateway, settings)
        if broke is not None:
            raise GatewayBroken(owner.name, settings.name, broke)
        return gateway


def _build_apart(plugin: str, factory: GatewayFactory, settings: GatewaySettings, limits: Limits) -> HostedGateway:
    """Build a foreign gateway within its limit of time, and the object that keeps it apart from then on."""

    def work() -> HostedGateway | PluginMisconfigured | str:
        try:
            gateway = factory(settings)
        except PluginMisconfigured as wrong:
            return PluginMisconfigured(settings.plugin, redact(str(wrong.field)), redact(str(wrong.message)))
        broke = broken_contract(gateway, settings)
        if broke is not None:
            return redact(broke)
        return HostedGateway(plugin, settings.name, CHECKS["capabilities"](gateway.capabilities), gateway, limits)

    try:
        built = run_apart(work, limits.build_s, f"plugin-{plugin}-build")
    except (PluginFailed, PluginHung) as broken:
        raise GatewayBroken(plugin, settings.name, f"it can't be built: {broken}") from None
    if isinstance(built, PluginMisconfigured):
        raise built
    if isinstance(built, str):
        raise GatewayBroken(plugin, settings.name, built)
    return built


def broken_contract(gateway: object, settings: GatewaySettings) -> str | None:
    """Return what a gateway object misses of the contract, or None; what can only be seen in use is the guard's."""
    if getattr(gateway, "name", None) != settings.name:
        return f"its name must be the settings' {settings.name!r}, it is {getattr(gateway, 'name', None)!r}"
    can = getattr(gateway, "capabilities", None)
    if not isinstance(can, Capabilities):
        return "it has no `capabilities` of type Capabilities"
    if not can.refunds and (can.finds_refunds or can.voids or can.cancels_refunds):
        return "its capabilities find, void or cancel refunds, but `refunds` is not set"
    if can.fetches_settlements and not can.reads_settlements:
        return "its capabilities fetch settlements, but `reads_settlements` is not set"
    for method in (*_ASYNC_METHODS, *_promised(can, _ASYNC_IF)):
        if not inspect.iscoroutinefunction(getattr(gateway, method, None)):
            return f"`{method}` must be an `async def` method"
    for method in ("parse_event", *_promised(can, _PLAIN_IF)):
        found = getattr(gateway, method, None)
        if not callable(found) or inspect.iscoroutinefunction(found):
            return f"`{method}` must be a plain method"
    if can.retries_itself and settings.retries_by is RetryOwner.RECOUP:
        return (
            "two owners: the account is set so that the provider retries failed charges, and the settings say that"
            ' Recoup does; switch the provider\'s retries off, or set retries_by = "gateway"'
        )
    return None


def _promised(can: Capabilities, methods: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for capability, names in methods.items():
        if getattr(can, capability):
            yield from names


def installed() -> Sequence[EntryPoint]:
    """Return the entry points of the foreign plugins that are installed, by name."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)


def load_plugins(found: Sequence[EntryPoint | EntryPointLike] | None = None, limits: Limits = LIMITS) -> PluginManager:
    """Load the built-in ones, then the entry points of the group `recoup.plugins` (or those given)."""
    manager = PluginManager(limits)
    for name in BUILT_IN:  # imported only here: the SDKs take a second
        manager.add(name, partial(import_module, f"recoup_plugins.gateways.{name}"), built_in=True)
    for name in BUILT_IN_NOTIFIERS:
        manager.add(name, partial(import_module, f"recoup_plugins.notifiers.{name}"), built_in=True)
    for entry_point in installed() if found is None else found:
        manager.add(entry_point.name, entry_point.load)
    return manager
