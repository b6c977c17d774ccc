"""Upcoming charges and their notices, subscription requests, late successes."""

from importlib.resources import files

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.postgres import PostgresTransaction
from piccolo.table import Table

ID = "2026-11-23T22:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Upcoming charges, notices, subscription requests"


class Raw(Table):
    """Names the engine whose transaction runs the script; no table of ours."""


async def forwards() -> MigrationManager:
    """Run the script beside this module in the migration's own transaction."""
    manager = MigrationManager(migration_id=ID, app_name="storage", description=DESCRIPTION)

    async def run() -> None:
        script = files(__package__).joinpath("recoup_2026_11_23t22_30_00.sql").read_text("utf-8")
        transaction = Raw._meta.db.current_transaction.get()
        assert isinstance(transaction, PostgresTransaction)
        await transaction.connection.execute(script)  # a script of many statements: raw() takes one

    manager.add_raw(run)
    return manager
