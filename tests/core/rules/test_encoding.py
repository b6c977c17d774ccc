"""What reaches the C code: declared properties of declared types, and no text but the policy's own."""

import json
from collections.abc import Callable

import pytest

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.rules.encoding import Encoder, NotEncodable
from recoup_core.rules.facts import RETRY
from recoup_core.rules.lowering import lower
from recoup_core.rules.schema import Policy


@pytest.fixture
def encoder(a_policy: Callable[..., Policy]) -> Encoder:
    policy = a_policy(
        "{decline: fraud, decline_code: [a, b], amount: {lt: {USD: 5}}, customer: {tier: x, vulnerable: true}}",
        hit="{decline: fraud, decline_code: a, amount: {USD: 1}, customer: {tier: x, vulnerable: true}}",
        rest="{}",
    )
    return Encoder(lower(rule.when for rule in policy.rules))


def test_only_what_the_policy_asks_about_is_sent(encoder: Encoder) -> None:
    """Missing facts are left out; facts that no rule asks about too."""
    body = json.loads(encoder.body(RETRY.baseline))

    assert body == {"e": 1, "decline": "*", "decline_code": "*", "currency": "*", "amount_minor": 4900}


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\x00", "x" * 100_000, '","decline":"fraud', "*", "", "\ud800"])
def test_foreign_text_never_reaches_the_engine(text: str, encoder: Encoder) -> None:
    """Whatever a customer or a provider wrote, the engine sees one and the same stand-in."""
    facts = RETRY.with_fact(RETRY.with_fact(RETRY.baseline, "decline_code", text), "customer.tier", text)

    body = json.loads(encoder.body(facts))

    assert (body["decline_code"], body["customer_tier"]) == ("*", "*")


def test_own_words_are_sent_as_plain_texts(encoder: Encoder) -> None:
    """An enum member counts as its value."""
    facts = RETRY.with_fact(
        RETRY.with_fact(RETRY.baseline, "decline", DeclineCategory.FRAUD), "customer.vulnerable", False
    )

    body = json.loads(encoder.body(facts))

    assert (body["decline"], body["customer_vulnerable"]) == ("fraud", False)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("amount", Money(MAX_AMOUNT_MINOR + 1, "USD")),
        ("amount", Money(5.0, "USD")),  # type: ignore[arg-type]  # wrong on purpose
        ("amount", Money(True, "USD")),
        ("customer.vulnerable", 1),
        ("customer.vulnerable", "true"),
    ],
)
def test_wrong_types_and_inexact_numbers_are_not_encoded(fact: str, value: object, encoder: Encoder) -> None:
    """The engine would coerce or saturate them; the plain evaluator answers instead."""
    with pytest.raises(NotEncodable):
        encoder.body(RETRY.with_fact(RETRY.baseline, fact, value))
