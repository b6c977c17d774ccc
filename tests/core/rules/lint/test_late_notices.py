"""Notices that can't come as they are written."""

from collections.abc import Callable

import pytest


def a_policy(when: str, notice: str, given: str, first: str = "") -> str:
    """Build a policy of one rule with one notice, and a quiet last one; `first` goes before them."""
    return (
        f"kind: notice\nname: a\napplies_to: {{method: card}}\nrules:\n{first}"
        f"  - name: it\n    when: {when}\n    notices:\n      - {{{notice}}}\n"
        "  - {name: rest, quiet: nothing to say}\n"
        f"examples:\n  - {{given: {given}, expect: it}}\n  - {{given: {{charge_in_days: 90}}, expect: rest}}\n"
        + ("  - {given: {card_expires_before_charge: true}, expect: first}\n" if first else "")
    )


BEFORE = "on: before_charge, ahead: 30d, message: upcoming_charge, by: email"
END = "on: before_expiry, ahead: 30d, message: card_expiring, by: email"
AFTER = "after: 10d, message: upcoming_charge, by: email"
TAKEN = "  - {name: first, when: {card_expires_before_charge: true}, quiet: somebody calls}\n"


@pytest.mark.parametrize(
    ("when", "notice", "given", "code"),
    [
        ("{charge_in_days: {lt: 30}}", BEFORE, "{charge_in_days: 29}", "late_notice"),
        ("{charge_in_days: {lte: 30}}", BEFORE, "{}", None),
        ("{charge_in_days: {lt: 31}}", BEFORE.replace("30d", "30d, task: call").partition(", mess")[0], "{}", None),
        ("{charge_in_days: {lt: 10}}", AFTER, "{charge_in_days: 9}", "late_notice"),
        ("{charge_in_days: {lte: 10}}", AFTER, "{charge_in_days: 9}", None),
        ("{card_expires_in_days: {lt: 29}}", END, "{card_expires_in_days: 28}", "late_notice"),
        ("{card_expires_in_days: {lte: 29}}", END, "{card_expires_in_days: 28}", None),
        # a card that ends before a charge in 20 days ends within 19
        ("{card_expires_before_charge: true, charge_in_days: {lte: 20}}", END,
         "{charge_in_days: 20, card_expires_before_charge: true}", "late_notice"),
        ("{card_expires_before_charge: false, charge_in_days: {lt: 90}}", END, "{}", "idle_notice"),
    ],
)  # fmt: skip
def test_a_notice_that_cannot_come_in_time_is_told(
    problems: Callable[..., tuple[object, ...]], when: str, notice: str, given: str, code: str | None
) -> None:
    """Decided over all facts for which the rule fires, to the day."""
    found = problems(a_policy(when, notice, given))

    assert [each.code for each in found] == ([code] if code else [])  # type: ignore[attr-defined]


def test_a_rule_above_that_takes_the_cards_that_end_leaves_the_notice_idle(check: Callable[..., list[str]]) -> None:
    """It is not the condition alone that tells; the place of the finding is the template's."""
    found = check(a_policy("{charge_in_days: {lt: 90}}", END, "{}", TAKEN))

    assert found == [
        "0.yaml:9 idle_notice: the message card_expiring is about a card that ends, and the rule only fires where no "
        "card ends before the charge"
    ]


def test_a_dead_rule_is_told_once(check: Callable[..., list[str]]) -> None:
    """That its notices never come goes without saying."""
    dead = "  - {name: first, when: {charge_in_days: {lt: 90}}, quiet: nothing}\n"
    text = a_policy("{charge_in_days: {lt: 5}}", BEFORE, "{charge_in_days: 4}", dead)
    found = check(text.replace("{charge_in_days: 4}, expect: it", "{charge_in_days: 4}, expect: first"))

    assert not any("late_notice" in each for each in found)
    assert any("unreachable_rule" in each for each in found)
