"""The narrowest policy wins, no two can claim the same payment, and old versions stay at hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.engine.texts import MAX_PINNED
from recoup_core.rules.facts import RETRY
from recoup_core.rules.language.errors import NoPolicyApplies, PolicyInvalid
from recoup_core.rules.language.schema import digest_of
from recoup_core.rules.sets.book import PolicyBook

Write = Callable[..., None]
PLAIN = EngineChoice.CLOSURES


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(**scopes: str) -> None:
        for name, scope in scopes.items():
            (tmp_path / "retry").mkdir(exist_ok=True)
            (tmp_path / "retry" / f"{name}.yaml").write_text(text_of(name, scope))

    return write


def text_of(name: str, scope: str = "{}", note: str = "x") -> str:
    return (
        f"kind: retry\nname: {name}\nnote: {note}\napplies_to: {scope}\nrules:\n"
        "  - {name: only, stop: exhausted}\nexamples:\n  - {given: {}, expect: only}\n"
    )


def test_narrowest_policy_is_chosen(write: Write, tmp_path: Path) -> None:
    """Of those that cover the payment, the one inside all others."""
    write(
        all="{}",
        cards="{method: card}",
        business="{method: card, segment: business}",
        debits="{method: [sepa_debit, ach_debit]}",
        sepa="{method: sepa_debit, country: [DE, FR]}",
    )
    book = PolicyBook.load(tmp_path, PLAIN)

    def chosen(**facts: object) -> str:
        given = RETRY.baseline
        for name, value in facts.items():
            given = RETRY.with_fact(given, name, value)
        return book.choose("retry", given).policy.name

    assert chosen() == "cards"
    assert chosen(segment="business") == "business"
    assert chosen(segment=None) == "cards"
    assert chosen(method="ach_debit") == "debits"
    assert chosen(method="sepa_debit") == "sepa"
    assert chosen(method="sepa_debit", country="IT") == "debits"
    assert chosen(method="bacs_debit") == "all"


def test_no_policy_is_an_error(write: Write, tmp_path: Path) -> None:
    """Nothing is decided by a policy that is not meant."""
    write(cards="{method: card}")
    book = PolicyBook.load(tmp_path, PLAIN)

    with pytest.raises(NoPolicyApplies):
        book.choose("retry", RETRY.with_fact(RETRY.baseline, "method", "sepa_debit"))
    with pytest.raises(NoPolicyApplies):
        book.choose("refund", RETRY.baseline)


AMBIGUOUS = [
    ("{method: card}", "{method: card}"),
    ("{}", "{}"),
    ("{method: card, segment: business}", "{method: card, country: US}"),
    ("{method: [card, sepa_debit]}", "{method: [card, ach_debit]}"),
    ("{customer.tier: gold}", "{customer: {tier: [gold, silver]}, segment: consumer, country: DE}"),
]


@pytest.mark.parametrize(("one", "other"), AMBIGUOUS)
def test_two_claims_on_one_payment_are_refused(one: str, other: str, write: Write, tmp_path: Path) -> None:
    """Neither is strictly narrower: both are named."""
    write(first=one, second=other)

    with pytest.raises(PolicyInvalid) as refusal:
        PolicyBook.load(tmp_path, PLAIN)

    (problem,) = refusal.value.problems
    assert (problem.file, problem.line, problem.column, problem.code) == ("retry/second.yaml", 4, 13, "ambiguous")
    assert "'first'" in problem.message
    assert "'second'" in problem.message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{method: card}", "{method: sepa_debit}"),
        ("{}", "{country: DE}"),
        ("{method: [card, sepa_debit]}", "{method: card}"),
    ],
)
def test_separate_or_nested_claims_are_accepted(one: str, other: str, write: Write, tmp_path: Path) -> None:
    """Apart, or one strictly inside the other."""
    write(first=one, second=other)

    assert len(PolicyBook.load(tmp_path, PLAIN).policies) == 2


def test_problems_of_all_files_come_at_once(write: Write, tmp_path: Path) -> None:
    """One run over the folder tells everything."""
    write(good="{}", bad="{metod: card}", worse="{")
    (tmp_path / "latin.yaml").write_bytes(b"kind: retry\nname: \xff\n")
    (tmp_path / "passed-over.yml").write_text(text_of("x"))
    (tmp_path / "huge.yaml").write_bytes(b"#" * (256 * 1024 + 1))
    (tmp_path / "same-name.yaml").write_text(text_of("good", "{method: card}"))

    with pytest.raises(PolicyInvalid) as refusal:
        PolicyBook.load(tmp_path, PLAIN)

    assert {(p.file, p.line, p.code) for p in refusal.value.problems} == {
        ("retry/bad.yaml", 4, "unknown_fact"),
        ("retry/worse.yaml", 6, "yaml"),
        ("latin.yaml", 2, "not_utf8"),
        ("passed-over.yml", 1, "file_name"),
        ("huge.yaml", 1, "too_large"),
        ("same-name.yaml", 1, "duplicate_policy"),
    }


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    """A wrong path must not look like a policy that stops everything."""
    with pytest.raises(PolicyInvalid, match="no policy file"):
        PolicyBook.load(tmp_path)


def test_digest_is_that_of_the_file(write: Write, tmp_path: Path) -> None:
    """Line ends are part of the text: what is stored is what was read, byte for byte."""
    text = text_of("a").replace("\n", "\r\n")
    (tmp_path / "a.yaml").write_bytes(text.encode())

    book = PolicyBook.load(tmp_path, PLAIN)

    found = book.by_digest(digest_of(text))
    assert found is book.policies[0]
    assert found is not None
    assert found.policy.text == text


def test_old_versions_are_kept_and_never_chosen(write: Write, tmp_path: Path) -> None:
    """A running case finds its version by digest; new cases never get it."""
    write(a="{}")
    book = PolicyBook.load(tmp_path)
    old = text_of("a", note="old")
    assert book.by_digest(digest_of(old)) is None

    added = book.add(old, "version of 2026-01-01")

    assert book.by_digest(digest_of(old)) is added
    assert book.add(old, "again") is added
    assert book.choose("retry", RETRY.baseline) is book.policies[0]
    assert book.add(book.policies[0].policy.text, "current") is book.policies[0]
    book.close()


def test_the_cache_of_old_versions_is_bounded(write: Write, tmp_path: Path) -> None:
    """The version unused for longest makes room; whoever holds it still gets verdicts."""
    write(a="{}")
    book = PolicyBook.load(tmp_path)
    first = book.add(text_of("a", note="0"), "0")
    second = book.add(text_of("a", note="1"), "1")
    for number in range(2, MAX_PINNED):
        book.add(text_of("a", note=str(number)), str(number))
    assert book.by_digest(first.digest) is first  # used: now `second` is the oldest

    book.add(text_of("a", note="one more"), "one more")

    assert book.by_digest(first.digest) is first
    assert book.by_digest(second.digest) is None
    assert second.verdict(RETRY.baseline).name == "only"
    assert (first.fallbacks, second.fallbacks) == (0, 1)
    book.close()


def test_invalid_old_text_is_refused(write: Write, tmp_path: Path) -> None:
    """A stored text that no longer reads says why."""
    write(a="{}")
    book = PolicyBook.load(tmp_path, PLAIN)

    with pytest.raises(PolicyInvalid):
        book.add("kind: retry\n", "stored")
