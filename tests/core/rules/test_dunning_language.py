"""The language of dunning policies: what can be said, and that every slip is told at its place, all in one pass."""

from datetime import time, timedelta
from textwrap import indent

import pytest

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.language.actions.dunning import MAX_STEPS
from recoup_core.rules.language.actions.steps import (
    CancelSubscription,
    DowngradeSubscription,
    Message,
    On,
    PauseSubscription,
    QuietSpec,
    StepSpec,
    StepsSpec,
    Task,
    WriteOff,
)
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.schema import Policy, parse_policy

FRAME = """\
kind: dunning
name: cards
applies_to: {method: card}
rules:
  - name: campaign
%s
examples:
  - {given: {}, expect: campaign}
"""
FIRST_LINE = 7
"""Of the steps, in `with_steps`."""


def policy(action: str) -> Policy:
    return parse_policy(FRAME % indent(action, "    "), source="x.yaml")


def with_steps(*steps: str) -> Policy:
    return policy("steps:\n" + "\n".join(f"  - {step}" for step in steps))


def problems(*steps: str) -> list[Problem]:
    with pytest.raises(PolicyInvalid) as refused:
        with_steps(*steps)
    return list(refused.value.problems)


def test_every_kind_of_step_can_be_said() -> None:
    """One key says what is done; the rest says when."""
    action = (
        with_steps(
            "{message: payment_failed, by: email}",
            '{message: reminder, by: [email, sms], after: 3d, between: ["09:00", "18:00"], zone: customer}',
            "{on: before_retry, ahead: 1d, message: notice, by: email}",
            "{on: after_retry, after: 1h, task: call the customer}",
            "{on: exhausted, after: 2d, pause_subscription: true}",
            "{on: exhausted, after: 10d, downgrade_subscription: Free plan}",
            "{on: exhausted, after: 2w, cancel_subscription: true}",
            "{on: exhausted, after: 30d, write_off: true}",
        )
        .rules[0]
        .action
    )

    assert action == StepsSpec(
        steps=(
            StepSpec(do=Message(template="payment_failed", channels=("email",))),
            StepSpec(
                after=timedelta(days=3),
                between=(time(9), time(18)),
                zone="customer",
                do=Message(template="reminder", channels=("email", "sms")),
            ),
            StepSpec(on=On.BEFORE_RETRY, ahead=timedelta(days=1), do=Message(template="notice", channels=("email",))),
            StepSpec(on=On.AFTER_RETRY, after=timedelta(hours=1), do=Task(text="call the customer")),
            StepSpec(on=On.EXHAUSTED, after=timedelta(days=2), do=PauseSubscription()),
            StepSpec(on=On.EXHAUSTED, after=timedelta(days=10), do=DowngradeSubscription(plan="Free plan")),
            StepSpec(on=On.EXHAUSTED, after=timedelta(days=14), do=CancelSubscription()),
            StepSpec(on=On.EXHAUSTED, after=timedelta(days=30), do=WriteOff()),
        )
    )
    assert [step.kind for step in action.steps] == [
        StepKind.MESSAGE,
        StepKind.MESSAGE,
        StepKind.MESSAGE,
        StepKind.HUMAN_TASK,
        StepKind.PAUSE_SUBSCRIPTION,
        StepKind.DOWNGRADE_SUBSCRIPTION,
        StepKind.CANCEL_SUBSCRIPTION,
        StepKind.WRITE_OFF,
    ]


def test_quiet_says_why_there_is_no_dunning() -> None:
    """The reason is for people; a bare `true` would be none."""
    assert policy("quiet: the customer can't help").rules[0].action == QuietSpec(reason="the customer can't help")
    with pytest.raises(PolicyInvalid, match="must be a text that people read"):
        policy("quiet: true")


def test_a_steps_key_is_what_it_does_and_when_wherever_it_stands() -> None:
    """Moved up in the file, spelt in other units, sent by another channel: the same step, never done again."""
    one, other = "{message: reminder, by: email, after: 2w}", "{message: reminder, by: [sms, email], after: 14d}"
    first, second = with_steps("{task: call}", one), with_steps(other, "{task: call}")

    keys = {step.key for step in first.rules[0].action.steps}  # type: ignore[union-attr]  # it has steps
    assert keys == {step.key for step in second.rules[0].action.steps}  # type: ignore[union-attr]  # it has steps
    assert "opened+14d/message/reminder" in keys


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ("{message: a, by: email}", "opened/message/a"),
        ("{message: a, by: email, after: 36h}", "opened+36h/message/a"),
        ("{message: a, by: email, after: 48h}", "opened+2d/message/a"),
        ("{message: a, by: email, after: 90m}", "opened+90m/message/a"),
        ("{on: before_retry, ahead: 2h, message: a, by: email}", "before_retry-2h/message/a"),
        ("{on: exhausted, after: 1d, downgrade_subscription: free}", "exhausted+1d/downgrade_subscription/free"),
        ("{on: exhausted, write_off: true}", "exhausted/write_off"),
        ("{task: Call the customer!}", "opened/human_task/call-the-customer-4448ed"),
    ],
)
def test_keys_are_readable(step: str, key: str) -> None:
    """They stand in decisions, in the API and on the timeline."""
    action = with_steps(step).rules[0].action
    assert isinstance(action, StepsSpec)
    assert action.steps[0].key == key


@pytest.mark.parametrize(
    ("step", "code", "message"),
    [
        ("{mesage: a, by: email}", "unknown_key", "did you mean 'message'"),
        ("{message: a, by: email, on: open}", "unknown_value", "did you mean 'opened'"),
        ("{message: a}", "missing_key", "needs `by`"),
        ("{task: call, by: email}", "no_effect", "`by` has no effect without `message`"),
        ("{after: 3d}", "missing_key", "a step needs an action"),
        ("{message: a, by: email, task: call}", "two_actions", "not `message` and `task`"),
        ("{message: Reminder!, by: email}", "bad_name", "can't be a template's name"),
        ("{message: a, by: e-mail@}", "bad_name", "can't be a channel's name"),
        ("{message: a, by: [email, email]}", "duplicate_value", "stands twice"),
        ("{message: a, by: []}", "empty_list", "`by` is empty"),
        ("{message: a, by: [a, b, c, d, e, f]}", "too_many", "at most 5"),
        ("{task: true}", "wrong_type", "a text that people read"),
        (f"{{task: {'x' * 201}}}", "too_many", "longer than 200"),
        ("{pause_subscription: yes}", "wrong_type", "write true or false"),
        ("{pause_subscription: false}", "no_effect", "leave the step out"),
        ("{downgrade_subscription: [a]}", "wrong_type", "must be a text"),
        ('{downgrade_subscription: "*"}', "bad_name", "can't be a plan's name"),
        ("{message: a, by: email, after: 3 days}", "bad_duration", "30m, 6h, 10d, 2w"),
        ("{message: a, by: email, after: 181d}", "bad_duration", "more than 180 days"),
        ("{message: a, by: email, after: 0d}", "bad_duration", "nothing"),
        ("{message: a, by: email, zone: customer}", "no_effect", "`zone` has no effect"),
        ('{message: a, by: email, between: ["09:00", "09:00"]}', "empty_window", "no time lies between"),
        ("{message: a, by: email, ahead: 1d}", "wrong_moment", "`ahead` goes with"),
        ("{on: before_retry, message: a, by: email}", "missing_key", "needs `ahead`"),
        ("{on: before_retry, ahead: 59m, message: a, by: email}", "bad_duration", "at least 1h"),
        ("{on: before_retry, ahead: 1d, after: 1d, message: a, by: email}", "wrong_moment", "`ahead`, not `after`"),
        ("{on: before_retry, ahead: 1d, pause_subscription: true}", "wrong_moment", "happens once"),
        ("{on: after_retry, write_off: true}", "wrong_moment", "happens once"),
        ("call the customer", "wrong_type", "a step must be a mapping"),
    ],
)
def test_a_slip_is_told_at_its_place_with_what_is_right(step: str, code: str, message: str) -> None:
    """One problem, on the step's line, of a stable code, with the near word or the way out."""
    [problem] = problems(step)

    assert (problem.code, problem.line, problem.rule) == (code, FIRST_LINE, "campaign")
    assert message in f"{problem.message} {problem.hint}"


def test_the_same_step_twice_is_refused() -> None:
    """It would be done once anyway; two channels belong into one `by`."""
    [problem] = problems("{message: a, by: email, after: 2d}", "{message: a, by: sms, after: 48h}")

    assert (problem.code, problem.line) == ("duplicate_step", FIRST_LINE + 1)
    assert f"line {FIRST_LINE}" in problem.message
    assert problem.hint == "name all its channels in one `by`"


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        (("{on: exhausted, write_off: true}", "{on: exhausted, message: a, by: email}"), 1),
        (("{on: exhausted, after: 5d, message: a, by: email}", "{on: exhausted, after: 5d, write_off: true}"), 0),
        (("{on: exhausted, after: 5d, write_off: true}", "{on: exhausted, after: 9d, write_off: true}"), 1),
        (("{after: 5d, write_off: true}", "{after: 6d, task: call}"), 1),
        (
            (
                "{on: exhausted, after: 5d, cancel_subscription: true}",
                "{on: exhausted, after: 6d, pause_subscription: true}",
            ),
            1,
        ),
    ],
)
def test_nothing_comes_after_the_end(steps: tuple[str, ...], line: int) -> None:
    """Not a letter after the write-off, nor a pause of what was canceled; the order in the file makes no difference."""
    for order in (steps, tuple(reversed(steps))):
        [problem] = problems(*order)
        assert problem.code == "after_the_end"
        assert problem.line == FIRST_LINE + order.index(steps[line])


def test_a_last_letter_and_the_write_off_may_follow_the_cancellation() -> None:
    """The debt goes on when the subscription does not."""
    assert with_steps(
        "{on: exhausted, after: 5d, cancel_subscription: true}",
        "{on: exhausted, after: 6d, message: canceled, by: email}",
        "{on: exhausted, after: 30d, write_off: true}",
    )


def test_no_rule_has_more_steps_than_the_limit() -> None:
    """Forty letters are a matter for a person."""
    steps = [f"{{message: a, by: email, after: {day}d}}" for day in range(1, MAX_STEPS + 2)]

    assert with_steps(*steps[:MAX_STEPS])
    assert [problem.code for problem in problems(*steps)] == ["too_many"]


@pytest.mark.parametrize("steps", ["steps: []", "steps: {}", "steps: call", "steps:"])
def test_a_campaign_has_steps(steps: str) -> None:
    """Nobody leaves a list empty and means it: `quiet` says so."""
    with pytest.raises(PolicyInvalid) as refused:
        policy(steps)
    assert refused.value.problems[0].code in ("empty_list", "wrong_type")


def test_all_slips_of_a_file_are_told_at_once() -> None:
    """An author mends a file in one go."""
    found = problems("{mesage: a, by: email}", "{on: exhausted, after: 1y, write_off: true}", "{ahead: 1d, task: call}")

    assert [problem.line for problem in found] == [FIRST_LINE, FIRST_LINE + 1, FIRST_LINE + 2]


def test_otherwise_has_no_meaning_in_a_dunning_rule() -> None:
    """Steps always apply."""
    with pytest.raises(PolicyInvalid, match="`otherwise` has no effect beside `quiet`"):
        policy("quiet: why\notherwise: {quiet: also}")
