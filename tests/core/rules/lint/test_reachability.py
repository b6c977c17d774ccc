"""What can never fire is told with the reason; what can fire is not."""

from collections.abc import Callable, Sequence

import pytest

from recoup_core.rules.language.errors import Problem, Severity
from recoup_core.rules.language.schema import read_policy
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.reachability import reachability

HEAD = """kind: retry
name: p
applies_to: {method: card, currency: [EUR, USD]}
define:
  bad: {any: [{decline: fraud}, {retryable: no}]}
rules:
"""
FIRST_LINE = 7


def policy_of(conditions: Sequence[str]) -> str:
    """Return a policy of one rule a line, r0 on line 7, without examples: they are not lint's affair."""
    rules = "".join(f"  - {{name: r{n}, when: {when}, stop: manual_review}}\n" for n, when in enumerate(conditions))
    return f"{HEAD}{rules}  - {{name: rest, stop: exhausted}}\nexamples:\n  - {{given: {{}}, expect: rest}}\n"


def found_in(*conditions: str, steps: int = 1_000_000) -> list[Problem]:
    policy, _ = read_policy(policy_of(conditions), source="p.yaml")
    assert policy is not None
    return list(reachability(policy, Budget(steps)))


# conditions; then (line, code, words of the message) of what is found
CASES: list[tuple[list[str], list[tuple[int, str, str]]]] = [
    (["{decline: fraud}", "{decline: unknown}"], []),
    (["{decline: fraud}", "{decline: fraud, attempt: 2}"], [(8, "unreachable_rule", "'r0' (line 7) takes all")]),
    (["{decline: fraud, attempt: 2}", "{decline: fraud}"], []),
    (
        ["{attempt: {lte: 2}}", "{attempt: {gte: 5}}", "{has_backup: true}", "{attempt: [1, 6, 7]}"],
        [(10, "unreachable_rule", "'r0' (line 7) and 'r1' (line 8) take all")],
    ),
    (["{attempt: {lte: 2}}", "{attempt: {gt: 2}}"], [(9, "unreachable_rule", "'r0' (line 7) and 'r1' (line 8) take")]),
    (["{method: sepa_debit}"], [(7, "unreachable_rule", "no payment that the policy is for")]),
    (["{amount: {lt: {GBP: 5.00}}}"], [(7, "unreachable_rule", "no payment that the policy is for")]),
    (["{attempt: 1, all: [{attempt: 2}]}"], [(7, "unreachable_rule", "no payment")]),
    (
        ["{customer.tier: a}", "{not: {customer.tier: a}}", "{customer.tier: {exists: true}}"],
        [(9, "unreachable_rule", "")],
    ),
    (["{customer.tier: a}", "{not: {customer.tier: a}}", "{customer.tier: {missing: true}}"], []),
    (["{amount: {lt: {EUR: 5.00}}}", "{amount: {lt: {EUR: 5.00, USD: 5.00}}}"], []),
    (["{amount: {lte: {EUR: 4.99}}}", "{amount: {lt: {EUR: 5.00}}}"], [(8, "unreachable_rule", "'r0'")]),
    # parts
    (["{decline: unknown}", "{decline: [unknown, fraud]}"], [(8, "shadowed_rule", "`decline: unknown`")]),
    (["{decline: unknown, attempt: 1}", "{decline: [unknown, fraud]}"], []),
    (
        ["{decline: unknown}", "{any: [{decline: unknown, attempt: 2}, {attempt: 3}]}"],
        [(8, "shadowed_rule", "{all: [{")],
    ),
    (
        ["{decline: unknown}", "{any: [{decline: [unknown], attempt: 2}, {attempt: 3}]}"],
        [(8, "shadowed_rule", "the alternative `{all: [{decline: [unknown]}, {attempt: 2}]}` is never why")],
    ),
    (
        ["{decline: unknown}", "{any: [{any: [{decline: [unknown, fraud]}, {attempt: 9}]}, {attempt: 3}]}"],
        [(8, "shadowed_rule", "`decline: unknown`")],
    ),
    (["bad", "{any: [bad, {attempt: 3}]}"], [(8, "shadowed_rule", "the alternative `bad` is never why")]),
    (["{decline: fraud}", "bad"], []),
    (["{decline: unknown}", "{not: {decline: [unknown, fraud]}}"], []),
    (["{decline: unknown}", "{decline: {not: [unknown, fraud]}}"], []),
    (["{any: [{method: sepa_debit}, {attempt: 3}]}"], [(7, "shadowed_rule", "`applies_to`, rules it out")]),
    (["{decline: [fraud, unknown], attempt: 2}", "{decline: fraud}"], []),
]


@pytest.mark.parametrize(("conditions", "expected"), CASES)
def test_what_can_never_fire_is_told(conditions: list[str], expected: list[tuple[int, str, str]]) -> None:
    """With its line and with what takes it; neighbours that can fire stay silent."""
    found = [problem for problem in found_in(*conditions) if problem.rule != "rest"]
    rest = [problem for problem in found_in(*conditions) if problem.rule == "rest"]
    found += rest if any(line == FIRST_LINE + len(conditions) for line, _, _ in expected) else []

    assert [(problem.line, problem.code) for problem in found] == [(line, code) for line, code, _ in expected]
    for problem, (_, _, words) in zip(found, expected, strict=True):
        assert words in problem.message


def test_rules_that_are_named_are_few() -> None:
    """A message that names forty rules is not read."""
    found = found_in(*(f"{{attempt: {number}}}" for number in range(1, 9)), "{attempt: {lte: 8}}")

    assert [problem.line for problem in found] == [15]
    assert "and 4 more rules take" in found[0].message


def test_a_rule_that_can_never_fire_needs_no_example(problems: Callable[..., tuple[Problem, ...]]) -> None:
    """One finding for one mistake; a rule that can fire is shown the smallest example."""
    found = problems(policy_of(["{decline: fraud}", "{decline: fraud, attempt: 2}"]))

    assert [(each.line, each.code) for each in found] == [(7, "no_example"), (8, "unreachable_rule")]
    assert found[0].hint == "for instance - {given: {decline: fraud}, expect: r0}"


def test_what_takes_too_long_is_said() -> None:
    """Nothing is guessed: the rules that were not decided are named, as a warning."""
    [problem] = found_in("{decline: fraud}", "{decline: [fraud, unknown]}", steps=4)

    assert (problem.code, problem.severity) == ("lint_undecided", Severity.WARNING)
    assert "'r1' (line 8)" in problem.message


def test_many_rules_are_decided_within_the_budget() -> None:
    """2,000 rules over shared facts are no reason to know nothing."""
    conditions = [f"{{decline_code: c{n // 4}, attempt: {{lte: {1 + n % 4}}}}}" for n in range(1_990)]
    found = found_in(*conditions, "{decline_code: c7, attempt: 3}")

    assert [(problem.line, problem.code) for problem in found] == [(FIRST_LINE + 1_990, "unreachable_rule")]
    assert "'r30' (line 37) takes" in found[0].message
