"""`recoup policy diff`: the difference in meaning between files, folders and stored versions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Recoup = Callable[..., Any]
TEXT = """kind: retry
name: cards
applies_to: {method: card}
rules:
  - name: soft
    when: {decline: issuer_generic}
    retry: {after: [3d]}
  - {name: rest, stop: exhausted}
examples:
  - {given: {}, expect: soft}
  - {given: {decline: fraud}, expect: rest}
"""


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """`file("new", "3d", "4d")` writes the policy with something replaced."""

    def write(name: str, *replaced: str) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(TEXT.replace(*replaced) if replaced else TEXT, encoding="utf-8")
        return path

    return write


def test_two_files_are_compared_in_words(file: Any, recoup: Recoup) -> None:
    """What was done, what would be done, for instance for whom, and by which rules."""
    done = recoup("policy", "diff", file("old"), file("new", "3d", "4d"))

    assert done.code == 0
    assert done.out.splitlines()[1:] == [
        "~ an ordinary payment",
        "    - try again after 3d",
        "    + try again after 4d",
        "      'soft' (line 5) -> 'soft' (line 5)",
    ]


def test_other_words_are_no_difference(file: Any, recoup: Recoup) -> None:
    """Also with --exit-code, which is for pipelines."""
    done = recoup("policy", "diff", file("old"), file("new", "issuer_generic", "[issuer_generic]"), "--exit-code")

    assert (done.code, done.out.splitlines()[1:]) == (0, ["  no difference in meaning"])
    assert recoup("policy", "diff", file("old"), file("new", "3d", "4d"), "--exit-code").code == 1


def test_json_holds_everything(file: Any, recoup: Recoup) -> None:
    """For scripts."""
    told = json.loads(
        recoup("policy", "diff", file("old"), file("new", "{method: card}", "{country: DE}"), "--json").out
    )

    [diff] = told["policies"]
    assert [(each["now"], each["given"]) for each in diff["coverage"]] == [
        (False, "{country: AD}"),
        (True, "{method: sepa_debit}"),
    ]
    assert (told["added"], told["removed"]) == ([], [])


def test_folders_are_compared_policy_by_policy(file: Any, recoup: Recoup, tmp_path: Path) -> None:
    """By kind and name; those that mean the same are only counted, names files are no policies."""
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "names.yaml").write_text("kind: names\nroles: [lead]\n", encoding="utf-8")
    file("a/same")
    file("b/same")
    file("a/gone", "cards", "gone")
    file("b/fresh", "cards", "fresh")

    done = recoup("policy", "diff", tmp_path / "a", tmp_path / "b", "--exit-code")

    assert done.code == 1
    assert done.out.splitlines() == ["= 1 policy means the same", "+ retry/fresh is new", "- retry/gone is gone"]


def test_the_page_stands_alone(file: Any, recoup: Recoup, tmp_path: Path) -> None:
    """A manager opens it without us: nothing is loaded from elsewhere, nothing is left unescaped."""
    page = tmp_path / "page.html"
    new = file("new", "name: soft", "name: soft (R&D, 1)")
    text = new.read_text(encoding="utf-8").replace("expect: soft", "expect: soft (R&D, 1)")
    new.write_text(
        text.replace("expect: soft (R&D, 1)", 'expect: "soft (R&D, 1)"').replace("3d", "4d"), encoding="utf-8"
    )

    done = recoup("policy", "diff", file("old"), new, "--html", page)

    html = page.read_text(encoding="utf-8")
    assert f"the difference as a page: {page}" in done.out
    assert "<script" not in html
    assert "http://" not in html
    assert "R&amp;D" in html
    assert "R&D" not in html
    assert "try again after 4d" in html


@pytest.mark.parametrize("which", ["nowhere.yaml", "retry/cards@", "paper/cards@live"])
def test_what_is_not_there_is_said(file: Any, recoup: Recoup, which: str) -> None:
    """With what can be named."""
    done = recoup("policy", "diff", which, file("new"))

    assert done.code == 2
    assert done.err.startswith("recoup: there is no ")


def test_a_file_with_mistakes_is_refused(file: Any, recoup: Recoup) -> None:
    """With all of them, as in a check."""
    done = recoup("policy", "diff", file("old"), file("new", "expect: soft", "expect: sofd"))

    assert done.code == 1
    assert "no rule is named 'sofd'" in done.err


def test_a_stored_version_is_compared(configured: str, file: Any, recoup: Recoup) -> None:
    """The live one, or one by its digest: before a text is submitted, and after."""
    version = recoup("policy", "submit", file("old")).out.split()[1]
    recoup("policy", "activate", version)
    new = file("new", "3d", "4d")

    live = recoup("policy", "diff", "retry/cards@live", new)
    by_digest = recoup("policy", "diff", f"retry/cards@{version}", new)
    other = recoup("policy", "diff", "retry/others@live", new)

    assert "    + try again after 4d" in live.out.splitlines()
    assert by_digest.out == live.out
    assert (other.code, other.err.splitlines()[0]) == (1, "recoup: there is no version retry/others@live")
