"""The command line as a function: arguments in; exit code, output and errors out."""

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import structlog

from recoup_cli.compose import build_service
from recoup_cli.main import run
from recoup_cli.single import sandbox
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.flows.recover import Opened, open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.reference import classify
from recoup_core.secret import SecretUrl
from recoup_core.settings import DatabaseSettings, Settings, load_settings
from recoup_workers.inprocess import InProcess

WORK_LIMIT_S = 30.0


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start in an empty folder, with none of the developer's own settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECOUP_CONFIG", raising=False)
    monkeypatch.delenv("RECOUP_DATABASE_URL", raising=False)
    monkeypatch.delenv("RECOUP_AMQP_URL", raising=False)
    monkeypatch.delenv("RECOUP_API_KEY", raising=False)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Take back what commands say about logging: they run in a process of their own otherwise."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def recoup(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`recoup("policy", "check", folder)` runs a command in this process."""

    def command(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return command


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, database_url: str) -> str:
    """The settings name a migrated database."""
    monkeypatch.setenv("RECOUP_DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach, as an embedded PostgreSQL that root starts has to."""
    folder = Path(tempfile.mkdtemp(prefix="recoup-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """Run async work apart from the test's own loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture
def reported(configured: str, tmp_path: Path) -> Opened:
    """A failed payment, INV-1, reported to the configured database."""
    settings = Settings(
        environment="development",
        database=DatabaseSettings(url=SecretUrl(configured)),
        gateways=(sandbox(tmp_path),),
    )

    async def report() -> Opened:
        service = build_service(settings)
        await service.open()
        try:
            return await open_case(service.context, a_report(datetime.now(UTC)), "key:test", None)
        finally:
            await service.close()

    opened: Opened = in_thread(report())
    return opened


@pytest.fixture
def shop(configured: str, tmp_path: Path) -> None:
    """An installation with a sandbox gateway and the shipped policies, as `recoup.toml` in the folder says."""
    (tmp_path / "recoup.toml").write_text(
        'environment = "development"\n[[gateways]]\nname = "sandbox"\nplugin = "sandbox"\n'
        f'options = {{ path = "{tmp_path / "bank.sqlite3"}" }}\n'
    )

    async def start() -> None:
        service = build_service(load_settings())
        await service.open()
        await service.close()

    in_thread(start())


@pytest.fixture
def work_off(shop: None) -> Callable[[], None]:
    """Have a worker do everything that is due now, at the sandbox's bank."""

    async def work() -> None:
        service = build_service(load_settings())
        await service.open()
        process = InProcess(service)
        await process.start()
        try:
            assert await process.drain(WORK_LIMIT_S)
        finally:
            await process.stop()
            await service.close()

    return lambda: in_thread(work())


@pytest.fixture
def key_of(shop: None, recoup: Callable[..., Done], tmp_path: Path) -> Callable[..., Path]:
    """`key_of("mia", approves="finance")` makes a key of a person and returns the file that holds it."""

    def make(person: str, *, role: str = "agent", approves: str | None = None) -> Path:
        may_approve = ["--approves", approves] if approves else []
        made = recoup("keys", "create", "--principal", person, "--role", role, *may_approve)
        file = tmp_path / f"key-{uuid4().hex}"
        file.write_text(made.out)
        return file

    return make


@pytest.fixture
def captured(shop: None, recoup: Callable[..., Done], tmp_path: Path) -> Callable[..., None]:
    """`captured("INV-7", 2, 1500)` reports a payment of some mugs and their shipping (5.00), collected an hour ago."""

    def report(reference: str, pieces: int, unit_minor: int, **fields: Any) -> None:
        mugs = {"ref": "mug", "quantity": pieces, "amount_minor": pieces * unit_minor, "tax_minor": pieces * 100}
        shipping = {"ref": "shipping", "kind": "shipping", "amount_minor": 500, "tax_minor": 80}
        told = {
            "reference": reference,
            "customer": {"ref": "customer-1"},
            "amount_minor": pieces * unit_minor + 500,
            "currency": "EUR",
            "gateway": "sandbox",
            "gateway_ref": f"sbx_reported_{reference}",
            "method": "card",
            "captured_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
            "lines": [mugs, shipping],
        }
        file = tmp_path / f"{reference}.json"
        file.write_text(json.dumps(told | fields))
        done = recoup("payment", "report-captured", file)
        assert (done.code, done.err) == (0, "")

    return report


def a_report(now: datetime) -> FailureReport:
    """A consumer's card that lacked funds ten minutes ago."""
    return FailureReport(
        merchant_id="default",
        reference="INV-1",
        amount_minor=4900,
        currency="EUR",
        customer=Customer(ref="customer-1", country="DE"),
        gateway="sandbox",
        method=Method.CARD,
        credentials=(ReportedCredential(gateway="sandbox", token="approve", method=Method.CARD, network=Network.VISA),),
        attempts=(
            PriorAttempt(at=now - timedelta(minutes=10), decline=classify(DeclineSource.STRIPE, "insufficient_funds")),
        ),
    )
