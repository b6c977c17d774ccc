"""Retries that limits would cut are told with the try, the limit and its source; those inside stay silent."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from recoup_core.rules.language.errors import Problem, Severity
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.beyond_limits import beyond_limits
from recoup_core.rules.study.lint.played import START, Game

Find = Callable[..., tuple[Problem, ...]]


def policy_of(
    retry: str, *, when: str = "{decline: processing_error}", scope: str = "{method: card, network: mastercard}"
) -> str:
    return (
        f"kind: retry\nname: p\napplies_to: {scope}\nrules:\n"
        f"  - name: again\n    when: {when}\n    retry: {retry}\n  - {{name: rest, stop: exhausted}}\nexamples:\n"
        f"  - {{given: {{decline: processing_error, has_backup: true}}, expect: again}}\n"
        f"  - {{given: {{decline: unknown}}, expect: rest}}\n"
    )


ONCE_MORE = "  - {name: first card, when: {decline: processing_error}, retry: {after: [5m, 10m, 20m]}}\n"
FAST = "{after: [5m, 10m, 20m, 40m, 80m, 160m, 320m, 6h]}"


def test_a_try_that_must_wait_is_told(problems: Find) -> None:
    """Which try, which limit, how much longer, whose word."""
    [problem] = problems(policy_of(FAST))

    assert (problem.code, problem.line, problem.rule) == ("beyond_limits", 5, "again")
    assert problem.severity is Severity.WARNING
    assert "attempt 9, after processing_error on mastercard, would have to wait 7h25m longer" in problem.message
    assert "limit mastercard_24h: 8 of 8 declines" in problem.message
    assert problem.hint is not None
    assert "mc-s24" in problem.hint


def test_a_try_that_is_never_allowed_is_told(problems: Find) -> None:
    """Where waiting doesn't help, the rule had better stop."""
    text = policy_of("{after: [3d]}", scope="{method: ach_debit}")
    [problem] = problems(text)

    assert (
        "attempt 2, after processing_error on ach_debit, would never be made; limit nacha_other_returns"
        in problem.message
    )
    assert problem.hint is not None
    assert problem.hint.startswith("let the rule stop instead")


@pytest.mark.parametrize(
    "text",
    [
        policy_of("{after: [5m, 10m, 20m, 40m, 80m, 160m, 320m]}"),
        policy_of(FAST, scope="{method: card, network: visa}"),
        policy_of("{after: [3d, 7d]}", when="{decline: insufficient_funds}", scope="{method: sepa_debit}").replace(
            "decline: processing_error", "decline: insufficient_funds"
        ),
        policy_of(FAST, when="{decline: processing_error, retryable: no}").replace(
            "{given: {decline: p", "{given: {retryable: no, decline: p"
        ),
    ],
    ids=["one try fewer", "a wider network", "what the scheme allows", "declines that are never retried"],
)
def test_what_limits_allow_is_silent(problems: Find, text: str) -> None:
    """A warning that is wrong is one that nobody reads."""
    assert problems(text) == ()


def test_a_code_that_the_scheme_lets_pass_is_enough(problems: Find) -> None:
    """MS03 of SEPA is a generic decline that may be tried again; that gateways may not pass it on is not told."""
    text = policy_of("{after: [3d]}", when="{decline: issuer_generic}", scope="{method: sepa_debit}")

    assert problems(text.replace("decline: processing_error", "decline: issuer_generic")) == ()


def test_the_backup_has_an_account_of_its_own(problems: Find) -> None:
    """Tries on the first card don't count against the second."""
    backup = "{after: [5m, 10m, 20m, 40m, 80m, 160m, 320m], credential: backup}"
    text = policy_of(backup, when="{decline: processing_error, attempt: {lte: 7}}")
    text = text.replace("  - {name: rest", ONCE_MORE + "  - {name: rest")

    example = "examples:\n  - {given: {decline: processing_error, attempt: 8}, expect: first card}"
    assert problems(text.replace("examples:", example)) == ()


def test_payments_are_played_at_the_policys_own_times() -> None:
    """Each try follows the one before by the wait of the rule that fires then."""
    text = policy_of("{after: [1d, 2d]}", when="{decline: processing_error, attempt: {lte: 2}}")
    game = Game(parse_policy(text, source="p.yaml"))
    first = next(game.beginnings(Budget()))
    assert first is not None

    tries = list(game.tries(first))

    assert [each.attempt for each in tries] == [2, 3]
    assert [later - earlier for earlier, later in pairwise([START, *(each.at for each in tries)])] == [
        timedelta(days=1),
        timedelta(days=2),
    ]


def test_a_budget_that_ends_is_said() -> None:
    """Not knowing is a finding of its own."""
    policy = parse_policy(policy_of(FAST), source="p.yaml")

    assert [problem.code for problem in beyond_limits(policy, Budget(9))] == ["lint_undecided"]
