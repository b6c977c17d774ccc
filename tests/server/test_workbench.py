"""A full workbench: authors are asked to come back, and nothing else waits for them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from recoup_core.flows.workbench import AT_ONCE
from recoup_core.wiring import Service

TEXT = (
    "kind: retry\nname: mine\napplies_to: {method: bacs_debit}\nrules:\n  - {name: only, stop: exhausted}\n"
    "examples:\n  - {given: {}, expect: only}\n"
)
QUESTIONS = {
    "/policies/check": {"text": TEXT},
    "/policies/explain": {"text": TEXT},
    "/policies/diff": {"old": {"text": TEXT}, "new": {"text": TEXT}},
    "/policies/simulate": {"texts": [{"text": TEXT, "name": "mine.yaml"}]},
    "/policies/versions": {"text": TEXT},
    "/policies/apply": {"files": [{"text": TEXT, "name": "mine.yaml"}], "dry_run": True},
}


@pytest.fixture
async def full(service: Service) -> AsyncIterator[AsyncExitStack]:
    """All places are taken; `aclose()` frees them."""
    bench = service.context.policies.workbench
    bench._most = AT_ONCE  # nobody waits: the question after the last place is refused
    async with AsyncExitStack() as held:
        for _ in range(AT_ONCE):
            await held.enter_async_context(bench.place())
        yield held


@pytest.mark.parametrize("path", QUESTIONS)
async def test_a_question_too_many_is_told_when_to_come_back(path: str, api: Any, full: AsyncExitStack) -> None:
    """503 with Retry-After, a stable code, and nothing done; with a place free the same call succeeds."""
    refused = await api.post(path, QUESTIONS[path], key=None)
    await full.aclose()
    answered = await api.post(path, QUESTIONS[path], key=None)

    assert (refused.status_code, refused.json()["code"]) == (503, "workbench_busy")
    assert int(refused.headers["Retry-After"]) > 0
    assert answered.status_code in (200, 201), answered.text


async def test_decisions_and_activations_do_not_wait_for_authors(
    api: Any, report: Callable[..., Awaitable[Any]], service: Service
) -> None:
    """With every place taken a version goes live and decides, and what is in force is explained."""
    version = (await api.post("/policies/versions", {"text": TEXT}, key=None)).json()
    async with AsyncExitStack() as held:
        for _ in range(AT_ONCE):
            await held.enter_async_context(service.context.policies.workbench.place())

        told = await api.post("/policies/explain", {"facts": {"attempt": 3}}, key=None)
        live = await api.post(f"/policies/versions/{version['id']}/activate", key=None)
        opened = await report()

    assert told.status_code == 200
    assert (live.status_code, live.json()["state"]) == (200, "live")
    assert opened["case"]["state"] == "open"
