"""Every recipe of the cookbook works as it stands, alone and beside the shipped policies, and its page shows it."""

import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from recoup_core.domain.decline import DeclineCategory, Retryable
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice
from recoup_core.rules.facts import RETRY, PolicyKind
from recoup_core.rules.language.actions.retry import RetrySpec, StopSpec
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.rules.sets.folder import PolicyFile, read_folder, review_set
from recoup_core.rules.study.self_test import self_test

ROOT = Path(__file__).parents[3]
COOKBOOK = ROOT / "docs" / "cookbook"
RECIPES = sorted(path.name for path in COOKBOOK.iterdir() if path.is_dir())
FILES = sorted(path.relative_to(COOKBOOK).as_posix() for path in COOKBOOK.glob("*/*.yaml"))
LEAST = {PolicyKind.RETRY: 8, PolicyKind.DUNNING: 4, PolicyKind.REFUND: 5}
HARD = {
    DeclineCategory.LOST_OR_STOLEN,
    DeclineCategory.FRAUD,
    DeclineCategory.REVOKED_MANDATE,
    DeclineCategory.UNKNOWN,
    DeclineCategory.AUTHENTICATION_REQUIRED,
    DeclineCategory.CONFIGURATION,
}
HEADINGS = {PolicyKind.RETRY: "Retries", PolicyKind.DUNNING: "Dunning", PolicyKind.REFUND: "Refunds"}


def files_of(recipe: str) -> list[PolicyFile]:
    files, problems = read_folder(COOKBOOK / recipe)
    assert problems == []
    return [PolicyFile(f"{recipe}/{file.name}", file.text) for file in files]


def kinds_of(recipe: str) -> set[PolicyKind]:
    return {parse_policy(file.text, source=file.name).kind for file in files_of(recipe)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_without_error_or_warning(recipe: str) -> None:
    """What people copy passes `recoup policy check --strict`, and both evaluators agree on it."""
    assert review_set(files_of(recipe), called=recipe)[1] == ()
    PolicyBook.load(COOKBOOK / recipe, EngineChoice.DURABLE_RULES).close()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_may_stand_beside_the_shipped_policies(recipe: str) -> None:
    """Dropped into the folder of a fresh install, it takes over what it is for and changes nothing else."""
    shipped, problems = read_folder(ROOT / "policies")

    assert problems == []
    assert review_set([*shipped, *files_of(recipe)], called="policies")[1] == ()


@pytest.mark.parametrize("name", FILES)
def test_every_way_through_a_recipe_is_tried(name: str) -> None:
    """Each rule, each `otherwise` and each branch of a condition has an example or a timeline."""
    tested = self_test(parse_policy((COOKBOOK / name).read_text(), source=name))

    assert [problem for result in tested.results for problem in result.problems] == []
    assert tested.coverage.percent == 100, tested.coverage.missing


@pytest.mark.parametrize("name", FILES)
def test_recipes_that_run_over_time_state_exact_times(name: str) -> None:
    """Whoever copies a retry or dunning policy sees when things happen."""
    policy = parse_policy((COOKBOOK / name).read_text(), source=name)

    assert policy.kind is PolicyKind.REFUND or any(step.at for line in policy.timelines for step in line.expect)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("/retry.yaml")])
def test_no_recipe_retries_what_must_never_be_retried_unattended(name: str) -> None:
    """Copied without a thought, a recipe does no harm: such declines stop, or ask the customer's other credential."""
    policy = parse_policy((COOKBOOK / name).read_text(), source=name)
    compiled = CompiledPolicy(policy, None)

    for decline, retryable, attempt, backup in product(DeclineCategory, Retryable, (1, 2, 3, 9), (True, False)):
        given = {"decline": decline.value, "retryable": retryable.value, "attempt": attempt, "has_backup": backup}
        action = compiled.verdict(RETRY.given(policy.baseline, given)).action
        if decline in HARD or retryable is not Retryable.YES:
            assert isinstance(action, StopSpec) or (isinstance(action, RetrySpec) and action.credential == "backup")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_page_shows_its_files_and_says_why(recipe: str) -> None:
    """A page that shows another text than the file is worse than none."""
    page = (COOKBOOK / f"{recipe}.md").read_text()

    shown = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert sorted(shown) == sorted(file.text for file in files_of(recipe))
    assert all(f"]({file.name})" in page for file in files_of(recipe))
    assert page.index("\n## Why so\n") < page.index("\n## What to watch\n")


def test_the_index_lists_every_recipe_by_kind() -> None:
    """What isn't listed isn't found."""
    sections = re.split(r"^## ", (COOKBOOK / "README.md").read_text(), flags=re.MULTILINE)[1:]
    listed = {text.partition("\n")[0]: set(re.findall(r"\]\(([\w-]+)\.md\)", text)) for text in sections}

    for kind, heading in HEADINGS.items():
        assert listed[heading] == {recipe for recipe in RECIPES if kind in kinds_of(recipe)}
    assert {page.stem for page in COOKBOOK.glob("*.md")} == {*RECIPES, "README"}


def test_there_are_recipes_of_every_kind() -> None:
    """An empty folder would pass all of the above."""
    found = Counter(kind for recipe in RECIPES for kind in kinds_of(recipe))

    assert len(RECIPES) >= 15
    assert all(found[kind] >= least for kind, least in LEAST.items())
