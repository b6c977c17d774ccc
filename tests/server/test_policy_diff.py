"""The difference in meaning over HTTP: between texts, versions and what is in force."""

from typing import Any
from uuid import uuid4

import pytest

from recoup_core.wiring import Service
from recoup_server import examples

TEXT = examples.POLICY["text"]


async def test_two_texts_are_held_against_each_other(api: Any) -> None:
    """In words and as data."""
    answer = await api.post("/policies/diff", examples.DIFF)

    assert answer.status_code == 200
    told = answer.json()
    [change] = told["diff"]["changes"]
    assert (change["before"], change["after"]) == (["try again after 3d, 5d, 6d"], ["try again after 2d, 5d, 7d"])
    assert told["diff"]["same"] is False
    assert "    + try again after 2d, 5d, 7d" in told["words"]


async def test_a_text_is_held_against_what_it_would_replace(api: Any, service: Service) -> None:
    """Without an old one: the policy in force of the same kind and name."""
    live = next(each.policy for each in service.folder.policies if each.policy.name == "cards-consumer")
    text = live.text.replace("after: [1h, 6h,", "after: [2h, 6h,")

    diff = (await api.post("/policies/diff", {"new": {"text": text}})).json()["diff"]

    assert diff["old"]["digest"] == live.digest
    assert [change["example"] for change in diff["changes"]] == ["{decline: issuer_temporary}"]


async def test_a_version_is_seen_by_whose_it_is(api: Any, other: Any) -> None:
    """Another merchant's version does not exist."""
    version = (await api.post("/policies/versions", {"text": TEXT.replace("{method: card}", "{country: AQ}")})).json()
    asked = {"old": {"version_id": version["id"]}, "new": {"text": TEXT}}

    assert (await api.post("/policies/diff", asked)).json()["diff"]["old"]["digest"] == version["digest"]
    refused = await other.post("/policies/diff", asked)
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"new": {}}, 400, "invalid_request"),
        ({"new": {"text": TEXT, "version_id": str(uuid4())}}, 400, "invalid_request"),
        ({"new": {"text": TEXT}, "old": {}}, 400, "invalid_request"),
        ({"new": {"version_id": str(uuid4())}}, 404, "not_found"),
        ({"new": {"text": TEXT.replace("name: cards\n", "name: nobodys\n")}}, 404, "not_found"),
        ({"new": {"text": "kind: retry\n"}}, 422, "policy_invalid"),
    ],
    ids=["neither", "both", "an empty old one", "no such version", "nothing in force", "mistakes"],
)
async def test_what_can_not_be_compared_is_refused(api: Any, asked: dict[str, Any], status: int, code: str) -> None:
    """With a reason."""
    answer = await api.post("/policies/diff", asked)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_policies_of_two_kinds_are_not_compared(api: Any, service: Service) -> None:
    """They decide about different things."""
    refund = next(each.policy for each in service.folder.policies if each.policy.kind == "refund")

    answer = await api.post("/policies/diff", {"old": {"text": refund.text}, "new": {"text": TEXT}})

    assert (answer.status_code, answer.json()["code"]) == (422, "policy_kinds_differ")
