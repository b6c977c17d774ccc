"""A bank that does what the test says next, keeps its own books, and forgets nothing."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.refund import FailureCategory, RefundFailure
from recoup_core.ports import (
    Canceled,
    Capabilities,
    CaptureNews,
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
    TakenBack,
)

T = TypeVar("T")


class BankRow(msgspec.Struct, kw_only=True):
    """One refund as the bank has it: one key, money at most once."""

    ref: str
    charge_ref: str
    part_id: UUID | None
    amount: Money
    state: str
    """`refunded`, `pending`, `refused`, `canceled` or `taken_back`."""
    failure: RefundFailure | None = None


class Bank:
    """A gateway under the test's thumb; `next` says how the next refunds go, each once, then all succeed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.capabilities = Capabilities(
            methods=frozenset(Method),
            key_lifetime=timedelta(hours=24),
            finds_charges=True,
            refunds=True,
            finds_refunds=True,
            voids=True,
            cancels_refunds=True,
        )
        self.currency = "EUR"
        self.next: list[str] = []
        self.rows: dict[str, BankRow] = {}
        self.captured: dict[str, int] = {}
        self.authorized: set[str] = set()
        """Charges that are only promised: voided whole, never refunded."""
        self.overdrawn = 0
        """How often somebody asked for more than was left: our own refunds never do."""

    def moved(self, charge_ref: str) -> int:
        """What went back over a charge, for good or on its way."""
        rows = self.rows.values()
        return sum(
            row.amount.amount_minor
            for row in rows
            if row.charge_ref == charge_ref and row.state in ("refunded", "pending")
        )

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Do what was scripted; the same key is answered as before."""
        known = self.rows.get(request.idempotency_key)
        if known is not None:
            assert (known.part_id, known.amount) == (request.part_id, request.amount), "a key with another request"
            return self._told(known)
        how = self.next.pop(0) if self.next else "refund"
        if how == "lose_before":
            raise ConnectionResetError("before anything happened")
        if how == "not_sent":
            return NotSent(reason="unreachable")
        row = self._make(request, how)
        if how == "lose_after":
            raise ConnectionResetError("after the money had moved")
        return self._told(row)

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Look a refund up by its key."""
        known = self.rows.get(request.idempotency_key)
        if known is None:
            return NotFound()
        if known.state == "canceled":
            return Canceled(gateway_ref=known.ref)
        if known.state == "taken_back":
            assert known.failure is not None
            return TakenBack(gateway_ref=known.ref, failure=known.failure)
        return self._told(known)

    async def cancel_refund(self, request: RefundRequest) -> Canceled | Refused | NotSent:
        """Cancel what is pending."""
        known = self.rows.get(request.idempotency_key)
        if known is None or known.state != "pending":
            return Refused(failure=RefundFailure(category=FailureCategory.CONFIGURATION, code="too_late"))
        known.state = "canceled"
        return Canceled(gateway_ref=known.ref)

    async def charge(self, request: Any) -> Any:
        """Nobody is charged here."""
        raise AssertionError("nothing is collected in these tests")

    async def find_charge(self, request: Any) -> Any:
        """Nobody is charged here."""
        raise AssertionError("nothing is collected in these tests")

    async def health(self) -> None:
        """Always well."""

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Take the test's own events as they are."""
        return [msgspec.json.decode(body, type=GatewayEvent)]

    def settle(self, row: BankRow, state: str) -> RefundNews:
        """Move a row on and return what the bank tells of it."""
        row.state = state
        if state in ("refused", "taken_back"):
            row.failure = RefundFailure(category=FailureCategory.METHOD_GONE, code="account_closed")
        return self.news(row)

    def elsewhere(self, charge_ref: str, amount: Money) -> RefundNews | None:
        """Refund by another channel, as far as the bank lets anybody."""
        if charge_ref in self.authorized or self.moved(charge_ref) + amount.amount_minor > self.captured[charge_ref]:
            return None
        key = f"elsewhere-{new_id()}"
        self.rows[key] = BankRow(ref=f"re-{key}", charge_ref=charge_ref, part_id=None, amount=amount, state="refunded")
        return self.news(self.rows[key])

    def news(self, row: BankRow) -> RefundNews:
        """What the bank tells of a refund as it stands."""
        return RefundNews(
            refund_ref=row.ref,
            part_id=row.part_id,
            charge_ref=row.charge_ref,
            amount=row.amount,
            outcome=self._news_outcome(row),
        )

    def capture(self, charge_ref: str) -> CaptureNews | None:
        """Take the money that was promised, as far as it was not let go; somebody does so at the bank."""
        if charge_ref not in self.authorized or self.moved(charge_ref):
            return None
        self.authorized.discard(charge_ref)
        amount = Money(self.captured[charge_ref], self.currency)
        return CaptureNews(charge_ref=charge_ref, amount=amount, standing=CaptureState.CAPTURED)

    def _make(self, request: RefundRequest, how: str) -> BankRow:
        asked = request.amount.amount_minor
        if request.void is not (request.charge_ref in self.authorized):
            return self._refuse_the_way(request)
        over = self.moved(request.charge_ref) + asked > self.captured[request.charge_ref]
        self.overdrawn += over
        state = "refused" if over or how in ("refuse", "low_balance") else "pending" if how == "pend" else "refunded"
        category = FailureCategory.INSUFFICIENT_BALANCE if how == "low_balance" else FailureCategory.METHOD_GONE
        if over:
            category = FailureCategory.ALREADY_REFUNDED
        row = BankRow(
            ref=f"re-{request.part_id}",
            charge_ref=request.charge_ref,
            part_id=request.part_id,
            amount=request.amount,
            state=state,
            failure=RefundFailure(category=category, code=how) if state == "refused" else None,
        )
        self.rows[request.idempotency_key] = row
        return row

    def _refuse_the_way(self, request: RefundRequest) -> BankRow:
        category = FailureCategory.ALREADY_CAPTURED if request.void else FailureCategory.NOT_CAPTURED
        row = BankRow(
            ref=f"re-{request.part_id}",
            charge_ref=request.charge_ref,
            part_id=request.part_id,
            amount=request.amount,
            state="refused",
            failure=RefundFailure(category=category, code="way"),
        )
        self.rows[request.idempotency_key] = row
        return row

    def _told(self, row: BankRow) -> Refunded | Refused | Pending:
        if row.state == "pending":
            return Pending(gateway_ref=row.ref)
        if row.state == "refunded":
            return Refunded(gateway_ref=row.ref, amount=row.amount)
        failure = row.failure or RefundFailure(category=FailureCategory.UNKNOWN, code=row.state)
        return Refused(failure=failure, gateway_ref=row.ref)

    def _news_outcome(self, row: BankRow) -> Refunded | Refused | Pending | TakenBack | Canceled:
        if row.state == "canceled":
            return Canceled(gateway_ref=row.ref)
        if row.state == "taken_back":
            assert row.failure is not None
            return TakenBack(gateway_ref=row.ref, failure=row.failure)
        return self._told(row)


class Loop:
    """An event loop in a thread of its own: hypothesis' rules are not coroutines, and a pool belongs to one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        """Run a coroutine to its end."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=60)

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class StepClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Go back to the beginning."""
        self._now = datetime(2026, 11, 23, 9, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """One loop for all examples of a module."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def make_bank() -> type[Bank]:
    """Makes banks with empty books, by name."""
    return Bank


@pytest.fixture
def step_clock() -> StepClock:
    """A clock that the machine moves."""
    return StepClock()
