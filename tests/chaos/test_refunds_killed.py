"""kill -9 of a worker at each point of a refund: nobody is paid back twice, and no refund is forgotten.

The bank keeps books of its own in a file; afterwards they must agree with ours to the cent.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from tests.chaos.conftest import QUIET_S, Chaos
from tests.stories.client import POLL_S, eventually
from tests.stories.installation import SANDBOX, Installation, Process

from recoup_core.domain.payment import Customer, Method
from recoup_core.flows.captured import CaptureReport, report_captured
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.storage.audit import seal_events, verify_audit

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

WITHIN_S = 60.0
CHARGED = 4_900
ASKED = 1_999
POLICY = """\
kind: refund
name: story
applies_to: {purpose: refund}
rules:
  - {name: pays, approve: {within: 30d}, otherwise: {deny: too_old}}
examples:
  - {given: {}, expect: pays}
"""

SUBMITTED = "SELECT count(*) FROM refund_part WHERE state = 'submitted'"
LEFT = "SELECT count(*) FROM refund_part WHERE sends > 0"
WAITING_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

Point = Callable[["Refunds"], AbstractAsyncContextManager[Process]]
"""Starts a worker and a scheduler and yields the worker, held at one point of its work."""


class Refunds:
    """Refunds of an installation, and what must become of each."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.expected: dict[str, int] = {}
        """By charge: what must have gone back."""

    async def seed(self, *scripts: str) -> None:
        """Report one collected payment per script and ask for part of it back; the policy approves at once."""
        (self.house.folder / "policies" / "refund.yaml").write_text(POLICY)
        service = await self.house.service().open()
        collected_at = datetime.now(UTC) - timedelta(minutes=5)
        try:
            for number, script in enumerate(scripts):
                report = CaptureReport(
                    merchant_id="default",
                    reference=f"order-{number}",
                    customer=Customer(ref=f"customer-{number}", country="DE"),
                    amount_minor=CHARGED,
                    currency="EUR",
                    gateway=SANDBOX,
                    gateway_ref=f"sbx_reported_{number}~{script}",
                    method=Method.CARD,
                    captured_at=collected_at,
                )
                account = await report_captured(service.context, report, "key:chaos", None)
                ask = RefundAsk(
                    payment_id=account.payment.id, amount_minor=ASKED, currency="EUR", reason="requested_by_customer"
                )
                await request_refund(
                    service.context, ask, By(merchant_id="default", actor="key:chaos", principal="chaos")
                )
                self.expected[report.gateway_ref] = 0 if "refused" in script else ASKED
        finally:
            await service.close()

    async def until_ended(self) -> None:
        """Let time fly until every refund has ended and no job is left."""
        started = changed = time.monotonic()
        before: object = None
        while True:
            state = await self._state()
            if state[:2] == (0, 0):
                return
            now = time.monotonic()
            assert now - started < WITHIN_S, f"after {WITHIN_S:g} s: {state[0]} refunds open, {state[1]} jobs left"
            await self.house.hurry()
            if state != before:
                before, changed = state, now
            elif now - changed > QUIET_S:
                await self.house.end_leases()
                changed = now
            await asyncio.sleep(POLL_S)

    async def _state(self) -> tuple[int, int, int]:
        row = await self.house.fetch(
            "SELECT (SELECT count(*) FROM refund WHERE state = 'approved'), (SELECT count(*) FROM job),"
            " (SELECT coalesce(max(id), 0) FROM event)"
        )
        return tuple(row[0])

    async def moved(self) -> bool:
        """Whether any money went back at the bank."""
        totals = await asyncio.to_thread(self.house.bank.refund_totals)
        return any(total.back_minor or total.pending_minor for total in totals.by_charge.values())

    async def all_is_well(self) -> None:
        """The bank's books, our parts, the captures' counters and the ledger are one; the audit trail holds."""
        rows = await self.house.fetch(
            """SELECT c.gateway_ref, c.held_minor, c.amount_minor AS charged,
                 (SELECT coalesce(sum(p.amount_minor), 0) FROM refund_part p
                  WHERE p.capture_id = c.id AND p.state = 'succeeded') AS paid,
                 (SELECT coalesce(sum(l.amount_minor), 0) FROM ledger_entry e JOIN ledger_posting l ON l.entry_id = e.id
                  WHERE e.capture_id = c.id AND l.account = 'gateway_clearing:sandbox') AS cleared
               FROM capture c"""
        )
        bank = (await asyncio.to_thread(self.house.bank.refund_totals)).by_charge
        assert {row["gateway_ref"]: row["paid"] for row in rows} == self.expected
        assert {ref: total.back_minor for ref, total in bank.items()} == self.expected
        assert all(row["held_minor"] == row["paid"] == row["charged"] - row["cleared"] for row in rows)
        assert all(total.keys == 1 for total in bank.values())
        assert await self.house.value("SELECT count(*) FROM job") == 0
        ended = dict(await self.house.fetch("SELECT state, count(*) FROM refund GROUP BY state"))
        failed = sum(amount == 0 for amount in self.expected.values())
        assert ended == {
            state: count for state, count in (("succeeded", len(self.expected) - failed), ("failed", failed)) if count
        }
        tasks = await self.house.fetch("SELECT kind FROM human_task WHERE resolved_at IS NULL")
        assert [task["kind"] for task in tasks] == ["refund_failed"] * failed
        await self._audit_holds()

    async def _audit_holds(self) -> None:
        service = self.house.service()
        await service.database.open()
        try:
            await seal_events(service.database, datetime.now(UTC))
            verified = await verify_audit(service.database, datetime.now(UTC))
        finally:
            await service.database.close()
        assert verified.fault is None

    def start(self) -> Process:
        """Start a worker and a scheduler."""
        worker, _ = self.house.start("worker", "scheduler")
        return worker


@asynccontextmanager
async def before_it_is_written_down(refunds: Refunds) -> AsyncIterator[Process]:
    """The worker has its message and waits for the payments' locks."""
    async with _payments_locked(refunds):
        worker = refunds.start()
        await eventually(lambda: _some(refunds, WAITING_FOR_A_LOCK), "the worker to wait for the locks")
        assert not await _some(refunds, LEFT)
        yield worker


@asynccontextmanager
async def before_the_call(refunds: Refunds) -> AsyncIterator[Process]:
    """The parts are committed as submitted; the bank, whose books we hold, has not heard of them."""
    assert not await refunds.moved()  # makes the bank's file
    books = sqlite3.connect(refunds.house.folder / "bank.sqlite", isolation_level=None)
    books.execute("BEGIN IMMEDIATE")
    try:
        worker = refunds.start()
        await eventually(lambda: _some(refunds, SUBMITTED), "the worker to write the parts down")
        yield worker
    finally:
        books.close()
    assert not await refunds.moved()


@asynccontextmanager
async def after_the_call(refunds: Refunds) -> AsyncIterator[Process]:
    """The bank has moved the money; its answer is on the way (the script delays it)."""
    worker = refunds.start()
    await eventually(refunds.moved, "the bank to move money")
    yield worker
    assert await _some(refunds, SUBMITTED)


@asynccontextmanager
async def before_the_commit(refunds: Refunds) -> AsyncIterator[Process]:
    """The worker has the answer and waits for the payments' locks to write it down."""
    worker = refunds.start()
    await eventually(refunds.moved, "the bank to move money")
    async with _payments_locked(refunds):
        await eventually(lambda: _some(refunds, WAITING_FOR_A_LOCK), "the worker to wait for the locks")
        yield worker
    assert await _some(refunds, SUBMITTED)


@asynccontextmanager
async def while_it_is_settled(refunds: Refunds) -> AsyncIterator[Process]:
    """Every answer is lost; the worker has looked the parts up and waits to write down what it found."""
    worker = refunds.start()
    unknown = "SELECT count(*) FROM refund_part WHERE state = 'unknown'"
    await eventually(lambda: _some(refunds, unknown), "the answers to be lost")
    async with _payments_locked(refunds):
        await refunds.house.hurry()
        await eventually(lambda: _some(refunds, WAITING_FOR_A_LOCK), "the worker to wait for the locks")
        yield worker


@pytest.mark.parametrize(
    ("held_at", "script"),
    [
        (before_it_is_written_down, "approve"),
        (before_the_call, "approve"),
        (after_the_call, "delay:20s+approve"),
        (before_the_commit, "delay:2s+approve"),
        (while_it_is_settled, "lose+approve"),
    ],
)
async def test_a_worker_killed_in_the_midst_of_a_refund_pays_nobody_twice(
    chaos: Chaos, held_at: Point, script: str
) -> None:
    """Promise 2: the part is written down before it is sent, so who takes over finds out what happened."""
    refunds = Refunds(chaos.house)
    await refunds.seed(*[script] * 8, "pending:1s+approve", "refused:lost_or_stolen_card")

    async with held_at(refunds) as worker:
        worker.kill()
    refunds.house.start("worker")
    await refunds.until_ended()

    await refunds.all_is_well()


async def test_the_books_tell_a_double_refund(chaos: Chaos) -> None:
    """The comparison can fail: money that went back behind our back is seen."""
    refunds = Refunds(chaos.house)
    await refunds.seed("approve")
    refunds.start()
    await refunds.until_ended()
    await refunds.all_is_well()

    books = sqlite3.connect(refunds.house.folder / "bank.sqlite")
    books.execute("UPDATE refund SET amount_minor = amount_minor + 1")
    books.commit()
    books.close()

    with pytest.raises(AssertionError):
        await refunds.all_is_well()


@asynccontextmanager
async def _payments_locked(refunds: Refunds) -> AsyncIterator[None]:
    connection = await asyncpg.connect(refunds.house.database_url)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT id FROM payment FOR UPDATE")
            yield
    finally:
        await connection.close()


async def _some(refunds: Refunds, sql: str) -> bool:
    return bool(await refunds.house.value(sql))
