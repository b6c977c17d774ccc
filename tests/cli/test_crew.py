"""Work in processes of their own says what it says in this one."""

import os
from functools import partial

import msgspec
import pytest
from tests.core.rules.simulation.cases import OLD, a_case

from recoup_cli.crew import MANY, crew
from recoup_core.rules.sets.simulation import SimulationPlan, Simulator, TextIn
from recoup_core.rules.study.history import HistoryCase

PLAN = SimulationPlan(new=(TextIn(source="new.yaml", text=OLD.replace("[1d, 2d, 3d]", "[1d]")),))


EVALUATING = partial(partial, eval)
"""Makes what evaluates a text: of the standard library, for the processes can't import tests."""

WHERE = "__import__('os').getpid()"


async def test_other_processes_say_the_same() -> None:
    """A whole simulation, its plan and its cases travel there and the report comes back."""
    cases: list[HistoryCase] = [a_case("issuer_generic", "issuer_generic", name=f"c{n}") for n in range(3)]

    async with crew(partial(Simulator, PLAN), None) as there, crew(partial(Simulator, PLAN), len(cases)) as here:
        reports = [await there(cases), await here(cases)]

    assert msgspec.to_builtins(reports[0]) == msgspec.to_builtins(reports[1])
    assert reports[0].changes["stops"].tally.cases == 3


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core has nobody to share with")
async def test_only_much_work_is_shared() -> None:
    """The start of processes would take longer than a little work."""
    async with crew(EVALUATING, MANY - 1) as few, crew(EVALUATING, MANY) as many:
        assert await few(WHERE) == os.getpid()
        assert await many(WHERE) != os.getpid()


@pytest.mark.parametrize("count", [1, None])
async def test_what_work_raises_is_raised_here(count: int | None) -> None:
    """A failure is not lost in another process."""
    async with crew(EVALUATING, count) as work:
        with pytest.raises(ZeroDivisionError):
            await work("1 / 0")
