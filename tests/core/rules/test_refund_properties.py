"""What holds for every sequence of refund requests: approvals never add up to more than their bounds."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

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
from recoup_core.rules.facts import REFUND, RefundFacts
from recoup_core.rules.language.actions import ReviewSpec
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.study.replay import Chunk, KeptDecision, KeptText, Redoer
from recoup_core.wiring import shipped_policies

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


@st.composite
def limited(draw: st.DrawFn) -> ReviewSpec:
    """A review whose limits rise, in currencies that some levels forget."""
    count = draw(st.integers(2, 5))
    rising = [sorted(draw(st.lists(st.integers(1, 9_000), min_size=count, max_size=count))) for _ in range(2)]
    levels = tuple((f"role_{number}",) for number in range(count))
    limits = [
        {currency: most[number] for currency, most in zip(("EUR", "USD"), rising, strict=True) if draw(st.booleans())}
        for number in range(draw(st.sampled_from((count, count - 1))))
    ]
    return ReviewSpec(levels=levels, limits=tuple(limits))


@given(limited(), amounts, amounts)
def test_a_jump_goes_to_the_first_level_that_may_and_more_money_never_to_a_lower_one(
    spec: ReviewSpec, one: Money, other: Money
) -> None:
    """Nobody decides beyond their limit alone, and whoever asks for more gets no lower level."""
    small, large = (Money(minor, one.currency) for minor in sorted((one.amount_minor, other.amount_minor)))

    def may(level: int, amount: Money) -> bool:
        if level >= len(spec.limits):
            return True
        limit = spec.limits[level].get(amount.currency)
        return limit is not None and amount.amount_minor <= limit

    everybody = len(spec.levels)
    for amount in (small, large):
        level = spec.alone(amount)
        assert [may(number, amount) for number in range(everybody if level is None else level)].count(True) == 0
        assert level is None or may(level, amount)
    lower, higher = (everybody if level is None else level for level in map(spec.alone, (small, large)))
    assert lower <= higher


SHIPPED = [
    compile_policy(parse_policy(path.read_text(), source=path.name), engine=EngineChoice.CLOSURES)
    for path in sorted((shipped_policies() / "refund").glob("*.yaml"))
]
TEXTS = {each.digest: KeptText(source=each.policy.source, body=each.policy.text) for each in (POLICY, *SHIPPED)}
REDOER = Redoer(EngineChoice.CLOSURES)
asked_facts = st.fixed_dictionaries(
    {"amount": st.builds(Money, st.integers(1, 2_000_000), st.sampled_from(["EUR", "USD", "JPY", "KWD"]))},
    optional={
        "age_days": st.integers(0, 200),
        "dispute": st.sampled_from(["none", "inquiry", "open", "won", "lost"]),
        "refunds_before": st.integers(0, 3),
        "payments": st.integers(1, 4),
        "channel": st.sampled_from(["api", "console"]),
        "customer.refunds_7d": st.none() | st.integers(0, 9),
        "customer.refunded_7d": st.none() | st.builds(Money, st.integers(0, 9_000), st.just("EUR")),
        "customer.refunds_365d": st.integers(0, 9),
        "subscription.used_percent": st.integers(0, 100),
        "agent.role": st.sampled_from(["agent", "support_lead"]),
    },
)


@settings(max_examples=200)
@given(st.sampled_from([POLICY, *SHIPPED]), asked_facts, situations, st.data())
def test_every_stored_decision_about_a_refund_comes_out_the_same_again(
    policy: CompiledPolicy, known: dict[str, object], situation: RefundSituation, data: st.DataObject
) -> None:
    """Facts, situation, outcome and explanation lie in the database as JSON; replay needs nothing else (promise 9)."""
    reasons = policy.policy.reasons or {}
    known["reason"] = data.draw(st.sampled_from([*reasons, "not listed"]))
    facts = REFUND.given(policy.policy.baseline, known)
    assert isinstance(facts, RefundFacts)
    decision = decide_refund(policy, facts, situation)
    row = KeptDecision(
        id=UUID(int=1),
        merchant_id="acme",
        refund_id=UUID(int=2),
        kind="refund",
        policy_digest=policy.digest,
        rule=decision.rule,
        facts=msgspec.json.encode(facts).decode(),
        situation=msgspec.json.encode(situation).decode(),
        outcome=msgspec.json.encode(decision.outcome).decode(),
        explanation=msgspec.json.encode(decision.explanation).decode(),
        decided_at=NOW,
    )

    assert REDOER(Chunk(rows=(row,), texts=TEXTS)).differences == ()
    [altered] = REDOER(Chunk(rows=(msgspec.structs.replace(row, outcome="{}"),), texts=TEXTS)).differences
    assert (altered.about, altered.case_id) == (f"refund {UUID(int=2)}", None)
