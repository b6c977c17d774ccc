"""The shipped refund policies: an amount ladder by age, dispute and history, and who decides on each rung."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Segment
from recoup_core.rules.deciding.refund import (
    Approve,
    Deny,
    EarlierRefund,
    Incomplete,
    RefundOutcome,
    RefundSituation,
    Review,
    decide_refund,
)
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.facts import REFUND, RefundFacts
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.rules.study.lint import lint

POLICIES = Path(__file__).parents[3] / "policies" / "refund"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FRESH = RefundSituation(now=NOW, agent_day=(), customer_refunds=())
LADDER: tuple[int, ...] = (
    1,
    2000,
    2001,
    5000,
    5001,
    10_000,
    10_001,
    20_000,
    20_001,
    25_000,
    25_001,
    50_000,
    50_001,
    100_000,
    100_001,
)
LADDER += (500_000, 500_001, 1_000_000, 1_000_001, 10_000_000)
"""Cents, around every threshold of the shipped policies."""


@pytest.fixture(scope="module")
def book() -> Iterator[PolicyBook]:
    book = PolicyBook.load(POLICIES, EngineChoice.DURABLE_RULES)
    yield book
    book.close()


def answer(book: PolicyBook, situation: RefundSituation = FRESH, **given: Any) -> RefundOutcome:
    facts = REFUND.given(REFUND.baseline, given)
    assert isinstance(facts, RefundFacts)
    return decide_refund(book.choose("refund", facts), facts, situation).outcome


def in_words(outcome: RefundOutcome) -> str:
    if isinstance(outcome, Review):
        return " > ".join("|".join(level) for level in outcome.levels)
    return outcome.reason if isinstance(outcome, Deny) else type(outcome).__name__.lower()


def rungs(book: PolicyBook, currency: str = "EUR", **given: Any) -> dict[str, int]:
    """Return per answer the largest amount of the ladder that gets it."""
    found: dict[str, int] = {}
    for minor in LADDER:
        found[in_words(answer(book, amount=Money(minor, currency), **given))] = minor
    return found


LADDERS: list[tuple[dict[str, Any], dict[str, int]]] = [
    # facts, and up to which amount in cents who decides
    (
        {},
        {
            "approve": 5000,
            "support_lead": 50_000,
            "support_lead > finance": 500_000,
            "finance > finance_director": 10_000_000,
        },
    ),
    (
        {"age_days": 31},
        {"support_lead": 50_000, "support_lead > finance": 500_000, "finance > finance_director": 10_000_000},
    ),
    ({"dispute": "inquiry"}, {"finance": 500_000, "finance > finance_director": 10_000_000}),
    ({"dispute": "open"}, {"disputed": 10_000_000}),
    ({"dispute": "lost"}, {"disputed": 10_000_000}),
    ({"age_days": 181}, {"outside_window": 10_000_000}),
    ({"customer.refunds_365d": 6}, {"support_lead > finance": 500_000, "finance > finance_director": 10_000_000}),
    ({"method": "sepa_debit"}, {"approve": 5000, "finance": 500_000, "finance > finance_director": 10_000_000}),
    (
        {"reason": "duplicate", "age_days": 90},
        {
            "approve": 20_000,
            "support_lead": 50_000,
            "support_lead > finance": 500_000,
            "finance > finance_director": 10_000_000,
        },
    ),
    (
        {"reason": "withdrawal", "age_days": 14},
        {"approve": 50_000, "support_lead > finance": 500_000, "finance > finance_director": 10_000_000},
    ),
    (
        {"segment": "business"},
        {
            "approve": 10_000,
            "support_lead": 100_000,
            "finance": 500_000,
            "support_lead > finance": 1_000_000,
            "finance > finance_director": 10_000_000,
        },
    ),
    (
        {"purpose": "goodwill", "reason": "retention"},
        {
            "approve": 2000,
            "support_lead": 10_000,
            "finance": 25_000,
            "finance > finance_director": 10_000_000,
        },
    ),
]


@pytest.mark.parametrize(("given", "wanted"), LADDERS)
@pytest.mark.parametrize("currency", ["EUR", "USD", "GBP"])
def test_who_decides_up_to_which_amount(
    given: dict[str, Any], wanted: dict[str, int], currency: str, book: PolicyBook
) -> None:
    """The ladder that was decided on: by itself, one approver, two, the director; in each currency alike.

    Business and goodwill jump: whoever may decide the amount does so alone, and two only where neither may.
    """
    assert rungs(book, currency, **given) == wanted


RANKS = {
    "approve": 0,
    "support_lead": 1,
    "finance": 1,
    "support_lead > finance": 2,
    "finance > finance_director": 3,
}


@pytest.mark.parametrize("reason", ["requested_by_customer", "duplicate", "cancellation", "withdrawal"])
def test_more_money_never_takes_fewer_people(reason: str, book: PolicyBook) -> None:
    """All other facts equal; else a large refund is cheaper to get than two small ones."""
    for method, segment, age, dispute, before in product(
        [Method.CARD.value, Method.SEPA_DEBIT.value],
        [None, *(segment.value for segment in Segment)],
        (0, 14, 15, 30, 31, 60, 61, 180),
        ("none", "inquiry", "won"),
        (0, 6),
    ):
        facts: dict[str, Any] = {
            "method": method,
            "segment": segment,
            "age_days": age,
            "dispute": dispute,
            "reason": reason,
        }
        facts["customer.refunds_365d"] = before
        answers = [in_words(answer(book, amount=Money(minor, "EUR"), **facts)) for minor in LADDER]
        if answers[0] != "reason_not_allowed":
            assert all(RANKS[less] <= RANKS[more] for less, more in pairwise(answers))


@pytest.mark.parametrize("given", [{}, {"segment": "business"}, {"purpose": "goodwill", "reason": "retention"}])
@pytest.mark.parametrize("currency", ["CHF", "JPY", "KWD"])
def test_other_currencies_are_never_approved_unseen(given: dict[str, Any], currency: str, book: PolicyBook) -> None:
    """No threshold says what 5000 of them are worth."""
    assert rungs(book, currency, **given) == {"finance > finance_director": 10_000_000}


VELOCITY = [
    # what was approved before, beyond which bound of the shipped policy it leads
    ({"agent_day": (Money(45_101, "EUR"),)}, "per_agent_day"),
    ({"agent_day": None}, "per_agent_day"),
    ({"merchant_day": (Money(495_101, "EUR"),)}, "per_day"),
    (
        {"customer_refunds": (EarlierRefund(at=NOW - timedelta(days=29), amount=Money(100, "EUR")),) * 3},
        "per_customer.count",
    ),
    ({"customer_refunds": None}, "per_customer.count"),
]


@pytest.mark.parametrize(("known", "bound"), VELOCITY)
def test_beyond_a_bound_a_person_looks(known: dict[str, Any], bound: str, book: PolicyBook) -> None:
    """What is small and recent goes to one approver as soon as one bound doesn't allow it."""
    facts = REFUND.given(REFUND.baseline, {})
    assert isinstance(facts, RefundFacts)
    situation = RefundSituation(**{"now": NOW, "agent_day": (), "customer_refunds": (), **known})

    decision = decide_refund(book.choose("refund", facts), facts, situation)

    assert in_words(decision.outcome) == "support_lead"
    refusing = [each.bound for each in decision.explanation.bounds if each.verdict.value != "true"]
    assert refusing == [bound]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"reason": "damaged"}, "photo"),
        ({"reason": "fraudulent"}, "customer_statement"),
        ({"reason": "billing_error", "segment": "business"}, "corrected_invoice"),
        ({"reason": "service_outage", "purpose": "goodwill"}, "incident_report"),
    ],
)
def test_reasons_that_can_be_proved_must_be(given: dict[str, Any], missing: str, book: PolicyBook) -> None:
    """Without the evidence nothing goes out, and nobody's time is taken."""
    assert answer(book, **given) == Incomplete(missing=(missing,))
    assert isinstance(answer(book, RefundSituation(now=NOW, evidence=(missing,)), **given), Approve | Review)


def test_goodwill_beyond_what_was_paid_takes_two(book: PolicyBook) -> None:
    """A gesture that exceeds the payment is a gift."""
    given: dict[str, Any] = {"purpose": "goodwill", "reason": "retention", "payment_amount": Money(999, "EUR")}

    assert in_words(answer(book, amount=Money(999, "EUR"), **given)) == "approve"
    assert in_words(answer(book, amount=Money(1000, "EUR"), **given)) == "support_lead > finance"


@pytest.mark.parametrize("given", [{}, {"segment": "business"}, {"purpose": "goodwill", "reason": "retention"}])
def test_every_review_has_an_end(given: dict[str, Any], book: PolicyBook) -> None:
    """Nobody waits for ever: each review has a time, and none is closed before it is late."""
    for minor in LADDER:
        outcome = answer(book, RefundSituation(now=NOW), amount=Money(minor, "EUR"), **given)
        assert isinstance(outcome, Review)
        assert outcome.decide_by is not None
        assert outcome.expires_at is not None
        assert NOW < outcome.decide_by < outcome.expires_at


def test_only_one_person_is_asked_where_the_amount_fits(book: PolicyBook) -> None:
    """The decision says up to what the one may go; whoever decides in order has no such limit."""
    limits = {
        minor: getattr(answer(book, segment="business", amount=Money(minor, "USD")), "limit", None)
        for minor in (100_000, 100_001, 500_000, 500_001)
    }

    assert limits == {
        100_000: Money(100_000, "USD"),
        100_001: Money(500_000, "USD"),
        500_000: Money(500_000, "USD"),
        500_001: None,
    }


def test_every_policy_says_when_a_refund_without_balance_is_tried_again(book: PolicyBook) -> None:
    """An empty balance is the commonest reason for which a refund waits at the gateway."""
    waits = {compiled.policy.name: compiled.policy.balance_retries for compiled in book.policies}

    hours = {name: [wait / timedelta(hours=1) for wait in each or ()] for name, each in waits.items()}
    assert hours == {"consumer": [4, 24, 24, 48], "business": [4, 24, 24, 48], "goodwill": [24, 48]}


def test_every_refund_has_a_policy_and_the_folder_is_clean(book: PolicyBook) -> None:
    """A fresh install answers every request, and lint finds nothing to say."""
    chosen = {
        (purpose, segment): book.choose(
            "refund", REFUND.given(REFUND.baseline, {"purpose": purpose, "segment": segment})
        ).policy.name
        for purpose, segment in product(("refund", "goodwill"), (None, "consumer", "business"))
    }

    assert chosen == {
        ("refund", None): "consumer",
        ("refund", "consumer"): "consumer",
        ("refund", "business"): "business",
        ("goodwill", None): "goodwill",
        ("goodwill", "consumer"): "goodwill",
        ("goodwill", "business"): "goodwill",
    }
    assert lint([compiled.policy for compiled in book.policies]) == ()
