"""Piccolo's view of the tables that are administered row by row; what runs per payment is written in SQL.

The schema itself is the migrations' alone: partial indexes, triggers and constraint triggers are beyond models.
"""

from typing import Final

from piccolo.columns import UUID, Array, Bytea, ForeignKey, Text, Timestamptz
from piccolo.table import Table

from recoup_core.storage.engine import RecoupEngine, bind


class MerchantRow(Table, tablename="merchant"):
    """One tenant; every row of the other tables belongs to one."""

    id = Text(primary_key=True)
    name = Text()
    acquirer_country = Text(null=True, default=None)
    created_at = Timestamptz()
    timezone = Text(default="UTC")


class ApiKeyRow(Table, tablename="api_key"):
    """A key's hash and what it may do."""

    id = UUID(primary_key=True)
    merchant_id = ForeignKey(MerchantRow)
    principal = Text()
    roles = Array(base_column=Text())
    approves = Array(base_column=Text(), default=list)
    hint = Text()
    key_hash = Bytea(unique=True, secret=True)
    created_at = Timestamptz()
    expires_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)


TABLES: Final = (MerchantRow, ApiKeyRow)


def bind_tables(engine: RecoupEngine) -> None:
    """Let the models use this engine; the last call counts."""
    bind(TABLES, engine)
