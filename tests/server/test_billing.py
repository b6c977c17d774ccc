"""What the billing system does over HTTP: it announces charges, and answers what it is asked about subscriptions."""

from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.ids import new_id
from recoup_core.domain.subscription_request import SubscriptionRequest, Wish
from recoup_core.flows.context import locked_cases
from recoup_server import examples_billing as billing


@pytest.fixture
async def asked(api: Any, report: Any) -> dict[str, Any]:
    """A case because of which the billing system is asked to pause a subscription."""
    opened: dict[str, Any] = await report()
    payment_id = UUID(opened["payment"]["id"])
    async with locked_cases(api.service.context, [payment_id]) as locked:
        draft = locked.draft(payment_id, "policy", None)
        assert draft is not None
        request = SubscriptionRequest(
            id=new_id(),
            merchant_id=draft.file.payment.merchant_id,
            case_id=draft.file.case.id,
            payment_id=payment_id,
            wish=Wish.PAUSE,
            subscription={"plan": "pro"},
            asked_at=locked.now,
            created_at=locked.now,
        )
        draft.changes.add(request)
    return opened | {"request": str(request.id)}


async def test_a_billing_system_that_polls_finds_what_it_has_not_answered(api: Any, asked: dict[str, Any]) -> None:
    """By state; answered, a request is on the list no longer, and its case's timeline tells it."""
    waiting = (await api.get("/subscription-requests", state="asked")).json()["items"]
    answer = await api.post(f"/subscription-requests/{asked['request']}/acknowledge", {"done": True, "note": "done"})
    left = (await api.get("/subscription-requests", state="asked")).json()["items"]
    timeline = (await api.get(f"/recovery-cases/{asked['case']['id']}/timeline")).json()

    assert [(each["id"], each["wish"]) for each in waiting] == [(asked["request"], "pause")]
    assert (answer.status_code, answer.json()["state"], answer.json()["note"]) == (200, "acknowledged", "done")
    assert left == []
    [entry] = [entry for entry in timeline["entries"] if entry["kind"] == "request"]
    assert [each["state"] for each in entry["requests"]] == ["acknowledged"]
    assert (await api.get(f"/subscription-requests/{asked['request']}")).json()["state"] == "acknowledged"


async def test_an_answer_that_contradicts_the_first_is_refused(api: Any, asked: dict[str, Any]) -> None:
    """What was said first stands; the refusal has a code."""
    path = f"/subscription-requests/{asked['request']}/acknowledge"
    await api.post(path, {"done": False, "note": "annual plans can't be paused"})

    again = await api.post(path, {"done": True})

    assert (again.status_code, again.json()["code"]) == (409, "not_allowed_now")


async def test_a_charge_is_announced_changed_and_called_off(api: Any) -> None:
    """A whole life over HTTP: with its notices, planned by the shipped policy, in every answer."""
    announced = (await api.post("/upcoming-charges", billing.CHARGE)).json()
    path = f"/upcoming-charges/{announced['charge']['id']}"
    renewed = await api.patch(path, billing.CHARGE_EDITS["card_renewed"])
    called_off = await api.post(f"{path}/call-off", billing.CALL_OFF)
    again = await api.post("/upcoming-charges", billing.CHARGE)

    assert [each["state"] for each in announced["notices"]] == ["planned"] * len(announced["notices"])
    assert announced["notices"]
    assert announced["charge"]["customer_ref"] == "cus-4711"
    assert "ada@example.com" not in str(announced)
    assert renewed.status_code == 200, renewed.text
    assert renewed.json()["charge"]["expires_on"] == "2030-11"
    assert called_off.json()["charge"]["state"] == "called_off"
    assert {each["state"] for each in called_off.json()["notices"]} == {"skipped"}
    assert (again.status_code, again.json()["code"]) == (409, "upcoming_charge_exists")
    listed = (await api.get("/upcoming-charges", reference=billing.CHARGE["reference"])).json()["items"]
    assert [each["id"] for each in listed] == [announced["charge"]["id"]]
