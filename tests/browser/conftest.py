"""A real browser before a real server: the API over TLS on this machine, the sandbox bank's own pages beside it."""

import asyncio
import ipaddress
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvicorn

from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.recover import Opened, open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.flows.upcoming.announcing import Announcement, announce
from recoup_core.reference import classify
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import ApiSettings, GatewayEntry, Settings
from recoup_core.settings_people import BrandEntry
from recoup_core.storage.engine import Database
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service, shipped_policies
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions
from recoup_plugins.gateways.sandbox_pages import SandboxPages
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_server.app import create_app

SECRET = "the sandbox's webhook secret"
PAGES = "/sandbox-pages"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LEASE = timedelta(seconds=60)


@pytest.fixture(scope="session")
def chromium(leave_out: Any) -> str:
    """The system's Chromium."""
    found = os.environ.get("RECOUP_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        leave_out("Chromium", "install the package chromium, or name one in RECOUP_TEST_CHROMIUM")
    return found


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Any]:
    """A browser without a window."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        await opened.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this machine's, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + LEASE * 1440)
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(
        made.add_extension(here, critical=False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@dataclass
class Site:
    """A merchant with a sandbox account, its customers' links, and time that passes when told to."""

    service: Service
    gateway: SandboxGateway
    clock: Any
    base: str
    count: int = 0

    async def owe(self, token: str = "tok_insufficient_funds", **fields: Any) -> Opened:
        """A failed payment of a customer whom the bank knows; what is due at once is done."""
        self.count += 1
        fields = {
            "code": "insufficient_funds",
            "reference": f"2026-{1170 + self.count}",
            "amount_minor": 4900,
            "currency": "EUR",
            "locale": None,
            "known_as": f"cus_{self.count}",
        } | fields
        report = FailureReport(
            merchant_id="default",
            reference=fields["reference"],
            amount_minor=fields["amount_minor"],
            currency=fields["currency"],
            customer=Customer(ref=f"customer-{self.count}", country="DE"),
            gateway="sandbox",
            method=Method.CARD,
            subscription={"plan": fields.get("plan", "Team plan, monthly"), "interval": "month"},
            credentials=(
                ReportedCredential(
                    gateway="sandbox",
                    token=token,
                    method=Method.CARD,
                    network=Network.VISA,
                    role=CredentialRole.PRIMARY,
                    fingerprint=f"card-{self.count}",
                    gateway_customer=fields["known_as"],
                ),
            ),
            attempts=(PriorAttempt(at=self.clock.now(), decline=classify(DeclineSource.STRIPE, fields["code"])),),
        )
        opened = await open_case(self.service.context, report, "key:shop", "corr-1")
        await self.run_due()
        self.clock.advance(timedelta(minutes=5))  # mails take their time
        return opened

    def link(self, opened: Opened, days: int = 30) -> str:
        """The address in the customer's mail."""
        links, until = self.service.context.messaging.links, self.clock.now() + timedelta(days=days)
        payment = opened.payment
        return links.update(opened.case.id, payment.merchant_id, payment.customer.ref, until)

    async def announce(self) -> str:
        """The address in the mail about a charge before which the customer's card ends."""
        context, now = self.service.context, self.clock.now()
        given = Announcement(
            merchant_id="default",
            reference=f"2026-next-{self.count}",
            customer=Customer(ref="customer-coming", country="DE"),
            amount_minor=4900,
            currency="EUR",
            charge_at=now + timedelta(days=40),
            method=Method.CARD,
            gateway="sandbox",
            expires_on=f"{now:%Y-%m}",
            subscription={"plan": "Team plan, monthly"},
        )
        charge = (await announce(context, given, By(merchant_id="default", actor="key:shop"))).charge
        return context.messaging.links.charge(charge.id, "default", charge.customer.ref, now + timedelta(days=30))

    async def run_due(self) -> None:
        """Do everything that is due now, and what that makes due."""
        for _ in range(50):
            refs = await self.service.jobs.claim(self.clock.now(), 100, LEASE)
            if not refs:
                return
            await self.service.run_jobs(refs)
        raise AssertionError("the jobs never end")

    async def deliver(self) -> None:
        """Bring the bank's webhooks, and do what they make due."""
        for delivery in self.gateway.bank.due_deliveries(100):
            headers = sign(SECRET, delivery.event_id, self.clock.now(), delivery.body)
            await receive_webhook(self.service.context, "sandbox", dict(headers), delivery.body, None)
            self.gateway.bank.record_delivery(delivery, delivered=True, retry_in=None)
        await self.run_due()

    async def told(self, case_id: UUID) -> list[str]:
        """What happened in a case, in order."""
        async with self.service.database.connection() as connection:
            rows = await connection.fetch("SELECT kind FROM event WHERE case_id = $1 ORDER BY id", case_id)
        return [row["kind"] for row in rows]

    async def speaks(self, opened: Opened, locale: str) -> None:
        """Let the customer's language be known."""
        async with self.service.database.connection() as connection:
            await connection.execute(
                "INSERT INTO customer (merchant_id, ref, locale, created_at, changed_at)"
                " VALUES ('default', $1, $2, now(), now())"
                " ON CONFLICT (merchant_id, ref) DO UPDATE SET locale = excluded.locale",
                opened.payment.customer.ref,
                locale,
            )


MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def site(database_url: str, certificate: tuple[Path, Path], clock: Any) -> AsyncIterator[Site]:
    """A whole installation at https://127.0.0.1 that a browser can open."""
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"https://127.0.0.1:{listener.getsockname()[1]}"
    options = SandboxOptions(webhook_secrets=(SECRET,), clock=clock, pages=base + PAGES)
    gateway = SandboxGateway("sandbox", options)
    brand = BrandEntry(
        name="Northwind Studio",
        colour="#0b6e4f",
        support_email="billing@northwind.example",
        support_url="https://northwind.example/help",
        postal_address="Northwind Studio Ltd\n12 Harbour Street, Dublin 1",
    )
    settings = Settings(
        environment="development",
        gateways=(GatewayEntry(name="sandbox", plugin="sandbox"),),
        api=ApiSettings(public_url=base),
        brands=(brand,),
    )
    book = PolicyBook.load(shipped_policies(), EngineChoice.CLOSURES)
    service = await Service(
        settings, Database(database_url, pool_max=5), {"sandbox": gateway}, book, Metrics(), clock
    ).open()
    chain, key = certificate
    config = uvicorn.Config(
        create_app(service, {PAGES: SandboxPages(gateway.bank)}),
        ssl_certfile=str(chain),
        ssl_keyfile=str(key),
        log_config=None,
        access_log=False,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield Site(service, gateway, clock, base)
    server.should_exit = True
    await serving
    await service.close()
