"""A shop in this process for the traps: the API, the workers' part, a bank with books of its own, and a clock.

People call the API with keys of their own, as they do in production, and jobs run when a test says so.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import msgspec
from httpx import ASGITransport, AsyncClient, Response
from tests.stories.traps_line import Line

from recoup_core.domain.money import Money
from recoup_core.flows.ledger import trial_balance
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger import read_balances
from recoup_core.storage.ledger_checks import verify_ledger
from recoup_core.storage.merchants import Role, mint_key
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_server.app import PREFIX, create_app

SECRET: Final = "whsec_test"
MERCHANT: Final = "default"
LEASE: Final = timedelta(seconds=120)
POOL: Final = 8
"""Connections: several runs share one server's."""

ROUNDS: Final = 500
"""Batches of jobs that one wait may run; more would mean that jobs make jobs without end."""

DECIDED: Final = "{name: at once, approve: auto}"
PEOPLE_DECIDE: Final = "{name: two people, review: {levels: [[support_lead], [finance]], within: 2d, expires: 30d}}"
NO_DISPUTES: Final = "{name: the bank has it, when: {dispute: [open, lost]}, deny: disputed}"


def policy(last: str, name: str = "traps") -> str:
    """A refund policy that pays nothing under dispute and else does what `last` says."""
    return (
        f"kind: refund\nname: {name}\napplies_to: {{purpose: refund}}\nrules:\n  - {NO_DISPUTES}\n  - {last}\n"
        "examples:\n  - {given: {dispute: open}, expect: the bank has it}\n"
        f"  - {{given: {{}}, expect: {last.partition('name: ')[2].partition(',')[0]}}}\n"
    )


class Person:
    """Somebody with an API key."""

    def __init__(self, name: str, secret: str, client: AsyncClient) -> None:
        self.name, self.secret, self._client = name, secret, client

    async def get(self, path: str, **query: Any) -> Any:
        """Read; anything but 200 fails the test."""
        answer = await self._client.get(PREFIX + path, params=query, headers=self._headers())
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, *, version: int | None = None) -> Response:
        """Call under an idempotency key of its own, about a version where one is given; bytes are sent as they are."""
        headers = self._headers() | {"Idempotency-Key": str(uuid4())}
        headers |= {} if version is None else {"If-Match": f'"{version}"'}
        sent = body if isinstance(body, bytes) else msgspec.json.encode({} if body is None else body)
        return await self._client.post(PREFIX + path, content=sent, headers=headers)

    async def act(self, file: Mapping[str, Any], what: str, **body: Any) -> Response:
        """Do something to the very version of a refund that an answer told of."""
        refund = file["refund"]
        return await self.post(f"/refunds/{refund['id']}/{what}", body, version=refund["version"])

    async def edit(self, file: Mapping[str, Any], **changes: Any) -> Response:
        """Change a refund as it was told."""
        refund = file["refund"]
        headers = self._headers() | {"Idempotency-Key": str(uuid4()), "If-Match": f'"{refund["version"]}"'}
        sent = msgspec.json.encode(changes)
        return await self._client.patch(f"{PREFIX}/refunds/{refund['id']}", content=sent, headers=headers)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that was collected elsewhere and reported."""

    id: str
    charge_ref: str
    reference: str
    amount: Money


class RefundShop:
    """One merchant, everything on one database."""

    def __init__(self, service: Service, line: Line, clock: Any) -> None:
        self.service, self.line, self.clock = service, line, clock
        self.context, self.bank = service.context, line.inner.bank
        transport = ASGITransport(create_app(service), raise_app_exceptions=False)
        self._client = AsyncClient(transport=transport, base_url="http://shop")
        self._count = 0
        self.agent: Person
        """Asks for refunds, and approves nothing."""

    async def open(self) -> "RefundShop":
        """Hire the first agent."""
        self.agent = await self.hire("ana")
        return self

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self.service.close()

    # -- people, payments, requests

    async def hire(self, name: str, *approves: str, role: str = "agent") -> Person:
        """Give somebody a key."""
        minted = await mint_key(
            self.service.database, MERCHANT, name, [Role(role)], self.clock.now(), actor="test", approves=approves
        )
        return Person(name, minted.secret, self._client)

    async def paid(
        self, amount_minor: int = 10_000, currency: str = "EUR", *, script: str = "", **changes: Any
    ) -> Paid:
        """Report a collected payment whose charge the bank knows; `script` says how its refunds go."""
        self._count += 1
        word = _letters(self._count)
        charge_ref = f"sbx_reported_{word}" + (f"~{script}" if script else "")
        body = {
            "reference": f"order-{word}",
            "amount_minor": amount_minor,
            "currency": currency,
            "customer": {"ref": f"customer-{word}", "country": "DE"},
            "gateway": self.line.name,
            "gateway_ref": charge_ref,
            "method": "card",
            "captured_at": self.clock.now().isoformat(),
            "authorized": "authorized" in script,
        }
        answer = await self.agent.post("/payments/captured", body | changes)
        assert answer.status_code == 201, answer.text
        charged = Money(amount_minor, currency)
        self.bank.hold(charge_ref, body["reference"], charged)
        payment_id = answer.json()["payment"]["id"]
        return Paid(id=payment_id, charge_ref=charge_ref, reference=body["reference"], amount=charged)

    async def ask(self, paid: Paid, amount_minor: int, by: Person | None = None, **changes: Any) -> dict[str, Any]:
        """Ask for a refund that must be taken, and return the answer."""
        answer = await self.try_to_ask(paid, amount_minor, by, **changes)
        assert answer.status_code == 201, answer.text
        file: dict[str, Any] = answer.json()
        return file

    async def try_to_ask(self, paid: Paid, amount_minor: int, by: Person | None = None, **changes: Any) -> Response:
        """Ask for a refund."""
        body = {
            "payment_id": paid.id,
            "amount_minor": amount_minor,
            "currency": paid.amount.currency,
            "reason": "requested_by_customer",
        }
        return await (by or self.agent).post("/refunds", body | changes)

    async def told(self, file: Mapping[str, Any]) -> dict[str, Any]:
        """Read a refund as it is now."""
        found: dict[str, Any] = await self.agent.get(f"/refunds/{file['refund']['id']}")
        return found

    async def left(self, paid: Paid) -> int:
        """Read what can still be asked back."""
        left: int = (await self.agent.get(f"/payments/{paid.id}/refundable"))["refundable_minor"]
        return left

    async def events(self, file: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Read what happened to a refund, oldest first."""
        told = await self.agent.get(f"/refunds/{file['refund']['id']}/timeline")
        return list(told["events"])

    async def kinds(self, file: Mapping[str, Any]) -> list[str]:
        """Read the kinds of what happened to a refund, oldest first."""
        return [event["kind"] for event in await self.events(file)]

    # -- time, jobs, webhooks

    async def claim(self) -> list[JobRef]:
        """Lease what is due."""
        return await self.service.jobs.claim(self.clock.now(), 100, LEASE)

    async def work(self) -> None:
        """Run what is due, and what that makes due."""
        for _ in range(ROUNDS):
            refs = await self.claim()
            if not refs:
                return
            await self.service.run_jobs(refs)
        raise AssertionError("the jobs never end")

    async def wait(self, span: timedelta, *, post: bool = True) -> None:
        """Let time pass from job to job; the bank's webhooks come when they are due, or never."""
        end = self.clock.now() + span
        for _ in range(ROUNDS):
            await self._settle(post)
            due = await self.service.jobs.next_due_at(self.clock.now())
            if due is None or due > end:
                break
            self.clock.set(max(due, self.clock.now()))
        else:
            raise AssertionError("the jobs never end")
        self.clock.set(end)
        await self._settle(post)

    async def deliver(self, body: bytes) -> None:
        """Bring one webhook of the bank."""
        headers = dict(sign(SECRET, f"msg-{uuid4()}", self.clock.now(), body))
        answer = await self._client.post(f"{PREFIX}/webhooks/{self.line.name}", content=body, headers=headers)
        assert answer.status_code == 200, answer.text

    async def post(self) -> None:
        """Bring what the bank has sent, and do what follows."""
        for delivery in self.bank.due_deliveries(1_000):
            await self.deliver(delivery.body)
            self.bank.record_delivery(delivery, delivered=True, retry_in=None)
        await self.work()

    async def _settle(self, post: bool) -> None:
        await self.work()
        if post:
            await self.post()

    def moved(self, paid: Paid) -> int:
        """What the bank says went back over a charge."""
        total = self.bank.refund_totals().by_charge.get(paid.charge_ref)
        return total.back_minor if total else 0

    async def kill(self, alive: Collection["asyncio.Task[Any]"]) -> None:
        """End everything that was begun since then where it stands, as the death of its process would."""
        doomed = asyncio.all_tasks() - set(alive)
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        self.line.cut_before = self.line.cut_after = False

    # -- the books

    async def require_books(self) -> None:
        """Our ledger is whole, and says of every charge what the bank's own books say."""
        verified = await verify_ledger(self.service.database)
        assert verified.fault is None, verified.fault
        assert trial_balance(await read_balances(self.service.database, MERCHANT, None)).balanced
        rows = await self.rows(
            "SELECT c.gateway_ref, coalesce(-sum(p.amount_minor), 0)::bigint AS back FROM capture c"
            " LEFT JOIN ledger_entry e ON e.capture_id = c.id AND e.part_id IS NOT NULL AND e.kind <> 'fee'"
            " LEFT JOIN ledger_posting p ON p.entry_id = e.id AND p.account = $1"
            " GROUP BY c.gateway_ref",
            f"gateway_clearing:{self.line.name}",
        )
        totals = self.bank.refund_totals().by_charge
        assert {row["gateway_ref"]: row["back"] for row in rows} == {
            row["gateway_ref"]: totals[row["gateway_ref"]].back_minor if row["gateway_ref"] in totals else 0
            for row in rows
        }

    async def tasks(self, file: Mapping[str, Any]) -> list[str]:
        """What waits for a person about a refund."""
        return [task["kind"] for task in (await self.told(file))["open_tasks"]]

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        """Ask the database directly."""
        async with self.service.database.connection() as connection:
            return list(await connection.fetch(sql, *values))

    async def tamper(self, sql: str, *values: Any) -> None:
        """Change rows as somebody with all rights on the database can: its guards are switched off."""
        async with self.service.database.transaction() as connection:
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(sql, *values)


@asynccontextmanager
async def open_refund_shop(database_url: str, clock: Any, text: str) -> AsyncIterator[RefundShop]:
    """Open a shop under one refund policy."""
    options = SandboxOptions(clock=clock, webhook_secrets=(SECRET,))
    line = Line(SandboxGateway("sandbox", options), clock)
    settings = Settings(environment="development", gateways=(GatewayEntry(name=line.name, plugin="sandbox"),))
    book = PolicyBook([compile_policy(parse_policy(text, source="traps.yaml"))])
    database = Database(database_url, pool_max=POOL)
    service = await Service(settings, database, {line.name: line}, book, Metrics(), clock).open()
    shop = RefundShop(service, line, clock)
    try:
        yield await shop.open()
    finally:
        await shop.close()


def states(file: Mapping[str, Any]) -> list[str]:
    """The states of a refund's parts, by number."""
    return [part["state"] for part in file["parts"]]


def _letters(number: int) -> str:
    """A number in letters: references with long runs of digits look like card numbers."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))
