"""Whether facts exist is decided: against trying them all, on random conditions over every type of fact."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.rules.asking import TREES, every, facts_of, read

from recoup_core.domain.money import Money
from recoup_core.rules.facts import DUNNING, REFUND, RETRY, Facts, Vocabulary
from recoup_core.rules.language.applies import AppliesTo
from recoup_core.rules.language.as_given import given_text, minimal_given
from recoup_core.rules.language.closures import closure
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.examples import read_example
from recoup_core.rules.language.yamltext import read_tree
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.solve import Goal, Undecided, Wanted, find

MANY = settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(trees=st.lists(TREES, min_size=1, max_size=4), wanted=st.lists(st.sampled_from(Wanted), min_size=4, max_size=4))
def test_it_agrees_with_trying_everything(trees: list[Any], wanted: list[Wanted]) -> None:
    """Facts that are found do satisfy the goals, and where none are found there are none."""
    asked = [Goal(read(tree), want) for tree, want in zip(trees, wanted, strict=False)]
    tests = [(closure(goal.condition), goal.wanted) for goal in asked if goal.condition is not None]

    found = find(asked, RETRY)

    def good(facts: Facts) -> bool:
        return all((test(facts) is True) is (want is Wanted.TRUE) for test, want in tests)

    if found is None:
        assert not any(good(facts) for facts in every(facts_of(trees)))
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

    assert from_example(written) == found
    for name in written:
        assert from_example({each: value for each, value in written.items() if each != name}) != found


def from_example(written: dict[str, Any], vocabulary: Vocabulary = RETRY) -> Facts:
    """Return the facts of an example that gives this, as a policy file's are read."""
    report = Report("p.yaml")
    tree = read_tree(f"{{given: {given_text(written)}, expect: x}}", report)
    example = None if tree is None else read_example(tree, ConditionReader(report, vocabulary))
    assert example is not None, report.problems
    return example.facts(vocabulary, vocabulary.baseline)


def found_facts(
    *true: str, without: Sequence[str] = (), vocabulary: Vocabulary = RETRY, only: AppliesTo | None = None
) -> Facts | None:
    """Find facts for which the first conditions are true and the others are not."""
    asked = [Goal(read(text, vocabulary)) for text in true]
    asked += [Goal(read(text, vocabulary), Wanted.NOT_TRUE) for text in without]
    found = find(asked, vocabulary, only)
    assert not isinstance(found, Undecided)
    return found


# what must be true, what must not be, and what an example would give; None: there are no such facts
QUESTIONS: list[tuple[list[str], list[str], str | None]] = [
    ([], [], "{}"),
    (["{decline: fraud}"], [], "{decline: fraud}"),
    (["{decline: fraud}"], ["{decline: [fraud, unknown]}"], None),
    (["{decline_code: {not: a}}"], ["{decline_code: generic_decline}"], "{decline_code: another}"),
    (["{decline_code: {not: another}}"], ["{decline_code: generic_decline}"], "{decline_code: another1}"),
    (["{attempt: {gt: 3}}"], ["{attempt: {gte: 5}}"], "{attempt: 4}"),
    (["{attempt: {gt: 3}}"], ["{attempt: {gte: 4}}"], None),
    (["{attempt: {gte: 2}}", "{retries: 0}"], [], "{attempt: 2, retries: 0}"),
    (["{visa_category: {lte: 2}}", "{visa_category: {gte: 2}}"], [], "{visa_category: 2}"),
    (["{visa_category: {exists: true}}"], ["{visa_category: {lte: 3}}"], "{visa_category: 4}"),
    (["{visa_category: {exists: true}}"], ["{visa_category: {lte: 4}}"], None),
    ([], ["{network: visa}", "{network: {not: visa}}"], "{network: {missing: true}}"),
    ([], ["{has_backup: true}", "{has_backup: false}"], None),
    ([], ["{customer.vulnerable: true}", "{customer.vulnerable: false}"], "{}"),
    (
        ["{customer.tier: gold, subscription.plan: {not: free}}"],
        [],
        "{customer.tier: gold, subscription.plan: another}",
    ),
    (["{amount: {lt: {USD: 5.00}}}"], ["{currency: USD}"], None),
    (["{amount: {lt: {USD: 5.00, EUR: 5.00}}}"], [], "{amount: {EUR: 4.99}}"),
    (["{currency: [JPY, KWD]}", "{amount: {gt: {KWD: 1.250}}}"], [], "{amount: {KWD: 4.900}}"),
    (["{currency: JPY}"], ["{amount: {lte: {JPY: 1000}}}"], "{amount: {JPY: 4900}}"),
    (["{currency: JPY}"], ["{amount: {gt: {JPY: 1000}}}"], "{amount: {JPY: 1000}}"),
    (["{currency: JPY}"], ["{amount: {lte: {JPY: 1000}}}", "{amount: {gt: {JPY: 1000}}}"], None),
    ([], ["{currency: EUR}"], "{amount: {USD: 49.00}}"),
    ([], ["{amount: {gte: {EUR: 0}}}"], "{amount: {USD: 49.00}}"),
    (["{not: {amount: {gte: {EUR: 10.00}}}}"], [], "{amount: {EUR: 9.99}}"),
    (["{not: {amount: {gte: {EUR: 10.00}}}}", "{not: {currency: EUR}}"], [], None),
    (["{any: [{decline: fraud}, {attempt: 7}]}"], ["{decline: fraud}"], "{attempt: 7}"),
]


@pytest.mark.parametrize(("true", "not_true", "given_then"), QUESTIONS)
def test_facts_are_found_near_the_baseline(true: list[str], not_true: list[str], given_then: str | None) -> None:
    """An example shows only what matters; what can't be is known to be so."""
    found = found_facts(*true, without=not_true)

    if given_then is None:
        assert found is None
    else:
        assert found is not None
        assert given_text(minimal_given(found, RETRY, RETRY.baseline)) == given_then


def scope(vocabulary: Vocabulary, only: dict[str, tuple[str, ...]]) -> AppliesTo:
    return AppliesTo(vocabulary=vocabulary, only=only, line=1, column=1)


def test_only_payments_that_the_policy_is_for_count() -> None:
    """Outside `applies_to` no rule of the policy is ever asked."""
    only = scope(RETRY, {"method": ("sepa_debit",), "currency": ("EUR", "CHF")})

    assert found_facts("{method: card}", only=only) is None
    assert found_facts("{currency: USD}", only=only) is None
    found = found_facts("{amount: {gt: {CHF: 10.00}}}", only=only)
    assert found is not None
    assert (found.method, found.amount) == ("sepa_debit", Money(4900, "CHF"))


def test_a_missing_fact_is_in_no_list_of_applies_to() -> None:
    """As for the policy book."""
    only = scope(RETRY, {"country": ("DE", "AT")})

    assert found_facts("{country: {missing: true}}", only=only) is None
    assert found_facts(without=["{country: DE}", "{country: AT}"], only=only) is None


def test_dates_are_cut_to_the_day() -> None:
    """Between two days that follow each other lies nothing."""
    day = found_facts("{paid_on: {gt: 2026-02-27}}", "{paid_on: {lt: 2026-03-01}}", vocabulary=REFUND)

    assert day is not None
    assert given_text(minimal_given(day, REFUND, REFUND.baseline)) == "{paid_on: 2026-02-28}"
    assert found_facts("{paid_on: {gt: 2026-02-28}}", "{paid_on: {lt: 2026-03-01}}", vocabulary=REFUND) is None


def test_effective_dates_bound_the_payments_date() -> None:
    """A refund policy for one year never sees a payment of another."""
    only = AppliesTo(vocabulary=REFUND, only={}, effective=("2025-01-01", "2025-12-31"), line=1, column=1)

    assert found_facts("{paid_on: {gte: 2026-01-01}}", vocabulary=REFUND, only=only) is None
    assert found_facts("{paid_on: {gte: 2025-12-31}}", vocabulary=REFUND, only=only) is not None


def test_every_amount_carries_its_own_currency() -> None:
    """A limit in euros says nothing about what was refunded before in dollars."""
    found = found_facts(
        "{amount: {gt: {EUR: 10.00}}}", "{refunded_before: {gt: {USD: 10.00}}}", "{share_percent: 7}", vocabulary=REFUND
    )

    assert found is not None
    assert REFUND.facts["refunded_before"].get(found) == Money(1001, "USD")
    assert from_example(minimal_given(found, REFUND, REFUND.baseline), REFUND) == found


def test_a_group_that_exists_brings_its_defaults_only_where_nothing_else_is_wanted() -> None:
    """A customer who is known has had no refunds, unless the number is not known."""
    asked = "{customer.tier: gold}"
    usual = found_facts(asked, vocabulary=REFUND)
    odd = found_facts(asked, "{customer.refunds_30d: {missing: true}}", vocabulary=REFUND)

    assert usual is not None
    assert odd is not None
    assert given_text(minimal_given(usual, REFUND, REFUND.baseline)) == "{customer.tier: gold}"
    assert REFUND.facts["customer.refunds_30d"].get(odd) is None
    assert from_example(minimal_given(odd, REFUND, REFUND.baseline), REFUND) == odd


def test_dunning_has_facts_of_its_own() -> None:
    """The decider knows no kind of policy; the vocabulary is all it needs."""
    assert found_facts("{stop_reason: {exists: true}}", "{retry_planned: true}", vocabulary=DUNNING) is not None


def test_a_budget_that_ends_is_no_answer() -> None:
    """Not knowing is said, never guessed."""
    assert isinstance(find([Goal(read({"decline": "fraud"}))], RETRY, budget=Budget(0)), Undecided)
