"""Simulation over HTTP: on the merchant's own cases only, and nothing that could make an attempt in the answer."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.wiring import Service

Report = Callable[..., Awaitable[dict[str, Any]]]


def text_of(service: Service, name: str = "cards-consumer") -> str:
    """A policy in force."""
    return next(c.policy.text for c in service.folder.policies if c.policy.name == name)


def stricter(service: Service) -> str:
    """The consumers' policy without any retry for lack of funds."""
    text = text_of(service)
    start = text.index("    retry: {on: payday")
    return text[:start] + "    stop: needs_customer" + text[text.index("\n", start) :]


@pytest.fixture
def reported(report: Report, clock: Any) -> Report:
    """Report a payment that failed a minute ago."""

    async def send(**changes: Any) -> dict[str, Any]:
        opened = await report(**changes)
        clock.advance(timedelta(minutes=1))
        return opened

    return send


async def test_the_same_text_changes_nothing(api: Any, reported: Report, service: Service) -> None:
    """As if it had been activated once more."""
    await reported()

    answer = await api.post(
        "/policies/simulate", {"texts": [{"name": "same.yaml", "text": text_of(service)}]}, key=None
    )

    assert answer.status_code == 200, answer.text
    found = answer.json()["report"]
    assert found["read"]["cases"] == found["same"]["cases"] == 1
    assert found["changes"] == {}


async def test_what_would_change_is_told_in_figures_and_words(api: Any, reported: Report, service: Service) -> None:
    """With the case as an example, and no token anywhere."""
    opened = await reported(token="tok_approve")

    answer = await api.post(
        "/policies/simulate", {"texts": [{"name": "new.yaml", "text": stricter(service)}]}, key=None
    )

    found = answer.json()
    assert found["report"]["changes"]["stops"]["tally"]["cases"] == 1
    assert found["report"]["changes"]["stops"]["examples"][0]["case"] == opened["case"]["id"]
    assert any("stops where history went on: 1 case" in line for line in found["words"])
    assert "tok_" not in answer.text


async def test_only_the_merchants_own_cases_are_read(api: Any, other: Any, reported: Report, service: Service) -> None:
    """Another merchant's history is as empty as it is to them."""
    await reported()

    answer = await other.post(
        "/policies/simulate", {"texts": [{"name": "a.yaml", "text": stricter(service)}]}, key=None
    )

    assert answer.json()["report"]["read"]["cases"] == 0


async def test_the_latest_cases_of_the_period_are_taken(
    api: Any, reported: Report, service: Service, clock: Any
) -> None:
    """The limit keeps the newest, and the period is that in which cases were opened."""
    first = await reported()
    second = await reported()
    texts = [{"name": "new.yaml", "text": stricter(service)}]

    latest = await api.post("/policies/simulate", {"texts": texts, "limit": 1}, key=None)
    none = await api.post("/policies/simulate", {"texts": texts, "until": "2020-01-01T00:00:00Z"}, key=None)

    (example,) = latest.json()["report"]["changes"]["stops"]["examples"]
    assert first["case"]["id"] != example["case"] == second["case"]["id"]
    assert none.json()["report"]["read"]["cases"] == 0


async def test_notices_alone_are_refused(api: Any, service: Service) -> None:
    """An empty report would look as if nothing changed."""
    answer = await api.post(
        "/policies/simulate", {"texts": [{"name": "n.yaml", "text": text_of(service, "cards")}]}, key=None
    )

    assert answer.status_code == 422
    assert answer.json()["code"] == "no_history"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"texts": []}, 400, "invalid_request"),
        ({"limit": 10_001}, 400, "invalid_request"),
        ({"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 400, "invalid_request"),
        ({"since": "0001-01-01T00:00:00+14:00"}, 400, "invalid_request"),
        ({"until": "9999-12-31T23:59:59-14:00"}, 400, "invalid_request"),
        ({"texts": [{"name": "a.yaml", "text": "kind: retry"}]}, 422, "policy_invalid"),
    ],
)
async def test_what_cannot_be_simulated_is_refused(
    api: Any, service: Service, change: dict[str, Any], status: int, code: str
) -> None:
    """By a stable code, like everywhere."""
    body = {"texts": [{"name": "a.yaml", "text": text_of(service)}], **change}

    answer = await api.post("/policies/simulate", body, key=None)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_text_that_clashes_with_what_is_in_force_is_refused(api: Any, service: Service) -> None:
    """As it would be when it is activated."""
    text = text_of(service).replace("name: cards-consumer", "name: all-cards")

    answer = await api.post("/policies/simulate", {"texts": [{"name": "a.yaml", "text": text}]}, key=None)

    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
