"""What a refund policy answers: approved within every bound, reviewed by whom, denied, or incomplete."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.errors import CurrencyMismatch
from recoup_core.domain.money import Money
from recoup_core.rules.deciding.refund import (
    Approve,
    Deny,
    EarlierRefund,
    Incomplete,
    NothingToRefund,
    RefundDecision,
    RefundOutcome,
    RefundSituation,
    Review,
    decide_refund,
)
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.engine.trace import Outcome
from recoup_core.rules.facts import RefundFacts
from recoup_core.rules.language.schema import parse_policy

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEAD = Review(levels=(("support_lead",),))
POLICY = """kind: refund
name: a-policy
applies_to: {{}}
reasons:
  duplicate: {{}}
  damaged: {{evidence: [photo, receipt]}}
rules:
  - name: late
    when: {{age_days: {{gt: 180}}}}
    deny: outside_window
  - name: large
    when: {{amount: {{gt: {{EUR: 500.00}}}}}}
    review: {{levels: [[support_lead, agent_lead], [finance]], within: 2d}}
  - name: rest
    approve: {approve}
    otherwise: {otherwise}
examples:
  - {{given: {{age_days: 181}}, expect: late}}
  - {{given: {{amount: {{EUR: 500.01}}}}, expect: large}}
  - {{given: {{}}, expect: rest}}
"""


def a_policy(approve: str, otherwise: str = "{review: {levels: [[support_lead]]}}") -> CompiledPolicy:
    text = POLICY.format(approve=approve, otherwise=otherwise)
    return compile_policy(parse_policy(text, source="p.yaml"), engine=EngineChoice.CLOSURES)


def facts_for(policy: CompiledPolicy, **given: object) -> RefundFacts:
    facts = policy.policy.vocabulary.given(policy.policy.baseline, given)
    assert isinstance(facts, RefundFacts)
    return facts


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def refunds(*days_ago: float, amount: Money | None = None) -> tuple[EarlierRefund, ...]:
    return tuple(EarlierRefund(at=NOW - timedelta(days=days), amount=amount or eur(1000)) for days in days_ago)


BY_AGENT = "{per_agent_day: {EUR: 100.00}}"
BY_DAY = "{per_day: {EUR: 100.00}}"
BY_COUNT = "{per_customer: {count: 2, within: 30d}}"
BY_AMOUNT = "{per_customer: {amount: {EUR: 100.00}, within: 30d}}"

BOUNDS = [
    # the bound, what is asked back, the situation, the answer, the bound's verdict and figures
    (BY_AGENT, eur(10_000), {"agent_day": ()}, Approve(), ("true", "0.00 EUR", "100.00 EUR")),
    (BY_AGENT, eur(10_001), {"agent_day": ()}, LEAD, ("false", "0.00 EUR", "100.01 EUR")),
    (BY_AGENT, eur(4900), {"agent_day": (eur(5100),)}, Approve(), ("true", "51.00 EUR", "100.00 EUR")),
    (BY_AGENT, eur(4900), {"agent_day": (eur(5101),)}, LEAD, ("false", "51.01 EUR", "100.01 EUR")),
    (BY_AGENT, eur(4900), {"agent_day": (Money(9999, "USD"),)}, Approve(), ("true", "0.00 EUR", "49.00 EUR")),
    (BY_AGENT, eur(4900), {"agent_day": None}, LEAD, ("missing", None, None)),
    (BY_AGENT, Money(1, "USD"), {"agent_day": ()}, LEAD, ("missing", None, None)),
    (BY_DAY, eur(4900), {"merchant_day": (eur(5100),)}, Approve(), ("true", "51.00 EUR", "100.00 EUR")),
    (BY_DAY, eur(4900), {"merchant_day": (eur(5101),)}, LEAD, ("false", "51.01 EUR", "100.01 EUR")),
    (BY_DAY, Money(1, "JPY"), {}, LEAD, ("missing", None, None)),
    (BY_COUNT, eur(4900), {"customer_refunds": refunds(1)}, Approve(), ("true", "1", "2")),
    (BY_COUNT, eur(4900), {"customer_refunds": refunds(1, 2)}, LEAD, ("false", "2", "3")),
    (BY_COUNT, eur(4900), {"customer_refunds": refunds(1, 30)}, LEAD, ("false", "2", "3")),
    (BY_COUNT, eur(4900), {"customer_refunds": refunds(1, 30.0001)}, Approve(), ("true", "1", "2")),
    (BY_COUNT, eur(4900), {"customer_refunds": refunds(1, 2, amount=Money(1, "JPY"))}, LEAD, ("false", "2", "3")),
    (BY_COUNT, eur(4900), {"customer_refunds": None}, LEAD, ("missing", None, None)),
    (BY_AMOUNT, eur(8000), {"customer_refunds": refunds(1, 2)}, Approve(), ("true", "20.00 EUR", "100.00 EUR")),
    (BY_AMOUNT, eur(8001), {"customer_refunds": refunds(1, 2)}, LEAD, ("false", "20.00 EUR", "100.01 EUR")),
    (BY_AMOUNT, eur(8001), {"customer_refunds": refunds(1, 31)}, Approve(), ("true", "10.00 EUR", "90.01 EUR")),
    (BY_AMOUNT, eur(100), {"customer_refunds": None}, LEAD, ("missing", None, None)),
]


@pytest.mark.parametrize(("approve", "amount", "known", "wanted", "figures"), BOUNDS)
def test_a_bound_counts_what_was_before_and_this_one(
    approve: str, amount: Money, known: dict[str, Any], wanted: RefundOutcome, figures: tuple[str, ...]
) -> None:
    """Exactly the bound is still allowed, one more is not, and what can't be told is not either."""
    policy = a_policy(approve)

    decision = decide_refund(policy, facts_for(policy, amount=amount), RefundSituation(now=NOW, **known))

    [bound] = decision.explanation.bounds
    assert decision.outcome == wanted
    assert (bound.verdict.value, bound.before, bound.total) == figures


def test_a_customer_with_endless_refunds_is_never_within_bounds() -> None:
    """Of a list that was cut nobody can tell what counts, however small the refunds and however long ago."""
    policy = a_policy(BY_AMOUNT)
    tiny = refunds(*[200] * 1000, amount=eur(1))
    situations = [RefundSituation(now=NOW, customer_refunds=known) for known in (tiny, (*tiny, tiny[0]))]

    outcomes = [decide_refund(policy, facts_for(policy), each).outcome for each in situations]

    assert outcomes == [Approve(), LEAD]


@pytest.mark.parametrize(("age", "wanted"), [(30, Approve()), (31, LEAD)])
def test_the_age_of_the_payment_bounds_an_approval(age: int, wanted: RefundOutcome) -> None:
    """Whole days, the last one included."""
    policy = a_policy("{within: 30d}")

    assert decide_refund(policy, facts_for(policy, age_days=age), RefundSituation(now=NOW)).outcome == wanted


def test_every_bound_must_allow_and_each_speaks() -> None:
    """An agent who reads why sees all of it, not only the first bound that refused."""
    policy = a_policy("{within: 30d, per_agent_day: {EUR: 60.00}, per_day: {EUR: 90.00}}")
    situation = RefundSituation(now=NOW, zone="Asia/Tokyo", agent_day=(eur(1000),), merchant_day=(eur(5000),))

    decision = decide_refund(policy, facts_for(policy), situation)

    assert decision.outcome == LEAD
    assert [(bound.bound, bound.verdict) for bound in decision.explanation.bounds] == [
        ("within", Outcome.TRUE),
        ("per_agent_day", Outcome.TRUE),
        ("per_day", Outcome.FALSE),
    ]
    approve, review = decision.explanation.actions
    assert (approve.action, approve.applied) == ("approve", False)
    assert approve.because == (
        "per_day: 50.00 EUR approved on 2026-11-23 (Asia/Tokyo), 99.00 EUR with this refund, more than 90.00 EUR",
    )
    assert (review.action, review.applied, review.because) == ("otherwise review", True, ("by support_lead",))


def test_a_day_is_the_merchants_own() -> None:
    """When it is noon in London on the 23rd, the 24th has begun in Auckland."""
    policy = a_policy(BY_DAY)

    decision = decide_refund(policy, facts_for(policy), RefundSituation(now=NOW, zone="Pacific/Auckland"))

    assert "on 2026-11-24 (Pacific/Auckland)" in decision.explanation.bounds[0].because


def test_a_review_names_its_levels_and_its_time() -> None:
    """Any of a level's roles, one level after the other, all by one time."""
    policy = a_policy(BY_DAY)

    decision = decide_refund(policy, facts_for(policy, amount=eur(50_001)), RefundSituation(now=NOW))

    assert decision.rule == "large"
    assert decision.outcome == Review(
        levels=(("support_lead", "agent_lead"), ("finance",)), decide_by=NOW + timedelta(days=2)
    )
    assert decision.explanation.actions[0].because == ("by support_lead or agent_lead, then finance", "within 2d")


LIMITS = (
    "{review: {levels: [[support_lead], [finance, controller], [director]],"
    " limits: [{EUR: 50.00}, {EUR: 80.00, JPY: 9000}], within: 2d, escalate_to: [admin], expires: 2w}}"
)
NONE_ABOVE = "{review: {levels: [[support_lead], [finance]], limits: [{EUR: 50.00}, {EUR: 80.00}]}}"
TIMES = ("within 2d", "after that also by admin", "closed after 14d")

JUMPS = [
    # what happens beyond the bounds, the amount, who decides, up to what, and why
    (
        LIMITS,
        eur(5000),
        (("support_lead",),),
        eur(5000),
        ("by support_lead", "level 1 may decide at most 50.00 EUR alone, and does", *TIMES),
    ),
    (
        LIMITS,
        eur(5001),
        (("finance", "controller"),),
        eur(8000),
        (
            "by finance or controller",
            "level 1 may decide at most 50.00 EUR alone",
            "level 2 may decide at most 80.00 EUR alone, and does",
            *TIMES,
        ),
    ),
    (
        LIMITS,
        Money(9001, "JPY"),
        (("director",),),
        None,
        (
            "by director",
            "level 1 may decide nothing in JPY alone",
            "level 2 may decide at most 9000 JPY alone",
            "level 3 may decide any amount alone, and does",
            *TIMES,
        ),
    ),
    (
        NONE_ABOVE,
        eur(8001),
        (("support_lead",), ("finance",)),
        None,
        (
            "by support_lead, then finance",
            "level 1 may decide at most 50.00 EUR alone",
            "level 2 may decide at most 80.00 EUR alone",
            "no level may decide it alone, so all do",
        ),
    ),
]


@pytest.mark.parametrize(("otherwise", "amount", "levels", "limit", "because"), JUMPS)
def test_a_review_jumps_to_the_level_whose_limit_fits(
    otherwise: str, amount: Money, levels: tuple[tuple[str, ...], ...], limit: Money | None, because: tuple[str, ...]
) -> None:
    """That level decides alone, and the trace says why; where no limit fits, the strictest reading counts."""
    policy = a_policy(BY_DAY, otherwise)
    full = RefundSituation(now=NOW, merchant_day=(eur(10_000),))

    decision = decide_refund(policy, facts_for(policy, amount=amount), full)

    outcome = decision.outcome
    assert isinstance(outcome, Review)
    assert (outcome.levels, outcome.limit) == (levels, limit)
    assert decision.explanation.actions[-1].because == because


def test_a_review_says_who_takes_over_and_when_it_is_closed() -> None:
    """All times are counted from the request."""
    policy = a_policy(BY_DAY, LIMITS)
    full = RefundSituation(now=NOW, merchant_day=(eur(10_000),))

    assert decide_refund(policy, facts_for(policy), full).outcome == Review(
        levels=(("support_lead",),),
        decide_by=NOW + timedelta(days=2),
        escalate_to=("admin",),
        expires_at=NOW + timedelta(days=14),
        limit=eur(5000),
    )


def test_a_review_of_the_first_days_has_the_same_json_for_good() -> None:
    """Decisions stored before there were limits must still come out the same, to the last key (promise 9)."""
    stored = b'{"type":"review","levels":[["support_lead"]],"decide_by":null}'
    timed = b'{"type":"review","levels":[["a","b"],["c"]],"decide_by":"2026-11-25T12:00:00Z"}'

    for written in (stored, timed):
        assert msgspec.json.encode(msgspec.json.decode(written, type=Review)) == written
    assert msgspec.json.encode(LEAD) == stored


def test_what_people_told_of_a_review_need_not_have_a_time() -> None:
    """Histories of other systems may leave `decide_by` out (docs/policies/history.md)."""
    assert msgspec.json.decode(b'{"type":"review","levels":[["support_lead"]]}', type=Review) == LEAD


@pytest.mark.parametrize("given", [{"evidence": ("receipt",)}, {"evidence": ("receipt", "letter")}])
@pytest.mark.parametrize("amount", [eur(100), eur(20_000), eur(50_001)])
def test_nothing_is_approved_or_reviewed_without_its_evidence(given: dict[str, Any], amount: Money) -> None:
    """A reason that needs proof waits for all of it, whoever would decide then."""
    policy = a_policy(BY_DAY)

    decision = decide_refund(
        policy, facts_for(policy, reason="damaged", amount=amount), RefundSituation(now=NOW, **given)
    )

    assert decision.outcome == Incomplete(missing=("photo",))
    assert decision.explanation.reason.evidence == ("photo", "receipt")


def test_with_its_evidence_it_is_decided() -> None:
    """More than was asked for does no harm."""
    policy = a_policy(BY_DAY)
    situation = RefundSituation(now=NOW, evidence=("letter", "receipt", "photo"))

    assert decide_refund(policy, facts_for(policy, reason="damaged"), situation).outcome == Approve()


def test_a_denial_stays_one_without_evidence() -> None:
    """Nobody is asked for photos of what won't be refunded anyway; neither by rule nor beyond the bounds."""
    policy = a_policy(BY_DAY, "{deny: day_is_full}")
    facts = facts_for(policy, reason="damaged")

    late = decide_refund(policy, msgspec.structs.replace(facts, age_days=181), RefundSituation(now=NOW))
    full = decide_refund(policy, facts, RefundSituation(now=NOW, merchant_day=(eur(10_000),)))

    assert late.outcome == Deny(reason="outside_window")
    assert full.outcome == Deny(reason="day_is_full")
    assert [action.action for action in full.explanation.actions] == ["approve", "otherwise deny"]


def test_a_reason_that_is_not_listed_is_denied_before_any_rule() -> None:
    """The list is closed: no rule is asked, and none may let it through."""
    policy = a_policy(BY_DAY)
    facts = msgspec.structs.replace(facts_for(policy), reason="because")

    decision = decide_refund(policy, facts, RefundSituation(now=NOW))

    assert decision.outcome == Deny(reason="reason_not_allowed")
    assert decision.rule == ""
    assert decision.explanation.rules == ()
    assert decision.explanation.reason.listed is False


def test_money_of_another_currency_than_the_payments_is_refused() -> None:
    """Currencies never mix; a policy is not even asked."""
    policy = a_policy(BY_DAY)
    facts = facts_for(policy, amount=Money(4900, "USD"), payment_amount=eur(4900))

    with pytest.raises(CurrencyMismatch):
        decide_refund(policy, facts, RefundSituation(now=NOW))


@pytest.mark.parametrize("minor", [0, -1])
def test_less_than_something_is_refused(minor: int) -> None:
    """A negative refund would make room under every bound."""
    policy = a_policy(BY_DAY)
    facts = msgspec.structs.replace(facts_for(policy), amount=eur(minor))

    with pytest.raises(NothingToRefund, match="must be more than nothing"):
        decide_refund(policy, facts, RefundSituation(now=NOW))


def test_a_decision_says_which_rules_did_not_fire() -> None:
    """Each rule up to the one that fired, with what it compared."""
    policy = a_policy(BY_DAY)

    decision = decide_refund(policy, facts_for(policy), RefundSituation(now=NOW))

    assert [(rule.rule, rule.fired) for rule in decision.explanation.rules] == [
        ("late", False),
        ("large", False),
        ("rest", True),
    ]
    assert decision.explanation.digest == policy.digest


@pytest.mark.parametrize("amount", [eur(100), eur(20_000), eur(50_001)])
@pytest.mark.parametrize("reason", ["duplicate", "damaged"])
def test_a_stored_decision_can_be_made_again(amount: Money, reason: str) -> None:
    """Facts, situation and decision go through JSON unchanged, and the same comes out (promise 9)."""
    policy = a_policy("{per_customer: {count: 1, within: 30d}}")
    facts = facts_for(policy, amount=amount, reason=reason)
    situation = RefundSituation(now=NOW, evidence=("photo",), agent_day=(eur(3),), customer_refunds=refunds(3, 40))

    first = msgspec.json.encode(decide_refund(policy, facts, situation))
    again = decide_refund(
        policy,
        msgspec.json.decode(msgspec.json.encode(facts), type=RefundFacts),
        msgspec.json.decode(msgspec.json.encode(situation), type=RefundSituation),
    )

    assert msgspec.json.encode(again) == first
    assert msgspec.json.decode(first, type=RefundDecision) == again
