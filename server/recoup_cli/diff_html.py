"""The difference between policies as a page for whoever decides whether the new text goes live."""

from collections.abc import Iterator, Sequence
from typing import Final

from recoup_cli.report_html import Html, cards, heading, notes, page, paragraph, section, table
from recoup_core.rules.language.errors import shown
from recoup_core.rules.study.diff import Change, PolicyDiff
from recoup_core.rules.study.diff.text import NOTHING, SHORT, example_words

TITLE: Final = "What the new policies do differently"

_HOW: Final = (
    "The comparison covers every payment that can be described by the facts policies ask about; it is not a sample.",
    "It does not say how many payments there are of each sort: `recoup policy simulate` counts them in your history.",
    "An example shows only what differs from an ordinary payment.",
)


def diff_page(
    policies: Sequence[PolicyDiff], added: Sequence[str], removed: Sequence[str], about: Sequence[str], made: str
) -> str:
    """Return the page; `about` says what was compared, `made` when and by what."""
    return page(TITLE, about, _blocks(policies, added, removed), made)


def _blocks(policies: Sequence[PolicyDiff], added: Sequence[str], removed: Sequence[str]) -> Iterator[Html]:
    different = [each for each in policies if not each.same]
    changes = sum(
        sum(map(len, (each.changes, each.coverage, each.counted, each.evidence, each.balance, each.late)))
        for each in different
    )
    yield cards(
        (
            (f"{len(policies)}", "compared", "policies on both sides"),
            (f"{len(different)}", "mean something else", "or could not be decided in full"),
            (f"{changes}", "differences", "each with an example below"),
        )
    )
    if not (different or added or removed):
        yield paragraph("Nothing changes: the texts decide every payment alike.")
    for each in different:
        yield section(f"{each.kind} policy {each.new.name}", _policy(each), _texts(each))
    yield section("New policies", [notes(added)])
    yield section("Policies that are gone", [notes(removed)], "Other policies decide their payments now, or none.")
    alike = [each.new.name for each in policies if each.same]
    yield section("Policies that mean the same", [notes(alike)], "Whatever the words.")
    yield section("How to read this", [notes(_HOW)])


def _texts(diff: PolicyDiff) -> str:
    before = f"{diff.old.name}, " if diff.old.name != diff.new.name else ""
    return f"{before}version {diff.old.digest[:SHORT]} is held against version {diff.new.digest[:SHORT]}."


def _policy(diff: PolicyDiff) -> Iterator[Html]:
    if diff.coverage:
        yield heading("Payments it is for")
        rows = [
            (
                "now also for" if each.now else "no longer for",
                _example(each.given),
                _lines(each.outcome),
                f"{each.rule.rule} (line {each.rule.line})",
            )
            for each in diff.coverage
        ]
        yield table(("", "For instance", "What it does", "Rule"), rows)
    if diff.changes:
        yield heading("Other decisions")
        rows_of_changes = [_change(each) for each in diff.changes]
        yield table(("For instance", "Before", "After", "Rules"), rows_of_changes)
    yield notes((*diff.counted, *diff.evidence, *diff.balance, *diff.late))
    if diff.undecided:
        yield heading("Not decided")
        told = ", ".join(map(shown, diff.undecided))
        yield paragraph(f"These rules took too long to compare; more may differ there: {told}")
    if diff.renamed:
        yield heading("New names")
        yield notes([f"{old} is now called {new}" for old, new in diff.renamed])


def _change(change: Change) -> Sequence[str | Sequence[str]]:
    rules = list(dict.fromkeys(f"{pair.old.rule} → {pair.new.rule}" for pair in change.pairs))
    return _example(change.example), _lines(change.before), _lines(change.after), _lines(rules)


def _example(given: str) -> str:
    """Return an example's facts without the marks of a policy file."""
    return example_words(given) if given == NOTHING else given.removeprefix("{").removesuffix("}")


def _lines(lines: Sequence[str]) -> str | Sequence[str]:
    """Return a single line as a text, several as a list."""
    return lines[0] if len(lines) == 1 else lines
