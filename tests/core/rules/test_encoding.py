"""What reaches the C code: declared properties of declared types, and no text but the policy's own."""

import json
from collections.abc import Callable

import pytest

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.rules.engine.encoding import Encoder, NotEncodable
from recoup_core.rules.engine.lowering import lower, shards
from recoup_core.rules.engine.network import MAX_PROPERTIES
from recoup_core.rules.engine.ruleset import Ruleset, import_engine
from recoup_core.rules.facts import RETRY
from recoup_core.rules.language.schema import Policy


@pytest.fixture
def encoder(a_policy: Callable[..., Policy]) -> Encoder:
    policy = a_policy(
        "{decline: fraud, decline_code: [a, b], amount: {lt: {USD: 5}}, customer: {tier: x, vulnerable: true}}",
        hit="{decline: fraud, decline_code: a, amount: {USD: 1}, customer: {tier: x, vulnerable: true}}",
        rest="{}",
    )
    lowered = lower(rule.when for rule in policy.rules)
    return Encoder(lowered, shards(lowered.rules))


def test_only_what_the_policy_asks_about_is_sent(encoder: Encoder) -> None:
    """Missing facts are left out; facts that no rule asks about too."""
    body = json.loads(*encoder.bodies(RETRY.baseline))

    assert body == {"e": 1, "decline": "*", "decline_code": "*", "currency": "*", "amount_minor": 4900}


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\x00", "x" * 100_000, '","decline":"fraud', "*", "", "\ud800"])
def test_foreign_text_never_reaches_the_engine(text: str, encoder: Encoder) -> None:
    """Whatever a customer or a provider wrote, the engine sees one and the same stand-in."""
    facts = RETRY.with_fact(RETRY.with_fact(RETRY.baseline, "decline_code", text), "customer.tier", text)

    body = json.loads(*encoder.bodies(facts))

    assert (body["decline_code"], body["customer_tier"]) == ("*", "*")


def test_own_words_are_sent_as_plain_texts(encoder: Encoder) -> None:
    """An enum member counts as its value."""
    facts = RETRY.with_fact(
        RETRY.with_fact(RETRY.baseline, "decline", DeclineCategory.FRAUD), "customer.vulnerable", False
    )

    body = json.loads(*encoder.bodies(facts))

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
        next(encoder.bodies(RETRY.with_fact(RETRY.baseline, fact, value)))


def test_each_ruleset_is_sent_only_what_its_rules_name(a_policy: Callable[..., Policy]) -> None:
    """A fact of over 254 properties is refused by the engine: 300 conditions computed beforehand go in parts."""
    words = ", ".join(f"x{n}" for n in range(30))  # too many for the engine, and no two lists alike
    whens = [
        a_policy(
            f"{{decline_code: {{not: [y{n}, {words}]}}, retries: {n}}}", hit=f"{{retries: {n}}}", rest="{retries: 999}"
        )
        .rules[0]
        .when
        for n in range(300)
    ]
    lowered = lower([*whens, None])
    runs = shards(lowered.rules)
    rulesets = [Ruleset(import_engine(), run) for run in runs]
    encoder = Encoder(lowered, runs)
    assert len(lowered.hoisted) == 300

    def fired(retries: int, code: str = "z") -> int:
        facts = RETRY.with_fact(RETRY.with_fact(RETRY.baseline, "retries", retries), "decline_code", code)
        offset = 0
        for run, ruleset, body in zip(runs, rulesets, encoder.bodies(facts), strict=False):
            assert len(json.loads(body)) <= MAX_PROPERTIES + len(lowered.facts) + 1
            if (index := ruleset.first(body)) is not None:
                return offset + index
            offset += len(run)
        raise AssertionError("no rule fired")

    assert [fired(retries) for retries in (0, 170, 299, 300)] == [0, 170, 299, 300]
    assert [fired(retries, "x7") for retries in (0, 170)] == [300, 300]
    assert [fired(retries, "y170") for retries in (169, 170)] == [169, 300]
    for ruleset in rulesets:
        ruleset.close()
