"""The workbench over HTTP: explanations of facts, texts, versions and cases; each merchant sees its own."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from recoup_core.storage.merchants import Role
from recoup_server import examples

Report = Callable[..., Awaitable[dict[str, Any]]]


async def test_facts_are_decided_by_what_is_in_force(api: Any) -> None:
    """With the policy, why not the others, each condition, and what it comes to: as data and in words."""
    answer = await api.post("/policies/explain", examples.EXPLAIN)

    assert answer.status_code == 200
    told = answer.json()
    explained = told["explained"]
    assert (explained["policy"], explained["kind"]) == ("cards-consumer", "retry")
    assert explained["facts"]["customer"]["tier"] == "gold"
    assert explained["outcome"]["type"] == "retry"
    assert {other["policy"] for other in explained["others"]} >= {"cards-business", "direct-debit"}
    fired = explained["explanation"]["rules"][-1]
    assert (fired["fired"], fired["conditions"][0]["verdict"]) == (True, "true")
    assert explained["not_reached"]
    assert told["words"] == explained["words"]
    assert told["words"][-1].startswith("=> try again at ")


async def test_every_kind_is_explained(api: Any) -> None:
    """Refunds by the refund policies in force."""
    asked = {"kind": "refund", "facts": {"reason": "duplicate", "amount": {"EUR": "20.00"}}}

    explained = (await api.post("/policies/explain", asked)).json()["explained"]

    assert (explained["kind"], explained["outcome"]["type"]) == ("refund", "approve")


async def test_a_text_is_asked_by_authors_only(api: Any, client: Any, service: Any, make_key: Any) -> None:
    """Whoever may only read asks what is in force."""
    assert (await api.post("/policies/explain", examples.EXPLAIN_TEXT)).status_code == 200

    for role in set(Role) - {Role.POLICY_AUTHOR, Role.ADMIN}:
        theirs = type(api)(client, await make_key(role), service)
        refused = await theirs.post("/policies/explain", examples.EXPLAIN_TEXT)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_text_with_mistakes_is_refused_with_all_of_them(api: Any) -> None:
    """As when it is submitted."""
    answer = await api.post("/policies/explain", {"text": "kind: retry\n"})

    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
    assert len(answer.json()["problems"]) >= 4


async def test_a_version_is_asked_by_whose_it_is(api: Any, other: Any) -> None:
    """Another merchant's version does not exist."""
    text = examples.POLICY["text"].replace("{method: card}", "{method: card, country: AQ}")
    version = (await api.post("/policies/versions", {"text": text})).json()
    asked = {"version_id": version["id"], "facts": {"country": "AQ"}}

    mine = await api.post("/policies/explain", asked)
    others = await other.post("/policies/explain", asked)

    assert mine.json()["explained"]["digest"] == version["digest"]
    assert (others.status_code, others.json()["code"]) == (404, "not_found")


async def test_a_cases_stored_decisions_are_told(api: Any, report: Report) -> None:
    """The latest first, each in words; one alone by its id."""
    opened = await report()
    case_id = opened["case"]["id"]

    told = (await api.post("/policies/explain", {"case_id": case_id})).json()

    first = told["case"]["decisions"][-1]
    assert told["explained"] is None
    assert first["kind"] == "retry"
    assert first["words"][0].startswith(("try again at ", "stop: "))
    alone = await api.post("/policies/explain", {"case_id": case_id, "decision_id": first["id"]})
    assert [each["id"] for each in alone.json()["case"]["decisions"]] == [first["id"]]


async def test_a_case_is_decided_again_and_left_alone(api: Any, report: Report) -> None:
    """What would be decided now; nothing is planned or stored."""
    opened = await report()
    case_id = opened["case"]["id"]
    before = (await api.get(f"/recovery-cases/{case_id}/timeline")).json()

    told = (await api.post("/policies/explain", {"case_id": case_id, "again": True})).json()["case"]

    assert told["now"][0]["kind"] == "retry"
    assert told["now"][0]["outcome"]["type"] == "retry"
    assert told["note"].startswith("a retry is planned for ")
    assert (await api.get(f"/recovery-cases/{case_id}/timeline")).json() == before


async def test_a_case_that_is_over_has_nothing_to_decide(api: Any, report: Report) -> None:
    """It says so instead."""
    case_id = (await report())["case"]["id"]
    assert (await api.post(f"/recovery-cases/{case_id}/cancel", examples.CANCEL)).status_code == 200

    told = (await api.post("/policies/explain", {"case_id": case_id, "again": True})).json()["case"]

    assert told["now"] == []
    assert "nothing is decided any more" in told["note"]


@pytest.mark.parametrize("again", [False, True])
async def test_another_merchants_case_is_not_found(api: Any, other: Any, report: Report, again: bool) -> None:
    """Nor one that nobody has."""
    case_id = (await report())["case"]["id"]

    for wanted in (case_id, str(uuid4())):
        answer = await other.post("/policies/explain", {"case_id": wanted, "again": again})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("again", [False, True])
async def test_no_token_leaves_with_an_explanation(api: Any, report: Report, again: bool) -> None:
    """Credentials are named by their ids."""
    case_id = (await report())["case"]["id"]

    answer = await api.post("/policies/explain", {"case_id": case_id, "again": again})

    assert "token" not in answer.text
    assert "tok_approve" not in answer.text


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"facts": {"atempt": 2}}, "facts.atempt"),
        ({"facts": {"amount": 49}}, "facts.amount"),
        ({"text": "x", "case_id": str(uuid4())}, "case_id"),
        ({"again": True}, "again"),
        ({"decision_id": str(uuid4())}, "decision_id"),
        ({"case_id": str(uuid4()), "facts": {"attempt": 2}}, "facts"),
        ({"case_id": str(uuid4()), "situation": {"used": 2}}, "situation"),
        ({"situation": {"zone": "Mars/Base"}}, "situation.zone"),
        ({"situation": {"now": "0001-01-01T00:00:00Z"}}, "situation.now"),
        ({"situation": {"retry_at": "9999-12-31T23:59:00Z"}}, "situation.retry_at"),
    ],
)
async def test_a_question_that_makes_no_sense_names_its_field(api: Any, asked: dict[str, Any], field: str) -> None:
    """400, and what is wrong with it."""
    answer = await api.post("/policies/explain", asked)

    assert (answer.status_code, answer.json().get("field")) == (400, field)


async def test_facts_that_nothing_covers_are_refused(api: Any) -> None:
    """422: the question was understood."""
    asked = {"kind": "refund", "facts": {"amount": {"EUR": "1.00"}, "payment_amount": {"USD": "1.00"}}}

    assert (await api.post("/policies/explain", asked)).json()["code"] == "currency_mismatch"
