"""Nobody is suspended before they were told, or while retries go on."""

from collections.abc import Callable

import pytest

from recoup_core.rules.language.errors import Problem, Severity

Find = Callable[..., tuple[Problem, ...]]

RETRIES = """kind: retry
name: cards
applies_to: {method: card}
rules:
  - name: soft
    when: {decline: issuer_generic}
    retry: {after: [3d, 7d, 10d]}
  - {name: rest, stop: exhausted}
examples:
  - {given: {decline: issuer_generic}, expect: soft}
  - {given: {decline: unknown}, expect: rest}
"""


def campaign(*steps: str, scope: str = "{method: card}") -> str:
    lines = "".join(f"      - {step}\n" for step in steps)
    return (
        f"kind: dunning\nname: c\napplies_to: {scope}\nrules:\n  - name: all\n    steps:\n{lines}"
        "examples:\n  - {given: {}, expect: all}\n"
    )


AT_ONCE = "{message: payment_failed, by: email}"


@pytest.mark.parametrize(
    "steps",
    [
        ["{on: exhausted, pause_subscription: true}"],
        ["{message: reminder, by: email, after: 1d}", "{on: exhausted, pause_subscription: true}"],
        ["{message: reminder, by: email, after: 7d}", "{on: exhausted, after: 7d, cancel_subscription: true}"],
        ["{on: after_retry, message: reminder, by: email}", "{on: exhausted, after: 9d, write_off: true}"],
        ["{on: exhausted, message: final_notice, by: email}", "{on: exhausted, downgrade_subscription: free}"],
        [
            '{on: exhausted, message: final_notice, by: email, between: ["09:00", "18:00"]}',
            "{on: exhausted, after: 20h, pause_subscription: true}",
        ],
        [
            "{on: exhausted, after: 8d, message: final_notice, by: email}",
            "{on: exhausted, after: 7d, cancel_subscription: true}",
        ],
        ["{task: call them, after: 1d}", "{on: exhausted, after: 7d, cancel_subscription: true}"],
    ],
)
def test_a_suspension_without_a_sure_notice_is_an_error(problems: Find, steps: list[str]) -> None:
    """Whatever may happen, retries exhausted at once included, a message must have come before."""
    [problem] = problems(campaign(*steps))

    assert (problem.code, problem.severity) == ("suspension_before_notice", Severity.ERROR)
    assert (
        campaign(*steps)
        .splitlines()[problem.line - 1][problem.column - 1 :]
        .startswith(("pause_", "downgrade_", "cancel_", "write_off"))
    )
    assert "no message surely comes earlier" in problem.message


@pytest.mark.parametrize(
    "steps",
    [
        [AT_ONCE, "{on: exhausted, pause_subscription: true}"],
        ["{message: reminder, by: email, after: 2d}", "{on: exhausted, after: 3d, cancel_subscription: true}"],
        [
            '{on: exhausted, message: final_notice, by: email, between: ["09:00", "18:00"]}',
            "{on: exhausted, after: 25h, pause_subscription: true}",
        ],
        [AT_ONCE, "{after: 60d, pause_subscription: true}"],
        ["{task: call them}"],
    ],
)
def test_a_suspension_after_a_sure_notice_is_fine(problems: Find, steps: list[str]) -> None:
    """Also counted from the opening, where no retry policy stands beside it."""
    assert problems(campaign(*steps)) == ()


def test_ending_a_subscription_while_retries_go_on_is_an_error(problems: Find) -> None:
    """Retries go on for 20 days; who is charged after the end disputes it."""
    found = problems(RETRIES, campaign(AT_ONCE, "{after: 14d, cancel_subscription: true}"))

    [problem] = found
    assert (problem.code, problem.severity, problem.file) == ("suspension_before_notice", Severity.ERROR, "1.yaml")
    assert "'cards' (0.yaml) plans retries until 20d after the first failure" in problem.message


def test_pausing_while_retries_go_on_is_a_warning(problems: Find) -> None:
    """A pause can be taken back when the money comes."""
    [problem] = problems(RETRIES, campaign(AT_ONCE, "{after: 14d, pause_subscription: true}"))

    assert (problem.code, problem.severity) == ("suspension_before_notice", Severity.WARNING)


@pytest.mark.parametrize(
    "dunning",
    [
        campaign(AT_ONCE, "{after: 20d, cancel_subscription: true}"),
        campaign(AT_ONCE, "{after: 14d, cancel_subscription: true}", scope="{method: sepa_debit}"),
        campaign(AT_ONCE, "{on: exhausted, cancel_subscription: true}"),
    ],
    ids=["after the last retry", "other payments", "when retries are exhausted"],
)
def test_ending_a_subscription_after_the_last_retry_is_fine(problems: Find, dunning: str) -> None:
    """Only retry policies that may be for the same payments count."""
    assert problems(RETRIES, dunning) == ()
