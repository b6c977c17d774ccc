"""Nobody waits for ever: an overdue review is escalated, a requester reminded, and what nobody decides is closed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.refund import UNDECIDED, UNSENT, PartEvent, Refund, RefundEvent, RefundState
from recoup_core.flows.context import Context
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.refunds.draft import REFUND_TIMER, RefundDraft, locked_refunds
from recoup_core.storage.approvals import Waiting, waiting
from recoup_core.storage.changes import JobRef

REMIND_AFTER: Final = timedelta(days=7)
"""How long a request may wait for its requester before a person is asked to see to it."""

EXPIRES_AFTER: Final = timedelta(days=30)
"""When an undecided request is closed for which no policy sets a time; counted from the request."""

EXPIRED: Final = "expired"
"""Why an expired refund ended."""

WAIT_FOR_REQUESTER: Final = frozenset({RefundState.SENT_BACK, RefundState.INCOMPLETE})


def put_timer(draft: RefundDraft) -> None:
    """Bring a refund's timer in line with how it stands from now on, and close what earlier ones asked people.

    To be called after every decision, edit and verdict; for a refund that is decided it takes the timer away.
    """
    refund = draft.file.refund
    if refund.state is not RefundState.IN_REVIEW or refund.escalated_at is None:
        draft.close_tasks({TaskKind.REFUND_OVERDUE}, f"the refund is {refund.state}")
    if refund.state not in WAIT_FOR_REQUESTER:
        draft.close_tasks({TaskKind.REFUND_WAITS}, f"the refund is {refund.state}")
    _put(draft, Waiting(since=draft.now, asked=False))


async def run_timers(context: Context, refs: Sequence[JobRef]) -> None:
    """Do what is due about undecided refunds, and put the next timer. Early, late or twice: what is due is seen from
    the refund alone."""
    refund_ids = [ref.subject_id for ref in refs]
    async with locked_refunds(context, refund_ids) as locked:
        known = await waiting(locked.connection, refund_ids, TaskKind.REFUND_WAITS)
        for ref in refs:
            draft = locked.draft(ref.subject_id, SYSTEM, ref.correlation_id)
            waits = known.get(ref.subject_id)
            if draft is None or waits is None:
                locked.changes.finish(ref)
            else:
                _run(draft, waits)


def open_roles(refund: Refund, level: int) -> tuple[str, ...]:
    """Return who may decide a level: its own roles and, once the review is escalated, `escalate_to`."""
    more = refund.escalate_to if refund.escalated_at is not None else ()
    return tuple(dict.fromkeys((*refund.levels[level], *more)))


def close_unpaid(draft: RefundDraft, event: RefundEvent, reason: str, kind: EventKind, **data: Any) -> None:
    """End an undecided refund without money: what it has reserved is free again, and nobody is asked any more."""
    for part in draft.file.parts:
        if part.state in UNSENT:
            draft.move_part(part, PartEvent.CANCEL)
    draft.move(event, stop_reason=reason)
    draft.tell(kind, requested_by=draft.file.refund.requested_by, **data)
    put_timer(draft)


def _run(draft: RefundDraft, waits: Waiting) -> None:
    refund = draft.file.refund
    if refund.state in UNDECIDED and draft.now >= _expires_at(refund):
        close_unpaid(draft, RefundEvent.EXPIRE, EXPIRED, EventKind.REFUND_EXPIRED, was=str(refund.state))
        return
    if _overdue_at(refund, draft.now):
        _escalate(draft)
    elif _reminds(refund, waits) and draft.now >= waits.since + REMIND_AFTER:
        _remind(draft)
        waits = Waiting(since=waits.since, asked=True)
    _put(draft, waits)


def _escalate(draft: RefundDraft) -> None:
    """Once: from now on `escalate_to` may decide in place of the open level, and whoever sees to tasks knows."""
    draft.change(escalated_at=draft.now)
    refund = draft.file.refund
    draft.change(open_roles=open_roles(refund, refund.level))
    roles = list(draft.file.refund.open_roles)
    level, levels = refund.level + 1, len(refund.levels)
    draft.tell(EventKind.REFUND_ESCALATED, level=level, levels=levels, roles=roles, decide_by=_iso(refund))
    reason = f"level {level} of {levels} has not decided in time; {' or '.join(roles)} may now"
    draft.ask_human(TaskKind.REFUND_OVERDUE, reason)


def _remind(draft: RefundDraft) -> None:
    refund = draft.file.refund
    what = "was sent back" if refund.state is RefundState.SENT_BACK else "lacks evidence"
    reason = f"the refund {what} {REMIND_AFTER.days} days ago or more; {refund.requested_by} has asked for it"
    draft.ask_human(TaskKind.REFUND_WAITS, reason)


def _put(draft: RefundDraft, waits: Waiting) -> None:
    refund = draft.file.refund
    if refund.state in UNDECIDED:
        draft.put_job(REFUND_TIMER, refund.id, _next(refund, waits))
    else:
        draft.changes.drop_job(REFUND_TIMER, refund.id)


def _next(refund: Refund, waits: Waiting) -> datetime:
    due = [_expires_at(refund)]
    if refund.state is RefundState.IN_REVIEW and refund.decide_by is not None and refund.escalated_at is None:
        due.append(refund.decide_by)
    if _reminds(refund, waits):
        due.append(waits.since + REMIND_AFTER)
    return min(due)


def _overdue_at(refund: Refund, now: datetime) -> bool:
    late = refund.decide_by is not None and now >= refund.decide_by
    return late and refund.state is RefundState.IN_REVIEW and refund.escalated_at is None


def _reminds(refund: Refund, waits: Waiting) -> bool:
    return refund.state in WAIT_FOR_REQUESTER and not waits.asked


def _expires_at(refund: Refund) -> datetime:
    return refund.expires_at or refund.created_at + EXPIRES_AFTER


def _iso(refund: Refund) -> str | None:
    return None if refund.decide_by is None else refund.decide_by.isoformat()
