"""Nothing of settlement is left lying: lost jobs, unmatched lines, and what is booked and no report tells of."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from recoup_core.domain.settlement import Problem
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.settlement.exceptions import Found, ledge_of
from recoup_core.flows.settlement.fetching import FETCH_WAITS
from recoup_core.flows.settlement.matching import BATCH, MATCH, settle_lines
from recoup_core.flows.settlement.wanting import FETCH
from recoup_core.storage.changes import Changes
from recoup_core.storage.settlement_exceptions import (
    Coverage,
    Untold,
    coverages,
    note_seen,
    reports_without_job,
    untold_entries,
    wanted_without_job,
)
from recoup_core.storage.settlement_matching import lines_to_try_again

SWEEP_ENTRIES: Final = 2_000
"""Entries of the ledger that one sweep holds against a gateway's reports; the next goes on."""

MAX_AGAIN: Final = 20
"""Batches of unmatched lines that one sweep looks at again."""

log = structlog.get_logger(__name__)


async def sweep_settlement(context: Context, now: datetime, orphan_age: timedelta, limit: int) -> None:
    """One round over settlement; `limit` bounds the jobs that are given back."""
    before = now - orphan_age
    async with context.database.connection() as connection:
        lost = await reports_without_job(connection, MATCH, before, now, limit)
        lost += await wanted_without_job(connection, FETCH, before, now, limit, len(FETCH_WAITS))
        covered = await coverages(connection)
    if lost:
        log.warning("jobs_given_back", kind=MATCH, count=lost)
    await _try_again(context, now)
    for coverage in covered:
        if context.gateway_merchants.get(coverage.gateway) == coverage.merchant_id:
            await _look_for_untold(context, coverage, now)


async def _try_again(context: Context, now: datetime) -> None:
    """Look at unmatched lines once more: a payment may have been reported meanwhile, an answer come in."""
    for _ in range(MAX_AGAIN):
        async with context.database.connection() as connection:
            found = await lines_to_try_again(connection, now, BATCH)
        if not found:
            return
        await settle_lines(context, found)


async def _look_for_untold(context: Context, coverage: Coverage, now: datetime) -> None:
    """Put before a person what the ledger booked at a gateway so long ago that a report should have told of it."""
    patience = context.rules_of(coverage.gateway).settles_within
    if not patience:
        return
    async with context.database.connection() as connection:
        entries = await untold_entries(connection, coverage, now - patience, SWEEP_ENTRIES)
    if not entries:
        return
    missing = [each for each in entries if each.missing and each.amount_minor is not None and each.subject]
    subjects = [each.subject or "" for each in missing]
    changes = Changes()
    async with context.database.transaction() as connection:
        ledge = await ledge_of(context, connection, coverage.merchant_id, coverage.gateway, subjects, now, None)
        for each in missing:
            ledge.open(_not_settled(coverage, each, patience))
        await note_seen(connection, coverage, entries[-1])
        await ledge.write_to(connection, changes)
        await changes.write(connection)
    count_events(context, changes)


def _not_settled(coverage: Coverage, entry: Untold, patience: timedelta) -> Found:
    booked = f"{coverage.gateway}: a {entry.kind} booked {entry.created_at:%Y-%m-%d}"
    reason = f"{booked} is in no report after {patience.days} days"
    return Found(
        kind=Problem.NOT_SETTLED,
        subject=entry.subject or "",
        reason=reason,
        payment_id=entry.payment_id,
        amount_minor=entry.amount_minor,
        currency=entry.currency,
    )
