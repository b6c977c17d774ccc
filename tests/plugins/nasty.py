"""A foreign plugin of which a test makes one thing nasty."""

import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from recoup_plugins import (
    Capabilities,
    ChargeRequest,
    Gateway,
    GatewaySettings,
    Method,
    NotFound,
    Refunded,
    RefundRequest,
    Succeeded,
    hookimpl,
)
from recoup_plugins.limits import LIMITS, Limits
from recoup_plugins.manager import PluginManager, load_plugins

QUICK = Limits(begin_s=0.5, call_s=0.5, health_s=0.5, parse_s=0.5, read_s=0.5, grace_s=0.1, load_s=0.5, build_s=0.5)
"""For what hangs on purpose; whatever must not hang gets the defaults."""


class Found:
    """An entry point whose import does what the test says."""

    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name, self.load = name, load


class Foreign:
    """A gateway that does everything right, in memory."""

    capabilities = Capabilities(
        methods=frozenset({Method.CARD}),
        key_lifetime=timedelta(days=1),
        finds_charges=True,
        refunds=True,
        lists_credentials=True,
        lists_events=True,
        reads_settlements=True,
    )

    def __init__(self, settings: GatewaySettings) -> None:
        self.name = settings.name

    async def charge(self, request: ChargeRequest) -> Any:
        return Succeeded(gateway_ref=f"ch_{request.attempt_id}", amount=request.amount)

    async def find_charge(self, request: ChargeRequest) -> Any:
        return NotFound()

    async def refund(self, request: RefundRequest) -> Any:
        return Refunded(gateway_ref="re_a", amount=request.amount)

    async def find_refund(self, request: RefundRequest) -> Any:
        return NotFound()

    async def list_credentials(self, gateway_customer: str) -> Any:
        return []

    async def list_events(self, since: datetime, cursor: str | None) -> Any:
        return None

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Any:
        return []

    def read_settlement(self, content: bytes) -> Any:
        return None

    async def health(self) -> None:
        return None


def foreign(**nasty: Any) -> Callable[[GatewaySettings], Any]:
    """Return a factory of gateways with other methods."""

    def build(settings: GatewaySettings) -> Any:
        gateway = Foreign(settings)
        for name, method in nasty.items():
            setattr(gateway, name, types.MethodType(method, gateway))
        return gateway

    return build


def a_plugin(factory: Callable[[GatewaySettings], Any], kind: str = "nasty", **content: Any) -> types.ModuleType:
    """Return a plugin's module that registers one kind."""

    @hookimpl
    def register_gateways(register: Any) -> None:
        register(kind, factory)

    module = types.ModuleType(kind)
    vars(module).update(register_gateways=register_gateways, RECOUP_CONTRACT=(1, 1), **content)
    return module


def hosted(limits: Limits = LIMITS, **nasty: Any) -> Gateway:
    """Return a gateway of a foreign plugin as an installation would run it."""
    return built(load_plugins([Found("nasty_plugin", lambda: a_plugin(foreign(**nasty)))], limits))


def built(manager: PluginManager, kind: str = "nasty") -> Gateway:
    """Return the one configured gateway of a kind."""
    return manager.build_gateways([GatewaySettings(name=f"{kind}-eu", plugin=kind)])[f"{kind}-eu"]


def now() -> datetime:
    return datetime.now(UTC)
