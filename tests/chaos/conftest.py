"""An installation under attack: seeded with failed payments, watched by a bank that keeps its own books."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.chaos.proxy import Proxy
from tests.stories.client import POLL_S, eventually
from tests.stories.installation import SANDBOX, Installation, sandbox_gateway

from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.reference import classify
from recoup_core.storage.audit import seal_events, verify_audit
from recoup_core.storage.engine import Database

OPEN_AT_ONCE = 8
"""As many as the pool has connections."""
QUIET_S = 2.0
"""When nothing has changed for so long, whoever holds the remaining jobs is dead: their leases end."""
AMOUNT = 1999

MOVED = "md5({column}::text || n)::uuid"
"""The id of the n-th copy of a row, the same wherever it is referred to."""


def _copy(table: str, ids: str, **texts: str) -> str:
    """The statement that copies each row of a table, with ids and names of its own."""
    parts = {column: MOVED.format(column=f"r.{column}") for column in ids.split()} | texts
    fields = ", ".join(f"'{column}', {value}" for column, value in parts.items())
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(r, jsonb_build_object({fields}))).*"
        f" FROM {table} r, generate_series(1, $1::int) n"
    )


COPIES = (
    _copy("credential", "id", customer_ref="r.customer_ref || '-' || n", account_key="r.account_key || '-' || n"),
    _copy(
        "payment",
        "id",
        reference="r.reference || '-' || n",
        customer="r.customer || jsonb_build_object('ref', (r.customer ->> 'ref') || '-' || n)",
    ),
    _copy("recovery_case", "id payment_id"),
    _copy("attempt", "id payment_id case_id credential_id", account_key="r.account_key || '-' || n"),
    _copy("timeline_step", "id payment_id case_id credential_id"),
    "INSERT INTO job (kind, subject_id, due_at, visible_at)"
    f" SELECT r.kind, {MOVED.format(column='r.subject_id')}, r.due_at, r.visible_at"
    " FROM job r, generate_series(1, $1::int) n",
)

ALL_SEALED = "SELECT coalesce(sum(cardinality(event_ids)), 0) = (SELECT count(*) FROM event) FROM event_seal"


class Expected(msgspec.Struct, frozen=True):
    """What must become of a payment."""

    recovered: bool


class Chaos:
    """Seeds an installation, drives it to its end and compares all books."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.expected: dict[str, Expected] = {}

    async def seed(self, *tokens: str, code: str = "insufficient_funds", start: int = 0) -> None:
        """Report one failed payment per token, its first retry due at once; its last step says how it must end."""
        service = await self.house.service().open()
        gate = asyncio.Semaphore(OPEN_AT_ONCE)
        failed_at = datetime.now(UTC) - timedelta(minutes=5)

        async def one(number: int, token: str) -> None:
            async with gate:
                await open_case(
                    service.context, failure_report(f"inv-{number}", token, code, failed_at), "key:chaos", None
                )

        try:
            numbered = list(enumerate(tokens, start + len(self.expected)))
            await asyncio.gather(*(one(number, token) for number, token in numbered))
        finally:
            await service.close()
        self.expected |= {f"inv-{number}": Expected(_ends_well(token)) for number, token in numbered}

    async def multiply(self, times: int) -> None:
        """Copy what was seeded in the database: ten thousand reports would take longer than what is tested."""
        for sql in COPIES:
            await self.house.fetch(sql, times)
        copies = {f"{name}-{n}": each for name, each in self.expected.items() for n in range(1, times + 1)}
        self.expected |= copies

    async def open_cases(self) -> int:
        """Cases that have not ended."""
        count: int = await self.house.value("SELECT count(*) FROM recovery_case WHERE closed_at IS NULL")
        return count

    async def ended(self) -> int:
        """Cases that have ended."""
        return len(self.expected) - await self.open_cases()

    async def until_ended(self, within_s: float) -> float:
        """Let time fly until every case has ended and no job is left; return the seconds that took."""
        started = changed = time.monotonic()
        before: object = None
        while True:
            state = await self._state()
            if state[:2] == (0, 0):
                return time.monotonic() - started
            now = time.monotonic()
            assert now - started < within_s, f"after {within_s:g} s: {state[0]} cases open, {state[1]} jobs left"
            await self.house.hurry()
            if state != before:
                before, changed = state, now
            elif now - changed > QUIET_S:
                await self.house.end_leases()
                changed = now
            await asyncio.sleep(POLL_S)

    async def _state(self) -> tuple[int, int, int]:
        row = await self.house.fetch(
            "SELECT (SELECT count(*) FROM recovery_case WHERE closed_at IS NULL), (SELECT count(*) FROM job),"
            " (SELECT coalesce(max(id), 0) FROM event)"
        )
        return tuple(row[0])

    async def all_is_well(self) -> None:
        """Every book agrees with every other, and with what had to come out."""
        await self._cases_ended_as_they_must()
        await self._nothing_twice_nothing_lost()
        await self._nothing_left()
        await self._audit_holds()

    async def _cases_ended_as_they_must(self) -> None:
        rows = await self.house.fetch(
            "SELECT p.reference, c.state FROM recovery_case c JOIN payment p ON p.id = c.payment_id"
        )
        wanted = {name: "recovered" if each.recovered else "exhausted" for name, each in self.expected.items()}
        assert dict(rows) == wanted

    async def _nothing_twice_nothing_lost(self) -> None:
        rows = await self.house.fetch(
            """SELECT p.reference, p.captured_minor, coalesce(sum(l.amount_minor), 0) AS booked,
                 (SELECT count(*) FROM attempt a WHERE a.payment_id = p.id AND a.state IN ('succeeded', 'declined')
                  AND a.origin <> 'reported') AS answered
               FROM payment p LEFT JOIN ledger_entry e ON e.payment_id = p.id
               LEFT JOIN ledger_posting l ON l.entry_id = e.id AND l.account = 'gateway_clearing:sandbox'
               GROUP BY p.id"""
        )
        bank = self.house.bank.totals()
        assert bank.keys() == self.expected.keys()
        wrong = [
            row
            for row in rows
            for total in [bank[row["reference"]]]
            if not (
                total.charges == int(self.expected[row["reference"]].recovered)
                and total.moved_minor == row["captured_minor"] == row["booked"] == AMOUNT * total.charges
                and total.attempts == row["answered"]
            )
        ]
        assert wrong == []
        asked = """SELECT s.id FROM timeline_step s WHERE s.kind LIKE '%_subscription' AND s.state = 'done' AND 1 <> (
            SELECT count(*) FROM event e WHERE e.case_id = s.case_id AND e.data ->> 'step' = s.id::text)"""
        assert await self.house.fetch(asked) == []  # billing is asked once for each step that is done

    async def _nothing_left(self) -> None:
        assert await self.house.value("SELECT count(*) FROM job") == 0
        live = "SELECT count(*) FROM attempt WHERE state IN ('scheduled', 'submitted', 'pending', 'unknown')"
        assert await self.house.value(live) == 0
        assert await self.house.value("SELECT count(*) FROM human_task") == 0
        steps = "SELECT count(*) FROM timeline_step WHERE state IN ('planned', 'running')"
        assert await self.house.value(steps) == 0
        # a message whose jobs are done may still be on its way
        await eventually(self._queue_is_empty, "the queues to be empty")

    async def _queue_is_empty(self) -> bool:
        return await asyncio.to_thread(self.house.messages) == 0

    async def _audit_holds(self) -> None:
        service = self.house.service()
        await service.database.open()
        try:
            await eventually(lambda: self._sealed(service.database), "every event to be sealed")
            verified = await verify_audit(service.database, datetime.now(UTC))
        finally:
            await service.database.close()
        assert verified.fault is None

    async def _sealed(self, database: Database) -> bool:
        """Seal; whether every event is sealed: one that was written beside a transaction still under way must wait."""
        await seal_events(database, datetime.now(UTC))
        return bool(await self.house.value(ALL_SEALED))


def failure_report(reference: str, token: str, code: str, failed_at: datetime) -> FailureReport:
    card = ReportedCredential(
        gateway=SANDBOX, token=token, fingerprint=reference, method=Method.CARD, network=Network.VISA
    )
    return FailureReport(
        merchant_id="default",
        reference=reference,
        amount_minor=AMOUNT,
        currency="EUR",
        customer=Customer(ref=f"customer-{reference}", country="DE"),
        gateway=SANDBOX,
        method=Method.CARD,
        credentials=(card,),
        attempts=(PriorAttempt(at=failed_at, decline=classify(DeclineSource.STRIPE, code, network=Network.VISA)),),
    )


def _ends_well(token: str) -> bool:
    return "approve" in token.rpartition("|")[2]


MakeChaos = Callable[[str, str], Chaos]


@pytest.fixture
def make_chaos(tmp_path: Path, queue_prefix: str) -> Iterator[MakeChaos]:
    """Build an installation on a database and a broker; asked for last, it is torn down before either is gone."""
    made: list[Chaos] = []

    def make(database_url: str, amqp_url: str) -> Chaos:
        folder = tmp_path / f"house-{len(made)}"
        folder.mkdir()
        house = Installation(folder, database_url, amqp_url, queue_prefix, sandbox_gateway(folder))
        made.append(Chaos(house))
        return made[-1]

    yield make
    for chaos in made:
        chaos.house.reap()


@pytest.fixture
def chaos(database_url: str, amqp_url: str, make_chaos: MakeChaos) -> Iterator[Chaos]:
    """An installation on the run's database server and broker."""
    made = make_chaos(database_url, amqp_url)
    yield made
    made.house.reap()
    made.house.delete_queues()


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the run's broker; through it the broker may go away."""
    made = Proxy(amqp_url)
    await made.listen()
    yield made
    await made.cut()
