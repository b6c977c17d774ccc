"""Lint: texts that can be read, and whose sense is in doubt. Each finding has an id with a page in docs/lint."""

from collections.abc import Iterator, Sequence
from typing import Final

from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.names import Names
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.approvals import approvals
from recoup_core.rules.study.lint.beyond_limits import beyond_limits
from recoup_core.rules.study.lint.late_notices import late_notices
from recoup_core.rules.study.lint.notice import early_suspensions
from recoup_core.rules.study.lint.reachability import reachability
from recoup_core.rules.study.lint.references import references
from recoup_core.rules.study.lint.review_limits import review_limits

MAX_STEPS: Final = 6_000_000
"""Steps of the decider for one family of findings in one policy; some ten seconds, and far more than is usual."""


def lint(policies: Sequence[Policy], names: Names | None = None) -> tuple[Problem, ...]:
    """Return everything that is doubtful in policies that stand beside each other, file by file in the order of lines.

    `names` are the words that a file beside them declares. Two policies for the same payments are `book.ambiguities`'
    affair.
    """
    found: list[Problem] = []
    for policy in policies:
        mine = _findings(policy, policies, names or Names())
        found += sorted(mine, key=lambda problem: (problem.line, problem.column))
    return tuple(found)


def _findings(policy: Policy, policies: Sequence[Policy], names: Names) -> Iterator[Problem]:
    yield from reachability(policy, Budget(MAX_STEPS))
    yield from references(policy, names)
    if policy.kind is PolicyKind.RETRY:
        yield from beyond_limits(policy, Budget(MAX_STEPS))
    elif policy.kind is PolicyKind.DUNNING:
        yield from early_suspensions(policy, policies, Budget(MAX_STEPS))
    elif policy.kind is PolicyKind.REFUND:
        yield from approvals(policy, Budget(MAX_STEPS))
        yield from review_limits(policy, Budget(MAX_STEPS))
    elif policy.kind is PolicyKind.NOTICE:
        yield from late_notices(policy, Budget(MAX_STEPS))
