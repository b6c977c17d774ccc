"""Rows to write and a database to break: one merchant, one policy, payments with their cases as domain values."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.capture import Capture
from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import LedgerEntry, entry_of_capture
from recoup_core.domain.payment import Credential, Customer, Method, Payment
from recoup_core.domain.recovery import CaseState, RecoveryCase, StepKind, TimelineStep
from recoup_core.storage.audit import seal_events
from recoup_core.storage.changes import Changes, StoredDecision
from recoup_core.storage.engine import Database
from recoup_core.storage.lookups import PolicyText, keep_policy_texts

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
POLICY = "kind: retry\nname: test\n"
DIGEST = sha256(POLICY.encode()).hexdigest()
SEAL_PATIENCE_S = 30
FINISHED = (AttemptState.SUCCEEDED, AttemptState.DECLINED, AttemptState.NOT_SENT, AttemptState.CANCELED)
A_DECLINE = Decline(
    code="insufficient_funds",
    source=DeclineSource.STRIPE,
    category=DeclineCategory.INSUFFICIENT_FUNDS,
    retryable=Retryable.YES,
)


class Records:
    """Builders of rows that belong together; every field can be given."""

    now = NOW
    digest = DIGEST

    def __init__(self) -> None:
        self._count = 0

    def payment(self, **fields: Any) -> Payment:
        self._count += 1
        return Payment(
            **{
                "id": new_id(),
                "merchant_id": "default",
                "reference": f"inv-{self._count}",
                "customer": Customer(ref="cus-1", country="DE"),
                "amount_minor": 1999,
                "currency": "EUR",
                "gateway": "sandbox",
                "method": Method.CARD,
                "first_failed_at": NOW,
                "created_at": NOW,
                **fields,
            }
        )

    def case(self, payment: Payment, **fields: Any) -> RecoveryCase:
        state = fields.get("state", CaseState.OPEN)
        return RecoveryCase(
            **{
                "id": new_id(),
                "merchant_id": payment.merchant_id,
                "payment_id": payment.id,
                "policy_name": "test",
                "policy_digest": DIGEST,
                "opened_at": NOW,
                "closed_at": None if state in (CaseState.OPEN, CaseState.PAUSED) else NOW,
                **fields,
            }
        )

    def credential(self, **fields: Any) -> Credential:
        self._count += 1
        return Credential(
            **{
                "id": new_id(),
                "merchant_id": "default",
                "customer_ref": "cus-1",
                "gateway": "sandbox",
                "token": f"tok_{self._count}",
                "account_key": "fp:card-1",
                "method": Method.CARD,
                "created_at": NOW,
                **fields,
            }
        )

    def attempt(self, case: RecoveryCase, state: AttemptState = AttemptState.SUBMITTED, **fields: Any) -> Attempt:
        self._count += 1
        return Attempt(
            **{
                "id": new_id(),
                "merchant_id": case.merchant_id,
                "payment_id": case.payment_id,
                "case_id": case.id,
                "number": self._count,
                "origin": Origin.POLICY,
                "gateway": "sandbox",
                "method": Method.CARD,
                "amount_minor": 1999,
                "currency": "EUR",
                "idempotency_key": f"key-{self._count}",
                "state": state,
                "decline": A_DECLINE if state is AttemptState.DECLINED else None,
                "sends": 1,
                "created_at": NOW,
                "submitted_at": NOW,
                "finished_at": NOW if state in FINISHED else None,
                **fields,
            }
        )

    def step(self, case: RecoveryCase, **fields: Any) -> TimelineStep:
        return TimelineStep(
            **{
                "id": new_id(),
                "merchant_id": case.merchant_id,
                "case_id": case.id,
                "payment_id": case.payment_id,
                "kind": StepKind.RETRY,
                "due_at": NOW + timedelta(days=3),
                "rule": "wait",
                "planned_by": "policy",
                "key": None if fields.get("kind", StepKind.RETRY) == StepKind.RETRY else f"opened/{fields['kind']}",
                "created_at": NOW,
                **fields,
            }
        )

    def decision(self, case: RecoveryCase) -> StoredDecision:
        nothing = msgspec.Raw(b"{}")
        return StoredDecision(
            id=new_id(),
            merchant_id=case.merchant_id,
            case_id=case.id,
            policy_digest=DIGEST,
            rule="wait",
            facts=nothing,
            situation=nothing,
            outcome=nothing,
            explanation=nothing,
            decided_at=NOW,
        )

    def capture(self, attempt: Attempt, **fields: Any) -> Capture:
        return Capture(
            **{
                "id": new_id(),
                "merchant_id": attempt.merchant_id,
                "payment_id": attempt.payment_id,
                "attempt_id": attempt.id,
                "gateway": attempt.gateway,
                "method": attempt.method,
                "amount_minor": attempt.amount_minor,
                "currency": attempt.currency,
                "captured_at": NOW,
                "created_at": NOW,
                **fields,
            }
        )

    def booked(self, capture: Capture) -> LedgerEntry:
        return entry_of_capture(capture, at=NOW)

    def event(self, payment_id: UUID | None = None, at: datetime = NOW, **data: Any) -> Event:
        return Event(
            at=at,
            merchant_id="default",
            kind=EventKind.STEP_PLANNED,
            actor="policy",
            payment_id=payment_id,
            data=data,
        )


class Shelf:
    """A database that can be written to and asked directly."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def write(self, *rows: msgspec.Struct, changes: Changes | None = None) -> None:
        """Write rows as flows do, in one transaction."""
        changes = changes or Changes()
        changes.add(*rows)
        async with self.database.transaction() as connection:
            await changes.write(connection)

    async def sql(self, *statements: str) -> None:
        """Run raw statements in one transaction."""
        async with self.database.transaction() as connection:
            for statement in statements:
                await connection.execute(statement)

    async def by_hand(self, *statements: str) -> None:
        """Run statements as somebody with all rights who switches the triggers off."""
        await self.sql("SET LOCAL session_replication_role = replica", *statements)

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(sql, *values))

    async def one(self, sql: str, *values: Any) -> Any:
        return (await self.rows(sql, *values))[0][0]

    async def seal(self, count: int) -> int:
        """Seal until `count` more events are sealed: any open transaction of the whole server holds sealing back."""
        sealed = 0
        async with asyncio.timeout(SEAL_PATIENCE_S):
            while sealed < count:
                sealed += await seal_events(self.database, NOW)
                await asyncio.sleep(0.01)
        return sealed

    async def refused(self, *statements: str) -> asyncpg.PostgresError:
        """Return how the database refused; fail where it did not."""
        try:
            await self.sql(*statements)
        except asyncpg.PostgresError as error:
            return error
        raise AssertionError(f"the database took {statements}")


@pytest.fixture
def records() -> Records:
    """Builders of rows."""
    return Records()


@pytest.fixture
async def shelf(database: Database) -> Shelf:
    """The test's database with two merchants and one policy."""
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO merchant VALUES ('default', 'x', NULL, $1), ('other', 'y', NULL, $1)", NOW
        )
        kept = PolicyText(digest=DIGEST, kind="retry", name="test", source="test.yaml", body=POLICY, first_used_at=NOW)
        await keep_policy_texts(connection, [kept])
    return Shelf(database)
