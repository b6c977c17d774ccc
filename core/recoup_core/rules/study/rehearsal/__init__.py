"""Runs a policy's timelines: every decision by the code that decides in production, on a history that grows.

The first attempt fails at `start`; each retry is made the moment it was planned for and is answered at once by the next
of `failures`. Limits count these attempts as they count real ones. Only jitter is left out: a timeline states the
earliest time, and in production up to the rule's `jitter` is added. A dunning policy is told the retries' times.
A notice policy is asked once, when the charge is announced.
"""

from typing import Final

import msgspec

from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.trace import RuleTrace
from recoup_core.rules.facts import Facts, PolicyKind
from recoup_core.rules.language.effort import reaches
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.language.timelines import Timeline
from recoup_core.rules.study.rehearsal.came import Came, Run, came_words, differences, expected_words, problem_at
from recoup_core.rules.study.rehearsal.dunning import run_dunning
from recoup_core.rules.study.rehearsal.failures import USUAL, facts_after
from recoup_core.rules.study.rehearsal.notice import announced_facts, run_notice
from recoup_core.rules.study.rehearsal.retry import run_retries, without_jitter

__all__ = [
    "USUAL",
    "Came",
    "Rehearsal",
    "Run",
    "came_words",
    "expected_words",
    "rehearse",
    "timeline_problems",
]


MAX_COMPARISONS: Final = 2_000_000
"""Comparisons it may take to run all timelines of a policy: some four seconds."""


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy came to on one timeline, and what of it was expected otherwise."""

    timeline: Timeline
    run: Run
    problems: tuple[Problem, ...]


class _Untraced(CompiledPolicy):
    """Decides without writing down why each rule did or did not fire: that takes most of the time."""

    def trace(self, _facts: Facts) -> tuple[RuleTrace, ...]:
        return ()


def rehearse(policy: Policy) -> tuple[Rehearsal, ...]:
    """Run every timeline of a policy; where that would take too long, none, and each says so."""
    if not policy.timelines:
        return ()
    if _comparisons(policy) > MAX_COMPARISONS:
        message = f"it would take more than {MAX_COMPARISONS:,} comparisons to run the timelines"
        return tuple(_not_run(policy, timeline, "too_many", message) for timeline in policy.timelines)
    compiled = _Untraced(without_jitter(policy), None)
    return tuple(_rehearse(policy, compiled, timeline) for timeline in policy.timelines)


def timeline_problems(policy: Policy) -> tuple[Problem, ...]:
    """Return what the policy's timelines expect and does not come; a version with any is refused."""
    return tuple(problem for each in rehearse(policy) for problem in each.problems)


def _comparisons(policy: Policy) -> int:
    """Return how many comparisons the timelines' decisions make at most."""
    each = reaches(rule.when for rule in policy.rules)[-1]
    return each * sum(max(1, len(timeline.failures)) for timeline in policy.timelines)


def _rehearse(policy: Policy, compiled: CompiledPolicy, timeline: Timeline) -> Rehearsal:
    first = _first(policy, timeline)
    if not policy.applies_to.covers(first):
        message = "the timeline's facts are outside the policy's `applies_to`"
        return _not_run(policy, timeline, "timeline_outside", message)
    if why := policy.vocabulary.impossible(first):
        return _not_run(policy, timeline, "impossible_facts", f"these facts never come together: {why}")
    run = _RUN[policy.kind](policy, compiled, timeline)
    return Rehearsal(timeline=timeline, run=run, problems=tuple(differences(policy, timeline, run)))


def _first(policy: Policy, timeline: Timeline) -> Facts:
    """Return the facts of a timeline's first decision."""
    if policy.kind is PolicyKind.NOTICE:
        return announced_facts(policy, timeline)
    return facts_after(policy, timeline, timeline.failures[0] or {}, 0, timeline.start)


def _not_run(policy: Policy, timeline: Timeline, code: str, message: str) -> Rehearsal:
    problem = problem_at(policy, timeline, code, message)
    return Rehearsal(timeline=timeline, run=Run(steps=(), tries=()), problems=(problem,))


_RUN = {PolicyKind.RETRY: run_retries, PolicyKind.DUNNING: run_dunning, PolicyKind.NOTICE: run_notice}
