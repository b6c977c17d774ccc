"""Simulation: what is counted as a change, and what is never claimed."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.core.rules.simulation.cases import OLD, START, a_case, simulated

from recoup_core.rules.deciding.refund import Review
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.sets.simulation.compare import refund_changes
from recoup_core.rules.sets.simulation.judge import WHEN, WITHIN_BOUNDS
from recoup_core.rules.sets.simulation.report import SimulationReport, merged
from recoup_core.rules.study.history import HistoryCase, HistoryDecision

TWICE = ("issuer_generic", "issuer_generic")
FOUR = ("issuer_generic",) * 4


def changed(*pairs: tuple[str, str], text: str = OLD) -> str:
    """The old text with some words replaced; each must be there."""
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def parts(report: SimulationReport) -> dict[str, int]:
    """How many cases are where."""
    names = ("same", "different", "no_longer_covered", "not_concerned", "unanswered", "unreadable")
    return {name: tally.cases for name in names if (tally := getattr(report, name)).cases}


def test_the_same_text_changes_nothing() -> None:
    """Every decision is made again and comes out as it was: exactly the same moments and reasons."""
    report = simulated([a_case(*FOUR), a_case("lost_or_stolen", name="case-2")], OLD)

    assert parts(report) == {"same": 2}
    assert report.decisions.same == report.decisions.read == 5
    assert report.changes == {}
    assert report.attempts.before == report.attempts.after == {3: 1, 0: 1}


def test_rules_by_other_names_change_nothing() -> None:
    """Waits go on where they were: history's counts by the old names are carried over to the new ones."""
    report = simulated(
        [a_case(*FOUR)], changed(("name: wait", "name: be patient"), ("expect: wait", "expect: be patient"))
    )

    assert parts(report) == {"same": 1}
    assert report.decisions.same == 4


def test_a_retry_that_nobody_made_is_not_counted_under_the_new_name_either() -> None:
    """An operator may have skipped it: the first wait is then used again, by both texts."""
    report = simulated(
        [a_case(*TWICE, made=False)],
        changed(("name: wait", "name: be patient"), ("expect: wait", "expect: be patient")),
    )

    assert parts(report) == {"same": 1}


def test_times_that_move_are_counted_by_how_far() -> None:
    """Half a day earlier, in the first decision; what follows can't be answered."""
    report = simulated([a_case(*FOUR)], changed(("[1d, 2d, 3d]", "[12h, 2d, 3d]")))

    assert parts(report) == {"different": 1}
    assert (report.earlier.decisions, report.earlier.seconds) == (1, 12 * 3600)
    assert report.earlier.spread == {"up to a day": 1}
    assert report.later.decisions == 0
    assert report.diverged_at == {1: 1}
    assert (report.decisions.different, report.decisions.after_difference) == (1, 3)


def test_nothing_is_said_of_what_came_after_the_first_difference() -> None:
    """The second decision differs: the first counts as the same, the third and fourth are nobody's to know."""
    report = simulated([a_case(*FOUR)], changed(("[1d, 2d, 3d]", "[1d, 5d, 1h]")))

    assert report.diverged_at == {2: 1}
    assert (report.decisions.same, report.decisions.different, report.decisions.after_difference) == (1, 1, 2)
    assert report.later.decisions == 1
    assert report.attempts.after == {}
    assert report.attempts.at_least == {2: 1}
    assert report.attempts.before == {3: 1}


def test_a_stop_where_history_went_on_is_named_with_the_money_that_came_in_later() -> None:
    """The new text would have tried no more; that money is not said to be lost, nor anything to be won."""
    case = a_case(*FOUR, result="recovered", amount_minor=12_050)
    new = changed(("after: [1d, 2d, 3d]", "after: [1d]"))

    report = simulated([case], new)

    assert report.changes["stops"].tally.amounts == {"EUR": 12_050}
    assert report.recovered.after_stop.amounts == {"EUR": 12_050}
    assert report.recovered.after_difference.cases == 1
    assert report.recovered.unchanged.cases == 0
    assert report.attempts.at_least == {1: 1}


def test_money_in_cases_without_a_difference_is_unchanged() -> None:
    """What happened would have happened all the same."""
    report = simulated([a_case(*TWICE, result="recovered")], OLD)

    assert report.recovered.unchanged.amounts == {"EUR": 4900}
    assert report.recovered.after_difference.cases == 0


def test_a_retry_where_history_stopped() -> None:
    """No outcome is made up for the attempt that was never made."""
    new = changed(
        ("when: {decline: issuer_generic}", "when: {decline: [issuer_generic, fraud]}"),
        ("decline: fraud}", "decline: configuration}"),
    )

    report = simulated([a_case("fraud")], new)

    assert report.changes["goes_on"].tally.cases == 1
    assert report.recovered.after_difference.cases == report.recovered.unchanged.cases == 0
    assert report.attempts.at_least == {1: 1}


def test_a_stop_for_another_reason() -> None:
    """Reasons are counted before and after."""
    report = simulated([a_case("fraud")], changed(("stop: exhausted", "stop: manual_review")))

    assert report.changes["other_reason"].tally.cases == 1
    assert (report.stops["exhausted"].before, report.stops["exhausted"].after) == (1, 0)
    assert (report.stops["manual_review"].before, report.stops["manual_review"].after) == (0, 1)


def test_another_gateway() -> None:
    """The same moment through another gateway is a change of its own; without a token there it stops."""
    report = simulated([a_case()], changed(("after: [1d, 2d, 3d]", "gateway: other, after: [1d, 2d, 3d]")))

    assert report.changes.keys() == {"stops"}


def test_examples_say_what_and_why() -> None:
    """The case's name, both outcomes, and the condition behind it."""
    new = changed(
        ("decline: issuer_generic}", "decline: issuer_generic, amount: {lt: {EUR: 10.00}}}"),
        ("given: {}", "given: {amount: {EUR: 5.00}}"),
    )

    report = simulated([a_case()], new)

    (example,) = report.changes["stops"].examples
    assert (example.case, example.decision, example.at) == ("case-1", 1, START)
    assert (example.rule_before, example.rule_after) == ("wait", "give up")
    assert example.before == "a retry at 2026-03-03 10:00 UTC, through sandbox"
    assert example.after == "stop: exhausted"
    assert "'wait' does not fire: amount is below 10.00 EUR? no, it is 49.00 EUR" in example.why


def test_only_a_few_examples_are_kept() -> None:
    """However many cases change, in the order of history."""
    report = simulated(
        [a_case("fraud", name=f"case-{n}") for n in range(9)], changed(("stop: exhausted", "stop: manual_review"))
    )

    assert [example.case for example in report.changes["other_reason"].examples] == [f"case-{n}" for n in range(5)]
    assert report.changes["other_reason"].tally.cases == 9


def test_cases_that_the_new_text_does_not_cover_are_set_apart() -> None:
    """They are neither the same nor different: some other policy would have to decide."""
    narrower = changed(("{method: card}", "{method: card, segment: business}"))

    report = simulated([a_case(), a_case(name="case-2", segment="business")], narrower)

    assert parts(report) == {"same": 1, "no_longer_covered": 1}


def test_cases_of_other_policies_are_not_concerned() -> None:
    """A policy that stays in force and is narrower keeps its cases."""
    business = changed(("name: cards", "name: cards-business"), ("{method: card}", "{method: card, segment: business}"))
    theirs = a_case(text=business, segment="business")

    report = simulated([theirs, a_case(name="case-2")], OLD, others=[business])

    assert parts(report) == {"same": 1, "not_concerned": 1}
    assert report.newly_covered.cases == 0


def test_cases_that_come_from_another_policy_are_newly_covered_too() -> None:
    """They are followed like the others, and counted beside."""
    business = changed(
        ("name: cards", "name: cards-business"),
        ("{method: card}", "{method: card, segment: business}"),
        ("[1d, 2d, 3d]", "[9d]"),
    )
    theirs = a_case(text=OLD, segment="business")

    report = simulated([theirs], business, others=[OLD])

    assert parts(report) == {"different": 1}
    assert report.newly_covered.cases == 1


def test_texts_that_could_not_stand_beside_each_other_are_refused() -> None:
    """What can't go live is not simulated."""
    with pytest.raises(PolicyInvalid):
        simulated([], OLD, others=[changed(("name: cards", "name: others"))])


def test_a_case_that_cannot_be_read_is_counted_and_told() -> None:
    """One broken record spoils neither the others nor their counts."""
    broken = msgspec.structs.replace(
        a_case(name="broken"),
        decisions=(
            a_case().decisions[0],
            msgspec.structs.replace(a_case().decisions[0], outcome='{"type": "unheard of"}'),
        ),
    )

    report = simulated([broken, a_case()], OLD)

    assert parts(report) == {"same": 1, "unreadable": 1}
    assert report.decisions.read == 1
    assert len(report.troubles) == 1


def foreign(kind: str, facts: dict[str, Any], outcome: dict[str, Any], **case: Any) -> HistoryCase:
    """A case of somebody else's system: facts and outcomes only."""
    decision = HistoryDecision(
        at=START, facts=msgspec.json.encode(facts).decode(), outcome=msgspec.json.encode(outcome).decode()
    )
    return HistoryCase(case="theirs", kind=kind, decisions=(decision,), **case)


THEIRS = {"amount": "49.00 EUR", "method": "card", "decline": "issuer_generic"}


def test_foreign_history_without_situations_says_that_times_are_unknown() -> None:
    """That a retry follows can be told, when and whether its waits and the limits allow it can't."""
    report = simulated([foreign("retry", THEIRS, {"type": "retry"})], OLD)

    assert parts(report) == {"unanswered": 1}
    assert report.questions == {WHEN: 1}
    assert report.attempts.before == {}


def test_foreign_history_still_shows_stops() -> None:
    """A stop needs no situation; a retry where they stopped is only a possible one."""
    report = simulated(
        [
            foreign("retry", {**THEIRS, "decline": "lost_or_stolen"}, {"type": "retry"}),
            foreign("retry", THEIRS, {"type": "stop"}),
            foreign("retry", {**THEIRS, "decline": "fraud"}, {"type": "stop"}),
        ],
        OLD,
    )

    assert {name: change.tally.cases for name, change in report.changes.items()} == {"stops": 1, "may_go_on": 1}
    assert parts(report) == {"different": 2, "same": 1}


def test_foreign_history_that_lacks_what_the_text_asks_about_is_not_guessed() -> None:
    """The baseline of examples is no history: an unknown fact leaves the question open."""
    asks = changed(("decline: issuer_generic}", "decline: issuer_generic, days_since_failure: {lt: 5}}"))

    report = simulated([foreign("retry", THEIRS, {"type": "retry"})], asks)

    assert parts(report) == {"unanswered": 1}
    assert report.questions == {"what the fact days_since_failure was": 1}


def test_foreign_facts_that_do_not_exist_are_told() -> None:
    """A misspelt fact would be one that is silently missing."""
    report = simulated([foreign("retry", {**THEIRS, "decilne_code": "x"}, {"type": "retry"})], OLD)

    assert parts(report) == {"unreadable": 1}
    assert "decline_code" in next(iter(report.troubles))


REFUND = """
kind: refund
name: consumer
applies_to: {method: card}
rules:
  - {name: too late, when: {age_days: {gt: 180}}, deny: outside_window}
  - name: small
    when: {amount: {lte: {EUR: 50.00}}}
    approve: {per_agent_day: {EUR: 500.00}}
    otherwise: {review: {levels: [[support_lead]]}}
  - {name: the rest, review: {levels: [[support_lead], [finance]]}}
examples:
  - {given: {age_days: 200}, expect: too late}
  - {given: {amount: {EUR: 20.00}}, expect: small}
  - {given: {amount: {EUR: 60.00}, payment_amount: {EUR: 100.00}}, expect: the rest}
"""


def test_refunds_are_compared_by_their_answers() -> None:
    """Denials and reviews follow from facts; an approval within bounds needs sums that history lacks."""
    asked = {"method": "card", "amount": "80.00 EUR", "payment_amount": "100.00 EUR", "age_days": 10}
    cases = [
        foreign("refund", asked, {"type": "approve"}, amount_minor=8000, currency="EUR"),
        foreign("refund", {**asked, "age_days": 300}, {"type": "deny", "reason": "outside_window"}),
        foreign("refund", {**asked, "amount": "20.00 EUR"}, {"type": "approve"}),
    ]

    report = simulated(cases, REFUND)

    assert parts(report) == {"different": 1, "same": 1, "unanswered": 1}
    assert report.changes["reviews"].tally.amounts == {"EUR": 8000}
    assert report.questions == {WITHIN_BOUNDS: 1}
    assert (report.answers["approve"].before, report.answers["approve"].after) == (1, 0)


def test_reviews_are_compared_by_who_decides() -> None:
    """By facts alone it follows to which level an amount jumps; roles in another order are the same people."""
    new = REFUND.replace("[finance]]}}", "[finance, admin]], limits: [{EUR: 80.00}]}}")
    asked = {"method": "card", "payment_amount": "100.00 EUR", "age_days": 10}
    both = [["support_lead"], ["finance"]]
    cases = [
        foreign("refund", {**asked, "amount": "80.00 EUR"}, {"type": "review", "levels": both}),
        foreign("refund", {**asked, "amount": "80.00 EUR"}, {"type": "review", "levels": [["support_lead"]]}),
        foreign("refund", {**asked, "amount": "80.01 EUR"}, {"type": "review", "levels": [["admin", "finance"]]}),
    ]

    report = simulated(cases, new)

    assert parts(report) == {"different": 1, "same": 2}
    assert report.changes["other_levels"].tally.cases == 1


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"decide_by": START}, {"decide_by": START}, []),
        ({"decide_by": START}, {"decide_by": START + timedelta(days=1)}, ["later"]),
        ({"decide_by": START}, {"decide_by": START - timedelta(days=1)}, ["earlier"]),
        ({"expires_at": START}, {"expires_at": START + timedelta(days=1)}, ["later"]),
        ({"decide_by": START, "expires_at": START}, {"decide_by": START, "expires_at": None}, []),
        ({}, {"escalate_to": ("admin",)}, ["other_levels"]),
        ({"escalate_to": ("a", "b")}, {"escalate_to": ("b", "a")}, []),
    ],
)
def test_reviews_by_the_same_people_differ_by_their_times(
    before: dict[str, Any], after: dict[str, Any], changes: list[str]
) -> None:
    """What isn't known of one of them is not compared."""
    old, new = (Review(levels=(("lead", "finance"),), **more) for more in (before, after))

    assert refund_changes(old, new, SimulationReport()) == changes


def test_parts_add_up_whatever_the_split() -> None:
    """Several processes together say what one would have said."""
    new = changed(("[1d, 2d, 3d]", "[12h, 2d, 3d]"), ("stop: exhausted", "stop: manual_review"))
    cases = [
        a_case(*FOUR, name="a", result="recovered"),
        a_case("fraud", name="b", currency="USD"),
        a_case("lost_or_stolen", name="c"),
        *(a_case("fraud", name=f"d{n}") for n in range(7)),
    ]

    whole = simulated(cases, new)

    for size in (1, 3, 4):
        split = merged(simulated(cases[start : start + size], new) for start in range(0, len(cases), size))
        assert msgspec.to_builtins(split) == msgspec.to_builtins(whole)


def test_every_case_is_counted_exactly_once() -> None:
    """The parts of a report add up to what was read."""
    cases = [
        a_case(),
        a_case("fraud", name="b"),
        a_case(name="c", segment="business"),
        foreign("retry", THEIRS, {"type": "retry"}),
        foreign("retry", {"nothing": 1}, {"type": "retry"}),
    ]

    report = simulated(
        cases,
        changed(("{method: card}", "{method: card, segment: consumer}"), ("stop: exhausted", "stop: manual_review")),
    )

    assert sum(parts(report).values()) == report.read.cases == len(cases)


def test_what_comes_later_in_time_comes_later_in_words() -> None:
    """A wait that grows by more than a week falls into the last span."""
    report = simulated([a_case()], changed(("[1d, 2d, 3d]", "[12d]")))

    assert report.later.spread == {"longer": 1}
    assert report.later.seconds == timedelta(days=11).total_seconds()
