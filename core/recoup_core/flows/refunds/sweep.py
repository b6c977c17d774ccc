"""No refund is stuck silently: what nothing drives any more is brought to its end, or put before a person."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from recoup_core.domain.dispute import Dispute
from recoup_core.domain.happened import HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import RefundState
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.planning import TASK_AGE
from recoup_core.flows.refunds.draft import locked_refunds
from recoup_core.flows.refunds.standing import conclude, last_failure
from recoup_core.storage.changes import Changes
from recoup_core.storage.disputes import aged_disputes
from recoup_core.storage.sweeps import refunds_standing, stalled_refunds, unasked_failures

FAILED_AGE: Final = timedelta(days=30)
"""A failed refund that nobody was asked about for so long, the last question long answered, is asked about again."""

DISPUTE_AGE: Final = timedelta(days=120)
"""A dispute without an end for longer is put before a person. Card schemes let evidence, decision and arbitration take
some three to four months together (docs.stripe.com/disputes/how-disputes-work)."""

log = structlog.get_logger(__name__)


async def sweep_refunds(context: Context, now: datetime, orphan_age: timedelta, limit: int) -> None:
    """One round over refunds and disputes; `limit` bounds what of each kind is mended, the next round goes on."""
    async with context.database.connection() as connection:
        stalled = await stalled_refunds(connection, now - orphan_age, limit)
        unasked = await unasked_failures(connection, now - FAILED_AGE, now, limit)
        aged = await aged_disputes(connection, now - DISPUTE_AGE, now, limit)
        standing = await refunds_standing(connection)
    since = standing.unknown_since
    oldest_s = 0.0 if since is None else (now - since).total_seconds()
    context.measures.refunds_standing(standing.in_flight, oldest_s, standing.over)
    for refund_id in dict.fromkeys((*stalled, *unasked)):
        try:
            await _mend(context, refund_id)
        except Exception as failure:  # one broken refund must not keep the sweep from the others
            log.error("refund_not_mended", refund_id=str(refund_id), error=repr(failure))
    for dispute in aged:
        await _ask_about(context, dispute, now)


async def _mend(context: Context, refund_id: UUID) -> None:
    async with locked_refunds(context, [refund_id]) as locked:
        draft = locked.draft(refund_id, SYSTEM, None)
        if draft is None:
            return
        if draft.file.refund.state is RefundState.APPROVED:
            log.warning("stalled_refund", refund_id=str(refund_id))
            conclude(draft)
        elif draft.file.refund.state is RefundState.FAILED and not draft.file.open_tasks:
            failure = last_failure(draft)
            reason = f"still open: the refund did not go through ({failure.category}: {failure.code})"
            draft.ask_human(TaskKind.REFUND_FAILED, reason)


async def _ask_about(context: Context, dispute: Dispute, now: datetime) -> None:
    task = HumanTask(
        id=new_id(),
        merchant_id=dispute.merchant_id,
        kind=TaskKind.DISPUTE_EVIDENCE,
        payment_id=dispute.payment_id,
        reason=f"{dispute.gateway} dispute {dispute.gateway_ref} has had no end for over {DISPUTE_AGE.days} days",
        opened_at=now,
        due_at=now + TASK_AGE,
    )
    changes = Changes()
    changes.add(task, task_opened(task, SYSTEM, None))
    async with context.database.transaction() as connection:
        await changes.write(connection)
    count_events(context, changes)
