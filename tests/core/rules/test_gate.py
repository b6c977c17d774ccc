"""What the publish gate asks, in which order, and where it stops; what may be published at all."""

from collections.abc import Callable
from itertools import islice

import pytest

from recoup_core.domain.money import Money
from recoup_core.rules.engine.gate import MAX_GATE_COMPARISONS, MAX_GATE_FACTS, boundary_facts, disagreement
from recoup_core.rules.facts import Facts, RetryFacts
from recoup_core.rules.language.effort import MAX_CONSTANTS, constants, reaches
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import Policy, parse_policy

Build = Callable[..., Policy]


def asked(policy: Policy) -> list[RetryFacts]:
    return [facts for facts in boundary_facts(policy) if isinstance(facts, RetryFacts)]


def test_boundaries_of_every_type_are_asked(a_policy: Build) -> None:
    """One below, at, one above; each word and another; a currency that is not listed; and what may be missing, is."""
    when = "{attempt: {lte: 3}, decline_code: [a, b], has_backup: true, visa_category: {gt: 1}, amount: {lt: {USD: 5}}}"
    policy = a_policy(
        when,
        hit="{decline_code: a, has_backup: true, visa_category: 2, amount: {USD: 1}}",
        rest="{attempt: 9}",
    )

    facts = asked(policy)

    assert {one.attempt for one in facts} >= {1, 2, 3, 4}
    assert {one.decline_code for one in facts} >= {"a", "b", "something else"}
    assert {one.has_backup for one in facts} == {True, False}
    assert {one.visa_category for one in facts} >= {None, 1, 2}
    assert {one.amount for one in facts} >= {Money(minor, "USD") for minor in (499, 500, 501)} | {Money(100, "JPY")}


def test_dates_have_neighbours_too() -> None:
    """The day before, the day, and the day after; the calendar's own ends have one neighbour."""
    head = "kind: refund\nname: a\napplies_to: {}\nrules:\n"
    rules = "- {name: old, when: {paid_on: {lte: 2024-02-29}}, deny: old}\n"
    rules += "- {name: end, when: {paid_on: 9999-12-31}, deny: end}\n"
    examples = "- {given: {paid_on: 2020-01-01}, expect: old}\n- {given: {paid_on: 9999-12-31}, expect: end}\n"
    rest = "- {name: rest, review: {levels: [[lead]]}}\nexamples:\n- {given: {}, expect: rest}\n"
    policy = parse_policy(head + rules + rest + examples, source="p.yaml")

    days = {getattr(facts, "paid_on", None) for facts in boundary_facts(policy)}

    assert days >= {"2024-02-28", "2024-02-29", "2024-03-01", "9999-12-30", "9999-12-31"}


def many(count: int) -> Policy:
    """A policy of many rules, each with a number of its own."""
    lines = ["kind: retry", "name: many", "applies_to: {}", "rules:"]
    lines += [
        f"- {{name: r{n}, when: {{decline_code: c{n}, attempt: {n + 2}}}, stop: exhausted}}" for n in range(count)
    ]
    lines += ["- {name: rest, stop: exhausted}", "examples:", "- {given: {}, expect: rest}"]
    lines += [f"- {{given: {{decline_code: c{n}, attempt: {n + 2}}}, expect: r{n}}}" for n in range(count)]
    return parse_policy("\n".join(lines), source="p.yaml")


def test_own_values_of_every_rule_come_before_everything_else() -> None:
    """However many rules there are: a wrong bound of the last one is found, next to its own example."""
    policy = many(1_200)

    first = list(islice(boundary_facts(policy), MAX_GATE_FACTS))

    assert any(isinstance(one, RetryFacts) and (one.decline_code, one.attempt) == ("c1199", 1_200) for one in first)


def test_the_gate_is_bounded_by_questions_and_by_comparisons() -> None:
    """A large policy is not asked everything."""
    policy = many(1_200)
    questions: list[Facts] = []

    def dear(facts: Facts) -> int:
        questions.append(facts)
        return len(policy.rules) - 1

    def cheap(facts: Facts) -> int:
        questions.append(facts)
        return 0

    assert disagreement(policy, dear, lambda _: len(policy.rules) - 1) is None
    assert len(questions) == MAX_GATE_COMPARISONS // (2 * 1_200) + 1
    questions.clear()
    assert disagreement(policy, cheap, lambda _: 0) is None
    assert len(questions) == MAX_GATE_FACTS


def test_the_first_difference_is_told(a_policy: Build) -> None:
    """By the names of both rules."""
    policy = a_policy()

    assert disagreement(policy, lambda _: 0, lambda _: 1) == "the engine fires 'hit' where 'rest' is right"


def test_effort_counts_named_conditions_at_every_use(a_policy: Build) -> None:
    """Values, amounts per currency, and one for what compares with nothing."""
    define = "some: {decline_code: [a, b, c], network_code: {missing: true}}"
    when = "{any: [some, {all: [some, {attempt: 5}]}, {amount: {between: {EUR: [1, 2], USD: [1, 2]}}}]}"
    policy = a_policy(when, define=define, hit="{decline_code: a}", rest="{network_code: n, amount: {JPY: 1}}")
    conditions = [rule.when for rule in policy.rules]

    assert [constants(condition) for condition in conditions] == [13, 0]
    assert reaches(conditions) == (6, 6)


def test_a_text_that_blows_up_is_refused_at_the_rule_too_many() -> None:
    """Some hundred rules that each name a condition of 5,000 values: a few KiB would take minutes to compile."""
    lists = ", ".join(f"{{decline_code: [{', '.join(f'w{n}x{k}' for k in range(100))}]}}" for n in range(50))
    count = MAX_CONSTANTS // 5_000 + 1
    rules = "".join(f"- {{name: r{n}, when: big, stop: exhausted}}\n" for n in range(count))
    head = f"kind: retry\nname: a\napplies_to: {{}}\ndefine: {{big: {{any: [{lists}]}}}}\nrules:\n"
    tail = "- {name: rest, stop: exhausted}\nexamples: [{given: {}, expect: rest}]\n"

    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(head + rules + tail, source="p.yaml")

    problem = next(problem for problem in refusal.value.problems if problem.code == "too_many")
    assert problem.line == 5 + count
    assert "100,000" in problem.message
