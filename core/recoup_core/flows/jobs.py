"""Which flow runs a job; the broker's actors call nothing else."""

from collections.abc import Sequence

import structlog

from recoup_core.flows.collect import run_collect
from recoup_core.flows.context import Context
from recoup_core.flows.draft import COLLECT, DUE_STEP, INBOUND, SETTLE
from recoup_core.flows.intake import run_inbound
from recoup_core.flows.recorder import Recorder
from recoup_core.flows.refunds.draft import REFUND_TIMER, SEND_REFUND, SETTLE_REFUND
from recoup_core.flows.refunds.execute import run_refunds
from recoup_core.flows.refunds.settle import run_settle_refunds
from recoup_core.flows.refunds.timers import run_timers
from recoup_core.flows.settle import run_settle
from recoup_core.flows.steps import run_steps
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
    elif kind == SEND_REFUND:
        await run_refunds(context, refs)
    elif kind == SETTLE_REFUND:
        await run_settle_refunds(context, refs)
    elif kind == REFUND_TIMER:
        await run_timers(context, refs)
    else:
        raise LookupError(f"no flow runs jobs of the kind {kind!r}; a newer version wrote it")


def _measure_lag(context: Context, refs: Sequence[JobRef]) -> None:
    now = context.clock.now()
    for ref in refs:
        if ref.due_at is not None:
            context.measures.job_started(ref.kind, (now - ref.due_at).total_seconds())
