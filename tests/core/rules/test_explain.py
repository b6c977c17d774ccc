"""Explaining: which policy decides and why not the others, down to the rules that were not reached; for every kind."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.errors import CurrencyMismatch
from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.rules.deciding.decide import Retry, Stop
from recoup_core.rules.deciding.dunning import Campaign
from recoup_core.rules.deciding.explain import Explained, explain
from recoup_core.rules.deciding.refund import Deny, Incomplete, NothingToRefund, Review
from recoup_core.rules.deciding.what_if import WhatIf
from recoup_core.rules.deciding.words import explanation_lines, stored_words
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import VOCABULARIES, Fact, FactKind, Facts, PolicyKind
from recoup_core.rules.language.given import facts_given
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)

WIDE = """\
kind: retry
name: wide
applies_to: {method: card}
rules:
  - {name: fraud, when: {decline: fraud}, stop: not_retryable}
  - {name: gold waits, when: {customer.tier: gold, attempt: {not: 9}}, retry: {after: [2d]}}
  - {name: rest, stop: exhausted}
examples:
  - {given: {decline: fraud}, expect: fraud}
  - {given: {customer.tier: gold}, expect: gold waits}
  - {given: {}, expect: rest}
"""
NARROW = WIDE.replace("name: wide", "name: narrow").replace("{method: card}", "{method: card, segment: business}")
OTHER = WIDE.replace("name: wide", "name: other").replace("{method: card}", "{method: sepa_debit}")

CAMPAIGN = """\
kind: dunning
name: campaign
applies_to: {method: card}
rules:
  - name: campaign
    steps:
      - {message: payment_failed, by: email}
      - {on: before_retry, ahead: 1d, message: retry_notice, by: email}
      - {on: exhausted, after: 1d, cancel_subscription: true}
examples:
  - {given: {}, expect: campaign}
"""

REFUNDS = """\
kind: refund
name: refunds
applies_to: {method: card}
reasons: {duplicate: {}, damaged: {evidence: [photo]}}
rules:
  - {name: too late, when: {age_days: {gt: 180}}, deny: outside_window}
  - name: small
    when: {amount: {lte: {EUR: 50.00}}}
    approve: {per_agent_day: {EUR: 100.00}}
    otherwise: {review: {levels: [[support_lead]]}}
  - {name: rest, review: {levels: [[support_lead], [finance, admin]]}}
examples:
  - {given: {age_days: 181}, expect: too late}
  - {given: {amount: {EUR: 10.00}}, expect: small}
  - {given: {amount: {EUR: 100.00}}, expect: rest}
"""


def compiled(text: str) -> CompiledPolicy:
    """By the plain evaluator."""
    return CompiledPolicy(parse_policy(text, source="p.yaml"), None)


def facts(kind: PolicyKind, **given: Any) -> Facts:
    """What is given over the kind's baseline."""
    return facts_given(
        {name.replace("__", "."): each for name, each in given.items()}, VOCABULARIES[kind], VOCABULARIES[kind].baseline
    )


def asked(text: str, what_if: WhatIf | None = None, **given: Any) -> Explained:
    """Explain one policy's decision."""
    policy = compiled(text)
    return explain(policy, facts(policy.policy.kind, **given), what_if or WhatIf(now=NOW))


def test_the_narrowest_policy_decides_and_the_others_say_why_not() -> None:
    """Each with the facts that keep it out, or that it is not narrow enough."""
    policies = [compiled(each) for each in (WIDE, NARROW, OTHER)]
    business = facts(PolicyKind.RETRY, segment="business")

    told = explain(PolicyBook(policies).choose(PolicyKind.RETRY, business), business, WhatIf(now=NOW), policies)

    assert told.policy == "narrow"
    assert {other.policy: other.because for other in told.others} == {
        "wide": ("it covers this, too, but narrow is narrower",),
        "other": ("method is card, not sepa_debit",),
    }


def test_rules_below_the_one_that_fires_are_named_as_not_reached() -> None:
    """Their conditions were not looked at."""
    told = asked(WIDE, decline="fraud", retryable="no")

    assert isinstance(told.outcome, Stop)
    assert [rule.rule for rule in told.not_reached] == ["gold waits", "rest"]
    assert "  not reached: gold waits (line 6), rest (line 7)" in told.words
    assert told.words[-1] == "=> stop: not retryable"


def test_each_condition_stands_with_its_value_and_verdict() -> None:
    """In words as in data."""
    told = asked(WIDE, customer__tier="gold")

    assert isinstance(told.outcome, Retry)
    assert "           customer.tier is gold?  yes, it is gold" in told.words
    assert "           attempt is not 9?  yes, it is 1" in told.words
    assert told.words[-1] == "=> try again at 2026-03-04 10:00 UTC, through sandbox"


def test_a_policy_that_does_not_cover_the_facts_says_so() -> None:
    """It was asked by name all the same."""
    told = asked(NARROW)

    assert not told.covers
    assert any("does not cover" in line for line in told.words)


def test_a_dunning_decision_tells_when_each_step_comes_or_why_not() -> None:
    """On an ordinary case: the first failure just now, a retry in a day unless it is said when."""
    told = asked(CAMPAIGN, WhatIf(now=NOW, retry_at=NOW + timedelta(days=5)))

    assert isinstance(told.outcome, Campaign)
    assert [step.at for step in told.outcome.steps] == [NOW, NOW + timedelta(days=4)]
    assert any("not planned: the case is not exhausted" in line for line in told.words)


def test_an_exhausted_case_gets_its_last_steps() -> None:
    """`retry_planned: false` says that no retry follows."""
    told = asked(CAMPAIGN, retry_planned=False, stop_reason="exhausted")

    assert "1d after the case was exhausted" in "\n".join(told.words)
    assert isinstance(told.outcome, Campaign)
    assert told.outcome.steps[-1].at == NOW + timedelta(days=1)


def test_a_refunds_bounds_count_what_the_facts_say() -> None:
    """60 EUR approved today and 50 asked for are more than 100."""
    within = asked(REFUNDS, reason="duplicate", amount={"EUR": "50.00"})
    beyond = asked(REFUNDS, reason="duplicate", amount={"EUR": "50.00"}, agent__refunded_today={"EUR": "60.00"})

    assert within.words[-1] == "=> approve"
    assert isinstance(beyond.outcome, Review)
    assert any("60.00 EUR" in line and "110.00 EUR" in line for line in beyond.words)


@pytest.mark.parametrize(
    ("known", "approved"),
    [
        ({}, True),
        ({"refunded_30d": {"EUR": "100.01"}}, False),
        ({"refunds_30d": 500}, False),
        ({"refunds_365d": 500}, False),
        ({"refunds_30d": 1, "refunded_30d": {"EUR": "50.00"}, "refunded_365d": {"EUR": "51.00"}}, True),
        ({"refunds_30d": 1, "refunded_30d": {"EUR": "50.00"}, "refunded_365d": {"EUR": "51.01"}}, False),
        ({"refunds_30d": 10_000}, False),
    ],
)
def test_what_the_facts_tell_of_a_customers_refunds_counts(known: dict[str, Any], approved: bool) -> None:
    """A sum without a number, more refunds than anybody makes, those of the year: nothing looks kinder than it is."""
    bounds = "{per_customer: {count: 500, amount: {EUR: 100.00}, within: 300d}}"
    text = REFUNDS.replace("{per_agent_day: {EUR: 100.00}}", bounds)

    told = asked(text, reason="duplicate", amount={"EUR": "49.00"}, customer=known)

    assert (told.words[-1] == "=> approve") is approved, told.words


LIMITED = REFUNDS.replace(
    "{levels: [[support_lead], [finance, admin]]}",
    "{levels: [[support_lead], [finance, admin]], limits: [{EUR: 100.00}, {EUR: 500.00}],"
    " within: 2d, escalate_to: [director], expires: 9d}",
)


def test_a_review_is_told_with_its_limit_and_its_times() -> None:
    """Who may decide how much, who takes over when, and when nobody may any more."""
    one = asked(LIMITED, reason="duplicate", amount={"EUR": "100.01"})
    all_of_them = asked(LIMITED, reason="duplicate", amount={"EUR": "500.01"})

    times = ", by 2026-03-04 10:00 UTC, after that also director, closed at 2026-03-11 10:00 UTC"
    assert one.words[-1] == f"=> review: finance or admin, who may decide up to 500.00 EUR alone{times}"
    assert one.words[-2] == (
        "  review: by finance or admin; level 1 may decide at most 100.00 EUR alone; level 2 may decide at most "
        "500.00 EUR alone, and does; within 2d; after that also by director; closed after 9d"
    )
    assert all_of_them.words[-1] == f"=> review: support_lead, then finance or admin{times}"


@pytest.mark.parametrize(
    ("known", "approved"),
    [
        ({"refunds_7d": 1}, True),
        ({"refunds_7d": 2}, False),
        ({"refunds_7d": 1, "refunds_30d": 5}, True),
        ({"refunds_30d": 2}, False),
        ({"refunded_7d": {"EUR": "51.01"}}, False),
        ({"refunded_7d": {"EUR": "1.00"}, "refunded_30d": {"EUR": "500.00"}}, True),
    ],
)
def test_what_a_customer_got_in_a_week_is_told_apart_from_the_month(known: dict[str, Any], approved: bool) -> None:
    """Where the facts say so; else those of the month are taken to be as recent as they can be."""
    bounds = "{per_customer: {count: 2, amount: {EUR: 100.00}, within: 7d}}"
    text = REFUNDS.replace("{per_agent_day: {EUR: 100.00}}", bounds)

    told = asked(text, reason="duplicate", amount={"EUR": "49.00"}, customer=known)

    assert (told.words[-1] == "=> approve") is approved, told.words


def test_a_refund_without_its_evidence_is_incomplete() -> None:
    """All that is needed is taken to be there unless it is said what is."""
    given = {"reason": "damaged", "amount": {"EUR": "50.00"}}

    assert asked(REFUNDS, **given).words[-1] == "=> approve"
    lacking = asked(REFUNDS, WhatIf(now=NOW, evidence=()), **given)
    assert isinstance(lacking.outcome, Incomplete)
    assert any("still missing: photo" in line for line in lacking.words)


def test_a_reason_that_is_not_listed_is_denied_before_any_rule() -> None:
    """So none was reached."""
    told = asked(REFUNDS, reason="boredom")

    assert isinstance(told.outcome, Deny)
    assert [rule.rule for rule in told.not_reached] == ["too late", "small", "rest"]
    assert any("not in the policy's list" in line for line in told.words)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (WIDE, {"customer": {"tier": "gold"}}),
        (WIDE, {"decline": "fraud"}),
        (CAMPAIGN, {}),
        (CAMPAIGN, {"retry_planned": False}),
        (REFUNDS, {"reason": "duplicate"}),
        (REFUNDS, {"reason": "duplicate", "amount": {"EUR": "10.00"}}),
        (REFUNDS, {"reason": "boredom"}),
        (LIMITED, {"reason": "duplicate", "amount": {"EUR": "100.01"}}),
    ],
)
def test_stored_decisions_of_every_kind_read_like_fresh_ones(text: str, given: dict[str, Any]) -> None:
    """What is in the database is told in the same words."""
    told = asked(text, **given)

    stored = stored_words(told.kind, msgspec.json.encode(told.outcome), msgspec.json.encode(told.explanation))

    assert told.words[-1] == f"=> {stored[0]}"
    assert list(stored[1:]) == list(explanation_lines(told.explanation))


AGED = REFUNDS.replace("approve: {per_agent_day: {EUR: 100.00}}", "approve: {within: 30d}")


@pytest.mark.parametrize("text", [WIDE, CAMPAIGN, REFUNDS, AGED])
def test_facts_at_the_ends_of_their_ranges_are_answered(text: str) -> None:
    """Whatever may be given is decided about, or refused by a rule that says so; never a fault of ours."""
    policy = compiled(text)
    asked_about = [fact for fact in policy.policy.vocabulary.facts.values() if fact.name != "currency"]
    ends = [(fact.name, value) for fact in asked_about for value in _ends(fact)]

    for name, value in ends:
        given = facts_given({name: value}, policy.policy.vocabulary, policy.policy.baseline)
        with suppress(CurrencyMismatch, NothingToRefund):
            assert explain(policy, given, WhatIf(now=NOW)).words, name


def _ends(fact: Fact) -> list[Any]:
    """The least and the most that a fact may be, and that it is missing."""
    missing = [None] if fact.optional else []
    if fact.kind is FactKind.INT:
        return [fact.low, fact.high, *missing]
    if fact.kind is FactKind.DATE:
        return ["0001-01-01", "9999-12-31", *missing]
    if fact.kind is FactKind.MONEY:
        most = {"amount_minor": MAX_AMOUNT_MINOR, "currency": "EUR"}
        return [{"EUR": "0"}, most, {"JPY": "1"}, *missing]
    if fact.kind is FactKind.BOOL:
        return [True, False, *missing]
    return [fact.choices[0] if fact.choices else "x" * 64, *missing]
