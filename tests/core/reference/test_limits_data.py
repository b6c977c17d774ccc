"""The packaged limits are the compiled ones, and a wrong limits file is refused by rule."""

from datetime import timedelta

import pytest

from recoup_core.domain.payment import Method, Network
from recoup_core.reference import ReferenceDataBroken, limit_rules
from recoup_core.reference.limits import BudgetRule, parse_limits

HEAD = "version: 1\ncompiled_on: '2026-11-23'\nsafety_margin: {below_cap: 2, from_cap: 10}\nrules:\n"
BUDGET = (
    "  - {kind: budget, id: one, published: p, source: [s], methods: [card], counts: declines, max: 7,"
    " window: P30D, window_type: rolling, scope: account}\n"
)


@pytest.mark.parametrize(
    ("rule_id", "hard_cap", "enforced", "window"),
    [
        ("visa_category_2_3_4", 15, 13, timedelta(days=30)),
        ("mastercard_24h", 10, 8, timedelta(hours=24)),
        ("mastercard_30d", 35, 33, timedelta(days=30)),
        ("mastercard_brazil", 7, 7, timedelta(hours=24)),
        ("elo_30d", 15, 13, timedelta(days=30)),
        ("amex_default", 15, 13, timedelta(days=30)),
        ("discover_default", 15, 13, timedelta(days=30)),
        ("other_cards_default", 7, 7, timedelta(days=30)),
        ("nacha_reinitiation", 2, 2, timedelta(days=180)),
        ("sepa_retryable", 2, 2, timedelta(days=42)),
        ("bacs_refer_to_payer", 2, 2, timedelta(days=30)),
    ],
)
def test_caps_and_windows_are_the_published_ones(rule_id: str, hard_cap: int, enforced: int, window: timedelta) -> None:
    """The `enforce` values of the compiled data, less the margin where the cap is 10 or more."""
    limits = limit_rules()
    rule = next(rule for rule in limits.rules if rule.id == rule_id)

    assert isinstance(rule, BudgetRule)
    assert (rule.max, limits.cap(rule), rule.window) == (hard_cap, enforced, window)


def test_every_rule_has_a_source() -> None:
    """No number without its origin."""
    assert all(rule.source and rule.published for rule in limit_rules().rules)


def test_every_card_network_has_a_budget() -> None:
    """No card is tried without end, whatever its network."""
    budgets = [rule for rule in limit_rules().rules if isinstance(rule, BudgetRule)]

    for network in (*Network, None):
        assert any(rule.covers(Method.CARD, network, None) for rule in budgets)
    for method in (Method.SEPA_DEBIT, Method.ACH_DEBIT, Method.BACS_DEBIT):
        assert [rule.scope for rule in budgets if rule.covers(method, None, None)] == ["payment"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (HEAD + BUDGET + BUDGET, "rule one"),
        (HEAD + BUDGET.replace("max: 7", "max: 0"), "rule one"),
        (HEAD + BUDGET.replace("rolling", "fixed"), "rule one"),
        (HEAD + BUDGET.replace("counts: declines", "counts: hunches"), "$.rules[0].counts"),
        (HEAD + BUDGET.replace("scope: account", "scop: account"), "$.rules[0]"),
        (HEAD + BUDGET.replace("methods: [card]", "methods: [cart]"), "$.rules[0].methods[0]"),
        (HEAD + "  - {kind: stop, id: two, published: p, source: [s], methods: [card]}\n", "rule two"),
        (HEAD + "  - {kind: wait, id: three, published: p, source: [s], methods: [card], waits: {}}\n", "rule three"),
        ("rules: [", "the whole file"),
        ("just words", "the whole file"),
    ],
)
def test_a_wrong_limits_file_is_refused_by_rule(text: str, where: str) -> None:
    """A limit that can't hold anything must not load quietly."""
    with pytest.raises(ReferenceDataBroken) as refusal:
        parse_limits("limits.yaml", text)

    assert (refusal.value.file, refusal.value.where) == ("limits.yaml", where)
