"""Records answers in groups: all that finished within two milliseconds share one transaction.

Each caller still waits for its own answer's commit, and a bad one fails alone. Measured by the team: group commit is
what makes the difference between one and five thousand results a second on two cores.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.attempt import AttemptState
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.draft import Draft
from recoup_core.flows.outcomes import Outcome, record_outcome
from recoup_core.flows.returned import take_back_early
from recoup_core.ports import Succeeded
from recoup_core.storage.engine import DatabaseUnavailable

GATHER_S: Final = 0.002
"""How long the first answer of a group waits for company."""

GROUP_MAX: Final = 200
"""Answers of one transaction."""

AWAY_WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits while PostgreSQL is away; what still can't be written is left to the lease's end and the look-up."""

log = structlog.get_logger(__name__)

A = TypeVar("A", bound=msgspec.Struct)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an attempt, and who says so."""

    payment_id: UUID
    attempt_id: UUID
    outcome: Outcome
    actor: str
    correlation_id: str | None = None


class Gatherer(ABC, Generic[A]):
    """Lives on one event loop; any number of tasks may record at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: list[tuple[A, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    async def record(self, answer: A) -> bool:
        """Return, once it is committed, whether the answer changed anything; raise where it can't be written."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._flush())
        return await future

    @abstractmethod
    async def write_once(self, answers: list[A]) -> list[bool]:
        """Write answers in one transaction; return for each whether it changed anything."""

    @abstractmethod
    def name_of(self, answer: A) -> str:
        """Return the id of what the answer is about, for the log."""

    async def _flush(self) -> None:
        await asyncio.sleep(GATHER_S)
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
            await self._write_group(group)

    async def _write_group(self, group: list[tuple[A, asyncio.Future[bool]]]) -> None:
        try:
            changed = await self._write([answer for answer, _ in group])
        except Exception as failure:
            away = isinstance(failure, DatabaseUnavailable)
            if len(group) > 1 and not away:  # one bad answer must not fail its neighbours
                for single in group:
                    await self._write_group([single])
                return
            about = [self.name_of(answer) for answer, _ in group]
            log.error("answers_not_recorded", about=about, error=repr(failure))
            _settle([future for _, future in group], failure)
            return
        for (_, future), each in zip(group, changed, strict=True):
            if not future.done():
                future.set_result(each)

    async def _write(self, answers: list[A]) -> list[bool]:
        """Write a group; a database that is away is waited for: the answer in hand is worth more than a look-up later.

        Writing again after an unknown COMMIT is safe: the state table takes the same answer once.
        """
        for wait_s in AWAY_WAITS_S:
            try:
                return await self.write_once(answers)
            except DatabaseUnavailable as away:
                log.warning("answers_wait_for_the_database", answers=len(answers), error=str(away))
                await asyncio.sleep(wait_s)
        return await self.write_once(answers)


class Recorder(Gatherer[Answer]):
    """Records what became of attempts."""

    async def write_once(self, answers: list[Answer]) -> list[bool]:
        """Write answers in one transaction; return for each whether it changed anything."""
        changed = []
        async with locked_cases(self._context, {answer.payment_id for answer in answers}) as locked:
            for answer in answers:
                draft = locked.draft(answer.payment_id, answer.actor, answer.correlation_id)
                changed.append(draft is not None and await _record(locked, draft, answer))
        return changed

    def name_of(self, answer: Answer) -> str:
        """Return the attempt's id."""
        return str(answer.attempt_id)


async def _record(locked: Locked, draft: Draft, answer: Answer) -> bool:
    """Record an answer; money whose answer came late may have been told to have come back before."""
    attempt, policy = draft.file.attempt(answer.attempt_id), locked.policy(draft)
    changed = record_outcome(draft, answer.attempt_id, answer.outcome, policy)
    late = attempt is not None and (attempt.sends > 1 or attempt.state is not AttemptState.SUBMITTED)
    if changed and late and attempt is not None and isinstance(answer.outcome, Succeeded):
        ref, since = answer.outcome.gateway_ref, attempt.submitted_at or attempt.created_at
        await take_back_early(locked.connection, draft, attempt.gateway, ref, since, policy)
    return changed


def _settle(futures: list[asyncio.Future[bool]], failure: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(failure)
