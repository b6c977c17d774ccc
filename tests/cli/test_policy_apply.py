"""`recoup policy apply`: a folder becomes what is in force, after it was shown what that changes."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

Recoup = Callable[..., Any]


def text_of(name: str, scope: str, note: str = "x") -> str:
    return (
        f"kind: retry\nname: {name}\nnote: {note}\napplies_to: {scope}\nrules:\n"
        "  - {name: only, stop: exhausted}\nexamples:\n  - {given: {}, expect: only}\n"
    )


CARDS = text_of("cards", "{method: card}")
SEPA = text_of("sepa", "{method: sepa_debit}")


def short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two policies."""
    found = tmp_path / "policies"
    found.mkdir()
    (found / "cards.yaml").write_text(CARDS)
    (found / "sepa.yaml").write_text(SEPA)
    return found


def test_a_folder_is_deployed_and_the_second_run_has_nothing_to_do(
    configured: str, folder: Path, recoup: Recoup
) -> None:
    """A plan with a sign for each change, then what was done."""
    first = recoup("policy", "apply", folder, "--yes")
    again = recoup("policy", "apply", folder)

    assert (first.code, first.out.splitlines()) == (
        0, [f"+ retry/cards  {short(CARDS)}", f"+ retry/sepa  {short(SEPA)}", "plan: 2 new", "done: 2 changes"]
    )  # fmt: skip
    assert (again.code, again.out.splitlines()) == (0, ["= 2 unchanged", "nothing to do"])


def test_what_changes_and_what_goes_is_shown(configured: str, folder: Path, recoup: Recoup) -> None:
    """Old and new digest of a change; a policy without a file is retired."""
    recoup("policy", "apply", folder, "--yes")
    changed = text_of("cards", "{method: card}", "changed")
    (folder / "cards.yaml").write_text(changed)
    (folder / "sepa.yaml").unlink()

    dry = recoup("policy", "apply", folder, "--dry-run")
    live = recoup("policy", "versions", "--state", "live").out
    done = recoup("policy", "apply", folder, "--yes")

    plan = [f"~ retry/cards  {short(CARDS)} -> {short(changed)}", f"- retry/sepa  {short(SEPA)}"]
    plan.append("plan: 1 changed, 1 retired: no file has them")
    assert dry.out.splitlines() == plan
    assert short(CARDS) in live
    assert short(SEPA) in live
    assert done.out.splitlines() == [*plan, "done: 2 changes"]
    assert recoup("policy", "versions", "--state", "live").out.split()[1] == short(changed)


def test_where_nobody_can_answer_nothing_is_done(
    configured: str, folder: Path, recoup: Recoup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline has to say --yes."""
    monkeypatch.setattr("sys.stdin", (folder / "cards.yaml").open())

    done = recoup("policy", "apply", folder)

    assert (done.code, done.err.splitlines()[0]) == (2, "recoup: nobody can be asked here")
    assert recoup("policy", "versions").out == ""


def test_a_folder_with_mistakes_is_refused_with_all_of_them(configured: str, folder: Path, recoup: Recoup) -> None:
    """Files that can't be used, and files that clash; nothing is deployed."""
    (folder / "notes.yml").write_text(CARDS)
    refused = recoup("policy", "apply", folder, "--yes")
    assert (refused.code, "notes.yml:1:1: a policy file must end in .yaml" in refused.err) == (1, True)
    (folder / "notes.yml").unlink()
    (folder / "more.yaml").write_text(text_of("more", "{method: card}"))

    refused = recoup("policy", "apply", folder, "--yes")

    assert (refused.code, "can both cover a payment" in refused.err) == (1, True)
    assert recoup("policy", "versions").out == ""
