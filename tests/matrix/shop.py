"""A merchant with one gateway before a provider that can be told what to do; both sides' books are compared."""

import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from tests.matrix.provider import Behaviour, Provider

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.payment import Customer, Network
from recoup_core.domain.refund import RefundState
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.flows.context import locked_cases
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.recover import open_case
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger_checks import verify_ledger
from recoup_core.storage.refunds import load_accounts, load_refunds
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service
from recoup_plugins.conformance import SignedWebhook

OWED: Final = 1999
LEASE: Final = timedelta(seconds=120)
MAX_ROUNDS: Final = 300
SETTLES: Final = timedelta(days=12)
"""Longer than any bank debit here takes to come to its end, and than the waits of the policy in all."""

Post = Callable[[Sequence[SignedWebhook]], Sequence[SignedWebhook]]
"""What the line does to webhooks: repeats them, changes their order, or leaves them alone."""

RETRIES: Final = """
kind: retry
name: matrix
applies_to: {}
rules:
  - name: three tries, a day apart
    retry: {after: [1d, 1d, 1d]}
    otherwise: {stop: exhausted}
examples:
  - {given: {}, expect: "three tries, a day apart"}
"""

REFUNDS: Final = """
kind: refund
name: matrix
applies_to: {}
rules:
  - {name: disputed money stays, when: {dispute: [open, lost]}, deny: disputed}
  - {name: at once, approve: auto}
examples:
  - {given: {dispute: open}, expect: disputed money stays}
  - {given: {}, expect: at once}
"""


def policies() -> PolicyBook:
    """The policies under which every scenario is played."""
    return PolicyBook(compile_policy(parse_policy(text, source="matrix.yaml")) for text in (RETRIES, REFUNDS))


class Shop:
    """The merchant: reports failures, asks for refunds, lets time pass."""

    def __init__(self, provider: Provider, database_url: str, clock: Any) -> None:
        self.provider, self.clock = provider, clock
        settings = Settings(gateways=(GatewayEntry(name="main", plugin="matrix"),))
        gateways = {"main": provider.gateway}
        self.service = Service(settings, Database(database_url), gateways, policies(), Metrics(), clock)
        self.context = self.service.context
        self.post: Post = list
        self._heard = 0
        self._numbers = itertools.count(1)

    # -- what the merchant does

    async def fails(self, *behaviours: Behaviour) -> UUID:
        """Report a payment that failed; the tries that follow go as told. Returns the payment's id."""
        number, provider = next(self._numbers), self.provider
        token, customer = provider.credential(*behaviours)
        network = Network.VISA if provider.method == "card" else None
        report = FailureReport(
            merchant_id="default",
            reference=f"inv-{number}",
            amount_minor=OWED,
            currency="EUR",
            customer=Customer(ref=f"cus-{number}", country="DE"),
            gateway="main",
            method=provider.method,
            credentials=(
                ReportedCredential(
                    gateway="main", token=token, gateway_customer=customer, method=provider.method, network=network
                ),
            ),
            attempts=(PriorAttempt(at=self.clock.now(), decline=provider.first_decline()),),
        )
        return (await open_case(self.context, report, "key:shop", None)).payment.id

    async def paid(self) -> UUID:
        """A payment that failed and was collected; both sides agree on it."""
        payment_id = await self.fails(Behaviour.APPROVE)
        await self.live()
        await self.expect_collected(payment_id)
        return payment_id

    async def refund(self, payment_id: UUID, amount_minor: int = OWED) -> RefundFile:
        """Ask for a refund."""
        ask = RefundAsk(
            payment_id=payment_id, amount_minor=amount_minor, currency="EUR", reason="requested_by_customer"
        )
        by = By(merchant_id="default", actor="key:anna", principal="anna")
        return await request_refund(self.context, ask, by)

    # -- time

    async def live(self, until: timedelta = SETTLES) -> None:
        """Let time pass from job to job; the provider works and posts meanwhile."""
        end = self.clock.now() + until
        for _ in range(MAX_ROUNDS):
            await self._work()
            due = await self.service.jobs.next_due_at(self.clock.now())
            if self.clock.now() >= end:
                return
            self.clock.set(min(max(due or end, self.clock.now()), end))
        raise AssertionError("it never ends")

    async def _work(self) -> None:
        for _ in range(MAX_ROUNDS):
            self.provider.settle()
            delivered = await self.deliver()
            refs = await self.service.jobs.claim(self.clock.now(), 100, LEASE)
            if not refs and not delivered:
                return
            await self.service.run_jobs(refs)
        raise AssertionError("the jobs never end")

    async def deliver(self) -> int:
        """Post what the provider has to tell, over this line; returns how many webhooks that were."""
        told = self.provider.webhooks()
        fresh = self.post(told[self._heard :])
        self._heard = len(told)
        for webhook in fresh:
            await receive_webhook(self.context, "main", webhook.headers, webhook.body, None)
        return len(fresh)

    async def deliver_all_again(self) -> None:
        """Post everything that was ever told once more, and let it be applied."""
        self._heard = 0
        await self._work()

    # -- what became of it

    async def file(self, payment_id: UUID) -> CaseFile:
        """Everything known of a payment."""
        async with locked_cases(self.context, [payment_id]) as locked:
            draft = locked.draft(payment_id, "test", None)
            assert draft is not None
            return draft.file

    async def account(self, payment_id: UUID) -> PaymentAccount:
        """What the payment's captures hold."""
        async with self.service.database.connection() as connection:
            return (await load_accounts(connection, [payment_id]))[payment_id]

    async def refund_state(self, refund_id: UUID) -> RefundState:
        """How a refund stands."""
        async with self.service.database.connection() as connection:
            return (await load_refunds(connection, [refund_id]))[refund_id].refund.state

    async def expect_collected(self, payment_id: UUID, tries: int | None = None) -> None:
        """Both sides say that the debt was collected once; the provider saw so many tries of ours."""
        file = await self.file(payment_id)
        reference = file.payment.reference
        assert (str(file.payment.state), str(file.case.state)) == ("paid", "recovered")
        assert file.payment.captured_minor == OWED == self.provider.collected(reference)
        if tries is not None:
            assert self.provider.tries(reference) == tries
        await self.expect_books()

    async def expect_not_collected(self, payment_id: UUID, tries: int) -> None:
        """Both sides say that nothing was collected; the provider saw so many tries of ours, and no more will come."""
        file = await self.file(payment_id)
        reference = file.payment.reference
        assert (str(file.payment.state), str(file.case.state)) == ("owed", "exhausted")
        assert file.payment.captured_minor == 0 == self.provider.collected(reference)
        assert self.provider.tries(reference) == tries
        await self.expect_books()

    async def expect_books(self) -> None:
        """The ledger says what every row says."""
        assert (await verify_ledger(self.service.database)).fault is None
