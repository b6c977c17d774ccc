"""What holds for every sequence of refund requests: approvals never add up to more than their bounds."""

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.domain.money import Money
from recoup_core.rules.deciding.refund import (
    Approve,
    Deny,
    EarlierRefund,
    Incomplete,
    RefundSituation,
    decide_refund,
)
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.facts import RefundFacts
from recoup_core.rules.language.schema import parse_policy

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
PER_AGENT, PER_DAY, PER_CUSTOMER, COUNT, WINDOW = 10_000, 15_000, 12_000, 4, timedelta(days=2)
TEXT = """kind: refund
name: bounded
applies_to: {}
reasons: {plain: {}, damaged: {evidence: [photo]}}
rules:
  - {name: late, when: {age_days: {gt: 180}}, deny: outside_window}
  - name: rest
    approve:
      per_agent_day: {EUR: 100.00, USD: 100.00}
      per_day: {EUR: 150.00, USD: 150.00}
      per_customer: {count: 4, amount: {EUR: 120.00, USD: 120.00}, within: 2d}
    otherwise: {review: {levels: [[support_lead]]}}
examples:
  - {given: {age_days: 181}, expect: late}
  - {given: {}, expect: rest}
"""


def bounded() -> CompiledPolicy:
    return compile_policy(parse_policy(TEXT, source="p.yaml"), engine=EngineChoice.CLOSURES)


POLICY = bounded()
BASE = POLICY.policy.baseline


class Asked(msgspec.Struct, frozen=True):
    """One request of a sequence."""

    after: timedelta
    agent: str
    customer: str
    amount: Money


class Approved(msgspec.Struct, frozen=True):
    at: datetime
    asked: Asked


amounts = st.builds(Money, st.integers(1, 9_000), st.sampled_from(["EUR", "USD", "JPY"]))
requests = st.builds(
    Asked,
    st.integers(0, 40).map(lambda hours: timedelta(hours=hours)),
    st.sampled_from(["ann", "ben"]),
    st.sampled_from(["x", "y"]),
    amounts,
)


def facts_of(amount: Money, **more: object) -> RefundFacts:
    facts = POLICY.policy.vocabulary.given(BASE, {"amount": amount, **more})
    assert isinstance(facts, RefundFacts)
    return facts


def situation_of(asked: Asked, at: datetime, before: list[Approved]) -> RefundSituation:
    today = [one for one in before if one.at.date() == at.date()]
    return RefundSituation(
        now=at,
        agent_day=tuple(one.asked.amount for one in today if one.asked.agent == asked.agent),
        merchant_day=tuple(one.asked.amount for one in today),
        customer_refunds=tuple(
            EarlierRefund(at=one.at, amount=one.asked.amount) for one in before if one.asked.customer == asked.customer
        ),
    )


def worth(approved: list[Approved], currency: str) -> int:
    return sum(one.asked.amount.amount_minor for one in approved if one.asked.amount.currency == currency)


@settings(max_examples=150)
@given(st.lists(requests, max_size=25))
def test_approvals_one_after_another_stay_within_every_bound(sequence: list[Asked]) -> None:
    """However requests are spread over agents, customers, days and currencies; a currency not listed never passes."""
    now, approved = NOW, list[Approved]()
    for asked in sequence:
        now += asked.after
        decision = decide_refund(POLICY, facts_of(asked.amount), situation_of(asked, now, approved))
        if isinstance(decision.outcome, Approve):
            approved.append(Approved(now, asked))

    assert all(one.asked.amount.currency != "JPY" for one in approved)
    for one in approved:
        same_day = [each for each in approved if each.at.date() == one.at.date()]
        same_agent = [each for each in same_day if each.asked.agent == one.asked.agent]
        recent = [
            each
            for each in approved
            if each.asked.customer == one.asked.customer and one.at - WINDOW <= each.at <= one.at
        ]
        assert len(recent) <= COUNT
        for currency in ("EUR", "USD"):
            assert worth(same_agent, currency) <= PER_AGENT
            assert worth(same_day, currency) <= PER_DAY
            assert worth(recent, currency) <= PER_CUSTOMER


sums = st.lists(amounts, max_size=4).map(tuple)
earlier = st.lists(
    st.builds(EarlierRefund, at=st.integers(-72, 0).map(lambda hours: NOW + timedelta(hours=hours)), amount=amounts),
    max_size=6,
).map(tuple)
situations = st.builds(
    RefundSituation,
    now=st.just(NOW),
    evidence=st.lists(st.sampled_from(["photo", "letter"]), max_size=2).map(tuple),
    agent_day=st.none() | sums,
    merchant_day=sums,
    customer_refunds=st.none() | earlier,
)


@given(amounts, situations, amounts, st.sampled_from(["plain", "damaged"]))
def test_more_that_went_before_never_turns_a_no_into_a_yes(
    amount: Money, situation: RefundSituation, more: Money, reason: str
) -> None:
    """An approval stands with less before it; so no request gains by another one."""
    facts = facts_of(amount, reason=reason)
    heavier = msgspec.structs.replace(
        situation,
        agent_day=None if situation.agent_day is None else (*situation.agent_day, more),
        merchant_day=(*situation.merchant_day, more),
        customer_refunds=None
        if situation.customer_refunds is None
        else (*situation.customer_refunds, EarlierRefund(at=NOW, amount=more)),
    )

    light, heavy = (decide_refund(POLICY, facts, each).outcome for each in (situation, heavier))

    assert light == heavy or isinstance(light, Approve)


@given(amounts, amounts, situations)
def test_within_a_policy_that_only_bounds_a_larger_amount_never_fares_better(
    one: Money, other: Money, situation: RefundSituation
) -> None:
    """Whoever may get more back without a person may get less back so."""
    small, large = sorted((one.amount_minor, other.amount_minor))

    little = decide_refund(POLICY, facts_of(Money(small, one.currency)), situation).outcome
    much = decide_refund(POLICY, facts_of(Money(large, one.currency)), situation).outcome

    assert isinstance(little, Approve) or not isinstance(much, Approve)


@given(amounts, situations, st.integers(0, 400), st.sampled_from(["plain", "damaged", "not listed"]))
def test_only_what_is_complete_and_not_denied_gets_further(
    amount: Money, situation: RefundSituation, age: int, reason: str
) -> None:
    """A denial never depends on evidence or on what went before; without its evidence nothing is decided."""
    facts = msgspec.structs.replace(facts_of(amount, age_days=age), reason=reason)

    outcome = decide_refund(POLICY, facts, situation).outcome

    denied = reason == "not listed" or age > 180
    assert isinstance(outcome, Deny) is denied
    assert isinstance(outcome, Incomplete) is (not denied and reason == "damaged" and "photo" not in situation.evidence)
