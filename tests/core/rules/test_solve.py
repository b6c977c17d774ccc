"""Whether facts exist is decided: against trying them all, on random conditions over every kind of fact."""

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.money import Money
from recoup_core.rules.applies import AppliesTo
from recoup_core.rules.closures import closure
from recoup_core.rules.condition_reader import ConditionReader
from recoup_core.rules.conditions import Condition
from recoup_core.rules.errors import Report
from recoup_core.rules.facts import DUNNING, REFUND, RETRY, Facts, Vocabulary
from recoup_core.rules.given import given_text, minimal_given
from recoup_core.rules.solve import Budget, Goal, Undecided, Wanted, find
from recoup_core.rules.yamltext import read_tree

MANY = settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))


def read(written: Any, vocabulary: Vocabulary = RETRY) -> Condition:
    """Read a condition as a policy's is read."""
    report = Report("p.yaml")
    text = written if isinstance(written, str) else json.dumps(written)
    tree = read_tree(text, report)
    condition = None if tree is None else ConditionReader(report, vocabulary).whole(tree)
    assert condition is not None, report.problems
    return condition


def goals(true: Sequence[str] = (), not_true: Sequence[str] = (), vocabulary: Vocabulary = RETRY) -> list[Goal]:
    return [
        *(Goal(read(text, vocabulary), Wanted.TRUE) for text in true),
        *(Goal(read(text, vocabulary), Wanted.NOT_TRUE) for text in not_true),
    ]


def scope(vocabulary: Vocabulary = RETRY, effective: tuple[str, str] | None = None, **only: Sequence[str]) -> AppliesTo:
    lists = {name: tuple(values) for name, values in only.items()}
    dates = {} if effective is None else {"effective": effective}
    return AppliesTo(vocabulary=vocabulary, only=lists, line=1, column=1, **dates)


# Per fact: how it may be asked about, and values of which two differ whenever a question can tell them apart.
AMOUNTS = [Money(minor, currency) for currency in ("EUR", "USD", "GBP") for minor in (0, 99, 100, 101, 199, 200, 201)]
ASKED: dict[str, tuple[list[Any], list[Any]]] = {
    "decline": (
        ["fraud", ["fraud", "unknown"], {"not": "fraud"}, {"not": ["unknown", "issuer_generic"]}],
        ["fraud", "unknown", "issuer_generic", "configuration"],
    ),
    "network_code": (["a", {"not": "a"}, ["a", "b"], {"missing": True}, {"exists": True}], ["a", "b", "c", None]),
    "attempt": (
        [1, 3, {"lt": 3}, {"lte": 3}, {"gt": 2}, {"gte": 4}, {"between": [2, 3]}, {"not": 2}, {"not": [1, 4]}],
        [1, 2, 3, 4, 5],
    ),
    "visa_category": ([2, {"lte": 2}, {"gt": 3}, {"missing": True}, {"not": 4}], [1, 2, 3, 4, None]),
    "has_backup": ([True, False], [True, False]),
    "customer.vulnerable": ([True, False, {"exists": True}, {"missing": True}], [True, False, None]),
    "amount": (
        [
            {"lt": {"EUR": "1.00"}},
            {"lte": {"EUR": "1.00", "USD": "2.00"}},
            {"gt": {"USD": "1.00"}},
            {"gte": {"USD": "2.00", "EUR": "2.00"}},
            {"between": {"EUR": ["1.00", "2.00"]}},
        ],
        AMOUNTS,
    ),
    "currency": (["EUR", ["EUR", "USD"], {"not": "USD"}], []),
}
LEAVES = st.sampled_from([{name: question} for name, (questions, _) in ASKED.items() for question in questions])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)


def facts_of(text: str) -> set[str]:
    return {name for name in ASKED if f'"{name}"' in text and name != "currency"} | (
        {"amount"} if '"currency"' in text else set()
    )


def every(names: Sequence[str]) -> list[Facts]:
    """Return all combinations of values of the facts, the rest as in the baseline."""
    found: list[Facts] = []
    for values in product(*(ASKED[name][1] for name in names)):
        facts = RETRY.baseline
        for name, value in zip(names, values, strict=True):
            facts = RETRY.with_fact(facts, name, value)
        found.append(facts)
    return found


@MANY
@given(trees=st.lists(TREES, min_size=1, max_size=4), wanted=st.lists(st.sampled_from(Wanted), min_size=4, max_size=4))
def test_it_agrees_with_trying_everything(trees: list[Any], wanted: list[Wanted]) -> None:
    """Facts that are found do satisfy the goals, and where none are found there are none."""
    names = sorted(facts_of(json.dumps(trees)))
    asked = [Goal(read(tree), want) for tree, want in zip(trees, wanted, strict=False)]
    tests = [(closure(goal.condition), goal.wanted) for goal in asked if goal.condition is not None]

    found = find(asked, RETRY)

    def good(facts: Facts) -> bool:
        return all((test(facts) is True) is (want is Wanted.TRUE) for test, want in tests)

    if found is None:
        assert not any(good(facts) for facts in every(names))
    else:
        assert not isinstance(found, Undecided)
        assert good(found)


@MANY
@given(tree=TREES)
def test_found_facts_come_back_from_what_an_example_would_give(tree: Any) -> None:
    """What `minimal_given` says, put into an example, leads to the same facts; nothing of it can be left out."""
    found = find([Goal(read(tree))], RETRY)
    if found is None or isinstance(found, Undecided):
        return

    written = minimal_given(found, RETRY, RETRY.baseline)

    text = given_text(written)
    assert read_given(text) == found
    for name in written:
        assert read_given(given_text({each: value for each, value in written.items() if each != name})) != found


def read_given(text: str) -> Facts:
    """Return the facts of an example, as a policy file's are read."""
    from recoup_core.rules.examples import read_example

    report = Report("p.yaml")
    tree = read_tree(f"{{given: {text}, expect: x}}", report)
    example = None if tree is None else read_example(tree, ConditionReader(report, RETRY))
    assert example is not None, report.problems
    return example.facts(RETRY, RETRY.baseline)
