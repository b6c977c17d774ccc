"""The workbench: authors' questions never hold up decisions, nor each other without end."""

import asyncio

import pytest

from recoup_core.flows.workbench import Workbench, WorkbenchBusy


async def test_what_finds_no_place_is_refused_at_once_and_later_let_in() -> None:
    """Two are worked on, one waits, the fourth is refused; once all are done there is room again."""
    bench, go, inside = Workbench(at_once=2, waiting=1), asyncio.Event(), 0

    async def ask() -> None:
        nonlocal inside
        async with bench.place():
            inside += 1
            await go.wait()

    asked = [asyncio.create_task(ask()) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert inside == 2

    with pytest.raises(WorkbenchBusy):
        await bench.run(int)

    go.set()
    await asyncio.gather(*asked)
    assert inside == 3
    assert await bench.run(int, "7") == 7


async def test_a_question_that_fails_or_is_given_up_leaves_its_place() -> None:
    """Neither an error nor a client who went away may use up a place for good."""
    bench = Workbench(at_once=1, waiting=1)

    for _ in range(3):
        with pytest.raises(ValueError, match="invalid literal"):
            await bench.run(int, "x")
    holding = asyncio.Event()

    async def hold() -> None:
        async with bench.place():
            await holding.wait()

    first, waits = asyncio.create_task(hold()), asyncio.create_task(bench.run(int))
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    holding.set()
    await first

    assert await bench.run(int, "7") == 7
