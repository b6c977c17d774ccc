"""Asking for refunds, changing them, and reading what became of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from recoup_server import examples_refunds as examples
from recoup_server.errors import problem_of

Capture = Callable[..., Awaitable[dict[str, Any]]]
Ask = Callable[..., Awaitable[dict[str, Any]]]

ANSWERS = {
    "full": "in_review",
    "partial": "approved",
    "one_of_three_shirts": "approved",
    "shipping": "approved",
    "some_money_of_a_line": "approved",
    "only_the_tax": "approved",
    "with_evidence": "approved",
    "store_credit": "approved",
    "goodwill_as_store_credit": "approved",
    "order_newest_first": "in_review",
    "order_as_given": "approved",
}
"""What the shipped policies answer to the examples; the one that answers an inquiry needs one first."""


def about(example: dict[str, Any], *accounts: dict[str, Any]) -> dict[str, Any]:
    """Return an example's body about real payments, all of one order."""
    real = (account["payment"]["id"] for account in accounts)
    ids = dict(zip((examples.PAYMENT_ID, examples.SECOND_PAYMENT_ID), real, strict=False))
    body = dict(example)
    if "payment_id" in body:
        body["payment_id"] = ids[body["payment_id"]]
    if "order_ref" in body:
        body["order_ref"] = accounts[0]["payment"]["order_ref"]
    if "payments" in body:
        body["payments"] = [{**each, "payment_id": ids[each["payment_id"]]} for each in body["payments"]]
    return body


@pytest.mark.parametrize("shape", sorted(ANSWERS))
async def test_each_shape_of_the_document_is_taken(api: Any, capture: Capture, shape: str) -> None:
    """Full, partial, by line, by tax, store credit, goodwill, over an order: parts and lines sum to the amount."""
    order = f"order-{uuid4()}"
    accounts = [await capture(order_ref=order), await capture(order_ref=order)]

    answer = await api.post("/refunds", about(examples.REFUNDS[shape], *accounts))

    assert answer.status_code == 201, answer.text
    file = answer.json()
    assert file["refund"]["state"] == ANSWERS[shape], file["decision"]
    assert sum(part["amount_minor"] for part in file["parts"]) == file["refund"]["amount_minor"]
    if shape != "goodwill_as_store_credit":
        assert sum(line["amount_minor"] for line in file["lines"]) == file["refund"]["amount_minor"]
        assert sum(line["tax_minor"] for line in file["lines"]) == sum(part["tax_minor"] for part in file["parts"])
    assert file["decision"]["explanation"]["rule"] == file["decision"]["rule"]
    assert answer.headers["etag"] == f'"{file["refund"]["version"]}"'
    assert "merchant_id" not in answer.text
    assert "idempotency_key" not in answer.text


async def test_a_denial_is_an_answer_and_reserves_nothing(api: Any, capture: Capture, ask: Ask) -> None:
    """The policy's no is told with its reason, stored, and what was asked for stays free."""
    account = await capture()

    file = await ask(account, 2500, reason="because_i_want_to")

    assert (file["refund"]["state"], file["refund"]["stop_reason"]) == ("denied", "reason_not_allowed")
    assert file["decision"]["outcome"]["type"] == "deny"
    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()
    assert left["refundable_minor"] == 12000
    assert (await api.get(f"/refunds/{file['refund']['id']}")).json() == file


async def test_more_than_is_left_is_refused(api: Any, capture: Capture, ask: Ask) -> None:
    """What waits for its approval counts, too; the refusal says what is left, and nothing of it is stored."""
    account = await capture()
    await ask(account, 11000)

    answer = await api.post("/refunds", about({**examples.PARTIAL, "amount_minor": 1001}, account))

    assert (answer.status_code, answer.json()["code"]) == (422, "refund_exceeds_refundable")
    assert answer.json()["field"] == "amount_minor"
    assert "10.00 EUR" in answer.json()["detail"]
    assert len((await api.get("/refunds", payment=account["payment"]["id"])).json()["items"]) == 1


async def test_of_requests_at_once_exactly_those_pass_that_fit(api: Any, capture: Capture) -> None:
    """Promise 4 through the API: twelve ask for a tenth each, ten get it."""
    account = await capture()
    body = about({**examples.PARTIAL, "amount_minor": 1200}, account)

    answers = await asyncio.gather(*(api.post("/refunds", body) for _ in range(12)))

    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [422] * 2
    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()
    assert (left["refundable_minor"], left["captures"][0]["held_minor"]) == (0, 12000)


async def test_the_same_call_again_gets_the_same_answer(api: Any, capture: Capture) -> None:
    """A client that lost the answer sends the call again; one refund comes of it."""
    account = await capture()
    body = about(examples.PARTIAL, account)
    first = await api.post("/refunds", body, key="refund-1")

    again = await api.post("/refunds", body, key="refund-1")

    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await api.get("/refunds", payment=account["payment"]["id"])).json()["items"]) == 1


async def test_the_same_call_many_times_at_once_is_done_once(api: Any, capture: Capture) -> None:
    """Concurrent copies of one call all get one answer; the key is good for no other call."""
    account = await capture()
    body = about(examples.PARTIAL, account)

    answers = await asyncio.gather(*(api.post("/refunds", body, key="at-once") for _ in range(8)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["refund"]["id"] for answer in answers}) == 1
    assert len((await api.get("/refunds", payment=account["payment"]["id"])).json()["items"]) == 1
    another = await api.post("/refunds", body | {"amount_minor": 1}, key="at-once")
    assert (another.status_code, another.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount_minor": 0}, 400, "invalid_request"),
        ({"amount_minor": 25.5}, 400, "invalid_request"),
        ({"amount_minor": None}, 400, "invalid_request"),
        ({"reason": "No Word"}, 400, "invalid_request"),
        ({"note": "card 4111 1111 1111 1111"}, 400, "card_number_refused"),
        ({"currency": "XXY"}, 400, "unknown_currency"),
        ({"currency": "USD"}, 400, "currency_mismatch"),
        ({"payment_id": examples.PAYMENT_ID}, 404, "not_found"),
        ({"payment_id": None}, 422, "refund_invalid"),
        ({"order_ref": "both"}, 422, "refund_invalid"),
        ({"lines": [{"line": "no such line", "quantity": 1}]}, 422, "refund_invalid"),
        ({"lines": [{"line": "hat", "quantity": 2}]}, 422, "line_exceeds_refundable"),
        ({"lines": [{"line": "hat", "quantity": 1}]}, 422, "refund_lines_differ"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    api: Any, capture: Capture, change: dict[str, Any], status: int, code: str
) -> None:
    """Each refusal has its code; nothing is guessed or rounded."""
    account = await capture()

    answer = await api.post("/refunds", about(examples.PARTIAL, account) | change)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_a_caller_does_not_say_by_which_channel_they_come(api: Any, capture: Capture) -> None:
    """Whoever calls the API comes by the API; the console is no header."""
    body = about(examples.PARTIAL, await capture())

    answer = await api.post("/refunds", body, **{"X-Recoup-Channel": "console"})

    assert answer.json()["refund"]["channel"] == "api"


async def test_what_was_never_paid_can_not_be_refunded(api: Any, report: Any) -> None:
    """A payment that is still owed has nothing to give back."""
    opened = await report()

    answer = await api.post("/refunds", about(examples.PARTIAL, opened))

    assert (answer.status_code, answer.json()["code"]) == (422, "refund_invalid"), answer.text
    assert answer.json()["field"] == "payment_id"


async def test_a_preview_says_the_answer_and_stores_nothing(api: Any, capture: Capture) -> None:
    """What a request would come to, with its shares; afterwards everything is as it was."""
    account = await capture()
    path = f"/payments/{account['payment']['id']}/refundable"
    before = (await api.get(path)).json()

    answer = await api.post("/refunds/preview", about(examples.REFUNDS["full"], account), key=None)

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["outcome"] == {"type": "review", **{k: v for k, v in told["outcome"].items() if k != "type"}}
    assert told["rule"] == "one approver"
    assert told["refundable_minor"] == 12000
    assert sum(part["amount_minor"] for part in told["parts"]) == 12000
    assert {line["line"]: line["amount_minor"] for line in told["lines"]} == {
        "shirt": 9000,
        "hat": 2400,
        "shipping": 600,
    }
    assert (await api.get(path)).json() == before
    assert (await api.get("/refunds")).json()["items"] == []


async def test_an_edit_needs_the_version_that_was_read(api: Any, capture: Capture, ask: Ask) -> None:
    """Without If-Match 428, behind somebody else's change 412; the very version is changed, as a new revision."""
    file = await ask(await capture(), 12000)
    path, version = f"/refunds/{file['refund']['id']}", file["refund"]["version"]

    without = await api.patch(path, examples.EDITS["less"])
    assert (without.status_code, without.json()["code"], without.json()["field"]) == (
        428,
        "if_match_required",
        "If-Match",
    )
    stale = await api.patch(path, examples.EDITS["less"], **{"If-Match": f'"{version + 1}"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")

    edited = await api.patch(path, examples.EDITS["less"], **{"If-Match": f'"{version}"'})

    assert edited.status_code == 200, edited.text
    refund = edited.json()["refund"]
    assert (refund["revision"], refund["amount_minor"], refund["state"]) == (2, 2000, "approved")
    assert edited.headers["etag"] == f'"{refund["version"]}"'
    assert refund["version"] > version
    assert {part["state"] for part in edited.json()["parts"]} == {"canceled", "scheduled"}


@pytest.mark.parametrize("if_match", ["*", "3", '"3", "4"', '"0"', '"x"', '"99999999999"'])
async def test_only_one_etag_of_ours_names_a_version(api: Any, capture: Capture, ask: Ask, if_match: str) -> None:
    """A wildcard would be a change to whatever is there."""
    file = await ask(await capture(), 12000)

    answer = await api.patch(f"/refunds/{file['refund']['id']}", examples.EDITS["less"], **{"If-Match": if_match})

    assert (answer.status_code, answer.json()["field"]) == (400, "If-Match")


async def test_a_weakened_etag_names_a_version_as_well(api: Any, capture: Capture, ask: Ask) -> None:
    """A proxy that compresses answers writes W/ before it."""
    file = await ask(await capture(), 12000)
    weak = f'W/"{file["refund"]["version"]}"'

    answer = await api.patch(f"/refunds/{file['refund']['id']}", examples.EDITS["less"], **{"If-Match": weak})

    assert answer.status_code == 200


async def test_evidence_that_was_missing_completes_a_request(api: Any, capture: Capture, ask: Ask) -> None:
    """Incomplete says what is missing; with it the policy decides."""
    file = await ask(await capture(), 2400, reason="damaged")
    assert file["refund"]["state"] == "incomplete"
    assert file["decision"]["outcome"]["missing"] == ["photo"]

    answer = await api.patch(
        f"/refunds/{file['refund']['id']}", examples.EDITS["evidence"], **{"If-Match": f'"{file["refund"]["version"]}"'}
    )

    assert answer.json()["refund"]["state"] == "approved"


async def test_canceling_frees_what_was_reserved(api: Any, capture: Capture, ask: Ask) -> None:
    """Once canceled it is over, and says why; a second cancel is a conflict."""
    account = await capture()
    file = await ask(account, 12000)

    answer = await api.post(f"/refunds/{file['refund']['id']}/cancel", examples.CANCEL)

    assert answer.status_code == 200
    assert answer.json()["refund"]["state"] == "canceled"
    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()
    assert left["refundable_minor"] == 12000
    assert {line["left_quantity"] for line in left["lines"]} == {1, 3}
    again = await api.post(f"/refunds/{file['refund']['id']}/cancel", examples.CANCEL)
    assert (again.status_code, again.json()["code"]) == (409, "refund_not_open")


async def test_the_list_is_narrowed_and_paged(api: Any, capture: Capture, ask: Ask) -> None:
    """By state, payment, customer and order; pages are cut by key, newest first."""
    one, two = await capture(), await capture(customer={"ref": "customer-2"})
    asked = [await ask(one, 1000), await ask(one, 11000), await ask(two, 2000)]
    ids = [file["refund"]["id"] for file in asked]

    async def listed(**filters: Any) -> list[str]:
        return [item["id"] for item in (await api.get("/refunds", **filters)).json()["items"]]

    assert await listed() == [ids[2], ids[1], ids[0]]
    assert await listed(state="in_review") == [ids[1]]
    assert await listed(payment=one["payment"]["id"]) == [ids[1], ids[0]]
    assert await listed(customer="customer-2") == [ids[2]]
    assert await listed(order="no-such-order") == []
    first = (await api.get("/refunds", limit=2)).json()
    assert [item["id"] for item in first["items"]] == [ids[2], ids[1]]
    assert await listed(limit=2, cursor=first["next_cursor"]) == [ids[0]]


async def test_a_refund_of_an_order_is_found_by_each_payment(api: Any, capture: Capture) -> None:
    """Also by one that is not its first."""
    order = f"order-{uuid4()}"
    accounts = [await capture(order_ref=order), await capture(order_ref=order)]
    asked = await api.post("/refunds", about(examples.REFUNDS["order_as_given"], *accounts))

    for account in accounts:
        found = (await api.get("/refunds", payment=account["payment"]["id"])).json()["items"]
        assert [refund["id"] for refund in found] == [asked.json()["refund"]["id"]]
    by_order = (await api.get("/refunds", order=order)).json()["items"]
    assert [refund["id"] for refund in by_order] == [asked.json()["refund"]["id"]]


async def test_the_timeline_tells_the_whole_story_in_order(
    api: Any, capture: Capture, ask: Ask, person: Any, certain: Any
) -> None:
    """The policy's answers, people's verdicts and each part once, and every event."""
    file = await ask(await capture(), 12000)
    anna = await person("anna", "support_lead")
    approved = (await anna.act(file, "approve", {"comment": "fine"})).json()

    answer = await api.get(f"/refunds/{file['refund']['id']}/timeline")

    assert answer.status_code == 200
    story = answer.json()
    assert answer.headers["etag"] == f'"{approved["refund"]["version"]}"'
    assert [entry["kind"] for entry in story["entries"]].count("decision") == 1
    assert [entry["approval"]["comment"] for entry in story["entries"] if entry["kind"] == "approval"] == ["fine"]
    parts = [entry["part"] for entry in story["entries"] if entry["kind"] == "part"]
    assert [part["id"] for part in parts] == [part["id"] for part in approved["parts"]]
    kinds = [event["kind"] for event in story["events"]]
    assert kinds[0] == "refund.requested"
    assert kinds.index("refund.in_review") < kinds.index("refund.level_approved") < kinds.index("refund.approved")
    await certain()
    feed = (await api.get("/events", refund=file["refund"]["id"])).json()["items"]
    assert [event["kind"] for event in feed] == kinds
    assert {event["refund_id"] for event in feed} == {file["refund"]["id"]}


@pytest.mark.parametrize(
    ("constraint", "code"),
    [
        ("capture_never_over", "refund_exceeds_refundable"),
        ("payment_line_never_over", "line_exceeds_refundable"),
        ("payment_goodwill_bounded", "goodwill_exceeds_payment"),
    ],
)
def test_what_the_database_refuses_is_told_like_what_a_flow_refuses(constraint: str, code: str) -> None:
    """Its CHECKs hold where a flow would not; a caller is told the same, and never of a fault of ours."""
    error = asyncpg.CheckViolationError("refused")
    error.constraint_name = constraint

    problem, _ = problem_of(error)

    assert (problem.status, problem.code) == (422, code)


def test_another_constraint_is_a_fault_of_ours() -> None:
    """Nothing of the inside is told."""
    error = asyncpg.CheckViolationError("refund_check1 was violated")
    error.constraint_name = "refund_check1"

    problem, _ = problem_of(error)

    assert (problem.status, problem.code) == (500, "internal_error")
    assert "refund_check1" not in problem.detail


async def test_no_other_merchant_sees_or_touches_a_refund(other: Any, capture: Capture, ask: Ask) -> None:
    """Another merchant's payment and refund are not there."""
    account = await capture()
    file = await ask(account, 12000)

    asked = await other.post("/refunds", about(examples.PARTIAL, account))
    touched = await other.act(file, "approve")

    assert (asked.status_code, touched.status_code) == (404, 404)
    assert (await other.get("/refunds", payment=account["payment"]["id"])).json()["items"] == []
    assert (await other.get("/refunds", customer="customer-815")).json()["items"] == []


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"amount_minor": ...}, "amount_minor", "is missing"),
        ({"amount": 100}, "amount", "is not a field of this"),
        ({"lines": [{"quantity": 1}]}, "lines[0].line", "is missing"),
        ({"lines": [{"line": "hat", "pieces": 1}]}, "lines[0].pieces", "is not a field of this"),
        ({"amount_minor": "100"}, "amount_minor", "int"),
        ({"amount_minor": 100.0}, "amount_minor", "int"),
        ({"currency": "USD"}, "currency", "USD and EUR"),
        ({"currency": "ZZZ"}, "currency", "ISO 4217"),
    ],
)
async def test_a_mistake_is_told_with_its_own_field(
    api: Any, capture: Capture, change: dict[str, Any], field: str, said: str
) -> None:
    """Also what is missing, and what no field is called."""
    body = about(examples.PARTIAL, await capture()) | change
    body = {name: value for name, value in body.items() if value is not ...}

    answer = await api.post("/refunds", body)

    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field
    assert said in answer.json()["detail"]


async def test_an_unlisted_reason_is_told_with_the_list(api: Any, capture: Capture, ask: Ask) -> None:
    """Whoever mistyped it sees what could have been meant."""
    file = await ask(await capture(), 2500, reason="damagd")

    assert "damaged" in file["decision"]["explanation"]["reason"]["allowed"]
