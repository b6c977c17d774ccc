"""Recovery cases: reading them, their timeline, and acting on them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from recoup_server.examples import CREDENTIAL

Report = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def service_url(database_url: str) -> str:
    """These tests run jobs, so they have a database to themselves."""
    return database_url


def about_dunning(entry: dict[str, Any]) -> bool:
    """Whether an entry of a timeline is a dunning step, or a decision about such steps."""
    if entry["kind"] == "decision":
        return bool(entry["decision"]["kind"] == "dunning")
    return entry["kind"] == "step" and entry["step"]["key"] is not None


def case_path(opened: dict[str, Any], rest: str = "") -> str:
    return f"/recovery-cases/{opened['case']['id']}{rest}"


async def test_a_case_is_read_and_listed(api: Any, report: Report) -> None:
    """A case stands under its id, and in the list by state and payment."""
    opened = await report()

    assert (await api.get(case_path(opened))).json() == opened
    assert (await api.get("/recovery-cases", state="open")).json()["items"] == [opened]
    assert (await api.get("/recovery-cases", payment=opened["payment"]["id"])).json()["items"] == [opened]
    assert (await api.get("/recovery-cases", state="paused")).json()["items"] == []


async def test_a_case_is_paused_and_resumed(api: Any, report: Report) -> None:
    """A pause leaves out what was planned; resuming decides anew."""
    opened = await report()

    paused = await api.post(case_path(opened, "/pause"))
    resumed = await api.post(case_path(opened, "/resume"))

    assert (paused.status_code, paused.json()["case"]["state"], paused.json()["next_step"]) == (200, "paused", None)
    assert (resumed.status_code, resumed.json()["case"]["state"]) == (200, "open")
    assert resumed.json()["next_step"]["id"] != opened["next_step"]["id"]


async def test_what_the_state_forbids_is_a_conflict(api: Any, report: Report) -> None:
    """An open case can't be resumed; a paused one is not tried."""
    opened = await report()

    resumed = await api.post(case_path(opened, "/resume"))
    await api.post(case_path(opened, "/pause"))
    tried = await api.post(case_path(opened, "/retry-now"))

    assert (resumed.status_code, resumed.json()["code"]) == (409, "illegal_transition")
    assert (tried.status_code, tried.json()["code"]) == (409, "not_allowed_now")


async def test_a_canceled_case_closes_the_debt(api: Any, report: Report) -> None:
    """Canceling says why, and ends the case for good."""
    opened = await report()

    answer = await api.post(case_path(opened, "/cancel"), {"reason": "waived"})

    assert answer.status_code == 200
    assert answer.json()["case"]["state"] == "canceled"
    assert answer.json()["payment"]["state"] == "closed"
    events = (await api.get(case_path(opened, "/timeline"))).json()["events"]
    assert next(event for event in events if event["kind"] == "case.canceled")["data"] == {"reason": "waived"}


async def test_retry_now_collects_at_once(api: Any, report: Report, run_due: Any) -> None:
    """A person's retry replaces the planned one, and its success ends the case."""
    opened = await report()

    answer = await api.post(case_path(opened, "/retry-now"))
    await run_due()

    assert answer.json()["next_step"]["planned_by"].startswith("key:tester-admin")
    case = (await api.get(case_path(opened))).json()
    assert (case["case"]["state"], case["payment"]["state"]) == ("recovered", "paid")
    assert case["payment"]["captured_minor"] == opened["payment"]["amount_minor"]


async def test_retry_now_stays_inside_final_declines(api: Any, report: Report) -> None:
    """What the issuer forbade for good is not tried because a person asks."""
    opened = await report(code="stolen_card")

    answer = await api.post(case_path(opened, "/retry-now"))

    assert (answer.status_code, answer.json()["code"]) == (409, "not_allowed_now")


async def test_a_new_credential_is_tried_at_once(api: Any, report: Report, run_due: Any) -> None:
    """An expired card's case goes on with the new one."""
    opened = await report(code="expired_card")

    answer = await api.post(case_path(opened, "/update-credential"), {**CREDENTIAL, "token": "tok_approve|approve"})
    await run_due()

    assert answer.status_code == 200
    assert answer.json()["next_step"]["planned_by"] == "customer"
    assert (await api.get(case_path(opened))).json()["case"]["state"] == "recovered"


async def test_a_new_credential_belongs_to_a_gateway_of_the_merchant(api: Any, report: Report) -> None:
    """Another merchant's gateway is as unknown as none."""
    opened = await report()

    answer = await api.post(case_path(opened, "/update-credential"), {**CREDENTIAL, "gateway": "sandbox-other"})

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_gateway")


async def test_the_timeline_tells_the_whole_story(api: Any, report: Report, run_due: Any, clock: Any) -> None:
    """The reported failure, the try it led to with its reason, and the next one still to come, in order."""
    opened = await report(token="tok_insufficient_funds")
    clock.set(datetime.fromisoformat(opened["next_step"]["due_at"]) + timedelta(seconds=1))
    await run_due()

    story = (await api.get(case_path(opened, "/timeline"))).json()

    entries = [entry for entry in story["entries"] if not about_dunning(entry)]
    kinds = [(entry["kind"], entry["future"]) for entry in entries]
    assert kinds == [("attempt", False), ("step", False), ("step", True)]
    reported, tried, planned = entries
    assert reported["attempt"]["origin"] == "reported"
    assert tried["attempt"]["state"] == "declined"
    assert tried["attempt"]["decline"]["category"] == "insufficient_funds"
    assert tried["decision"]["explanation"]["rule"] == "insufficient funds wait for payday"
    assert tried["decision"]["facts"]["attempt"] == 1
    assert planned["step"]["state"] == "planned"
    assert planned["decision"]["facts"]["attempt"] == 2
    assert [event["kind"] for event in story["events"]][:2] == ["payment.reported", "case.opened"]
    assert "idempotency_key" not in str(story)


async def test_a_decision_to_stop_is_on_the_timeline(api: Any, report: Report) -> None:
    """A case that was given up says by which rule."""
    opened = await report(code="stolen_card")

    story = (await api.get(case_path(opened, "/timeline"))).json()

    entries = [entry for entry in story["entries"] if not about_dunning(entry)]
    assert [entry["kind"] for entry in entries] == ["attempt", "decision"]
    assert entries[1]["decision"]["outcome"] == {"type": "stop", "reason": "not_retryable"}


async def test_dunning_steps_stand_on_the_same_timeline(api: Any, report: Report, run_due: Any) -> None:
    """What was tried and what is still to come, each with what it says and the decision that planned it."""
    opened = await report(code="expired_card")
    await run_due()

    story = (await api.get(case_path(opened, "/timeline"))).json()

    assert (story["case"]["dunning_name"], len(story["case"]["dunning_digest"])) == ("consumer", 64)
    entries = [entry for entry in story["entries"] if about_dunning(entry)]
    [decided] = [entry["decision"] for entry in entries if entry["kind"] == "decision"]
    assert (decided["kind"], decided["rule"]) == ("dunning", "only the customer can help")
    steps = [entry["step"] for entry in entries if entry["kind"] == "step"]
    assert {step["decision_id"] for step in steps} == {decided["id"]}
    first, following = steps[:2]
    assert (first["key"], first["state"]) == ("opened/message/update_payment_method", "skipped")
    assert first["detail"]["refused"] == first["skipped_because"] == "no notifier can send by email"
    assert (following["kind"], following["state"]) == ("message", "planned")
    assert following["detail"] == {"template": "update_reminder", "channels": ["email", "sms"]}
    coming = [entry["step"]["key"] for entry in entries if entry["future"]]
    assert coming[-1] == "exhausted+30d/cancel_subscription"


async def test_an_operation_again_gets_its_first_answer(api: Any, report: Report) -> None:
    """The second pause under one key is the first one's answer, also after the case went on."""
    opened = await report()
    first = await api.post(case_path(opened, "/pause"), key="pause-1")
    await api.post(case_path(opened, "/resume"))

    again = await api.post(case_path(opened, "/pause"), key="pause-1")

    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert (await api.get(case_path(opened))).json()["case"]["state"] == "open"


async def test_a_key_names_one_operation_on_one_case(api: Any, report: Report) -> None:
    """A key used on one case is refused on another, whoever comes first, and nothing is done."""
    one, two = await report(), await report()

    answers = await asyncio.gather(*(api.post(case_path(each, "/pause"), key="both") for each in (one, two)))

    assert sorted(answer.status_code for answer in answers) == [200, 422]
    states = {(await api.get(case_path(each))).json()["case"]["state"] for each in (one, two)}
    assert states == {"open", "paused"}


async def test_many_pauses_at_once_are_one(api: Any, report: Report) -> None:
    """Copies of one call wait for each other and get one answer."""
    opened = await report()

    answers = await asyncio.gather(*(api.post(case_path(opened, "/pause"), key="once") for _ in range(6)))

    assert {answer.status_code for answer in answers} == {200}
    events = (await api.get(case_path(opened, "/timeline"))).json()["events"]
    assert [event["kind"] for event in events].count("case.paused") == 1


@pytest.mark.parametrize("act", ["pause", "resume", "retry-now", "cancel", "update-credential"])
async def test_operations_demand_an_idempotency_key(api: Any, report: Report, act: str) -> None:
    """Without a key a lost answer could not be asked for again."""
    opened = await report()

    answer = await api.post(case_path(opened, f"/{act}"), {"reason": "x"}, key=None)

    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")
    assert answer.json()["field"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["", "x" * 256, "with blank", "4111111111111111"])
async def test_an_idempotency_key_has_a_form(api: Any, report: Report, key: str) -> None:
    """Up to 255 visible characters, and no card number."""
    opened = await report()

    answer = await api.post(case_path(opened, "/pause"), key=key)

    assert answer.status_code == 400
    assert answer.json()["field"] == "Idempotency-Key"
    assert "4111" not in answer.text


async def test_an_unknown_outcome_is_settled_by_hand(api: Any, report: Report, run_due: Any) -> None:
    """Evidence that it never arrived lets the case go on."""
    opened = await report(token="lose+approve")
    await api.post(case_path(opened, "/retry-now"))
    await run_due()
    attempts = (await api.get("/attempts", payment=opened["payment"]["id"])).json()["items"]
    lost = attempts[0]
    assert lost["state"] == "unknown"

    answer = await api.post(
        f"/attempts/{lost['id']}/resolve", {"outcome": "succeeded", "evidence": "seen in the bank's portal"}
    )

    assert answer.status_code == 200
    assert answer.json()["case"]["state"] == "recovered"
    settled = (await api.get(f"/attempts/{lost['id']}")).json()
    assert settled["state"] == "succeeded"


async def test_a_settled_attempt_is_not_settled_again(api: Any, report: Report) -> None:
    """Only what nobody knows can be told by hand."""
    opened = await report()
    attempt = (await api.get("/attempts", payment=opened["payment"]["id"])).json()["items"][0]

    answer = await api.post(f"/attempts/{attempt['id']}/resolve", {"outcome": "declined", "evidence": "x"})

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")


async def test_a_task_waits_until_it_is_resolved(api: Any, report: Report) -> None:
    """A code in no table goes to a person, who says what was done; the event is kept, the queue is empty."""
    opened = await report(code="a_code_nobody_knows")
    task = (await api.get("/tasks")).json()["items"][0]
    assert (task["kind"], task["case_id"]) == ("manual_review", opened["case"]["id"])

    answer = await api.post(f"/tasks/{task['id']}/resolve", {"resolution": "called the customer"}, key="t-1")

    assert answer.status_code == 200
    assert answer.json()["resolution"] == "called the customer"
    assert answer.json()["resolved_by"] == "key:tester-admin"
    assert (await api.get("/tasks")).json()["items"] == []
    events = (await api.get("/events", kind="task.resolved")).json()["items"]
    assert [event["data"]["task_id"] for event in events] == [task["id"]]
    again = await api.post(f"/tasks/{task['id']}/resolve", {"resolution": "called the customer"}, key="t-1")
    assert again.json() == answer.json()
    assert again.headers["idempotent-replayed"] == "true"
    other_key = await api.post(f"/tasks/{task['id']}/resolve", {"resolution": "me too"})
    assert (other_key.status_code, other_key.json()["code"]) == (409, "not_allowed_now")


async def test_what_does_not_exist_is_not_found(api: Any) -> None:
    """A random id is a problem of its own code."""
    answer = await api.get(f"/recovery-cases/{uuid4()}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"
