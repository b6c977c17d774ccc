"""Notice policies as texts: what can be asked, what follows from what, and how they are told, tested and compared."""

from datetime import UTC, datetime

import pytest

from recoup_core.rules.deciding.notice import decide_notice, notice_days
from recoup_core.rules.deciding.what_if import WhatIf, decide_if, made_up_notice
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import NOTICE, NoticeFacts
from recoup_core.rules.language.actions import NoticeOn, NoticesSpec
from recoup_core.rules.language.late import LateSuccess
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.sets.simulation.plan import NoHistory, SimulationPlan, TextIn
from recoup_core.rules.study.action_text import rule_lines
from recoup_core.rules.study.diff import compare
from recoup_core.rules.study.rehearsal import rehearse
from recoup_core.rules.study.self_test import self_test

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
TEXT = """
kind: notice
name: letters
applies_to: {method: card}
rules:
  - name: the card ends
    when: {card_expires_before_charge: true}
    notices:
      - {on: before_expiry, ahead: 30d, message: card_expiring, by: [email, sms], HOURS}
      - {on: before_charge, ahead: 36h, task: call the customer}
      - {message: upcoming_charge, by: email}
      - {after: 2d, message: upcoming_charge, by: email}
  - name: rest
    quiet: nothing to say
examples:
  - {given: {card_expires_in_days: 3}, expect: the card ends}
  - {given: {}, expect: rest}
""".replace("HOURS", 'between: ["09:00", "18:00"], zone: customer')


def read(text: str = TEXT) -> Policy:
    return parse_policy(text, source="p.yaml")


def facts(**given: object) -> NoticeFacts:
    built = NOTICE.given(NOTICE.baseline, given)
    assert isinstance(built, NoticeFacts)
    return built


def test_what_a_rule_does_in_words_and_keys() -> None:
    """Keys outlive the text: what was said under one is never said again."""
    [rule, _] = read().rules
    assert isinstance(rule.action, NoticesSpec)

    assert [notice.key for notice in rule.action.notices] == [
        "before_expiry-30d/message/card_expiring",
        "before_charge-36h/human_task/call-the-customer-cf8edc",
        "announced/message/upcoming_charge",
        "announced+2d/message/upcoming_charge",
    ]
    assert [notice.on for notice in rule.action.notices][2:] == [NoticeOn.ANNOUNCED] * 2
    assert rule_lines(rule) == (
        "30d before the card ends, between 09:00 and 18:00 (the customer's time): send card_expiring by email, sms",
        "1d12h before the charge: task: call the customer",
        "when the charge is announced: send upcoming_charge by email",
        "2d after the charge is announced: send upcoming_charge by email",
    )


@pytest.mark.parametrize(
    ("given", "left", "before"),
    [
        ({}, None, False),
        ({"card_expires_in_days": 29}, 29, True),
        ({"card_expires_in_days": 30}, 30, False),
        ({"card_expires_in_days": 40, "charge_in_days": 41}, 40, True),
        ({"card_expires_before_charge": True}, 29, True),
        ({"card_expires_before_charge": True, "charge_in_days": 0}, 0, True),
        ({"method": "sepa_debit"}, None, False),
        ({"card_expires_in_days": 3, "method": "ach_debit"}, 3, True),  # said so; refused below
    ],
)
def test_what_is_known_of_the_card_follows_from_what_is_given(
    given: dict[str, object], left: int | None, before: bool
) -> None:
    """An author says one thing and gets facts that go together."""
    found = facts(**given)

    assert (found.card_expires_in_days, found.card_expires_before_charge) == (left, before)
    assert (found.network is None) is ("method" in given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, None),
        ({"card_expires_in_days": 30}, None),
        ({"card_expires_before_charge": True, "card_expires_in_days": 0, "charge_in_days": 0}, None),
        ({"card_expires_before_charge": True, "card_expires_in_days": None}, "can't be known to end"),
        ({"card_expires_before_charge": False, "card_expires_in_days": 3}, "is false"),
        ({"card_expires_before_charge": True, "card_expires_in_days": 30}, "is true"),
        ({"method": "sepa_debit", "card_expires_in_days": 3}, "no card that expires"),
    ],
)
def test_facts_that_never_come_together_are_told(given: dict[str, object], why: str | None) -> None:
    """An example of what can't be would prove nothing."""
    found = NOTICE.impossible(facts(**given))

    assert found is None if why is None else found is not None and why in found


@pytest.mark.parametrize(
    "given", [{}, {"card_expires_in_days": 3}, {"card_expires_before_charge": True, "charge_in_days": 0}]
)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Honolulu"])
def test_explaining_made_up_facts_asks_about_a_charge_that_has_them(given: dict[str, object], zone: str) -> None:
    """What `recoup policy explain` decides on is no other charge than the one that was described."""
    compiled, known = CompiledPolicy(read(), None), facts(**given)
    what_if = WhatIf(now=NOON, zone=zone)

    decision = decide_if(compiled, known, what_if)

    situation = made_up_notice(known, what_if)
    days = notice_days(NOON, situation.charge_at, situation.card_expires, zone=zone, country="DE")
    assert days.charge_in_days == known.charge_in_days
    assert days.card_expires_in_days == known.card_expires_in_days
    assert days.card_expires_before_charge == known.card_expires_before_charge
    assert decision == decide_notice(compiled, known, situation)


TIMELINE = """timelines:
  - name: in time
    start: 2026-03-02T20:15
    zone: Europe/Berlin
    charge: 2026-05-01T08:00
    expires: 2026-04-30
    expect:
      - {message: upcoming_charge, at: 2026-03-02T20:15, rule: the card ends}
      - {message: upcoming_charge, at: 2026-03-04T20:15}
      - {message: card_expiring, at: 2026-03-31T09:00}
      - {task: call the customer, at: 2026-04-29T20:00}
  - name: the card goes on
    start: 2026-03-02T20:15
    charge: 2026-05-01T08:00
    expires: 2026-05-31
    expect: [{quiet: nothing to say}]
"""


def test_a_timeline_runs_from_the_announcement_to_the_charge() -> None:
    """Its days are facts, too; both rules count as tried."""
    policy = read(TEXT + TIMELINE)

    runs = rehearse(policy)

    assert [run.problems for run in runs] == [(), ()]
    assert {step.failure for step in runs[0].run.steps} == {"announced"}
    assert runs[0].run.steps[2].because == ("30d before the card ends", "moved back into 09:00-18:00 Europe/Berlin")
    assert [trying.facts for trying in runs[0].run.tries] == [facts(charge_in_days=60, card_expires_in_days=59)]
    assert self_test(policy).coverage.percent == 100


def test_a_timeline_tells_what_came_instead() -> None:
    """The next one that is wrong is told with what led to it."""
    [problem] = rehearse(read(TEXT + TIMELINE.replace("2026-03-31T09:00", "2026-03-31T10:00")))[0].problems

    assert problem.code == "timeline_failed"
    assert "expected {message: card_expiring, at: 2026-03-31T10:00+02:00}" in problem.message
    assert "got {message: card_expiring, at: 2026-03-31T09:00+02:00}" in problem.message


def test_diff_tells_what_is_said_otherwise() -> None:
    """In words for those who don't read policies."""
    diff = compare(read(), read(TEXT.replace("36h", "48h")))

    [change] = diff.changes
    assert [line for line in change.before if line not in change.after] == [
        "1d12h before the charge: task: call the customer"
    ]
    assert [line for line in change.after if line not in change.before] == [
        "2d before the charge: task: call the customer"
    ]
    assert change.example == "{card_expires_before_charge: true}"


def test_the_order_of_notices_means_nothing() -> None:
    """Each says when it comes."""
    moved = TEXT.replace("      - {message: upcoming_charge, by: email}\n", "").replace(
        "    notices:\n", "    notices:\n      - {message: upcoming_charge, by: email}\n"
    )

    assert read(moved).rules[0].action != read().rules[0].action
    assert compare(read(), read(moved)).same


RETRY = """
kind: retry
name: a
applies_to: {}
%s
rules:
  - {name: rest, stop: exhausted}
examples:
  - {given: {}, expect: rest}
"""


@pytest.mark.parametrize("word", LateSuccess)
def test_money_that_comes_in_late_is_up_to_the_retry_policy(word: LateSuccess) -> None:
    """It is kept unless the policy says otherwise."""
    assert read(RETRY % f"late_success: {word}").late_success is word
    assert read(RETRY % "").late_success is LateSuccess.ACCEPT


def test_diff_tells_what_becomes_of_late_money() -> None:
    """No rule changes, and the meaning does."""
    diff = compare(read(RETRY % ""), read(RETRY % "late_success: refund"))

    assert diff.late == ("money that comes in after the debt was given up: accept, now refund",)
    assert not diff.same
    assert compare(read(RETRY % ""), read(RETRY % "late_success: accept")).same


def test_notices_alone_cannot_be_simulated() -> None:
    """Said, and not answered with an empty report; beside other policies they are left out."""
    notice, retry = TextIn(source="n.yaml", text=TEXT), TextIn(source="r.yaml", text=RETRY % "")

    with pytest.raises(NoHistory, match="charges that are still to come"):
        SimulationPlan(new=(notice,), others=(retry,)).book()

    assert SimulationPlan(new=(notice, retry)).book().kinds == {"retry"}
