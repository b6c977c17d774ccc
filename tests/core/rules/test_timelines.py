"""Timelines: read with every mistake at once, run by the code that decides, compared step by step."""

from datetime import UTC, datetime
from textwrap import dedent, indent
from typing import Any

import pytest

from recoup_core.domain.decline import DeclineCategory, DeclineSource, Retryable
from recoup_core.reference.declines import _table
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.study.rehearsal import USUAL, came_words, rehearse, timeline_problems

RETRIES = """\
kind: retry
name: spread
applies_to: {method: card}
rules:
  - name: backup card
    when: {decline: expired_or_invalid_credentials}
    retry: {after: [10m], credential: backup}
    otherwise: {stop: needs_customer}
  - name: spread
    when: {retryable: yes}
    retry: {after: [1d, 2d, 3d], between: ["09:00", "12:00"], zone: customer, jitter: 30m}
  - name: give up
    stop: not_retryable
examples:
  - {given: {decline: expired_or_invalid_credentials}, expect: backup card}
  - {given: {}, expect: spread}
  - {given: {retryable: no}, expect: give up}
"""

CAMPAIGN = """\
kind: dunning
name: campaign
applies_to: {method: card}
rules:
  - name: left alone
    when: {segment: business}
    quiet: an account manager calls
  - name: campaign
    steps:
      - {message: payment_failed, by: email}
      - {message: reminder, by: email, after: 4d, between: ["09:00", "18:00"], zone: customer}
      - {on: before_retry, ahead: 1d, message: retry_notice, by: email}
      - {on: exhausted, message: final_notice, by: email}
      - {on: exhausted, after: 3d, task: call the customer}
      - {on: exhausted, after: 14d, cancel_subscription: true}
examples:
  - {given: {segment: business}, expect: left alone}
  - {given: {}, expect: campaign}
"""

GOOD = """\
name: all in vain
start: 2026-03-02T10:00
zone: Europe/Berlin
failures: [issuer_generic, insufficient_funds, issuer_temporary, issuer_generic]
expect:
  - {retry: 2026-03-03T10:00, rule: spread}
  - {retry: 2026-03-05T10:00}
  - {retry: 2026-03-08T10:00}
  - {stop: exhausted, rule: spread}
"""


def with_timelines(policy: str, *timelines: str) -> str:
    """The policy with timelines, each given as the lines of one."""
    items = [f"  - {indent(dedent(each).strip(), '    ').lstrip()}\n" for each in timelines]
    return policy + "timelines:\n" + "".join(items)


def read(policy: str, *timelines: str) -> Policy:
    """A policy that can be read."""
    return parse_policy(with_timelines(policy, *timelines), source="p.yaml")


def refused(policy: str, *timelines: str) -> tuple[Problem, ...]:
    """What is wrong with one that can't be."""
    with pytest.raises(PolicyInvalid) as refusal:
        read(policy, *timelines)
    return refusal.value.problems


def steps(policy: str, timeline: str) -> list[str]:
    """What a policy comes to, as it would be written."""
    [rehearsal] = rehearse(read(policy, timeline))
    return [came_words(rehearsal.timeline, step) for step in rehearsal.run.steps]


def test_a_timeline_that_comes_true_says_nothing() -> None:
    """Times without an offset are local in the timeline's zone; jitter is left out."""
    assert timeline_problems(read(RETRIES, GOOD)) == ()


def test_a_policy_without_timelines_is_as_it_was() -> None:
    """Old texts stay readable."""
    policy = parse_policy(RETRIES, source="p.yaml")

    assert policy.timelines == ()
    assert timeline_problems(policy) == ()


def test_a_wrong_step_is_told_with_its_place_and_what_came() -> None:
    """Expected beside got, and why it came so."""
    [problem] = timeline_problems(read(RETRIES, GOOD.replace("2026-03-05T10:00", "2026-03-05T11:00")))

    assert (problem.code, problem.line, problem.column) == ("timeline_failed", 25, 9)
    assert "step 2: expected {retry: 2026-03-05T11:00+01:00}, got {retry: 2026-03-05T10:00+01:00}" in problem.message
    assert problem.hint == "because: waited 2d"


def test_the_wrong_rule_is_told() -> None:
    """The right time for the wrong reason is no test passed."""
    [problem] = timeline_problems(
        read(RETRIES, GOOD.replace("{stop: exhausted, rule: spread}", "{stop: exhausted, rule: give up}"))
    )

    assert "expected {stop: exhausted, rule: give up}, got {stop: exhausted, rule: spread}" in problem.message


def test_steps_that_nobody_expected_are_told() -> None:
    """A timeline states all that happens."""
    shorter = GOOD.replace("  - {stop: exhausted, rule: spread}\n", "")

    [problem] = timeline_problems(read(RETRIES, shorter))

    assert "step 4: expected nothing, got {stop: exhausted, rule: spread}" in problem.message


def test_steps_that_never_come_are_told() -> None:
    """The failures end before the policy does."""
    [problem] = timeline_problems(read(RETRIES, GOOD.replace(", issuer_generic]", "]")))

    assert "step 4: expected {stop: exhausted, rule: spread}, got nothing" in problem.message


def test_failures_that_never_happen_are_told() -> None:
    """No retry is made, so none can fail."""
    [problem] = timeline_problems(
        read(
            RETRIES,
            "{name: stolen, start: 2026-03-02T10:00Z, failures: [fraud, fraud], expect: [{stop: not_retryable}]}",
        )
    )

    assert "1 of its `failures` never happen" in problem.message


def test_a_success_ends_the_timeline() -> None:
    """Nothing is decided about money that came."""
    timeline = (
        "{name: paid, start: 2026-03-02T10:00Z, failures: [issuer_generic, success], expect: [{stop: exhausted}]}"
    )

    assert steps(RETRIES, timeline) == ["{retry: 2026-03-03T10:00Z, rule: spread}"]


def test_times_follow_the_customers_clock_through_daylight_saving() -> None:
    """Windows are local; a wait of two days is 48 hours, an hour later on the clock when it springs forward."""
    timeline = """\
        name: spring
        start: 2026-03-27T06:00
        zone: Europe/Berlin
        failures: [issuer_generic, issuer_generic]
        expect: [{retry: 2026-03-28T09:00}, {retry: 2026-03-30T10:00+02:00}]
        """
    policy = read(RETRIES, timeline)

    assert timeline_problems(policy) == ()
    [rehearsal] = rehearse(policy)
    assert [step.at for step in rehearsal.run.steps] == [
        datetime(2026, 3, 28, 8, tzinfo=UTC),
        datetime(2026, 3, 30, 8, tzinfo=UTC),
    ]


def test_network_limits_count_the_timelines_own_attempts() -> None:
    """What production would refuse is refused here: after 15 tries in 30 days Visa allows none."""
    fast = RETRIES.replace('[1d, 2d, 3d], between: ["09:00", "12:00"], zone: customer, jitter: 30m', "[1h] ")
    waits = ", ".join(["1h"] * 20)
    policy = fast.replace("[1h] ", f"[{waits}]")
    failures = ", ".join(["issuer_generic"] * 21)
    [rehearsal] = rehearse(
        read(policy, f"{{name: many, start: 2026-03-02T10:00Z, failures: [{failures}], expect: [{{stop: exhausted}}]}}")
    )

    gaps = [step.at - step.decided_at for step in rehearsal.run.steps if step.at is not None]
    assert max(gaps).days >= 1, "a limit has pushed a retry later than the hour it waits"
    assert any("visa" in finding.rule for step in rehearsal.run.steps for finding in step.limits)


def test_a_backup_card_is_a_retry_with_its_credential() -> None:
    """`credential` need not be stated; where it is, it must be the one."""
    timeline = """\
        name: backup
        given: {has_backup: true}
        start: 2026-03-02T10:00Z
        failures: [expired_or_invalid_credentials, expired_or_invalid_credentials]
        expect: [{retry: 2026-03-02T10:10Z, credential: primary}, {stop: needs_customer}]
        """
    [problem] = timeline_problems(read(RETRIES, timeline))

    assert "got {retry: 2026-03-02T10:10Z, credential: backup}" in problem.message


@pytest.mark.parametrize(
    ("failure", "category"), [("{decline_code: stolen_card}", "lost_or_stolen"), ("fraud", "fraud")]
)
def test_a_failure_is_a_category_or_what_the_provider_said(failure: str, category: str) -> None:
    """A code is looked up, and a category brings what it usually allows."""
    [rehearsal] = rehearse(
        read(RETRIES, f"{{name: one, start: 2026-03-02T10:00Z, failures: [{failure}], expect: [{{stop: exhausted}}]}}")
    )

    assert rehearsal.run.steps[0].failure == category
    assert came_words(rehearsal.timeline, rehearsal.run.steps[0]) == "{stop: not_retryable, rule: give up}"


def test_facts_outside_the_policy_are_told() -> None:
    """A timeline about payments that the policy never sees shows nothing."""
    outside = GOOD.replace("start:", "given: {method: sepa_debit}\nstart:", 1)

    assert [problem.code for problem in timeline_problems(read(RETRIES, outside))] == ["timeline_outside"]


def test_a_dunning_timeline_lists_every_step_in_order() -> None:
    """Steps before a retry come before it; those of the end come after the last failure."""
    timeline = """\
        name: whole
        start: 2026-03-02T20:00
        zone: Europe/Berlin
        failures: [insufficient_funds, insufficient_funds]
        retries: [2026-03-13T06:00]
        expect: [{write_off: true, at: 2026-03-02T20:00}]
        """

    assert steps(CAMPAIGN, timeline) == [
        "{message: payment_failed, at: 2026-03-02T20:00+01:00, rule: campaign}",
        "{message: reminder, at: 2026-03-07T09:00+01:00, rule: campaign}",
        "{message: retry_notice, at: 2026-03-12T06:00+01:00, rule: campaign}",
        "{message: final_notice, at: 2026-03-13T06:00+01:00, rule: campaign}",
        "{task: call the customer, at: 2026-03-16T06:00+01:00, rule: campaign}",
        "{cancel_subscription: true, at: 2026-03-27T06:00+01:00, rule: campaign}",
    ]


def test_a_success_leaves_out_the_steps_that_were_to_come() -> None:
    """Nobody who has paid is reminded."""
    timeline = """\
        name: paid
        start: 2026-03-02T10:00Z
        failures: [insufficient_funds, success]
        retries: [2026-03-04T06:00Z]
        expect: [{message: payment_failed, at: 2026-03-02T10:00Z}, {message: retry_notice, at: 2026-03-03T06:00Z}]
        """

    assert timeline_problems(read(CAMPAIGN, timeline)) == ()


@pytest.mark.parametrize(("paid", "problems"), [("2026-03-05", 0), ("2026-03-08", 1)])
def test_a_dunning_timeline_may_expect_nothing(paid: str, problems: int) -> None:
    """Paid before the first letter was due; when it was due first, that is told."""
    patient = CAMPAIGN.replace("      - {message: payment_failed, by: email}\n", "").replace(
        "before_retry, ahead", "exhausted, after"
    )
    timeline = f"""\
        name: silent
        start: 2026-03-02T10:00Z
        failures: [insufficient_funds, success]
        retries: [{paid}T06:00Z]
        expect: []
        """

    assert len(timeline_problems(read(patient, timeline))) == problems


def test_no_dunning_is_told_once() -> None:
    """`quiet` stands for every decision that changes nothing."""
    timeline = """\
        name: business
        given: {segment: business}
        start: 2026-03-02T10:00Z
        failures: [insufficient_funds, insufficient_funds, insufficient_funds]
        retries: [2026-03-04T06:00Z, 2026-03-08T06:00Z]
        expect: [{quiet: an account manager calls, rule: left alone}]
        """

    assert timeline_problems(read(CAMPAIGN, timeline)) == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("name: all in vain\n", ""), "missing_key"),
        (("start: 2026-03-02T10:00\n", ""), "missing_key"),
        (("failures:", "failurs:"), "unknown_key"),
        (("start:", "retries: [2026-03-04T06:00Z]\nstart:"), "unknown_key"),
        (("2026-03-02T10:00", "yesterday"), "bad_moment"),
        (("2026-03-02T10:00", "2026-03-02"), "bad_moment"),
        (("2026-03-02T10:00", "0001-01-01T00:00Z"), "bad_moment"),
        (("2026-03-02T10:00", "9999-12-31T23:59Z"), "bad_moment"),
        (("2026-03-02T10:00", "2026-03-29T02:30"), "bad_moment"),
        (("Europe/Berlin", "Europe/Berlim"), "unknown_zone"),
        (("[issuer_generic, insufficient_funds", "[issuer_genric, insufficient_funds"), "unknown_value"),
        (("[issuer_generic, insufficient_funds", "[success, insufficient_funds"), "timeline_order"),
        (("[issuer_generic, insufficient_funds", "[{amount: {EUR: 1.00}}, insufficient_funds"), "unknown_fact"),
        (("start:", "given: {attempt: 3}\nstart:"), "told_by_timeline"),
        (("start:", "given: {atempt: 3}\nstart:"), "unknown_fact"),
        (("start:", "paydays: [32]\nstart:"), "out_of_range"),
        (("start:", "acquirer: UK\nstart:"), "unknown_value"),
        (("{retry: 2026-03-05T10:00}", "{rule: spread}"), "missing_key"),
        (("{retry: 2026-03-05T10:00}", "{retry: 2026-03-05T10:00, stop: exhausted}"), "missing_key"),
        (("{retry: 2026-03-05T10:00}", "{retry: 2026-03-05T10:00, credental: backup}"), "unknown_key"),
        (("{retry: 2026-03-05T10:00}", "{message: reminder, at: 2026-03-05T10:00}"), "unknown_key"),
        (("rule: spread}\n  - {retry: 2026-03-05", "rule: spraed}\n  - {retry: 2026-03-05"), "unknown_rule"),
        (("stop: exhausted", "stop: tired"), "unknown_value"),
        ((GOOD[GOOD.index("expect:") :], "expect: []\n"), "empty_list"),
    ],
)
def test_a_mistake_in_a_timeline_is_a_problem_of_the_file(change: tuple[str, str], code: str) -> None:
    """With its place, beside all the others."""
    assert change[0] in GOOD

    found = refused(RETRIES, GOOD.replace(*change, 1))

    assert code in {problem.code for problem in found}
    assert all(problem.line > RETRIES.count("\n") for problem in found)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("failures: [fraud, fraud]", "timeline_order"),
        ("{failures: [fraud, fraud], retries: [2026-03-01T10:00Z]}", "timeline_order"),
        ("{failures: [fraud], paydays: [1]}", "unknown_key"),
        ("{failures: [fraud], stop: tired}", "unknown_value"),
        ("{failures: [fraud], expect: [{message: x}]}", "missing_key"),
        ("{failures: [fraud], expect: [{quiet: x, at: 2026-03-02T10:00Z}]}", "no_effect"),
        ("{failures: [fraud], expect: [{write_off: yes, at: 2026-03-02T10:00Z}]}", "unknown_value"),
        ("{failures: [fraud], expect: [{retry: 2026-03-02T10:00Z}]}", "unknown_key"),
    ],
)
def test_a_mistake_in_a_dunning_timeline_is_one_too(written: str, code: str) -> None:
    """Retries are told, one before each failure but the first; steps have their times."""
    inner = written.strip("{}")
    expect = "" if "expect" in inner else ", expect: [{message: x, at: 2026-03-02T10:00Z}]"

    found = refused(CAMPAIGN, f"{{name: one, start: 2026-03-02T10:00Z, {inner}{expect}}}")

    assert code in {problem.code for problem in found}


def test_two_timelines_of_one_name_are_refused() -> None:
    """`--timeline NAME` asks for one."""
    assert [problem.code for problem in refused(RETRIES, GOOD, GOOD)] == ["duplicate_timeline"]


def test_refund_policies_have_no_timelines() -> None:
    """Nothing of theirs happens over time."""
    text = "kind: refund\nname: r\napplies_to: {}\nrules: [{name: all, review: {levels: [[agent]]}}]\n"
    text += "examples: [{given: {}, expect: all}]\ntimelines: []\n"

    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(text, source="p.yaml")

    assert "unknown_key" in {problem.code for problem in refusal.value.problems}


def test_a_file_can_not_ask_for_endless_work() -> None:
    """All failures of a file together have a limit, whatever each timeline holds."""
    failures = ", ".join(["issuer_generic"] * 60)
    many = [
        f"{{name: t{number}, start: 2026-03-02T10:00Z, failures: [{failures}], expect: [{{stop: exhausted}}]}}"
        for number in range(40)
    ]

    assert [problem.code for problem in refused(RETRIES, *many)] == ["too_many"]


def test_timelines_of_a_huge_policy_are_not_run() -> None:
    """What a thread would need minutes for is refused, and says so."""
    leaves = ", ".join(f"{{decline_code: c{number}}}" for number in range(95))
    rules = "".join(
        f"  - {{name: r{n}, when: {{any: [big, {{attempt: {n}}}]}}, stop: exhausted}}\n" for n in range(70, 90)
    )
    examples = "".join(f"  - {{given: {{attempt: {n}}}, expect: r{n}}}\n" for n in range(70, 90))
    policy = f"kind: retry\nname: huge\napplies_to: {{}}\ndefine: {{big: {{any: [{leaves}]}}}}\nrules:\n{rules}"
    policy += f"  - {{name: rest, stop: exhausted}}\nexamples:\n{examples}  - {{given: {{}}, expect: rest}}\n"
    failures = ", ".join(["issuer_generic"] * 60)
    many = [
        f"{{name: t{number}, start: 2026-03-02T10:00Z, failures: [{failures}], expect: [{{stop: exhausted}}]}}"
        for number in range(33)
    ]

    found = timeline_problems(read(policy, *many))

    assert {problem.code for problem in found} == {"too_many"}


def test_what_a_category_usually_allows_is_never_looser_than_its_codes() -> None:
    """A category that no code of any provider lets be retried unattended is not taken to be retryable."""
    rows: list[Any] = [row for source in DeclineSource for row in _table(source).values()]
    soft = {row.category for row in rows if row.retryable is Retryable.YES}

    assert set(DeclineCategory) - USUAL.keys() <= soft
