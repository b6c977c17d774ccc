"""What the database holds of settlement, whoever writes the SQL; of a spoilt one, verification names the row."""

from typing import Any

import asyncpg
import pytest

from recoup_core.storage.ledger_checks import verify_ledger

REFUSED = [
    "UPDATE settlement_line SET settled_minor = 1",
    "UPDATE settlement_line SET state = 'waiting' WHERE state = 'unmatched'",
    "UPDATE settlement_line SET booked_minor = 1 WHERE state = 'matched'",
    "DELETE FROM settlement_line",
    "UPDATE settlement_report SET paid_out_minor = 1",
    "DELETE FROM settlement_report",
    "UPDATE settlement_exception SET opened_at = opened_at - interval '1 day'",
    "DELETE FROM settlement_exception",
    "INSERT INTO settlement_exception SELECT gen_random_uuid(), merchant_id, gateway, kind, subject, reason, report_id,"
    " line_id, payment_id, amount_minor, currency, owner, opened_at FROM settlement_exception",
    "INSERT INTO ledger_entry (id, merchant_id, kind, created_at, occurred_at)"
    " VALUES (gen_random_uuid(), 'default', 'payout', now(), now())",
    "UPDATE settlement_line SET state = 'matched', capture_id = (SELECT id FROM capture LIMIT 1)"
    " WHERE state = 'unmatched'",
]


@pytest.fixture
async def settled(finance: Any) -> Any:
    """One charge that is settled, and one that nobody knows."""
    ref = await finance.captured(10_000)
    lines = finance.charge("l-1", ref, fee_minor=100), finance.charge("l-2", "ch_unknown")
    await finance.bring(*lines, paid_out_minor=19_900)
    return finance


@pytest.mark.parametrize("statement", REFUSED)
async def test_the_database_refuses(settled: Any, statement: str) -> None:
    """What was told and how it ended is never edited; what moves money names its line; a charge is settled once."""
    async with settled.context.database.connection() as connection:
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.CheckViolationError)):
            await connection.execute(statement)


SPOILT = {
    "booked": "UPDATE ledger_posting SET amount_minor = amount_minor * 2 WHERE entry_id IN"
    " (SELECT id FROM ledger_entry WHERE kind = 'fee')",
    "settles": "UPDATE settlement_line SET booked_minor = booked_minor - 1, settled_minor = settled_minor - 1"
    " WHERE state = 'matched' AND kind = 'charge'",
    "paid_out": "UPDATE settlement_report SET paid_out_minor = 1, earned_minor = 1, payouts_minor = -1",
}


@pytest.mark.parametrize("check", SPOILT)
async def test_verification_names_what_does_not_fit(finance: Any, check: str) -> None:
    """A line's entries, what it settles, and the payout are held against each other."""
    ref = await finance.captured(10_000)
    await finance.bring(finance.charge("l-1", ref, fee_minor=100), paid_out_minor=9_900)
    await finance.adds_up()
    async with finance.context.database.connection() as connection:
        await connection.execute(
            f"SET session_replication_role = replica; {SPOILT[check]}; RESET session_replication_role"
        )

    fault = (await verify_ledger(finance.context.database)).fault

    assert fault is not None
    assert (fault.check, fault.table.partition("_")[0]) == (check, "settlement")
