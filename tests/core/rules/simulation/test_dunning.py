"""Simulated dunning: steps that come, go and move, as the case's first moment wants them."""

from datetime import timedelta
from uuid import UUID

import msgspec
from tests.core.rules.simulation.cases import START, simulated

from recoup_core.rules.deciding.dunning import DunningSituation, PlannedRetry, decide_dunning
from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.facts import DUNNING, DunningFacts
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.study.history import HistoryCase, HistoryDecision

OLD = """
kind: dunning
name: mails
applies_to: {method: card}
rules:
  - {name: care, when: {customer.vulnerable: true}, quiet: in_care}
  - name: usual
    steps:
      - {message: payment_failed, by: email}
      - {message: reminder, by: email, after: 3d}
      - {on: exhausted, after: 14d, cancel_subscription: true}
examples:
  - {given: {customer.vulnerable: true}, expect: care}
  - {given: {}, expect: usual}
"""


def a_campaign(*, vulnerable: bool = False) -> HistoryCase:
    """One case's first dunning decision, with a retry planned in four days."""
    policy = compile_policy(parse_policy(OLD, source="old.yaml"), engine=EngineChoice.CLOSURES)
    facts = DUNNING.given(DUNNING.baseline, {"customer.vulnerable": vulnerable})
    assert isinstance(facts, DunningFacts)
    situation = DunningSituation(
        now=START, opened_at=START, retry=PlannedRetry(id=UUID(int=3), at=START + timedelta(days=4))
    )
    decision = decide_dunning(policy, facts, situation)
    past = HistoryDecision(
        at=START,
        rule=decision.rule,
        facts=msgspec.json.encode(facts).decode(),
        situation=msgspec.json.encode(situation).decode(),
        outcome=msgspec.json.encode(decision.outcome).decode(),
    )
    return HistoryCase(
        case="case-1", kind="dunning", policy="mails", amount_minor=4900, currency="EUR", decisions=(past,)
    )


def test_the_same_campaign_changes_nothing() -> None:
    """The same steps at the same times."""
    report = simulated([a_campaign(), a_campaign(vulnerable=True)], OLD)

    assert (report.same.cases, report.different.cases) == (2, 0)
    assert (report.steps["message"].before, report.steps["message"].after) == (2, 2)


def test_steps_that_are_added_and_dropped() -> None:
    """A step is what it does and when; a reminder on another day is another step."""
    report = simulated([a_campaign()], OLD.replace("after: 3d", "after: 5d"))

    assert report.changes.keys() == {"steps_added", "steps_dropped"}
    (example,) = report.changes["steps_added"].examples
    assert example.before == "message 2026-03-02 10:00 UTC, message 2026-03-05 10:00 UTC"
    assert example.after == "message 2026-03-02 10:00 UTC, message 2026-03-07 10:00 UTC"


def test_steps_that_move_into_other_hours() -> None:
    """The same step at another time of the day is moved, not dropped and added."""
    new = OLD.replace("by: email, after: 3d}", 'by: email, after: 3d, between: ["15:00", "18:00"]}')

    report = simulated([a_campaign()], new)

    assert report.changes.keys() == {"steps_moved"}
    assert (report.later.decisions, report.later.seconds) == (1, 5 * 3600)


def test_dunning_that_ends() -> None:
    """Being left alone is an outcome of its own, with its reason."""
    new = OLD.replace("when: {customer.vulnerable: true}", "when: {amount: {gt: {EUR: 1.00}}}")
    new = new.replace("{given: {customer.vulnerable: true}, expect: care}", "{given: {}, expect: care}")
    new = new.replace("{given: {}, expect: usual}", "{given: {amount: {EUR: 0.50}}, expect: usual}")

    report = simulated([a_campaign()], new)

    assert report.changes.keys() == {"dunning_ends"}
    assert (report.stops["in_care"].before, report.stops["in_care"].after) == (0, 1)


def test_dunning_that_starts() -> None:
    """Where history was quiet; a campaign has no attempts to count."""
    new = OLD.replace("when: {customer.vulnerable: true}", "when: {attempt: {gt: 9}}")
    new = new.replace("given: {customer.vulnerable: true}", "given: {attempt: 10}")

    report = simulated([a_campaign(vulnerable=True)], new)

    assert report.changes.keys() == {"dunning_starts"}
    assert report.attempts.before == {}
