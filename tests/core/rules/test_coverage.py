"""Coverage: counted as evaluations go, complete in what it lists, with facts that cover what is missing."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from tests.core.rules.asking import TREES, every, facts_of, few, read

from recoup_core.rules.language.closures import closure
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.examples import read_given
from recoup_core.rules.language.given import facts_given
from recoup_core.rules.language.schema import Policy, parse_policy, read_policy
from recoup_core.rules.language.yamltext import Map, read_tree
from recoup_core.rules.study.coverage import Coverage, Try, cover
from recoup_core.rules.study.self_test import self_test
from recoup_core.rules.study.solve import Wanted


def a_policy(*whens: str, define: str = "") -> Policy:
    """Rules r1, r2... with these conditions, and the last rule `rest`; its own examples are made as they must be."""
    rules = "\n".join(f"  - {{name: r{number}, when: {when}, stop: exhausted}}" for number, when in enumerate(whens, 1))
    names = [*(f"r{number}" for number in range(1, len(whens) + 1)), "rest"]
    found = "\n".join(f"  - {{given: {{}}, expect: {name}}}" for name in names)
    text = f"kind: retry\nname: p\napplies_to: {{method: card}}\n{define}rules:\n{rules}\n"
    text += f"  - {{name: rest, stop: exhausted}}\nexamples:\n{found}\n"
    policy, _ = read_policy(text, source="p.yaml")
    assert policy is not None
    return policy


def covered(policy: Policy, *given: dict[str, Any]) -> Coverage:
    """What these facts cover."""
    return cover(policy, [Try(facts=facts_given(each, policy.vocabulary, policy.baseline)) for each in given])


def missing(coverage: Coverage) -> set[tuple[str, str]]:
    """The branches that nothing tried."""
    return {(branch.condition, branch.wanted.value) for branch in coverage.missing}


def suggested(policy: Policy, given: str) -> dict[str, Any]:
    """Read a suggestion as the `given` of an example."""
    report = Report("suggestion")
    tree = read_tree(given, report)
    read = read_given(tree, ConditionReader(report, policy.vocabulary)) if isinstance(tree, Map) else None
    assert read is not None, report.problems
    return read


def test_a_comparison_is_covered_when_it_was_seen_both_ways() -> None:
    """True by one evaluation, not true by another."""
    policy = a_policy("{attempt: {lte: 3}}")

    assert missing(covered(policy, {"attempt": 1})) == {("{attempt: {lte: 3}}", "not true")}
    assert missing(covered(policy, {"attempt": 1}, {"attempt": 4})) == set()


def test_what_all_passes_over_is_not_seen() -> None:
    """`all` ends at the first part that is false."""
    policy = a_policy("{all: [{decline: fraud}, {attempt: 2}]}")

    seen = missing(covered(policy, {"decline": "unknown", "attempt": 2}))

    assert ("{attempt: 2}", "true") in seen
    assert ("{attempt: 2}", "not true") in seen
    assert ("{decline: fraud}", "not true") not in seen


def test_what_any_passes_over_is_not_seen() -> None:
    """`any` ends at the first part that is true."""
    policy = a_policy("{any: [{decline: fraud}, {attempt: 2}]}")

    seen = missing(covered(policy, {"decline": "fraud", "attempt": 3}))

    assert ("{attempt: 2}", "not true") in seen


def test_a_missing_fact_does_not_end_all() -> None:
    """As in the plain evaluator: the parts behind are still looked at."""
    policy = a_policy("{all: [{network_code: a}, {attempt: 2}]}")

    seen = missing(covered(policy, {"attempt": 2}))

    assert ("{attempt: 2}", "true") not in seen
    assert ("{network_code: a}", "not true") not in seen


def test_rules_below_the_one_that_fires_are_not_seen() -> None:
    """They were not looked at."""
    policy = a_policy("{attempt: {lte: 3}}", "{decline: fraud}")

    seen = missing(covered(policy, {"attempt": 1, "decline": "fraud"}))

    assert {("{decline: fraud}", "true"), ("{decline: fraud}", "not true")} <= seen


def test_a_definition_counts_once_and_its_uses_each() -> None:
    """What stands inside is one text, however often it is named."""
    policy = a_policy("small", "{all: [{attempt: 1}, small]}", define="define: {small: {has_backup: true}}\n")

    coverage = covered(policy, {"has_backup": True}, {"has_backup": False, "attempt": 1}, {"attempt": 2})

    assert [branch.condition for branch in coverage.missing if branch.define == "small"] == []
    assert coverage.percent < 100


def test_a_branch_that_no_facts_lead_to_does_not_count() -> None:
    """Rule 2's `small` can't be true: rule 1 has taken those; so 100 % can be reached."""
    policy = a_policy("{attempt: {lte: 3}}", "{any: [{attempt: {lte: 2}}, {decline: fraud}]}")

    coverage = covered(policy, {"attempt": 1}, {"attempt": 4, "decline": "fraud"}, {"attempt": 4, "decline": "unknown"})

    assert coverage.missing == ()
    assert coverage.branches == coverage.covered == 7
    assert coverage.percent == 100


@pytest.mark.parametrize(
    "whens",
    [
        ["{attempt: {lte: 3}}", "{decline: fraud}"],
        ["{all: [{decline: [fraud, unknown]}, {attempt: 2}, {not: {has_backup: true}}]}"],
        ["{any: [{decline: fraud}, {all: [{attempt: 2}, {network: {missing: true}}]}]}", "{network: visa}"],
        ["{not: {any: [{amount: {lt: {EUR: 10.00}}}, {customer.tier: gold}]}}", "{customer.tier: gold}"],
    ],
)
def test_trying_what_is_suggested_covers_everything(whens: list[str]) -> None:
    """Each suggestion leads to its branch; with all of them nothing is left."""
    policy = a_policy(*whens)
    first = cover(policy, [])
    given = [suggested(policy, branch.given) for branch in first.missing if branch.given is not None]
    tries = [Try(facts=policy.vocabulary.given(policy.baseline, each)) for each in given]

    assert len(given) == len(first.missing) == first.branches
    for branch, each in zip(first.missing, tries, strict=True):
        left = cover(policy, [each]).missing
        assert (branch.condition, branch.wanted, branch.line) not in {
            (other.condition, other.wanted, other.line) for other in left
        }
    assert cover(policy, tries).missing == ()


@settings(max_examples=200, deadline=None)
@given(written=TREES.filter(lambda written: few(written, 200)))
def test_coverage_evaluates_as_the_plain_evaluator_does(written: Any) -> None:
    """What fires here fires there; facts that try every branch are found, or there are none."""
    when = read(written)
    base = a_policy("{attempt: 1}")
    rules = (msgspec.structs.replace(base.rules[0], when=when), base.rules[1])
    policy = msgspec.structs.replace(base, rules=rules)
    tries = [Try(facts=facts) for facts in every(facts_of(written))]

    whole = cover(policy, tries)

    test = closure(when)
    assert whole.rules[0].action == sum(test(each.facts) is True for each in tries)
    assert whole.missing == (), "all facts that differ were tried: what is left over can't be reached"


def test_a_rule_with_otherwise_has_two_outcomes() -> None:
    """Fired is not enough: what counts when the retry does not apply is a path of its own."""
    text = """\
kind: retry
name: p
applies_to: {method: card}
rules:
  - name: backup
    when: {decline: expired_or_invalid_credentials}
    retry: {after: [1h], credential: backup}
    otherwise: {stop: needs_customer}
  - {name: rest, stop: exhausted}
examples:
  - {given: {decline: expired_or_invalid_credentials}, expect: backup}
  - {given: {decline: fraud}, expect: rest}
"""
    lacking = self_test(parse_policy(text, source="p.yaml"))
    more = "  - {given: {decline: expired_or_invalid_credentials, has_backup: true}, expect: backup}\n"
    whole = self_test(parse_policy(text + more, source="p.yaml"))

    assert [rule.missing for rule in lacking.coverage.rules] == [("action",), ()]
    assert lacking.coverage.percent < 100
    assert [rule.missing for rule in whole.coverage.rules] == [(), ()]
    assert whole.coverage.percent == 100


REVIEWED = """\
kind: refund
name: p
applies_to: {method: card}
rules:
  - name: small
    when: {amount: {lte: {EUR: 50.00}}}
    approve: {per_agent_day: {EUR: 60.00}}
    otherwise: {review: {levels: [[lead], [finance]], limits: [{EUR: 20.00}]}}
  - {name: rest, review: {levels: [[lead], [finance]], limits: [{EUR: 50.00}, {EUR: 500.00}]}}
examples:
  - {given: {amount: {EUR: 20.00}}, expect: small}
  - {given: {amount: {EUR: 20.01}, agent.refunded_today: {EUR: 60.00}}, expect: small}
  - {given: {amount: {EUR: 50.01}}, expect: rest}
"""


def test_each_level_that_may_decide_alone_is_a_branch() -> None:
    """So a limit that nobody tried is told; one that no amount leads to doesn't count: rule 1 takes all up to 50."""
    lacking = self_test(parse_policy(REVIEWED, source="p.yaml")).coverage

    assert [(branch.rule, branch.line, branch.condition, branch.given) for branch in lacking.missing] == [
        ("small", 5, "level 1 decides alone", None),
        ("rest", 9, "all levels decide", "{amount: {EUR: 500.01}}"),
    ]
    more = "  - {given: {amount: {EUR: 20.00}, agent.refunded_today: {EUR: 60.00}}, expect: small}\n"
    more += "  - {given: {amount: {EUR: 500.01}}, expect: rest}\n"
    whole = self_test(parse_policy(REVIEWED + more, source="p.yaml")).coverage
    assert whole.missing == ()
    assert whole.percent == 100
    assert lacking.branches == whole.branches == whole.covered == lacking.covered + 2


def test_a_timelines_decisions_count_like_examples() -> None:
    """They evaluate the same conditions."""
    text = """\
kind: retry
name: p
applies_to: {method: card}
rules:
  - {name: first, when: {attempt: {lte: 2}}, retry: {after: [1d, 1d]}}
  - {name: rest, when: {retryable: yes}, retry: {after: [1d]}}
  - {name: end, stop: exhausted}
examples:
  - {given: {}, expect: first}
  - {given: {attempt: 3}, expect: rest}
  - {given: {attempt: 4, retryable: no}, expect: end}
"""
    timeline = """\
timelines:
  - name: t
    start: 2026-03-02T10:00Z
    failures: [issuer_generic, issuer_generic, issuer_generic, fraud]
    expect: [{retry: 2026-03-03T10:00Z}, {retry: 2026-03-04T10:00Z}, {retry: 2026-03-05T10:00Z}, {stop: exhausted}]
"""
    run = self_test(parse_policy(text + timeline, source="p.yaml"))

    assert run.failed == 0
    assert [rule.action for rule in run.coverage.rules] == [3, 2, 2]


def test_a_policy_of_many_rules_ends_in_time() -> None:
    """Past the limit, branches count as not covered, with no suggestion."""
    policy = a_policy(*(f"{{all: [{{attempt: {number}}}, {{decline_code: c{number}}}]}}" for number in range(1, 400)))

    coverage = cover(policy, [])

    assert len(coverage.missing) == 399 * 6
    assert sum(branch.given is None for branch in coverage.missing) >= 399 * 6 - 500
    assert {branch.wanted for branch in coverage.missing} == set(Wanted)
