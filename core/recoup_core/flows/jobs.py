"""Which flow runs a job; the broker's actors call nothing else."""

from collections.abc import Sequence

import structlog

from recoup_core.flows.catch_up import CATCH_UP, run_catch_up
from recoup_core.flows.collect import run_collect
from recoup_core.flows.context import Context
from recoup_core.flows.credentials.backups import run_find_backups
from recoup_core.flows.credentials.reconsider import RECONSIDER, run_reconsider
from recoup_core.flows.credentials.wanted import FIND_BACKUPS
from recoup_core.flows.draft import COLLECT, DUE_STEP, INBOUND, SETTLE
from recoup_core.flows.intake import run_inbound
from recoup_core.flows.late_success import LATE_REFUND
from recoup_core.flows.messages.queueing import SEND_MESSAGE
from recoup_core.flows.messages.sending import run_messages
from recoup_core.flows.recorder import Recorder
from recoup_core.flows.refunds.draft import REFUND_TIMER, SEND_REFUND, SETTLE_REFUND
from recoup_core.flows.refunds.execute import run_refunds
from recoup_core.flows.refunds.late import run_late_refunds
from recoup_core.flows.refunds.settle import run_settle_refunds
from recoup_core.flows.refunds.timers import run_timers
from recoup_core.flows.settle import run_settle
from recoup_core.flows.settlement.fetching import run_fetches
from recoup_core.flows.settlement.matching import MATCH, run_matches
from recoup_core.flows.settlement.wanting import FETCH
from recoup_core.flows.staff.noticing import STAFF
from recoup_core.flows.staff.sending import run_staff
from recoup_core.flows.steps import run_steps
from recoup_core.flows.subscription_requests.again import run_requests
from recoup_core.flows.subscription_requests.asking import SUBSCRIPTION
from recoup_core.flows.upcoming.draft import CHARGE_TURN, DUE_NOTICE
from recoup_core.flows.upcoming.notices import run_charges, run_notices
from recoup_core.flows.webhooks_out.sending import WEBHOOK, run_webhooks
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import DatabaseUnavailable

log = structlog.get_logger(__name__)


async def run_jobs(context: Context, recorder: Recorder, refs: Sequence[JobRef]) -> None:
    """Run a batch of claimed jobs; never raises for a bad one: its lease ends and it comes back, until it is parked.

    Where a whole batch can't even start (one row of it breaks the transaction), its members run one by one.
    """
    for kind in dict.fromkeys(ref.kind for ref in refs):
        members = [ref for ref in refs if ref.kind == kind]
        _measure_lag(context, members)
        try:
            await _run(context, recorder, kind, members)
        except DatabaseUnavailable as away:  # one by one would only wait for it as many times; the leases end
            log.warning("jobs_wait_for_the_database", kind=kind, jobs=len(members), error=str(away))
        except Exception as failure:
            if len(members) == 1:
                context.measures.job_run(kind, "failed")
                log.error("job_failed", kind=kind, subject_id=str(members[0].subject_id), error=repr(failure))
                continue
            log.warning("batch_failed", kind=kind, jobs=len(members), error=repr(failure))
            for single in members:
                await run_jobs(context, recorder, [single])
        else:
            for _ in members:
                context.measures.job_run(kind, "done")


async def _run(context: Context, recorder: Recorder, kind: str, refs: Sequence[JobRef]) -> None:
    if kind == COLLECT:
        await run_collect(context, recorder, refs)
    elif kind == DUE_STEP:
        await run_steps(context, refs)
    elif kind == SETTLE:
        await run_settle(context, recorder, refs)
    elif kind == INBOUND:
        await run_inbound(context, refs)
    elif kind == CATCH_UP:
        await run_catch_up(context, refs)
    elif kind == SEND_REFUND:
        await run_refunds(context, refs)
    elif kind == SETTLE_REFUND:
        await run_settle_refunds(context, refs)
    elif kind == REFUND_TIMER:
        await run_timers(context, refs)
    elif kind == MATCH:
        await run_matches(context, refs)
    elif kind == FETCH:
        await run_fetches(context, refs)
    elif kind == RECONSIDER:
        await run_reconsider(context, refs)
    elif kind == FIND_BACKUPS:
        await run_find_backups(context, refs)
    elif kind == WEBHOOK:
        await run_webhooks(context, refs)
    elif kind == SUBSCRIPTION:
        await run_requests(context, refs)
    elif kind == DUE_NOTICE:
        await run_notices(context, refs)
    elif kind == CHARGE_TURN:
        await run_charges(context, refs)
    elif kind == LATE_REFUND:
        await run_late_refunds(context, refs)
    elif kind == SEND_MESSAGE:
        await run_messages(context, refs)
    elif kind == STAFF:
        await run_staff(context, refs)
    else:
        raise LookupError(f"no flow runs jobs of the kind {kind!r}; a newer version wrote it")


def _measure_lag(context: Context, refs: Sequence[JobRef]) -> None:
    now = context.clock.now()
    for ref in refs:
        if ref.due_at is not None:
            context.measures.job_started(ref.kind, (now - ref.due_at).total_seconds())
