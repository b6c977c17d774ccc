"""No refund is stuck silently: what nothing drives any more is brought to its end, or put before a person."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from recoup_core.domain.capture import Capture
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.happened import HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import RefundState
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.planning import TASK_AGE
from recoup_core.flows.refunds.draft import locked_refunds
from recoup_core.flows.refunds.standing import conclude, last_failure
from recoup_core.storage.captured import aged_authorizations
from recoup_core.storage.changes import Changes
from recoup_core.storage.disputes import aged_disputes
from recoup_core.storage.sweeps import refunds_standing, stalled_refunds, unasked_failures

FAILED_AGE: Final = timedelta(days=30)
"""A failed refund that nobody was asked about for so long, the last question long answered, is asked about again."""

DISPUTE_AGE: Final = timedelta(days=120)
"""A dispute without an end for longer is put before a person. Card schemes let evidence, decision and arbitration take
some three to four months together (docs.stripe.com/disputes/how-disputes-work)."""

AUTHORIZATION_AGE: Final = timedelta(days=7)
"""A charge only authorised for longer is put before a person. Card networks hold an authorisation for some 5 to 7 days
(docs.stripe.com/payments/place-a-hold-on-a-payment-method); what comes of it is told by the gateway, or by nobody."""

log = structlog.get_logger(__name__)


async def sweep_refunds(context: Context, now: datetime, orphan_age: timedelta, limit: int) -> None:
    """One round over refunds and disputes; `limit` bounds what of each kind is mended, the next round goes on."""
    async with context.database.connection() as connection:
        stalled = await stalled_refunds(connection, now - orphan_age, limit)
        unasked = await unasked_failures(connection, now - FAILED_AGE, now, limit)
        aged = await aged_disputes(connection, now - DISPUTE_AGE, now, limit)
        authorized = await aged_authorizations(connection, now - AUTHORIZATION_AGE, now, limit)
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
        name = f"{dispute.gateway} dispute {dispute.gateway_ref}"
        reason = f"{name} has had no end for over {DISPUTE_AGE.days} days"
        await _ask_about(context, TaskKind.DISPUTE_EVIDENCE, dispute, reason, now)
    for charge in authorized:
        name = f"{charge.gateway} charge {charge.gateway_ref or charge.id} of {charge.amount}"
        reason = f"{name} has been only authorised for over {AUTHORIZATION_AGE.days} days"
        await _ask_about(context, TaskKind.AUTHORIZATION_OPEN, charge, reason, now)


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


async def _ask_about(context: Context, kind: TaskKind, about: Dispute | Capture, reason: str, now: datetime) -> None:
    task = HumanTask(
        id=new_id(),
        merchant_id=about.merchant_id,
        kind=kind,
        payment_id=about.payment_id,
        reason=reason,
        opened_at=now,
        due_at=now + TASK_AGE,
    )
    changes = Changes()
    changes.add(task, task_opened(task, SYSTEM, None))
    async with context.database.transaction() as connection:
        await changes.write(connection)
    count_events(context, changes)
