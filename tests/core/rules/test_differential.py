"""The engine against the plain evaluator, over random policies and random facts."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.money import Money
from recoup_core.rules.actions import StopReason, StopSpec
from recoup_core.rules.applies import AppliesTo
from recoup_core.rules.compile import EngineChoice, compile_policy
from recoup_core.rules.condition_reader import ConditionReader
from recoup_core.rules.conditions import Condition
from recoup_core.rules.errors import Report
from recoup_core.rules.facts import RETRY, RetryFacts
from recoup_core.rules.schema import Policy, Rule
from recoup_core.rules.yamltext import read_tree

settings.register_profile(
    "rules", max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
FUZZ = settings.get_profile("rules")

DECLINES = ("insufficient_funds", "fraud", "unknown", "issuer_generic")
CODES = ("a", "b", "c d", "ü")
COUNTRIES = ("NO", "DE", "US")
CURRENCIES = ("EUR", "USD", "JPY")


def words(fact: str, known: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Conditions on a text or a choice, in every spelling."""
    some = st.lists(st.sampled_from(known), min_size=1, unique=True)
    one = st.sampled_from(known)
    spellings = st.one_of(one, some, st.builds(lambda v: {"in": v}, some), st.builds(lambda v: {"not": v}, one | some))
    return st.builds(lambda spelling: {fact: spelling}, spellings)


def numbers(fact: str, low: int, high: int) -> st.SearchStrategy[dict[str, Any]]:
    """Conditions on a whole number that are not always false."""
    inner = st.integers(low + 1, high - 1)
    pair = st.lists(st.integers(low, high), min_size=2, max_size=2).map(sorted)
    order = st.builds(lambda op, v: {op: v}, st.sampled_from(("lt", "lte", "gt", "gte", "not")), inner)
    spellings = st.one_of(
        inner, order, st.builds(lambda p: {"between": p}, pair), st.builds(lambda p: {"gte": p[0], "lte": p[1]}, pair)
    )
    return st.builds(lambda spelling: {fact: spelling}, spellings)


@st.composite
def amounts(draw: st.DrawFn) -> dict[str, Any]:
    """Conditions on the amount in one to three currencies, whole major units."""
    op = draw(st.sampled_from(("lt", "lte", "gt", "gte", "between")))
    chosen = draw(st.lists(st.sampled_from(CURRENCIES), min_size=1, unique=True))
    value = st.integers(1, 5).map(str)
    pair = st.lists(st.integers(1, 5), min_size=2, max_size=2).map(sorted).map(lambda ends: [str(end) for end in ends])
    return {"amount": {op: {currency: draw(pair if op == "between" else value) for currency in chosen}}}


def presence(fact: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(("exists", "missing")).map(lambda op: {fact: {op: True}})


LEAVES = st.one_of(
    words("decline", DECLINES),
    words("decline_code", CODES),
    words("network_code", CODES),
    words("country", COUNTRIES),
    words("customer.tier", CODES),
    numbers("attempt", 1, 6),
    numbers("visa_category", 1, 4),
    numbers("customer.tenure_days", 0, 5),
    amounts(),
    st.booleans().map(lambda value: {"has_backup": value}),
    st.booleans().map(lambda value: {"customer.vulnerable": value}),
    st.sampled_from(("network_code", "country", "customer.tier", "visa_category", "customer.vulnerable")).flatmap(
        presence
    ),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=5).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=5).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=14,
)


def read_condition(written: dict[str, Any]) -> Condition:
    """Read a condition the way a policy file's is read; JSON is YAML."""
    report = Report("random")
    tree = read_tree(json.dumps(written, ensure_ascii=False), report)
    condition = None if tree is None else ConditionReader(report, RETRY).whole(tree)
    assert condition is not None, report.problems
    return condition


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies of one to eight random rules and a last one."""
    conditions = draw(st.lists(CONDITIONS.map(read_condition), min_size=1, max_size=8))
    stop = StopSpec(reason=StopReason.EXHAUSTED)
    rules = [Rule(name=f"r{n}", line=n, when=condition, action=stop) for n, condition in enumerate(conditions)]
    return Policy(
        kind="retry",
        name="random",
        digest="",
        text="",
        source="random",
        applies_to=AppliesTo(vocabulary=RETRY, only={}, line=1, column=1),
        define={},
        rules=(*rules, Rule(name="rest", line=99, action=stop)),
        examples=(),
    )


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


FACTS = st.fixed_dictionaries(
    {
        "decline": st.sampled_from(DECLINES),
        "decline_code": st.sampled_from((*CODES, "other", "", '"', "*")),
        "network_code": maybe(st.sampled_from((*CODES, "z"))),
        "country": maybe(st.sampled_from((*COUNTRIES, "SE"))),
        "customer.tier": maybe(st.sampled_from(CODES)),
        "attempt": st.integers(1, 7),
        "visa_category": maybe(st.integers(1, 4)),
        "customer.tenure_days": maybe(st.integers(0, 6)),
        "amount": st.builds(
            Money, st.sampled_from((0, 1, 3, 100, 199, 200, 300, 500, 501)), st.sampled_from((*CURRENCIES, "GBP"))
        ),
        "has_backup": st.booleans(),
        "customer.vulnerable": maybe(st.booleans()),
    }
)


def built(values: dict[str, Any]) -> RetryFacts:
    facts = RETRY.baseline
    for name, value in values.items():
        facts = RETRY.with_fact(facts, name, value)
    return facts


@FUZZ
@given(policy=policies(), asked=st.lists(FACTS.map(built), min_size=5, max_size=12))
def test_engine_and_plain_evaluator_agree(policy: Policy, asked: list[RetryFacts]) -> None:
    """The plain evaluator is the oracle: same rule for every policy the language can say, and no fallback."""
    engine = compile_policy(policy, engine=EngineChoice.DURABLE_RULES)
    plain = compile_policy(policy, engine=EngineChoice.CLOSURES)

    got = [engine.verdict(facts).name for facts in asked]

    engine.close()
    assert got == [plain.verdict(facts).name for facts in asked]
    assert engine.fallbacks == 0
