"""Explains a decision on facts that somebody gives: which policy decides, why not the others, and all that led to it.

The same for every kind: what a decision says for itself, in words and as data, and the rules it did not get to.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.deciding.deciders import AnyDecision
from recoup_core.rules.deciding.what_if import WhatIf, decide_if
from recoup_core.rules.deciding.words import explanation_lines, outcome_words
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import Facts, PolicyKind
from recoup_core.rules.language.applies import FOREVER, PAID_ON
from recoup_core.rules.language.schema import Policy


class NotChosen(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of the same kind that does not decide."""

    policy: str
    source: str
    because: tuple[str, ...]


class NotReached(msgspec.Struct, frozen=True, kw_only=True):
    """A rule below the one that fired; its condition was not looked at."""

    rule: str
    line: int


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A decision and everything that explains it."""

    kind: PolicyKind
    policy: str
    digest: str
    source: str
    engine: str
    covers: bool
    """Whether the policy's `applies_to` covers the facts; else it was asked all the same."""
    facts: Any
    rule: str
    outcome: Any
    explanation: Any
    not_reached: tuple[NotReached, ...]
    others: tuple[NotChosen, ...]
    words: tuple[str, ...]
    """All of it, line by line."""


def explain(
    compiled: CompiledPolicy, facts: Facts, what_if: WhatIf, others: Iterable[CompiledPolicy] = ()
) -> Explained:
    """Decide by this policy and explain it; of the `others` of its kind, say why they do not decide."""
    return explained(compiled, facts, decide_if(compiled, facts, what_if), others)


def explained(
    compiled: CompiledPolicy, facts: Facts, decision: AnyDecision, others: Iterable[CompiledPolicy] = ()
) -> Explained:
    """Explain a decision that this policy has made on these facts."""
    policy = compiled.policy
    numbers = {rule.name: number for number, rule in enumerate(policy.rules)}
    below = policy.rules[numbers.get(decision.rule, -1) + 1 :]  # no rule decided: none was reached
    told = Explained(
        kind=policy.kind,
        policy=policy.name,
        digest=compiled.digest,
        source=policy.source,
        engine=compiled.engine_name,
        covers=policy.applies_to.covers(facts),
        facts=facts,
        rule=decision.rule,
        outcome=decision.outcome,
        explanation=decision.explanation,
        not_reached=tuple(NotReached(rule=rule.name, line=rule.line) for rule in below),
        others=tuple(_not_chosen(other.policy, policy, facts) for other in others if _beside(other, compiled)),
        words=(),
    )
    return msgspec.structs.replace(told, words=tuple(_words(told)))


def _beside(other: CompiledPolicy, chosen: CompiledPolicy) -> bool:
    return other.policy.kind == chosen.policy.kind and other.digest != chosen.digest


def _not_chosen(policy: Policy, chosen: Policy, facts: Facts) -> NotChosen:
    return NotChosen(policy=policy.name, source=policy.source, because=tuple(_why_not(policy, chosen, facts)))


def _why_not(policy: Policy, chosen: Policy, facts: Facts) -> Iterator[str]:
    """Yield what keeps a policy from deciding; or that the chosen one is narrower."""
    if policy.applies_to.covers(facts):
        yield f"it covers this, too, but {chosen.name} is narrower"
    else:
        yield from why_outside(policy, facts)


def why_outside(policy: Policy, facts: Facts) -> Iterator[str]:
    """Yield what keeps a payment out of a policy's `applies_to` and `effective`; nothing where it is covered."""
    scope = policy.applies_to
    known = scope.vocabulary.facts
    for name, values in scope.only.items():
        actual = known[name].get(facts)
        if actual not in values:
            yield f"{name} is {_value(actual)}, not {' or '.join(values)}"
    if scope.effective != FOREVER:
        paid_on = known[PAID_ON].get(facts)
        if not scope.effective[0] <= paid_on <= scope.effective[1]:
            yield f"the payment was made on {paid_on}, and it is for {scope.effective[0]} to {scope.effective[1]}"


def _value(actual: Any) -> str:
    return "missing" if actual is None else str(actual) if isinstance(actual, (str, Money)) else repr(actual)


def _words(explained: Explained) -> Iterator[str]:
    yield f"{explained.policy} ({explained.digest[:12]}), decided by {explained.engine}"
    if not explained.covers:
        yield "note: its `applies_to` does not cover these facts; another policy would decide"
    for other in explained.others:
        yield f"  not {other.policy} ({other.source}): {'; '.join(other.because)}"
    for line in explanation_lines(explained.explanation):
        yield f"  {line}"
    if explained.not_reached:
        names = ", ".join(f"{rule.rule} (line {rule.line})" for rule in explained.not_reached)
        yield f"  not reached: {names}"
    yield f"=> {outcome_words(explained.outcome)}"
