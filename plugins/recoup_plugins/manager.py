"""Finds plugins, takes what they register, and builds the configured gateways.

A plugin that can't be imported or registered is reported by name in `problems` and disables only itself.
A gateway that does not keep the contract is refused when it is built, before any money could move.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Final, Protocol

import msgspec
import pluggy

from recoup_core.domain.errors import DomainError
from recoup_core.domain.redact import redact
from recoup_core.ports import Capabilities, Gateway
from recoup_plugins import hookspecs
from recoup_plugins.settings import GatewayFactory, GatewaySettings, PluginMisconfigured

ENTRY_POINT_GROUP: Final = "recoup.plugins"

BUILT_IN: Final = ("sandbox", "stripe")
"""Modules of `recoup_plugins.gateways`; loaded first, so that nobody takes their kinds."""

_ASYNC_METHODS: Final = ("charge", "find_charge", "health")
_REFUND_METHODS: Final = ("refund", "find_refund")
_CANCEL_METHODS: Final = ("cancel_refund",)


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


class PluginManager:
    """Holds the kinds of gateways that can be configured. Made by `load_plugins`."""

    def __init__(self) -> None:
        self._hooks = pluggy.PluginManager("recoup")
        self._hooks.add_hookspecs(hookspecs)
        self._factories: dict[str, tuple[str, GatewayFactory]] = {}
        self._problems: list[PluginProblem] = []

    @property
    def problems(self) -> Sequence[PluginProblem]:
        """The plugins that are disabled, in the order they were met."""
        return tuple(self._problems)

    @property
    def kinds(self) -> Sequence[str]:
        """What settings may name as `plugin`, sorted."""
        return tuple(sorted(self._factories))

    def add(self, name: str, load: Callable[[], object]) -> None:
        """Import one plugin and take what it registers; all of it or, with a problem noted, nothing."""
        try:
            self._take(name, load())
        except Exception as broken:  # a plugin is foreign code: whatever it raises disables it and nothing else
            self._problems.append(PluginProblem(plugin=name, broke=f"{type(broken).__name__}: {redact(str(broken))}"))

    def build_gateways(self, settings: Sequence[GatewaySettings]) -> Mapping[str, Gateway]:
        """Return the configured gateways by name; the first wrong setting raises, naming plugin and field."""
        gateways: dict[str, Gateway] = {}
        for one in settings:
            if one.name in gateways:
                raise PluginMisconfigured(one.plugin, "name", f"two gateways are named {one.name}")
            gateways[one.name] = self._build(one)
        return gateways

    def _take(self, name: str, plugin: object) -> None:
        self._hooks.register(plugin, name)  # checks that the hooks' arguments fit
        registered = self._ask(name, plugin)
        self._factories.update({kind: (name, factory) for kind, factory in registered.items()})

    def _ask(self, name: str, plugin: object) -> Mapping[str, GatewayFactory]:
        registered: dict[str, GatewayFactory] = {}

        def register(kind: str, factory: GatewayFactory) -> None:
            given: tuple[object, object] = (kind, factory)  # the types promise; a plugin may not be type-checked
            if not isinstance(given[0], str) or not given[0] or not callable(given[1]):
                raise TypeError("register(kind, factory) takes a non-empty str and a callable")
            if kind in registered or kind in self._factories:
                owner = self._factories[kind][0] if kind in self._factories else name
                raise ValueError(f"the kind {kind} is already registered by {owner}")
            registered[kind] = factory

        if all(caller.name != "register_gateways" for caller in self._hooks.get_hookcallers(plugin) or ()):
            raise TypeError("it implements no hook of recoup (mark register_gateways with recoup_plugins.hookimpl)")
        others = [other for other in self._hooks.get_plugins() if other is not plugin]
        self._hooks.subset_hook_caller("register_gateways", others)(register=register)
        return registered

    def _build(self, settings: GatewaySettings) -> Gateway:
        if settings.plugin not in self._factories:
            why = "; ".join(f"{problem.plugin} is disabled: {problem.broke}" for problem in self._problems)
            known = f"known are {', '.join(self.kinds) or 'none'}"
            raise PluginMisconfigured(settings.plugin, "plugin", f"no plugin registers it; {known}. {why}".strip())
        plugin, factory = self._factories[settings.plugin]
        gateway = factory(settings)
        broke = broken_contract(gateway, settings)
        if broke is not None:
            raise GatewayBroken(plugin, settings.name, broke)
        return gateway


def broken_contract(gateway: object, settings: GatewaySettings) -> str | None:
    """Return what a gateway object misses of the contract, or None; what can only be seen in use is the guard's."""
    if getattr(gateway, "name", None) != settings.name:
        return f"its name must be the settings' {settings.name!r}, it is {getattr(gateway, 'name', None)!r}"
    can = getattr(gateway, "capabilities", None)
    if not isinstance(can, Capabilities):
        return "it has no `capabilities` of type Capabilities"
    if not can.refunds and (can.finds_refunds or can.voids or can.cancels_refunds):
        return "its capabilities find, void or cancel refunds, but `refunds` is not set"
    refunds, cancels = _REFUND_METHODS if can.refunds else (), _CANCEL_METHODS if can.cancels_refunds else ()
    for method in (*_ASYNC_METHODS, *refunds, *cancels):
        if not inspect.iscoroutinefunction(getattr(gateway, method, None)):
            return f"`{method}` must be an `async def` method"
    parse_event = getattr(gateway, "parse_event", None)
    if not callable(parse_event) or inspect.iscoroutinefunction(parse_event):
        return "`parse_event` must be a plain method"
    return None


def load_plugins(found: Sequence[EntryPoint | EntryPointLike] | None = None) -> PluginManager:
    """Load the built-in gateways, then the entry points of the group `recoup.plugins` (or those given)."""
    manager = PluginManager()
    for name in BUILT_IN:  # imported only here: the SDKs take a second
        manager.add(name, partial(import_module, f"recoup_plugins.gateways.{name}"))
    for entry_point in entry_points(group=ENTRY_POINT_GROUP) if found is None else found:
        manager.add(entry_point.name, entry_point.load)
    return manager
