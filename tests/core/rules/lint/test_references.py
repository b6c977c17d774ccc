"""Words that policies refer to must be known: to the file of names, or to Recoup."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recoup_core.rules.language.errors import PolicyInvalid, Problem, Severity
from recoup_core.rules.language.names import Names, is_names, read_names
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.wiring import shipped_policies

Find = Callable[..., tuple[Problem, ...]]
NAMES = "kind: names\nroles: [lead, finance]\ngateways: [stripe]\nplans: [free, pro]\n"
RETRY = """kind: retry
name: cards
applies_to: {{method: card, gateway: {scope}}}
rules:
  - name: again
    when: {{any: [{{gateway: {asked}}}, {{subscription.plan: {{not: {plan}}}}}]}}
    retry: {{after: [1d], gateway: {named}}}
  - {{name: rest, stop: exhausted}}
examples:
  - {{given: {{gateway: {asked}}}, expect: again}}
  - {{given: {{gateway: other, subscription.plan: {plan}}}, expect: rest}}
"""


def retry(scope: str = "[stripe, other]", asked: str = "stripe", named: str = "stripe", plan: str = "free") -> str:
    return RETRY.format(scope=scope, asked=asked, named=named, plan=plan)


OF_OURS = "one of sandbox, stripe, adyen; list your own in a file of `kind: names`"


def told(found: tuple[Problem, ...]) -> list[tuple[str, int, str, str | None]]:
    return [(each.code, each.line, each.severity, each.hint) for each in found if each.code.startswith("unknown")]


def test_words_are_looked_for_wherever_they_may_stand(problems: Find) -> None:
    """In `applies_to`, in conditions and in actions, each with its near name."""
    found = problems(retry("[stripe, strpe, other]", "strip", "stipe", "fre").replace("strip}, e", "strpe}, e"), NAMES)

    assert told(found) == [
        ("unknown_gateway", 3, Severity.ERROR, "did you mean 'stripe'?"),
        ("unknown_gateway", 3, Severity.ERROR, "one of stripe"),
        ("unknown_gateway", 6, Severity.ERROR, "did you mean 'stripe'?"),
        ("unknown_plan", 6, Severity.ERROR, "did you mean 'free'?"),
        ("unknown_gateway", 7, Severity.ERROR, "did you mean 'stripe'?"),
    ]


def test_without_a_list_what_comes_with_recoup_counts(problems: Find) -> None:
    """A warning, for the installation may well know more; plans are the merchant's own."""
    found = problems(retry("[stripe, adyen, other]", plan="anything"))

    assert told(found) == [("unknown_gateway", 3, Severity.WARNING, OF_OURS)]


def test_all_levels_of_a_review_are_looked_at(problems: Find) -> None:
    """Also where the review is only what happens beyond an approval's bounds; and who takes over when it is late."""
    text = """kind: refund
name: r
applies_to: {method: card}
rules:
  - name: small
    when: {agent.role: leed}
    approve: {per_day: {EUR: 10.00}}
    otherwise: {review: {levels: [[lead], [financ, lead]]}}
  - {name: rest, review: {levels: [[leat]], within: 1d, escalate_to: [finanse]}}
examples:
  - {given: {agent.role: leed}, expect: small}
  - {given: {}, expect: rest}
"""
    assert [line for _, line, _, _ in told(problems(text, NAMES))] == [6, 8, 9, 9]


def test_shipped_policies_use_only_known_words(problems: Find) -> None:
    """What comes with Recoup is in its own lists."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(shipped_policies().rglob("*.yaml"))]

    assert told(problems(*texts)) == []


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("kind: names\n", True),
        ("# words\nkind: 'names'  # ours\nroles: [a]\n", True),
        ("kind: retry\nname: names\n", False),
        ("note: x\n  kind: names\n", False),
    ],
)
def test_a_file_says_itself_that_it_is_one_of_names(text: str, is_one: bool) -> None:
    """By its kind, at the top level."""
    assert is_names(text) is is_one


# text, then the codes and lines of what is wrong
WRONG = [
    ("kind: names\nrole: [a]\n", [("unknown_key", 2)]),
    ("kind: names\nnote: x\n", [("missing_key", 1)]),
    ("kind: names\nroles: lead\n", [("wrong_type", 2)]),
    ("kind: names\nroles: [a, b, a]\n", [("duplicate_value", 2)]),
    ("kind: names\nroles: ['a\"b']\n", [("bad_name", 2)]),
    ("kind: names\nroles: [[a]]\n", [("wrong_type", 2)]),
    ("kind: names\nroles: [a]\nroles: [b]\n", [("duplicate_key", 3)]),
    (f"kind: names\nplans: [{', '.join(f'p{n}' for n in range(1_001))}]\n", [("too_many", 2)]),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_mistakes_in_a_file_of_names_are_told(text: str, expected: list[tuple[str, int]]) -> None:
    """All at once, like those of a policy."""
    names, problems = read_names(text, source="names.yaml")

    assert names is None
    assert [(problem.code, problem.line) for problem in problems] == expected


def test_a_list_that_is_not_declared_is_free_or_recoups() -> None:
    """Declaring roles says nothing about templates."""
    names, _ = read_names("kind: names\nroles: [a]\n", source="names.yaml")

    assert names is not None
    assert names.words("roles") == ("a",)
    assert names.words("channels") == Names().words("channels")
    assert names.words("plans") is None


def test_a_second_file_of_names_is_refused(problems: Find) -> None:
    """Which one counts would be chance."""
    assert "duplicate_names" in {each.code for each in problems(retry(), NAMES, NAMES)}


def test_a_file_of_names_alone_is_right(problems: Find, tmp_path: Path) -> None:
    """It may be checked by itself, as a commit hook does; a service has nothing to decide with."""
    (tmp_path / "names.yaml").write_text(NAMES, encoding="utf-8")

    assert problems(NAMES) == ()
    with pytest.raises(PolicyInvalid, match="there is no policy file"):
        PolicyBook.load(tmp_path)


def test_a_folder_with_a_file_of_names_loads(tmp_path: Path) -> None:
    """It is no policy, and no mistake either."""
    (tmp_path / "cards.yaml").write_text(retry(), encoding="utf-8")
    (tmp_path / "names.yaml").write_text(NAMES.replace("[stripe]", "[stripe, other]"), encoding="utf-8")

    book = PolicyBook.load(tmp_path)

    assert [compiled.policy.name for compiled in book.policies] == ["cards"]
    book.close()
