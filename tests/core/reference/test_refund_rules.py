"""What gateways say about refunds: every row has a source, and a wrong file is refused by name."""

from datetime import timedelta

import pytest

from recoup_core.domain.payment import Method
from recoup_core.domain.refund import FailureCategory
from recoup_core.reference import ReferenceDataBroken, refund_rules
from recoup_core.reference.refunds import parse_refund_rules

HEAD = "version: 1\ncompiled_on: '2026-11-23'\ngateways:\n  one:\n    source: [s]\n"


def test_windows_are_the_published_ones() -> None:
    """Bank debits at Stripe go back within 180 days; a window nobody published is not enforced."""
    half_a_year = timedelta(days=180)

    assert refund_rules("stripe").limits == {Method.SEPA_DEBIT: half_a_year, Method.ACH_DEBIT: half_a_year}
    assert refund_rules("stripe").windows.keys() == set(Method)


@pytest.mark.parametrize(
    ("code", "category"),
    [
        ("charge_already_refunded", FailureCategory.ALREADY_REFUNDED),
        ("amount_too_large", FailureCategory.ALREADY_REFUNDED),
        ("charge_disputed", FailureCategory.DISPUTED),
        ("refund_disputed_payment", FailureCategory.DISPUTED),
        ("charge_for_pending_refund_disputed", FailureCategory.DISPUTED),
        ("balance_insufficient", FailureCategory.INSUFFICIENT_BALANCE),
        ("insufficient_funds", FailureCategory.INSUFFICIENT_BALANCE),
        ("lost_or_stolen_card", FailureCategory.METHOD_GONE),
        ("declined", FailureCategory.REFUSED),
        ("charge_already_captured", FailureCategory.ALREADY_CAPTURED),
        ("resource_missing", FailureCategory.CONFIGURATION),
        ("brand_new_code", None),
    ],
)
def test_a_code_has_the_category_that_says_what_can_be_done(code: str, category: FailureCategory | None) -> None:
    """Only an insufficient balance is tried again by policy; a code in no table has no category."""
    assert refund_rules("stripe").category(code) is category


def test_every_category_but_none_can_be_told() -> None:
    """Each category has a code, so that the sandbox can script it and the console's texts are met in tests."""
    assert {one.category for one in refund_rules("stripe").failures.values()} == set(FailureCategory)


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ("    windows: {card: {window: P0D, source: [s]}}\n    failures: {}\n", "one, card"),
        ("    windows: {card: {window: null, source: []}}\n    failures: {}\n", "one, card"),
        ("    windows: {}\n    failures: {gone: {category: method_gone, source: []}}\n", "one, gone"),
        ("    windows: {}\n    failures: {gone: {category: lost, source: [s]}}\n", "$.gateways[...].failures[...]"),
        ("    windows: {giro: {window: P1D, source: [s]}}\n    failures: {}\n", "key"),
        ("    windows: {}\n", "$.gateways[...]"),
        (": : :", "the whole file"),
    ],
)
def test_a_broken_file_is_refused_by_row(rows: str, where: str) -> None:
    """Nothing is guessed from a table that breaks its own form."""
    with pytest.raises(ReferenceDataBroken) as refusal:
        parse_refund_rules("r.yaml", HEAD + rows)

    assert refusal.value.where.startswith(where)
