"""The command line as a function: arguments in; exit code, output and errors out."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recoup_cli.compose import build_service
from recoup_cli.main import run
from recoup_cli.single import sandbox
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.flows.recover import Opened, open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.reference import classify
from recoup_core.secret import SecretUrl
from recoup_core.settings import DatabaseSettings, Settings


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
