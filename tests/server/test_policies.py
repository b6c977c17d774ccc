"""Policies over HTTP: which are in force, and whether a text would be accepted."""

from typing import Any

import pytest

from recoup_core.wiring import Service
from recoup_server.examples import POLICY


async def test_policies_in_force_are_listed(api: Any, service: Service) -> None:
    """By name, with the digest that cases are pinned to."""
    items = (await api.get("/policies")).json()["items"]

    assert {item["digest"] for item in items} == {compiled.digest for compiled in service.folder.policies}
    consumer = next(item for item in items if item["name"] == "cards-consumer")
    assert consumer["applies_to"] == {"method": ["card"]}
    assert consumer["rules"][-1] == "give up"
    assert consumer["engine"] in ("durable_rules", "closures")


async def test_a_good_text_is_valid(api: Any, service: Service) -> None:
    """A text that could replace the policy of its name gets the digest it would have."""
    text = next(c.policy.text for c in service.folder.policies if c.policy.name == "cards-consumer")

    answer = await api.post("/policies/check", {"text": text}, key=None)

    assert answer.status_code == 200
    assert answer.json()["valid"] is True
    assert len(answer.json()["digest"]) == 64


async def test_a_text_with_mistakes_gets_each_with_its_place(api: Any) -> None:
    """200 with `valid: false`: mistakes are what was asked for."""
    text = POLICY["text"].replace("retryable: yes}\n", "retriable: yes}\n")

    answer = await api.post("/policies/check", {"text": text, "name": "mine.yaml"})

    assert answer.status_code == 200
    found = answer.json()
    assert (found["valid"], found["digest"]) == (False, None)
    problem = found["problems"][0]
    assert (problem["file"], problem["code"]) == ("mine.yaml", "unknown_fact")
    assert problem["line"] == 6
    assert "retryable" in problem["hint"]


async def test_what_is_doubtful_is_told_beside_a_valid_text(api: Any, service: Service) -> None:
    """A warning of lint doesn't keep a text from being used."""
    text = next(c.policy.text for c in service.folder.policies if c.policy.name == "cards-consumer")
    text = text.replace("decline: [issuer_generic,", "decline: [unknown, issuer_generic,")

    found = (await api.post("/policies/check", {"text": text})).json()

    assert found["valid"] is True
    assert ("shadowed_rule", "warning") in {(each["code"], each.get("severity")) for each in found["problems"]}


async def test_a_file_of_names_is_no_policy(api: Any) -> None:
    """Nothing can be decided with it."""
    found = (await api.post("/policies/check", {"text": "kind: names\nroles: [lead]\n"})).json()

    assert (found["valid"], [each["code"] for each in found["problems"]]) == (False, ["no_policies"])


async def test_a_policy_that_clashes_with_one_in_force_is_told(api: Any) -> None:
    """The example covers all cards, as a shipped policy does: neither is narrower."""
    answer = await api.post("/policies/check", POLICY)

    assert answer.json()["valid"] is False
    assert [problem["code"] for problem in answer.json()["problems"]] == ["ambiguous"]


@pytest.mark.parametrize("text", ["", "[]", "a: &a [*a]", "\t", "kind: retry\n" * 3, "x: " + "[" * 5000])
async def test_any_text_is_answered(api: Any, text: str) -> None:
    """Whatever somebody pastes is checked, never a fault of ours."""
    answer = await api.post("/policies/check", {"text": text})

    assert (answer.status_code, answer.json()["valid"]) == (200, False)


async def test_a_card_number_in_a_policy_is_refused(api: Any) -> None:
    """Not even in a comment."""
    answer = await api.post("/policies/check", {"text": "# try 4111 1111 1111 1111\n"})

    assert (answer.status_code, answer.json()["code"]) == (400, "card_number_refused")
