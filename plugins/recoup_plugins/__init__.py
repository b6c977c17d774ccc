"""The public face of Recoup's plugins: everything an author imports, from one place.

A plugin is a module with a `register_gateways` hook and a gateway class; its tests subclass
`recoup_plugins.conformance.GatewayConformance`. See `plugins/README.md`.
"""

import pluggy

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network
from recoup_core.domain.refund import FailureCategory, RefundFailure
from recoup_core.ports import (
    CHARGE_TIMEOUT_S,
    Canceled,
    CancelingGateway,
    CancelOutcome,
    Capabilities,
    CaptureNews,
    ChargeOutcome,
    ChargeRequest,
    Clock,
    Declined,
    DisputeNews,
    FoundCharge,
    FoundRefund,
    Gateway,
    GatewayEvent,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundGateway,
    RefundNews,
    RefundOutcome,
    RefundReason,
    RefundRequest,
    Refused,
    ReportedFailure,
    Succeeded,
    SystemClock,
    TakenBack,
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
    "CancelOutcome",
    "Canceled",
    "CancelingGateway",
    "Capabilities",
    "CaptureNews",
    "CaptureState",
    "ChargeOutcome",
    "ChargeRequest",
    "Clock",
    "Decline",
    "DeclineCategory",
    "DeclineSource",
    "Declined",
    "DisputeNews",
    "DisputeState",
    "FailureCategory",
    "FoundCharge",
    "FoundRefund",
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
    "RefundFailure",
    "RefundGateway",
    "RefundNews",
    "RefundOutcome",
    "RefundReason",
    "RefundRequest",
    "Refunded",
    "Refused",
    "RegisterGateway",
    "ReportedFailure",
    "Retryable",
    "Succeeded",
    "SystemClock",
    "TakenBack",
    "WebhookRefused",
    "classify",
    "hookimpl",
    "read_options",
]
