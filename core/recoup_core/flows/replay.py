"""Replay of every stored decision of a period: what does not come out the same is put before a person."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.flows.ahead import mapped
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.planning import TASK_AGE
from recoup_core.rules.study.replay import Chunk, Difference, KeptText, Replayed
from recoup_core.storage.changes import Changes
from recoup_core.storage.decisions import PAGE, DecisionPlace, Span, open_tasks_once, read_decisions
from recoup_core.storage.engine import Database

MAX_TEXTS: Final = 64
"""Policies' texts kept at hand while pages are read; the usual installation has a dozen."""

log = structlog.get_logger(__name__)

Redo = Callable[[Chunk], Awaitable[Replayed]]
"""Replays a chunk somewhere: in a thread, or in another process."""


async def replay(
    database: Database, span: Span, redo: Redo, now: datetime, page: int = PAGE
) -> AsyncIterator[Replayed]:
    """Replay page by page, and raise the alarm for every difference as soon as it is found.

    No statement and no transaction is long; decisions made meanwhile belong to a later replay.
    """
    async for done in mapped(_chunks(database, span, page), redo):
        if done.differences:
            await raise_alarm(database, done.differences, now)
        yield done


async def raise_alarm(database: Database, differences: Sequence[Difference], now: datetime) -> int:
    """Log each difference, and ask a person about each that nobody was asked about before; return how many."""
    for each in differences:
        log.error("replay_difference", decision_id=str(each.decision_id), because=each.because)
    tasks = [_task(each, now) for each in differences]
    found = {task.id: each for task, each in zip(tasks, differences, strict=True)}
    changes = Changes()
    async with database.transaction() as connection:
        opened = await open_tasks_once(connection, tasks)
        for task in tasks:
            if task.id in opened:
                changes.add(_event(found[task.id], task), task_opened(task, SYSTEM, None))
        await changes.write(connection)
    return len(opened)


async def _chunks(database: Database, span: Span, limit: int) -> AsyncIterator[Chunk]:
    texts: dict[str, KeptText] = {}
    after: DecisionPlace | None = None
    while True:
        page = await read_decisions(database, span, after, texts.keys(), limit)
        if len(texts) + len(page.texts) > MAX_TEXTS:
            texts = {row.policy_digest: texts[row.policy_digest] for row in page.rows if row.policy_digest in texts}
        texts |= page.texts
        if page.rows:
            needed = {row.policy_digest for row in page.rows}
            yield Chunk(rows=tuple(page.rows), texts={digest: texts[digest] for digest in needed if digest in texts})
        if page.after is None:
            return
        after = page.after


def _task(difference: Difference, now: datetime) -> HumanTask:
    """Return the task: about case, refund or charge, not the payment, for it must not keep the sweep from that."""
    return HumanTask(
        id=_task_id(difference.decision_id),
        merchant_id=difference.merchant_id,
        kind=TaskKind.REPLAY_DIFFERENCE,
        case_id=difference.case_id,
        refund_id=difference.refund_id,
        about_id=difference.charge_id,
        reason=f"the decision {difference.decision_id} can't be reproduced: {difference.because}",
        opened_at=now,
        due_at=now + TASK_AGE,
    )


def _task_id(decision_id: UUID) -> UUID:
    """Return the id of the task about a decision: made from it, so that there is one task however often it is found."""
    tail = bytearray(sha256(b"replay difference" + decision_id.bytes).digest()[:8])
    tail[0] = tail[0] & 0x3F | 0x80  # the variant of RFC 9562; the time, in front, stays the decision's
    return UUID(bytes=decision_id.bytes[:8] + bytes(tail))


def _event(difference: Difference, task: HumanTask) -> Event:
    return Event(
        at=task.opened_at,
        merchant_id=task.merchant_id,
        kind=EventKind.REPLAY_DIFFERENCE,
        actor=SYSTEM,
        case_id=task.case_id,
        refund_id=task.refund_id,
        data={
            "decision": str(difference.decision_id),
            "kind": difference.kind,
            "policy_digest": difference.policy_digest,
            "because": difference.because,
            "details": [msgspec.to_builtins(detail) for detail in difference.details],
        },
    )
