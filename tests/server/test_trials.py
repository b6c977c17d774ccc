"""Shadows, experiments and moved cases over HTTP: a merchant's own, the house's, and nobody else's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from recoup_core.domain.experiment import Experiment
from recoup_core.domain.versions import VersionOrigin
from recoup_core.flows.desk import Change
from recoup_core.flows.experiments import Setup
from recoup_core.flows.experiments import start as begin
from recoup_core.flows.experiments import stop as end
from recoup_core.flows.shadow import follow_shadows
from recoup_core.flows.versions import submit as bring
from recoup_core.wiring import Service

Report = Callable[..., Awaitable[dict[str, Any]]]


def text_of(days: int, name: str = "cards-consumer", scope: str = "{method: card}") -> str:
    """A policy that waits so many days once, then gives up; by default in place of the house's of that name."""
    return (
        f"kind: retry\nname: {name}\napplies_to: {scope}\nrules:\n"
        f"  - {{name: wait, when: {{attempt: 1}}, retry: {{after: [{days}d]}}}}\n"
        "  - {name: give up, stop: exhausted}\nexamples:\n  - {given: {}, expect: wait}\n"
        "  - {given: {attempt: 2}, expect: give up}\n"
    )


async def version_of(api: Any, text: str, *acts: str) -> dict[str, Any]:
    """Bring a text in and do something with it."""
    version: dict[str, Any] = (await api.post("/policies/versions", {"text": text}, key=None)).json()
    for act in acts:
        answer = await api.post(f"/policies/versions/{version['id']}/{act}", key=None)
        assert answer.status_code == 200, answer.text
    return version


async def start(api: Any, version: dict[str, Any], **body: Any) -> Any:
    """Start an experiment on a version."""
    return await api.post(f"/policies/versions/{version['id']}/experiment", {"share_bp": 5_000} | body, key=None)


async def reported(api: Any, a_payment: Callable[..., dict[str, Any]], number: int) -> dict[str, Any]:
    """Report a failed payment of one of many customers; return its case."""
    body = a_payment(code="generic_decline")
    answer = await api.post("/payments", body | {"customer": body["customer"] | {"ref": f"customer-{number}"}})
    assert answer.status_code == 202, answer.text
    case: dict[str, Any] = answer.json()["case"]
    return case


async def migrate(api: Any, **body: Any) -> dict[str, Any]:
    """Move running cases, or look at what that would do."""
    answer = await api.post("/recovery-cases/migrate", body, key=None)
    assert answer.status_code == 200, answer.text
    moves: dict[str, Any] = answer.json()
    return moves


@pytest.fixture
async def experiment(api: Any) -> dict[str, Any]:
    """Half of the new cases wait five days instead of two."""
    await version_of(api, text_of(2), "activate")
    answer = await start(api, await version_of(api, text_of(5)))
    assert answer.status_code == 201, answer.text
    started: dict[str, Any] = answer.json()
    return started


@pytest.fixture
async def of_the_house(service: Service) -> AsyncIterator[Experiment]:
    """An experiment of the house in which nobody is treated: other tests' cases are in it, too."""
    change = Change(merchant_id=None, actor="operator:otto", origin=VersionOrigin.CLI)
    version = (await bring(service.context, text_of(7), "house.yaml", change)).version
    experiment = await begin(service.context, version.id, Setup(share_bp=0), change)
    yield experiment
    await end(service.context, experiment.id, "the test is over", change)


async def test_shadow_lists_what_it_would_have_decided(
    api: Any, other: Any, service: Service, report: Report, clock: Any
) -> None:
    """Page by page, newest first; another merchant finds no such version."""
    await version_of(api, text_of(2), "activate")
    version = await version_of(api, text_of(5), "shadow")
    cases = []
    for _ in range(3):
        clock.advance(timedelta(seconds=1))
        cases.append((await report(code="generic_decline"))["case"]["id"])
    await follow_shadows(service.context, clock.now())
    path = f"/policies/versions/{version['id']}/shadow"

    first = (await api.get(path, limit=2)).json()
    second = (await api.get(path, limit=2, cursor=first["next_cursor"])).json()
    whole = (await api.get(path, limit=3)).json()

    assert (first["decided"], first["differed"]) == (3, 3)
    listed = first["differences"] + second["differences"]
    assert [each["case_id"] for each in listed] == cases[::-1]
    assert (second["next_cursor"], whole["next_cursor"]) == (None, None)
    assert {(each["rule"], each["shadow_rule"]) for each in listed} == {("wait", "wait")}
    assert all(each["outcome"]["at"] < each["shadow_outcome"]["at"] for each in listed)
    assert (await other.get(path)).status_code == 404
    assert (await api.get(path, cursor="nonsense")).json()["code"] == "bad_cursor"


async def test_experiment_deals_new_cases(
    api: Any, a_payment: Callable[..., dict[str, Any]], experiment: dict[str, Any]
) -> None:
    """Each case is under one of the two versions, and the report counts customers with their arms."""
    digests = [(await reported(api, a_payment, number))["policy_digest"] for number in (*range(12), 0, 1)]

    found = (await api.get(f"/policies/experiments/{experiment['id']}")).json()

    assert len(set(digests)) == 2
    assert digests[-2:] == digests[:2]
    assert (experiment["share_bp"], experiment["house"], experiment["stopped_at"]) == (5_000, False, None)
    assert found["experiment"] == experiment
    assert found["control"]["opened"] == digests[:12].count(experiment["control_digest"])
    assert found["control"]["opened"] + found["treatment"]["opened"] == 12
    assert (found["verdict"], found["difference"], found["always_valid"]) == ("too_early", None, None)
    assert found["control"]["rate"] is None


async def test_report_shows_rates_and_money_once_cases_matured(
    api: Any, a_payment: Callable[..., dict[str, Any]], experiment: dict[str, Any], clock: Any
) -> None:
    """Rates with their bounds, money by currency, the difference with both kinds of bounds."""
    for number in range(12):
        await reported(api, a_payment, number)
    clock.advance(timedelta(days=31))

    found = (await api.get(f"/policies/experiments/{experiment['id']}")).json()

    arms = found["control"], found["treatment"]
    assert sum(arm["matured"] for arm in arms) == 12
    assert all(arm["rate"]["low"] == 0 < arm["rate"]["high"] < 1 for arm in arms)
    assert sum(sum(arm["owed_minor"].values()) for arm in arms) == 12 * a_payment()["amount_minor"]
    assert found["always_valid"]["low"] < found["difference"]["low"] < 0 < found["difference"]["high"]


async def test_share_is_ramped_and_the_experiment_stopped(api: Any, experiment: dict[str, Any]) -> None:
    """Afterwards neither is possible, and the version is in shadow."""
    path = f"/policies/experiments/{experiment['id']}"

    ramped = await api.post(f"{path}/ramp", {"share_bp": 9_000}, key=None)
    stopped = await api.post(f"{path}/stop", {"because": "it recovers more"}, key=None)

    assert (ramped.status_code, ramped.json()["share_bp"]) == (200, 9_000)
    assert (stopped.status_code, stopped.json()["stopped_because"]) == (200, "it recovers more")
    version = (await api.get(f"/policies/versions/{experiment['version_id']}")).json()
    assert version["state"] == "shadow"
    for what, body in (("ramp", {"share_bp": 1}), ("stop", {"because": "again"})):
        refused = await api.post(f"{path}/{what}", body, key=None)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_allowed_now")


async def test_experiments_are_listed_page_by_page(api: Any, other: Any, experiment: dict[str, Any]) -> None:
    """Newest first, ended ones too; other merchants' are not among them."""
    ids = [experiment["id"]]
    version = {"id": experiment["version_id"]}
    for _ in range(2):
        await api.post(f"/policies/experiments/{ids[0]}/stop", {"because": "next"}, key=None)
        ids.insert(0, (await start(api, version)).json()["id"])

    first = (await api.get("/policies/experiments", limit=2)).json()
    second = (await api.get("/policies/experiments", limit=2, cursor=first["next_cursor"])).json()

    assert [each["id"] for each in first["items"]] == ids[:2]
    assert second["items"][0]["id"] == ids[2]
    assert experiment["id"] not in [each["id"] for each in (await other.get("/policies/experiments")).json()["items"]]


async def test_what_can_not_be_started_is_refused(api: Any, experiment: dict[str, Any]) -> None:
    """A second one under the name, a live version, a name of which nothing is live, a refund policy, odd figures."""
    control = (await api.get("/policies/versions", name="cards-consumer", state="live", limit=1)).json()["items"][0]
    second = await version_of(api, text_of(9))
    alone = await version_of(api, text_of(9, "alone"))

    def told(answer: Any) -> tuple[int, str]:
        return answer.status_code, answer.json()["code"]

    assert told(await start(api, second)) == (409, "not_allowed_now")
    assert told(await start(api, alone)) == (409, "not_allowed_now")
    assert told(await start(api, control)) == (409, "not_allowed_now")
    assert told(await start(api, {"id": uuid4()})) == (404, "not_found")
    for wrong in ({"share_bp": 10_001}, {"share_bp": -1}, {"maturity_days": 0}, {"min_matured": 0}, {"salt": "x"}):
        assert told(await start(api, second, **wrong))[0] == 400
    assert told(await start(api, second, share_bp="10"))[0] == 400


async def test_other_merchants_find_nothing(api: Any, other: Any, experiment: dict[str, Any], report: Report) -> None:
    """Not the version, not the experiment, not the cases."""
    await report(code="generic_decline")
    version, running = experiment["version_id"], f"/policies/experiments/{experiment['id']}"

    answers = [
        await other.get(running),
        await other.post(f"{running}/ramp", {"share_bp": 1}, key=None),
        await other.post(f"{running}/stop", {"because": "mine now"}, key=None),
        await other.post(f"/policies/versions/{version}/experiment", {"share_bp": 1}, key=None),
        await other.get(f"/policies/versions/{version}/shadow"),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert (await migrate(other))["items"] == []
    digest = (await api.get(f"/policies/versions/{version}")).json()["digest"]
    foreign = await other.post("/recovery-cases/migrate", {"to_digest": digest}, key=None)
    assert (foreign.status_code, foreign.json()["code"]) == (422, "policy_unknown")
    assert (await api.get(running)).json()["experiment"]["share_bp"] == 5_000


async def test_the_houses_experiments_are_seen_and_not_changed(
    api: Any, other: Any, of_the_house: Experiment, report: Report
) -> None:
    """A merchant reads what its own cases show, and nothing of others'."""
    await report(code="generic_decline")
    path = f"/policies/experiments/{of_the_house.id}"

    mine, theirs = (await api.get(path)).json(), (await other.get(path)).json()

    assert mine["experiment"]["house"] is True
    assert (mine["control"]["opened"], theirs["control"]["opened"]) == (1, 0)
    assert str(of_the_house.id) in [each["id"] for each in (await api.get("/policies/experiments")).json()["items"]]
    for what, body in (("ramp", {"share_bp": 1}), ("stop", {"because": "mine"})):
        refused = await api.post(f"{path}/{what}", body, key=None)
        assert (refused.status_code, refused.json()["code"]) == (403, "house_version")
    refused = await start(api, {"id": of_the_house.version_id})
    assert (refused.status_code, refused.json()["code"]) == (403, "house_version")


async def test_running_cases_are_looked_at_and_moved(api: Any, report: Report) -> None:
    """A dry run, which is the default, writes nothing; then it is done, once."""
    old = await version_of(api, text_of(2), "activate")
    ids = [(await report(code="generic_decline"))["case"]["id"] for _ in range(3)]
    new = await version_of(api, text_of(5), "activate")

    dry = await migrate(api, under_digest=old["digest"])
    named = await migrate(api, case_ids=ids[:1], dry_run=False)
    rest = await migrate(api, under_digest=old["digest"], after=ids[0], dry_run=False)
    again = await migrate(api, dry_run=False)

    assert (dry["dry_run"], dry["movable"], dry["next_after"]) == (True, 3, None)
    assert [item["case_id"] for item in dry["items"]] == ids
    assert {(item["from_digest"], item["to_digest"]) for item in dry["items"]} == {(old["digest"], new["digest"])}
    assert all(item["before"]["at"] < item["after"]["at"] for item in dry["items"])
    assert (named["dry_run"], named["movable"], rest["movable"]) == (False, 1, 2)
    assert {item["refused"] for item in again["items"]} == {"the case is under this version already"}
    for case_id in ids:
        case = (await api.get(f"/recovery-cases/{case_id}")).json()["case"]
        assert case["policy_digest"] == new["digest"]


async def test_case_that_the_version_does_not_cover_stays(api: Any, report: Report) -> None:
    """It is told apart; the others are moved."""
    case = (await report(code="generic_decline"))["case"]
    narrow = await version_of(api, text_of(1, "bank", "{method: sepa_debit}"))

    done = await migrate(api, to_digest=narrow["digest"], dry_run=False)

    assert [item["refused"] for item in done["items"]] == ["the policy bank does not cover this payment"]
    assert (await api.get(f"/recovery-cases/{case['id']}")).json()["case"]["policy_digest"] == case["policy_digest"]


@pytest.mark.parametrize(
    "body",
    [{"kind": "refund"}, {"case_ids": []}, {"to_digest": "abc"}, {"under": "x"}, {"dry_run": "no"}, {"after": 1}],
)
async def test_what_can_not_be_meant_is_refused(api: Any, body: dict[str, Any]) -> None:
    """Before any case is looked at, with the field."""
    answer = await api.post("/recovery-cases/migrate", body, key=None)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_no_card_number_gets_into_a_reason(api: Any, experiment: dict[str, Any]) -> None:
    """What an operator writes is kept for good."""
    answer = await api.post(
        f"/policies/experiments/{experiment['id']}/stop", {"because": "see 4242 4242 4242 4242"}, key=None
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "card_number_refused")
