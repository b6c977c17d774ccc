"""Many cases whose retry is due: a few are opened by the product's own flow, the rest are copies of their rows.

Opening two hundred thousand cases one by one would take longer than what is measured.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.reference import classify
from recoup_core.wiring import Service

TOKENS: Final = ("tok_approve", "tok_insufficient_funds", "tok_generic_decline")
"""One retry in three succeeds and ends its case; the others are declined and planned anew."""
FAILED_AGO: Final = timedelta(days=10)
FILL_TIMEOUT_S: Final = 1_800.0

_COPY_ID: Final = "(lpad(to_hex(g), 12, '0') || substr(md5({id}::text), 1, 20))::uuid"
"""Copy `g` of an id: new, the same in every table, and growing with `g` as real ids grow with time."""

_IDS: Final = {
    "credential": ("id",),
    "payment": ("id",),
    "recovery_case": ("id", "payment_id"),
    "decision": ("id", "case_id"),
    "timeline_step": ("id", "case_id", "payment_id", "credential_id", "decision_id"),
    "attempt": ("id", "payment_id", "case_id", "credential_id"),
}
_OTHERS: Final = {
    "credential": {"customer_ref": "r.customer_ref || '-' || g", "account_key": "r.account_key || '-' || g"},
    "payment": {
        "reference": "r.reference || '-' || g",
        "customer": "jsonb_set(r.customer, '{ref}', to_jsonb((r.customer ->> 'ref') || '-' || g))",
    },
    "attempt": {"account_key": "r.account_key || '-' || g"},
}


def report(name: str, token: str, at: datetime) -> FailureReport:
    """Return a failed card payment whose next attempts do what the token says."""
    decline = classify(DeclineSource.STRIPE, "generic_decline", network=Network.VISA)
    return FailureReport(
        merchant_id="default",
        reference=f"inv-{name}",
        amount_minor=1999,
        currency="EUR",
        customer=Customer(ref=f"cus-{name}", country="DE"),
        gateway="sandbox",
        method=Method.CARD,
        credentials=(
            ReportedCredential(
                gateway="sandbox",
                token=token,
                fingerprint=f"card-{name}",
                method=Method.CARD,
                network=Network.VISA,
                role=CredentialRole.PRIMARY,
            ),
        ),
        attempts=(PriorAttempt(at=at, decline=decline),),
    )


async def due_cases(service: Service, count: int) -> int:
    """Fill the database with at least `count` cases whose retry is due; return how many there are.

    Their jobs can't be claimed before `make_due`.
    """
    failed_at = datetime.now(UTC) - FAILED_AGO
    for token in TOKENS:
        await open_case(service.context, report(token, token, failed_at), "bench", None)
    copies = -(-count // len(TOKENS)) - 1
    async with service.database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        await copy_rows(connection, _IDS, copies)
        await connection.execute("UPDATE timeline_step SET due_at = now() WHERE kind = 'retry'", timeout=FILL_TIMEOUT_S)
        await connection.execute("DELETE FROM job")
        await connection.execute(_JOBS, timeout=FILL_TIMEOUT_S)
    assert service.settings.database.url is not None  # the benchmark set it
    connection = await asyncpg.connect(service.settings.database.url.reveal(), command_timeout=FILL_TIMEOUT_S)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return (copies + 1) * len(TOKENS)


async def copy_rows(connection: asyncpg.Connection, tables: Iterable[str], copies: int) -> None:
    """Put in so many copies of every row of the tables, in an order that foreign keys allow."""
    for table in tables:
        columns = [row[0] for row in await connection.fetch(_COLUMNS, table)]
        await connection.execute(_copy_sql(table, columns), copies, timeout=FILL_TIMEOUT_S)
        await connection.execute(f"ANALYZE {table}")  # else the next table's foreign keys are looked up by reading all


async def make_due(service: Service) -> None:
    """Let all jobs be claimed from now on."""
    async with service.database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("UPDATE job SET visible_at = due_at", timeout=FILL_TIMEOUT_S)


_COLUMNS: Final = """
    SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum"""

_JOBS: Final = """
    INSERT INTO job (kind, subject_id, due_at, visible_at)
    SELECT 'collect', id, now(), now() + interval '1 day' FROM timeline_step WHERE kind = 'retry'"""


def _copy_sql(table: str, columns: list[str]) -> str:
    def value(column: str) -> Any:
        if column in _IDS[table]:
            return _COPY_ID.format(id=f"r.{column}")
        return _OTHERS.get(table, {}).get(column, f"r.{column}")

    names = ", ".join(columns)
    values = ", ".join(value(column) for column in columns)
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} r, generate_series(1, $1::integer) g"
