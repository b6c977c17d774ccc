"""Every mistake of a policy file is told with its line, its column and the near name."""

from collections.abc import Callable
from datetime import time, timedelta
from hashlib import sha256

import pytest

from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.schema import Policy, RetrySpec, StopReason, StopSpec, parse_policy

GOOD = """kind: retry
name: a-policy
note: A note.
applies_to: {method: card}
define:
  early: {attempt: {lte: 2}}
rules:
  - name: hit
    when: early
    retry: {after: [3d], between: ["06:00", "10:00"]}
    otherwise: {stop: needs_customer}
  - name: rest
    stop: exhausted
examples:
  - {given: {}, expect: hit}
  - {given: {attempt: 3}, expect: rest}
"""


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(text, source="p.yaml")
    return refusal.value.problems


def test_a_good_policy_is_read() -> None:
    """Text in, typed model out; the digest is that of the exact text."""
    policy = parse_policy(GOOD, source="p.yaml")

    assert (policy.kind, policy.name, policy.note) == ("retry", "a-policy", "A note.")
    assert policy.digest == sha256(GOOD.encode()).hexdigest()
    assert policy.text == GOOD
    hit, rest = policy.rules
    assert hit.action == RetrySpec(after=(timedelta(days=3),), between=(time(6), time(10)))
    assert hit.otherwise == StopSpec(reason=StopReason.NEEDS_CUSTOMER)
    assert (rest.when, rest.action, rest.line) == (None, StopSpec(reason=StopReason.EXHAUSTED), 12)


def test_the_digest_tells_texts_apart_that_mean_the_same() -> None:
    """A version is a text: a comment makes another one."""
    one, other = (parse_policy(text, source="p.yaml") for text in (GOOD, GOOD + "# reviewed\n"))

    assert one.rules == other.rules
    assert one.digest != other.digest


# what is replaced in GOOD, by what, and the one problem: "line:column code", a part of the message, a part of the hint
MISTAKES: list[tuple[str, str, str, str, str | None]] = [
    ("kind: retry", "kind: rety", "1:7 unknown_value", "`kind` is never 'rety'", "'retry'"),
    ("kind: retry\n", "", "1:1 missing_key", "a policy needs `kind`", None),
    ("name: a-policy", "name: A Policy", "2:7 bad_name", "can't be a policy's name", "lower-case"),
    ("note: A note.", "nota: A note.", "3:1 unknown_key", "no key 'nota'", "'note'"),
    ("note: A note.", "note: [a]", "3:7 wrong_type", "`note` must be a text, not a list", None),
    ("note: A note.", "note: " + "x" * 2001, "3:7 too_many", "longer than 2000", None),
    ("{method: card}", "{metod: card}", "4:14 unknown_fact", "'metod' is no fact", "'method'"),
    ("{method: card}", "{decline: fraud}", "4:14 unknown_fact", "can't be used in `applies_to`", None),
    ("{method: card}", "{method: cart}", "4:22 unknown_value", "`method` is never 'cart'", "'card'"),
    ("{method: card}", "[card]", "4:13 wrong_type", "`applies_to` must be a mapping", "write {method: card}"),
    ("{method: card}", "{method: []}", "4:22 empty_list", "the list of `method` is empty", None),
    ("{method: card}", "{method: card, customer: gold}", "4:38 wrong_type", "`customer` must be a mapping", None),
    ("{method: card}", "{customer.tier: a, customer: {tier: b}}", "4:43 duplicate_key", "given twice", None),
    ("early: {att", "attempt: {att", "6:3 bad_name", "'attempt' can't name a condition", "no fact"),
    ("early: {att", "Early-1: {att", "6:3 bad_name", "can't name a condition", None),
    ("when: early", "when: erly", "9:11 unknown_name", "unknown named condition 'erly'", "'early'"),
    ("when: early", "when: attempt", "9:11 fact_alone", "is a fact, not a condition", "{attempt: ...}"),
    ("when: early", "when: {early: 1}", "9:19 wrong_type", "must be true or false", None),
    ("when: early", "when: {attemt: 1}", "9:12 unknown_fact", "unknown fact or condition 'attemt'", "'attempt'"),
    ("when: early", "when: [early]", "9:11 wrong_type", "can't be a bare list", "all: [...]"),
    ("when: early", "when: {}", "9:11 empty_condition", "the condition is empty", None),
    ("when: early", "when: {all: []}", "9:17 empty_list", "`all` is empty", None),
    ("when: early", "when: {any: early}", "9:17 wrong_type", "`any` must be a list", None),
    ("when: early", "when: {decline: insufficent_funds}", "9:21 unknown_value", "never", "'insufficient_funds'"),
    ("when: early", "when: {decline: []}", "9:21 empty_list", "the list of `decline` is empty", None),
    ("when: early", "when: {decline: {}}", "9:21 empty_condition", "empty", None),
    ("when: early", "when: {decline: [fraud, fraud]}", "9:29 duplicate_value", "'fraud' stands twice", None),
    ("when: early", "when: {decline: {lt: fraud}}", "9:22 unknown_operator", "has no operator 'lt'", "one of in, not"),
    ("when: early", "when: {decline: {in: fraud}}", "9:26 wrong_type", "must be a list", None),
    ("when: early", "when: {decline: {not: {a: b}}}", "9:27 wrong_type", "must be a text, not a mapping", None),
    ("when: early", "when: {decline: {missing: true}}", "9:31 always_known", "`decline` is always known", None),
    ("when: early", "when: {network: {exists: false}}", "9:30 write_positively", "not allowed", "missing: true"),
    ("when: early", "when: {network: {missing: no}}", "9:31 wrong_type", "must be true or false", "write true"),
    ("when: early", "when: {retryable: false}", "9:23 unknown_value", "`retryable` is never 'false'", "one of yes"),
    ("when: early", "when: {country: UK}", "9:21 unknown_value", "`country` is never 'UK'", "'GB'"),
    ("when: early", "when: {country: de}", "9:21 unknown_value", "`country` is never 'de'", "'DE'"),
    ("when: early", "when: {decline_code: '*a'}", "9:26 bad_text", "64 characters", None),
    ("when: early", "when: {decline_code: 'a\"b'}", "9:26 bad_text", "64 characters", None),
    ("when: early", f"when: {{decline_code: {'x' * 65}}}", "9:26 bad_text", "64 characters", None),
    ("when: early", "when: {attempt: 1_000}", "9:21 wrong_type", "must be a whole number", "plain digits"),
    ("when: early", "when: {attempt: 6:00}", "9:21 wrong_type", "must be a whole number", "plain digits"),
    ("when: early", "when: {attempt: 0}", "9:21 out_of_range", "`attempt` is never less than 1", None),
    ("when: early", "when: {visa_category: 5}", "9:27 out_of_range", "`visa_category` is never more than 4", None),
    ("when: early", "when: {attempt: {lt: 1}}", "9:26 never_true", "`attempt` is never less than 1", None),
    ("when: early", "when: {visa_category: {gt: 4}}", "9:32 never_true", "never more than 4", None),
    ("when: early", "when: {attempt: {between: [5, 2]}}", "9:31 never_true", "between 5 and 2", "smaller one"),
    ("when: early", "when: {attempt: {between: 5}}", "9:31 wrong_type", "a list of two", None),
    ("when: early", "when: {has_backup: yes}", "9:24 wrong_type", "must be true or false", "write true"),
    ("when: early", "when: {has_backup: [true]}", "9:24 wrong_type", "not a list", None),
    ("when: early", "when: {customer: {tear: gold}}", "9:23 unknown_fact", "'customer.tear'", "'tier'"),
    ("when: early", "when: {customer: {}}", "9:22 empty_condition", "empty", None),
    ("when: early", "when: {customer: gold}", "9:22 wrong_type", "`customer` must be a mapping", None),
    ("when: early", "when: {amount: 20}", "9:20 money_without_currency", "needs an operator", "{lt: {USD"),
    ("when: early", "when: {amount: {lt: 20}}", "9:25 wrong_type", "per currency, must be a mapping", None),
    ("when: early", "when: {amount: {lt: {}}}", "9:25 empty_condition", "no currency", None),
    (
        "when: early",
        "when: {amount: {lt: {USF: 20}}}",
        "9:26 unknown_currency",
        "'USF' is not an ISO 4217",
        "did you mean",
    ),
    ("when: early", "when: {amount: {lt: {USD: 20.005}}}", "9:31 bad_amount", "more decimals than USD", None),
    ("when: early", "when: {amount: {lt: {JPY: 20.5}}}", "9:31 bad_amount", "more decimals than JPY", None),
    ("when: early", "when: {amount: {lt: {USD: 2e3}}}", "9:31 bad_amount", "digits with a decimal point", None),
    ("when: early", "when: {amount: {lt: {USD: -5}}}", "9:31 bad_amount", "digits with a decimal point", None),
    ("when: early", "when: {amount: {lt: {USD: 0}}}", "9:31 never_true", "never less than 0", None),
    ("when: early", "when: {amount: {lt: {USD: 99999999999999}}}", "9:31 out_of_range", "compared exactly", None),
    ("when: early", "when: {amount: {between: {USD: [5, 2]}}}", "9:36 never_true", "lies nothing", None),
    ("when: early", "when: {amount: {between: {USD: 5}}}", "9:36 wrong_type", "a list of two", None),
    ("name: hit\n", "name: 'hit #1'\n", "8:11 bad_name", "can't be a rule's name", "up to 80"),
    ("name: rest\n", "name: hit\n", "12:11 duplicate_rule", "already on line 8", None),
    ("    when: early\n", "", "8:5 missing_key", "only the last rule may do without `when`", None),
    ("    stop: ex", "    when: early\n    stop: ex", "13:11 last_rule", "the last rule must have no `when`", None),
    ("stop: exhausted", "stop: exhaustd", "13:11 unknown_value", "`stop` is never", "'exhausted'"),
    ("    stop: exhausted\n", "", "12:5 missing_key", "a rule needs `retry` or `stop`", None),
    ("    stop: exh", "    retry: {after: [1d]}\n    stop: exh", "12:5 two_actions", "not both", None),
    ("    stop: exhausted", "    stop: exhausted\n    oterwise: {}", "14:5 unknown_key", "'oterwise'", "'otherwise'"),
    ("stop: exhausted", "stop: exhausted\n    otherwise: {stop: exhausted}", "14:16 no_effect", "beside `stop`", None),
    ("{stop: needs_customer}", "{}", "11:16 missing_key", "`otherwise` needs `retry` or `stop`", None),
    ("{stop: needs_customer}", "{stop: needs_customer, when: early}", "11:39 unknown_key", "no key 'when'", None),
    ("expect: rest}", "expect: resst}", "16:35 unknown_rule", "no rule is named 'resst'", "'rest'"),
    ("expect: hit}", "expct: hit}", "15:17 unknown_key", "no key 'expct'", "'expect'"),
    ("{given: {}, ", "{", "15:5 missing_key", "an example needs `given`", None),
    ("{attempt: 3}", "{atempt: 3}", "16:14 unknown_fact", "'atempt' can't be given", "'attempt'"),
    ("{attempt: 3}", "{attempt: {gt: 3}}", "16:23 wrong_type", "not conditions", None),
    ("{attempt: 3}", "{attempt: 3, network: {missing: no}}", "16:45 wrong_type", "`missing` must be", None),
    ("{attempt: 3}", "{attempt: 3, currency: USD}", "16:26 unknown_fact", "can't be given", "amount: {EUR"),
    ("{attempt: 3}", "{attempt: 3, amount: 5}", "16:34 wrong_type", "in one currency", None),
    ("{attempt: 3}", "{attempt: 3, amount: {EUR: 5, USD: 5}}", "16:34 wrong_type", "in one currency", None),
    ("{attempt: 3}", "{attempt: 3, customer.tier: a, customer: {tier: b}}", "16:55 duplicate_key", "twice", None),
    ("{attempt: 3}", "{attempt: 1}", "16:5 example_failed", "expected 'rest', but 'hit' fires", None),
    ("{attempt: 3}", "{attempt: 3, method: sepa_debit}", "16:5 example_outside", "outside the policy's", None),
]


@pytest.mark.parametrize("case", MISTAKES, ids=[f"{case[2]} {case[1][:40]}" for case in MISTAKES])
def test_mistake_is_told_at_its_place(case: tuple[str, str, str, str, str | None]) -> None:
    """One mistake, told first, with place, code, words and, where there is a near name, a suggestion."""
    old, new, place, message, hint = case
    assert old in GOOD

    first = next(p for p in problems_of(GOOD.replace(old, new, 1)) if f"{p.line}:{p.column} {p.code}" == place)

    assert message in first.message
    assert hint is None or hint in (first.hint or "")


@pytest.mark.parametrize("case", MISTAKES, ids=[f"{case[2]} {case[1][:40]}" for case in MISTAKES])
def test_mistake_draws_few_followers(case: tuple[str, str, str, str, str | None]) -> None:
    """A mistake is not buried under problems that only follow from it."""
    old, new, _, _, _ = case

    assert len(problems_of(GOOD.replace(old, new, 1))) <= 2


RETRIES: list[tuple[str, str, str, str | None]] = [
    # the retry, "column code" of its one problem, a part of the message, a part of the hint
    ("{}", "12 no_time", "needs `after`, `on`, or both", None),
    ("[1d]", "12 wrong_type", "`retry` must be a mapping", None),
    ("{after: []}", "20 empty_list", "`after` is empty", None),
    ("{after: 3d}", "20 wrong_type", "`after` must be a list", None),
    ("{after: [3]}", "21 bad_duration", "can't be '3'", "30m, 6h, 10d, 2w"),
    ("{after: [-3d]}", "21 bad_duration", "can't be '-3d'", "30m"),
    ("{after: [1.5h]}", "21 bad_duration", "can't be '1.5h'", "30m"),
    ("{after: [0d]}", "21 bad_duration", "can't be nothing", None),
    ("{after: [181d]}", "21 bad_duration", "more than 180 days", None),
    ("{after: [" + ", ".join(["1h"] * 41) + "]}", "20 too_many", "at most 40", None),
    ("{afer: [1d]}", "13 unknown_key", "no key 'afer'", "'after'"),
    ("{on: pay_day, max: 2}", "17 unknown_value", "`on` is never 'pay_day'", "'payday'"),
    ("{on: payday}", "12 unbounded", "never ends", None),
    ("{on: payday, max: 0}", "30 out_of_range", "between 1 and 40", None),
    ("{on: payday, max: 41}", "30 out_of_range", "between 1 and 40", None),
    ("{after: [1d], max: 2}", "31 unreachable_max", "only 1 waits", None),
    ("{after: [3d, 5d], within: 1w}", "38 unreachable_wait", "more than `within`", None),
    ('{after: [1d], between: ["06:00"]}', "35 wrong_type", "two clock times", None),
    ('{after: [1d], between: ["06:00", "06:00"]}', "35 empty_window", "same time", None),
    ("{after: [1d], between: [6:00, 10:00]}", "36 bad_time", "can't be '6:00'", "two digits"),
    ('{after: [1d], between: ["06:00", "24:00"]}', "45 bad_time", "can't be '24:00'", "23:59"),
    ("{on: payday, max: 1, zone: Europe/Berlim}", "39 unknown_zone", "neither `customer`", "'Europe/Berlin'"),
    ("{after: [1d], zone: customer}", "32 no_effect", "no effect without", None),
    ("{after: [1d], jitter: 25h}", "34 bad_duration", "more than 1 days", None),
    ('{after: [1d], between: ["06:00", "07:00"], jitter: 1h}', "63 jitter_too_long", "shorter than", None),
    ("{after: [1d], credential: second}", "38 unknown_value", "`credential`", "one of primary, backup"),
    ("{after: [1d], gateway: My Gateway}", "35 bad_name", "gateway's name", "lower-case"),
]


@pytest.mark.parametrize("case", RETRIES, ids=[case[0][:50] for case in RETRIES])
def test_retry_that_never_happens_or_never_ends_is_refused(
    case: tuple[str, str, str, str | None], policy_text: Callable[..., str]
) -> None:
    """Timing mistakes are told before any payment meets them."""
    retry, place, message, hint = case

    (problem,) = problems_of(policy_text(action=f"retry: {retry}"))

    assert f"{problem.column} {problem.code}" == place
    assert problem.line == 7
    assert problem.rule == "hit"
    assert message in problem.message
    assert hint is None or hint in (problem.hint or "")


def test_every_timing_word_is_read(a_policy: Callable[..., Policy]) -> None:
    """The whole of `retry` arrives as written."""
    retry = (
        '{after: [30m, 6h, 10d, 2w], on: business_day, between: ["22:00", "00:30"], zone: Europe/Berlin, '
        "jitter: 90m, within: 12w, max: 3, credential: backup, gateway: stripe-eu}"
    )

    policy = a_policy(action=f"retry: {retry}")

    assert policy.rules[0].action == RetrySpec(
        after=(timedelta(minutes=30), timedelta(hours=6), timedelta(days=10), timedelta(weeks=2)),
        on="business_day",
        between=(time(22), time(0, 30)),
        zone="Europe/Berlin",
        jitter=timedelta(minutes=90),
        within=timedelta(weeks=12),
        max=3,
        credential="backup",
        gateway="stripe-eu",
    )


def test_all_mistakes_of_a_file_come_at_once_in_order() -> None:
    """One run is enough to repair a file; each line of the error is one problem."""
    text = (
        GOOD.replace("kind: retry", "kind: x").replace("lte: 2", "lt: 1").replace("3d", "3y").replace("given", "givn")
    )

    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(text, source="some/p.yaml")

    lines = str(refusal.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "some/p.yaml:1:7",
        "some/p.yaml:6:25",
        "some/p.yaml:10:21",
        "some/p.yaml:15:5",
        "some/p.yaml:15:6",
        "some/p.yaml:16:5",
        "some/p.yaml:16:6",
    ]
    assert lines[4] == "some/p.yaml:15:6: an example has no key 'givn' (did you mean 'given'?)"


def test_a_rule_without_example_is_refused() -> None:
    """Examples are the tests; a rule nobody tried is a rule that may never match."""
    (problem,) = problems_of(GOOD.replace("  - {given: {attempt: 3}, expect: rest}\n", ""))

    assert (problem.line, problem.code) == (12, "no_example")
    assert "'rest'" in problem.message


@pytest.mark.parametrize("parts", ["rules: []\nexamples: []", "rules: x\nexamples: x", "rules: {}\nexamples: {}"])
def test_no_rules_are_refused(parts: str) -> None:
    """A policy decides something."""
    head = GOOD[: GOOD.index("rules:")]

    assert {problem.line for problem in problems_of(head + parts)} == {7, 8}


def test_definitions_cannot_lead_back_to_themselves() -> None:
    """A definition sees only those above it: no cycle can be written."""
    loop = "early: {any: [late, {attempt: 1}]}\n  late: {any: [early, {attempt: 2}]}\n  self: {not: self}"
    problems = problems_of(GOOD.replace("early: {attempt: {lte: 2}}", loop))

    assert [(problem.line, problem.code) for problem in problems] == [(6, "define_order"), (8, "define_order")]


def test_growing_definitions_are_refused_before_they_explode() -> None:
    """Names doubled thirty times over would make a billion comparisons."""
    names = ["early: {attempt: {lte: 2}}"]
    names += [f"d{n}: {{any: [{p}, {p}]}}" for n, p in enumerate(["early", *(f"d{n}" for n in range(30))])]

    problems = problems_of(GOOD.replace("early: {attempt: {lte: 2}}", "\n  ".join(names)))

    assert [(problem.line, problem.code) for problem in problems] == [(13, "too_many")]


def test_deep_definitions_are_refused() -> None:
    """Nesting through names is bounded like nesting in place."""
    names = [
        "early: {attempt: {lte: 2}}",
        *(f"d{n}: {{not: {p}}}" for n, p in enumerate(["early", *(f"d{n}" for n in range(30))])),
    ]

    problems = problems_of(GOOD.replace("early: {attempt: {lte: 2}}", "\n  ".join(names)))

    assert [problem.code for problem in problems] == ["too_deep"]


def test_more_problems_than_anybody_reads_are_counted() -> None:
    """The list of problems is bounded too."""
    problems = problems_of("\n".join(f"a{n}: 1" for n in range(500)))

    assert len(problems) == 201
    assert problems[-1].message == "and 305 more problems"


def test_near_names_are_looked_for_a_bounded_number_of_times() -> None:
    """A file of thousands of wrong names is refused in seconds, not minutes."""
    rules = "".join(f"  - {{name: rule number {n}, when: early, stop: exhausted}}\n" for n in range(600))
    examples = "".join(f"  - {{given: {{}}, expect: rulle {n}}}\n" for n in range(600))
    head = GOOD[: GOOD.index("rules:")]

    problems = problems_of(f"{head}rules:\n{rules}  - {{name: rest, stop: exhausted}}\nexamples:\n{examples}")

    assert sum(problem.hint is not None for problem in problems) == 50


def test_an_example_that_gives_nothing_is_not_dropped_in_silence() -> None:
    """`{missing: false}` names no value; a test that never runs must not look like one that passes."""
    text = GOOD.replace("{given: {attempt: 3},", "{given: {attempt: 3, network: {missing: false}},")

    assert [problem.code for problem in problems_of(text)] == ["write_positively"]


def test_retries_follow_attempts_in_examples(a_policy: Callable[..., Policy]) -> None:
    """The fifth failure is, unless said otherwise, the fourth retry."""
    policy = a_policy("{retries: 4}", hit="{attempt: 5}", rest="{attempt: 5, retries: 0}")

    assert policy.examples[0].facts(policy.vocabulary, policy.baseline).retries == 4


def test_baseline_lies_inside_applies_to(a_policy: Callable[..., Policy]) -> None:
    """An example need not repeat what the policy is for."""
    scope = "{method: [bacs_debit, ach_debit], customer.tier: gold, currency: GBP}"

    policy = a_policy(applies_to=scope)

    assert policy.baseline.method == "bacs_debit"
    assert policy.baseline.amount.currency == "GBP"
    assert policy.applies_to.covers(policy.baseline)
