"""Examples of refund policies may expect an answer, so that bounds are tested beside the rules."""

from pathlib import Path

import pytest

from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.folder import PolicyFile, review_set
from recoup_core.rules.study.answers import answer_problems
from recoup_core.rules.study.self_test import self_test

TEXT = """kind: refund
name: a-policy
applies_to: {}
reasons: {requested_by_customer: {}, damaged: {evidence: [photo]}}
rules:
  - {name: late, when: {age_days: {gt: 180}}, deny: outside_window}
  - name: rest
    approve: {per_agent_day: {EUR: 100.00}, per_customer: {count: 2, amount: {EUR: 60.00}, within: 30d}}
    otherwise: {review: {levels: [[support_lead]]}}
examples:
  - {given: {age_days: 181}, expect: late, answer: deny}
  - {given: EXAMPLE, expect: rest, answer: ANSWER}
"""
POLICIES = Path(__file__).parents[3] / "policies" / "refund"


def text_of(example: str, answer: str) -> str:
    return TEXT.replace("EXAMPLE", example).replace("ANSWER", answer)


ANSWERS = [
    ("{}", "approve"),
    ("{reason: damaged}", "approve"),
    ("{agent.refunded_today: {EUR: 51.00}}", "approve"),
    ("{agent.refunded_today: {EUR: 51.01}}", "review"),
    ("{amount: {USD: 1.00}}", "review"),
    ("{customer.refunds_30d: 1}", "approve"),
    ("{customer.refunds_30d: 2}", "review"),
    ("{customer: {refunds_30d: 1, refunded_30d: {EUR: 11.00}}}", "approve"),
    ("{customer: {refunds_30d: 1, refunded_30d: {EUR: 11.01}}}", "review"),
    ("{customer.refunds_7d: 2}", "review"),
    ("{customer.refunded_7d: {EUR: 11.01}}", "review"),
]


@pytest.mark.parametrize(("example", "answer"), ANSWERS)
def test_an_answer_is_held_against_the_bounds(example: str, answer: str) -> None:
    """What the facts tell of today and of the last 30 days counts; evidence is taken to be there."""
    right = parse_policy(text_of(example, answer), source="p.yaml")
    wrong = parse_policy(text_of(example, "deny"), source="p.yaml")

    assert answer_problems(right) == ()
    [problem] = answer_problems(wrong)
    assert (problem.code, problem.line, problem.rule) == ("answer_failed", 12, "rest")
    assert f"expected the answer 'deny', but it is '{answer}'" in problem.message


def test_a_wrong_answer_is_told_with_the_figures() -> None:
    """An author sees by how much."""
    [problem] = answer_problems(parse_policy(text_of("{agent.refunded_today: {EUR: 51.01}}", "approve"), source="p"))

    assert "100.01 EUR with this refund, more than 100.00 EUR" in problem.message


LEVELS = [
    # the amount, who decides it
    ("EUR: 120.00", "[[support_lead]]"),
    ("EUR: 120.01", "[[finance, controller]]"),
    ("EUR: 300.01", "[[support_lead], [finance, controller]]"),
    ("USD: 1.00", "[[support_lead], [finance, controller]]"),
]
JUMPING = TEXT.replace(
    "{levels: [[support_lead]]}",
    "{levels: [[support_lead], [controller, finance]], limits: [{EUR: 120.00}, {EUR: 300.00}]}",
)


@pytest.mark.parametrize(("amount", "levels"), LEVELS)
def test_an_example_tests_who_decides(amount: str, levels: str) -> None:
    """A review by other people is another answer; the order of roles in a level makes no difference."""
    for given, codes in ((levels, []), ("[[finance]]", ["answer_failed"])):
        text = JUMPING.replace("EXAMPLE", f"{{amount: {{{amount}}}}}").replace("ANSWER", f"review, levels: {given}")

        assert [problem.code for problem in answer_problems(parse_policy(text, source="p.yaml"))] == codes


def test_who_decided_instead_is_told_with_the_limits() -> None:
    """An author sees which limit led elsewhere."""
    text = JUMPING.replace("EXAMPLE", "{amount: {EUR: 120.01}}").replace("ANSWER", "review, levels: [[support_lead]]")

    [problem] = answer_problems(parse_policy(text, source="p.yaml"))
    assert "expected the answer 'support_lead', but it is 'controller or finance'" in problem.message
    assert "level 1 may decide at most 120.00 EUR alone" in problem.message


def test_a_wrong_answer_keeps_a_set_from_being_used_and_fails_its_tests() -> None:
    """It counts at check, at submit and at test alike; a right one is silent."""
    for answer, codes in (("approve", []), ("review", ["answer_failed"])):
        text = text_of("{}", answer)
        _, problems = review_set([PolicyFile("p.yaml", text)], called="here")
        tested = self_test(parse_policy(text, source="p.yaml"))

        assert [problem.code for problem in problems] == codes
        assert tested.failed == len(codes)


@pytest.mark.parametrize(
    ("example", "code", "message"),
    [
        ("{payment_amount: {USD: 1.00}}", "impossible_facts", "asked back is in EUR, the payment in USD"),
        ("{refunded_before: {JPY: 1}}", "impossible_facts", "the payment in JPY"),
        ("{amount: {EUR: 0.00}}", "impossible_facts", "nothing is asked back"),
    ],
)
def test_facts_that_never_come_together_are_refused(example: str, code: str, message: str) -> None:
    """A refund is in the currency of its payment, so an example of another one tests nothing."""
    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(text_of(example, "approve"), source="p.yaml")

    [problem] = refusal.value.problems
    assert (problem.code, problem.line) == (code, 12)
    assert message in problem.message


@pytest.mark.parametrize(("answer", "hint"), [("aprove", "'approve'"), ("[review]", None)])
def test_an_answer_is_one_of_three_words(answer: str, hint: str | None) -> None:
    """A slip of the pen is told with the near word."""
    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(text_of("{}", answer), source="p.yaml")

    [problem] = refusal.value.problems
    assert problem.code == ("unknown_value" if hint else "wrong_type")
    assert hint is None or hint in (problem.hint or "")


def test_only_refund_examples_expect_answers() -> None:
    """Retries have timelines for that."""
    text = "kind: retry\nname: a\napplies_to: {}\nrules: [{name: rest, stop: exhausted}]\n"
    text += "examples: [{given: {}, expect: rest, answer: deny}]\n"

    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(text, source="p.yaml")

    assert [problem.code for problem in refusal.value.problems] == ["unknown_key"]


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_policies_test_every_branch_and_bound(path: Path) -> None:
    """What a fresh install does with money is written down as examples, both sides of every comparison and bound."""
    tested = self_test(parse_policy(path.read_text(), source=path.name))

    assert tested.failed == 0
    assert tested.coverage.percent == 100
