"""A whole service on a real database with the sandbox gateway, and clients with keys of every role.

Tests share one database and have merchants of their own: what keeps tenants apart keeps tests apart, and a copy of the
database for each would cost more than the test. Tests that run jobs take a database to themselves (`service_url`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient, Response
from litestar import Litestar

from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.settings_people import StaffEntry
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database
from recoup_core.storage.merchants import Role, mint_key
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service, shipped_policies
from recoup_plugins.gateways.sandbox import make_sandbox
from recoup_plugins.settings import GatewaySettings
from recoup_server.app import PREFIX, create_app
from recoup_server.examples import PAYMENT
from recoup_server.examples_refunds import CAPTURED, PARTIAL

WEBHOOK_SECRET = "the sandbox's webhook secret"


@pytest.fixture(scope="session")
def book() -> PolicyBook:
    """The shipped policies; the plain evaluator, which compiles at once."""
    return PolicyBook.load(shipped_policies(), EngineChoice.CLOSURES)


@pytest.fixture
def measures() -> Metrics:
    """For a service whose measures nobody reads."""
    return Metrics()


@pytest.fixture(scope="session")
def shared_url(postgres_server: Any, make_database: Any, drop_database: Any) -> Iterator[str]:
    """One migrated database for many tests."""
    url = make_database(postgres_server.template)
    yield url
    drop_database(url)


@pytest.fixture
def service_url(shared_url: str) -> str:
    """The database of this test's service; a module that needs one to itself overrides this."""
    return shared_url


@pytest.fixture
def merchants() -> tuple[str, str]:
    """Two merchants that no other test knows."""
    return f"one-{uuid4()}", f"two-{uuid4()}"


@pytest.fixture
def entries(merchants: tuple[str, str]) -> tuple[GatewayEntry, ...]:
    """A sandbox account for each of the two."""
    return (
        GatewayEntry(name="sandbox", plugin="sandbox", merchant=merchants[0]),
        GatewayEntry(name="sandbox-other", plugin="sandbox", merchant=merchants[1]),
    )


@pytest.fixture
def gateways(clock: Any, entries: tuple[GatewayEntry, ...]) -> dict[str, Any]:
    """The accounts' gateways."""
    options = {"webhook_secrets": (WEBHOOK_SECRET,), "clock": clock}
    return {
        entry.name: make_sandbox(GatewaySettings(name=entry.name, plugin="sandbox", options=options))
        for entry in entries
    }


@pytest.fixture
def make_service(
    entries: tuple[GatewayEntry, ...], book: PolicyBook, gateways: dict[str, Any], measures: Metrics, clock: Any
) -> Callable[[str], Service]:
    """`make_service(url)` returns a service that is not open yet."""

    def make(url: str) -> Service:
        staff = tuple(StaffEntry(name="anna", notifier="nobody", merchant=entry.merchant) for entry in entries[:1])
        settings = Settings(environment="development", gateways=entries, staff=staff)
        return Service(settings, Database(url, pool_max=5), gateways, book, measures, clock)

    return make


@pytest.fixture
async def service(service_url: str, make_service: Callable[[str], Service]) -> AsyncIterator[Service]:
    """An open service of the two merchants."""
    service = await make_service(service_url).open()
    yield service
    await service.close()


@pytest.fixture
def app(service: Service) -> Litestar:
    """The application under test."""
    made = create_app(service)
    made.state["hub"].close()  # nothing runs its lifespan here; who opens a stream is refused instead of waiting
    return made


MakeKey = Callable[..., Awaitable[str]]


@pytest.fixture
def make_key(service: Service, merchants: tuple[str, str]) -> MakeKey:
    """`await make_key("viewer")` returns a fresh key's secret, the first merchant's if not told otherwise."""

    async def make(
        *roles: str,
        merchant: str = merchants[0],
        expires_at: datetime | None = None,
        principal: str | None = None,
        approves: Collection[str] = (),
    ) -> str:
        minted = await mint_key(
            service.database,
            merchant,
            principal or f"tester-{'-'.join(roles)}",
            [Role(role) for role in roles],
            service.clock.now(),
            actor="system",
            expires_at=expires_at,
            approves=approves,
        )
        return minted.secret

    return make


@dataclass
class Api:
    """Calls the API with one key; every POST gets an Idempotency-Key of its own unless told otherwise."""

    client: AsyncClient
    secret: str | None
    service: Service

    async def get(self, path: str, **params: Any) -> Response:
        if path == "/events":
            await until_certain(self.service)
        return await self.client.get(PREFIX + path, params=params, headers=self._headers())

    async def post(self, path: str, body: Any = None, *, key: str | None = "fresh", **headers: str) -> Response:
        sent = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {} if key is None else {"Idempotency-Key": str(uuid4()) if key == "fresh" else key}
        return await self.client.post(PREFIX + path, content=sent, headers=self._headers() | named | headers)

    async def patch(self, path: str, body: Any, *, key: str | None = "fresh", **headers: str) -> Response:
        named = {} if key is None else {"Idempotency-Key": str(uuid4()) if key == "fresh" else key}
        sent = msgspec.json.encode(body)
        return await self.client.patch(PREFIX + path, content=sent, headers=self._headers() | named | headers)

    async def act(self, file: Mapping[str, Any], act: str, body: Any = None, *, key: str | None = "fresh") -> Response:
        """Do something to the very version of a refund that an answer told of."""
        refund = file["refund"]
        headers = {"If-Match": f'"{refund["version"]}"'}
        return await self.post(f"/refunds/{refund['id']}/{act}", {} if body is None else body, key=key, **headers)

    async def delete(self, path: str) -> Response:
        return await self.client.delete(PREFIX + path, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {} if self.secret is None else {"Authorization": f"Bearer {self.secret}"}


async def until_certain(service: Service) -> None:
    """Wait until every event can be told, and will be: the feed waits for whoever writes at that moment.

    Other tests' databases are on the same server. A transaction of theirs that is left out here counts for a moment
    just when it ends; so all that were there before must have ended.
    """
    async with service.database.connection() as connection, asyncio.timeout(20):
        while await connection.fetchval(  # noqa: ASYNC110 - another server's process can't set an event here
            "SELECT count(*) FROM event WHERE txid >= pg_snapshot_xmin(pg_current_snapshot())"
        ):
            await asyncio.sleep(0.02)


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[AsyncClient]:
    """A client without a key. It calls the app on the test's own loop, where the service's pool lives."""
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://testserver") as opened:
        yield opened


@pytest.fixture
async def api(client: AsyncClient, make_key: MakeKey, service: Service) -> Api:
    """The API as an administrator of the first merchant sees it."""
    return Api(client, await make_key("admin"), service)


@pytest.fixture
async def other(client: AsyncClient, make_key: MakeKey, merchants: tuple[str, str], service: Service) -> Api:
    """The API as an administrator of the other merchant sees it."""
    return Api(client, await make_key("admin", merchant=merchants[1]), service)


@pytest.fixture
def a_payment() -> Callable[..., dict[str, Any]]:
    """`a_payment(reference="x", token="tok_approve")` returns a report's body with a fresh reference."""

    def build(token: str = "tok_approve", code: str = "insufficient_funds", **changes: Any) -> dict[str, Any]:
        credential: Mapping[str, Any] = PAYMENT["credentials"][0]
        return {
            **PAYMENT,
            "reference": f"invoice-{uuid4()}",
            "credentials": [{**credential, "token": token}],
            "attempts": [{"at": "2026-11-23T08:00:00Z", "decline": {"source": "stripe", "code": code}}],
            **changes,
        }

    return build


@pytest.fixture
def report(api: Api, a_payment: Callable[..., dict[str, Any]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """`await report(token="...")` reports a payment and returns the answer."""

    async def send(**changes: Any) -> dict[str, Any]:
        answer = await api.post("/payments", a_payment(**changes))
        assert answer.status_code == 202, answer.text
        opened: dict[str, Any] = answer.json()
        return opened

    return send


@pytest.fixture
def a_captured() -> Callable[..., dict[str, Any]]:
    """`a_captured(amount_minor=4900, lines=[])` returns the body of a report with a fresh reference and charge.

    `script` says what happens to its refunds at the sandbox (plugins/README.md).
    """

    def build(script: str = "approve", **changes: Any) -> dict[str, Any]:
        charge = f"sbx_reported_{uuid4()}~{script}"
        fresh = {"reference": f"invoice-{uuid4()}", "gateway_ref": charge, "order_ref": f"order-{uuid4()}"}
        return {**CAPTURED, **fresh, **changes}

    return build


@pytest.fixture
def capture(api: Api, a_captured: Callable[..., dict[str, Any]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """`await capture("refused:declined")` reports a payment of 120.00 EUR with lines and returns the answer."""

    async def send(script: str = "approve", **changes: Any) -> dict[str, Any]:
        answer = await api.post("/payments/captured", a_captured(script, **changes))
        assert answer.status_code == 201, answer.text
        told: dict[str, Any] = answer.json()
        return told

    return send


@pytest.fixture
def ask(api: Api) -> Callable[..., Awaitable[dict[str, Any]]]:
    """`await ask(account, amount_minor=100)` asks for a refund of a captured payment and returns the answer."""

    async def send(account: Mapping[str, Any], amount_minor: int, **changes: Any) -> dict[str, Any]:
        payment = account["payment"]
        body = {**PARTIAL, "payment_id": payment["id"], "currency": payment["currency"], "amount_minor": amount_minor}
        answer = await api.post("/refunds", body | changes)
        assert answer.status_code == 201, answer.text
        file: dict[str, Any] = answer.json()
        return file

    return send


@pytest.fixture
def person(client: AsyncClient, make_key: MakeKey, service: Service) -> Callable[..., Awaitable[Api]]:
    """`await person("anna", "support_lead")` returns the API as Anna sees it, who decides as a support lead."""

    async def make(name: str, *approves: str, role: str = "viewer", merchant: str | None = None) -> Api:
        whose = {} if merchant is None else {"merchant": merchant}
        return Api(client, await make_key(role, principal=name, approves=approves, **whose), service)

    return make


@pytest.fixture
def run_due(service: Service, clock: Any) -> Callable[[], Awaitable[int]]:
    """Run everything that is due by the test's clock, as scheduler and worker would; return how many jobs ran."""

    async def run() -> int:
        refs: list[JobRef] = await service.jobs.claim(clock.now(), 100, timedelta(seconds=60))
        await service.run_jobs(refs)
        return len(refs)

    return run


@pytest.fixture
def certain(service: Service) -> Callable[[], Awaitable[None]]:
    """`await certain()` waits until everything that was written can be read in the feed."""
    return lambda: until_certain(service)
