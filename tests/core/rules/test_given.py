"""Facts that somebody gives: one reader for the command line and the API, every mistake at once."""

from typing import Any

import pytest

from recoup_core.domain.money import Money
from recoup_core.rules.facts import REFUND, RETRY, RefundFacts, RetryFacts
from recoup_core.rules.language.given import FactsInvalid, facts_given, read_given


def given(values: dict[str, Any]) -> RetryFacts:
    """What is given, over the baseline."""
    assert isinstance(RETRY.baseline, RetryFacts)
    return facts_given(values, RETRY, RETRY.baseline)


def test_json_values_and_typed_texts_mean_the_same() -> None:
    """`attempt=2` on the command line is `{"attempt": 2}` in the API."""
    typed = {"attempt": "2", "has_backup": "yes", "amount": "12.50 EUR", "customer.tier": "gold"}
    json = {"attempt": 2, "has_backup": True, "amount": {"EUR": "12.50"}, "customer": {"tier": "gold"}}

    assert given(typed) == given(json)
    assert given(json).amount == Money(1250, "EUR")


def test_what_follows_from_a_fact_follows() -> None:
    """As in an example: all attempts but the first are this service's."""
    assert given({"attempt": 3}).retries == 2


def test_nothing_takes_an_optional_fact_away() -> None:
    """null in JSON, an empty text on the command line."""
    assert given({"segment": None}).segment is None
    assert given({"segment": ""}).segment is None


def test_a_code_is_looked_up_unless_the_category_is_given() -> None:
    """As it is when a payment is reported."""
    assert given({"decline_code": "stolen_card"}).decline == "lost_or_stolen"
    assert given({"decline_code": "stolen_card", "decline": "fraud"}).decline == "fraud"


def test_a_date_is_a_date() -> None:
    """Days that there are not are refused."""
    assert isinstance(REFUND.baseline, RefundFacts)
    assert facts_given({"paid_on": "2026-02-28"}, REFUND, REFUND.baseline).paid_on == "2026-02-28"

    with pytest.raises(FactsInvalid):
        facts_given({"paid_on": "2026-02-30"}, REFUND, REFUND.baseline)


def test_every_mistake_is_told_at_once_with_the_near_word() -> None:
    """One round is enough to mend them."""
    with pytest.raises(FactsInvalid) as refusal:
        read_given({"atempt": 2, "network": "vsa", "customer": {"teir": "gold"}, "has_backup": "maybe"}, RETRY)

    found = {problem.fact: problem.hint for problem in refusal.value.problems}
    assert found == {
        "atempt": "did you mean attempt?",
        "network": "did you mean visa?",
        "customer.teir": "did you mean customer.tier?",
        "has_backup": "true or false",
    }
    assert refusal.value.field == "facts.atempt"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 49),
        ("amount", {"EUR": 49.5}),
        ("amount", {"EUR": "49.001"}),
        ("amount", {"EUR": "1", "USD": "1"}),
        ("amount", {"amount_minor": -1, "currency": "EUR"}),
        ("amount", {"EUR1": "1"}),
        ("amount", "1e3 EUR"),
        ("attempt", True),
        ("attempt", 1.5),
        ("attempt", 0),
        ("attempt", "9" * 5000),
        ("attempt", [1]),
        ("has_backup", 1),
        ("has_backup", []),
        ("decline_code", "x" * 65),
        ("decline_code", 5),
        ("gateway", None),
        ("currency", "EUR"),
        ("customer", "gold"),
        ("network", {"missing": True}),
    ],
)
def test_no_value_is_guessed_or_rounded(name: str, value: Any) -> None:
    """Whatever a fact can't be is refused, never an error of ours."""
    with pytest.raises(FactsInvalid):
        read_given({name: value}, RETRY)


def test_more_facts_than_there_are_are_refused_unread() -> None:
    """Nobody makes us look up a million names."""
    with pytest.raises(FactsInvalid, match="too many"):
        read_given({f"fact{number}": 1 for number in range(201)}, RETRY)
