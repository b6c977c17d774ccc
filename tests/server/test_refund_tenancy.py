"""Two merchants with the same names for everything: nothing of one is seen, used, held or counted for the other."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from recoup_server import examples_refunds as examples

Account = dict[str, Any]


@pytest.fixture
def both(
    api: Any, other: Any, a_captured: Callable[..., dict[str, Any]]
) -> Callable[..., Awaitable[tuple[Account, Account]]]:
    """`await both()` reports the same payment, by the same names, for each of the two merchants at their gateways."""

    async def report(**changes: Any) -> tuple[Account, Account]:
        body = a_captured(**changes)
        mine = await api.post("/payments/captured", body)
        theirs = await other.post("/payments/captured", {**body, "gateway": "sandbox-other"})
        assert (mine.status_code, theirs.status_code) == (201, 201), (mine.text, theirs.text)
        return mine.json(), theirs.json()

    return report


def of(account: Account, amount_minor: int = 1_000, **changes: Any) -> dict[str, Any]:
    return {**examples.PARTIAL, "payment_id": account["payment"]["id"], "amount_minor": amount_minor, **changes}


def of_order(account: Account, amount_minor: int, **changes: Any) -> dict[str, Any]:
    given = {"order_ref": account["payment"]["order_ref"], "amount_minor": amount_minor, "currency": "EUR"}
    return {**given, "reason": "requested_by_customer", **changes}


async def test_an_order_is_the_merchants_own(api: Any, other: Any, both: Any) -> None:
    """Two merchants number their orders alike: a refund of the one takes nothing of the other's payments."""
    mine, theirs = await both()

    whole = await api.post("/refunds", of_order(mine, 12_000))
    more = await api.post("/refunds", of_order(mine, 1))

    assert whole.status_code == 201, whole.text
    assert (more.status_code, more.json()["code"]) == (422, "refund_exceeds_refundable")
    left = (await other.get(f"/payments/{theirs['payment']['id']}/refundable")).json()
    assert (left["refundable_minor"], left["refunds"]) == (12_000, 0)
    assert (await other.get("/refunds", order=theirs["payment"]["order_ref"])).json()["items"] == []


async def test_another_merchants_payment_of_the_order_is_not_there(api: Any, both: Any) -> None:
    """Named in the same order, in a request, a preview or an edit: as if it did not exist."""
    mine, theirs = await both()
    split = [
        {"payment_id": mine["payment"]["id"], "amount_minor": 500},
        {"payment_id": theirs["payment"]["id"], "amount_minor": 500},
    ]
    as_given = of_order(mine, 1_000, spread="as_given", payments=split)
    held = (await api.post("/refunds", of_order(mine, 12_000))).json()
    version = {"If-Match": f'"{held["refund"]["version"]}"'}
    edit = {"amount_minor": 1_000, "payments": split}

    answers = [
        await api.post("/refunds", as_given),
        await api.post("/refunds/preview", as_given),
        await api.patch(f"/refunds/{held['refund']['id']}", edit),
        await api.post("/refunds", of(theirs)),
        await api.post("/refunds/preview", of(theirs)),
    ]
    edited = await api.client.patch(
        f"/api/billing/refund-retry-workflows/refunds/{held['refund']['id']}",
        json=edit,
        headers={"Authorization": f"Bearer {api.secret}", "Idempotency-Key": str(uuid4()), **version},
    )

    assert [each.status_code for each in answers] == [404, 404, 428, 404, 404]
    assert edited.status_code == 404, edited.text


async def test_a_dispute_is_the_merchants_own(api: Any, other: Any, both: Any) -> None:
    """The same name of a dispute at two accounts is two disputes; neither is told, read or answered by the other."""
    mine, theirs = await both()
    told = {**examples.DISPUTES["inquiry"], "payment_id": mine["payment"]["id"], "gateway_ref": f"dp_{uuid4()}"}
    dispute = (await api.post("/disputes", told)).json()

    elsewhere = await other.post("/disputes", told)
    capture = await other.post(
        "/disputes", {**told, "payment_id": theirs["payment"]["id"], "capture_id": dispute["capture_id"]}
    )
    answering = await other.post("/refunds", of(theirs, answers_dispute_id=dispute["id"]))
    same_name = await other.post("/disputes", {**told, "payment_id": theirs["payment"]["id"]})

    assert elsewhere.status_code == 404
    assert capture.status_code in {400, 404, 422}, capture.text
    assert answering.status_code in {400, 422}, answering.text
    assert same_name.status_code == 200, same_name.text
    assert same_name.json()["id"] != dispute["id"]
    assert (await other.get("/disputes", payment=mine["payment"]["id"])).json()["items"] == []


async def test_an_idempotency_key_is_the_merchants_own(api: Any, other: Any, both: Any) -> None:
    """The same key under the same words is two calls of two merchants."""
    mine, theirs = await both()
    key = str(uuid4())

    first = await api.post("/refunds", of_order(mine, 700), key=key)
    second = await other.post("/refunds", of_order(theirs, 700), key=key)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["refund"]["id"] != second.json()["refund"]["id"]
    assert second.headers.get("idempotent-replayed") is None


async def test_a_role_and_a_loan_count_for_one_merchant(
    api: Any, other: Any, both: Any, person: Any, merchants: tuple[str, str]
) -> None:
    """A finance person of one merchant, by the same name, is nobody at the other; nor is who they lend to."""
    _, theirs = await both(amount_minor=60_000, lines=[])
    file = (await other.post("/refunds", of(theirs, 12_000))).json()
    here = await person("anna", "support_lead", "finance")
    there = await person("anna", merchant=merchants[1])
    friend = await person("ben", merchant=merchants[1])
    lent = await here.post("/delegations", examples.DELEGATIONS["while_on_leave"] | {"delegate": "ben"})
    assert lent.status_code == 201, lent.text

    assert (await here.act(file, "approve")).status_code == 404
    for who in (there, friend):
        answer = await who.act(file, "approve")
        assert (answer.status_code, answer.json()["code"]) == (403, "approval_role_missing")
        assert (await who.get("/approvals")).json()["items"] == []
    assert (await other.get("/delegations")).json()["items"] == []
    assert (await other.post(f"/delegations/{lent.json()['id']}/revoke")).status_code == 404


async def test_what_one_merchant_approves_counts_on_no_other_day(
    api: Any, other: Any, both: Any, service: Any, merchants: tuple[str, str]
) -> None:
    """Bounds per day, per agent and per customer are each merchant's own, though both names are the same."""
    mine, theirs = await both(customer={"ref": f"cus-{uuid4()}", "country": "DE", "segment": "consumer"})
    first = (await api.post("/refunds", of(mine, 500))).json()
    second = (await other.post("/refunds", of(theirs, 300))).json()

    async with service.database.connection() as connection:
        tallies = await connection.fetch(
            "SELECT merchant_id, agent, amount_minor::bigint FROM refund_tally WHERE merchant_id = ANY($1::text[])",
            list(merchants),
        )
        told = await connection.fetchval(
            "SELECT situation::text FROM decision WHERE refund_id = $1::text::uuid", second["refund"]["id"]
        )

    assert [each["refund"]["state"] for each in (first, second)] == ["approved", "approved"]
    assert {(row["merchant_id"], row["agent"]): row["amount_minor"] for row in tallies} == {
        (merchants[0], ""): 500,
        (merchants[0], "tester-admin"): 500,
        (merchants[1], ""): 300,
        (merchants[1], "tester-admin"): 300,
    }
    situation = msgspec.json.decode(told)
    assert [situation.get(name) or [] for name in ("customer_refunds", "agent_day", "merchant_day")] == [[], [], []]


async def test_books_feed_and_tasks_tell_of_ones_own_alone(api: Any, other: Any, both: Any, run_due: Any) -> None:
    """Entries, exports, events and tasks of a refund are read by its merchant and by nobody else."""
    mine, theirs = await both(script="refused:declined")
    file = (await api.post("/refunds", of(mine, 500))).json()
    await run_due()
    secret = (file["refund"]["id"], mine["payment"]["id"], file["parts"][0]["id"])

    read = [
        (await other.get("/ledger/entries", payment=mine["payment"]["id"])),
        (await other.get("/ledger/entries", refund=file["refund"]["id"])),
        (await other.get("/ledger/entries")),
        (await other.get("/ledger/balances")),
        (await other.get("/ledger/trial-balance")),
        (await other.get("/ledger/export/csv")),
        (await other.get("/ledger/export/beancount")),
        (await other.get("/events")),
        (await other.get("/events", refund=file["refund"]["id"])),
        (await other.get("/tasks")),
    ]

    assert (await api.get("/tasks")).json()["items"]
    assert {answer.status_code for answer in read} == {200}
    for answer in read:
        assert not any(name in answer.text for name in secret), answer.request.url
    assert theirs["payment"]["id"] in (await other.get("/payments")).text
