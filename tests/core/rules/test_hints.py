"""Hints for those who know other languages better than ours, or no YAML at all: what to write instead."""

import pytest

from recoup_core.rules.language.errors import PolicyInvalid, Problem, Report
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.language.written import as_condition, as_number
from recoup_core.rules.language.yamltext import read_tree

POLICY = """kind: retry
name: cards
applies_to: {method: card}
rules:
  - name: early
    when: {attempt: {lte: 2}}
    retry: {after: [3d]}
  - name: rest
    stop: exhausted
examples:
  - {given: {}, expect: early}
  - {given: {attempt: 3}, expect: rest}
"""
FAULTS = {
    "a key beside its block": ("rules:\n  - name: a\n   when: x\n", "3:4", "the indentation", "begins in column 3"),
    "a tab": ("rules:\n\t- name: a\n", "2:1", "a tab stands here", "indent with spaces"),
    "a colon in a text": ("note: first: payday\n", "1:12", "a colon stands where no key can be", "into quotes"),
    "no colon": ("kind: retry\nname cards\nrules: []\n", "2:1", "a key has no colon", "`key: value`"),
    "an open quote": ('name: "cards\nkind: retry\n', "1:7", "the quote that opens here is never closed", None),
    "an open brace": ("when: {decline: fraud\nstop: x\n", "1:7", "is not closed before line 2", "add `}`"),
    "a missing comma": ('between: ["06:00" "10:00"]\n', "1:19", "`,` or `]` is missing before this", "close the `[`"),
    "a brace too many": ("rules:\n  - when: {a: b}}\n", "2:17", "something follows a value", "remove it"),
    "a text behind quotes": ('name: "cards" of shops\n', "1:15", "something follows a value", "into quotes"),
    "a sign that starts no text": ("name: @cards\n", "1:7", "a text can't begin with '@'", "into quotes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_yaml_fault_is_told_in_words_where_it_can_be_mended(name: str) -> None:
    """Nobody has to know what a block mapping or a token is."""
    text, place, message, hint = FAULTS[name]
    report = Report("it.yaml")

    assert read_tree(text, report) is None

    [problem] = report.problems
    assert (f"{problem.line}:{problem.column}", problem.code) == (place, "yaml")
    assert message in problem.message
    assert problem.hint is None if hint is None else hint in str(problem.hint)


def problems_of(old: str, new: str) -> tuple[Problem, ...]:
    assert old in POLICY
    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(POLICY.replace(old, new, 1), source="it.yaml")
    return refusal.value.problems


HINTS = [
    ("{attempt: {lte: 2}}", "{attempt <= 2}", "write {attempt: {lte: 2}}"),
    ("{attempt: {lte: 2}}", "attempt == 2", "write {attempt: 2}"),
    ("{lte: 2}", "<= 2", "write {lte: 2}"),
    ("{lte: 2}", "2 tries", "write 2"),
    ("{attempt: {lte: 2}}", "{attempt: 2, or: {attempt: 3}}", "write any: [...]"),
    ("{attempt: {lte: 2}}", "{amount: {lt: 20}}", "write {EUR: 20.00}"),
    ("{attempt: {lte: 2}}", "{amount: {between: [20, 50]}}", "write {EUR: [20.00, 50.00]}"),
    ("{attempt: {lte: 2}}", "{amount: {lt: {USD: 1,000.00}}}", "write amounts without a comma"),
    ("{attempt: {lte: 2}}", "{country: Germany}", "two capital letters (ISO 3166-1), like DE"),
    ("[3d]", "3d", "write [3d]"),
    ("{after: [3d]}", "tomorrow", "write {after: [3d, 5d]}"),
    ("{after: [3d]}", "{after: [3d], otherwise: {stop: exhausted}}", "`otherwise` stands beside `retry`, not in it"),
    ("stop: exhausted", "steps: []", "that is a key of kind dunning"),
    ("applies_to: {method: card}", "reasons: {}", "that is a key of kind refund"),
    ("name: cards\n", "", "like `name: cards`"),
]


@pytest.mark.parametrize(("old", "new", "hint"), HINTS, ids=[new for _, new, _ in HINTS])
def test_a_hint_shows_what_to_write(old: str, new: str, hint: str) -> None:
    """Among all that is told about the mistake."""
    assert hint in [problem.hint for problem in problems_of(old, new)]


def test_what_is_no_comparison_gets_no_such_hint() -> None:
    """A near name is the better one then."""
    assert [as_condition("atempt"), as_condition("a <> b"), as_number("soon"), as_number("9" * 200)] == [None] * 4


def test_a_broken_example_does_not_hide_that_another_fails() -> None:
    """Everything is told in one pass."""
    found = problems_of("expect: early}\n", "expect: erly}\n  - {given: {attempt: 9}, expect: early}\n")

    assert [problem.code for problem in found] == ["unknown_rule", "example_failed"]
