"""Whatever stands in a file: an answer with places, never a crash."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.rules.errors import PolicyInvalid, Problem
from recoup_core.rules.schema import parse_policy
from recoup_core.rules.yamltext import MAX_BYTES

GOOD = """kind: retry
name: a-policy
applies_to: {method: card}
define: {early: {attempt: {lte: 2}}}
rules:
  - {name: hit, when: early, retry: {after: [3d]}}
  - {name: rest, stop: exhausted}
examples:
  - {given: {}, expect: hit}
  - {given: {attempt: 3}, expect: rest}
"""

CORPUS = [
    "", " ", "\n", "#", "---", "...", "--- ---", "%", "%YAML 9.9\n---\na: 1", "%YAML 99999999999999999999.1\n--- a",
    "%TAG ! x", "&", "*", "!", "!!", "|", ">", "@", "`", "?", "? ", ":", ": :", "-", "- -", "- - -", "[", "]", "{", "}",
    "[[", "{{", "{a", "{a:", "{a: b", "[a,", ",", "'", '"', "'a", '"a', '"\\', '"\\q"', '"\\x"', '"\\ud800"', "a: b: c",
    "a:\n\t- b", "\t", "\r", "\r\n\r\n", "a: |\n b\n  c\n d", "a: >2\nb", "? {a: b}\n: c", "{[a]: b}", "a: &a *a",
    "&a a: *a",
    "!!binary x", "!!set {a, b}", "<<: {a: b}", "<<: *x", "x" * 1000, "- " * 500, "[" * 5000, "{a: " * 5000,
    "a" * (MAX_BYTES + 1),
    "\ufffe", "\x00", "\x7f", "a\x85b", "\ud800", "null", "~", "1", "true", "kind: null", "kind: [retry]",
    "kind: {a: b}",
    "kind: retry\nrules: [null, 1, [], {}, {name: }, {when: }]",
    "kind: retry\nrules:\n  - name: [a]\n    when: {all: [{not: {}}, [], null, 1]}\n    retry: {between: [[], {}]}",
    "kind: retry\ndefine: {a: {b: {c: {d: {}}}}, '': {}, a b: 1}\nexamples: [1, [], {given: [], expect: []}]",
    "kind: retry\napplies_to: {customer: {customer: {tier: a}}, amount: {lt: 1}}\nexamples: {given: {}}",
    "kind: retry\nrules: [{name: a, when: {amount: {lt: {USD: [1]}, between: {EUR: [1, [2]]}}}, retry: {after: {}}}]",
    "kind: retry\nrules: [{name: a, when: {customer: {customer: 1}}, stop: [], otherwise: {otherwise: {}}}]",
    "kind: retry\nexamples: [{given: {customer: 1, amount: {}, network: {missing: {}}}, expect: x}]",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_malformed_file_is_refused_with_places(number: int) -> None:
    """Each file of the corpus is refused; every problem has a line and a column that exist or could."""
    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(CORPUS[number], source="p.yaml")

    assert refusal.value.problems
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in refusal.value.problems)


def test_the_corpus_is_a_corpus() -> None:
    """At least sixty different files."""
    assert len(set(CORPUS)) >= 60


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(GOOD)), drop=st.integers(0, 12), put=st.text("{}[]:,-&*!|>'\"#\n\t 0aé", max_size=4))
def test_damaged_file_is_read_or_refused(at: int, drop: int, put: str) -> None:
    """A slip of the hand anywhere in a good file gives a policy or a list of problems, nothing else."""
    text = GOOD[:at] + put + GOOD[at + drop :]

    problems: tuple[Problem, ...] = ()
    policy = None
    try:
        policy = parse_policy(text, source="p.yaml")
    except PolicyInvalid as refusal:
        problems = refusal.problems

    assert bool(problems) is (policy is None)
    assert policy is None or policy.text == text
