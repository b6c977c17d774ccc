"""The language of refund policies: what is read, and every mistake told with its place and the near word."""

from datetime import timedelta

import pytest

from recoup_core.domain.money import Money
from recoup_core.rules.facts import REFUND, FactKind, RefundFacts
from recoup_core.rules.language.actions import ApproveSpec, DenySpec, ReviewSpec
from recoup_core.rules.language.actions.refund import MAX_LEVELS, CustomerBound
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.reasons import Reason
from recoup_core.rules.language.schema import Policy, parse_policy

GOOD = """kind: refund
name: a-policy
applies_to: {method: card}
effective: {from: 2026-01-01, until: 2026-12-31}
reasons:
  duplicate: {}
  damaged: {evidence: [photo]}
rules:
  - name: hit
    when: {reason: duplicate, age_days: {lte: 30}}
    approve: {per_agent_day: {EUR: 500.00}, per_day: {EUR: 5000.00}, per_customer: {count: 3, within: 30d}, within: 2w}
    otherwise: {review: {levels: [[support_lead, finance]]}}
  - name: late
    when: {age_days: {gt: 180}}
    deny: outside_window
  - name: rest
    review: {levels: [[support_lead], [finance]], within: 2d}
examples:
  - {given: {}, expect: hit}
  - {given: {age_days: 181}, expect: late}
  - {given: {reason: damaged}, expect: rest}
"""


def read(text: str) -> Policy:
    return parse_policy(text, source="p.yaml")


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyInvalid) as refusal:
        read(text)
    return refusal.value.problems


def test_a_good_policy_is_read() -> None:
    """Text in, typed model out: amounts in minor units, levels in their order, evidence by reason."""
    policy = read(GOOD)

    hit, late, rest = policy.rules
    assert hit.action == ApproveSpec(
        per_agent_day={"EUR": 50_000},
        per_day={"EUR": 500_000},
        per_customer=CustomerBound(count=3, within=timedelta(days=30)),
        within=timedelta(days=14),
    )
    assert hit.otherwise == ReviewSpec(levels=(("support_lead", "finance"),))
    assert late.action == DenySpec(reason="outside_window")
    assert rest.action == ReviewSpec(levels=(("support_lead",), ("finance",)), within=timedelta(days=2))
    assert policy.reasons == {"duplicate": Reason(), "damaged": Reason(evidence=("photo",))}
    assert policy.applies_to.effective == ("2026-01-01", "2026-12-31")


def test_approve_auto_sets_no_bound() -> None:
    """It needs no `otherwise`, for there is no refund that it doesn't approve."""
    text = GOOD.replace(GOOD[GOOD.index("    approve:") : GOOD.index("  - name: late")], "    approve: auto\n")

    action = read(text).rules[0].action

    assert action == ApproveSpec()
    assert not action.bounded


APPROVE = GOOD[GOOD.index("{per_agent_day") : GOOD.index("\n    otherwise")]
OTHERWISE = "{review: {levels: [[support_lead, finance]]}}"
LEVELS = "[[support_lead], [finance]]"

# what is replaced in GOOD, by what, and the one problem: "line:column code", a part of the message, a part of the hint
MISTAKES: list[tuple[str, str, str, str, str | None]] = [
    ("kind: refund", "kind: refnd", "1:7 unknown_value", "`kind` is never 'refnd'", "'refund'"),
    (APPROVE, "yes", "11:14 unknown_value", "`approve` is never 'yes'", "approve: auto"),
    (APPROVE, "true", "11:14 unknown_value", "`approve` is never 'true'", "approve: auto"),
    (APPROVE, "[auto]", "11:14 wrong_type", "`approve` must be a mapping", None),
    (APPROVE, "{}", "11:14 missing_key", "names no bound", "approve: auto"),
    (APPROVE, "auto", "12:16 no_effect", "beside `approve: auto`", None),
    (APPROVE, "{per_dya: {EUR: 5.00}}", "11:15 unknown_key", "`approve` has no key 'per_dya'", "'per_day'"),
    (APPROVE, "{per_day: 5.00}", "11:24 wrong_type", "`per_day`, per currency, must be a mapping", None),
    (APPROVE, "{per_day: {}}", "11:24 empty_condition", "no currency is named", None),
    (APPROVE, "{per_day: {EURO: 5.00}}", "11:25 unknown_currency", "'EURO' is not an ISO 4217 currency", "'EUR'"),
    (APPROVE, "{per_day: {EUR: 5.001}}", "11:30 bad_amount", "more decimals than EUR", None),
    (APPROVE, "{per_day: {EUR: -5.00}}", "11:30 bad_amount", "digits with a decimal point", None),
    (APPROVE, "{per_day: {EUR: 0.00}}", "11:30 out_of_range", "`per_day` of 0 EUR approves nothing", "leave"),
    (
        APPROVE,
        "{per_agent_day: {EUR: 9.00}, per_day: {EUR: 8.00}}",
        "11:30 no_effect",
        "`per_agent_day` is above `per_day` in EUR",
        None,
    ),
    (
        APPROVE,
        "{per_agent_day: {EUR: 1.00, USD: 1.00}, per_day: {EUR: 8.00}}",
        "11:14 currencies_differ",
        "USD is not in every bound",
        "same currencies",
    ),
    (
        APPROVE,
        "{per_day: {EUR: 8.00}, per_customer: {amount: {JPY: 100}, within: 1d}}",
        "11:14 currencies_differ",
        "EUR, JPY is not in every bound",
        None,
    ),
    (APPROVE, "{per_customer: {within: 30d}}", "11:29 missing_key", "needs `count`, `amount` or both", None),
    (APPROVE, "{per_customer: {count: 3}}", "11:29 missing_key", "`per_customer` needs `within`", None),
    (APPROVE, "{per_customer: {count: 0, within: 1d}}", "11:37 out_of_range", "between 1 and 1000", None),
    (APPROVE, "{per_customer: {count: 1, within: 367d}}", "11:48 bad_duration", "more than 366 days", None),
    (APPROVE, "{per_customer: {cuont: 1, within: 1d, count: 1}}", "11:30 unknown_key", "no key 'cuont'", "'count'"),
    (APPROVE, "{within: 36h}", "11:23 bad_duration", "counted in whole days", "30d"),
    (APPROVE, "{within: a month}", "11:23 bad_duration", "can't be 'a month'", "30m"),
    ("    otherwise: " + OTHERWISE + "\n", "", "11:14 missing_key", "needs `otherwise`", "otherwise: {review"),
    (OTHERWISE, "{approve: auto}", "12:16 wrong_type", "must be `review` or `deny`", None),
    (OTHERWISE, "{approve: {within: 3d}}", "12:16 wrong_type", "must be `review` or `deny`", None),
    (OTHERWISE, "{review: {within: 3d}}", "12:25 missing_key", "`review` needs `levels`", None),
    (LEVELS, "[]", "17:22 empty_list", "`levels` is empty", None),
    (LEVELS, "[[finance], []]", "17:34 empty_list", "a level is empty", None),
    (LEVELS, "[finance]", "17:23 wrong_type", "a level must be a list of roles", "write [finance]"),
    (LEVELS, "finance", "17:22 wrong_type", "`levels` must be a list", None),
    (LEVELS, "[[finance, finance]]", "17:33 duplicate_value", "'finance' stands twice in the level", "two levels"),
    (LEVELS, "[[Support Lead]]", "17:24 bad_name", "a role can't be 'Support Lead'", "lower-case"),
    (LEVELS, "[[a], [b], [c], [d], [e], [f]]", "17:22 too_many", f"at most {MAX_LEVELS}", None),
    ("within: 2d}", "within: 61d}", "17:59 bad_duration", "more than 60 days", None),
    ("within: 2d}", "wihtin: 2d}", "17:51 unknown_key", "`review` has no key 'wihtin'", "'within'"),
    ("deny: outside_window", "deny: Outside the window", "15:11 bad_name", "the reason of `deny`", "lower-case"),
    ("deny: outside_window", "deny: [a]", "15:11 wrong_type", "must be a text", None),
    (
        "deny: outside_window",
        "deny: late\n    otherwise: {approve: auto}",
        "16:16 no_effect",
        "beside `deny`",
        None,
    ),
    ("deny: outside_window", "deny: late\n    approve: auto", "13:5 two_actions", "`approve` or `deny`", None),
    ("    deny: outside_window\n", "", "13:5 missing_key", "needs `approve` or `review` or `deny`", None),
    ("deny: outside_window", "stop: exhausted\n    deny: late", "15:5 unknown_key", "no key 'stop'", None),
    ("{reason: duplicate,", "{reason: duplicat,", "10:20 unknown_value", "`reason` is never 'duplicat'", "'duplicate'"),
    ("{reason: damaged}", "{reason: damagd}", "21:22 unknown_value", "`reason` is never 'damagd'", "'damaged'"),
    ("duplicate: {}", "duplicate: none", "6:14 wrong_type", "the reason 'duplicate' must be a mapping", None),
    ("[photo]}", "[photo, photo]}", "7:31 duplicate_value", "'photo' stands twice", None),
    ("[photo]}", "[a photo]}", "7:24 bad_name", "a kind of evidence can't be 'a photo'", "lower-case"),
    ("[photo]}", "[]}", "7:23 empty_list", "`evidence` is empty", None),
    ("{evidence: [", "{evidnce: [", "7:13 unknown_key", "a reason has no key 'evidnce'", "'evidence'"),
    ("2026-12-31", "2026-12-32", "4:38 bad_date", "must be a date", "2026-01-31"),
    ("2026-12-31", "31.12.2026", "4:38 bad_date", "must be a date", "year, month, day"),
    ("until: 2026-12-31", "untl: 2026-12-31", "4:31 unknown_key", "`effective` has no key 'untl'", "'until'"),
    ("until: 2026-12-31", "until: 2025-12-31", "4:12 never_true", "ends before it begins", None),
    ("{from: 2026-01-01, until: 2026-12-31}", "{}", "4:12 missing_key", "`from`, `until` or both", None),
]


@pytest.mark.parametrize(("old", "new", "place", "message", "hint"), MISTAKES)
def test_each_mistake_is_told_where_it_is(old: str, new: str, place: str, message: str, hint: str | None) -> None:
    """One mistake, one problem, with its line and column and what would be right."""
    assert GOOD.count(old) == 1
    [problem] = problems_of(GOOD.replace(old, new))

    assert f"{problem.line}:{problem.column} {problem.code}" == place
    assert message in problem.message
    assert hint is None or hint in (problem.hint or "")


def test_all_mistakes_are_told_at_once() -> None:
    """An author mends a file in one go."""
    text = GOOD.replace("reason: duplicate", "reason: dupe").replace("outside_window", "Outside Window")
    text = text.replace("EUR: 500.00", "EUR: 0.00").replace("[[support_lead], [finance]]", "[finance, []]")

    codes = [problem.code for problem in problems_of(text)]

    assert codes == ["unknown_value", "out_of_range", "bad_name", "wrong_type", "empty_list"]


def test_without_a_list_any_reason_will_do() -> None:
    """A policy may leave reasons free; then conditions may name any."""
    text = GOOD[: GOOD.index("reasons:")] + GOOD[GOOD.index("rules:") :]
    text = text.replace("{given: {}, expect: hit}", "{given: {reason: duplicate}, expect: hit}")

    policy = read(text)

    assert policy.reasons is None
    assert policy.vocabulary.facts["reason"].kind is FactKind.TEXT


def test_only_refund_policies_have_reasons_and_dates() -> None:
    """What has no effect elsewhere is refused there."""
    text = "kind: retry\nname: a\napplies_to: {}\nreasons: {a: {}}\neffective: {from: 2026-01-01}\n"
    text += "rules: [{name: rest, stop: exhausted}]\nexamples: [{given: {}, expect: rest}]\n"

    assert [problem.code for problem in problems_of(text)] == ["unknown_key", "unknown_key"]


def test_examples_start_from_a_listed_reason() -> None:
    """A policy that doesn't know the usual reason starts from the first of its own."""
    policy = read(GOOD)

    assert isinstance(policy.baseline, RefundFacts)
    assert policy.baseline.reason == "duplicate"
    assert policy.vocabulary.facts["reason"].choices == ("duplicate", "damaged")


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


FOLLOWS = [
    # given, and what payment, refunded before and share come to
    ({}, (4900, 0, 100)),
    ({"amount": eur(60_000)}, (60_000, 0, 100)),
    ({"amount": eur(1000), "payment_amount": eur(3000)}, (3000, 0, 34)),
    ({"amount": eur(1000), "refunded_before": eur(500)}, (1500, 500, 100)),
    ({"amount": eur(1000), "refunded_before": eur(500), "payment_amount": eur(6000)}, (6000, 500, 25)),
    ({"amount": eur(1000), "share_percent": 50}, (2000, 0, 50)),
    ({"share_percent": 33}, (14_849, 0, 33)),
    ({"amount": eur(1000), "payment_amount": eur(500)}, (500, 0, 200)),
    ({"amount": eur(1000), "payment_amount": eur(9000), "share_percent": 7}, (9000, 0, 7)),
]


@pytest.mark.parametrize(("given", "wanted"), FOLLOWS)
def test_amounts_that_are_not_given_follow(given: dict[str, object], wanted: tuple[int, int, int]) -> None:
    """An example that says how much is asked back need not say that so much was paid."""
    facts = REFUND.given(REFUND.baseline, given)

    assert isinstance(facts, RefundFacts)
    assert (facts.payment_amount.amount_minor, facts.refunded_before.amount_minor, facts.share_percent) == wanted


def test_amounts_that_follow_have_the_currency_of_the_refund() -> None:
    """Money of two currencies is never added up; where an example mixes them the share stays as it was."""
    yen = REFUND.given(REFUND.baseline, {"amount": Money(100, "JPY")})
    mixed = REFUND.given(REFUND.baseline, {"amount": Money(100, "JPY"), "refunded_before": eur(3)})

    assert isinstance(yen, RefundFacts)
    assert isinstance(mixed, RefundFacts)
    assert (yen.payment_amount, yen.refunded_before, yen.share_percent) == (Money(100, "JPY"), Money(0, "JPY"), 100)
    assert mixed.share_percent == 100
