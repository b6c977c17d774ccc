"""Limits of reviews: no currency is forgotten on the way up, and every level has something to decide."""

from collections.abc import Callable

import pytest

from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import read_policy
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.review_limits import review_limits

Find = Callable[..., tuple[Problem, ...]]
LEVELS = "levels: [[lead], [finance], [director]]"
POLICY = """kind: refund
name: p
applies_to: {method: card}
rules:
  - name: small
    when: SMALL
    approve: {per_day: {EUR: 10.00}}
    otherwise: {review: {levels: [[lead]]}}
  - name: rest
    review: {REVIEW}
examples:
  - {given: {amount: {EUR: 1.00}}, expect: small}
  - {given: {amount: {EUR: 99.00}}, expect: rest}
"""
NAMES = "kind: names\nroles: [lead, finance, director]\n"


def policy_of(limits: str, small: str = "{amount: {lte: {EUR: 50.00}}}", levels: str = LEVELS) -> str:
    return POLICY.replace("REVIEW", f"{levels}, limits: {limits}").replace("SMALL", small)


CASES = [
    # limits, what the rule above takes, and the messages
    ("[{EUR: 90.00, USD: 90.00}, {EUR: 900.00, USD: 900.00}]", "{amount: {lte: {EUR: 50.00}}}", []),
    (
        "[{EUR: 90.00, USD: 90.00, JPY: 9}, {EUR: 900.00}]",
        "{amount: {lte: {EUR: 50.00}}}",
        ["level 1 has a limit in USD, JPY, and level 2 may decide nothing in it alone"],
    ),
    ("[{EUR: 90.00}, {EUR: 900.00, USD: 900.00}]", "{amount: {lte: {EUR: 50.00}}}", []),
    (
        "[{EUR: 50.00}, {EUR: 900.00}]",
        "{amount: {lte: {EUR: 50.00}}}",
        ["level 1 (lead) never decides: no amount comes to it"],
    ),
    (
        "[{EUR: 90.00}, {EUR: 90.00}]",
        "{amount: {lte: {EUR: 50.00}}}",
        ["level 2 (finance) never decides: no amount comes to it"],
    ),
    ("[{EUR: 90.00}, {EUR: 90.00}, {EUR: 90.00}]", "{amount: {lte: {EUR: 50.00}}}", []),
    (
        "[{EUR: 90.00}, {EUR: 900.00}]",
        "{any: [{amount: {lte: {EUR: 50.00}}}, {amount: {gt: {EUR: 80.00}}}, {currency: {not: EUR}}]}",
        [
            "level 2 (finance) never decides: no amount comes to it",
            "level 3 (director) never decides: no amount comes to it",
        ],
    ),
]


@pytest.mark.parametrize(("limits", "small", "messages"), CASES)
def test_what_limits_only_look_like_is_told(problems: Find, limits: str, small: str, messages: list[str]) -> None:
    """Decided over all amounts that the rule gets, so what rules above it take counts."""
    found = [each for each in problems(policy_of(limits, small), NAMES) if each.code == "review_limits"]

    assert [each.message for each in found] == messages
    assert all((each.line, each.column, each.rule) == (10, 55, "rest") for each in found)


def test_a_review_beyond_the_bounds_of_an_approval_is_looked_at_too(problems: Find) -> None:
    """It gets the amounts of its rule."""
    text = policy_of("[{EUR: 90.00}, {EUR: 900.00}]")
    text = text.replace("{levels: [[lead]]}", "{levels: [[lead], [finance]], limits: [{EUR: 50.00}]}")

    [found] = [each for each in problems(text, NAMES) if each.code == "review_limits"]
    assert (found.line, found.rule) == (8, "small")
    assert "level 2 (finance) never decides" in found.message


def test_a_rule_that_never_fires_is_told_once(problems: Find) -> None:
    """Its levels are idle for a reason that is told already."""
    text = policy_of("[{EUR: 90.00}, {EUR: 900.00}]", "{any: [{method: card}, {age_days: {gt: 1}}]}")

    assert "review_limits" not in {each.code for each in problems(text, NAMES)}


def test_a_budget_that_ends_is_said() -> None:
    """Not knowing is a finding of its own."""
    policy, _ = read_policy(policy_of("[{EUR: 90.00}, {EUR: 900.00}]"), source="p.yaml")
    assert policy is not None

    assert [each.code for each in review_limits(policy, Budget(1))] == ["lint_undecided"]
