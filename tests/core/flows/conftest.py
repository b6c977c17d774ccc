"""A whole service on a fresh database with the sandbox gateway, the shipped policies and a clock that stands still."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network
from recoup_core.domain.versions import PolicyVersion, VersionOrigin
from recoup_core.flows.context import locked_cases
from recoup_core.flows.desk import Change
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.recover import Opened, open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.flows.versions import activate, submit
from recoup_core.reference import classify
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service, shipped_policies
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions
from recoup_plugins.gateways.sandbox_webhooks import sign

LEASE = timedelta(seconds=120)
MAX_ROUNDS = 200


class Shop:
    """A merchant with a sandbox account: reports failures, lets time pass, looks at what became of them."""

    def __init__(self, service: Service, gateway: SandboxGateway, clock: Any) -> None:
        self.service = service
        self.context = service.context
        self.gateway = gateway
        self.clock = clock
        self._count = 0

    def report(
        self,
        *tokens: str,
        code: str = "insufficient_funds",
        amount_minor: int = 1999,
        currency: str = "EUR",
        at: datetime | None = None,
        customer: Mapping[str, Any] | None = None,
        network: Network = Network.VISA,
        method: Method = Method.CARD,
        source: DeclineSource = DeclineSource.STRIPE,
        **decline: Any,
    ) -> FailureReport:
        """A failed payment with its first token as primary, the others as backups."""
        self._count += 1
        roles = (CredentialRole.PRIMARY, *[CredentialRole.BACKUP] * len(tokens))
        network_or_none = network if method is Method.CARD else None
        return FailureReport(
            merchant_id="default",
            reference=f"inv-{self._count}",
            amount_minor=amount_minor,
            currency=currency,
            customer=Customer(**{"ref": f"cus-{self._count}", "country": "DE", **(customer or {})}),
            gateway="sandbox",
            method=method,
            credentials=tuple(
                ReportedCredential(
                    gateway="sandbox",
                    token=token,
                    method=method,
                    network=network_or_none,
                    role=role,
                    fingerprint=f"card-{self._count}-{role}",
                )
                for token, role in zip(tokens, roles, strict=False)
            ),
            attempts=(
                PriorAttempt(
                    at=at or self.clock.now(), decline=classify(source, code, network=network_or_none, **decline)
                ),
            ),
        )

    async def open(self, *tokens: str, **report: Any) -> Opened:
        """Report a failed payment and return its case."""
        return await open_case(self.context, self.report(*tokens, **report), "key:shop", "corr-1")

    async def claim(self) -> list[JobRef]:
        """Lease what is due now."""
        return await self.service.jobs.claim(self.clock.now(), 100, LEASE)

    async def run_due(self) -> int:
        """Run everything due now, and what that makes due, and return how many jobs ran."""
        total = 0
        for _ in range(MAX_ROUNDS):
            refs = await self.claim()
            if not refs:
                return total
            total += len(refs)
            await self.service.run_jobs(refs)
        raise AssertionError("the jobs never end")

    async def next_due(self) -> datetime | None:
        """When the next job is due."""
        return await self.service.jobs.next_due_at(self.clock.now())

    async def live(self, until: timedelta = timedelta(days=60)) -> None:
        """Let time pass from job to job until nothing is left to do, or `until` is reached."""
        end = self.clock.now() + until
        for _ in range(MAX_ROUNDS):
            await self.run_due()
            due = await self.next_due()
            if due is None or due > end:
                return
            self.clock.set(max(due, self.clock.now()))
        raise AssertionError("the case never ends")

    async def file(self, payment_id: UUID) -> CaseFile:
        """Everything known of a payment."""
        async with locked_cases(self.context, [payment_id]) as locked:
            draft = locked.draft(payment_id, "test", None)
            assert draft is not None
            return draft.file

    async def events(self, payment_id: UUID) -> list[str]:
        """The kinds of what happened to a payment, in order."""
        async with self.service.database.connection() as connection:
            rows = await connection.fetch("SELECT kind FROM event WHERE payment_id = $1 ORDER BY id", payment_id)
        return [row["kind"] for row in rows]

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        """Ask the database directly."""
        async with self.service.database.connection() as connection:
            return list(await connection.fetch(sql, *values))

    def by(self, **fields: Any) -> By:
        """An operator of this merchant."""
        return By(merchant_id="default", actor="operator:anna", **fields)


@pytest.fixture(scope="session")
def shipped_book() -> PolicyBook:
    """The shipped policies about retries, compiled once; what accompanies retries has tests of its own."""
    return PolicyBook.load(shipped_policies() / "retry")


@pytest.fixture
async def shop(database_url: str, clock: Any, shipped_book: PolicyBook) -> AsyncIterator[Shop]:
    """A merchant ready to report failures."""
    async with opened_shop(database_url, clock, shipped_book) as shop:
        yield shop


@asynccontextmanager
async def opened_shop(database_url: str, clock: Any, book: PolicyBook) -> AsyncIterator[Shop]:
    """A merchant under these policies."""
    gateway = SandboxGateway("sandbox", SandboxOptions(clock=clock, webhook_secrets=("whsec_test",)))
    settings = Settings(gateways=(GatewayEntry(name="sandbox", plugin="sandbox"),))
    service = Service(settings, Database(database_url), {"sandbox": gateway}, book, Metrics(), clock)
    await service.open()
    yield Shop(service, gateway, clock)
    await service.close()


@pytest.fixture
async def whole_shop(database_url: str, clock: Any) -> AsyncIterator[Shop]:
    """A merchant under all shipped policies: retries, and what accompanies them."""
    async with opened_shop(database_url, clock, PolicyBook.load(shipped_policies())) as shop:
        yield shop


@pytest.fixture
async def shop_under(database_url: str, clock: Any) -> AsyncIterator[Callable[..., Awaitable[Shop]]]:
    """Opens shops under policies of the test's own: `await shop_under(text, ...)`."""
    async with AsyncExitStack() as opened:

        async def under(*texts: str) -> Shop:
            policies = [parse_policy(text, source=f"{number}.yaml") for number, text in enumerate(texts)]
            book = PolicyBook(compile_policy(policy) for policy in policies)
            return await opened.enter_async_context(opened_shop(database_url, clock, book))

        yield under


class Post:
    """The sandbox's webhooks, delivered by hand: signed as the bank signs them, in any order and number."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._count = 0

    async def deliver(self, body: bytes, message_id: str = "msg-1") -> int:
        """Receive one webhook; return how many of its events were new."""
        headers = sign("whsec_test", message_id, self._shop.clock.now(), body)
        return await receive_webhook(self._shop.context, "sandbox", headers, body, "corr-hook")

    async def send(self, kind: str, *, event_id: str | None = None, at: datetime | None = None, **data: Any) -> int:
        """Tell of one thing and apply it at once."""
        self._count += 1
        event = {
            "id": event_id or f"evt-{self._count}",
            "type": kind,
            "created": (at or self._shop.clock.now()).isoformat(),
            "data": data,
        }
        fresh = await self.deliver(msgspec.json.encode(event))
        await self._shop.run_due()
        return fresh

    def outbox(self) -> list[bytes]:
        """What the bank would send by now."""
        return [each.body for each in self._shop.gateway.bank.due_deliveries(1000)]


@pytest.fixture
def post(shop: Shop) -> Post:
    """Webhooks of the shop's bank."""
    return Post(shop)


class PolicyDesk:
    """Versions of policies, as an author and an operator handle them."""

    own = Change(merchant_id="default", actor="key:anna", origin=VersionOrigin.API)
    house = Change(merchant_id=None, actor="operator:otto", origin=VersionOrigin.CLI)

    def __init__(self, shop: Shop) -> None:
        self.context = shop.context

    def waits(
        self, *days: int, name: str = "cards-consumer", applies_to: str = "{method: card}", rule: str = "wait"
    ) -> str:
        """A policy that waits so many days each time, then gives up."""
        after = ", ".join(f"{each}d" for each in days)
        return (
            f"kind: retry\nname: {name}\napplies_to: {applies_to}\nrules:\n"
            f"  - {{name: {rule}, when: {{attempt: {{lte: {len(days)}}}}}, retry: {{after: [{after}]}}}}\n"
            f"  - {{name: give up, stop: exhausted}}\nexamples:\n"
            f"  - {{given: {{}}, expect: {rule}}}\n  - {{given: {{attempt: {len(days) + 1}}}, expect: give up}}\n"
        )

    async def bring(self, text: str, change: Change | None = None) -> PolicyVersion:
        """Submit a text as a draft."""
        return (await submit(self.context, text, "test.yaml", change or self.own)).version

    async def live(self, text: str, change: Change | None = None) -> PolicyVersion:
        """Submit a text and put it in force."""
        version = await self.bring(text, change)
        return await activate(self.context, version.id, change or self.own)


@pytest.fixture
def desk(shop: Shop) -> PolicyDesk:
    """The desk of the shop's policies."""
    return PolicyDesk(shop)
