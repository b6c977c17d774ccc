"""A refund is approved, by policy or by the last of its people: its parts are scheduled, the approval is counted."""

from typing import Final
from zoneinfo import ZoneInfo

import asyncpg

from recoup_core.domain.happened import EventKind
from recoup_core.domain.refund import PartEvent, PartState, RefundEvent, RefundState
from recoup_core.flows.refunds.draft import SEND_REFUND, RefundDraft
from recoup_core.flows.refunds.timers import put_timer
from recoup_core.rules.timing.windows import local_day
from recoup_core.storage.refunds import add_tally, lock_bounds, merchant_zone, take_tally

_UNDO: Final = frozenset({RefundState.APPROVED, RefundState.FAILED})
"""States in which an approval stands that a new decision replaces."""


async def approve(connection: asyncpg.Connection, draft: RefundDraft) -> None:
    """Approve the present revision: every reserved part gets the job that sends it.

    Counts on the merchant's day and the requester's, under the bounds' lock (the last lock of a transaction, so that
    two approvals never wait for each other in a circle). The refund's levels, where it has any, stay as they are.
    """
    refund = draft.file.refund
    if refund.state is RefundState.APPROVED:
        draft.change(approved_at=draft.now)
    else:
        event = RefundEvent.RETRY if refund.state is RefundState.FAILED else RefundEvent.APPROVE
        draft.move(event, approved_at=draft.now)
    for part in draft.file.parts:
        if part.state is PartState.RESERVED:
            draft.move_part(part, PartEvent.SCHEDULE)
            draft.put_job(SEND_REFUND, part.id, part.not_before or draft.now)
    await lock_bounds(connection, refund.merchant_id)
    zone = ZoneInfo(await merchant_zone(connection, refund.merchant_id))
    day = local_day(draft.now, zone)
    await add_tally(connection, refund.merchant_id, refund.requested_by, day, refund.amount_minor, refund.currency)
    draft.tell(EventKind.REFUND_APPROVED, revision=refund.revision, requested_by=refund.requested_by)
    put_timer(draft)


async def take_back_approval(connection: asyncpg.Connection, draft: RefundDraft) -> None:
    """Undo an approval under which nothing has left: decided on anew, a refund does not count against itself."""
    refund = draft.file.refund
    for part in draft.file.parts:
        if part.state is PartState.SCHEDULED:
            draft.move_part(part, PartEvent.UNSCHEDULE)
            draft.changes.drop_job(SEND_REFUND, part.id)
    if refund.state not in _UNDO or refund.approved_at is None:
        return
    await lock_bounds(connection, refund.merchant_id)
    zone = ZoneInfo(await merchant_zone(connection, refund.merchant_id))
    day = local_day(refund.approved_at, zone)
    await take_tally(connection, refund.merchant_id, refund.requested_by, day, refund.amount_minor, refund.currency)
