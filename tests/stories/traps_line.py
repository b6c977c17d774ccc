"""The line to a sandbox account: it can be cut, muted or made forgetful at any moment, and remembers what was sent."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from recoup_core.ports import CancelOutcome, FoundRefund, GatewayEvent, RefundOutcome, RefundRequest
from recoup_plugins.gateways.sandbox import SandboxGateway


class Line:
    """The line to a sandbox account: what goes over it is written down, and it can be cut at either end of a call."""

    def __init__(self, gateway: SandboxGateway, clock: Any) -> None:
        self.inner, self._clock = gateway, clock
        self.name, self.capabilities = gateway.name, gateway.capabilities
        self.sent: list[RefundRequest] = []
        self.looks = 0
        self.cut_before = self.cut_after = False
        """Whether a call hangs before the bank has done anything, or after it has done everything."""
        self.hanging, self.go_on = asyncio.Event(), asyncio.Event()
        self.lost = self.mute = self.forgets = False
        """The answer to the next refund is lost; no look-up is answered; old keys are unknown to the bank."""

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Ask the bank; beyond the life of its key a forgetful one takes a repeat for another refund."""
        self.sent.append(request)
        if self.cut_before:
            await self._hang()
        outcome = await self.inner.refund(self._as_the_bank_sees(request))
        if self.cut_after:
            await self._hang()
        if self.lost:
            self.lost = False
            raise ConnectionResetError("the answer was lost")
        return outcome

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Look a refund up, where anybody answers."""
        self.looks += 1
        if self.mute:
            raise ConnectionResetError("nobody answers")
        return await self.inner.find_refund(request)

    async def cancel_refund(self, request: RefundRequest) -> CancelOutcome:
        """Cancel a pending refund."""
        return await self.inner.cancel_refund(request)

    async def charge(self, request: Any) -> Any:
        """Charge as the sandbox does."""
        return await self.inner.charge(request)

    async def find_charge(self, request: Any) -> Any:
        """Look a charge up as the sandbox does."""
        return await self.inner.find_charge(request)

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Read a webhook as the sandbox does."""
        return self.inner.parse_event(headers, body)

    async def health(self) -> None:
        """As well as the sandbox."""
        await self.inner.health()

    async def _hang(self) -> None:
        self.hanging.set()
        await self.go_on.wait()

    def _as_the_bank_sees(self, request: RefundRequest) -> RefundRequest:
        age = self._clock.now() - request.first_sent_at
        if not self.forgets or age < self.capabilities.key_lifetime:
            return request
        return msgspec.structs.replace(request, idempotency_key=f"again-{uuid4()}", part_id=uuid4())
