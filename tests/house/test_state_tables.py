"""The database holds the same state tables as the domain."""

from enum import StrEnum
from typing import Any

import pytest

from recoup_core.domain.attempt import ATTEMPT
from recoup_core.domain.capture import CAPTURE
from recoup_core.domain.dispute import DISPUTE
from recoup_core.domain.inbound import INBOUND_EVENT
from recoup_core.domain.machine import Machine
from recoup_core.domain.payment import PAYMENT
from recoup_core.domain.recovery import CASE, STEP
from recoup_core.domain.refund import PART, REFUND
from recoup_core.domain.settlement import LINE
from recoup_core.domain.staff import STAFF_MESSAGE
from recoup_core.domain.subscription_request import REQUEST
from recoup_core.domain.upcoming import CHARGE, NOTICE
from recoup_core.domain.versions import VERSION
from recoup_core.domain.webhook import DELIVERY, ENDPOINT
from recoup_core.storage.engine import Database

MACHINES: dict[str, Machine[Any, Any]] = {
    "payment": PAYMENT,
    "recovery_case": CASE,
    "timeline_step": STEP,
    "attempt": ATTEMPT,
    "policy_version": VERSION,
    "capture": CAPTURE,
    "refund": REFUND,
    "refund_part": PART,
    "dispute": DISPUTE,
    "settlement_line": LINE,
    "inbound_event": INBOUND_EVENT,
    "staff_message": STAFF_MESSAGE,
    "subscription_request": REQUEST,
    "upcoming_charge": CHARGE,
    "notice": NOTICE,
    "webhook_endpoint": ENDPOINT,
    "webhook_delivery": DELIVERY,
}


@pytest.mark.parametrize("table", MACHINES)
async def test_the_trigger_allows_exactly_the_domains_pairs(table: str, database: Database) -> None:
    """A pair that the domain refuses is refused in raw SQL too, and the other way round."""
    async with database.connection() as connection:
        arguments = await connection.fetchval(
            "SELECT tgargs FROM pg_trigger WHERE tgrelid = $1::text::regclass AND NOT tgisinternal"
            " AND tgfoid = 'refuse_illegal_state'::regproc",
            table,
        )

    in_database = {text for text in bytes(arguments).decode().split("\0") if text}
    in_domain = {f"{old}>{new}" for (old, _), new in MACHINES[table].table.items() if old != new}
    assert in_database == in_domain


@pytest.mark.parametrize("table", MACHINES)
async def test_the_check_lists_exactly_the_domains_states(table: str, database: Database) -> None:
    """No state is known to one side only."""
    async with database.connection() as connection:
        definition: str = await connection.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2",
            table,
            f"{table}_state_check",
        )

    first: StrEnum = next(iter(MACHINES[table].table))[0]
    assert set(definition.split("'")[1::2]) == {str(state) for state in type(first)}
