"""A database from before the whole ledger: captures get rows, debts given up are written off, and it adds up."""

import shutil
import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

import asyncpg
import msgspec
import pytest

from recoup_core.storage import migrations
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger import read_balances
from recoup_core.storage.ledger_checks import verify_ledger
from recoup_core.storage.migrate import migrate

ROWS = Path(__file__).parents[1] / "data" / "first_release.json"
WHOLE_LEDGER = "recoup_2026_11_23t16_00_00"


@pytest.fixture
def schema_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package of the migrations before the one that made the ledger whole."""
    package = tmp_path / "migrations_before_the_ledger"
    package.mkdir()
    (package / "__init__.py").touch()
    for here in Path(migrations.__path__[0]).glob("recoup_*.*"):
        if here.stem < WHOLE_LEDGER:
            shutil.copy(here, package)
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    yield import_module(package.name)
    for name in [each for each in sys.modules if each.startswith(package.name)]:
        del sys.modules[name]


async def write_rows(url: str) -> None:
    """Write what the first release wrote, and give the exhausted debts up."""
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
            await connection.execute("UPDATE recovery_case SET state = 'written_off' WHERE state = 'exhausted'")
    finally:
        await connection.close()


async def test_an_old_database_adds_up_after_its_migration(empty_database_url: str, schema_before: ModuleType) -> None:
    """Nothing is left for the verification to stumble over, and what was given up stands in its account."""
    await migrate(empty_database_url, package=schema_before)
    await write_rows(empty_database_url)

    await migrate(empty_database_url)

    database = Database(empty_database_url, pool_max=2)
    await database.open()
    try:
        verified = await verify_ledger(database)
        async with database.connection() as connection:
            merchant, owed = await connection.fetchrow(
                "SELECT p.merchant_id, sum(p.amount_minor - p.captured_minor) FROM payment p"
                " JOIN recovery_case c ON c.payment_id = p.id WHERE c.state = 'written_off' GROUP BY 1"
            )
        balances = {each.account: each.balance_minor for each in await read_balances(database, merchant, None)}
    finally:
        await database.close()
    assert verified.fault is None
    assert verified.rows["capture"] > 0
    assert balances["write_offs"] == owed > 0
    assert sum(balances.values()) == 0
