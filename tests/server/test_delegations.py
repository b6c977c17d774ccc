"""Approval roles that are lent for a time."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from recoup_server import examples_refunds as examples

Capture = Callable[..., Awaitable[dict[str, Any]]]
Ask = Callable[..., Awaitable[dict[str, Any]]]

IN_A_MONTH = "2026-12-23T09:00:00Z"


async def waiting(who: Any) -> list[str]:
    """Return the refunds in somebody's queue."""
    return [item["refund"]["id"] for item in (await who.get("/approvals")).json()["items"]]


async def test_a_lent_role_decides_for_a_time(capture: Capture, ask: Ask, person: Any, clock: Any) -> None:
    """The approval keeps both names; revoked, the role is worth nothing at once."""
    files = [await ask(await capture(), 12000) for _ in range(2)]
    anna, cleo = await person("anna", "support_lead"), await person("cleo")
    lent = await anna.post("/delegations", {"delegate": "Cleo", "roles": ["support_lead"], "ends_at": IN_A_MONTH})
    assert lent.status_code == 201, lent.text
    assert (lent.json()["owner"], lent.json()["delegate"]) == ("anna", "cleo")

    (item, _) = (await cleo.get("/approvals")).json()["items"]
    assert (item["own"], item["on_behalf_of"]) == (False, ["anna"])
    approved = (await cleo.act(files[0], "approve")).json()
    assert approved["approvals"][0]["on_behalf_of"] == "anna"
    revoked = await anna.post(f"/delegations/{lent.json()['id']}/revoke")

    assert revoked.json()["revoked_at"] is not None
    assert await waiting(cleo) == []
    refused = await cleo.act(files[1], "approve")
    assert (refused.status_code, refused.json()["code"]) == (403, "approval_role_missing")
    again = await anna.post(f"/delegations/{lent.json()['id']}/revoke")
    assert (again.status_code, again.json()["code"]) == (409, "not_allowed_now")


async def test_a_delegation_ends_by_itself(capture: Capture, ask: Ask, person: Any, clock: Any) -> None:
    """At the moment that it says."""
    file = await ask(await capture(), 12000)
    anna, cleo = await person("anna", "support_lead"), await person("cleo")
    ends_at = (clock.now() + timedelta(hours=1)).isoformat()
    await anna.post("/delegations", {"delegate": "cleo", "roles": ["support_lead"], "ends_at": ends_at})
    assert await waiting(cleo) == [file["refund"]["id"]]

    clock.advance(timedelta(hours=1))

    assert await waiting(cleo) == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"roles": ["finance"]}, 422),
        ({"delegate": "ANNA"}, 422),
        ({"owner": "ben"}, 422),
        ({"ends_at": "2026-11-23T09:00:00Z"}, 422),
        ({"ends_at": "2027-11-23T09:00:00Z"}, 422),
        ({"roles": []}, 400),
        ({"roles": ["Support Lead"]}, 400),
        ({"ends_at": "2026-12-23"}, 400),
    ],
)
async def test_a_delegation_that_can_not_be_is_refused(person: Any, change: dict[str, Any], status: int) -> None:
    """Of what one doesn't have, to oneself, for others, without an end that is near."""
    anna = await person("anna", "support_lead")
    body = {"delegate": "cleo", "roles": ["support_lead"], "ends_at": IN_A_MONTH}

    answer = await anna.post("/delegations", body | change)

    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == ("delegation_invalid" if status == 422 else "invalid_request")


async def test_delegations_are_listed_with_those_that_are_over(api: Any, other: Any, person: Any) -> None:
    """Newest first, narrowed by owner and delegate; another merchant sees none and revokes none."""
    anna, ben = await person("anna", "support_lead"), await person("ben", "support_lead")
    body = {"roles": ["support_lead"], "ends_at": IN_A_MONTH}
    made = [
        (await anna.post("/delegations", body | {"delegate": "cleo"})).json()["id"],
        (await ben.post("/delegations", body | {"delegate": "cleo"})).json()["id"],
        (await ben.post("/delegations", body | {"delegate": "dora"})).json()["id"],
    ]
    await api.post(f"/delegations/{made[0]}/revoke")

    async def listed(**filters: Any) -> list[str]:
        return [item["id"] for item in (await api.get("/delegations", **filters)).json()["items"]]

    assert await listed() == [made[2], made[1], made[0]]
    assert await listed(owner="Ben") == [made[2], made[1]]
    assert await listed(delegate="cleo") == [made[1], made[0]]
    assert (await other.get("/delegations")).json()["items"] == []
    crossing = await other.post(f"/delegations/{made[1]}/revoke")
    assert (crossing.status_code, crossing.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("name", sorted(examples.DELEGATIONS))
async def test_the_documents_examples_are_taken(api: Any, person: Any, name: str) -> None:
    """One's own role, and by an administrator somebody else's."""
    body = examples.DELEGATIONS[name]
    owner = await person(body.get("owner", "tester-admin"), *body["roles"], role="admin")

    answer = await (api if "owner" in body else owner).post("/delegations", body)

    assert answer.status_code == 201, answer.text
    assert answer.json()["owner"] == body.get("owner", "tester-admin")
