"""The language of refund policies: what is read, and every mistake told with its place and the near word."""

from datetime import timedelta

import pytest

from recoup_core.domain.money import Money
from recoup_core.rules.facts import REFUND, FactKind, RefundFacts
from recoup_core.rules.language.actions import ApproveSpec, DenySpec, ReviewSpec
from recoup_core.rules.language.actions.refund import CustomerBound
from recoup_core.rules.language.actions.review import MAX_LEVELS
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
REST = "{levels: [[support_lead], [finance]], within: 2d}"
TWO = "levels: [[support_lead], [finance]]"


def with_waits(waits: str) -> str:
    """Return the first lines of a policy that says when a refund without balance is tried again."""
    return f"2026-12-31}}\nbalance_retries: {waits}"


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
    (REST, f"{{{TWO}, limits: []}}", "17:59 empty_list", "`limits` is empty", None),
    (REST, f"{{{TWO}, limits: {{EUR: 5.00}}}}", "17:59 wrong_type", "`limits` must be a list", "hyphen"),
    (REST, f"{{{TWO}, limits: [5.00]}}", "17:60 wrong_type", "a limit, per currency, must be a mapping", None),
    (REST, f"{{{TWO}, limits: [{{}}]}}", "17:60 empty_condition", "no currency is named", None),
    (REST, f"{{{TWO}, limits: [{{EUR: 0.00}}]}}", "17:66 out_of_range", "a limit of 0 EUR approves nothing", "leave"),
    (REST, f"{{{TWO}, limits: [{{EURO: 1.00}}]}}", "17:61 unknown_currency", "'EURO' is not", "'EUR'"),
    (REST, f"{{{TWO}, limits: [{{JPY: 1.5}}]}}", "17:66 bad_amount", "more decimals than JPY", None),
    (
        REST,
        f"{{{TWO}, limits: [{{EUR: 5.00}}, {{EUR: 6.00}}, {{EUR: 7.00}}]}}",
        "17:59 limits_and_levels",
        "`limits` has 3 entries for 2 levels",
        "one entry for each level, or one fewer",
    ),
    (
        REST,
        "{levels: [[a], [b], [c]], limits: [{EUR: 5.00}]}",
        "17:47 limits_and_levels",
        "`limits` has 1 entry for 3 levels",
        None,
    ),
    (REST, "{levels: [[a]], limits: [{EUR: 5.00}]}", "17:37 no_effect", "no effect on one level", None),
    (
        REST,
        f"{{{TWO}, limits: [{{EUR: 5.00}}, {{EUR: 4.99}}]}}",
        "17:79 limit_lowered",
        "level 2 may decide less alone than one before it, which may decide 5.00 EUR",
        "rise",
    ),
    (
        REST,
        "{levels: [[a], [b], [c]], limits: [{EUR: 5.00, JPY: 9}, {JPY: 9}, {EUR: 4.99}]}",
        "17:85 limit_lowered",
        "level 3 may decide less",
        None,
    ),
    (REST, f"{{{TWO}, limit: [{{EUR: 5.00}}]}}", "17:51 unknown_key", "no key 'limit'", "'limits'"),
    (REST, f"{{{TWO}, within: 2d, escalate_to: []}}", "17:76 empty_list", "`escalate_to` is empty", None),
    (REST, f"{{{TWO}, within: 2d, escalate_to: admin}}", "17:76 wrong_type", "must be a list", "write [admin]"),
    (REST, f"{{{TWO}, within: 2d, escalate_to: [a, a]}}", "17:80 duplicate_value", "twice in `escalate_to`", None),
    (REST, f"{{{TWO}, within: 2d, escalate_to: [The Boss]}}", "17:77 bad_name", "a role can't be", "lower-case"),
    (REST, f"{{{TWO}, escalate_to: [admin]}}", "17:64 missing_key", "needs `within`", "within: 2d"),
    (
        REST,
        "{levels: [[a, b], [b]], within: 2d, escalate_to: [b]}",
        "17:62 no_effect",
        "may decide every level anyway",
        None,
    ),
    (REST, f"{{{TWO}, expires: 61d}}", "17:60 bad_duration", "`expires` can't be more than 60 days", None),
    (REST, f"{{{TWO}, expires: 0d}}", "17:60 bad_duration", "`expires` can't be nothing", None),
    (
        REST,
        f"{{{TWO}, within: 2d, expires: 48h}}",
        "17:72 expires_too_soon",
        "`expires` must be longer than `within`",
        None,
    ),
    ("2026-12-31}", with_waits("4h"), "5:18 wrong_type", "`balance_retries` must be a list", "write [4h]"),
    ("2026-12-31}", with_waits("{after: 4h}"), "5:18 wrong_type", "must be a list", None),
    ("2026-12-31}", with_waits("[4h, soon]"), "5:23 bad_duration", "a wait of `balance_retries`", "30m"),
    ("2026-12-31}", with_waits("[31d]"), "5:19 bad_duration", "more than 30 days", None),
    ("2026-12-31}", with_waits("[0h]"), "5:19 bad_duration", "nothing", None),
    ("2026-12-31}", with_waits(f"[{', '.join(['1h'] * 11)}]"), "5:18 too_many", "at most 10", None),
    (
        "expect: rest}",
        "expect: rest, levels: [[finance]]}",
        "21:54 missing_key",
        "`levels` needs `answer: review`",
        None,
    ),
    (
        "expect: rest}",
        "expect: rest, answer: deny, levels: [[finance]]}",
        "21:68 no_effect",
        "no effect beside `answer: deny`",
        None,
    ),
    (
        "expect: rest}",
        "expect: rest, answer: review, levels: [finance]}",
        "21:71 wrong_type",
        "a level must be a list of roles",
        "write [finance]",
    ),
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


def test_a_review_says_who_may_decide_alone_and_when_it_ends() -> None:
    """Limits in minor units, level by level; the last one may be left out."""
    text = GOOD.replace(REST, "{levels: [[a], [b]], limits: [{EUR: 5.00, JPY: 700}], expires: 14d}")
    later = GOOD.replace(REST, f"{{{TWO}, within: 2d, escalate_to: [admin, finance], expires: 49h}}")

    assert read(text).rules[2].action == ReviewSpec(
        levels=(("a",), ("b",)), limits=({"EUR": 500, "JPY": 700},), expires=timedelta(days=14)
    )
    assert read(later).rules[2].action == ReviewSpec(
        levels=(("support_lead",), ("finance",)),
        within=timedelta(days=2),
        escalate_to=("admin", "finance"),
        expires=timedelta(hours=49),
    )


ALONE = [
    # the limits of three levels, and per amount the level that decides alone, from 0; None: all do
    ("[{EUR: 5.00}, {EUR: 50.00}]", {"0.01 EUR": 0, "5.00 EUR": 0, "5.01 EUR": 1, "50.01 EUR": 2, "1 JPY": 2}),
    ("[{EUR: 5.00}, {EUR: 50.00}, {EUR: 90.00}]", {"5.00 EUR": 0, "90.00 EUR": 2, "90.01 EUR": None, "1 JPY": None}),
    ("[{EUR: 5.00}, {EUR: 50.00, JPY: 1}]", {"1 JPY": 1, "2 JPY": 2, "5.01 EUR": 1}),
    ("[{EUR: 5.00, JPY: 9}, {EUR: 50.00}]", {"9 JPY": 0, "10 JPY": 2}),
    ("[{EUR: 5.00}, {EUR: 5.00}]", {"5.00 EUR": 0, "5.01 EUR": 2}),
    ("[{KWD: 0.005}, {KWD: 0.050}, {KWD: 0.050}]", {"0.005 KWD": 0, "0.006 KWD": 1, "0.051 KWD": None}),
]


@pytest.mark.parametrize(("limits", "wanted"), ALONE)
def test_the_first_level_whose_limit_covers_an_amount_decides_it(limits: str, wanted: dict[str, int | None]) -> None:
    """Exactly the limit is covered; a currency that isn't listed is not, and where nothing is covered all decide."""
    spec = read(GOOD.replace(REST, f"{{levels: [[a], [b], [c]], limits: {limits}}}")).rules[2].action
    assert isinstance(spec, ReviewSpec)

    assert {text: spec.alone(Money.from_major(*text.split())) for text in wanted} == wanted


@pytest.mark.parametrize(
    ("waits", "wanted"), [("[4h, 1d, 2w]", (4, 24, 336)), ("[]", ()), (f"[{', '.join(['1h'] * 10)}]", (1,) * 10)]
)
def test_a_policy_says_when_a_refund_without_balance_is_tried_again(waits: str, wanted: tuple[int, ...]) -> None:
    """An empty list is something else than none: a person is asked at once."""
    assert read(GOOD.replace("2026-12-31}", with_waits(waits))).balance_retries == tuple(
        timedelta(hours=hours) for hours in wanted
    )
    assert read(GOOD).balance_retries is None


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
    text += "balance_retries: []\n"
    text += "rules: [{name: rest, stop: exhausted}]\nexamples: [{given: {}, expect: rest}]\n"

    assert [problem.code for problem in problems_of(text)] == ["unknown_key"] * 3


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


def test_earlier_refunds_follow_from_what_came_back() -> None:
    """What was refunded before was one refund, unless the example says how many; nothing is no refund."""
    one = REFUND.given(REFUND.baseline, {"refunded_before": eur(5)})
    two = REFUND.given(REFUND.baseline, {"refunded_before": eur(5), "refunds_before": 2})
    none = REFUND.given(REFUND.baseline, {"refunded_before": eur(0)})

    assert [getattr(facts, "refunds_before", None) for facts in (REFUND.baseline, one, two, none)] == [0, 1, 2, 0]
    assert getattr(REFUND.baseline, "payments", None) == 1


def test_what_was_refunded_in_a_week_was_refunded_in_the_month_and_year() -> None:
    """Unless an example gives those, too."""
    week = REFUND.given(REFUND.baseline, {"customer.refunds_7d": 2, "customer.refunded_7d": eur(900)})
    more = REFUND.given(REFUND.baseline, {"customer.refunds_7d": 2, "customer.refunds_30d": 5})
    gone = REFUND.given(REFUND.baseline, {"customer.refunds_7d": None, "customer.refunds_30d": 5})

    def counts(facts: object) -> list[object]:
        customer = getattr(facts, "customer", None)
        return [getattr(customer, f"refunds_{window}") for window in ("7d", "30d", "365d")]

    assert counts(week) == [2, 2, 2]
    assert counts(more) == [2, 5, 2]
    assert counts(gone) == [None, 5, 0]
    assert getattr(getattr(week, "customer", None), "refunded_365d", None) == eur(900)
