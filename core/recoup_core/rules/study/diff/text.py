"""The difference between policies in words, line by line."""

from collections.abc import Iterator, Sequence
from typing import Final

from recoup_core.rules.language.errors import shown
from recoup_core.rules.study.diff.model import Change, Coverage, PolicyDiff

SHORT: Final = 12
"""Characters of a digest that are shown."""

MAX_PAIRS: Final = 5
"""Pairs of rules told for one change; the others are counted."""

NOTHING: Final = "{}"
"""An example that gives nothing: the baseline."""

ORDINARY: Final = "an ordinary payment"


def folder_lines(policies: Sequence[PolicyDiff], added: Sequence[str], removed: Sequence[str]) -> Iterator[str]:
    """Yield the difference between two sets of policies; those that mean the same are only counted."""
    for number, each in enumerate(each for each in policies if not each.same or each.renamed):
        if number:
            yield ""
        yield from diff_lines(each)
    same = sum(each.same and not each.renamed for each in policies)
    if same == len(policies) == 1 and not (added or removed):
        yield from diff_lines(policies[0])
    elif same:
        yield f"= {same} {'policies mean' if same > 1 else 'policy means'} the same"
    yield from (f"+ {name} is new" for name in added)
    yield from (f"- {name} is gone" for name in removed)


def diff_lines(diff: PolicyDiff) -> Iterator[str]:
    """Yield the difference between two texts of a policy."""
    name = diff.new.name if diff.old.name == diff.new.name else f"{diff.old.name} -> {diff.new.name}"
    yield f"{diff.kind}/{name}  {diff.old.digest[:SHORT]} -> {diff.new.digest[:SHORT]}"
    if diff.same:
        yield "  no difference in meaning"
    for coverage in diff.coverage:
        yield from _coverage(coverage)
    for change in diff.changes:
        yield from _change(change)
    yield from (f"! {words}" for words in (*diff.counted, *diff.evidence, *diff.balance, *diff.late))
    yield from (f"  renamed: {shown(old)} is now {shown(new)}" for old, new in diff.renamed)
    if diff.undecided:
        yield f"? took too long to decide, more may differ: {', '.join(map(shown, diff.undecided))}"


def example_words(given: str) -> str:
    """Return an example's facts; those of the baseline in words."""
    return ORDINARY if given == NOTHING else given


def _coverage(coverage: Coverage) -> Iterator[str]:
    sign, words = ("+", "now also for") if coverage.now else ("-", "no longer for")
    yield f"{sign} {words} {example_words(coverage.given)}"
    yield f"    {shown(coverage.rule.rule)} (line {coverage.rule.line}): {'; '.join(coverage.outcome)}"


def _change(change: Change) -> Iterator[str]:
    yield f"~ {example_words(change.example)}"
    yield from (f"    - {line}" for line in change.before if line not in change.after or len(change.before) == 1)
    yield from (f"    + {line}" for line in change.after if line not in change.before or len(change.after) == 1)
    for pair in change.pairs[:MAX_PAIRS]:
        old, new = (f"{shown(rule.rule)} (line {rule.line})" for rule in (pair.old, pair.new))
        yield f"      {old} -> {new}" + ("" if pair.given == change.example else f", like {example_words(pair.given)}")
    if len(change.pairs) > MAX_PAIRS:
        yield f"      and {len(change.pairs) - MAX_PAIRS} more pairs of rules"
