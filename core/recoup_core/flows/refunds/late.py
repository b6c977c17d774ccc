"""Late money goes back: asked for as anybody would ask, once, and decided on by the merchant's own refund policies."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import RefundState
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.draft import POLICY
from recoup_core.flows.late_success import refund_call
from recoup_core.flows.operate import By
from recoup_core.flows.planning import TASK_AGE
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.flows.registry import PoliciesUnusable
from recoup_core.storage.calls import Call
from recoup_core.storage.changes import Changes, JobRef
from recoup_core.storage.late import LateMoney, late_money
from recoup_core.storage.sweeps import task_waits

REASON: Final = "late_success"
"""The reason that such refunds carry: refund policies may test it."""

log = structlog.get_logger(__name__)


async def run_late_refunds(context: Context, refs: Sequence[JobRef]) -> None:
    """Ask for the refunds of late money, each once; one that the rules refuse is put before a person."""
    for ref in refs:
        async with context.database.connection() as connection:
            money = await late_money(connection, ref.subject_id)
        changes, refused = Changes(), None
        changes.finish(ref)
        if money is not None and money.free_minor > 0:
            refused = await _ask(context, money, ref)
        async with context.database.transaction() as connection:
            if money is not None and refused is not None:
                await _ask_person(connection, changes, money, refused, ref, context.clock.now())
            await changes.write(connection)
        count_events(context, changes)


async def _ask(context: Context, money: LateMoney, ref: JobRef) -> str | None:
    ask = RefundAsk(
        payment_id=money.payment_id,
        amount_minor=money.free_minor,
        currency=money.currency,
        reason=REASON,
        note="money that came in after its debt had been given up, or its subscription canceled",
    )
    # what is left of the money may change between two runs of the job, what is asked for may not
    call = Call(refund_call(ref.subject_id), str(ref.subject_id).encode())
    by = By(merchant_id=money.merchant_id, actor=POLICY, principal=POLICY, correlation_id=ref.correlation_id, call=call)
    try:
        file = await request_refund(context, ask, by)
    except PoliciesUnusable:
        raise  # of the installation, not of this refund: the job comes back
    except DomainError as refusal:
        log.warning("late_refund_refused", payment_id=str(money.payment_id), code=refusal.code)
        return str(refusal)
    return f"its policy denies it ({file.refund.stop_reason})" if file.refund.state is RefundState.DENIED else None


async def _ask_person(
    connection: asyncpg.Connection, changes: Changes, money: LateMoney, refused: str, ref: JobRef, now: datetime
) -> None:
    reason = f"money came in late and can't be refunded: {refused}"
    if await task_waits(connection, money.merchant_id, TaskKind.LATE_SUCCESS, reason):
        return  # a broker may hand the same job over twice
    task = HumanTask(
        id=new_id(),
        merchant_id=money.merchant_id,
        kind=TaskKind.LATE_SUCCESS,
        case_id=money.case_id,
        payment_id=money.payment_id,
        attempt_id=ref.subject_id,
        reason=reason,
        opened_at=now,
        due_at=now + TASK_AGE,
    )
    changes.add(task, task_opened(task, POLICY, ref.correlation_id))
