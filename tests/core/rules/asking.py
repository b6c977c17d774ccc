"""Random conditions over every type of fact, and all the facts that they could tell apart."""

import json
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

from hypothesis import strategies as st

from recoup_core.domain.money import Money
from recoup_core.rules.facts import RETRY, Facts, Vocabulary
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.conditions import Condition
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.yamltext import read_tree


def read(written: Any, vocabulary: Vocabulary = RETRY) -> Condition:
    """Read a condition as a policy's is read."""
    report = Report("p.yaml")
    text = written if isinstance(written, str) else json.dumps(written)
    tree = read_tree(text, report)
    condition = None if tree is None else ConditionReader(report, vocabulary).whole(tree)
    assert condition is not None, report.problems
    return condition


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


def facts_of(written: Any) -> list[str]:
    """Return the facts that written conditions ask about; for the currency that is the amount."""
    text = json.dumps(written).replace('"currency"', '"amount"')
    return sorted(name for name in ASKED if f'"{name}"' in text)


def few(written: Any, most: int = 3_000) -> bool:
    """Return whether all the facts that written conditions could tell apart are few enough to be tried."""
    return prod(len(ASKED[name][1]) for name in facts_of(written)) <= most


def every(names: Sequence[str]) -> list[Facts]:
    """Return all combinations of values of the facts, the rest as in the baseline."""
    found: list[Facts] = []
    for values in product(*(ASKED[name][1] for name in names)):
        facts = RETRY.baseline
        for name, value in zip(names, values, strict=True):
            facts = RETRY.with_fact(facts, name, value)
        found.append(facts)
    return found
