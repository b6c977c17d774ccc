"""One policy's tests: its examples, its timelines, and what of it they cover."""

from collections.abc import Iterator

import msgspec

from recoup_core.rules.deciding.decide import ActionTrace
from recoup_core.rules.deciding.what_if import WhatIf, decide_if
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import Facts
from recoup_core.rules.language.errors import Problem, shown
from recoup_core.rules.language.examples import Example
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.study.answers import EXAMPLE_NOW, answer_problem
from recoup_core.rules.study.coverage import Coverage, Try, cover
from recoup_core.rules.study.rehearsal import Rehearsal, rehearse


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One example or timeline."""

    kind: str
    """`example` or `timeline`."""
    name: str
    line: int
    problems: tuple[Problem, ...]
    """Why it failed; none: it passed."""


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one policy's tests came to."""

    policy: Policy
    results: tuple[Result, ...]
    rehearsals: tuple[Rehearsal, ...]
    coverage: Coverage

    @property
    def failed(self) -> int:
        """How many tests failed."""
        return sum(1 for result in self.results if result.problems)


def self_test(policy: Policy) -> SelfTest:
    """Run the tests of a policy that can be read; examples may fail here that keep it from being loaded."""
    compiled = CompiledPolicy(policy, None)
    examples = [(example, example.facts(policy.vocabulary, policy.baseline)) for example in policy.examples]
    rehearsals = rehearse(policy)
    results = [_example(policy, compiled, number, *each) for number, each in enumerate(examples, 1)]
    results += [
        Result(kind="timeline", name=each.timeline.name, line=each.timeline.line, problems=each.problems)
        for each in rehearsals
    ]
    tries = list(_tries(compiled, [facts for _, facts in examples]))
    tries += [each for rehearsal in rehearsals for each in rehearsal.run.tries]
    return SelfTest(policy=policy, results=tuple(results), rehearsals=rehearsals, coverage=cover(policy, tries))


def _example(policy: Policy, compiled: CompiledPolicy, number: int, example: Example, facts: Facts) -> Result:
    problem = _problem(policy, compiled, example, facts)
    problems = () if problem is None else (problem,)
    return Result(kind="example", name=f"{number}: {example.expect}", line=example.line, problems=problems)


def _problem(policy: Policy, compiled: CompiledPolicy, example: Example, facts: Facts) -> Problem | None:
    """Return why an example fails, as reading the policy tells it."""
    why = policy.vocabulary.impossible(facts)
    fired = compiled.verdict(facts).name
    if not policy.applies_to.covers(facts):
        code, message = "example_outside", "the example's facts are outside the policy's `applies_to`"
    elif why:
        code, message = "impossible_facts", f"these facts never come together: {why}"
    elif fired != example.expect:
        code, message = "example_failed", f"expected {shown(example.expect)}, but {shown(fired)} fires"
    else:
        return answer_problem(compiled, example, facts)
    return Problem(file=policy.source, line=example.line, column=example.column, code=code, message=message)


def _tries(compiled: CompiledPolicy, given: list[Facts]) -> Iterator[Try]:
    """Yield what the examples cause; whether a rule's action applied is asked of a decision at a fixed time."""
    policy = compiled.policy
    for facts in given:
        if policy.applies_to.covers(facts) and not policy.vocabulary.impossible(facts):
            asked = compiled.verdict(facts).otherwise is not None
            yield Try(facts=facts, otherwise=asked and _otherwise(compiled, facts))


def _otherwise(compiled: CompiledPolicy, facts: Facts) -> bool:
    decision = decide_if(compiled, facts, WhatIf(now=EXAMPLE_NOW))
    actions: tuple[ActionTrace, ...] = decision.explanation.actions  # only kinds with these know `otherwise`
    return bool(actions) and actions[-1].action.startswith("otherwise")
