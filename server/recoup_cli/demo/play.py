"""Plays the month: has each thing happen at its time, lets scheduler and worker do what is due, jumps to what is next.

The time stands still while anything is in flight. It moves in steps of a few minutes, as if the scheduler looked for
due work that often: thousands of retries then share a few hundred looks, and none is more than one step late.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec

from recoup_cli.demo.desk import Desk, Happening
from recoup_cli.demo.letters import billing_answers
from recoup_cli.demo.population import GATEWAY, Sample
from recoup_cli.demo.state import DemoClock, DemoState
from recoup_cli.refusals import Refused
from recoup_core.flows.context import Context
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


def failure(sample: Sample) -> Happening:
    """Return the report of a failed payment as something that happens; told twice it is no harm."""

    async def report(context: Context) -> None:
        with suppress(PaymentExists):  # an earlier start was killed after this one
            await open_case(context, sample.report, ACTOR, f"demo-{sample.report.reference}")

    return Happening(sample.at, report)


class Player:
    """One play, from the state's position to its end or until told to stop."""

    def __init__(
        self, service: Service, work: InProcess, clock: DemoClock, happenings: Sequence[Happening], desk: Desk
    ) -> None:
        self._service = service
        self._work = work
        self._clock = clock
        self._happenings = happenings
        """By time."""
        self._desk = desk

    async def play(
        self,
        state: DemoState,
        stop: asyncio.Event,
        save: Callable[[DemoState], None],
        show: Callable[[datetime], None],
    ) -> DemoState:
        """Return the state that was reached; `save` keeps it now and then, `show` moves the progress bar."""
        happened = sum(1 for happening in self._happenings if happening.at < state.position)
        steps = 0
        while not stop.is_set():
            ahead = await self._next(happened)
            if ahead is None or ahead >= state.end:
                break
            self._clock.move_to(min(state.end, max(_ceil(ahead, state.start), self._clock.now() + STEP)))
            happened = await self._happen(happened)
            await self._desk.deliver(self._service.context)
            await self._settle_down()
            await billing_answers(self._service.context)
            steps += 1
            state = msgspec.structs.replace(state, position=min(self._clock.now(), state.end))
            if steps % SAVE_EVERY == 0:
                save(state)
            show(state.position)
        if not stop.is_set():
            self._clock.move_to(state.end)
            await self._desk.deliver(self._service.context)
            await self._settle_down()
            state = msgspec.structs.replace(state, position=state.end)
        save(state)
        return state

    async def _next(self, happened: int) -> datetime | None:
        """Return when the next thing happens: what somebody does, or a due job."""
        due_at = await self._service.jobs.next_due_at(self._clock.now())
        ahead = [self._happenings[happened].at] if happened < len(self._happenings) else []
        return min([*ahead, *([due_at] if due_at is not None else [])], default=None)

    async def _happen(self, happened: int) -> int:
        """Have everything happen whose time has come, through the flows that the API uses."""
        while happened < len(self._happenings) and self._happenings[happened].at <= self._clock.now():
            await self._happenings[happened].do(self._service.context)
            happened += 1
        return happened

    async def _settle_down(self) -> None:
        if not await self._work.drain(DRAIN_S):
            raise Refused(f"the due work of one step was not done within {DRAIN_S:g} s", "recoup.log says why")


def _ceil(at: datetime, origin: datetime) -> datetime:
    """Return the first whole step from `origin` on that is not before `at`."""
    return origin + -((origin - at) // STEP) * STEP
