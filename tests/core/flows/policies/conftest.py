"""An installation on one database: any number of processes with small policies, and merchants who report failures."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network, Segment
from recoup_core.domain.versions import PolicyVersion, VersionOrigin
from recoup_core.flows.desk import Change
from recoup_core.flows.recover import Opened, open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.flows.versions import activate, submit
from recoup_core.reference import classify
from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.engine import Database
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions

ROOT = Path(__file__).parents[4]
MERCHANTS = ("default", "other")


class Installation:
    """Processes that share one database, and what a test does with them."""

    def __init__(self, url: str, clock: Any) -> None:
        self._url, self._clock = url, clock
        self._made: list[Service] = []

    def text(self, name: str = "cards", scope: str = "{method: card}", note: str = "x") -> str:
        """A policy that stops at once; its note makes it another text."""
        return (
            f"kind: retry\nname: {name}\nnote: {note}\napplies_to: {scope}\nrules:\n"
            "  - {name: only, stop: exhausted}\nexamples:\n  - {given: {}, expect: only}\n"
        )

    def process(self, *texts: str) -> Service:
        """A process whose folder holds these policies; not started yet. The plain evaluator compiles at once."""
        entries = tuple(GatewayEntry(name=f"sandbox-{name}", plugin="sandbox", merchant=name) for name in MERCHANTS)
        gateways = {entry.name: SandboxGateway(entry.name, SandboxOptions(clock=self._clock)) for entry in entries}
        policies = [parse_policy(text, source=f"{number}.yaml") for number, text in enumerate(texts)]
        book = PolicyBook(
            [compile_policy(policy, engine=EngineChoice.CLOSURES) for policy in policies], engine=EngineChoice.CLOSURES
        )
        database = Database(self._url, pool_max=4, application_name="recoup-test")
        service = Service(Settings(gateways=entries), database, gateways, book, Metrics(), self._clock)
        self._made.append(service)
        return service

    async def start(self, *texts: str) -> Service:
        """Start a process whose folder holds these policies."""
        return await self.process(*texts).open()

    async def start_at_once(self, count: int, *texts: str) -> int:
        """Start real processes with this folder at the same moment; return how many failed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.core.flows.policies.starting", self._url, str(count), *texts, cwd=ROOT
        )
        return await process.wait()

    async def stop(self) -> None:
        """End all processes."""
        for service in self._made:
            await service.close()

    def by(self, merchant: str | None = None, note: str | None = None) -> Change:
        """Whoever changes policies here."""
        return Change(merchant_id=merchant, actor="operator:anna", origin=VersionOrigin.CLI, note=note)

    async def bring(self, service: Service, text: str, merchant: str | None = None) -> PolicyVersion:
        """Submit a text as a draft."""
        return (await submit(service.context, text, "mine.yaml", self.by(merchant))).version

    async def put_in_force(self, service: Service, text: str, merchant: str | None = None) -> PolicyVersion:
        """Submit a text and activate it."""
        version = await self.bring(service, text, merchant)
        return await activate(service.context, version.id, self.by(merchant))

    async def open_case(self, service: Service, merchant: str = "default", **customer: Any) -> Opened:
        """Let one process take in a failed payment."""
        report = FailureReport(
            merchant_id=merchant,
            reference=f"inv-{uuid4()}",
            amount_minor=1999,
            currency="EUR",
            customer=Customer(**{"ref": f"cus-{uuid4()}", "country": "DE", "segment": Segment.CONSUMER, **customer}),
            gateway=f"sandbox-{merchant}",
            method=Method.CARD,
            credentials=(
                ReportedCredential(
                    gateway=f"sandbox-{merchant}",
                    token="tok_approve",
                    method=Method.CARD,
                    network=Network.VISA,
                    role=CredentialRole.PRIMARY,
                ),
            ),
            attempts=(
                PriorAttempt(
                    at=self._clock.now(),
                    decline=classify(DeclineSource.STRIPE, "insufficient_funds", network=Network.VISA),
                ),
            ),
        )
        return await open_case(service.context, report, "key:shop", None)

    async def rows(self, service: Service, sql: str, *values: Any) -> list[Any]:
        """Ask the database directly; a single column comes without its tuple."""
        async with service.database.connection() as connection:
            found = [tuple(row) for row in await connection.fetch(sql, *values)]
        return [row[0] if len(row) == 1 else row for row in found]


@pytest.fixture
async def installation(database_url: str, clock: Any) -> AsyncIterator[Installation]:
    """Nothing is started yet."""
    made = Installation(database_url, clock)
    yield made
    await made.stop()
