"""Along the amount, approval gets no looser, and no amount is forgotten."""

from collections.abc import Callable

import pytest

from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import read_policy
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.approvals import MAX_RULES, approvals

Find = Callable[..., tuple[Problem, ...]]
ONE, TWO, AUTO, DENY = (
    "review: {levels: [[finance]]}",
    "review: {levels: [[support_lead], [finance]]}",
    "approve: auto",
    "deny: no",
)


def policy_of(*rules: tuple[str, str], last: str) -> str:
    """Return a policy of rules from line 5 on, without examples: they are not lint's affair."""
    lines = "".join(f"  - {{name: r{n}, when: {when}, {action}}}\n" for n, (when, action) in enumerate(rules))
    return (
        f"kind: refund\nname: p\napplies_to: {{method: card}}\nrules:\n{lines}  - {{name: rest, {last}}}\n"
        "examples:\n  - {given: {amount: {CHF: 1.00}}, expect: rest}\n"
    )


def lte(*amounts: str) -> str:
    return f"{{amount: {{lte: {{{', '.join(amounts)}}}}}}}"


def gt(*amounts: str) -> str:
    return f"{{amount: {{gt: {{{', '.join(amounts)}}}}}}}"


JUMP, NEVER_ALONE, HIGH = (
    "review: {levels: [[support_lead], [finance]], limits: [{EUR: 60.00}]}",
    "review: {levels: [[support_lead], [finance]], limits: [{EUR: 20.00}, {EUR: 60.00}]}",
    "review: {levels: [[support_lead], [finance]], limits: [{EUR: 90.00}, {EUR: 900.00}]}",
)

# rules, last rule; then (line, code, words of the message)
CASES: list[tuple[list[tuple[str, str]], str, list[tuple[int, str, str]]]] = [
    ([(lte("EUR: 50.00"), AUTO), (lte("EUR: 500.00"), ONE)], TWO, []),
    ([(lte("EUR: 50.00"), AUTO), (lte("EUR: 500.00"), ONE)], DENY, []),
    (
        [(lte("EUR: 50.00"), AUTO), (lte("EUR: 500.00"), TWO)],
        ONE,
        [(7, "approval_overlap", "500.01 EUR needs 1 level of review, but the smaller 50.01 EUR needs 2 levels")],
    ),
    (
        [(lte("EUR: 50.00"), ONE)],
        AUTO,
        [(6, "approval_overlap", "50.01 EUR needs no review, but the smaller 49.00 EUR")],
    ),
    ([(lte("EUR: 50.00"), DENY)], AUTO, []),
    (
        [(lte("EUR: 50.00", "JPY: 5000"), AUTO), (gt("EUR: 50.00"), ONE)],
        TWO,
        [],
    ),
    (
        [("{amount: {lt: {EUR: 50.00}}}", AUTO), (gt("EUR: 50.00"), ONE)],
        TWO,
        [(6, "approval_overlap", "the smaller 50.00 EUR needs 2"), (7, "approval_gap", "50.00 EUR falls through")],
    ),
    (
        [(lte("EUR: 50.00"), TWO), (gt("EUR: 100.00"), TWO)],
        AUTO,
        [(7, "approval_gap", "falls through"), (7, "approval_overlap", "needs no review")],
    ),
    ([(lte("EUR: 50.00"), AUTO), (gt("EUR: 100.00"), TWO)], ONE, []),
    (
        [("{amount: {gte: {EUR: 30.00}}}", ONE), (lte("EUR: 50.00"), AUTO)],
        DENY,
        [(6, "approval_overlap", "49.00 EUR is in both and goes to 'r0'")],
    ),
    (
        [
            ("{amount: {between: {EUR: [0, 60.00]}}, age_days: {lte: 9}}", AUTO),
            ("{amount: {between: {EUR: [40.00, 90.00]}}, age_days: {lte: 9}}", ONE),
        ],
        DENY,
        [(6, "approval_overlap", "is in both and goes to 'r0'")],
    ),
    ([("{amount: {gte: {EUR: 30.00}}, dispute: inquiry}", ONE), (lte("EUR: 50.00"), AUTO)], DENY, []),
    ([("{amount: {gte: {EUR: 30.00}}}", ONE), (lte("EUR: 50.00"), ONE)], DENY, []),
    ([("{age_days: {gt: 30}}", TWO)], AUTO, []),
    ([(lte("EUR: 50.00"), AUTO)], JUMP, []),
    ([(lte("EUR: 50.00"), AUTO), (lte("EUR: 500.00"), JUMP)], TWO, []),
    ([(lte("EUR: 50.00"), AUTO), (lte("EUR: 500.00"), NEVER_ALONE)], TWO, []),
    (
        [(lte("EUR: 50.00"), NEVER_ALONE), (lte("EUR: 500.00"), NEVER_ALONE)],
        ONE,
        [(7, "approval_overlap", "500.01 EUR needs 1 level of review, but the smaller 60.01 EUR needs 2 levels")],
    ),
    (
        [(lte("EUR: 50.00"), TWO)],
        HIGH,
        [(6, "approval_overlap", "50.01 EUR needs 1 level of review, but the smaller 49.00 EUR needs 2 levels")],
    ),
    (
        [(lte("EUR: 50.00"), TWO), (gt("EUR: 100.00"), TWO)],
        HIGH,
        [
            (7, "approval_gap", "50.01 EUR falls through to this last rule (1 level of review)"),
            (7, "approval_overlap", "50.01 EUR needs 1 level of review"),
        ],
    ),
    ([], NEVER_ALONE, []),
    ([("{amount: {gte: {EUR: 30.00}}}", ONE), (lte("EUR: 50.00"), JUMP)], DENY, []),
    (
        [("{amount: {gte: {EUR: 30.00}}}", TWO), (lte("EUR: 50.00"), JUMP)],
        DENY,
        [(6, "approval_overlap", "49.00 EUR is in both and goes to 'r0'")],
    ),
]


@pytest.mark.parametrize(("rules", "last", "expected"), CASES)
def test_amounts_are_held_against_each_other(
    problems: Find, rules: list[tuple[str, str]], last: str, expected: list[tuple[int, str, str]]
) -> None:
    """Who asks for more gets no less scrutiny, all else equal; steps inside each other are fine."""
    found = [each for each in problems(policy_of(*rules, last=last)) if each.code.startswith("approval")]
    found.sort(key=lambda each: (each.line, each.code))

    assert [(each.line, each.code) for each in found] == [(line, code) for line, code, _ in expected]
    for problem, (_, _, words) in zip(found, expected, strict=True):
        assert words in problem.message


def test_what_else_must_be_so_is_told(problems: Find) -> None:
    """The gap is only there for old payments, and the message says so."""
    text = policy_of(
        (lte("EUR: 50.00"), AUTO),
        ("{amount: {lte: {EUR: 90.00}}, age_days: {lte: 30}}", ONE),
        (gt("EUR: 90.00"), ONE),
        last=DENY,
    )

    [gap] = [each for each in problems(text) if each.code == "approval_gap"]
    assert "50.01 EUR falls through to this last rule (a denial)" in gap.message
    assert "all else equal ({age_days: 31})" in gap.message


def test_currencies_are_ladders_of_their_own(problems: Find) -> None:
    """100 dollars are not held against 50 euros."""
    text = policy_of((lte("EUR: 50.00"), ONE), (lte("USD: 500.00"), AUTO), last=TWO)

    assert [each for each in problems(text) if each.code.startswith("approval")] == []


def test_too_many_rules_are_said_not_to_be_compared(problems: Find) -> None:
    """Nothing is passed over in silence."""
    steps = [(lte(f"EUR: {number}"), AUTO) for number in range(1, MAX_RULES + 1)]

    assert "lint_undecided" in {each.code for each in problems(policy_of(*steps, last=TWO))}


def test_a_budget_that_ends_is_said() -> None:
    """Not knowing is a finding of its own."""
    policy, _ = read_policy(policy_of((lte("EUR: 50.00"), TWO), last=ONE), source="p.yaml")
    assert policy is not None

    assert [each.code for each in approvals(policy, Budget(3))] == ["lint_undecided"]
