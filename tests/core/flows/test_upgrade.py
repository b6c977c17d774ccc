"""A database of the first release: its cases go on, its decisions come out again, its processes may still be running.

`data/first_release.json` holds rows as that release wrote them: six cases, among them an exhausted, a recovered and a
paused one, and two with a retry to come.
"""

import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from recoup_core.domain.recovery import CaseState
from recoup_core.flows.operate import resume
from recoup_core.flows.replay import replay
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.study.replay import Chunk, Redoer, Replayed
from recoup_core.storage import migrations
from recoup_core.storage.decisions import Span
from recoup_core.storage.migrate import migrate

ROWS = Path(__file__).parent / "data" / "first_release.json"
FIRST_MIGRATION = "recoup_2026_11_23t09_00_00"
WRITTEN = datetime(2026, 11, 20, 9, tzinfo=UTC)
"""Soon after the rows were."""


@pytest.fixture
def first_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package of migrations that holds the first release's only."""
    package = tmp_path / "first_release_migrations"
    package.mkdir()
    (package / "__init__.py").touch()
    for here in Path(migrations.__path__[0]).glob(f"{FIRST_MIGRATION}.*"):
        shutil.copy(here, package)
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    yield import_module(package.name)
    for name in [each for each in sys.modules if each.startswith(package.name)]:
        del sys.modules[name]


async def write_rows(url: str) -> None:
    """Write the rows as the first release does: each table with the columns that release knows."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for table, rows in msgspec.json.decode(ROWS.read_bytes()).items():
                names = ", ".join(rows[0])
                await connection.execute(
                    f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {names} FROM jsonb_populate_recordset(null::{table}, $1::jsonb)",
                    msgspec.json.encode(rows).decode(),
                )
    finally:
        await connection.close()


@pytest.fixture(params=["before the migration", "after it, by a process that is still running"])
async def database_url(request: Any, empty_database_url: str, first_schema: ModuleType) -> str:
    """A database of today's schema with the first release's rows, written in either order."""
    await migrate(empty_database_url, package=first_schema)
    if request.param.startswith("before"):
        await write_rows(empty_database_url)
        await migrate(empty_database_url)
    else:
        await migrate(empty_database_url)
        await write_rows(empty_database_url)
    return empty_database_url


async def test_decisions_of_the_first_release_come_out_again(shop: Any) -> None:
    """To the last character, from their own rows: nothing that was decided needs the code that decided it."""
    redoer = Redoer(EngineChoice.BEST)

    async def redo(chunk: Chunk) -> Replayed:
        return redoer(chunk)

    found = [each async for each in replay(shop.service.database, Span(until=WRITTEN), redo, WRITTEN)]
    redoer.close()

    assert sum(each.count for each in found) == 8
    assert [each.differences for each in found if each.differences] == []


async def test_cases_of_the_first_release_go_on_to_their_end(shop: Any, clock: Any) -> None:
    """Planned retries are made when they are due and a paused case resumes; without dunning, as they opened."""
    clock.set(WRITTEN)
    cases = {UUID(row["payment_id"]): row for row in msgspec.json.decode(ROWS.read_bytes())["recovery_case"]}
    before = {payment: await shop.file(payment) for payment in cases}
    (paused,) = (UUID(row["id"]) for row in cases.values() if row["state"] == CaseState.PAUSED)
    await resume(shop.context, paused, shop.by())

    await shop.live(timedelta(days=90))

    for payment, was in before.items():
        now = await shop.file(payment)
        going_on = was.case.state in (CaseState.OPEN, CaseState.PAUSED)
        assert now.case.state in ((CaseState.RECOVERED, CaseState.EXHAUSTED) if going_on else (was.case.state,))
        assert (len(now.attempts) > len(was.attempts)) is going_on
        assert (now.case.dunning_digest, now.case.migrations, now.planned_dunning) == (None, 0, ())
        assert now.case.policy_digest == was.case.policy_digest
