"""Deploying folders: as a plan that is carried out whole or not at all, and at every start of a process."""

from pathlib import Path
from typing import Any

import pytest

from recoup_core.flows.deploy import Plan, PlanChanged, PlannedAct, apply_policies
from recoup_core.flows.versions import activate
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.sets.folder import PolicyFile, check_set, read_folder

LIVE = "SELECT name, digest FROM policy_version WHERE state = 'live' AND merchant_id IS NULL ORDER BY name"
EVERYTHING = "SELECT id, state, changed_at FROM policy_version ORDER BY id"


def files(*texts: str) -> list[PolicyFile]:
    """A folder's files."""
    return [PolicyFile(f"{number}.yaml", text) for number, text in enumerate(texts)]


def told(plan: Plan) -> dict[str, str]:
    """What a plan does, by name."""
    return {line.name: line.act.value for line in plan.lines}


async def test_a_deployment_makes_what_is_in_force_be_the_files(installation: Any) -> None:
    """New ones added, changed ones replaced, missing ones retired, the rest left alone."""
    service = await installation.start(
        installation.text("cards"),
        installation.text("german", "{method: card, country: DE}"),
        installation.text("sepa", "{method: sepa_debit}"),
    )
    folder = files(
        installation.text("cards"),
        installation.text("sepa", "{method: sepa_debit}", "new"),
        installation.text("ach", "{method: ach_debit}"),
    )

    plan = await apply_policies(service.context, folder, installation.by())

    assert told(plan) == {"ach": "add", "cards": "keep", "german": "remove", "sepa": "change"}
    assert [line.act for line in plan.changes] == [PlannedAct.ADD, PlannedAct.REMOVE, PlannedAct.CHANGE]
    digests = {policy.name: policy.digest for policy in check_set(folder, called="x").policies}
    assert dict(await installation.rows(service, LIVE)) == digests


async def test_deploying_again_changes_nothing(installation: Any) -> None:
    """No version, no event, no new number that would make every process look."""
    service = await installation.start(installation.text())
    folder = files(installation.text(note="new"))
    await apply_policies(service.context, folder, installation.by())
    before = [await installation.rows(service, sql) for sql in (EVERYTHING, "SELECT number FROM policy_epoch")]
    events = await installation.rows(service, "SELECT count(*) FROM event")

    plan = await apply_policies(service.context, folder, installation.by())

    assert plan.changes == ()
    assert [await installation.rows(service, s) for s in (EVERYTHING, "SELECT number FROM policy_epoch")] == before
    assert await installation.rows(service, "SELECT count(*) FROM event") == events


async def test_a_dry_run_tells_the_same_and_keeps_nothing(installation: Any) -> None:
    """It goes the whole way and is taken back."""
    service = await installation.start(installation.text())
    folder = files(installation.text(note="new"), installation.text("sepa", "{method: sepa_debit}"))
    before = await installation.rows(service, EVERYTHING)

    dry = await apply_policies(service.context, folder, installation.by(), dry_run=True)

    assert await installation.rows(service, EVERYTHING) == before
    assert dry == await apply_policies(service.context, folder, installation.by())


async def test_a_dry_run_finds_what_would_be_ambiguous_for_a_merchant(installation: Any) -> None:
    """Not only the files beside each other: each merchant's own versions count, too."""
    service = await installation.start(installation.text("all", "{}"))
    await installation.put_in_force(service, installation.text("own", "{method: card, segment: consumer}"), "other")
    folder = files(installation.text("all", "{}"), installation.text("german", "{method: card, country: DE}"))

    with pytest.raises(PolicyInvalid, match="for the merchant other"):
        await apply_policies(service.context, folder, installation.by(), dry_run=True)


async def test_one_bad_file_keeps_all_out(installation: Any) -> None:
    """Whole or not at all, and every problem at once."""
    service = await installation.start(installation.text())
    before = await installation.rows(service, EVERYTHING)
    good, bad = installation.text(note="new"), installation.text("sepa", "{metod: sepa_debit}")

    with pytest.raises(PolicyInvalid) as refusal:
        await apply_policies(service.context, files(good, bad, good), installation.by())

    assert {problem.code for problem in refusal.value.problems} == {"unknown_fact", "duplicate_policy"}
    assert await installation.rows(service, EVERYTHING) == before


async def test_an_agreed_plan_is_carried_out_or_nothing_is(installation: Any) -> None:
    """Somebody else was faster: what was agreed to is not what would happen now."""
    service = await installation.start(installation.text())
    folder = files(installation.text(note="new"))
    shown = await apply_policies(service.context, folder, installation.by(), dry_run=True)
    await installation.put_in_force(service, installation.text(note="faster"))
    live = await installation.rows(service, LIVE)

    with pytest.raises(PlanChanged):
        await apply_policies(service.context, folder, installation.by(), shown=shown)

    assert await installation.rows(service, LIVE) == live


async def test_a_merchants_deployment_leaves_the_house_alone(installation: Any) -> None:
    """The house's policies are none of the merchant's that could be missing from the files."""
    service = await installation.start(installation.text(), installation.text("sepa", "{method: sepa_debit}"))
    house = await installation.rows(service, LIVE)

    plan = await apply_policies(service.context, files(installation.text(note="own")), installation.by("other"))

    assert told(plan) == {"cards": "add"}
    assert await installation.rows(service, LIVE) == house
    ours, theirs = [(await installation.open_case(service, name)).case.policy_digest for name in ("other", "default")]
    assert ours == plan.lines[0].digest != theirs


async def test_an_old_text_is_deployed_again_as_the_version_it_was(installation: Any) -> None:
    """Git reverts are deployments like any other."""
    service = await installation.start(installation.text())
    (before,) = await installation.rows(service, "SELECT id FROM policy_version")
    await apply_policies(service.context, files(installation.text(note="new")), installation.by())

    await apply_policies(service.context, files(installation.text()), installation.by())

    assert await installation.rows(service, "SELECT id FROM policy_version WHERE state = 'live'") == [before]


# --- at every start


async def test_eight_processes_that_start_at_once_deploy_once(installation: Any) -> None:
    """One version a file, one event, whoever came first."""
    texts = installation.text("all", "{}"), installation.text()

    assert await installation.start_at_once(8, *texts) == 0

    service = await installation.start(*texts)
    assert await installation.rows(service, "SELECT name, state FROM policy_version ORDER BY name") == [
        ("all", "live"),
        ("cards", "live"),
    ]
    assert await installation.rows(service, "SELECT count(*) FROM event WHERE kind = 'policy.activated'") == [2]


async def test_an_unchanged_file_never_undoes_an_activation(installation: Any) -> None:
    """A process that restarts brings nothing back that somebody has replaced meanwhile."""
    service = await installation.start(installation.text())
    newer = await installation.put_in_force(service, installation.text(note="by hand"))

    restarted = await installation.start(installation.text())

    assert await installation.rows(restarted, LIVE) == [("cards", newer.digest)]


async def test_a_changed_file_is_deployed_by_a_start(installation: Any) -> None:
    """Also over what was put in force by hand: the file's change is the later word. Running processes follow."""
    service = await installation.start(installation.text())
    await installation.put_in_force(service, installation.text(note="by hand"))
    changed = installation.text(note="changed")

    await installation.start(changed)

    (policy,) = check_set(files(changed), called="x").policies
    assert await installation.rows(service, LIVE) == [("cards", policy.digest)]
    assert (await installation.open_case(service)).case.policy_digest == policy.digest


async def test_a_file_that_is_gone_takes_its_policy_along(installation: Any) -> None:
    """Unless something else was put in force under its name meanwhile. Coming back, it is deployed again."""
    sepa, ach = installation.text("sepa", "{method: sepa_debit}"), installation.text("ach", "{method: ach_debit}")
    service = await installation.start(installation.text(), sepa, ach)
    by_hand = await installation.put_in_force(service, installation.text("ach", "{method: ach_debit}", "by hand"))

    await installation.start(installation.text())

    live = dict(await installation.rows(service, LIVE))
    assert (set(live), live["ach"]) == ({"cards", "ach"}, by_hand.digest)
    await installation.start(installation.text(), sepa)
    assert set(dict(await installation.rows(service, LIVE))) == {"cards", "ach", "sepa"}


async def test_a_file_that_clashes_with_what_was_activated_keeps_the_process_from_starting(installation: Any) -> None:
    """Nothing of its folder is deployed; those that run go on."""
    service = await installation.start(installation.text("all", "{}"))
    german = await installation.bring(service, installation.text("german", "{country: DE}"))
    await activate(service.context, german.id, installation.by())
    live = await installation.rows(service, LIVE)

    with pytest.raises(PolicyInvalid, match="can both cover a payment"):
        await installation.start(installation.text("all", "{}", "new"), installation.text("cards"))

    assert await installation.rows(service, LIVE) == live
    assert (await installation.open_case(service)).case.policy_digest == german.digest


# --- folders


NAMES = "kind: names\nroles: [support_lead, finance]\n"


def test_a_file_of_names_is_no_policy(tmp_path: Path, installation_text: str) -> None:
    """It lies in the same folder, and is read for what it lists."""
    (tmp_path / "cards.yaml").write_text(installation_text)
    (tmp_path / "names.yaml").write_text(NAMES)

    checked = check_set(*read_folder(tmp_path), called="x")

    assert [policy.name for policy in checked.policies] == ["cards"]
    assert checked.names.words("roles") == ("support_lead", "finance")


@pytest.mark.parametrize(
    ("more", "code"),
    [({"more.yaml": NAMES}, "duplicate_names"), ({"names.yaml": NAMES.replace("roles", "rolls")}, "unknown_key")],
)
def test_names_that_are_wrong_or_listed_twice_are_problems(
    tmp_path: Path, installation_text: str, more: dict[str, str], code: str
) -> None:
    """Which of two lists counted would be chance."""
    for name, text in {"cards.yaml": installation_text, "names.yaml": NAMES, **more}.items():
        (tmp_path / name).write_text(text)

    with pytest.raises(PolicyInvalid) as refusal:
        check_set(*read_folder(tmp_path), called="x")

    assert code in {problem.code for problem in refusal.value.problems}


@pytest.fixture
def installation_text() -> str:
    """One policy's text."""
    return (
        "kind: retry\nname: cards\napplies_to: {method: card}\nrules:\n  - {name: only, stop: exhausted}\n"
        "examples:\n  - {given: {}, expect: only}\n"
    )
