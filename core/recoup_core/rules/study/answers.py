"""The answers that a refund policy's examples expect beside the rule: approved by itself, reviewed, or denied.

Bounds need more than facts. What today and the last year were like is taken from `agent.refunded_today` and from the
customer's refunds of 7, 30 and 365 days (`customer.refunds_30d`, `customer.refunded_30d`); all evidence is there.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from recoup_core.rules.deciding.refund import Approve, Deny, Incomplete, RefundOutcome, Review, act
from recoup_core.rules.deciding.what_if import WhatIf, made_up_refund
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import Facts, RefundFacts
from recoup_core.rules.language.errors import Problem, shown
from recoup_core.rules.language.examples import Example
from recoup_core.rules.language.schema import Policy

EXAMPLE_NOW: Final = datetime(2026, 1, 7, 10, 0, tzinfo=UTC)
"""When an example's decision is made: a Wednesday morning. Only whether a rule's `otherwise` counts hangs on it."""

Levels = tuple[tuple[str, ...], ...]
_WORDS: Final[Mapping[type, str]] = {Approve: "approve", Review: "review", Deny: "deny", Incomplete: "incomplete"}


def answer_problems(policy: Policy) -> tuple[Problem, ...]:
    """Return what is wrong with the answers that examples expect; each example's own rule fires."""
    asked = [example for example in policy.examples if example.answer is not None]
    if not asked:
        return ()
    compiled = CompiledPolicy(policy, None)
    found = [answer_problem(compiled, each, each.facts(policy.vocabulary, policy.baseline)) for each in asked]
    return tuple(problem for problem in found if problem is not None)


def answer_problem(compiled: CompiledPolicy, example: Example, facts: Facts) -> Problem | None:
    """Return what is wrong with the answer of one example for which the rule fires that it expects."""
    if example.answer is None or not isinstance(facts, RefundFacts):
        return None
    rule = next(rule for rule in compiled.policy.rules if rule.name == example.expect)
    outcome, actions, _ = act(rule, facts, made_up_refund(compiled, facts, WhatIf(now=EXAMPLE_NOW)))
    apart = _apart(example.answer, example.levels, outcome)
    if apart is None:
        return None
    expected, came = apart
    why = "; ".join(because for action in actions for because in action.because)
    return Problem(
        file=compiled.policy.source,
        line=example.line,
        column=example.column,
        rule=example.expect,
        code="answer_failed",
        message=f"expected the answer {shown(expected)}, but it is {shown(came)} ({why})",
    )


def _apart(answer: str, levels: Levels | None, outcome: RefundOutcome) -> tuple[str, str] | None:
    """Return what was expected and what came in words; None: they are the same."""
    came = _WORDS[type(outcome)]
    if came != answer or levels is None or not isinstance(outcome, Review):
        return None if came == answer else (answer, came)
    if [set(level) for level in levels] == [set(level) for level in outcome.levels]:
        return None
    return _people(levels), _people(outcome.levels)


def _people(levels: Levels) -> str:
    return ", then ".join(" or ".join(level) for level in levels)
