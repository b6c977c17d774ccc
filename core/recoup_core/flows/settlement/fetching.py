"""Reports come by themselves: a wanted one is fetched by a job, patiently; at last a person is asked."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from recoup_core.domain.redact import redact
from recoup_core.domain.settlement import Problem, WantedReport
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.operate import By
from recoup_core.flows.settlement.exceptions import Found, ledge_of
from recoup_core.flows.settlement.importing import store_report
from recoup_core.flows.settlement.reading import fetch_report, settling_gateway
from recoup_core.flows.settlement.wanting import FETCH, want_report
from recoup_core.ports import SettlementUnreadable
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.settlement_exceptions import find_wanted, note_fetched, note_not_fetched

FETCH_WAITS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 10, 60, 360, 1440))
"""Waits after a report could not be fetched; after the last one a person is asked."""

MAX_TROUBLE: Final = 300

log = structlog.get_logger(__name__)


async def ask_for_report(context: Context, gateway: str, report_ref: str, by: By) -> WantedReport:
    """Have a report fetched; raises `UnknownGateway`, and `SettlementUnreadable` where its gateway can't be asked."""
    found = settling_gateway(context, gateway, by.merchant_id)
    if not found.capabilities.fetches_settlements:
        raise SettlementUnreadable(f"reports of {gateway} can't be fetched; upload them")
    changes = Changes()
    wanted = want_report(changes, gateway, report_ref, context.clock.now(), by.correlation_id)
    async with context.database.transaction() as connection:
        await changes.write(connection)
    return wanted


async def run_fetches(context: Context, refs: Sequence[JobRef]) -> None:
    """Fetch wanted reports, each in its own right."""
    for ref in refs:
        async with context.database.connection() as connection:
            wanted = await find_wanted(connection, ref.subject_id)
        if wanted is None or wanted.gateway not in context.gateways:
            await _finish(context, ref)
            continue
        try:
            await _fetch(context, ref, wanted)
        except DatabaseUnavailable:
            raise
        except Exception as failure:  # a plugin is foreign code, and a provider may be away: tried again, then asked
            log.warning("settlement_not_fetched", gateway=wanted.gateway, error=type(failure).__name__)
            await _try_again(context, ref, wanted, failure)


async def _fetch(context: Context, ref: JobRef, wanted: WantedReport) -> None:
    merchant = context.gateway_merchants[wanted.gateway]
    reported = await fetch_report(context.gateways[wanted.gateway], wanted.report_ref)
    by = By(merchant_id=merchant, actor=f"gateway:{wanted.gateway}", correlation_id=ref.correlation_id)
    await store_report(context, wanted.gateway, reported, None, by)
    now = context.clock.now()
    changes = Changes()
    changes.finish(ref)
    async with context.database.transaction() as connection:
        await note_fetched(connection, wanted.id, now)
        subject = _subject(wanted)
        ledge = await ledge_of(context, connection, merchant, wanted.gateway, [subject], now, ref.correlation_id)
        ledge.explain(subject, "the report was fetched")
        await ledge.write_to(connection, changes)
        await changes.write(connection)
    count_events(context, changes)


async def _try_again(context: Context, ref: JobRef, wanted: WantedReport, failure: Exception) -> None:
    now = context.clock.now()
    merchant = context.gateway_merchants[wanted.gateway]
    trouble = f"{type(failure).__name__}: {redact(str(failure))}"[:MAX_TROUBLE]
    hopeless = isinstance(failure, SettlementUnreadable) or wanted.tries >= len(FETCH_WAITS)
    changes = Changes()
    async with context.database.transaction() as connection:
        await note_not_fetched(connection, wanted.id, trouble)
        if not hopeless:
            due = now + FETCH_WAITS[wanted.tries]
            changes.add(NewJob(kind=FETCH, subject_id=wanted.id, due_at=due, correlation_id=ref.correlation_id))
        else:
            changes.finish(ref)
            subject = _subject(wanted)
            ledge = await ledge_of(context, connection, merchant, wanted.gateway, [subject], now, ref.correlation_id)
            reason = f"the {wanted.gateway} report {wanted.report_ref} can't be fetched: {trouble}"
            ledge.open(Found(kind=Problem.NOT_FETCHED, subject=subject, reason=reason))
            await ledge.write_to(connection, changes)
        await changes.write(connection)
    count_events(context, changes)


def _subject(wanted: WantedReport) -> str:
    return f"wanted:{wanted.id}"


async def _finish(context: Context, ref: JobRef) -> None:
    changes = Changes()
    changes.finish(ref)
    async with context.database.transaction() as connection:
        await changes.write(connection)
