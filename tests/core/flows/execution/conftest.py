"""A merchant whose bank does exactly what a test says, and keeps books of its own to compare ours with."""

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import entry_of_capture
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method, Network, Payment, PaymentState
from recoup_core.domain.refund import (
    Destination,
    FailureCategory,
    PartState,
    Purpose,
    Refund,
    RefundFailure,
    RefundPart,
    RefundState,
)
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.domain.versions import VersionOrigin
from recoup_core.flows.desk import Change
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.recover import Opened, open_case
from recoup_core.flows.refunds.disputed import DisputeFacts, charge_refs, store_dispute
from recoup_core.flows.refunds.draft import SEND_REFUND
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.flows.versions import retire
from recoup_core.ports import (
    Canceled,
    CancelOutcome,
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    DisputeNews,
    FoundCharge,
    FoundRefund,
    GatewayEvent,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundNews,
    RefundOutcome,
    RefundRequest,
    Refused,
    Succeeded,
)
from recoup_core.reference import classify
from recoup_core.rules.engine.compile import CompiledPolicy, compile_policy
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.changes import Changes, JobRef, NewJob, StoredDecision
from recoup_core.storage.engine import Database
from recoup_core.storage.lookups import capture_of_charge
from recoup_core.storage.refunds import load_accounts, load_refunds
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service

LEASE = timedelta(seconds=120)
MAX_ROUNDS = 500

POLICY = """
kind: refund
name: consumer
applies_to: {purpose: refund}
balance_retries: [4h, 1d]
rules:
  - {name: disputed, when: {dispute: [open, lost]}, deny: disputed}
  - {name: asked, when: {dispute: inquiry}, review: {levels: [[finance]]}}
  - {name: much, when: {amount: {gt: {EUR: 500.00}}}, review: {levels: [[support_lead]]}}
  - {name: pays, approve: {within: 400d}, otherwise: {deny: too_old}}
examples:
  - {given: {dispute: open}, expect: disputed}
  - {given: {dispute: inquiry}, expect: asked}
  - {given: {amount: {EUR: 501.00}, payment_amount: {EUR: 501.00}}, expect: much}
  - {given: {amount: {EUR: 5.00}}, expect: pays}
"""

Answer = RefundOutcome | BaseException
"""What the bank answers to a send; an exception is raised instead."""


class Bank:
    """A gateway that moves money once per key and answers as it was told to."""

    name = "sandbox"

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.capabilities = Capabilities(
            methods=frozenset(Method),
            key_lifetime=timedelta(hours=24),
            finds_charges=True,
            refunds=True,
            finds_refunds=True,
            voids=True,
            cancels_refunds=True,
        )
        self.answers: list[Answer | tuple[str, Answer]] = []
        """For the next sends, in order; `("done", answer)` moves the money whatever it answers."""
        self.found: list[FoundRefund | BaseException] = []
        """For the next look-ups; without, the bank looks into its books."""
        self.cancel_answer: CancelOutcome | None = None
        self.requests: list[RefundRequest] = []
        self.lookups = 0
        self.books: dict[str, RefundRequest] = {}
        """What went back, by idempotency key."""
        self.pending: dict[str, RefundRequest] = {}
        self.charge_answers: list[BaseException] = []
        self.charge_found: list[BaseException] = []
        self.before_refund: Callable[[RefundRequest], Awaitable[None]] | None = None

    def can(self, **capabilities: Any) -> None:
        """Change what the bank can do."""
        self.capabilities = msgspec.structs.replace(self.capabilities, **capabilities)

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        if self.charge_answers:
            raise self.charge_answers.pop(0)
        return Succeeded(gateway_ref=f"ch-{request.attempt_id}", amount=request.amount)

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        if self.charge_found:
            raise self.charge_found.pop(0)
        return NotFound()

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        self.requests.append(request)
        if self.before_refund is not None:
            await self.before_refund(request)
        known = self.books.get(request.idempotency_key)
        if known is not None:
            assert _asked(known) == _asked(request), "the same key came with another request"
        answer: Answer | tuple[str, Answer] = self.answers.pop(0) if self.answers else self.done(request)
        if isinstance(answer, tuple):
            self.books[request.idempotency_key] = request
            answer = answer[1]
        if isinstance(answer, Refunded):
            self.books[request.idempotency_key] = request
        if isinstance(answer, Pending):
            self.pending[request.idempotency_key] = request
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        self.lookups += 1
        if self.found:
            found = self.found.pop(0)
            if isinstance(found, BaseException):
                raise found
            return found
        if request.idempotency_key in self.books:
            return self.done(request)
        if request.idempotency_key in self.pending:
            return Pending(gateway_ref=self.ref(request))
        return NotFound()

    async def cancel_refund(self, request: RefundRequest) -> CancelOutcome:
        if isinstance(self.cancel_answer or Canceled(), Canceled):
            self.pending.pop(request.idempotency_key, None)
        return self.cancel_answer or Canceled(gateway_ref=self.ref(request))

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        return msgspec.json.decode(body, type=list[GatewayEvent])

    async def health(self) -> None:
        return None

    def ref(self, request: RefundRequest) -> str:
        """The bank's own name for a refund."""
        return f"re-{request.idempotency_key.removeprefix('recoup-')}"

    def done(self, request: RefundRequest) -> Refunded:
        """The answer to a refund that went through."""
        return Refunded(gateway_ref=self.ref(request), amount=request.amount)

    def settle_pending(self) -> None:
        """What was pending goes through."""
        self.books |= self.pending
        self.pending.clear()

    def moved(self) -> dict[str, int]:
        """What went back of each charge, voids left out."""
        totals: dict[str, int] = defaultdict(int)
        for request in self.books.values():
            if not request.void:
                totals[request.charge_ref] += request.amount.amount_minor
        return dict(totals)


def _asked(request: RefundRequest) -> tuple[Any, ...]:
    return (request.charge_ref, request.amount, request.void, request.reason)


class Till:
    """A merchant with collected payments and refunds that somebody has approved."""

    def __init__(self, service: Service, bank: Bank, clock: Any, digest: str) -> None:
        self.service, self.bank, self.clock = service, bank, clock
        self.context = service.context
        self._digest = digest
        self._numbers: Iterator[int] = itertools.count(1)

    # -- what is there

    async def payment(
        self,
        *amounts: int,
        currency: str = "EUR",
        state: CaptureState = CaptureState.CAPTURED,
        order_ref: str | None = None,
        method: Method = Method.CARD,
    ) -> PaymentAccount:
        """A payment with a capture of each amount (one of 100.00 if none is given)."""
        amounts = amounts or (10_000,)
        number, now = next(self._numbers), self.clock.now()
        captured = state is CaptureState.CAPTURED
        payment = Payment(
            id=new_id(),
            merchant_id="default",
            reference=f"order-{number}",
            customer=Customer(ref=f"cus-{number}", country="DE"),
            amount_minor=sum(amounts),
            currency=currency,
            captured_minor=sum(amounts) if captured else 0,
            gateway="sandbox",
            method=method,
            state=PaymentState.PAID,
            order_ref=order_ref,
            paid_at=now if captured else None,
            created_at=now,
        )
        captures = [
            Capture(
                id=new_id(),
                merchant_id="default",
                payment_id=payment.id,
                gateway="sandbox",
                gateway_ref=f"ch-{number}-{index}",
                method=method,
                amount_minor=amount,
                currency=currency,
                state=state,
                captured_at=now if captured else None,
                created_at=now + timedelta(milliseconds=index),
            )
            for index, amount in enumerate(amounts)
        ]
        entries = [entry_of_capture(capture, at=now) for capture in captures] if captured else []
        await self.write(payment, *captures, *entries)
        return await self.account(payment.id)

    async def approved(
        self,
        account: PaymentAccount,
        *amounts: int,
        destination: Destination = Destination.ORIGINAL_METHOD,
        purpose: Purpose = Purpose.REFUND,
        reason: str = "requested_by_customer",
        captures: Sequence[Capture] = (),
        knew: str = "none",
    ) -> UUID:
        """An approved refund with one part for each amount, over these captures in turn (else the payment's own).

        The decision knew the standing `knew` of disputes.
        """
        amounts = amounts or (account.captures[0].amount_minor,)
        over = captures or account.captures
        now, refund_id = self.clock.now(), new_id()
        decision = StoredDecision(
            id=new_id(),
            merchant_id="default",
            refund_id=refund_id,
            kind=PolicyKind.REFUND,
            policy_digest=self._digest,
            rule="pays",
            facts=msgspec.Raw(msgspec.json.encode({"dispute": knew})),
            situation=msgspec.Raw(b"{}"),
            outcome=msgspec.Raw(b'{"type": "approve"}'),
            explanation=msgspec.Raw(b"{}"),
            decided_at=now,
        )
        refund = Refund(
            id=refund_id,
            merchant_id="default",
            payment_id=account.payment.id,
            customer_ref=account.payment.customer.ref,
            purpose=purpose,
            destination=destination,
            amount_minor=sum(amounts),
            currency=account.payment.currency,
            reason=reason,
            requested_by="agent:ada",
            touched_by=("agent:ada",),
            state=RefundState.APPROVED,
            policy_name="consumer",
            policy_digest=self._digest,
            decision_id=decision.id,
            created_at=now,
            approved_at=now,
        )
        parts = [self._part(refund, over[index % len(over)], index + 1, amount) for index, amount in enumerate(amounts)]
        jobs = [NewJob(kind=SEND_REFUND, subject_id=part.id, due_at=now) for part in parts]
        await self.write(refund, decision, *parts, *jobs)
        return refund_id

    async def owing(self, collected: int = 0) -> tuple[Opened, PaymentAccount]:
        """A payment of 20.00 that failed and is being collected, with so much of it collected elsewhere."""
        number = next(self._numbers)
        report = FailureReport(
            merchant_id="default",
            reference=f"inv-{number}",
            amount_minor=2_000,
            currency="EUR",
            customer=Customer(ref=f"cus-{number}", country="DE"),
            gateway="sandbox",
            method=Method.CARD,
            credentials=(
                ReportedCredential(
                    gateway="sandbox",
                    token="tok_1",
                    fingerprint=f"card-{number}",  # limits count per card: one for all would use them up
                    method=Method.CARD,
                    network=Network.VISA,
                ),
            ),
            attempts=(
                PriorAttempt(
                    at=self.clock.now(),
                    decline=classify(DeclineSource.STRIPE, "insufficient_funds", network=Network.VISA),
                ),
            ),
        )
        opened = await open_case(self.context, report, "key:shop", None)
        if collected:
            paid = Succeeded(gateway_ref=f"ch-part-{number}", amount=Money(collected, "EUR"))
            await self.hear(self.event(f"evt-part-{number}", outcome=paid, payment_reference=report.reference))
        return opened, await self.account(opened.payment.id)

    async def retire(self, kind: str) -> None:
        """Take the live version of a kind of policy out of force."""
        [row] = await self.rows("SELECT id FROM policy_version WHERE kind = $1 AND state = 'live'", kind)
        await retire(self.context, row["id"], Change(merchant_id=None, actor="operator:otto", origin=VersionOrigin.CLI))

    def _part(self, refund: Refund, capture: Capture, number: int, amount: int) -> RefundPart:
        part_id = new_id()
        original = refund.destination is Destination.ORIGINAL_METHOD
        return RefundPart(
            id=part_id,
            merchant_id="default",
            refund_id=refund.id,
            payment_id=capture.payment_id,
            capture_id=capture.id,
            number=number,
            revision=1,
            destination=refund.destination,
            gateway=capture.gateway if original else None,
            amount_minor=amount,
            currency=refund.currency,
            idempotency_key=f"recoup-{part_id}" if original else None,
            state=PartState.SCHEDULED,
            created_at=refund.created_at,
        )

    async def write(self, *rows: Any) -> None:
        """Store rows as flows do."""
        changes = Changes()
        changes.add(*rows)
        async with self.service.database.transaction() as connection:
            await changes.write(connection)

    # -- what happens

    async def claim(self) -> list[JobRef]:
        """Lease what is due now."""
        return await self.service.jobs.claim(self.clock.now(), 100, LEASE)

    async def run_due(self) -> int:
        """Run everything due now, and what that makes due; return how many jobs ran."""
        total = 0
        for _ in range(MAX_ROUNDS):
            refs = await self.claim()
            if not refs:
                return total
            total += len(refs)
            await self.service.run_jobs(refs)
        raise AssertionError("the jobs never end")

    async def live(self, until: timedelta = timedelta(days=60)) -> None:
        """Let time pass from job to job until nothing is left to do, or `until` is reached."""
        end = self.clock.now() + until
        for _ in range(MAX_ROUNDS):
            await self.run_due()
            due = await self.service.jobs.next_due_at(self.clock.now())
            if due is None or due > end:
                self.clock.set(max(end, self.clock.now()) if due is not None else self.clock.now())
                return
            self.clock.set(max(due, self.clock.now()))
        raise AssertionError("the refunds never end")

    async def hear(self, *events: GatewayEvent) -> None:
        """Receive webhooks and apply what is due of them."""
        await receive_webhook(self.context, "sandbox", {}, msgspec.json.encode(list(events)), "corr-hook")
        await self.run_due()

    async def dispute(self, news: DisputeNews) -> Dispute | None:
        """Store what the gateway says about a dispute, with all that follows; None where no charge of ours is meant."""
        async with self.context.database.connection() as connection:
            capture = await capture_of_charge(connection, "default", "sandbox", charge_refs(news))
        if capture is None:
            return None

        async def nothing_more(*_: Any) -> None:
            """Nothing else belongs into the transaction."""

        facts = DisputeFacts(
            merchant_id="default", gateway="sandbox", capture=capture, news=news, actor="gateway:sandbox"
        )
        return await store_dispute(self.context, facts, nothing_more)

    def event(self, external_id: str, at: datetime | None = None, **news: Any) -> GatewayEvent:
        """One event of the bank."""
        return GatewayEvent(
            external_id=external_id, kind="bank.event", occurred_at=at or self.clock.now(), payload={}, **news
        )

    def told(
        self, external_id: str, part: RefundPart, outcome: Any, at: datetime | None = None, **more: Any
    ) -> GatewayEvent:
        """An event about a part of ours."""
        fields = {"refund_ref": f"re-{part.id}", "part_id": part.id, "amount": part.amount, "outcome": outcome}
        return self.event(external_id, at, refund=RefundNews(**(fields | more)))

    def by(self, **fields: Any) -> By:
        """An operator of this merchant."""
        return By(**({"merchant_id": "default", "actor": "key:otto", "principal": "otto"} | fields))

    # -- what became of it

    async def refund(self, refund_id: UUID) -> RefundFile:
        """Everything known of a refund."""
        async with self.service.database.connection() as connection:
            return (await load_refunds(connection, [refund_id]))[refund_id]

    async def account(self, payment_id: UUID) -> PaymentAccount:
        """Everything known of a payment's money."""
        async with self.service.database.connection() as connection:
            return (await load_accounts(connection, [payment_id]))[payment_id]

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        """Ask the database directly."""
        async with self.service.database.connection() as connection:
            return list(await connection.fetch(sql, *values))

    async def events(self, refund_id: UUID) -> list[str]:
        """The kinds of what happened to a refund, in order."""
        rows = await self.rows("SELECT kind FROM event WHERE refund_id = $1 ORDER BY id", refund_id)
        return [row["kind"] for row in rows]

    async def tasks(self) -> list[str]:
        """The kinds of tasks that wait, in order."""
        rows = await self.rows("SELECT kind FROM human_task WHERE resolved_at IS NULL ORDER BY id")
        return [row["kind"] for row in rows]

    async def balances(self) -> dict[str, int]:
        """What every ledger account stands at."""
        rows = await self.rows(
            "SELECT account, sum(amount_minor)::bigint AS total FROM ledger_posting GROUP BY account"
        )
        return {row["account"]: row["total"] for row in rows if row["total"]}

    async def books_agree(self) -> None:
        """What the bank moved, what our parts say, what the captures hold and what the ledger says are one."""
        rows = await self.rows(
            "SELECT c.gateway_ref, c.held_minor, coalesce(sum(p.amount_minor) FILTER (WHERE p.state = 'succeeded'), 0)"
            " AS paid, coalesce(sum(p.amount_minor) FILTER (WHERE p.state IN ('reserved', 'scheduled', 'submitted',"
            " 'pending', 'unknown', 'succeeded')), 0) AS holding FROM capture c LEFT JOIN refund_part p"
            " ON p.capture_id = c.id AND NOT p.void AND p.gateway IS NOT NULL GROUP BY c.id"
        )
        ours = {row["gateway_ref"]: row["paid"] for row in rows if row["paid"]}
        assert ours == self.bank.moved()
        captured = sum(
            row["amount_minor"] for row in await self.rows("SELECT amount_minor FROM capture WHERE state = 'captured'")
        )
        cleared = (await self.balances()).get("gateway_clearing:sandbox", 0)
        assert cleared == captured - sum(ours.values())


@pytest.fixture
def bank(clock: Any) -> Bank:
    """A bank that refunds whatever it is asked to, until it is told otherwise."""
    return Bank(clock)


@pytest.fixture(scope="session")
def refund_policy() -> CompiledPolicy:
    """The policy above."""
    return compile_policy(parse_policy(POLICY, source="refund.yaml"))


@pytest.fixture(scope="session")
def till_book(shipped_book: PolicyBook, refund_policy: CompiledPolicy) -> PolicyBook:
    """The policy above for refunds and the shipped ones for retries."""
    return PolicyBook([*shipped_book.policies, refund_policy])


@pytest.fixture
async def till(
    database_url: str, clock: Any, bank: Bank, till_book: PolicyBook, refund_policy: CompiledPolicy
) -> AsyncIterator[Till]:
    """A merchant at that bank."""
    settings = Settings(gateways=(GatewayEntry(name="sandbox", plugin="sandbox"),))
    service = Service(settings, Database(database_url), {"sandbox": bank}, till_book, Metrics(), clock)
    await service.open()
    yield Till(service, bank, clock, refund_policy.digest)
    await service.close()


@pytest.fixture
def refused() -> Callable[..., Refused]:
    """`refused("refused")` is the bank's no, for a reason of that category."""

    def make(category: str = "refused", code: str = "no") -> Refused:
        return Refused(failure=RefundFailure(category=FailureCategory(category), code=code))

    return make


@pytest.fixture
def not_sent() -> NotSent:
    """The bank can't be reached."""
    return NotSent(reason="unreachable")


@pytest.fixture
def eur() -> Callable[[int], Money]:
    """Minor units of euro."""
    return lambda minor: Money(minor, "EUR")
