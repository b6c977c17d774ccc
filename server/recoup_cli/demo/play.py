"""Plays the month: reports each failure at its time, lets scheduler and worker do what is due, jumps to what is next.

The time stands still while anything is in flight. It moves in steps of a few minutes, as if the scheduler looked for
due work that often: thousands of retries then share a few hundred looks, and none is more than one step late.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec

from recoup_cli.demo.population import GATEWAY, Sample
from recoup_cli.demo.state import DemoClock, DemoState
from recoup_cli.refusals import Refused
from recoup_core.flows.recover import PaymentExists, open_case
from recoup_core.wiring import Service
from recoup_workers.inprocess import InProcess

STEP: Final = timedelta(minutes=10)
"""How far apart two looks for due work lie at least, in the demo's time."""

DRAIN_S: Final = 60.0
"""Work of one step that takes longer than this, in real time, means that something is wrong."""

SAVE_EVERY: Final = 25
"""Steps after which the position is kept."""

ACTOR: Final = f"gateway:{GATEWAY}"


class Player:
    """One play, from the state's position to its end or until told to stop."""

    def __init__(self, service: Service, work: InProcess, clock: DemoClock, samples: Sequence[Sample]) -> None:
        self._service = service
        self._work = work
        self._clock = clock
        self._samples = samples

    async def play(
        self,
        state: DemoState,
        stop: asyncio.Event,
        save: Callable[[DemoState], None],
        show: Callable[[datetime], None],
    ) -> DemoState:
        """Return the state that was reached; `save` keeps it now and then, `show` moves the progress bar."""
        reported = sum(1 for sample in self._samples if sample.at < state.position)
        steps = 0
        while not stop.is_set():
            ahead = await self._next(reported)
            if ahead is None or ahead >= state.end:
                break
            self._clock.move_to(min(state.end, max(_ceil(ahead, state.start), self._clock.now() + STEP)))
            reported = await self._report(reported)
            await self._settle_down()
            steps += 1
            state = msgspec.structs.replace(state, position=min(self._clock.now(), state.end))
            if steps % SAVE_EVERY == 0:
                save(state)
            show(state.position)
        if not stop.is_set():
            self._clock.move_to(state.end)
            await self._settle_down()
            state = msgspec.structs.replace(state, position=state.end)
        save(state)
        return state

    async def _next(self, reported: int) -> datetime | None:
        """Return when the next thing happens: a report or a due job."""
        due_at = await self._service.jobs.next_due_at(self._clock.now())
        reports = [self._samples[reported].at] if reported < len(self._samples) else []
        return min([*reports, *([due_at] if due_at is not None else [])], default=None)

    async def _report(self, reported: int) -> int:
        """Report what has failed by now, through the flow that the API uses; a report told twice is no harm."""
        while reported < len(self._samples) and self._samples[reported].at <= self._clock.now():
            report = self._samples[reported].report
            with suppress(PaymentExists):  # an earlier start was killed after this one
                await open_case(self._service.context, report, ACTOR, f"demo-{report.reference}")
            reported += 1
        return reported

    async def _settle_down(self) -> None:
        if not await self._work.drain(DRAIN_S):
            raise Refused(f"the due work of one step was not done within {DRAIN_S:g} s", "recoup.log says why")


def _ceil(at: datetime, origin: datetime) -> datetime:
    """Return the first whole step from `origin` on that is not before `at`."""
    return origin + -((origin - at) // STEP) * STEP
