"""The shipped dunning policies: everybody is covered, nobody is cut off unwarned, and no one hears from us at night."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.payment import Method, Segment
from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.dunning import Campaign, DunningSituation, PlannedRetry, Quiet, decide_dunning
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice
from recoup_core.rules.facts import DUNNING, DunningFacts
from recoup_core.rules.facts.stops import StopReason
from recoup_core.rules.language.actions.steps import SUBSCRIPTION_STEPS, On, StepsSpec
from recoup_core.rules.sets.book import PolicyBook

POLICIES = Path(__file__).parents[3] / "policies" / "dunning"
NIGHT = datetime(2026, 11, 23, 1, tzinfo=UTC)
MOST_MESSAGES = 5
"""Of one campaign, the last notice included."""


@pytest.fixture(scope="module")
def book() -> Iterator[PolicyBook]:
    book = PolicyBook.load(POLICIES, EngineChoice.DURABLE_RULES)
    yield book
    book.close()


def given(**facts: object) -> DunningFacts:
    built = DUNNING.given(DUNNING.baseline, facts)
    assert isinstance(built, DunningFacts)
    return built


def chosen(book: PolicyBook, facts: DunningFacts) -> CompiledPolicy:
    return book.choose("dunning", facts)


def test_every_payment_has_a_dunning_policy(book: PolicyBook) -> None:
    """A fresh install accompanies every case; companies have a policy of their own."""
    for method, segment in product(Method, [None, *Segment]):
        name = chosen(book, given(method=method.value, segment=segment and segment.value)).policy.name
        assert name == ("business" if segment is Segment.BUSINESS else "consumer")


def test_nobody_loses_a_subscription_unwarned(book: PolicyBook) -> None:
    """A pause or an end comes three days after a message or a call at the least, by the same clock."""
    for policy in book.policies:
        for rule in policy.policy.rules:
            steps = rule.action.steps if isinstance(rule.action, StepsSpec) else ()
            for cut in (step for step in steps if step.kind in SUBSCRIPTION_STEPS):
                assert cut.on is On.EXHAUSTED
                warned = [step.after for step in steps if step.on is On.EXHAUSTED and step.kind is StepKind.MESSAGE]
                assert warned, rule.name
                assert cut.after - min(warned) >= timedelta(days=3), rule.name


def test_messages_are_few_and_keep_a_distance(book: PolicyBook) -> None:
    """At most five of them in a campaign, and never two on one day."""
    for policy in book.policies:
        for rule in policy.policy.rules:
            steps = rule.action.steps if isinstance(rule.action, StepsSpec) else ()
            messages = [step for step in steps if step.kind is StepKind.MESSAGE]
            assert len(messages) <= MOST_MESSAGES, rule.name
            for on in (On.OPENED, On.EXHAUSTED):
                waits = sorted(step.after for step in messages if step.on is on)
                assert all(b - a >= timedelta(days=1) for a, b in pairwise(waits)), rule.name


@pytest.mark.parametrize("country", ["DE", "US", "JP", "BR"])
def test_nobody_is_disturbed_at_night_after_the_first_word(country: str, book: PolicyBook) -> None:
    """The first message answers what just happened; every other comes by day, in the customer's own time."""
    zone = {"DE": "Europe/Berlin", "US": "America/Los_Angeles", "JP": "Asia/Tokyo", "BR": "America/Sao_Paulo"}[country]
    for segment, method in product([None, "business"], Method):
        facts = given(segment=segment, method=method.value, country=country)
        for exhausted in (None, NIGHT):
            where = DunningSituation(
                now=NIGHT,
                opened_at=NIGHT,
                exhausted_at=exhausted,
                retry=None if exhausted else PlannedRetry(id=UUID(int=1), at=NIGHT + timedelta(days=5)),
                customer_zone=zone,
                country=country,
            )
            outcome = decide_dunning(chosen(book, facts), facts, where).outcome
            assert isinstance(outcome, Campaign)
            for step in outcome.steps:
                if step.kind is StepKind.MESSAGE and step.key != "opened/message/payment_failed":
                    assert 8 <= step.at.astimezone(ZoneInfo(zone)).hour < 18, step.key


def test_a_vulnerable_customer_is_never_written_to_or_cut_off(book: PolicyBook) -> None:
    """Whatever was declined and however it stands: a person calls."""
    for decline, stop in product(DeclineCategory, [None, *StopReason]):
        facts = given(
            **{"customer.vulnerable": True},
            decline=decline.value,
            retry_planned=stop is None,
            stop_reason=stop and stop.value,
        )
        where = DunningSituation(now=NIGHT, opened_at=NIGHT, exhausted_at=None if stop is None else NIGHT)
        outcome = decide_dunning(chosen(book, facts), facts, where).outcome
        assert isinstance(outcome, Campaign)
        assert {step.kind for step in outcome.steps} == {StepKind.HUMAN_TASK}


@pytest.mark.parametrize("segment", [None, "business"])
@pytest.mark.parametrize(
    ("facts", "quiet"),
    [
        ({"decline": "configuration"}, True),
        ({"decline": "processing_error", "attempt": 3}, True),
        ({"decline": "processing_error", "attempt": 4}, False),
        ({"decline": "processing_error", "retry_planned": False, "stop_reason": "exhausted", "attempt": 3}, False),
        ({"decline": "insufficient_funds"}, False),
    ],
)
def test_the_customer_hears_nothing_of_what_they_cannot_help(
    segment: str | None, facts: dict[str, object], quiet: bool, book: PolicyBook
) -> None:
    """Our own fault, and trouble that clears in hours."""
    asked = given(segment=segment, **facts)
    where = DunningSituation(now=NIGHT, opened_at=NIGHT)

    outcome = decide_dunning(chosen(book, asked), asked, where).outcome

    assert isinstance(outcome, Quiet) is quiet


@pytest.mark.parametrize("segment", [None, "business"])
def test_a_persons_review_comes_before_the_first_word(segment: str | None, book: PolicyBook) -> None:
    """Reviews are due within three days; then the customer hears of it, and a review forgotten stops nothing."""
    asked = given(segment=segment, decline="unknown", retry_planned=False, stop_reason="manual_review")
    where = DunningSituation(now=NIGHT, opened_at=NIGHT, exhausted_at=NIGHT)

    outcome = decide_dunning(chosen(book, asked), asked, where).outcome

    assert isinstance(outcome, Campaign)
    assert outcome.steps[0].at >= NIGHT + timedelta(days=4)
    assert outcome.steps[-1].kind is StepKind.CANCEL_SUBSCRIPTION
