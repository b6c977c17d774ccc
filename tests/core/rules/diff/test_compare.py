"""The difference in meaning is complete and true: against trying every payment, on random pairs of policies."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.core.rules.asking import TREES, every, facts_of, few

from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.facts import Facts
from recoup_core.rules.language.closures import closure
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.examples import read_example
from recoup_core.rules.language.schema import Policy, read_policy
from recoup_core.rules.language.yamltext import read_tree
from recoup_core.rules.study.diff import Change, KindsDiffer, PolicyDiff, compare
from recoup_core.rules.study.diff.text import diff_lines

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
ACTIONS = ("stop: manual_review", "stop: not_retryable", "retry: {after: [1d]}")
RULES = st.lists(st.tuples(TREES, st.sampled_from(ACTIONS)), min_size=1, max_size=4)


def policy_of(*rules: tuple[Any, str], scope: str = "{method: card}", last: str = "stop: exhausted") -> Policy:
    """Return a policy of rules r0, r1, ... and the last one, without examples."""
    lines = "".join(f"  - {{name: r{n}, when: {_text(when)}, {action}}}\n" for n, (when, action) in enumerate(rules))
    return read(
        f"kind: retry\nname: p\napplies_to: {scope}\nrules:\n{lines}  - {{name: rest, {last}}}\n"
        "examples:\n  - {given: {}, expect: rest}\n"
    )


def _text(when: Any) -> str:
    return when if isinstance(when, str) else json.dumps(when)


def read(text: str) -> Policy:
    policy, problems = read_policy(text, source="p.yaml")
    assert policy is not None, problems
    return policy


def decider(policy: Policy) -> Callable[[Facts], str]:
    """Return who says what a policy does about a payment."""
    tests = [(rule, None if rule.when is None else closure(rule.when)) for rule in policy.rules]
    return lambda facts: str(next(rule.action for rule, test in tests if test is None or test(facts) is True))


def facts_given(given: str, policy: Policy) -> Facts:
    """Return the facts of an example of the policy."""
    report = Report("p.yaml")
    tree = read_tree(f"{{given: {given}, expect: x}}", report)
    example = None if tree is None else read_example(tree, ConditionReader(report, policy.vocabulary))
    assert example is not None, report.problems
    return example.facts(policy.vocabulary, policy.baseline)


def said(changes: tuple[Change, ...]) -> list[tuple[str, str, str]]:
    return [("; ".join(each.before), "; ".join(each.after), each.example) for each in changes]


@MANY
@given(one=RULES, other=RULES)
def test_every_difference_is_found_and_every_one_found_is_there(one: list[Any], other: list[Any]) -> None:
    """Which outcome becomes which, over all payments; each example shows one that does."""
    assume(few([one, other]))
    old, new = policy_of(*one), policy_of(*other)
    before, after = decider(old), decider(new)
    everything = every(facts_of([one, other]))

    found = compare(old, new)

    assert found.undecided == ()
    expected = {(before(facts), after(facts)) for facts in everything if before(facts) != after(facts)}
    shown = {_outcomes(pair.given, old, new) for change in found.changes for pair in change.pairs}
    assert shown == expected
    assert all(each[0] != each[1] for each in shown)


def _outcomes(given: str, old: Policy, new: Policy) -> tuple[str, str]:
    facts = facts_given(given, new)
    return decider(old)(facts), decider(new)(facts)


FRAUD, SOFT = ("{decline: fraud}", "stop: manual_review"), ("{decline: issuer_generic}", "retry: {after: [3d]}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([FRAUD, SOFT], [SOFT, FRAUD]),
        ([FRAUD], [("{decline: [fraud]}", "stop: manual_review")]),
        ([FRAUD, FRAUD], [FRAUD]),
        ([("{attempt: {lte: 3}}", "stop: manual_review")], [("{attempt: {lt: 4}}", "stop: manual_review")]),
        ([("{not: {attempt: {gt: 3}}}", "stop: manual_review")], [("{attempt: {lte: 3}}", "stop: manual_review")]),
        ([FRAUD], [("{method: sepa_debit}", "stop: manual_review"), FRAUD]),
    ],
    ids=["order", "spelling", "a second time", "bounds", "not", "a rule that never fires"],
)
def test_texts_that_mean_the_same_have_no_difference(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    """Whatever the words: reviewers see only what matters."""
    found = compare(policy_of(*old), policy_of(*new))

    assert found.same
    assert (found.changes, found.coverage, found.counted) == ((), (), ())


def test_a_change_is_told_with_its_smallest_example() -> None:
    """What is done now, what would be done, for instance for which payment."""
    new = ("{decline: issuer_generic, amount: {lte: {EUR: 30.00}}}", "retry: {after: [1d], on: payday}")
    found = compare(policy_of(FRAUD, SOFT), policy_of(FRAUD, new, SOFT))

    assert said(found.changes) == [("try again after 3d", "try again after 1d, on a payday", "{amount: {EUR: 30.00}}")]
    [pair] = found.changes[0].pairs
    assert (pair.old.rule, pair.old.line, pair.new.rule, pair.new.line) == ("r1", 6, "r1", 6)
    assert not found.same


def test_changes_to_the_same_end_are_told_together() -> None:
    """One line in the report for one thing that is done otherwise, with all the rules behind it."""
    old = policy_of(("{decline: fraud}", "stop: not_retryable"), ("{decline: unknown}", "stop: not_retryable"))
    new = policy_of(("{decline: [fraud, unknown], attempt: {lte: 9}}", "stop: manual_review"))
    found = compare(old, new)

    assert said(found.changes) == [
        ("stop: not retryable", "stop: manual review", "{decline: fraud}"),
        ("stop: not retryable", "stop: exhausted", "{decline: fraud, attempt: 10}"),
    ]
    assert [(pair.old.rule, pair.new.rule) for pair in found.changes[0].pairs] == [("r0", "r0"), ("r1", "r0")]


def test_what_otherwise_does_belongs_to_the_meaning() -> None:
    """Only what happens when the waits are used up differs."""
    text = policy_of(FRAUD, last="retry: {after: [1d]}").text
    with_otherwise = text.replace("retry: {after: [1d]}", "retry: {after: [1d]}, otherwise: {stop: needs_customer}")
    found = compare(read(text), read(with_otherwise))

    assert said(found.changes) == [
        ("try again after 1d", "try again after 1d; where that does not apply: stop: needs customer", "{}")
    ]


def test_payments_that_only_one_text_is_for_are_told() -> None:
    """Who is not covered any more gets another policy, or none: no rule of the new text says anything about them."""
    old = policy_of(FRAUD, scope="{method: card, country: [DE, AT]}")
    new = policy_of(FRAUD, scope="{method: card, country: [DE, CH]}")
    found = compare(old, new)

    assert [(each.now, each.given, each.rule.rule) for each in found.coverage] == [
        (False, "{country: AT}", "rest"),
        (True, "{country: CH}", "rest"),
    ]
    assert found.changes == ()
    assert not found.same


def test_retries_that_are_counted_apart_are_told() -> None:
    """A rule's waits are its own: split in two, a payment may get both lists."""
    old = policy_of(("{decline: [issuer_generic, issuer_temporary]}", "retry: {after: [1d]}"))
    new = policy_of(
        ("{decline: issuer_generic}", "retry: {after: [1d]}"), ("{decline: issuer_temporary}", "retry: {after: [1d]}")
    )

    assert compare(old, new).counted == ("retries of 'r0' are now counted apart in 'r0' and 'r1'",)
    assert compare(new, old).counted == ("retries of 'r0' and 'r1' are now counted together in 'r0'",)
    assert not compare(old, new).same


def test_a_new_name_is_no_difference() -> None:
    """It is told, because explanations name rules."""
    text = policy_of(FRAUD).text
    found = compare(read(text), read(text.replace("rest", "the end")))

    assert found.same
    assert found.renamed == (("rest", "the end"),)


DUNNING = """kind: dunning
name: p
applies_to: {method: card}
rules:
  - name: all
    steps:
      - {message: payment_failed, by: email}
      - {on: exhausted, after: 7d, cancel_subscription: true}
examples:
  - {given: {}, expect: all}
"""
REFUND = """kind: refund
name: p
applies_to: {method: card}
reasons: {duplicate: {}, damaged: {evidence: [photo]}}
rules:
  - {name: small, when: {amount: {lte: {EUR: 50.00}}, reason: damaged}, approve: auto}
  - {name: rest, review: {levels: [[lead, finance], [director]]}}
examples:
  - {given: {reason: damaged}, expect: small}
  - {given: {}, expect: rest}
"""


def test_campaigns_are_compared_step_by_step() -> None:
    """In whatever order they are written."""
    first, second = DUNNING.splitlines(keepends=True)[6:8]
    swapped = DUNNING.replace(first + second, second + first)
    first_step = "when the case opens: send payment_failed by email"
    later = DUNNING.replace("after: 7d", "after: 14d")

    assert compare(read(DUNNING), read(swapped)).same
    assert said(compare(read(DUNNING), read(later)).changes) == [
        (
            f"{first_step}; 7d after retries are exhausted: cancel the subscription",
            f"{first_step}; 14d after retries are exhausted: cancel the subscription",
            "{}",
        )
    ]


def test_refunds_are_compared_with_their_reasons() -> None:
    """Roles of one level in another order are the same; evidence and reasons are part of the meaning."""
    assert compare(read(REFUND), read(REFUND.replace("[lead, finance]", "[finance, lead]"))).same
    more = compare(read(REFUND), read(REFUND.replace("[photo]", "[photo, receipt]")))
    assert more.evidence == ("evidence for damaged: photo, now photo, receipt",)
    fewer = compare(read(REFUND), read(REFUND.replace("duplicate: {}, ", "")))
    assert [(each.now, each.given) for each in fewer.coverage] == [(False, "{reason: duplicate}")]
    larger = compare(read(REFUND), read(REFUND.replace("50.00", "80.00")))
    assert said(larger.changes) == [
        ("review by lead or finance, then by director", "approve", "{amount: {EUR: 50.01}, reason: damaged}")
    ]


REVIEW = "levels: [[lead, finance], [director]]"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ", limits: [{EUR: 9.00}]"),
        (", limits: [{EUR: 9.00}]", ", limits: [{EUR: 8.00}]"),
        (", limits: [{EUR: 9.00}]", ", limits: [{EUR: 9.00}, {EUR: 90.00}]"),
        (", within: 1d", ", within: 1d, escalate_to: [admin]"),
        (", within: 1d, escalate_to: [admin]", ", within: 1d, escalate_to: [admin, owner]"),
        ("", ", expires: 9d"),
        (", expires: 9d", ", expires: 8d"),
    ],
)
def test_all_that_a_review_says_is_part_of_its_meaning(before: str, after: str) -> None:
    """Whoever may decide more, or longer, than before reads it in the difference."""
    old, new = (read(REFUND.replace(REVIEW, f"{REVIEW}{more}")) for more in (before, after))

    [(was, now, _)] = said(compare(old, new).changes)
    assert was != now
    assert all(words.startswith("review by lead or finance") for words in (was, now))


def test_a_review_in_another_spelling_means_the_same() -> None:
    """The order of roles and of currencies, and the unit of a time, make no difference."""
    one, other = (
        REFUND.replace(REVIEW, f"{REVIEW}, {more}")
        for more in (
            "limits: [{EUR: 9.00, JPY: 90}], within: 48h, escalate_to: [admin, owner], expires: 14d",
            "limits: [{JPY: 90, EUR: 9.00}], within: 2d, escalate_to: [owner, admin], expires: 2w",
        )
    )

    assert compare(read(one), read(other)).same


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", "balance_retries: [4h, 1d]", "not said, now 4h, 1d"),
        ("balance_retries: [4h, 1d]", "balance_retries: []", "4h, 1d, now none, a person is asked"),
        ("balance_retries: []", "", "none, a person is asked, now not said"),
    ],
)
def test_how_often_a_refund_without_balance_is_tried_is_told(before: str, after: str, words: str) -> None:
    """It is part of the meaning though no rule decides it."""
    old, new = (read(REFUND.replace("rules:", f"{more}\nrules:")) for more in (before, after))

    found = compare(old, new)

    assert not found.same
    assert found.balance == (f"waits for the gateway's balance: {words}",)
    assert f"! waits for the gateway's balance: {words}" in list(diff_lines(found))
    assert compare(new, new).balance == ()


def test_policies_of_two_kinds_are_not_compared() -> None:
    """They decide about different things."""
    with pytest.raises(KindsDiffer):
        compare(read(DUNNING), read(REFUND))


def test_what_takes_too_long_is_said() -> None:
    """Rules that were not held against each other may differ; nothing is called the same that wasn't looked at."""
    found = compare(policy_of(FRAUD, SOFT), policy_of(SOFT, FRAUD), steps=20)

    assert found.undecided
    assert not found.same


def test_progress_is_told_rule_by_rule() -> None:
    """For the bar."""
    seen: list[tuple[int, int]] = []
    compare(policy_of(FRAUD), policy_of(FRAUD, SOFT), progress=lambda done, total: seen.append((done, total)))

    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_examples_decide_in_the_engine_as_they_are_told() -> None:
    """What the report shows is what the service would do."""
    old, new = policy_of(FRAUD, SOFT), policy_of(SOFT)
    found: PolicyDiff = compare(old, new)
    engines = [compile_policy(policy, engine=EngineChoice.BEST) for policy in (old, new)]

    for pair in (pair for change in found.changes for pair in change.pairs):
        facts = facts_given(pair.given, new)
        assert [engine.verdict(facts).name for engine in engines] == [pair.old.rule, pair.new.rule]

    for engine in engines:
        engine.close()
