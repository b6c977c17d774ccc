"""Builders for policies as text."""

from collections.abc import Callable
from textwrap import dedent, indent

import pytest

from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.language.closures import closure
from recoup_core.rules.language.schema import Policy, parse_policy

PolicyText = Callable[..., str]


@pytest.fixture
def policy_text() -> PolicyText:
    """Build a policy of one rule `hit` with a condition, and the last rule `rest`; keyword arguments replace parts."""

    def build(
        when: str = "{attempt: {lte: 3}}",
        *,
        action: str = "stop: manual_review",
        define: str = "",
        hit: str = "{}",
        rest: str = "{attempt: 9}",
        applies_to: str = "{method: card}",
    ) -> str:
        lines = ["kind: retry", "name: a-policy", f"applies_to: {applies_to}"]
        lines += ["define:", indent(dedent(define).strip(), "  ")] if define else []
        lines += ["rules:", "  - name: hit", f"    when: {when}", f"    {action}"]
        lines += ["  - {name: rest, stop: exhausted}", "examples:"]
        lines += [f"  - {{given: {hit}, expect: hit}}", f"  - {{given: {rest}, expect: rest}}"]
        return "\n".join(lines) + "\n"

    return build


@pytest.fixture
def a_policy(policy_text: PolicyText) -> Callable[..., Policy]:
    """Build and read such a policy."""

    def build(*args: str, **parts: str) -> Policy:
        return parse_policy(policy_text(*args, **parts), source="p.yaml")

    return build


@pytest.fixture
def both_fire(a_policy: Callable[..., Policy]) -> Callable[..., bool]:
    """Say whether `hit` fires for some facts; the engine and the plain evaluator must agree on it."""

    def fires(policy: Policy, facts: RetryFacts) -> bool:
        compiled: CompiledPolicy = compile_policy(policy, engine=EngineChoice.DURABLE_RULES)
        when = policy.rules[0].when
        assert when is not None
        plain = closure(when)(facts) is True
        engine = compiled.verdict(facts).name == "hit"
        assert compiled.fallbacks == 0
        compiled.close()
        assert engine is plain
        return engine

    return fires
