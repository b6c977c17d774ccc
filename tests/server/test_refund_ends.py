"""What becomes of approved refunds at their gateway, as callers see it: paid, failed, unknown, tried again."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from recoup_server import examples_refunds as examples

Capture = Callable[..., Awaitable[dict[str, Any]]]
Ask = Callable[..., Awaitable[dict[str, Any]]]
Run = Callable[[], Awaitable[int]]


@pytest.fixture
def service_url(database_url: str) -> str:
    """These tests run jobs, so they have a database to themselves."""
    return database_url


async def read(api: Any, file: dict[str, Any]) -> dict[str, Any]:
    """Return a refund as it is now."""
    answer = await api.get(f"/refunds/{file['refund']['id']}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_an_approved_refund_is_paid(api: Any, capture: Capture, ask: Ask, run_due: Run) -> None:
    """Its part has the gateway's id, the payment says what went back, and the timeline when."""
    account = await capture()
    file = await ask(account, 2500)

    await run_due()

    paid = await read(api, file)
    assert (paid["refund"]["state"], paid["refund"]["refunded_minor"]) == ("succeeded", 2500)
    (part,) = paid["parts"]
    assert (part["state"], part["sends"], part["gateway_ref"] is not None) == ("succeeded", 1, True)
    payment = (await api.get(f"/payments/{account['payment']['id']}")).json()
    assert (payment["refundable_minor"], payment["refunded_minor"]) == (9500, 2500)
    story = (await api.get(f"/refunds/{file['refund']['id']}/timeline")).json()
    assert [event["kind"] for event in story["events"]][-1] == "refund.succeeded"
    assert [entry["kind"] for entry in story["entries"]] == ["decision", "part"]
    assert not any(entry["future"] for entry in story["entries"])


async def test_what_recoup_collected_itself_is_refunded_as_well(
    api: Any, report: Any, ask: Ask, run_due: Run, clock: Any
) -> None:
    """A recovered payment has a capture like one that was reported."""
    opened = await report(token="tok_approve")
    await api.post(f"/recovery-cases/{opened['case']['id']}/retry-now")
    await run_due()

    file = await ask(opened, 4900)

    assert file["refund"]["state"] == "approved", file["decision"]
    await run_due()
    assert (await read(api, file))["refund"]["state"] == "succeeded"
    payment = (await api.get(f"/payments/{opened['payment']['id']}")).json()
    assert (payment["payment"]["paid_at"] is not None, payment["refunded_minor"]) == (True, 4900)


async def test_a_refund_that_failed_is_tried_again(api: Any, capture: Capture, ask: Ask, run_due: Run) -> None:
    """The gateway's reason is told, a task asks a person; the same way is a new part that follows the failed one."""
    file = await ask(await capture("refused:expired_or_canceled_card|approve"), 2500)
    await run_due()
    failed = await read(api, file)
    assert failed["refund"]["state"] == "failed"
    assert failed["parts"][0]["failure"]["category"] == "method_gone"
    assert [task["kind"] for task in failed["open_tasks"]] == ["refund_failed"]

    retried = await api.post(f"/refunds/{file['refund']['id']}/retry", examples.RETRIES["same_way"])

    assert retried.status_code == 200, retried.text
    first, second = retried.json()["parts"]
    assert (retried.json()["refund"]["state"], second["follows"]) == ("approved", first["id"])
    await run_due()
    paid = await read(api, file)
    assert (paid["refund"]["state"], paid["refund"]["refunded_minor"], paid["open_tasks"]) == ("succeeded", 2500, [])


async def test_a_refund_that_failed_goes_another_way(api: Any, capture: Capture, ask: Ask, run_due: Run) -> None:
    """As store credit it is decided anew, as a new revision."""
    file = await ask(await capture("refused:expired_or_canceled_card"), 2500)
    await run_due()

    retried = await api.post(f"/refunds/{file['refund']['id']}/retry", examples.RETRIES["as_store_credit"])

    refund = retried.json()["refund"]
    assert (refund["revision"], refund["destination"], refund["state"]) == (2, "store_credit", "approved")
    await run_due()
    assert (await read(api, file))["refund"]["state"] == "succeeded"
    events = (await api.get("/events", refund=file["refund"]["id"], kind="store_credit.issued")).json()["items"]
    assert len(events) == 1


async def test_money_that_may_be_moving_is_left_alone(api: Any, capture: Capture, ask: Ask, run_due: Run) -> None:
    """Neither edited nor canceled before its gateway has answered; a person may settle it with evidence, once."""
    file = await ask(await capture("lose"), 2500)
    await run_due()
    unknown = await read(api, file)
    (part,) = unknown["parts"]
    assert part["state"] == "unknown"
    path = f"/refunds/{file['refund']['id']}"

    edited = await api.patch(path, examples.EDITS["less"], **{"If-Match": f'"{unknown["refund"]["version"]}"'})
    canceled = await api.post(f"{path}/cancel", examples.CANCEL)
    assert [(answer.status_code, answer.json()["code"]) for answer in (edited, canceled)] == [
        (409, "refund_in_flight"),
        (409, "refund_in_flight"),
    ]
    settled = await api.post(f"/refund-parts/{part['id']}/resolve", examples.RESOLUTIONS["succeeded"])

    assert settled.status_code == 200, settled.text
    assert settled.json()["refund"]["state"] == "succeeded"
    assert settled.json()["parts"][0]["gateway_ref"] == examples.RESOLUTIONS["succeeded"]["gateway_ref"]
    again = await api.post(f"/refund-parts/{part['id']}/resolve", examples.RESOLUTIONS["succeeded"])
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")


async def test_a_refund_that_waits_at_its_gateway_is_canceled_there(
    api: Any, capture: Capture, ask: Ask, run_due: Run
) -> None:
    """Where the gateway still can; what it held is free again."""
    account = await capture("pending:2d")
    file = await ask(account, 2500)
    await run_due()
    assert (await read(api, file))["parts"][0]["state"] == "pending"

    answer = await api.post(f"/refunds/{file['refund']['id']}/cancel", examples.CANCEL)

    assert answer.status_code == 200, answer.text
    assert answer.json()["refund"]["state"] == "canceled"
    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()
    assert left["refundable_minor"] == 12000


async def test_an_authorisation_is_voided_whole_or_not_at_all(
    api: Any, capture: Capture, ask: Ask, run_due: Run, person: Any
) -> None:
    """What was never collected is let go, and nothing counts as refunded."""
    account = await capture("authorized", authorized=True, amount_minor=2500, lines=[])
    body = {**examples.PARTIAL, "payment_id": account["payment"]["id"], "amount_minor": 1000}
    partial = await api.post("/refunds", body)
    assert (partial.status_code, partial.json()["code"]) in ((422, "refund_invalid"), (422, "gateway_cannot_refund"))

    file = await ask(account, 2500)
    assert file["parts"][0]["void"] is True
    await run_due()

    assert (await read(api, file))["refund"]["state"] == "succeeded"
    payment = (await api.get(f"/payments/{account['payment']['id']}")).json()
    assert (payment["refundable_minor"], payment["refunded_minor"]) == (0, 0)
    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()
    assert left["captures"][0]["state"] == "voided"


async def test_what_was_handed_in_again_is_paid_once(
    api: Any, capture: Capture, ask: Ask, run_due: Run, person: Any
) -> None:
    """Sent back, handed in as it was, approved by somebody else: one part leaves, and the lines are still those."""
    file = await ask(await capture(), 12000)
    anna = await person("anna", "support_lead")
    back = (await anna.act(file, "send-back", examples.SENDING_BACK)).json()
    again = (await api.act(back, "submit")).json()

    approved = await anna.act(again, "approve")

    assert approved.status_code == 200, approved.text
    await run_due()
    paid = await read(api, file)
    assert (paid["refund"]["state"], paid["refund"]["refunded_minor"]) == ("succeeded", 12000)
    assert [part["state"] for part in paid["parts"]] == ["succeeded"]
    assert paid["lines"] == file["lines"]
    assert [approval["verdict"] for approval in paid["approvals"]] == ["send_back", "approve"]
