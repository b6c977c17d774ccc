"""A failed payment from report to recovery, through HTTP with a real key, on real processes and a scripted gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.stories.client import eventually
from tests.stories.conftest import Run, Running
from tests.stories.installation import SANDBOX, SECRET, sandbox_gateway

from recoup_core.domain.happened import EventKind
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network
from recoup_core.ports import ReportedFailure
from recoup_plugins.gateways.sandbox_bank import SandboxBank
from recoup_plugins.gateways.sandbox_script import ScriptedDecline
from recoup_plugins.gateways.sandbox_webhooks import SandboxPostman

pytestmark = pytest.mark.rabbitmq

AMOUNT = 1999
QUIET_S = 1.0


@pytest.fixture
async def recoup(run_installation: Run, tmp_path: Path) -> Running:
    """Everything at work, with a sandbox gateway."""
    return await run_installation(sandbox_gateway(tmp_path))


async def test_a_reported_payment_is_recovered_although_an_answer_was_lost(recoup: Running, tmp_path: Path) -> None:
    """Declined, then paid with the answer lost: it is found out, nobody pays twice, and each step explains itself."""
    report = _a_report("INV-1", "tok_insufficient_funds|lose+approve", failures=2)

    opened = await recoup.api.post("/payments", report, key="report-1")
    again = await recoup.api.post("/payments", report, key="report-1")
    story = await _hurried(recoup, opened["case"]["id"])

    assert again["case"]["id"] == opened["case"]["id"]
    assert _attempts(story) == [
        ("reported", "declined"),
        ("reported", "declined"),
        ("policy", "declined"),
        ("policy", "succeeded"),
    ]
    assert str(EventKind.ATTEMPT_UNKNOWN) in [event["kind"] for event in story["events"]]
    assert all(entry["decision"]["explanation"]["rules"] for entry in story["entries"] if entry["kind"] == "step")
    await _bank_agrees(recoup, "INV-1", tmp_path)


async def test_a_paused_case_sends_nothing_until_it_is_resumed(recoup: Running, tmp_path: Path) -> None:
    """What is due while paused is not sent; resuming decides anew."""
    opened = await recoup.api.post("/payments", _a_report("INV-2", "tok_approve", minutes_ago=0))
    case = f"/recovery-cases/{opened['case']['id']}"

    paused = await recoup.api.post(f"{case}/pause")
    await recoup.house.hurry()
    await asyncio.sleep(QUIET_S)
    sent_while_paused = _bank(tmp_path).totals()
    await recoup.api.post(f"{case}/resume")
    story = await _hurried(recoup, opened["case"]["id"])

    assert (paused["case"]["state"], paused["next_step"]) == ("paused", None)
    assert sent_while_paused == {}
    assert _attempts(story) == [("reported", "declined"), ("policy", "succeeded")]
    await _bank_agrees(recoup, "INV-2", tmp_path)


async def test_webhooks_open_a_case_and_end_it(recoup: Running, tmp_path: Path) -> None:
    """The gateway tells of the failure, and of the pending retry's success, twice and out of order."""
    token = "tok_pending:1s+approve+duplicate_webhook+shuffled_webhooks"
    _bank(tmp_path).announce_failure(_a_failure("INV-3", token), ScriptedDecline("insufficient_funds"))

    async with _postman(recoup, tmp_path):
        found = await eventually(lambda: _payments(recoup, "INV-3"), "the webhook to open a case")
        case_id = found[0]["case"]["id"]
        await recoup.house.hurry()
        story = await recoup.api.until(case_id, "recovered")

    told = [event for event in story["events"] if event["actor"] == f"gateway:{SANDBOX}"]
    assert {event["correlation_id"] for event in told} != {None}
    assert _attempts(story) == [("reported", "declined"), ("policy", "succeeded")]
    await _bank_agrees(recoup, "INV-3", tmp_path)


def _bank(folder: Path) -> SandboxBank:
    return SandboxBank(str(folder / "bank.sqlite"))


@asynccontextmanager
async def _postman(recoup: Running, folder: Path) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with httpx.AsyncClient() as client:
        postman = SandboxPostman(_bank(folder), f"{recoup.api.url}/webhooks/{SANDBOX}", SECRET, client=client)
        running = asyncio.create_task(postman.run(stop))
        yield
        stop.set()
        await running


async def _hurried(recoup: Running, case_id: str) -> Any:
    """Let time fly until the case is recovered."""

    async def recovered() -> Any:
        await recoup.house.hurry()
        story = await recoup.api.timeline(case_id)
        return story if story["case"]["state"] == "recovered" else None

    return await eventually(recovered, "the case to be recovered")


async def _payments(recoup: Running, reference: str) -> Any:
    return (await recoup.api.get("/payments", reference=reference))["items"]


async def _bank_agrees(recoup: Running, reference: str, folder: Path) -> None:
    total = _bank(folder).totals()[reference]
    assert (total.charges, total.moved_minor) == (1, AMOUNT)
    booked = "SELECT sum(amount_minor) FROM ledger_posting WHERE account = 'gateway_clearing:sandbox'"
    assert await recoup.house.value(booked) == AMOUNT
    assert "whole" in await asyncio.to_thread(recoup.house.run, "audit", "verify")


def _attempts(story: Any) -> list[tuple[str, str]]:
    made = [entry["attempt"] for entry in story["entries"] if entry["attempt"]]
    return [(each["origin"], each["state"]) for each in sorted(made, key=lambda each: each["number"])]


def _a_report(reference: str, token: str, *, failures: int = 1, minutes_ago: int = 5) -> dict[str, Any]:
    now = datetime.now(UTC)
    declined = {"source": "stripe", "code": "insufficient_funds"}
    times = [now - timedelta(minutes=minutes_ago, days=number) for number in range(failures)]
    return {
        "reference": reference,
        "amount_minor": AMOUNT,
        "currency": "EUR",
        "customer": {"ref": f"customer-{reference}", "country": "DE"},
        "gateway": SANDBOX,
        "method": "card",
        "credentials": [{"gateway": SANDBOX, "token": token, "method": "card", "network": "visa"}],
        "attempts": [{"at": at.isoformat(), "decline": declined} for at in times],
    }


def _a_failure(reference: str, token: str) -> ReportedFailure:
    return ReportedFailure(
        payment_reference=reference,
        amount=Money(AMOUNT, "EUR"),
        method=Method.CARD,
        customer_ref=f"customer-{reference}",
        token=token,
        network=Network.VISA,
        country="DE",
    )
