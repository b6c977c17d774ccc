"""Every lint id has a page whose first example fires exactly that id and whose second one is fine."""

import re
from pathlib import Path

import pytest

from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.names import read_names
from recoup_core.rules.language.problem_codes import PROBLEM_CODES
from recoup_core.rules.sets.folder import PolicyFile, review_set
from recoup_core.wiring import shipped_policies

PAGES = Path(__file__).parents[4] / "docs" / "lint"
LINT = sorted(code for code, known in PROBLEM_CODES.items() if known.lint)
WITHOUT_EXAMPLES = {"lint_undecided"}
"""Fires only for policies too large for a page; tested in test_reachability."""


def blocks(code: str) -> list[str]:
    """Return the YAML examples of a page."""
    text = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)


def found_in(block: str) -> tuple[Problem, ...]:
    """Check the files of one example as a folder."""
    files = [PolicyFile(f"{number}.yaml", text) for number, text in enumerate(re.split(r"^---\n", block, flags=re.M))]
    return review_set(files, called="page")[1]


@pytest.mark.parametrize("code", [code for code in LINT if code not in WITHOUT_EXAMPLES])
def test_the_first_example_fires_the_id_and_the_second_is_fine(code: str) -> None:
    """Who looks up a finding sees one like it, and one way out; neither may be wrong."""
    fires, fine = blocks(code)

    assert {problem.code for problem in found_in(fires)} == {code}
    assert found_in(fine) == ()


@pytest.mark.parametrize("code", LINT)
def test_a_page_says_how_severe_it_is_and_what_it_costs(code: str) -> None:
    """A finding that doesn't say why it matters is switched off."""
    text = (PAGES / f"{code}.md").read_text(encoding="utf-8")

    assert text.startswith(f"# {code} ({'error' if code.startswith('unknown_') else PROBLEM_CODES[code].severity}")
    assert "**Why it costs money.**" in text
    assert "**How to mend it.**" in text


def test_the_index_lists_every_page_and_no_other() -> None:
    """A page that nothing leads to is not read."""
    index = (PAGES / "README.md").read_text(encoding="utf-8")

    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(LINT)
    assert {page.stem for page in PAGES.glob("*.md")} == {*LINT, "README"}


def test_the_file_of_names_in_the_index_is_one() -> None:
    """It is there to be copied."""
    names, problems = read_names(blocks("README")[0], source="names.yaml")

    assert problems == ()
    assert names is not None
    assert names.declared("plans")


def test_shipped_policies_have_nothing_to_find() -> None:
    """Who starts from them starts without a warning."""
    folder = shipped_policies()
    files = [PolicyFile(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.yaml"))]

    assert review_set(files, called="policies")[1] == ()
