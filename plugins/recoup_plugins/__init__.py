"""The public face of Recoup's plugins: everything an author imports, from one place.

A plugin is a module with a `register_gateways` hook and a gateway class; its tests subclass
`recoup_plugins.conformance.GatewayConformance`. See `plugins/README.md`.
"""

import pluggy

from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network
from recoup_core.ports import (
    CHARGE_TIMEOUT_S,
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    Clock,
    Declined,
    FoundCharge,
    Gateway,
    GatewayEvent,
    NotFound,
    NotSent,
    Pending,
    ReportedFailure,
    Succeeded,
    SystemClock,
    WebhookRefused,
)
from recoup_core.reference import classify
from recoup_plugins.settings import (
    GatewayFactory,
    GatewaySettings,
    PluginMisconfigured,
    RegisterGateway,
    read_options,
)

hookimpl = pluggy.HookimplMarker("recoup")
"""Marks a plugin's hook function."""

__all__ = [
    "CHARGE_TIMEOUT_S",
    "Capabilities",
    "ChargeOutcome",
    "ChargeRequest",
    "Clock",
    "Decline",
    "DeclineCategory",
    "DeclineSource",
    "Declined",
    "FoundCharge",
    "Gateway",
    "GatewayEvent",
    "GatewayFactory",
    "GatewaySettings",
    "Method",
    "Money",
    "Network",
    "NotFound",
    "NotSent",
    "Pending",
    "PluginMisconfigured",
    "RegisterGateway",
    "ReportedFailure",
    "Retryable",
    "Succeeded",
    "SystemClock",
    "WebhookRefused",
    "classify",
    "hookimpl",
    "read_options",
]
