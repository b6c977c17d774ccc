"""What an example that is missing could give: the smallest facts for which its rule fires."""

from collections.abc import Sequence
from typing import Final

import msgspec

from recoup_core.rules.facts import Facts
from recoup_core.rules.language.as_given import given_text, minimal_given, scalar_text
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.reach import OnePolicy, Reached
from recoup_core.rules.study.solve import Undecided

MISSING: Final = "no_example"
MAX_SUGGESTED: Final = 20
"""Examples suggested for one policy."""


def with_suggestions(policy: Policy, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return the problems of a policy; those of rules without an example name one.

    A rule that can never fire is lint's affair: that it has no example goes without saying.
    """
    missing = [problem for problem in problems if problem.code == MISSING]
    if not missing:
        return tuple(problems)
    one = OnePolicy(policy)
    numbers = {rule.line: number for number, rule in enumerate(policy.rules)}
    kept: list[Problem] = []
    for problem in problems:
        asked = problem in missing[:MAX_SUGGESTED]
        number = numbers[problem.line] if asked else 0
        reached = one.reached(number, one.rules.holds[number], Budget()) if asked else Undecided()
        if not isinstance(reached, Reached):
            kept.append(problem)
        elif reached.facts is not None:
            kept.append(msgspec.structs.replace(problem, hint=_example(policy, number, reached.facts)))
    return tuple(kept)


def _example(policy: Policy, number: int, facts: Facts) -> str:
    given = given_text(minimal_given(facts, policy.vocabulary, policy.baseline))
    return f"for instance - {{given: {given}, expect: {scalar_text(policy.rules[number].name)}}}"
