"""A compiled policy always gives the right verdict: from the engine, or from the plain evaluator in its place."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from recoup_core.domain.money import Money
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, EngineUnavailable, compile_policy
from recoup_core.rules.engine.ruleset import import_engine
from recoup_core.rules.engine.trace import Outcome, RuleTrace
from recoup_core.rules.facts import RETRY, RetryFacts
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import Policy, parse_policy

Build = Callable[..., Policy]


class Wrapped:
    """The real C module with some functions replaced."""

    def __init__(self, **replaced: Callable[..., Any]) -> None:
        self._real, self._replaced = import_engine(), replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name) or getattr(self._real, name)


def boom(*_: object) -> Any:
    raise RuntimeError("boom")


@pytest.fixture
def ladder() -> Policy:
    """Twenty rules: attempt 1 fires the first, attempt 2 the second, and so on."""
    rules = [f"  - {{name: rung {n}, when: {{attempt: {{lte: {n}}}}}, stop: exhausted}}" for n in range(1, 20)]
    examples = [f"  - {{given: {{attempt: {n}}}, expect: rung {n}}}" for n in range(1, 20)]
    lines = ["kind: retry", "name: ladder", "applies_to: {}", "rules:", *rules]
    lines += ["  - {name: rest, stop: exhausted}", "examples:", *examples, "  - {given: {attempt: 99}, expect: rest}"]
    return parse_policy("\n".join(lines), source="ladder.yaml")


@pytest.fixture
def compiled(ladder: Policy) -> Iterator[CompiledPolicy]:
    policy = compile_policy(ladder, engine=EngineChoice.DURABLE_RULES)
    yield policy
    policy.close()


def attempt(number: int) -> RetryFacts:
    return RETRY.with_fact(RETRY.baseline, "attempt", number)


def test_first_match_wins(compiled: CompiledPolicy) -> None:
    """Document order is the order of precedence."""
    names = [compiled.verdict(attempt(n)).name for n in (1, 2, 19, 20)]

    assert names == ["rung 1", "rung 2", "rung 19", "rest"]
    assert (compiled.engine_name, compiled.engine_reason, compiled.fallbacks) == ("durable_rules", None, 0)
    assert compiled.digest == compiled.policy.digest


def test_the_plain_evaluator_can_be_chosen(ladder: Policy) -> None:
    """The same answers without the C module."""
    policy = compile_policy(ladder, engine=EngineChoice.CLOSURES)

    assert policy.engine_name == "closures"
    assert policy.verdict(attempt(7)).name == "rung 7"


def test_without_c_module_the_plain_evaluator_serves(ladder: Policy) -> None:
    """No compiler at hand is no reason to stop collecting."""

    def importer() -> Any:
        raise ImportError("no compiler was found")

    policy = compile_policy(ladder, importer=importer)

    assert policy.engine_name == "closures"
    assert "no compiler was found" in (policy.engine_reason or "")
    assert policy.verdict(attempt(7)).name == "rung 7"
    with pytest.raises(EngineUnavailable, match="no compiler"):
        compile_policy(ladder, engine=EngineChoice.DURABLE_RULES, importer=importer)


@pytest.mark.parametrize("function", ["create_ruleset", "assert_event", "start_action_for_state"])
def test_engine_that_fails_at_publication_does_not_serve(function: str, ladder: Policy) -> None:
    """An engine that can't pass the gate is not used, and the reason can be read."""
    policy = compile_policy(ladder, importer=lambda: Wrapped(**{function: boom}))  # type: ignore[arg-type,return-value]  # stands in for the C module

    assert policy.engine_name == "closures"
    assert "boom" in (policy.engine_reason or "")
    assert policy.verdict(attempt(7)).name == "rung 7"


def test_disagreeing_engine_refuses_the_policy(ladder: Policy) -> None:
    """The publish gate: one difference from the plain evaluator and nothing is published."""
    real = import_engine()

    def lying(name: str, rules: str) -> int:
        return real.create_ruleset(name, rules.replace('"$lte": {"attempt": 12}', '"$lt": {"attempt": 12}'))

    with pytest.raises(PolicyInvalid) as refusal:
        compile_policy(ladder, importer=lambda: Wrapped(create_ruleset=lying))  # type: ignore[arg-type,return-value]  # stands in for the C module

    (problem,) = refusal.value.problems
    assert (problem.file, problem.code) == ("ladder.yaml", "engine_disagrees")
    assert problem.message == "the engine fires 'rung 13' where 'rung 12' is right"


def test_engine_failure_in_use_falls_back_and_is_counted(ladder: Policy) -> None:
    """A verdict is never lost and never wrong because the engine failed."""
    broken = False
    real = import_engine()

    def sometimes(handle: int, message: str) -> tuple[int, int]:
        if broken:
            raise RuntimeError("boom")
        return real.assert_event(handle, message)

    policy = compile_policy(ladder, importer=lambda: Wrapped(assert_event=sometimes))  # type: ignore[arg-type,return-value]  # stands in for the C module
    assert policy.verdict(attempt(3)).name == "rung 3"
    broken = True
    assert [policy.verdict(attempt(n)).name for n in (4, 5)] == ["rung 4", "rung 5"]
    broken = False

    assert policy.verdict(attempt(6)).name == "rung 6"
    assert (policy.engine_name, policy.fallbacks) == ("durable_rules", 2)


def test_facts_beyond_exact_numbers_fall_back(a_policy: Build) -> None:
    """What the engine would saturate is compared exactly all the same."""
    text = "{amount: {gt: {EUR: 90071992547409.90}}}"
    policy = compile_policy(a_policy(text, hit="{amount: {EUR: 90071992547409.91}}", rest="{}"))

    assert policy.verdict(RETRY.with_fact(RETRY.baseline, "amount", Money(2**70, "EUR"))).name == "hit"
    assert policy.fallbacks == 1


def test_closed_policy_still_answers(ladder: Policy) -> None:
    """Whoever holds a version that was replaced gets its verdict."""
    policy = compile_policy(ladder)
    policy.close()

    assert policy.verdict(attempt(3)).name == "rung 3"
    assert policy.fallbacks == 1


def test_eight_threads_get_their_own_verdicts(compiled: CompiledPolicy) -> None:
    """One shared policy, many workers: nobody gets somebody else's answer."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(seed: int) -> int:
        asked = [(seed * 7 + n * 3) % 19 + 1 for n in range(1_500)]
        return sum(compiled.verdict(attempt(n)).name != f"rung {n}" for n in asked)

    try:
        with ThreadPoolExecutor(8) as pool:
            wrong = sum(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)

    assert (wrong, compiled.fallbacks) == (0, 0)


def test_many_rules_are_cut_into_shards() -> None:
    """A policy of any size is served; the first match across shards wins."""
    count = 600
    lines = ["kind: retry", "name: many", "applies_to: {}", "rules:"]
    lines += [f"  - {{name: r{n}, when: {{decline_code: c{n}}}, stop: exhausted}}" for n in range(count)]
    lines += ["  - {name: rest, stop: exhausted}", "examples:"]
    lines += [f"  - {{given: {{decline_code: c{n}}}, expect: r{n}}}" for n in range(count)]
    lines += ["  - {given: {}, expect: rest}"]
    policy = compile_policy(parse_policy("\n".join(lines), source="p.yaml"), engine=EngineChoice.DURABLE_RULES)

    fired = [
        policy.verdict(RETRY.with_fact(RETRY.baseline, "decline_code", f"c{n}")).name for n in (0, 499, 500, 599, 600)
    ]

    assert fired == ["r0", "r499", "r500", "r599", "rest"]
    assert policy.fallbacks == 0
    policy.close()


def test_conditions_beyond_the_engine_are_computed_beforehand(a_policy: Build) -> None:
    """No policy is refused because of what the engine can't hold: here 3 x 12 overlapping alternatives, 60 values."""
    group = "{any: [" + ", ".join(f"{{attempt: {{gte: {n}}}}}" for n in range(2, 14)) + "]}"
    values = ", ".join(f"c{n}" for n in range(60))
    when = f"{{all: [{group}, {group.replace('gte', 'gt')}, {group.replace('}}', ', lte: 90}}')}, "
    when += f"{{decline_code: {{not: [{values}]}}}}]}}"

    policy = compile_policy(a_policy(when, hit="{attempt: 5}", rest="{attempt: 2}"), engine=EngineChoice.DURABLE_RULES)

    assert policy.verdict(attempt(3)).name == "hit"
    assert policy.verdict(attempt(91)).name == "rest"
    assert policy.verdict(RETRY.with_fact(attempt(3), "decline_code", "c59")).name == "rest"
    assert policy.fallbacks == 0


def test_trace_shows_every_comparison_up_to_the_rule_that_fired(a_policy: Build) -> None:
    """Why it fired, and why those before it did not; as data that can be stored."""
    define = "small: {amount: {lt: {USD: 20.00, EUR: 20.00}}}"
    policy = compile_policy(
        a_policy(
            "{any: [small, {network_code: [a, b]}, {not: {attempt: {lte: 3}}}]}",
            define=define,
            hit="{attempt: 4}",
            rest="{}",
        )
    )

    stored = msgspec.json.encode(policy.trace(RETRY.baseline))
    hit, rest = msgspec.json.decode(stored, type=tuple[RuleTrace, ...])

    assert (hit.rule, hit.fired, hit.verdict) == ("hit", False, Outcome.MISSING)
    seen = [(c.fact, c.operator, c.expected, c.actual, c.verdict.value, c.path) for c in hit.conditions]
    assert seen == [
        ("amount", "lt", ("20.00 USD", "20.00 EUR"), "49.00 EUR", "false", "amount.lt"),
        ("network_code", "in", ("a", "b"), None, "missing", "any[1].network_code"),
        ("attempt", "lte", (3,), 1, "true", "any[2].not.attempt.lte"),
    ]
    assert (rest.rule, rest.fired, rest.verdict, rest.conditions) == ("rest", True, Outcome.TRUE, ())


def test_trace_and_verdict_name_the_same_rule(compiled: CompiledPolicy) -> None:
    """The explanation explains what was decided."""
    for number in range(1, 22):
        traces = compiled.trace(attempt(number))
        assert [trace.rule for trace in traces if trace.fired] == [compiled.verdict(attempt(number)).name]
        assert traces[-1].fired
