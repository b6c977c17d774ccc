"""Deciding on refunds: the queue, verdicts, and many at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.errors import DomainError
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.people import seat_of
from recoup_core.storage.approvals import lent_to
from recoup_core.storage.refunds import load_refunds
from recoup_core.wiring import Service
from recoup_server import examples_refunds as examples

Capture = Callable[..., Awaitable[dict[str, Any]]]
Ask = Callable[..., Awaitable[dict[str, Any]]]

IN_A_MONTH = "2026-12-23T09:00:00Z"


async def waiting(who: Any, **params: Any) -> list[str]:
    """Return the refunds in somebody's queue."""
    answer = await who.get("/approvals", **params)
    assert answer.status_code == 200, answer.text
    return [item["refund"]["id"] for item in answer.json()["items"]]


async def test_one_level_and_the_money_is_on_its_way(capture: Capture, ask: Ask, person: Any) -> None:
    """Approved by whoever has the role, with their comment kept; then no part of it waits any more."""
    file = await ask(await capture(), 12000)
    anna = await person("anna", "support_lead")

    answer = await anna.act(file, "approve", examples.APPROVALS["with_comment"])

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["refund"]["state"], told["refund"]["open_roles"]) == ("approved", [])
    (approval,) = told["approvals"]
    assert (approval["principal"], approval["role"], approval["channel"]) == ("anna", "support_lead", "api")
    assert approval["comment"] == examples.APPROVALS["with_comment"]["comment"]
    assert {part["state"] for part in told["parts"]} == {"scheduled"}
    assert answer.headers["etag"] == f'"{told["refund"]["version"]}"'


async def test_two_levels_take_two_people(capture: Capture, ask: Ask, person: Any) -> None:
    """In their order; whoever has both roles decides one of them."""
    file = await ask(await capture(amount_minor=60000, lines=[]), 60000)
    anna, both = await person("anna", "support_lead", "finance"), await person("anna", "finance")

    too_early = await (await person("finn", "finance")).act(file, "approve")
    assert (too_early.status_code, too_early.json()["code"]) == (403, "approval_role_missing")
    first = (await anna.act(file, "approve")).json()
    assert (first["refund"]["level"], first["refund"]["open_roles"]) == (1, ["finance"])
    again = await both.act(first, "approve")
    assert (again.status_code, again.json()["code"]) == (403, "four_eyes")
    last = await (await person("finn", "finance")).act(first, "approve")

    assert last.json()["refund"]["state"] == "approved"


async def test_whoever_asked_decides_nothing(api: Any, capture: Capture, person: Any) -> None:
    """Two keys of one person are one person."""
    account = await capture()
    asking = await person("Bea", role="agent")
    body = {**examples.REFUNDS["full"], "payment_id": account["payment"]["id"]}
    file = (await asking.post("/refunds", body)).json()

    answer = await (await person(" bea ", "support_lead")).act(file, "approve")

    assert (answer.status_code, answer.json()["code"]) == (403, "four_eyes")


async def test_a_verdict_is_about_one_version(capture: Capture, ask: Ask, person: Any) -> None:
    """Without If-Match 428; behind a change 412; of two at once one counts."""
    file = await ask(await capture(), 12000)
    anna, ben = await person("anna", "support_lead"), await person("ben", "support_lead")

    without = await anna.post(f"/refunds/{file['refund']['id']}/approve", {})
    assert (without.status_code, without.json()["code"]) == (428, "if_match_required")
    answers = await asyncio.gather(anna.act(file, "approve"), ben.act(file, "approve"))

    assert sorted(answer.status_code for answer in answers) in ([200, 409], [200, 412])
    late = await ben.act(file, "send-back", examples.SENDING_BACK)
    assert late.status_code == 409


async def test_a_verdict_sent_twice_is_given_once(capture: Capture, ask: Ask, person: Any) -> None:
    """By its Idempotency-Key."""
    file = await ask(await capture(), 12000)
    anna = await person("anna", "support_lead")
    first = await anna.act(file, "approve", key="yes-1")

    again = await anna.act(file, "approve", key="yes-1")

    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_rejection_says_why_and_frees_the_money(api: Any, capture: Capture, ask: Ask, person: Any) -> None:
    """A no without a reason is refused."""
    account = await capture()
    file = await ask(account, 12000)
    anna = await person("anna", "support_lead")

    silent = await anna.act(file, "reject", {})
    assert (silent.status_code, silent.json()["field"]) == (400, "comment")
    answer = await anna.act(file, "reject", examples.REJECTION)

    assert answer.json()["refund"]["state"] == "rejected"
    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()
    assert left["refundable_minor"] == 12000


async def test_what_is_sent_back_is_handed_in_again(api: Any, capture: Capture, ask: Ask, person: Any) -> None:
    """It stays reserved, is decided anew as a new revision, and its approvals start afresh."""
    account = await capture()
    file = await ask(account, 12000)
    anna = await person("anna", "support_lead")
    back = (await anna.act(file, "send-back", examples.SENDING_BACK)).json()
    assert (back["refund"]["state"], await waiting(anna)) == ("sent_back", [])
    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()
    assert left["refundable_minor"] == 0

    again = await api.act(back, "submit")

    assert again.status_code == 200, again.text
    refund = again.json()["refund"]
    assert (refund["state"], refund["revision"], refund["level"]) == ("in_review", 2, 0)
    assert await waiting(anna) == [refund["id"]]


async def test_the_queue_shows_what_one_may_decide_oldest_first(
    api: Any, capture: Capture, ask: Ask, person: Any
) -> None:
    """By one's own roles, without what one touched; `role` narrows it, pages are cut by key."""
    files = [await ask(await capture(), 12000) for _ in range(3)]
    large = await ask(await capture(amount_minor=600000, lines=[]), 600000)
    ids = [file["refund"]["id"] for file in files]
    anna = await person("anna", "support_lead", "finance")

    assert await waiting(anna) == [*ids, large["refund"]["id"]]
    assert await waiting(anna, role="finance") == [large["refund"]["id"]]
    assert await waiting(anna, role="finance_director") == []
    assert await waiting(await person("cleo")) == []
    assert await waiting(api) == []
    first = (await anna.get("/approvals", limit=3)).json()
    assert [item["refund"]["id"] for item in first["items"]] == ids
    assert await waiting(anna, limit=3, cursor=first["next_cursor"]) == [large["refund"]["id"]]
    item = first["items"][0]
    assert (item["waits_for"], item["own"], item["on_behalf_of"]) == (["support_lead"], True, [])
    assert (item["decide_by"] is not None, item["escalated"]) == (True, False)
    asked_by_approver = await person("tester-admin", "support_lead")
    assert await waiting(asked_by_approver) == []


async def test_the_queue_is_what_the_flow_lets_decide(
    api: Any, capture: Capture, ask: Ask, person: Any, service: Service, merchants: tuple[str, str]
) -> None:
    """What stands in a queue is what the rule of four eyes lets that person decide; the two are written apart."""
    large = {"amount_minor": 60000, "lines": []}
    files = [await ask(await capture(**large), 60000), await ask(await capture(**large), 60000)]
    roles = {
        "anna": ("support_lead", "finance"),
        "ben": ("support_lead",),
        "finn": ("finance",),
        "tester-admin": ("support_lead", "finance"),
        "cleo": (),
        "dora": (),
        "emil": (),
    }
    people = {name: await person(name, *own) for name, own in roles.items()}
    for owner, delegate in (("anna", "cleo"), ("finn", "dora"), ("tester-admin", "emil"), ("cleo", "emil")):
        body = {"owner": owner, "delegate": delegate, "roles": list(roles[owner]), "ends_at": IN_A_MONTH}
        made = await api.post("/delegations", body)
        assert made.status_code == (201 if roles[owner] else 400), made.text
    assert (await people["anna"].act(files[0], "approve")).status_code == 200

    ids = [file["refund"]["id"] for file in files]

    async def queues() -> dict[str, list[str]]:
        told = {name: await waiting(who) for name, who in people.items()}
        for name, queue_of in told.items():
            by = By(merchant_id=merchants[0], actor="", principal=name, approves=roles[name])
            assert queue_of == [each for each in ids if await may_decide(service, UUID(each), by)], name
        return told

    first = await queues()
    assert first["dora"] == first["finn"] == [ids[0]]
    assert first["cleo"] == [ids[1]]
    assert first["tester-admin"] == first["emil"] == []
    assert (await people["cleo"].act(files[1], "approve")).status_code == 200
    second = await queues()
    assert second["anna"] == second["cleo"] == []
    assert second["finn"] == second["dora"] == ids


async def may_decide(service: Service, refund_id: UUID, by: By) -> bool:
    """Return what the flow's own rule says."""
    now = service.clock.now()
    async with service.database.connection() as connection:
        file = (await load_refunds(connection, [refund_id]))[refund_id]
        lent = await lent_to(connection, by.merchant_id, by.principal, now)
    try:
        seat_of(file.refund, file.approvals, person=by.principal, own=by.approves, lent=lent, now=now)
    except DomainError:
        return False
    return True


async def test_many_are_decided_each_by_itself(capture: Capture, ask: Ask, person: Any) -> None:
    """One that is refused holds up no other; each says why, as a call about it alone would."""
    files = [await ask(await capture(), 12000) for _ in range(3)]
    anna = await person("anna", "support_lead")
    stale, gone = files[1]["refund"], "0198d5f0-0000-7000-8000-00000000dead"
    items = [{"refund_id": file["refund"]["id"], "version": file["refund"]["version"]} for file in files]
    items[1]["version"] = stale["version"] + 1
    body = {"verdict": "approve", "items": [*items, {"refund_id": gone, "version": 1}], "comment": "checked them all"}

    answer = await anna.post("/refunds/bulk", body, key="bulk-1")

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["decided"], told["refused"]) == (2, 2)
    assert [item["ok"] for item in told["items"]] == [True, False, True, False]
    assert [item["refund"] and item["refund"]["state"] for item in told["items"]] == [
        "approved",
        None,
        "approved",
        None,
    ]
    assert [item["problem"] and item["problem"]["code"] for item in told["items"]] == [
        None,
        "version_conflict",
        None,
        "not_found",
    ]
    assert told["items"][1]["problem"]["status"] == 412
    again = await anna.post("/refunds/bulk", body, key="bulk-1")
    assert [item["ok"] for item in again.json()["items"]] == [True, False, True, False]
    assert await waiting(anna) == [stale["id"]]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"items": []}, 400, "items"),
        ({"items": [{"refund_id": examples.REFUND_ID, "version": 1}] * 2}, 422, "items"),
        ({"items": [{"refund_id": examples.REFUND_ID, "version": 0}]}, 400, "items[0].version"),
        ({"verdict": "reject"}, 422, "comment"),
        ({"verdict": "perhaps"}, 400, "verdict"),
    ],
)
async def test_a_bulk_that_makes_no_sense_is_refused_whole(
    person: Any, change: dict[str, Any], status: int, field: str
) -> None:
    """Before anything of it is done."""
    anna = await person("anna", "support_lead")

    answer = await anna.post("/refunds/bulk", examples.BULKS["approve"] | change)

    assert (answer.status_code, answer.json()["field"]) == (status, field)


async def test_a_key_says_by_what_roles_it_approves(api: Any) -> None:
    """Given when it is made, told by lists, and apart from what else it may do."""
    made = (
        await api.post("/api-keys", {"principal": " Anna ", "roles": ["viewer"], "approves": ["support_lead"]})
    ).json()

    assert (made["key"]["principal"], made["key"]["approves"]) == ("anna", ["support_lead"])
    assert made["key"] in (await api.get("/api-keys")).json()["items"]
    wrong = await api.post("/api-keys", {"principal": "x", "roles": ["viewer"], "approves": ["Support Lead"]})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "approves[0]")
    nobody = await api.post("/api-keys", {"principal": " ", "roles": ["viewer"]})
    assert (nobody.status_code, nobody.json()["code"]) == (400, "key_invalid")
