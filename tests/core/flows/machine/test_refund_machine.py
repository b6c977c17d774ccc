"""A random life of refunds, checked against every promise after each step.

Hypothesis asks, edits, approves (anybody, by any route), rejects, sends back, cancels, lets jobs run against a bank
that answers as it likes, loses answers, takes money back, refunds elsewhere, opens disputes and lets time pass. After
each step the books of bank, ledger and captures must agree to the cent, nobody may have approved what they touched,
and nothing open may be without something that moves it on.
"""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recoup_core.domain.approval import Verdict
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.errors import DomainError
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method
from recoup_core.domain.refund import (
    Channel,
    Destination,
    PartState,
    Purpose,
    RefundState,
)
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.captured import CaptureReport, ReportedLine, report_captured
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.approvals import BulkItem, decide_many, decide_refund
from recoup_core.flows.refunds.ask import AskedLine, AskedPayment, RefundAsk, RefundEdit
from recoup_core.flows.refunds.delegations import DelegationAsk, delegate
from recoup_core.flows.refunds.requests import cancel_refund, edit_refund, request_refund, retry_refund, submit_refund
from recoup_core.flows.refunds.settle import PartResolution, resolve_part
from recoup_core.ports import CaptureNews, DisputeNews, GatewayEvent, RefundNews
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger_checks import verify_ledger
from recoup_core.storage.merchants import Role, ensure_merchants, mint_key
from recoup_core.storage.refunds import load_accounts, load_refunds
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service, shipped_policies

EXAMPLES = int(os.environ.get("RECOUP_MACHINE_EXAMPLES", "12"))
STEPS = 30
PEOPLE = {
    "ana": (),
    "ben": ("support_lead",),
    "cleo": ("finance",),
    "dan": ("support_lead", "finance", "finance_director"),
}
"""Who there is, with their approval roles; anybody may also ask for refunds."""

LEASE = timedelta(seconds=120)
LINES = (("shirt", 3, 7_000, 1_118), ("hat", 1, 2_500, 399), ("shipping", 1, 500, 80))
CAPTURED = sum(line[2] for line in LINES)


class World:
    """A service that all examples share; each has a merchant, a bank and a time of its own, and sees no other."""

    def __init__(self, loop: Any, make_bank: Any, clock: Any, url: str) -> None:
        self.loop, self.make_bank, self.clock = loop, make_bank, clock
        self.gateways: dict[str, Any] = {}
        self.service: Service = loop.run(self._open(url))

    async def _open(self, url: str) -> Service:
        book = PolicyBook.load(shipped_policies() / "refund")
        return await Service(Settings(), Database(url), self.gateways, book, Metrics(), self.clock).open()

    def begin(self) -> tuple[str, Any]:
        """Start anew: return a fresh merchant and its bank."""
        merchant, bank = f"shop-{len(self.gateways)}", self.make_bank(f"bank-{len(self.gateways)}")
        self.gateways[bank.name] = bank
        self.service.context.gateway_merchants[bank.name] = merchant  # type: ignore[index]  # the service's own dict
        self.clock.reset()
        self.loop.run(self._people(merchant))
        return merchant, bank

    async def _people(self, merchant: str) -> None:
        database, now = self.service.database, self.clock.now()
        await ensure_merchants(database, [merchant], None, now)
        for person, approves in PEOPLE.items():
            await mint_key(database, merchant, person, [Role.AGENT], now, actor="test", approves=approves)
        async with database.connection() as connection:
            await connection.execute("DELETE FROM job")

    def close(self) -> None:
        self.loop.run(self.service.close())


WORLD: World | None = None


class RefundLife(RuleBasedStateMachine):
    """Of one order: a payment with lines, one without, and one that is only authorised."""

    def __init__(self) -> None:
        super().__init__()
        assert WORLD is not None
        self.world = WORLD
        self.context = WORLD.service.context
        self.merchant, self.bank = WORLD.begin()
        self.refunds: list[UUID] = []
        self.disputes: dict[str, DisputeNews] = {}
        self.heard: list[GatewayEvent] = []
        self.touched: dict[UUID, set[str]] = {}
        self.elsewhere = 0

    def run(self, work: Any) -> Any:
        """Run one call; what a rule refuses is a refusal of the domain, never anything else."""
        try:
            return self.world.loop.run(work)
        except DomainError as refusal:
            note(f"refused: {refusal.code}")
            return None

    def by(self, person: str) -> By:
        return By(
            merchant_id=self.merchant,
            actor=f"key:{person}",
            principal=person,
            approves=PEOPLE[person],
            channel=Channel.API,
        )

    # -- what there is

    @initialize(currency=st.sampled_from(["EUR", "JPY", "KWD"]))
    def pay(self, currency: str) -> None:
        """Payments of one order come in, in a currency of two decimals, of none, or of three."""
        self.order, self.currency, self.bank.currency = f"order-{new_id()}", currency, currency
        self.payments = [self._captured(with_lines=True), self._captured(), self._captured(authorized=True)]

    def _captured(self, *, with_lines: bool = False, authorized: bool = False) -> UUID:
        reference = f"inv-{new_id()}"
        self.bank.captured[f"ch-{reference}"] = CAPTURED
        if authorized:
            self.bank.authorized.add(f"ch-{reference}")
        report = CaptureReport(
            merchant_id=self.merchant,
            reference=reference,
            order_ref=self.order,
            customer=Customer(ref="cus-life", country="DE"),
            amount_minor=CAPTURED,
            currency=self.currency,
            gateway=self.bank.name,
            gateway_ref=f"ch-{reference}",
            method=Method.CARD,
            captured_at=self.world.clock.now(),
            authorized=authorized,
            lines=tuple(
                ReportedLine(ref=ref, quantity=quantity, amount_minor=amount, tax_minor=tax)
                for ref, quantity, amount, tax in LINES
            )
            if with_lines
            else (),
        )
        account = self.world.loop.run(report_captured(self.context, report, "key:shop", None, None))
        return account.payment.id  # type: ignore[no-any-return]

    # -- what people do

    @rule(
        person=st.sampled_from(sorted(PEOPLE)),
        which=st.integers(0, 2),
        amount=st.one_of(st.integers(1, CAPTURED + 500), st.just(CAPTURED)),
        reason=st.sampled_from(["requested_by_customer", "duplicate", "fraudulent", "damaged", "no such reason"]),
        destination=st.sampled_from(Destination),
        purpose=st.sampled_from(Purpose),
    )
    def ask(self, person: str, which: int, amount: int, reason: str, destination: Any, purpose: Any) -> None:
        """Somebody asks for some of a payment."""
        self._asked(
            person,
            RefundAsk(
                payment_id=self.payments[which],
                amount_minor=amount,
                currency=self.currency,
                reason=reason,
                destination=destination,
                purpose=purpose,
            ),
        )

    @rule(person=st.sampled_from(sorted(PEOPLE)), pieces=st.integers(1, 3), shipping=st.booleans())
    def ask_for_pieces(self, person: str, pieces: int, shipping: bool) -> None:
        """Somebody sends shirts back; the amount is what the quantities come to, or the request is refused."""
        lines = (
            AskedLine(line="shirt", quantity=pieces),
            *([AskedLine(line="shipping", quantity=1)] if shipping else []),
        )
        amount = 7_000 * pieces // 3 + (500 if shipping else 0)
        self._asked(
            person,
            RefundAsk(
                payment_id=self.payments[0],
                amount_minor=amount,
                currency=self.currency,
                reason="requested_by_customer",
                lines=tuple(lines),
            ),
        )

    @rule(person=st.sampled_from(sorted(PEOPLE)), amount=st.integers(1, 3 * CAPTURED))
    def ask_over_the_order(self, person: str, amount: int) -> None:
        """Somebody asks for some of the order, over whatever payments it takes."""
        self._asked(
            person,
            RefundAsk(
                order_ref=self.order, amount_minor=amount, currency=self.currency, reason="requested_by_customer"
            ),
        )

    def _asked(self, person: str, ask: RefundAsk) -> None:
        file = self.run(request_refund(self.context, ask, self.by(person)))
        if file is not None:
            self.refunds.append(file.refund.id)
            self.touched[file.refund.id] = {person}

    @precondition(lambda self: self.refunds)
    @rule(person=st.sampled_from(sorted(PEOPLE)), amount=st.integers(1, CAPTURED), which=st.integers(0))
    def edit(self, person: str, amount: int, which: int) -> None:
        """Somebody changes the amount of a request."""
        file = self._file(which)
        edit = RefundEdit(amount_minor=amount)
        done = self.run(edit_refund(self.context, file.refund.id, edit, self.by(person), file.refund.version))
        self._touch(done, person)

    @precondition(lambda self: self.refunds)
    @rule(
        person=st.sampled_from(sorted(PEOPLE)),
        amounts=st.lists(st.integers(1, CAPTURED), min_size=1, max_size=3),
        which=st.integers(0),
    )
    def edit_payments(self, person: str, amounts: list[int], which: int) -> None:
        """Somebody says anew which payments of the order a refund goes over."""
        file = self._file(which)
        given = zip(self.payments, amounts, strict=False)
        payments = tuple(AskedPayment(payment_id=payment, amount_minor=amount) for payment, amount in given)
        edit = RefundEdit(amount_minor=sum(amounts), payments=payments)
        done = self.run(edit_refund(self.context, file.refund.id, edit, self.by(person), file.refund.version))
        self._touch(done, person)

    @precondition(lambda self: self.refunds)
    @rule(person=st.sampled_from(sorted(PEOPLE)), which=st.integers(0))
    def submit(self, person: str, which: int) -> None:
        """Somebody submits what was sent back."""
        file = self._file(which)
        done = self.run(submit_refund(self.context, file.refund.id, self.by(person), file.refund.version))
        self._touch(done, person)

    def _touch(self, done: RefundFile | None, person: str) -> None:
        if done is not None:
            self.touched[done.refund.id].add(person)

    @precondition(lambda self: self.refunds)
    @rule(
        person=st.sampled_from(sorted(PEOPLE)),
        which=st.integers(0),
        verdict=st.sampled_from([Verdict.APPROVE, Verdict.APPROVE, Verdict.APPROVE, Verdict.REJECT, Verdict.SEND_BACK]),
        bulk=st.booleans(),
        stale=st.booleans(),
    )
    def decide(self, person: str, which: int, verdict: Verdict, bulk: bool, stale: bool) -> None:
        """Somebody decides, alone or in bulk, with what they last read or with what was there before."""
        file = self._file(which)
        version = file.refund.version - (1 if stale else 0)
        if bulk:
            item = BulkItem(refund_id=file.refund.id, if_match=version)
            self.run(decide_many(self.context, [item], self.by(person), verdict, "seen"))
        else:
            self.run(decide_refund(self.context, file.refund.id, self.by(person), verdict, "seen", version))

    @rule(owner=st.sampled_from(["ben", "cleo", "dan"]), to=st.sampled_from(sorted(PEOPLE)))
    def lend(self, owner: str, to: str) -> None:
        """Somebody lends their roles for a day."""
        roles = PEOPLE[owner]
        ends = self.world.clock.now() + timedelta(days=1)
        ask = DelegationAsk(delegate=to, roles=roles, ends_at=ends)
        self.run(delegate(self.context, ask, self.by(owner)))

    @precondition(lambda self: self.refunds)
    @rule(person=st.sampled_from(sorted(PEOPLE)), which=st.integers(0))
    def cancel(self, person: str, which: int) -> None:
        """Somebody takes a request back, or closes a failed one."""
        self.run(cancel_refund(self.context, self._file(which).refund.id, self.by(person), "not needed"))

    @precondition(lambda self: self.refunds)
    @rule(which=st.integers(0), elsewhere=st.booleans())
    def retry(self, which: int, elsewhere: bool) -> None:
        """Somebody tries a failed refund again, or as store credit."""
        to = Destination.STORE_CREDIT if elsewhere else None
        done = self.run(retry_refund(self.context, self._file(which).refund.id, self.by("ana"), destination=to))
        self._touch(done, "ana")

    # -- what the bank does

    @rule(
        how=st.lists(
            st.sampled_from(["refund", "refuse", "pend", "lose_after", "lose_before", "not_sent", "low_balance"]),
            min_size=1,
            max_size=3,
        )
    )
    def script(self, how: list[str]) -> None:
        """The bank will answer so."""
        self.bank.next = how

    @rule()
    def work(self) -> None:
        """Workers run what is due."""
        self._work()

    @rule(hours=st.sampled_from([1, 5, 30, 24 * 6]))
    def wait(self, hours: int) -> None:
        """Time passes, and workers go on."""
        self.world.clock.advance(timedelta(hours=hours))
        self._work()

    def _work(self) -> None:
        async def all_due() -> None:
            for _ in range(50):
                refs = await self.world.service.jobs.claim(self.world.clock.now(), 100, LEASE)
                if not refs:
                    return
                for ref in sorted(refs, key=lambda ref: ref.id):  # one by one: the bank's answers keep their order
                    await self.world.service.run_jobs([ref])
            raise AssertionError("the jobs never end")

        self.world.loop.run(all_due())

    @rule(which=st.integers(0), state=st.sampled_from(["refunded", "refused", "taken_back"]), copies=st.integers(1, 2))
    def settle(self, which: int, state: str, copies: int) -> None:
        """The bank comes to an end with a pending refund, or takes one back; it tells so, perhaps twice."""
        here = {f"ch-{account.payment.reference}" for account in self._accounts()}
        moving = ("pending",) if state != "taken_back" else ("refunded",)
        rows = [
            row for row in self.bank.rows.values() if row.charge_ref in here and row.state in moving and row.part_id
        ]
        if rows:
            self._hear(refund=self.bank.settle(rows[which % len(rows)], state), copies=copies)

    @precondition(lambda self: self.heard)
    @rule(which=st.integers(0))
    def tell_again(self, which: int) -> None:
        """The bank repeats itself, out of order."""
        self._deliver(self.heard[which % len(self.heard)])

    @rule(which=st.integers(0, 1), amount=st.integers(1, CAPTURED))
    def refund_elsewhere(self, which: int, amount: int) -> None:
        """Somebody refunds in the bank's own dashboard."""
        reference = self._accounts()[which].payment.reference
        news = self.bank.elsewhere(f"ch-{reference}", Money(amount, self.currency))
        if news is not None:
            self.elsewhere += 1
            self._hear(refund=news)

    @rule(tell=st.booleans())
    def capture(self, tell: bool) -> None:
        """What was authorised is captured at the bank; its event may never come."""
        news = self.bank.capture(f"ch-{self._accounts()[2].payment.reference}")
        if news is not None and tell:
            self._hear(capture=news)

    @rule(
        which=st.integers(0, 1),
        standing=st.sampled_from(DisputeState),
        amount=st.integers(1, CAPTURED),
        fresh=st.booleans(),
    )
    def dispute(self, which: int, standing: DisputeState, amount: int, fresh: bool) -> None:
        """A customer goes to their bank, or the bank decides."""
        reference = self._accounts()[which].payment.reference
        known = self.disputes.get(reference)
        if known is None or fresh:
            known = DisputeNews(
                dispute_ref=f"dp-{new_id()}",
                charge_ref=f"ch-{reference}",
                amount=Money(amount, self.currency),
                standing=DisputeState.INQUIRY,
            )
        news = msgspec.structs.replace(known, standing=standing)
        self.disputes[reference] = news
        self._hear(dispute=news)

    @precondition(lambda self: self.refunds)
    @rule(which=st.integers(0))
    def settle_by_hand(self, which: int) -> None:
        """A person looks into the bank's books and says what became of an unknown refund: the truth."""
        for part in self._file(which).parts:
            if part.state is PartState.UNKNOWN:
                row = self.bank.rows.get(part.idempotency_key or "")
                known = {"refunded": "succeeded", "taken_back": "failed", "canceled": "failed", "refused": "failed"}
                outcome = "never_arrived" if row is None else known.get(row.state)
                if outcome is not None:
                    said = PartResolution(outcome=outcome, evidence="the bank's own list")  # type: ignore[arg-type]
                    self.run(resolve_part(self.context, part.id, self.by("dan"), said))

    def _hear(
        self,
        *,
        refund: RefundNews | None = None,
        dispute: DisputeNews | None = None,
        capture: CaptureNews | None = None,
        copies: int = 1,
    ) -> None:
        event = GatewayEvent(
            external_id=f"evt-{new_id()}",
            kind="told",
            occurred_at=self.world.clock.now(),
            refund=refund,
            dispute=dispute,
            capture=capture,
            payload={},
        )
        self.heard.append(event)
        for _ in range(copies):
            self._deliver(event)

    def _deliver(self, event: GatewayEvent) -> None:
        body = msgspec.json.encode(event)
        self.world.loop.run(receive_webhook(self.context, self.bank.name, {}, body, None))

    # -- what must always be true

    @invariant()
    def the_counters_are_the_sums(self) -> None:
        """Promise 4: what a capture holds is what its parts hold, and asking never exceeds it."""
        if not hasattr(self, "payments"):
            return
        files = self._files()
        for account in self._accounts():
            capture = account.captures[0]
            holding = [p for f in files for p in f.parts if p.capture_id == capture.id and p.state in HOLDING_STATES]
            assert capture.held_minor == sum(part.amount_minor for part in holding)
            exceeds = capture.held_minor + capture.disputed_minor - capture.amount_minor
            assert capture.over_minor == max(0, exceeds)

    @invariant()
    def the_banks_books_are_ours(self) -> None:
        """Promise 2: each part moved money once at most, and what we say came of it is what the bank says."""
        if not hasattr(self, "payments"):
            return
        for file in self._files():
            for part in file.parts:
                row = self.bank.rows.get(part.idempotency_key or "")
                if part.state is PartState.SUCCEEDED and part.idempotency_key is not None:
                    assert row is not None
                    assert row.state in ("refunded", "taken_back")
                if part.state in (PartState.RESERVED, PartState.SCHEDULED) and row is not None:
                    assert row.state == "refused", "money moved for a part that we hold to be unsent"
        moved = Counter(row.part_id for row in self.bank.rows.values() if row.part_id)
        assert all(count == 1 for count in moved.values())
        if self.elsewhere == 0 and not self.disputes:
            assert self.bank.overdrawn == 0

    @invariant()
    def nobody_approved_what_they_touched(self) -> None:
        """Promise 8, by whatever route."""
        for file in self._files():
            refund = file.refund
            touched = self.touched.get(refund.id)
            if touched is None:
                continue  # made elsewhere
            assert touched <= set(refund.touched_by)
            for approval in file.approvals:
                if approval.verdict is Verdict.APPROVE and approval.revision == refund.revision:
                    assert approval.principal not in touched
                    assert approval.on_behalf_of not in touched
            given = [a for a in file.approvals if a.verdict is Verdict.APPROVE and a.revision == refund.revision]
            people = [person for a in given for person in (a.principal, a.on_behalf_of) if person]
            assert len(people) == len(set(people))

    @invariant()
    def nothing_leaves_unapproved(self) -> None:
        """A part that may have left belongs to a refund that a policy or all levels of people approved."""
        for file in self._files():
            arrived = [part for part in file.parts if (part.idempotency_key or "") in self.bank.rows]
            if arrived:  # what certainly never left may have been denied since
                assert file.refund.approved_at is not None

    @invariant()
    def the_ledger_is_whole(self) -> None:
        """Promise 5: balanced, and its refunds are our parts, to the cent."""
        if not hasattr(self, "payments"):
            return
        fault = self.world.loop.run(verify_ledger(self.context.database, merchant_id=self.merchant))
        assert fault.fault is None, fault

    @invariant()
    def nothing_is_stuck(self) -> None:
        """Promise 12: what is open has a job, or a person is asked."""
        if not hasattr(self, "payments"):
            return
        for file in self._files():
            if file.refund.state in (
                RefundState.APPROVED,
                RefundState.IN_REVIEW,
                RefundState.SENT_BACK,
                RefundState.INCOMPLETE,
            ):
                assert file.open_tasks or self._jobs(file), (
                    f"{file.refund.id} is {file.refund.state} and nothing moves it"
                )

    # -- looking

    def _jobs(self, file: RefundFile) -> int:
        async def count() -> int:
            async with self.context.database.connection() as connection:
                ids = [file.refund.id, *(part.id for part in file.parts)]
                found: int = await connection.fetchval("SELECT count(*) FROM job WHERE subject_id = ANY($1)", ids)
                return found

        return self.world.loop.run(count())  # type: ignore[no-any-return]

    def _files(self) -> list[RefundFile]:
        async def look() -> list[RefundFile]:
            async with self.context.database.connection() as connection:
                rows = await connection.fetch(
                    "SELECT DISTINCT refund_id AS id FROM refund_part WHERE payment_id = ANY($1)"
                    " UNION SELECT id FROM refund WHERE payment_id = ANY($1)",
                    getattr(self, "payments", []),
                )
                found = await load_refunds(connection, [row["id"] for row in rows])
            return [found[key] for key in sorted(found)]

        return self.world.loop.run(look())  # type: ignore[no-any-return]

    def _file(self, which: int) -> RefundFile:
        wanted = self.refunds[which % len(self.refunds)]
        return next(file for file in self._files() if file.refund.id == wanted)

    def _accounts(self) -> list[Any]:
        async def look() -> list[Any]:
            async with self.context.database.connection() as connection:
                found = await load_accounts(connection, self.payments)
            return [found[payment] for payment in self.payments]

        return self.world.loop.run(look())  # type: ignore[no-any-return]


HOLDING_STATES = frozenset(
    {
        PartState.RESERVED,
        PartState.SCHEDULED,
        PartState.SUBMITTED,
        PartState.PENDING,
        PartState.UNKNOWN,
        PartState.SUCCEEDED,
    }
)


@pytest.fixture
def world(loop: Any, make_bank: Any, step_clock: Any, database_url: str) -> Iterator[None]:
    """The world that the machine lives in; hypothesis makes the machine itself, so it finds it here."""
    global WORLD
    WORLD = World(loop, make_bank, step_clock, database_url)
    yield
    WORLD.close()
    WORLD = None


def test_every_promise_holds_after_each_step(world: None) -> None:
    """`RECOUP_MACHINE_EXAMPLES=300` looks longer; a failing life is shrunk to its shortest form."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        RefundLife,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
        ),
    )
