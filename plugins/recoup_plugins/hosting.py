"""Foreign gateways live apart: each on a thread and an event loop of its own, behind an object that keeps the contract.

What one does wrong is a failed call of its own and nothing else: calls have limits in time and number, answers are
checked and copied (`hosting_answers`), exceptions of every kind become `PluginFailed`. A call that never began because
the plugin is stuck is `NotSent`, which is certain; one that began and did not end is left to its caller's time limit.

Built-in gateways are part of Recoup and run on its own loop.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from recoup_core.ports import (
    CancelOutcome,
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    EventPage,
    FoundCharge,
    FoundRefund,
    GatewayEvent,
    LinkAnswer,
    NotSent,
    RefundOutcome,
    RefundRequest,
    ReportedSettlement,
    SettlementUnreadable,
    StoredCredential,
    UpdateLinkRequest,
    WebhookRefused,
)
from recoup_plugins.hosted import Hosted, PluginBusy
from recoup_plugins.limits import LIMITS, Limits


class HostedGateway(Hosted):
    """Keeps the `Gateway` protocol, and its optional parts, in front of a foreign gateway."""

    WHAT = "gateway"

    def __init__(
        self, plugin: str, name: str, capabilities: Capabilities, gateway: object, limits: Limits = LIMITS
    ) -> None:
        """`capabilities` is a copy made when the gateway was built; what the plugin changes later does not count."""
        super().__init__(plugin, name, gateway, limits)
        self.capabilities = capabilities

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """As `Gateway.charge`; `NotSent` where the plugin is stuck and never heard of it."""
        answer: ChargeOutcome = await self._or_not_sent("charge", request)
        return answer

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """As `Gateway.find_charge`."""
        answer: FoundCharge = await self._call("find_charge", request)
        return answer

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """As `RefundGateway.refund`; `NotSent` where the plugin is stuck and never heard of it."""
        answer: RefundOutcome = await self._or_not_sent("refund", request)
        return answer

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """As `RefundGateway.find_refund`."""
        answer: FoundRefund = await self._call("find_refund", request)
        return answer

    async def cancel_refund(self, request: RefundRequest) -> CancelOutcome:
        """As `CancelingGateway.cancel_refund`; `NotSent` where the plugin is stuck and never heard of it."""
        answer: CancelOutcome = await self._or_not_sent("cancel_refund", request)
        return answer

    async def list_credentials(self, gateway_customer: str) -> Sequence[StoredCredential]:
        """As `CredentialGateway.list_credentials`."""
        answer: Sequence[StoredCredential] = await self._call("list_credentials", gateway_customer)
        return answer

    async def update_link(self, request: UpdateLinkRequest) -> LinkAnswer:
        """As `LinkGateway.update_link`."""
        answer: LinkAnswer = await self._call("update_link", request)
        return answer

    async def list_events(self, since: datetime, cursor: str | None) -> EventPage:
        """As `EventGateway.list_events`."""
        answer: EventPage = await self._call("list_events", since, cursor)
        return answer

    async def fetch_settlement(self, report_ref: str) -> ReportedSettlement:
        """As `SettlementSource.fetch_settlement`."""
        answer = await self._call("fetch_settlement", report_ref, limit_s=self._limits.fetch_s)
        return _read(answer)

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """As `Gateway.parse_event`, ended after `parse_s`. It waits: call it from a thread, not from a loop."""
        answer = self._plain("parse_event", self._limits.parse_s, dict(headers), body)
        if isinstance(answer, WebhookRefused):
            raise answer
        events: Sequence[GatewayEvent] = answer
        return events

    def read_settlement(self, content: bytes) -> ReportedSettlement:
        """As `SettlementGateway.read_settlement`, ended after `read_s`; call it from a thread as well."""
        return _read(self._plain("read_settlement", self._limits.read_s, content))

    async def _or_not_sent(self, call: str, request: ChargeRequest | RefundRequest) -> Any:
        try:
            return await self._call(call, request)
        except PluginBusy as busy:
            return NotSent(reason=str(busy), retry_after_s=self._limits.busy_again_s)


def _read(answer: object) -> ReportedSettlement:
    if isinstance(answer, SettlementUnreadable):
        raise answer
    assert isinstance(answer, ReportedSettlement)  # the check lets nothing else through
    return answer
