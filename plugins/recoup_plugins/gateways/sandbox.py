"""The sandbox gateway: a scripted provider for tests, demos and load. No real money is anywhere near it.

The token says what happens (`sandbox_script`, for refunds `sandbox_refund_script`), the bank keeps its own count
(`sandbox_bank`).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec

from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.refund import FailureCategory, RefundFailure
from recoup_core.ports import (
    CHARGE_TIMEOUT_S,
    Canceled,
    CancelOutcome,
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    Clock,
    Declined,
    FoundCharge,
    FoundRefund,
    GatewayEvent,
    LinkAnswer,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundOutcome,
    RefundRequest,
    Refused,
    ReportedSettlement,
    StoredCredential,
    Succeeded,
    SystemClock,
    TakenBack,
    UpdateLinkRequest,
)
from recoup_plugins import GatewaySettings, PluginMisconfigured, RegisterGateway, hookimpl, read_options
from recoup_plugins.gateways.sandbox_bank import SandboxBank
from recoup_plugins.gateways.sandbox_events import as_decline, read_event
from recoup_plugins.gateways.sandbox_refund_rows import BankRefund
from recoup_plugins.gateways.sandbox_refund_script import failure_of
from recoup_plugins.gateways.sandbox_rows import BankCharge
from recoup_plugins.gateways.sandbox_script import parse_script
from recoup_plugins.gateways.sandbox_settlement_rows import read_file
from recoup_plugins.gateways.sandbox_webhooks import verify
from recoup_plugins.gateways.sandbox_words import BEFORE, BUSY_S, Habits, ScriptUnreadable

HANG_S: Final = 2 * CHARGE_TIMEOUT_S
"""A scripted hang outlasts every caller's patience and then raises."""

KEY_LIFETIME: Final = timedelta(days=30)

Answer = TypeVar("Answer")


class SandboxFault(Exception):
    """A scripted fault: the answer is lost, or the sandbox says 500."""


class SandboxOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a `sandbox` gateway."""

    path: str | None = None
    """The bank's SQLite file; without one the bank is private to this object and forgotten with it."""
    webhook_secrets: tuple[str, ...] = ()
    """Without any, every webhook is refused."""
    durable: bool = False
    """Wait for the disk on every charge."""
    pages: str | None = None
    """Where `sandbox_pages` serves the bank's pages (`http://127.0.0.1:8080/sandbox-pages`); None: nowhere."""
    clock: Any = None
    """A `recoup_plugins.Clock`; the demo brings one that runs fast."""

    def __repr__(self) -> str:
        return f"SandboxOptions(path={self.path!r}, durable={self.durable})"  # without the secrets


class SandboxGateway:
    """One sandbox account."""

    def __init__(self, name: str, options: SandboxOptions) -> None:
        self.name = name
        self.capabilities = Capabilities(
            methods=frozenset(Method),
            key_lifetime=KEY_LIFETIME,
            finds_charges=True,
            refunds=True,
            finds_refunds=True,
            voids=True,
            cancels_refunds=True,
            reads_settlements=True,
            fetches_settlements=True,
            lists_credentials=True,
            update_links=True,
        )
        self._clock: Clock = options.clock or SystemClock()
        self._secrets = options.webhook_secrets
        self._waits_for_disk = options.durable
        self.bank = SandboxBank(options.path, durable=options.durable, clock=self._clock)
        if options.pages is not None:
            self.bank.pages_at = options.pages.rstrip("/")

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Do what the token's step for this attempt says."""
        try:
            steps = parse_script(request.token)
        except ScriptUnreadable as unreadable:
            return Declined(decline=_unreadable_token(unreadable))
        charge, step = await self._ask(lambda: self.bank.send(request, steps))
        fault = step.fault_of_send(charge.sends)
        if fault in BEFORE:
            return _stopped(fault)
        await _answer_slowly(step, fault)
        return _outcome(charge)

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """Look the attempt up in the bank."""
        charge = await self._ask(lambda: self.bank.find(str(request.attempt_id), request.idempotency_key))
        return NotFound() if charge is None else _outcome(charge)

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Do what the script of the request's charge says for this refund."""
        try:
            refund, step = await self._ask(lambda: self.bank.refund(request))
        except ScriptUnreadable as unreadable:
            return Refused(failure=_unreadable_script(unreadable))
        fault = step.fault_of_send(refund.sends)
        if fault in BEFORE:
            return _stopped(fault)
        await _answer_slowly(step, fault)
        return _first_answer(refund)

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Look the part up in the bank."""
        find = self.bank.find_refund
        refund = await self._ask(lambda: find(str(request.part_id), request.idempotency_key))
        return NotFound() if refund is None else _found_refund(refund)

    async def cancel_refund(self, request: RefundRequest) -> CancelOutcome:
        """Cancel the part's refund while it is pending; refused with the code `too_late` afterwards."""
        cancel = self.bank.cancel_refund
        refund = await self._ask(lambda: cancel(str(request.part_id), request.idempotency_key))
        if refund is None:
            return Refused(failure=failure_of("resource_missing"))
        if refund.state != "canceled":
            return Refused(failure=failure_of("too_late", "unknown"), gateway_ref=refund.refund_id)
        return Canceled(gateway_ref=refund.refund_id)

    async def list_credentials(self, gateway_customer: str) -> Sequence[StoredCredential]:
        """Return what the customer has stored, the oldest first; the script in the customer's name applies."""
        stored, manner, asked = await self._ask(lambda: self.bank.stored_for(gateway_customer))
        await _behave(manner, asked)
        return stored

    async def update_link(self, request: UpdateLinkRequest) -> LinkAnswer:
        """Make the bank's page for a customer; the script in the customer's name applies."""
        answer, manner, asked = await self._ask(lambda: self.bank.page_for(request))
        await _behave(manner, asked)
        return answer

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Verify and translate one webhook of the sandbox."""
        verify(headers, body, self._secrets, self._clock.now())
        return [read_event(body)]

    def read_settlement(self, content: bytes) -> ReportedSettlement:
        """Read a report as the bank's `settlement_file` gives it."""
        return read_file(content)

    async def fetch_settlement(self, report_ref: str) -> ReportedSettlement:
        """Fetch a report that the bank has made."""
        return await self._ask(lambda: self.bank.settlement(report_ref))

    async def health(self) -> None:
        """Return when the bank's file can be read and written."""
        await self._ask(self.bank.waiting_deliveries)

    async def _ask(self, call: Callable[[], Answer]) -> Answer:
        """Ask the bank: on the event loop, since a call takes some 100 µs; in a thread if it waits for the disk."""
        return await asyncio.to_thread(call) if self._waits_for_disk else call()


def _stopped(fault: str | None) -> NotSent:
    if fault == "unreachable":
        return NotSent(reason="unreachable")
    if fault == "busy":
        return NotSent(reason="busy", retry_after_s=BUSY_S)
    raise SandboxFault("the connection broke" if fault == "lose_before" else "the sandbox answers 500")


async def _behave(manner: Habits, asked: int) -> None:
    """Answer late or not at all, as the script says; where no money moves every fault is one that raises."""
    fault = manner.fault_of_send(asked)
    if fault in BEFORE:
        raise SandboxFault(f"the sandbox is {fault}")
    await _answer_slowly(manner, fault)


async def _answer_slowly(step: Habits, fault: str | None) -> None:
    await asyncio.sleep(HANG_S if fault == "hang" else step.delay_s)
    if fault in {"hang", "lose"}:
        raise SandboxFault("the answer was lost")


def _outcome(charge: BankCharge) -> Succeeded | Declined | Pending:
    if charge.state == "pending":
        return Pending(gateway_ref=charge.charge_id)
    if charge.decline is not None:
        return Declined(decline=as_decline(charge.decline), gateway_ref=charge.charge_id)
    return Succeeded(gateway_ref=charge.charge_id, amount=Money(charge.amount_minor, charge.currency))


def _found_refund(refund: BankRefund) -> Refunded | Refused | Pending | Canceled | TakenBack:
    if refund.state == "taken_back" and refund.back_failure is not None:
        return TakenBack(gateway_ref=refund.refund_id, failure=refund.back_failure)
    if refund.state == "canceled":
        return Canceled(gateway_ref=refund.refund_id)
    return _first_answer(refund)


def _first_answer(refund: BankRefund) -> Refunded | Refused | Pending:
    """Say what came of a refund; a key that is sent again gets no word of what happened to its money later."""
    if refund.state in {"pending", "canceled"}:
        return Pending(gateway_ref=refund.refund_id)
    if refund.failure is not None:
        return Refused(failure=refund.failure, gateway_ref=refund.refund_id)
    fee = Money(refund.fee_minor, refund.currency) if refund.fee_minor else None
    return Refunded(gateway_ref=refund.refund_id, amount=Money(refund.amount_minor, refund.currency), fee=fee)


def _unreadable_script(why: ScriptUnreadable) -> RefundFailure:
    return RefundFailure(category=FailureCategory.CONFIGURATION, code="invalid_script", message=str(why)[:200])


def _unreadable_token(why: ScriptUnreadable) -> Decline:
    return Decline(
        code="invalid_token",
        source=DeclineSource.STRIPE,
        category=DeclineCategory.CONFIGURATION,
        retryable=Retryable.AFTER_CUSTOMER_ACTION,
        message=str(why)[:200],
    )


def make_sandbox(settings: GatewaySettings) -> SandboxGateway:
    """Make a sandbox gateway; options as in `SandboxOptions`."""
    options = read_options(settings, SandboxOptions)
    if options.clock is not None and not callable(getattr(options.clock, "now", None)):
        raise PluginMisconfigured(settings.plugin, "clock", "must be a Clock (an object with `now()`)")
    if not all(options.webhook_secrets):
        raise PluginMisconfigured(settings.plugin, "webhook_secrets", "holds an empty secret")
    return SandboxGateway(settings.name, options)


@hookimpl
def register_gateways(register: RegisterGateway) -> None:
    """Register the kind `sandbox`."""
    register("sandbox", make_sandbox)
