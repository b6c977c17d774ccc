"""Disputes told by hand: what is under one can't be refunded, and whoever reads sees why."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from recoup_server import examples_refunds as examples

Capture = Callable[..., Awaitable[dict[str, Any]]]
Ask = Callable[..., Awaitable[dict[str, Any]]]


def about(account: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the body that tells of an open dispute of all that a payment came to."""
    fresh = {"payment_id": account["payment"]["id"], "gateway_ref": f"dp_{uuid4()}"}
    return {**examples.DISPUTES["opened"], **fresh, **changes}


async def test_disputed_money_is_not_refundable(api: Any, capture: Capture, ask: Ask) -> None:
    """From the moment it is told until it is won; a refund that had not left is decided anew at once."""
    account = await capture()
    file = await ask(account, 2500)
    path = f"/payments/{account['payment']['id']}/refundable"
    told = about(account, amount_minor=9500)

    opened = await api.post("/disputes", told)

    assert opened.status_code == 200, opened.text
    assert (opened.json()["state"], opened.json()["evidence_due_at"]) == ("open", "2026-12-07T23:59:59Z")
    refund = (await api.get(f"/refunds/{file['refund']['id']}")).json()
    assert (refund["refund"]["state"], refund["refund"]["stop_reason"]) == ("denied", "disputed")
    assert refund["refund"]["revision"] == 2
    left = (await api.get(path)).json()
    assert (left["refundable_minor"], left["captures"][0]["disputed_minor"]) == (2500, 9500)
    assert [dispute["id"] for dispute in left["disputes"]] == [opened.json()["id"]]
    won = await api.post("/disputes", told | {"state": "won"})
    assert (won.json()["id"], won.json()["state"]) == (opened.json()["id"], "won")
    assert won.json()["closed_at"] is not None
    left = (await api.get(path)).json()
    assert (left["refundable_minor"], left["disputes"]) == (12000, [])


async def test_a_refund_may_answer_an_inquiry(api: Any, capture: Capture, ask: Ask) -> None:
    """It is marked as such; an inquiry of another payment is none that it could answer."""
    account, elsewhere = await capture(), await capture()
    inquiry = (await api.post("/disputes", about(account, state="inquiry"))).json()

    file = await ask(account, 12000, answers_dispute_id=inquiry["id"])

    assert file["refund"]["answers_dispute_id"] == inquiry["id"]
    assert file["refund"]["state"] == "in_review"
    body = {**examples.REFUNDS["answers_an_inquiry"], "payment_id": elsewhere["payment"]["id"]}
    wrong = await api.post("/refunds", body | {"answers_dispute_id": inquiry["id"]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "refund_invalid")


async def test_disputes_are_listed_and_read(api: Any, other: Any, capture: Capture) -> None:
    """Newest first, narrowed by state and payment; another merchant sees none and tells of none."""
    one, two = await capture(), await capture()
    made = [
        (await api.post("/disputes", about(one))).json(),
        (await api.post("/disputes", about(two, state="inquiry"))).json(),
    ]

    assert (await api.get("/disputes")).json()["items"] == [made[1], made[0]]
    assert (await api.get("/disputes", state="open")).json()["items"] == [made[0]]
    assert (await api.get("/disputes", payment=two["payment"]["id"])).json()["items"] == [made[1]]
    assert (await api.get(f"/disputes/{made[0]['id']}")).json() == made[0]
    assert (await other.get("/disputes")).json()["items"] == []
    crossing = [await other.get(f"/disputes/{made[0]['id']}"), await other.post("/disputes", about(one))]
    assert [(answer.status_code, answer.json()["code"]) for answer in crossing] == [(404, "not_found")] * 2


async def test_a_dispute_sent_twice_is_told_once(api: Any, capture: Capture) -> None:
    """By its Idempotency-Key, and by the gateway's own id of it."""
    body = about(await capture())
    first = await api.post("/disputes", body, key="dispute-1")

    again = await api.post("/disputes", body, key="dispute-1")
    other_key = await api.post("/disputes", body)

    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert other_key.json()["id"] == first.json()["id"]
    assert len((await api.get("/disputes")).json()["items"]) == 1


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount_minor": 0}, 400, "invalid_request"),
        ({"state": "perhaps"}, 400, "invalid_request"),
        ({"gateway_ref": ""}, 400, "invalid_request"),
        ({"evidence_due_at": "2026-12-07"}, 400, "invalid_request"),
        ({"reason": "4111111111111111"}, 400, "card_number_refused"),
        ({"currency": "USD"}, 422, "refund_invalid"),
        ({"payment_id": examples.PAYMENT_ID}, 404, "not_found"),
    ],
)
async def test_a_dispute_that_makes_no_sense_is_refused(
    api: Any, capture: Capture, change: dict[str, Any], status: int, code: str
) -> None:
    """Nothing of it is stored."""
    answer = await api.post("/disputes", about(await capture()) | change)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await api.get("/disputes")).json()["items"] == []
