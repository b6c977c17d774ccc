"""Policies by date of payment: `effective` is part of what a policy applies to, both dates included."""

from textwrap import dedent

import pytest

from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.facts import REFUND, RefundFacts
from recoup_core.rules.language.errors import NoPolicyApplies, PolicyInvalid
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.sets.ambiguity import ambiguities
from recoup_core.rules.sets.book import PolicyBook


def a_policy(name: str = "a", effective: str = "", applies_to: str = "{}", example: str = "{}") -> Policy:
    dates = f"effective: {effective}" if effective else "note: For payments of any date."
    text = f"""\
        kind: refund
        name: {name}
        applies_to: {applies_to}
        {dates}
        rules: [{{name: rest, deny: closed}}]
        examples: [{{given: {example}, expect: rest}}]
        """
    return parse_policy(dedent(text), source=f"{name}.yaml")


def a_book(*policies: Policy) -> PolicyBook:
    return PolicyBook([compile_policy(policy, engine=EngineChoice.CLOSURES) for policy in policies])


def paid_on(day: str, **more: object) -> RefundFacts:
    facts = REFUND.given(REFUND.baseline, {"paid_on": day, **more})
    assert isinstance(facts, RefundFacts)
    return facts


@pytest.mark.parametrize(
    ("day", "chosen"),
    [("2025-12-31", "old"), ("2026-01-01", "new"), ("2026-12-31", "new"), ("2027-01-01", "newer")],
)
def test_the_payment_date_chooses(day: str, chosen: str) -> None:
    """A payment keeps the rules of its own time, to the day."""
    book = a_book(
        a_policy("old", "{until: 2025-12-31}"),
        a_policy("new", "{from: 2026-01-01, until: 2026-12-31}"),
        a_policy("newer", "{from: 2027-01-01}"),
    )

    assert book.choose("refund", paid_on(day)).policy.name == chosen


def test_outside_all_dates_no_policy_applies() -> None:
    """Nothing is approved under rules that were not in force."""
    book = a_book(a_policy("old", "{until: 2025-12-31}"), a_policy("new", "{from: 2026-02-01}"))

    with pytest.raises(NoPolicyApplies):
        book.choose("refund", paid_on("2026-01-15"))


def test_a_dated_policy_is_narrower_than_one_without_dates() -> None:
    """A season's rules stand before the usual ones, in the season only."""
    book = a_book(a_policy("usual"), a_policy("season", "{from: 2026-11-20, until: 2027-01-10}"))

    assert book.choose("refund", paid_on("2026-12-24")).policy.name == "season"
    assert book.choose("refund", paid_on("2027-01-11")).policy.name == "usual"


def ambiguous(*policies: Policy) -> bool:
    return [problem.code for problem in ambiguities(policies)] == ["ambiguous"]


PAIRS = [
    # one's dates and scope, the other's, whether a payment may fall under both without one being narrower
    ("{until: 2025-12-31}", "{}", "{from: 2026-01-01}", "{}", False),
    ("{until: 2026-01-01}", "{}", "{from: 2026-01-01}", "{}", True),
    ("{from: 2026-01-01, until: 2026-06-30}", "{}", "{from: 2026-06-01}", "{}", True),
    ("{from: 2026-03-01, until: 2026-03-31}", "{}", "{from: 2026-01-01}", "{}", False),
    ("{from: 2026-01-01}", "{}", "{from: 2026-01-01}", "{}", True),
    ("{from: 2026-03-01}", "{}", "", "{method: card}", True),
    ("{from: 2026-03-01}", "{method: card}", "", "{method: card}", False),
    ("{from: 2026-03-01}", "{method: card, segment: consumer}", "{from: 2026-01-01}", "{method: card}", False),
    ("{from: 2026-01-01}", "{method: card, segment: consumer}", "{from: 2026-03-01}", "{method: card}", True),
    ("{from: 2026-03-01}", "{method: card}", "{from: 2026-01-01}", "{method: sepa_debit}", False),
]


@pytest.mark.parametrize(("dates", "scope", "other_dates", "other_scope", "wanted"), PAIRS)
def test_policies_clash_only_where_their_dates_do(
    dates: str, scope: str, other_dates: str, other_scope: str, wanted: bool
) -> None:
    """Overlap and "narrower" count the dates like any other fact, whichever comes first."""
    one, other = a_policy("one", dates, scope), a_policy("other", other_dates, other_scope)

    assert ambiguous(one, other) is wanted
    assert ambiguous(other, one) is wanted


@pytest.mark.parametrize("effective", ["{from: 2027-01-01}", "{until: 2020-02-29}", "{from: 2026-11-20}"])
def test_examples_start_inside_the_dates(effective: str) -> None:
    """An author who gives no date means one that the policy is for; any age may be given beside it."""
    for example in ("{}", "{age_days: 400}"):
        policy = a_policy("a", effective, example=example)

        assert policy.applies_to.covers(policy.baseline)


def test_an_example_outside_the_dates_is_refused() -> None:
    """It could never be about this policy."""
    with pytest.raises(PolicyInvalid) as refusal:
        a_policy("a", "{from: 2026-01-01}", example="{paid_on: 2025-12-31}")

    assert [problem.code for problem in refusal.value.problems] == ["example_outside"]
