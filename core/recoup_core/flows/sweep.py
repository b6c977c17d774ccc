"""Nothing is stuck silently: what has been in a passing state for too long is found, and somebody is told."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from recoup_core.domain.happened import HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.catch_up import start_feeds
from recoup_core.flows.context import Context, count_events, locked_cases
from recoup_core.flows.draft import COLLECT, DUE_STEP, INBOUND, SETTLE, SYSTEM
from recoup_core.flows.messages.queueing import SEND_MESSAGE
from recoup_core.flows.planning import TASK_AGE, open_task, plan_next
from recoup_core.flows.refunds.draft import REFUND_TIMER, SEND_REFUND, SETTLE_REFUND
from recoup_core.flows.refunds.sweep import sweep_refunds
from recoup_core.flows.settlement.sweep import sweep_settlement
from recoup_core.flows.staff.noticing import STAFF
from recoup_core.flows.subscription_requests.asking import SUBSCRIPTION
from recoup_core.flows.upcoming.draft import CHARGE_TURN, DUE_NOTICE
from recoup_core.flows.webhooks_out.sweeping import sweep_webhooks
from recoup_core.storage.approvals import untimed_refunds
from recoup_core.storage.audit import seal_events
from recoup_core.storage.calls import forget_before
from recoup_core.storage.changes import Changes, JobRef
from recoup_core.storage.credentials import forget_links
from recoup_core.storage.jobs import JobQueue
from recoup_core.storage.messages import jobless_messages
from recoup_core.storage.staff import forget_notes, jobless_topics
from recoup_core.storage.subscription_requests import jobless_requests
from recoup_core.storage.sweeps import (
    inbound_without_job,
    jobless_attempts,
    jobless_dunning,
    jobless_in_flight_parts,
    jobless_parts,
    jobless_steps,
    paused_cases,
    planless_cases,
    subject_of_job,
    task_waits,
)
from recoup_core.storage.upcoming import jobless_charges, jobless_notices

SWEEP_ROWS: Final = 500
"""Rows of one kind that one sweep mends; the next goes on."""

SWEEP_PAGE: Final = 5_000
"""Open cases that one sweep looks at; a million are seen through in under two hours."""

FIRST: Final = UUID(int=0)
"""Before every case."""

PAUSE_AGE: Final = timedelta(days=30)
"""A case paused for longer is put before a person: network windows and customers' patience end about then."""

ORPHAN_AGE: Final = timedelta(minutes=10)
"""A passing state without a job is looked at when it is older than any transaction."""

CALL_AGE: Final = timedelta(days=30)
"""How long the answer to an idempotency key is kept."""

LINK_AGE: Final = timedelta(days=1)
"""How long after a gateway's page for a customer has expired its address is kept."""

NOTE_AGE: Final = timedelta(days=7)
"""How long is kept what the staff was told of line by line, and how gateways answered; messages are kept for good."""

_JOBLESS: Final = (
    (SETTLE, jobless_attempts),
    (COLLECT, jobless_steps),
    (DUE_STEP, jobless_dunning),
    (INBOUND, inbound_without_job),
    (SEND_MESSAGE, jobless_messages),
    (SEND_REFUND, jobless_parts),
    (SETTLE_REFUND, jobless_in_flight_parts),
    (REFUND_TIMER, untimed_refunds),
    (STAFF, jobless_topics),
    (SUBSCRIPTION, jobless_requests),
    (DUE_NOTICE, jobless_notices),
    (CHARGE_TURN, jobless_charges),
)

log = structlog.get_logger(__name__)


async def sweep(context: Context, jobs: JobQueue, now: datetime, after: UUID = FIRST) -> UUID:
    """One round: seal the audit chain, give every passing state its job back, put what is stuck before a person.

    Every state is normally driven by its own job; this is for the row that lost it (a bug, a hand in the database).
    Open cases are looked at a page a round, from `after` on; returns where the next round goes on.
    """
    await seal_events(context.database, now)
    await _park_stuck(context, jobs, now)
    await _give_jobs_back(context, now)
    following = await _plan_planless(context, now, after)
    await _ask_about_paused(context, now)
    await sweep_refunds(context, now, ORPHAN_AGE, SWEEP_ROWS)
    await start_feeds(context, now)
    await sweep_settlement(context, now, ORPHAN_AGE, SWEEP_ROWS)
    await sweep_webhooks(context, now, ORPHAN_AGE, SWEEP_ROWS)
    async with context.database.connection() as connection:
        await forget_before(connection, now - CALL_AGE, SWEEP_ROWS)
        await forget_links(connection, now - LINK_AGE, SWEEP_ROWS)
        await forget_notes(connection, now - NOTE_AGE, SWEEP_ROWS)
    return following


async def _give_jobs_back(context: Context, now: datetime) -> None:
    """Attempts in flight, running or planned steps and received events without a job get one."""
    async with context.database.connection() as connection:
        for kind, find in _JOBLESS:
            found = await find(connection, kind, now - ORPHAN_AGE, now, SWEEP_ROWS)
            if found:
                log.warning("jobs_given_back", kind=kind, count=found)


async def _plan_planless(context: Context, now: datetime, after: UUID) -> UUID:
    """Open cases with nothing planned, nothing live and no task are decided anew."""
    async with context.database.connection() as connection:
        payment_ids, last = await planless_cases(connection, now - ORPHAN_AGE, after, SWEEP_PAGE)
    for payment_id in payment_ids:
        try:
            async with locked_cases(context, [payment_id]) as locked:
                draft = locked.draft(payment_id, SYSTEM, None)
                if draft is not None:
                    log.warning("planless_case", case_id=str(draft.file.case.id))
                    plan_next(draft, locked.policy(draft))
        except Exception as failure:  # one broken case must not keep the sweep from the others
            log.error("planless_case_not_planned", payment_id=str(payment_id), error=repr(failure))
    return last or FIRST


async def _ask_about_paused(context: Context, now: datetime) -> None:
    """A pause is meant to end: past its age limit a person says whether to go on."""
    async with context.database.connection() as connection:
        payment_ids = await paused_cases(connection, now - PAUSE_AGE, SWEEP_ROWS)
    for payment_id in payment_ids:
        async with locked_cases(context, [payment_id]) as locked:
            draft = locked.draft(payment_id, SYSTEM, None)
            if draft is not None and draft.file.case.state is CaseState.PAUSED:
                open_task(draft, TaskKind.PAUSED_TOO_LONG, f"paused for over {PAUSE_AGE.days} days")


async def _park_stuck(context: Context, jobs: JobQueue, now: datetime) -> None:
    """Put aside what never comes to an end, and give each an owner, whatever becomes of the others."""
    for ref in await jobs.park_stuck(now):
        log.error("job_stuck", kind=ref.kind, subject_id=str(ref.subject_id))
        try:
            await _ask_about(context, ref, now)
        except Exception as failure:
            log.error("stuck_job_without_owner", subject_id=str(ref.subject_id), error=repr(failure))


async def _ask_about(context: Context, ref: JobRef, now: datetime) -> None:
    """Put a stuck job before a person, without its case file: that may be what can't be read."""
    reason = f"the {ref.kind} job of {ref.subject_id} never came to an end"
    async with context.database.transaction() as connection:
        subject = await subject_of_job(connection, ref.subject_id)
        if subject is None:
            return
        merchant = subject.merchant_id or context.gateway_merchants.get(subject.gateway or "")
        if merchant is None or await task_waits(connection, merchant, TaskKind.STUCK_JOB, reason):
            return
        task = HumanTask(
            id=new_id(),
            merchant_id=merchant,
            kind=TaskKind.STUCK_JOB,
            case_id=subject.case_id,
            payment_id=subject.payment_id,
            refund_id=subject.refund_id,
            reason=reason,
            opened_at=now,
            due_at=now + TASK_AGE,
        )
        changes = Changes()
        changes.add(task, task_opened(task, SYSTEM, ref.correlation_id))
        await changes.write(connection)
    count_events(context, changes)
