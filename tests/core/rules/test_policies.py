"""The shipped policies and every snippet of their manual are what they say they are."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from recoup_core.domain.decline import DeclineCategory, Retryable
from recoup_core.domain.payment import Method, Segment
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.facts import DUNNING, NOTICE, REFUND, RETRY, RetryFacts
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.names import LISTS, read_names
from recoup_core.rules.language.schema import RetrySpec, Rule, StopReason, StopSpec, parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.rules.sets.folder import PolicyFile, review_set

POLICIES = Path(__file__).parents[3] / "policies"
ELSEWHERE = {"example_failed"}
"""A rule put above others may take what their examples are for."""

MANUAL = (POLICIES / "README.md").read_text()


@pytest.fixture(scope="module")
def book() -> Iterator[PolicyBook]:
    book = PolicyBook.load(POLICIES, EngineChoice.DURABLE_RULES)
    yield book
    book.close()


def given(**facts: object) -> RetryFacts:
    built = RETRY.baseline
    for name, value in facts.items():
        built = RETRY.with_fact(built, name, value)
    return built


def rule_for(book: PolicyBook, **facts: object) -> Rule:
    asked = given(**facts)
    return book.choose("retry", asked).verdict(asked)


def test_shipped_policies_load_and_cover_every_payment(book: PolicyBook) -> None:
    """A fresh install has a policy for every method, whoever the customer is."""
    names = {
        (method, segment): book.choose("retry", given(method=method, segment=segment)).policy.name
        for method, segment in product([m.value for m in Method], [None, *(s.value for s in Segment)])
    }

    assert names.pop(("card", "business")) == "cards-business"
    assert {name for (method, _), name in names.items() if method == "card"} == {"cards-consumer"}
    assert {name for (method, _), name in names.items() if method != "card"} == {"direct-debit"}


@pytest.mark.parametrize("method", [method.value for method in Method])
@pytest.mark.parametrize("segment", [None, "consumer", "business"])
def test_what_must_never_be_retried_unattended_is_not(method: str, segment: str | None, book: PolicyBook) -> None:
    """Hard declines, unknown codes and whatever needs the customer get no retry on the same credential."""
    hard = {"lost_or_stolen", "fraud", "revoked_mandate", "unknown", "authentication_required", "configuration"}
    for decline, retryable, attempt in product(DeclineCategory, Retryable, (1, 2, 5, 30)):
        facts = {"decline": decline.value, "retryable": retryable.value, "attempt": attempt}
        action = rule_for(book, method=method, segment=segment, **facts).action
        if decline.value in hard or retryable is not Retryable.YES:
            assert isinstance(action, StopSpec) or action.credential == "backup"


WANTED = [
    # facts, what the default must do
    ({"decline": "issuer_generic"}, [3, 5, 7, 7]),
    ({"decline": "issuer_temporary"}, [1 / 24, 1 / 4, 1, 1, 1]),
    ({"decline": "processing_error"}, [n / 1440 for n in (5, 10, 20, 40, 80, 160, 360)]),
    ({"decline": "issuer_generic", "segment": "business"}, [3, 5, 7, 7]),
    ({"decline": "insufficient_funds", "segment": "business"}, [3, 5, 7, 7]),
    ({"decline": "issuer_generic", "method": "sepa_debit"}, [3, 7]),
]


@pytest.mark.parametrize(("facts", "days"), WANTED)
def test_default_waits(facts: dict[str, str], days: list[float], book: PolicyBook) -> None:
    """The waits of the shipped defaults are those that were decided on."""
    action = rule_for(book, **facts).action

    assert isinstance(action, RetrySpec)
    assert action.after == tuple(timedelta(days=day) for day in days)


def test_insufficient_funds_wait_for_the_morning_of_payday(book: PolicyBook) -> None:
    """In the customer's own zone, at most four times, and never later than four weeks after the failure."""
    action = rule_for(book, decline="insufficient_funds").action

    assert isinstance(action, RetrySpec)
    assert action.between is not None
    assert [clock.isoformat("minutes") for clock in action.between] == ["06:00", "10:00"]
    assert (action.on, action.zone, action.within) == ("payday", "customer", timedelta(days=35))
    assert action.jitter > timedelta()


def test_insufficient_funds_are_never_tried_twice_a_day(book: PolicyBook) -> None:
    """A repeat on the same day almost never changes the answer; a payday is never the day of the failure itself."""
    for policy in (one for one in book.policies if one.policy.kind == RETRY.kind):
        for rule in policy.policy.rules:
            facts = RETRY.with_fact(policy.policy.baseline, "decline", "insufficient_funds")
            if policy.verdict(facts) is rule and isinstance(rule.action, RetrySpec):
                assert rule.action.on == "payday" or min(rule.action.after) >= timedelta(days=1)


def test_direct_debits_are_tried_twice_at_most_within_42_days(book: PolicyBook) -> None:
    """Whatever the reason, the third failure ends it, on business days or paydays only."""
    for decline, method in product(DeclineCategory, ("sepa_debit", "ach_debit", "bacs_debit")):
        third = rule_for(book, method=method, decline=decline.value, attempt=3)
        assert isinstance(third.action, StopSpec)
        first = rule_for(book, method=method, decline=decline.value, attempt=1).action
        if isinstance(first, RetrySpec):
            assert first.on in ("payday", "business_day")
            assert first.within == timedelta(days=42)
            assert (first.max or len(first.after)) == 2


def test_expired_card_goes_to_the_backup_else_to_the_customer(book: PolicyBook) -> None:
    """The old card is never tried again."""
    for segment in ("consumer", "business"):
        rule = rule_for(book, decline="expired_or_invalid_credentials", retryable="no", segment=segment)

        assert isinstance(rule.action, RetrySpec)
        assert rule.action.credential == "backup"
        assert rule.otherwise == StopSpec(reason=StopReason.NEEDS_CUSTOMER)


# --- the manual -----------------------------------------------------------------------------------------------------

SNIPPETS = re.findall(r"^```yaml (\w+)\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
KINDS = Counter(kind for kind, _ in SNIPPETS)
FRAME = """kind: retry
name: frame
applies_to: {{}}
rules:
{rule}
  - {{name: rest, stop: exhausted}}
examples:
  - {{given: {{}}, expect: rest}}
"""


def problems_of(rule: str) -> set[str]:
    try:
        parse_policy(FRAME.format(rule=rule), source="manual")
    except PolicyInvalid as refusal:
        return {problem.code for problem in refusal.problems}
    return set()


def indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line for line in text.rstrip().splitlines())


def snippets(kind: str) -> list[str]:
    return [text for known, text in SNIPPETS if known == kind]


@pytest.mark.parametrize("text", snippets("policy"))
def test_every_policy_of_the_manual_passes_the_strictest_check(text: str) -> None:
    """What people copy must work, without a warning."""
    assert review_set([PolicyFile("manual.yaml", text)], called="manual")[1] == ()


@pytest.mark.parametrize("text", snippets("condition"))
def test_every_condition_of_the_manual_is_valid(text: str) -> None:
    """Only the missing example may be complained about."""
    assert problems_of(f"  - name: it\n    stop: exhausted\n    when:\n{indented(text, 6)}") - ELSEWHERE == {
        "no_example"
    }


@pytest.mark.parametrize("text", snippets("rule"))
def test_every_rule_of_the_manual_is_valid(text: str) -> None:
    """Only the missing example may be complained about."""
    assert problems_of("  -" + indented(text, 4)[3:]) == {"no_example"}


@pytest.mark.parametrize("text", snippets("timelines"))
def test_every_timeline_of_the_manual_comes_true_for_its_first_policy(text: str) -> None:
    """The times that a reader sees are those that the policy above them comes to."""
    policy = f"{snippets('policy')[0]}timelines:\n{indented(text, 2)}\n"

    assert review_set([PolicyFile("manual.yaml", policy)], called="manual")[1] == ()


@pytest.mark.parametrize("text", snippets("names"))
def test_the_file_of_names_in_the_manual_is_one(text: str) -> None:
    """It is there to be copied."""
    names, problems = read_names(text, source="names.yaml")

    assert problems == ()
    assert names is not None
    assert set(names.listed) == set(LISTS)


def test_the_manual_has_its_snippets() -> None:
    """A changed fence must not switch the tests off; what isn't YAML are commands, which have a test of their own."""
    assert KINDS == {"policy": 4, "condition": 3, "rule": 1, "timelines": 1, "names": 1}
    assert MANUAL.count("```") == 2 * (KINDS.total() + MANUAL.count("\n```console\n"))


def test_every_written_form_of_the_operator_table_is_valid() -> None:
    """The left column of the table of operators is tested too."""
    table = MANUAL[MANUAL.index("| written |") : MANUAL.index("`all: [...]`")]
    forms = [form for row in table.splitlines()[2:] for form in re.findall(r"`([^`]+: [^`]+)`", row.split(" | ")[0])]

    assert len(forms) == 13
    for form in forms:
        assert problems_of(f"  - {{name: it, stop: exhausted, when: {{{form}}}}}") - ELSEWHERE == {"no_example"}


FACT_TABLES = {
    "## Facts of retries and dunning\n": RETRY.facts,
    "Only dunning:\n": {name: fact for name, fact in DUNNING.facts.items() if name not in RETRY.facts},
    "## Facts of notices\n": NOTICE.facts,
    "## Facts of refunds\n": REFUND.facts,
}


@pytest.mark.parametrize("start", FACT_TABLES)
def test_the_manual_names_every_fact_with_its_words(start: str) -> None:
    """A fact nobody can read about is a fact nobody uses; one that there isn't misleads."""
    table = MANUAL.partition(start)[2].lstrip().partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", table, re.MULTILINE))

    assert list(rows) == list(FACT_TABLES[start])
    for fact in FACT_TABLES[start].values():
        kind, meaning, missing, scope = (cell.strip() for cell in rows[fact.name].split("|"))
        assert meaning == fact.meaning
        assert (missing, scope) == ("yes" if fact.optional else "", "yes" if fact.scope else "")
        assert len(fact.choices) > 20 or kind == (", ".join(f"`{word}`" for word in fact.choices) or fact.kind)


def test_dunning_knows_all_facts_of_retries() -> None:
    """The manual has one table for both."""
    assert all(DUNNING.facts[name] == fact for name, fact in RETRY.facts.items())
