"""Past cases simulated per second, and stored decisions replayed: from the database to the report, all cores at work.

A few hundred cases are lived through by the product's own flows, with a clock that is moved; the rest are copies of
their rows, for to live through a hundred thousand would take longer than what is measured.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from jobs import RECOUP
from place import a_database, environment, postgres_place, settings_from
from report import Result, Table, number, tell
from seeds import FILL_TIMEOUT_S, copy_rows

from recoup_cli.compose import build_service
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.reference import classify
from recoup_core.wiring import Service, shipped_policies

CASES: Final = 100_000
LIVED: Final = 200
LEASE: Final = timedelta(minutes=2)
BATCH: Final = 200
MAX_TURNS: Final = 2_000
MONTHS: Final = timedelta(days=60)
TIMEOUT_S: Final = 1_800.0
CODES: Final = (
    "insufficient_funds",
    "generic_decline",
    "processing_error",
    "do_not_honor",
    "expired_card",
    "lost_card",
)
TOKENS: Final = ("tok_approve", "tok_insufficient_funds", "tok_generic_decline")
CHANGES: Final[Mapping[str, tuple[str, str]]] = {
    "the same text": ("", ""),
    "other waits": ("after: [3d, 5d, 7d, 7d]", "after: [2d, 5d, 7d, 7d]"),
}


class Moved:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """What time it is."""
        return self.at


def run(*, quick: bool) -> Result:
    """Measure simulation under two texts, and replay."""
    return asyncio.run(_run(2_000 if quick else CASES))


async def _run(cases: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="recoup-bench-") as name:
        folder = Path(name)
        async with a_database() as url:
            env = environment(folder, url)
            decisions, count = await _fill(env, folder, url, cases)
            rows = [
                (f"simulate, {words}", number(count), *_timed(count, _simulate(env, folder, change)))
                for words, change in CHANGES.items()
            ]
            replayed = _timed(decisions, _command(env, folder, "replay"))
            table = _table([*rows, ("replay (decisions)", number(decisions), *replayed)], decisions)
            return Result(tables=(table,), places=(await postgres_place(url),))


def _table(rows: list[tuple[str, ...]], decisions: int) -> Table:
    return Table(
        title="Past cases simulated",
        method=(
            f"`recoup policy simulate --history stored` and `recoup policy replay`, whole commands on {os.cpu_count()}"
            f" cores that PostgreSQL shares. {LIVED} card cases of six decline codes were lived through for"
            f" {MONTHS.days} days by the product's flows, the rest are copies of their rows: {number(decisions)} stored"
            " decisions. Wall-clock time of the command, start and compiling included, and the CPU time of its own"
            " processes; run once each."
        ),
        head=("command", "cases", "seconds", "CPU seconds", "a second"),
        rows=tuple(rows),
    )


def _timed(count: int, arguments: tuple[dict[str, str], Path, list[str]]) -> tuple[str, str, str]:
    env, folder, command = arguments
    tell(" ".join(command[-4:]))
    before, started = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, *RECOUP, *command],
        env=env,
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
    )
    spent, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return f"{spent:.1f}", f"{cpu:.1f}", number(count / spent)


def _simulate(env: dict[str, str], folder: Path, change: tuple[str, str]) -> tuple[dict[str, str], Path, list[str]]:
    text = (shipped_policies() / "retry" / "cards-consumer.yaml").read_text().replace(*change)
    file = folder / "new.yaml"
    file.write_text(text)
    return _command(env, folder, "simulate", "--history", "stored", str(file))


def _command(env: dict[str, str], folder: Path, *arguments: str) -> tuple[dict[str, str], Path, list[str]]:
    return env, folder, ["policy", *arguments]


async def _fill(env: Mapping[str, str], folder: Path, url: str, cases: int) -> tuple[int, int]:
    """Live through some cases and copy them; return how many decisions and cases there are."""
    clock = Moved(datetime.now(UTC) - 2 * MONTHS)
    service = await build_service(settings_from(env, folder), clock=clock).open()
    try:
        await _live(service, clock)
        async with service.database.transaction() as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            await copy_rows(connection, ("payment", "recovery_case", "decision"), -(-cases // LIVED) - 1)
    finally:
        await service.close()
    connection = await asyncpg.connect(url, command_timeout=FILL_TIMEOUT_S)
    await connection.execute("VACUUM ANALYZE")
    counts = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("decision", "recovery_case")]
    await connection.close()
    return counts[0], counts[1]


async def _live(service: Service, clock: Any) -> None:
    chance = random.Random(7)
    for index in range(LIVED):
        await open_case(service.context, _report(index, chance, clock.at), "bench", None)
    end = clock.at + MONTHS
    for _ in range(MAX_TURNS):
        refs = await service.jobs.claim(clock.at, BATCH, LEASE)
        await service.run_jobs(refs)
        due = clock.at if refs else await service.jobs.next_due_at(clock.at)
        if due is None or due > end:
            return
        clock.at = max(due, clock.at)
    raise AssertionError("the cases never end")


def _report(index: int, chance: random.Random, at: datetime) -> FailureReport:
    credential = ReportedCredential(
        gateway="sandbox",
        token=chance.choice(TOKENS),
        fingerprint=f"card-{index}",
        method=Method.CARD,
        network=Network.VISA,
        role=CredentialRole.PRIMARY,
    )
    return FailureReport(
        merchant_id="default",
        reference=f"inv-{index}",
        amount_minor=chance.randint(500, 20_000),
        currency="EUR",
        customer=Customer(ref=f"cus-{index}", country="DE"),
        gateway="sandbox",
        method=Method.CARD,
        credentials=(credential,),
        attempts=(
            PriorAttempt(at=at, decline=classify(DeclineSource.STRIPE, chance.choice(CODES), network=Network.VISA)),
        ),
    )
