"""Every operator of the condition language, and what a missing fact does to each."""

from collections.abc import Callable
from typing import Any

import pytest

from recoup_core.domain.money import Money
from recoup_core.rules.facts import RETRY, RetryFacts
from recoup_core.rules.language.closures import closure
from recoup_core.rules.language.schema import Policy

Build = Callable[..., Policy]
Fires = Callable[[Policy, RetryFacts], bool]


def given(facts: dict[str, Any]) -> RetryFacts:
    built = RETRY.baseline
    for name, value in facts.items():
        built = RETRY.with_fact(built, name, value)
    return built


USD, EUR, JPY = ((lambda minor, currency=code: Money(minor, currency)) for code in ("USD", "EUR", "JPY"))

OPERATORS: list[tuple[str, str, str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    # condition, an example that hits, one that does not, more facts that hit, more that do not
    ("{decline: fraud}", "{decline: fraud}", "{}", [], [{"decline": "unknown"}]),
    ("{decline: [fraud, unknown]}", "{decline: unknown}", "{}", [{"decline": "fraud"}], [{"decline": "other"}]),
    ("{decline: {in: [fraud]}}", "{decline: fraud}", "{}", [], [{"decline": "unknown"}]),
    ("{decline: {not: fraud}}", "{}", "{decline: fraud}", [{"decline": "unknown"}], []),
    ("{decline: {not: [fraud, unknown]}}", "{}", "{decline: unknown}", [], [{"decline": "fraud"}]),
    ("{attempt: 3}", "{attempt: 3}", "{attempt: 4}", [], [{"attempt": 2}]),
    ("{attempt: [3, 5]}", "{attempt: 5}", "{attempt: 4}", [{"attempt": 3}], [{"attempt": 6}]),
    ("{attempt: {not: 3}}", "{attempt: 4}", "{attempt: 3}", [{"attempt": 2}], []),
    ("{attempt: {lt: 3}}", "{attempt: 2}", "{attempt: 3}", [{"attempt": 1}], [{"attempt": 4}]),
    ("{attempt: {lte: 3}}", "{attempt: 3}", "{attempt: 4}", [{"attempt": 1}], [{"attempt": 99}]),
    ("{attempt: {gt: 3}}", "{attempt: 4}", "{attempt: 3}", [{"attempt": 99}], [{"attempt": 1}]),
    ("{attempt: {gte: 3}}", "{attempt: 3}", "{attempt: 2}", [{"attempt": 4}], [{"attempt": 1}]),
    ("{attempt: {between: [3, 5]}}", "{attempt: 5}", "{attempt: 6}", [{"attempt": 3}], [{"attempt": 2}]),
    ("{attempt: {gte: 3, lte: 5}}", "{attempt: 5}", "{attempt: 6}", [{"attempt": 3}], [{"attempt": 2}]),
    ("{has_backup: true}", "{has_backup: true}", "{}", [], [{"has_backup": False}]),
    ("{has_backup: false}", "{}", "{has_backup: true}", [{"has_backup": False}], []),
    ("{network: {exists: true}}", "{}", "{network: {missing: true}}", [{"network": "elo"}], [{"network": None}]),
    ("{network: {missing: true}}", "{network: {missing: true}}", "{}", [{"network": None}], [{"network": "elo"}]),
    ("{network_code: 51}", "{network_code: 51}", "{}", [{"network_code": "51"}], [{"network_code": "5"}]),
    ("{country: NO}", "{country: NO}", "{country: SE}", [], [{"country": None}]),
    ("{customer.tier: gold}", "{customer.tier: gold}", "{}", [], [{"customer.tier": "Gold"}]),
    (
        "{customer: {tier: gold, tenure_days: {gte: 30}}}",
        "{customer: {tier: gold, tenure_days: 30}}",
        "{customer: {tier: gold, tenure_days: 29}}",
        [],
        [{"customer.tier": "gold"}, {"customer.tenure_days": 40}],
    ),
    ("{currency: USD}", "{amount: {USD: 1}}", "{}", [{"amount": USD(5)}], [{"amount": JPY(5)}]),
    (
        "{amount: {lt: {USD: 20.00, JPY: 3000}}}",
        "{amount: {USD: 19.99}}",
        "{amount: {USD: 20.00}}",
        [{"amount": JPY(2999)}, {"amount": USD(0)}],
        [{"amount": JPY(3000)}, {"amount": EUR(1)}],
    ),
    ("{amount: {lte: {EUR: 20}}}", "{amount: {EUR: 20}}", "{amount: {EUR: 20.01}}", [], [{"amount": USD(1)}]),
    ("{amount: {gt: {EUR: 20.5}}}", "{amount: {EUR: 20.51}}", "{amount: {EUR: 20.50}}", [], [{"amount": USD(9999)}]),
    ("{amount: {gte: {KWD: 1.005}}}", "{amount: {KWD: 1.005}}", "{}", [], [{"amount": Money(1004, "KWD")}]),
    (
        "{amount: {between: {EUR: [10, 20]}}}",
        "{amount: {EUR: 10}}",
        "{amount: {EUR: 20.01}}",
        [{"amount": EUR(2000)}],
        [{"amount": EUR(999)}, {"amount": USD(1500)}],
    ),
    (
        "{any: [{decline: fraud}, {attempt: {gt: 5}}]}",
        "{decline: fraud}",
        "{}",
        [{"attempt": 6}, {"attempt": 6, "decline": "fraud"}],
        [{"attempt": 5}],
    ),
    ("{all: [{decline: fraud}, {attempt: 2}]}", "{decline: fraud, attempt: 2}", "{}", [], [{"decline": "fraud"}]),
    ("{not: {decline: fraud}}", "{}", "{decline: fraud}", [], []),
    (
        "{not: {any: [{decline: fraud}, {attempt: {between: [2, 3]}}]}}",
        "{attempt: 4}",
        "{attempt: 2}",
        [{}],
        [{"attempt": 3}, {"decline": "fraud", "attempt": 4}],
    ),
    (
        "{not: {amount: {lt: {USD: 20}}}}",
        "{amount: {USD: 20}}",
        "{}",  # in euros: can't be told, so it does not fire either way
        [{"amount": USD(2001)}],
        [{"amount": USD(1999)}],
    ),
    (
        "{not: {amount: {between: {USD: [10, 20]}}}}",
        "{amount: {USD: 9.99}}",
        "{amount: {USD: 15}}",
        [{"amount": USD(2001)}],
        [{"amount": EUR(1)}],
    ),
    ("{not: {decline: [fraud, unknown], attempt: 2}}", "{attempt: 2}", "{decline: fraud, attempt: 2}", [{}], []),
    ("{not: {network: {missing: true}}}", "{}", "{network: {missing: true}}", [], []),
]


@pytest.mark.parametrize("case", OPERATORS, ids=[case[0] for case in OPERATORS])
def test_operator(case: tuple[Any, ...], a_policy: Build, both_fire: Fires) -> None:
    """Each operator fires where it should and nowhere else, in both evaluators."""
    when, hit, rest, more_hits, more_rests = case

    policy = a_policy(when, hit=hit, rest=rest)

    assert all(both_fire(policy, given(facts)) for facts in more_hits)
    assert not any(both_fire(policy, given(facts)) for facts in more_rests)


MISSING = [
    # a condition over network_code or visa_category, what it says of a missing fact, what `not` of it says
    ("{network_code: a}", None, None),
    ("{network_code: [a, b]}", None, None),
    ("{network_code: {not: a}}", None, None),
    ("{network_code: {not: [a, b]}}", None, None),
    ("{visa_category: {lt: 3}}", None, None),
    ("{visa_category: {gte: 3}}", None, None),
    ("{visa_category: {between: [2, 3]}}", None, None),
    ("{network_code: {exists: true}}", False, True),
    ("{network_code: {missing: true}}", True, False),
    ("{customer.tier: gold}", None, None),
    ("{customer.vulnerable: false}", None, None),
    ("{all: [{network_code: a}, {attempt: 99}]}", False, True),
    ("{all: [{network_code: a}, {attempt: 1}]}", None, None),
    ("{any: [{network_code: a}, {attempt: 99}]}", None, None),
    ("{any: [{network_code: a}, {attempt: 1}]}", True, False),
    ("{amount: {lt: {USD: 20}}}", None, None),
]


@pytest.mark.parametrize(("condition", "plain", "negated"), MISSING)
def test_missing_fact(
    condition: str, plain: bool | None, negated: bool | None, a_policy: Build, both_fire: Fires
) -> None:
    """What is missing is neither true nor false, under `not` as well; a rule fires only on true."""
    for inner, expected in ((condition, plain), (f"{{not: {condition}}}", negated)):
        when = f"{{all: [{{decline: {{not: unknown}}}}, {{any: [{{decline: fraud}}, {inner}]}}]}}"

        policy = a_policy(when, hit="{decline: fraud}", rest="{decline: unknown}")

        assert policy.rules[0].when is not None
        assert closure(policy.rules[0].when)(RETRY.baseline) is expected
        assert both_fire(policy, RETRY.baseline) is (expected is True)


def test_definitions_rest_on_earlier_ones(a_policy: Build, both_fire: Fires) -> None:
    """A named condition can be used in lists, alone, and as a key with true or false."""
    define = """
        small: {amount: {lt: {EUR: 20}}}
        early: {attempt: {lte: 2}}
        easy: {all: [small, early]}
        hard: {not: easy, early: true}
    """

    policy = a_policy("hard", define=define, hit="{}", rest="{amount: {EUR: 5}}")

    assert list(policy.define) == ["small", "early", "easy", "hard"]
    assert both_fire(policy, given({"attempt": 2}))
    assert not both_fire(policy, given({"attempt": 3}))
    assert not both_fire(policy, given({"amount": EUR(1999)}))


def test_name_as_key_with_false_is_negated(a_policy: Build, both_fire: Fires) -> None:
    """`small: false` reads as not small."""
    policy = a_policy("{small: false}", define="small: {attempt: 1}", hit="{attempt: 2}", rest="{}")

    assert both_fire(policy, given({"attempt": 3}))


def test_values_of_facts_are_never_matched_by_accident(a_policy: Build, both_fire: Fires) -> None:
    """Texts outside the policy can't equal its constants, whatever they hold."""
    policy = a_policy("{decline_code: [a, b]}", hit="{decline_code: a}", rest="{}")

    hostile = ["", "*", '","attempt":1,"x":"', "a\\", "a\x00", "a" * 70_000, "ä", " a", "A", '"a"']

    assert not any(both_fire(policy, given({"decline_code": text})) for text in hostile)


def test_every_fact_can_be_asked_and_given(a_policy: Build) -> None:
    """A declared fact works in a condition, in an example and through `with_fact`."""
    for fact in RETRY.facts.values():
        value = fact.choices[0] if fact.choices else {"INT": "2", "BOOL": "true"}.get(fact.kind.name, "x")
        when, hit = f"{{{fact.name}: {value}}}", f"{{{fact.name}: {value}}}"
        if fact.name == "amount":
            when, hit = "{amount: {lt: {EUR: 5}}}", "{amount: {EUR: 4}}"
        if fact.name == "currency":
            hit = f"{{amount: {{{value}: 4}}}}"

        policy = a_policy(
            f"{{all: [{{decline_source: {{not: bacs}}}}, {when}]}}",
            hit=hit,
            rest="{decline_source: bacs}",
            applies_to="{}",
        )

        assert policy.rules[0].name == "hit"
